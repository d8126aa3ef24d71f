"""What is computed place by place: sums, powers, comparisons, masks, of two tensors, of one and a number, or of one."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from parity.building.broadcasting import added, aligned, elementwise
from parity.building.calls import as_value, calls
from parity.building.values import Site, Value
from parity.errors import ConversionError
from parity.frameworks import keras, torch


@calls(operator.add, operator.iadd, torch.add, "add", "add_", "__radd__", how="ops.add")
def add(site: Site, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """(...) and (...) to what they broadcast to."""
    (x, y), order = aligned(x, y)
    if all(str(getattr(each, "dtype", type(each).__name__)) == "bool" for each in (x, y)):
        return Value(keras.ops.logical_or(x, y), order)
    return Value(added(x, y if alpha == 1 else keras.ops.multiply(y, alpha)), order)


@calls(operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract", how="ops.subtract")
def sub(site: Site, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """(...) and (...) to what they broadcast to."""
    (x, y), order = aligned(x, y)
    return Value(keras.ops.subtract(x, y if alpha == 1 else keras.ops.multiply(y, alpha)), order)


@calls(torch.rsub, "rsub", how="ops.subtract")
def rsub(site: Site, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """(...) and (...) to what they broadcast to."""
    return sub(site, y, x) if alpha == 1 else sub(site, y, elementwise(keras.ops.multiply)(site, x, alpha))


@calls(
    operator.truediv, operator.itruediv, torch.div, torch.divide, torch.true_divide, "div", "div_", "divide",
    how="ops.true_divide",
)  # fmt: skip
def div(site: Site, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    """(...) and (...) to what they broadcast to."""
    (x, y), order = aligned(x, y)
    if rounding_mode == "floor":
        return Value(keras.ops.floor_divide(x, y), order)
    if rounding_mode == "trunc" and site.dtypes.get(0) != "float32":
        raise ConversionError("rounding_mode='trunc' of whole numbers has no counterpart in Keras")
    quotient = keras.ops.true_divide(x, y)
    return Value(quotient if rounding_mode is None else keras.ops.trunc(quotient), order)


_PLACE_BY_PLACE: dict[Callable[..., Any], tuple[Any, ...]] = {
    keras.ops.power: (operator.pow, operator.ipow, torch.pow, "pow", "pow_"),
    keras.ops.floor_divide: (operator.floordiv, torch.floor_divide, "floor_divide"),
    keras.ops.mod: (operator.mod, torch.remainder, "remainder"),
    keras.ops.maximum: (torch.maximum, "maximum"),
    keras.ops.minimum: (torch.minimum, "minimum"),
    keras.ops.arctan2: (torch.atan2, torch.arctan2, "atan2"),
    keras.ops.equal: (operator.eq, torch.eq, "eq"),
    keras.ops.not_equal: (operator.ne, torch.ne, "ne"),
    keras.ops.less: (operator.lt, torch.lt, "lt"),
    keras.ops.less_equal: (operator.le, torch.le, "le"),
    keras.ops.greater: (operator.gt, torch.gt, "gt"),
    keras.ops.greater_equal: (operator.ge, torch.ge, "ge"),
    keras.ops.logical_and: (torch.logical_and, "logical_and"),
    keras.ops.logical_or: (torch.logical_or, "logical_or"),
    keras.ops.logical_xor: (torch.logical_xor, "logical_xor"),
}
"""What is computed place by place of two tensors, or of one and a number."""

for _function, _kinds in _PLACE_BY_PLACE.items():
    calls(*_kinds, how=f"ops.{_function.__name__}")(elementwise(_function))

_ONE_BY_ONE: dict[str, Callable[..., Any]] = {
    **{name: getattr(keras.ops, name) for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "abs", "sin", "cos", "tan", "sinh", "cosh",
        "floor", "ceil", "sign", "square", "reciprocal", "erf", "isnan", "isinf", "isfinite", "logical_not",
        "sigmoid", "tanh", "relu",
    )},
    "neg": keras.ops.negative, "asin": keras.ops.arcsin, "acos": keras.ops.arccos, "atan": keras.ops.arctan,
    "absolute": keras.ops.abs, "negative": keras.ops.negative, "trunc": keras.ops.trunc,
}  # fmt: skip
"""What is computed of each value by itself."""

_OPERATORS = {"neg": (operator.neg,), "abs": (operator.abs,), "relu": (torch.nn.functional.relu,)}

for _name, _function in _ONE_BY_ONE.items():
    _inplace = [getattr(torch, f"{_name}_")] if hasattr(torch, f"{_name}_") else []
    _kinds = (getattr(torch, _name), *_inplace, *_OPERATORS.get(_name, ()), _name, f"{_name}_")
    calls(*_kinds, how=f"ops.{_function.__name__}")(elementwise(_function))


@calls(torch.round, torch.round_, "round", "round_", how="ops.round")
def round_(site: Site, x: Value, *, decimals: int = 0) -> Value:
    """(...) to (...): to whole numbers, or to that many decimals; half way to the even one."""
    if not decimals:
        return Value(keras.ops.round(x.tensor), x.order)
    scale = 10.0 ** abs(decimals)  # a power that is negative torch divides by, so that it is exact as well
    up, down = (keras.ops.multiply, keras.ops.true_divide)[:: 1 if decimals > 0 else -1]
    return Value(down(keras.ops.round(up(x.tensor, scale)), scale), x.order)


def _of_truth_or_numbers(logical: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, *values: Any) -> Value:
        """(...) to (...): of truth values, or of numbers."""
        tensors, order = aligned(*values)
        kind = next(str(each.dtype) for each in tensors if hasattr(each, "dtype"))
        if "float" not in kind:  # Keras's functions of bits take no plain numbers, and a file would make them such
            one = (1,) * len(order)
            tensors = [np.full(one, each, kind) if type(each) in (bool, int) else each for each in tensors]
        of_truth = all(str(getattr(each, "dtype", "")) == "bool" for each in tensors)
        return Value((logical if of_truth else other)(*tensors), order)

    return build


calls(operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply", how="ops.multiply")(
    _of_truth_or_numbers(keras.ops.logical_and, keras.ops.multiply)
)


calls(operator.and_, torch.bitwise_and, how="ops.logical_and")(
    _of_truth_or_numbers(keras.ops.logical_and, keras.ops.bitwise_and)
)
calls(operator.or_, torch.bitwise_or, how="ops.logical_or")(
    _of_truth_or_numbers(keras.ops.logical_or, keras.ops.bitwise_or)
)
calls(operator.xor, torch.bitwise_xor, "bitwise_xor", how="ops.logical_xor")(
    _of_truth_or_numbers(keras.ops.logical_xor, keras.ops.bitwise_xor)
)
calls(operator.invert, torch.bitwise_not, "bitwise_not", how="ops.logical_not")(
    _of_truth_or_numbers(keras.ops.logical_not, keras.ops.bitwise_not)
)


@calls(torch.clamp, torch.clip, torch.clamp_, "clamp", "clamp_", "clip", how="ops.clip")
def clamp(site: Site, x: Value, min: Any = None, max: Any = None) -> Value:
    """(...) to (...): not below `min`, not above `max`."""
    if min is not None:
        x = elementwise(keras.ops.maximum)(site, x, min)
    return x if max is None else elementwise(keras.ops.minimum)(site, x, max)


@calls(torch.clamp_min, "clamp_min", "clamp_min_", how="ops.maximum")
def clamp_min(site: Site, x: Value, min: Any) -> Value:
    """(...) to (...): not below `min`."""
    return clamp(site, x, min)


@calls(torch.clamp_max, "clamp_max", "clamp_max_", how="ops.minimum")
def clamp_max(site: Site, x: Value, max: Any) -> Value:
    """(...) to (...): not above `max`."""
    return clamp(site, x, None, max)


@calls(torch.where, how="ops.where")
def where(site: Site, condition: Value, x: Any, y: Any) -> Value:
    """Three tensors to what they broadcast to."""
    tensors, order = aligned(condition, x, y)
    return Value(keras.ops.where(*tensors), order)


@calls("where", how="ops.where")
def where_of(site: Site, x: Value, condition: Value, y: Any) -> Value:
    """The tensor where the condition holds, the other elsewhere."""
    return where(site, condition, x, y)


@calls(torch.masked_fill, "masked_fill", "masked_fill_", how="ops.where")
def masked_fill(site: Site, x: Value, mask: Value, value: Any) -> Value:
    """(...) to (...): the value where the mask is true."""
    return where(site, mask, as_value(value), x)
