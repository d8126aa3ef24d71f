"""Values as the Python that makes them, for a script that others read and run."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.frameworks import torch

Leaf = Callable[[Any], str | None]
"""The expression of a value that is a tensor or an array; None for any other value."""


class UnwritableError(Exception):
    """There is no expression that makes this; the message says of what."""


def no_leaf(value: Any) -> str | None:
    """No value is a tensor."""
    return None


def written(value: Any, leaf: Leaf = no_leaf) -> str:
    """The expression of a setting, or of an argument with tensors in it. Raises UnwritableError where there is none.

    >>> written((1, None, [2.5, "same"], slice(0, 3)))
    '(1, None, [2.5, "same"], slice(0, 3, None))'
    """
    found = leaf(value)
    if found is not None:
        return found
    if isinstance(value, np.generic):
        return written(value.item())
    if isinstance(value, str):
        return json.dumps(value)
    if value is None or value is Ellipsis or isinstance(value, (bool, int)):
        return "..." if value is Ellipsis else repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, slice):
        return f"slice({', '.join(written(each, leaf) for each in (value.start, value.stop, value.step))})"
    if isinstance(value, tuple):
        inside = ", ".join(written(each, leaf) for each in value)
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, list):
        return f"[{', '.join(written(each, leaf) for each in value)}]"
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return f"{{{', '.join(f'{written(key)}: {written(each, leaf)}' for key, each in value.items())}}}"
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    raise UnwritableError(f"a {type(value).__name__}")


def arguments(args: Sequence[Any], kwargs: Mapping[str, Any], leaf: Leaf = no_leaf) -> str:
    """What stands between the parentheses of a call."""
    return ", ".join([written(each, leaf) for each in args] + [f"{k}={written(v, leaf)}" for k, v in kwargs.items()])


def as_by_default(value: Any, default: Any) -> bool:
    """Whether a setting says what its default says; a pair of equal numbers may be the number."""
    if isinstance(default, (int, float)) and isinstance(value, (tuple, list)) and value:
        return all(type(each) is type(default) and each == default for each in value)
    return type(value) is type(default) and bool(value == default)


def identifier(name: str, taken: Sequence[str]) -> str:
    """A variable's name like `name` that is none of `taken`.

    >>> identifier("conv3_1.0", ["x"]), identifier("x", ["x"])
    ('conv3_1_0', 'x_layer')
    """
    plain = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name).strip("_") or "layer"
    plain = f"layer_{plain}" if plain[0].isdigit() else plain
    while plain in taken:
        plain += "_layer"
    return plain
