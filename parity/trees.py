"""Nested inputs and outputs of networks: tuples, lists, mappings and dataclasses, each leaf with a name.

A leaf is named by its way there: `output.flow`, `input[1]`, `output.levels[0]`; the leaf of a tree that is nothing but
one has the tree's own name. optree and torch's pytrees leave dataclasses closed; networks return them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Change = Callable[[str, Any], Any]


def leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every leaf of a tree with its name, in order; an empty container has none.

    >>> [name for name, _ in leaves({"flow": 1, "levels": (2, 3)}, "output")]
    ['output.flow', 'output.levels[0]', 'output.levels[1]']
    """
    held = children(tree, name)
    if held is None:
        yield name, tree
        return
    for child, value in held:
        yield from leaves(value, child)


def rebuilt(tree: Any, name: str, change: Change) -> Any:
    """The same tree with `change(name, leaf)` in place of each leaf.

    >>> rebuilt((1, [2]), "input", lambda name, leaf: f"{name} was {leaf}")
    ('input[0] was 1', ['input[1][0] was 2'])
    """
    held = children(tree, name)
    if held is None:
        return change(name, tree)
    values = [rebuilt(value, child, change) for child, value in held]
    if isinstance(tree, Mapping):
        return _mapping_like(tree, dict(zip(tree, values, strict=True)))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = (field.name for field in dataclasses.fields(tree) if field.init)
        return dataclasses.replace(tree, **dict(zip(names, values, strict=True)))
    return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)


def children(tree: Any, name: str) -> list[tuple[str, Any]] | None:
    """What a container holds, each with its name; None for a leaf."""
    if isinstance(tree, Mapping):
        return [(f"{name}.{key}", value) for key, value in tree.items()]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(f"{name}.{f.name}", getattr(tree, f.name)) for f in dataclasses.fields(tree) if f.init]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [(f"{name}.{field}", value) for field, value in zip(tree._fields, tree, strict=True)]
    if isinstance(tree, (tuple, list)):
        return [(f"{name}[{index}]", value) for index, value in enumerate(tree)]
    return None


def _mapping_like(tree: Mapping[Any, Any], values: dict[Any, Any]) -> Any:
    """A mapping of the tree's own type where it can be made of a dict."""
    try:
        return type(tree)(values)  # type: ignore[call-arg]
    except TypeError:
        return values
