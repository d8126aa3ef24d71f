"""Values side by side: axes that broadcast as torch's do, wherever the port has them, and sums that Keras adds."""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.building.calls import is_constant, plain
from parity.building.values import Batch, Site, Value
from parity.errors import ConversionError
from parity.frameworks import keras


def raised(x: Value, rank: int) -> Value:
    """A value with axes of size one before its own, as torch adds them to broadcast."""
    missing = rank - len(x.order)
    if missing <= 0:
        return x
    tensor = plain(x)
    if isinstance(tensor, np.ndarray):
        return Value.plain(tensor.reshape((1,) * missing + tensor.shape))
    return Value.plain(keras.ops.expand_dims(tensor, tuple(range(missing))))


def aligned(*values: Any) -> tuple[list[Any], tuple[int, ...]]:
    """Tensors that can be computed with place by place, and the order of their axes; numbers stay what they are.

    The order is that of a value of the greatest rank that is not as torch has it, if there is one.
    """
    tensors = [each for each in values if isinstance(each, Value)]
    rank = max(len(each.order) for each in tensors)
    usual = tuple(range(rank))
    orders = [each.order for each in tensors if len(each.order) == rank and not is_constant(each)]
    order = next((each for each in orders if each != usual), usual)
    found = [raised(each, rank).moved(order) if isinstance(each, Value) else _number(each) for each in values]
    return found, order


def _number(x: Any) -> Any:
    if isinstance(x, Batch):
        raise ConversionError("it computes with the size of the batch")
    return x


def elementwise(function: Callable[..., Any]) -> Callable[..., Value]:
    """A builder of what a function of Keras makes of the values, place by place."""

    def build(site: Site, *values: Any) -> Value:
        """(...) and (...) to what they broadcast to."""
        tensors, order = aligned(*values)
        return Value(function(*tensors), order)

    return build


def added(x: Any, y: Any) -> Any:
    """The sum of two tensors or numbers. `keras.ops.add` takes what has one long axis for a bias along another axis of
    that size, so what is to broadcast is subtracted, with its sign turned."""
    shapes = [tuple(getattr(each, "shape", ())) for each in (x, y)]
    if shapes[0] == shapes[1] or () in shapes or "bool" in str(getattr(y, "dtype", "")):
        return keras.ops.add(x, y)
    return keras.ops.subtract(x, keras.ops.negative(y))
