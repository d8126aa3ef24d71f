"""What a trace is made of: steps in order, each with its results on batches of two sizes.

So each size of a result is a number, the batch, or neither; which it is, is asked here and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.building.values import Batch
from parity.frameworks import torch
from parity.runners.calls import Call


@dataclass(kw_only=True)
class Step:
    """One call: `of` is the module, function or method's name, `path` what it is called; `args` and `kwargs` hold the
    Steps whose results it takes.

    `tap` is the name that a run's recorder has for its result, if it has one; `values` are its results on `batch` and
    on one more. `constant` says that no input of the network has a part in it.
    """

    kind: str
    of: Any
    path: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    values: tuple[Any, ...]
    batch: int
    constant: bool
    tap: str = ""
    written: bool = False
    """Whether it writes its result into what it is given."""

    @property
    def sizes(self) -> dict[int, tuple[Any, ...]]:
        """The sizes of each tensor that it makes, by its number; what is the batch is a Batch."""
        lanes = [tensors_in(value) for value in self.values]
        return {
            number: tuple(
                size_of([each[number].shape[axis] for each in lanes], self.batch)
                for axis in range(lanes[0][number].dim())
            )
            for number in range(len(lanes[0]))
        }

    @property
    def dtypes(self) -> dict[int, str]:
        """What kind of numbers each of these tensors has."""
        return {i: str(each.dtype).removeprefix("torch.") for i, each in enumerate(tensors_in(self.values[0]))}


@dataclass(frozen=True, kw_only=True)
class Traced:
    """The steps of a module, in order; `inputs` are those that stand for its inputs, by name; `output` what it returns,
    with Steps in it. `calls` are what a run's recorder names, in order."""

    steps: Sequence[Step]
    inputs: Mapping[str, Step]
    output: Any
    calls: Mapping[str, Call]
    shapes: Mapping[str, tuple[int, ...]]


def size_of(sizes: Sequence[int], batch: int) -> Any:
    """What a size is that is these on `batch` and on one more (or on one batch alone): a number, or the Batch.

    None where it follows the batch in another way.

    >>> size_of((6, 6), 2), size_of((6, 9), 2), size_of((3, 4), 2)
    (6, Batch(factor=3), None)
    """
    first, *others = sizes
    if all(other == first for other in others):
        return first
    factor = others[0] - first
    return Batch(factor) if first == factor * batch else None


def mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    """`tree` (tuples, lists, dicts, slices) with `change` of each leaf."""
    if isinstance(tree, dict):
        return {key: mapped(each, change) for key, each in tree.items()}
    if isinstance(tree, (tuple, list)):
        found = [mapped(each, change) for each in tree]
        return type(tree)(*found) if hasattr(tree, "_fields") else tuple(found) if isinstance(tree, tuple) else found
    if isinstance(tree, slice):
        return slice(*(mapped(each, change) for each in (tree.start, tree.stop, tree.step)))
    return change(tree)


def tensors_in(made: Any) -> list[torch.Tensor]:
    """The tensors of a result, in order."""
    if torch.is_tensor(made):
        return [made]
    if isinstance(made, (tuple, list)):
        return [tensor for each in made for tensor in tensors_in(each)]
    return []
