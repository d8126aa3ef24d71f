"""What a call was given and how a layer is set up, as JSON: numbers, texts, tuples, slices; arrays by their names.

What has no such form (a type, a device, a function) is kept as the words that it prints as.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parity.axes import Array
from parity.frameworks import torch
from parity.runners.calls import Read
from parity.trees import children

Keep = Callable[[Any], str]
"""Takes a tensor or array, and returns the name under which it is kept."""
Fetch = Callable[[str], Array]


@dataclass(frozen=True)
class Words:
    """Stands for something that was recorded as words only."""

    text: str

    def __repr__(self) -> str:
        return self.text


def encoded(value: Any, keep: Keep) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Read):
        return {"read": value.name}
    if isinstance(value, torch.Tensor) or (type(value).__module__ == "numpy" and hasattr(value, "__array__")):
        return {"array": keep(value)}
    if isinstance(value, list):
        return [encoded(each, keep) for each in value]
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, slice):
        return {"slice": [encoded(each, keep) for each in (value.start, value.stop, value.step)]}
    held = children(value, "")
    if held is None or isinstance(value, type):
        return {"words": str(value)}
    if isinstance(value, Mapping) or (held and held[0][0].startswith(".")):
        return {"dict": {name.removeprefix("."): encoded(each, keep) for name, each in held}}
    return {"tuple": [encoded(each, keep) for _, each in held]}


def decoded(value: Any, fetch: Fetch) -> Any:
    """What was encoded; what has fields (a dataclass) comes back as a dict of them."""
    if isinstance(value, list):
        return [decoded(each, fetch) for each in value]
    if not isinstance(value, Mapping):
        return value
    ((form, held),) = value.items()
    if form == "read":
        return Read(held)
    if form == "array":
        return fetch(held)
    if form == "ellipsis":
        return Ellipsis
    if form == "slice":
        return slice(*(decoded(each, fetch) for each in held))
    if form == "dict":
        return {name: decoded(each, fetch) for name, each in held.items()}
    return tuple(decoded(each, fetch) for each in held) if form == "tuple" else Words(str(held))
