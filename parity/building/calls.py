"""What every call that a network makes between its layers is read with: the decorator that registers it, its arguments.

A call's builder takes Values: a result that keeps the axes of what it is made of keeps their order too, and what
broadcasts, joins or selects works along torch's axes, wherever the port has them. `site.sizes` are the sizes that
torch's result has. The builders have a file for each subject; those that have a module's meaning are in `functional`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.building.registry import BUILDERS, Function, builds
from parity.building.values import Batch, Value
from parity.errors import ConversionError


def calls(
    *kinds: Any, moves_only: bool = False, how: str = "", keeps_weights: bool = True
) -> Callable[[Function], Function]:
    """`builds` with Values, for those of the kinds that have no builder."""
    free = [kind for kind in dict.fromkeys(kinds) if kind not in BUILDERS]
    return builds(*free, layout="values", moves_only=moves_only, how=how, keeps_weights=keeps_weights)


def as_value(x: Any) -> Value:
    """A number as a tensor without axes; a Value as it is."""
    if isinstance(x, Value):
        return x
    if isinstance(x, Batch):
        raise ConversionError("it computes with the size of the batch")
    return Value.plain(np.asarray(x, np.float32 if isinstance(x, float) else None))


def is_constant(x: Any) -> bool:
    """Whether no input of the network has a part in a value."""
    return not isinstance(x, Value) or isinstance(x.tensor, np.ndarray)


def array_of(x: Any, what: str) -> Any:
    """The array of a constant. Raises ConversionError for a value that inputs have a part in."""
    if x is None or (isinstance(x, Value) and isinstance(x.tensor, np.ndarray)):
        return None if x is None else x.moved(range(len(x.order)))
    raise ConversionError(f"its {what} is computed from the network's inputs")


def plain(x: Value) -> Any:
    """The tensor with its axes where torch has them."""
    return x.moved(range(len(x.order)))


def dims_of(x: Value, dim: Any) -> list[int]:
    """torch's `dim`, one or several, counted from the front; all where it is None or empty."""
    rank = len(x.order)
    if dim is None or dim == () or dim == []:
        return list(range(rank))
    return [each % rank for each in ((dim,) if isinstance(dim, int) else dim)]


def site_axis(x: Value, dim: int) -> int:
    """The axis of the port that is torch's `dim`."""
    return x.order.index(dim % len(x.order))
