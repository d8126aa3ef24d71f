"""What networks do between their layers: arithmetic, joins and parts, sums and means, products, masks.

Each takes Values: a result that keeps the axes of what it is made of keeps their order too, and what broadcasts, joins
or selects works along torch's axes, wherever the port has them. `site.sizes` are the sizes that torch's result has.
"""

import builtins
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.building.registry import BUILDERS, Function, builds
from parity.building.values import Batch, Site, Value
from parity.errors import ConversionError
from parity.frameworks import keras, torch

MANY = 256
"""Values from which on a mean is taken in two steps: TensorFlow adds them one after the other in float32."""


def calls(*kinds: Any, moves_only: bool = False, how: str = "") -> Callable[[Function], Function]:
    """`builds` with Values, for those of the kinds that have no builder."""
    free = [kind for kind in dict.fromkeys(kinds) if kind not in BUILDERS]
    return builds(*free, layout="values", moves_only=moves_only, how=how)


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


# -- alike in all their places -----------------------------------------------------------------------------------------


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


def _elementwise(function: Callable[..., Any]) -> Callable[..., Value]:
    def build(site: Site, *values: Any, **unused: Any) -> Value:
        """(...) and (...) to what they broadcast to."""
        tensors, order = aligned(*values)
        return Value(function(*tensors), order)

    return build


@calls(operator.add, operator.iadd, torch.add, "add", "add_", "__radd__", how="ops.add")
def add(site: Site, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """(...) and (...) to what they broadcast to."""
    (x, y), order = aligned(x, y)
    return Value(added(x, y if alpha == 1 else keras.ops.multiply(y, alpha)), order)


def added(x: Any, y: Any) -> Any:
    """The sum of two tensors or numbers. `keras.ops.add` takes what has one long axis for a bias along another axis of
    that size, so what is to broadcast is subtracted, with its sign turned."""
    shapes = [tuple(getattr(each, "shape", ())) for each in (x, y)]
    if shapes[0] == shapes[1] or () in shapes or "bool" in str(getattr(y, "dtype", "")):
        return keras.ops.add(x, y)
    return keras.ops.subtract(x, keras.ops.negative(y))


@calls(operator.sub, operator.isub, torch.sub, torch.subtract, "sub", "sub_", "subtract", how="ops.subtract")
def sub(site: Site, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """(...) and (...) to what they broadcast to."""
    (x, y), order = aligned(x, y)
    return Value(keras.ops.subtract(x, y if alpha == 1 else keras.ops.multiply(y, alpha)), order)


@calls(torch.rsub, "rsub", how="ops.subtract")
def rsub(site: Site, x: Any, y: Any, *, alpha: Any = 1) -> Value:
    """(...) and (...) to what they broadcast to."""
    return sub(site, y, x) if alpha == 1 else sub(site, y, _elementwise(keras.ops.multiply)(site, x, alpha))


@calls(
    operator.truediv, operator.itruediv, torch.div, torch.divide, torch.true_divide, "div", "div_", "divide",
    how="ops.true_divide",
)  # fmt: skip
def div(site: Site, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    """(...) and (...) to what they broadcast to."""
    (x, y), order = aligned(x, y)
    if rounding_mode == "floor":
        return Value(keras.ops.floor_divide(x, y), order)
    if rounding_mode is not None:
        raise ConversionError(f"rounding_mode={rounding_mode!r} has no counterpart in Keras")
    return Value(keras.ops.true_divide(x, y), order)


_PLACE_BY_PLACE: dict[Callable[..., Any], tuple[Any, ...]] = {
    keras.ops.multiply: (operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_", "multiply"),
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
    calls(*_kinds, how=f"ops.{_function.__name__}")(_elementwise(_function))

_ONE_BY_ONE: dict[str, Callable[..., Any]] = {
    **{name: getattr(keras.ops, name) for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "abs", "sin", "cos", "tan", "sinh", "cosh",
        "floor", "ceil", "round", "sign", "square", "reciprocal", "erf", "isnan", "isinf", "isfinite", "logical_not",
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
    calls(*_kinds, how=f"ops.{_function.__name__}")(_elementwise(_function))


def _of_whole_numbers(logical: Callable[..., Any], bitwise: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, *values: Any) -> Value:
        """(...) to (...): of truth values, or the bits of whole numbers."""
        tensors, order = aligned(*values)
        of_truth = all(str(getattr(each, "dtype", type(each).__name__)) == "bool" for each in tensors)
        return Value((logical if of_truth else bitwise)(*tensors), order)

    return build


calls(operator.and_, torch.bitwise_and, how="ops.logical_and")(
    _of_whole_numbers(keras.ops.logical_and, keras.ops.bitwise_and)
)
calls(operator.or_, torch.bitwise_or, how="ops.logical_or")(
    _of_whole_numbers(keras.ops.logical_or, keras.ops.bitwise_or)
)
calls(operator.invert, torch.bitwise_not, "bitwise_not", how="ops.logical_not")(
    _of_whole_numbers(keras.ops.logical_not, keras.ops.bitwise_not)
)


@calls(torch.clamp, torch.clip, torch.clamp_, "clamp", "clamp_", "clip", how="ops.clip")
def clamp(site: Site, x: Value, min: Any = None, max: Any = None) -> Value:
    """(...) to (...): not below `min`, not above `max`."""
    if min is not None:
        x = _elementwise(keras.ops.maximum)(site, x, min)
    return x if max is None else _elementwise(keras.ops.minimum)(site, x, max)


@calls(torch.where, how="ops.where")
def where(site: Site, condition: Value, x: Any, y: Any) -> Value:
    """Three tensors to what they broadcast to."""
    tensors, order = aligned(condition, x, y)
    return Value(keras.ops.where(*tensors), order)


@calls(torch.masked_fill, "masked_fill", "masked_fill_", how="ops.where")
def masked_fill(site: Site, x: Value, mask: Value, value: Any) -> Value:
    """(...) to (...): the value where the mask is true."""
    return where(site, mask, as_value(value), x)


# -- as they are -------------------------------------------------------------------------------------------------------


@calls("contiguous", "clone", torch.clone, "detach", "cpu", "requires_grad_", torch.detach, how="nothing")
def same(site: Site, x: Value, *unused: Any, **settings: Any) -> Value:
    """(...) to (...): what only torch tells apart."""
    return x


@calls("to", "type", "float", "long", "int", "bool", "type_as", "double", "half", "bfloat16", how="ops.cast")
def cast(site: Site, x: Value, *given: Any, **settings: Any) -> Value:
    """(...) to (...) in the kind of numbers that torch's result has."""
    wanted = site.dtypes.get(0, "")
    if wanted in ("float64", "float16", "bfloat16"):
        raise ConversionError(f"it computes in {wanted}; what is converted computes in float32")
    return x if not wanted or str(x.tensor.dtype) == wanted else Value(keras.ops.cast(x.tensor, wanted), x.order)


@calls(torch.nn.functional.dropout, torch.dropout, torch.nn.functional.dropout2d, how="nothing")
def dropout(site: Site, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """(...) to (...): nothing is dropped in evaluation. Refused where it is, whatever the mode of the network."""
    if training and p > 0:
        raise ConversionError(f"p={p:g} with training=True drops values at random in evaluation too")
    return x


@calls(builtins.getattr, how="a part of a result")
def attribute(site: Site, x: Any, name: str) -> Any:
    """What a named tuple or a tensor has under a name."""
    if isinstance(x, tuple) and name in ("values", "indices"):
        return x[("values", "indices").index(name)]
    if isinstance(x, Value) and name in ("T", "mT"):
        return transpose(site, x, -2, -1) if len(x.order) > 1 else x
    if name == "data":
        return x
    raise ConversionError(f"the attribute {name!r} of a result has no counterpart")


# -- axes --------------------------------------------------------------------------------------------------------------


def sizes_of(x: Value) -> tuple[int | None, ...]:
    """Its sizes in torch; None for what follows the batch."""
    return x.shape


def _static(sizes: Sequence[Any]) -> list[int | None]:
    return [each if isinstance(each, int) else None for each in sizes]


@calls(
    "view", "reshape", torch.reshape, "flatten", torch.flatten, "unflatten", torch.unflatten, "view_as", "reshape_as",
    torch.ravel, "ravel", moves_only=True, how="ops.reshape in torch's order",
)  # fmt: skip
def reshape(site: Site, x: Value, *unused: Any, **settings: Any) -> Value:
    """(...) to torch's sizes, in torch's order: that of a map of channels_last is not what lies in memory."""
    wanted = _static(site.sizes[0])
    have = list(x.shape)
    if wanted == have:
        return x
    if wanted.count(None) > 1:
        raise ConversionError(f"two axes of its result follow the batch: {_listed(site.sizes[0])}")
    merged = _merged(x, have, wanted)
    if merged is not None:
        return merged
    return Value.plain(keras.ops.reshape(_in_order(x), _target(wanted)))


def _listed(sizes: Sequence[Any]) -> str:
    return ", ".join(map(str, sizes))


def _target(sizes: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(-1 if each is None else each for each in sizes)


def _in_order(x: Value) -> Any:
    """The tensor to be reshaped, moved where it has to be: axes of size one are nowhere."""
    known = [axis for axis in x.order if x.shape[axis] != 1]
    return x.tensor if known == sorted(known) else plain(x)


def _merged(x: Value, have: Sequence[int | None], wanted: Sequence[int | None]) -> Value | None:
    """A reshape that merges neighbours, where they are neighbours in the port too; else None."""
    count = len(have) - len(wanted) + 1
    if count < 2 or x.order == tuple(range(len(have))):
        return None
    for first in range(len(wanted)):
        run = list(have[first : first + count])
        if (
            list(have[:first]) == list(wanted[:first])
            and list(have[first + count :]) == list(wanted[first + 1 :])
            and None not in run
            and math.prod(size or 0 for size in run) == wanted[first]
        ):
            break
    else:
        return None
    start = x.order.index(first)
    if x.order[start : start + count] != tuple(range(first, first + count)):
        return None
    kept = [axis for axis in x.order if not first < axis < first + count]
    order = tuple(axis if axis <= first else axis - count + 1 for axis in kept)
    sizes = [wanted[axis] for axis in order]
    return Value(keras.ops.reshape(x.tensor, _target(sizes)), order)


@calls("permute", torch.permute, moves_only=True, how="ops.transpose")
def permute(site: Site, x: Value, *dims: Any) -> Value:
    """(...) with its axes in that order: where the port has them so already, nothing is moved."""
    wanted = dims_of(x, dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)
    moved = Value(x.tensor, tuple(wanted.index(axis) for axis in x.order))
    return moved if moved.order == tuple(range(len(wanted))) else Value.plain(plain(moved))


@calls(
    "transpose", torch.transpose, "swapaxes", torch.swapaxes, "swapdims", torch.swapdims, moves_only=True,
    how="ops.transpose",
)  # fmt: skip
def transpose(site: Site, x: Value, dim0: int, dim1: int) -> Value:
    """(...) with two axes exchanged."""
    dims = list(range(len(x.order)))
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return permute(site, x, dims)


@calls("t", torch.t, moves_only=True, how="ops.transpose")
def t(site: Site, x: Value) -> Value:
    """(a, b) to (b, a)."""
    return transpose(site, x, 0, 1) if len(x.order) == 2 else x


@calls("movedim", torch.movedim, "moveaxis", torch.moveaxis, moves_only=True, how="ops.transpose")
def movedim(site: Site, x: Value, source: Any, destination: Any) -> Value:
    """(...) with some axes elsewhere."""
    rank = len(x.order)
    theirs, ours = (dims_of(x, each) for each in (source, destination))
    rest = iter([axis for axis in range(rank) if axis not in theirs])
    return permute(site, x, [theirs[ours.index(axis)] if axis in ours else next(rest) for axis in range(rank)])


@calls("squeeze", torch.squeeze, moves_only=True, how="ops.squeeze")
def squeeze(site: Site, x: Value, dim: Any = None) -> Value:
    """(..., 1, ...) to (..., ...)."""
    for axis in sorted((each for each in dims_of(x, dim) if x.shape[each] == 1), reverse=True):
        x = Value(keras.ops.squeeze(x.tensor, x.order.index(axis)), _without(x.order, axis))
    return x


def _without(order: Sequence[int], axis: int) -> tuple[int, ...]:
    """An order of axes, one of them taken out."""
    return tuple(each - (each > axis) for each in order if each != axis)


@calls("unsqueeze", torch.unsqueeze, "unsqueeze_", moves_only=True, how="ops.expand_dims")
def unsqueeze(site: Site, x: Value, dim: int) -> Value:
    """(..., ...) to (..., 1, ...)."""
    rank = len(x.order) + 1
    axis = dim % rank
    order = [each + (each >= axis) for each in x.order]
    place = order.index(axis + 1) if axis + 1 < rank else (order.index(axis - 1) + 1 if rank > 1 else 0)
    order.insert(place, axis)
    return Value(keras.ops.expand_dims(x.tensor, place), tuple(order))


@calls(
    "expand", torch.broadcast_to, "broadcast_to", "expand_as", "repeat", torch.tile, "tile", moves_only=True,
    how="ops.tile",
)  # fmt: skip
def expand(site: Site, x: Value, *unused: Any, **settings: Any) -> Value:
    """(...) repeated until it has torch's sizes: along axes of size one, or as a whole."""
    sizes = site.sizes[0]
    x = raised(x, len(sizes))
    times = []
    for have, want in zip((x.shape[axis] for axis in x.order), (sizes[axis] for axis in x.order), strict=True):
        if not isinstance(want, int) and want != Batch():
            raise ConversionError(f"it repeats a value {want} times, where N is the size of the batch")
        times.append(want // have if isinstance(want, int) and have is not None else 1)
    x = x if set(times) == {1} else Value(keras.ops.tile(x.tensor, times), x.order)
    for axis, size in enumerate(sizes):
        x = repeated(x, axis, site.batch) if size == Batch() and x.shape[axis] == 1 else x
    return x


def repeated(x: Value, axis: int, batch: Value | None) -> Value:
    """A tensor of size one along an axis of torch's, as often as the batch is large."""
    if batch is None:
        raise ConversionError("it follows the size of the batch, and no input has one")
    rows = batch.tensor[(slice(None), *[0] * (len(batch.tensor.shape) - 1))]
    nothing = keras.ops.zeros_like(rows, dtype=str(x.tensor.dtype))
    sizes = [-1 if each == axis else 1 for each in range(len(x.order))]
    return Value.plain(added(keras.ops.reshape(nothing, sizes), plain(x)))


@calls("flip", torch.flip, moves_only=True, how="ops.flip")
def flip(site: Site, x: Value, *dims: Any) -> Value:
    """(...) to (...), backwards along some axes."""
    wanted = dims_of(x, dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)
    return Value(keras.ops.flip(x.tensor, tuple(x.order.index(axis) for axis in wanted)), x.order)


@calls("roll", torch.roll, moves_only=True, how="ops.roll")
def roll(site: Site, x: Value, shifts: Any, dims: Any = None) -> Value:
    """(...) to (...), turned round along some axes."""
    if dims is None:
        raise ConversionError("roll without dims turns the values of the whole batch round")
    steps = (shifts,) if isinstance(shifts, int) else shifts
    tensor = x.tensor
    for step, axis in zip(steps, dims_of(x, dims), strict=True):
        tensor = keras.ops.roll(tensor, step, x.order.index(axis))
    return Value(tensor, x.order)


# -- parts and joins ---------------------------------------------------------------------------------------------------


@calls(
    torch.cat, torch.concat, torch.concatenate, moves_only=True, how="Concatenate",
)  # fmt: skip
def cat(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    """Tensors (..., a, ...), (..., b, ...) to (..., a + b, ...)."""
    values = [each for each in tensors if each.order != (0,) or each.shape != (0,)]
    found, order = aligned(*values)
    axis = order.index(dim % len(order))
    if len(found) == 1:
        return Value(found[0], order)
    if any(isinstance(each, np.ndarray) for each in found):
        return Value(keras.ops.concatenate(found, axis), order)
    return Value(site.layer(keras.layers.Concatenate(axis=axis, name=site.name()))(found), order)


@calls(torch.stack, moves_only=True, how="ops.stack")
def stack(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    """n tensors (...) to (..., n, ...)."""
    axis = dim % (len(tensors[0].order) + 1)
    return Value.plain(keras.ops.stack([plain(each) for each in tensors], axis))


@calls(
    "chunk", torch.chunk, "split", torch.split, "tensor_split", torch.tensor_split, "split_with_sizes",
    torch.split_with_sizes, moves_only=True, how="ops.split",
)  # fmt: skip
def split(site: Site, x: Value, *given: Any, dim: int | None = None, **settings: Any) -> tuple[Value, ...]:
    """(..., a + b, ...) to (..., a, ...), (..., b, ...)."""
    dim = dim if dim is not None else (given[1] if len(given) > 1 else 0)
    sizes = [site.sizes[number][dim] for number in range(len(site.sizes))]
    if x.shape[dim % len(x.order)] is None or not all(isinstance(each, int) for each in sizes):
        raise ConversionError("it splits the batch")
    if len(sizes) == 1:
        return (x,)
    ends = [int(each) for each in np.cumsum(sizes)[:-1]]
    return tuple(Value(each, x.order) for each in keras.ops.split(x.tensor, ends, site_axis(x, dim)))


def site_axis(x: Value, dim: int) -> int:
    """The axis of the port that is torch's `dim`."""
    return x.order.index(dim % len(x.order))


@calls("unbind", torch.unbind, moves_only=True, how="ops.take")
def unbind(site: Site, x: Value, dim: int = 0) -> tuple[Value, ...]:
    """(..., n, ...) to n tensors (..., ...)."""
    size = x.shape[dim % len(x.order)]
    if size is None:
        raise ConversionError("it takes the batch apart")
    return tuple(select(site, x, dim, index) for index in range(size))


@calls("select", torch.select, moves_only=True, how="a part")
def select(site: Site, x: Value, dim: int, index: int) -> Value:
    """(..., n, ...) to (..., ...)."""
    return _picked(site, x, [index if axis == dim % len(x.order) else slice(None) for axis in range(len(x.order))])


@calls("narrow", torch.narrow, moves_only=True, how="a part")
def narrow(site: Site, x: Value, dim: int, start: int, length: int) -> Value:
    """(..., n, ...) to (..., length, ...)."""
    part = slice(start, start + length)
    return _picked(site, x, [part if axis == dim % len(x.order) else slice(None) for axis in range(len(x.order))])


@calls("index_select", torch.index_select, moves_only=True, how="ops.take")
def index_select(site: Site, x: Value, dim: int, index: Value) -> Value:
    """(..., n, ...) to (..., m, ...)."""
    return Value(keras.ops.take(x.tensor, index.tensor, axis=site_axis(x, dim)), x.order)


@calls(operator.getitem, moves_only=True, how="a part")
def getitem(site: Site, x: Any, index: Any) -> Any:
    """What torch's index picks: numbers, slices, None and one tensor of places along one axis."""
    if not isinstance(x, Value):
        return x[index]
    given = list(index) if isinstance(index, (tuple, list)) else [index]
    _refuse_indices(given)
    taken = sum(each is not None and each is not Ellipsis for each in given)
    if Ellipsis not in [each if each is Ellipsis else None for each in given]:
        given.append(Ellipsis)
    place = next(number for number, each in enumerate(given) if each is Ellipsis)
    given[place : place + 1] = [slice(None)] * (len(x.order) - taken)
    return _picked(site, x, given)


def _refuse_indices(given: Sequence[Any]) -> None:
    tensors = [each for each in given if isinstance(each, (Value, list))]
    if len(tensors) > 1:
        raise ConversionError("it is indexed by several tensors at once")
    if any(isinstance(each, Value) and str(each.tensor.dtype) == "bool" for each in tensors):
        raise ConversionError("it is indexed by a mask, so that sizes follow values")
    sizes = [end for each in given if isinstance(each, slice) for end in (each.start, each.stop, each.step)]
    if any(isinstance(each, Batch) for each in (*given, *sizes)):
        raise ConversionError("it is indexed by the size of the batch")
    if any(isinstance(each, Value) for each in sizes):
        raise ConversionError("it is sliced at places that are computed")


def _picked(site: Site, x: Value, given: Sequence[Any]) -> Value:
    """A part of x; `given` has an index for each of its axes, and None for each new one."""
    own = [each for each in given if each is not None]
    for axis, each in enumerate(own):
        if isinstance(each, (Value, list)):
            places = each.tensor if isinstance(each, Value) else np.asarray(each, np.int64)
            if len(np.shape(places)) != 1:
                raise ConversionError("it is indexed by a tensor of several axes")
            x = Value(keras.ops.take(x.tensor, places, axis=x.order.index(axis)), x.order)
            own[axis] = slice(None)
    if any(each != slice(None) for each in own):
        tensor = x.tensor[tuple(own[axis] for axis in x.order)]
        order = x.order
        for axis in sorted((axis for axis, each in enumerate(own) if isinstance(each, int)), reverse=True):
            order = _without(order, axis)
        x = Value(tensor, order)
    kept = [each for each in given if not isinstance(each, int) or isinstance(each, bool)]
    for place, each in enumerate(kept):
        if each is None:
            x = unsqueeze(site, x, place)
    return x


# -- sums and means ----------------------------------------------------------------------------------------------------


def _reduced(x: Value, function: Callable[..., Any], dim: Any, keepdim: bool) -> Value:
    """What a function of Keras makes of some axes."""
    dims = dims_of(x, dim)
    axes = tuple(sorted(x.order.index(axis) for axis in dims))
    order = x.order
    for axis in sorted(dims, reverse=True) if not keepdim else ():
        order = _without(order, axis)
    return Value(function(x.tensor, axis=axes, keepdims=keepdim), order)


def _whole(x: Value) -> Value:
    """Truth values and whole numbers as torch adds them."""
    kind = str(x.tensor.dtype)
    return Value(keras.ops.cast(x.tensor, "int64"), x.order) if kind in ("bool", "int32", "uint8") else x


def _count(x: Value, dims: Sequence[int]) -> int | None:
    sizes = [x.shape[axis] for axis in dims]
    return None if None in sizes else math.prod(size or 0 for size in sizes)


@calls("mean", torch.mean, how="ops.mean; of many values in two steps")
def mean(site: Site, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    _refuse_dtype(dtype)
    dims = dims_of(x, dim)
    count = _count(x, dims)
    if count is not None and count < MANY:
        return _reduced(x, keras.ops.mean, dims, keepdim)
    near, rest = _near(x, dims)
    total = Value(keras.ops.add(near, rest), x.order)
    return total if keepdim else squeeze(site, total, dims)


def _near(x: Value, dims: Sequence[int]) -> tuple[Any, Any]:
    """A whole number near the mean, and the mean of what is left without it.

    Added one by one, 630 000 values of one sign are 70 000 ulps off. Less a whole number, and then a number of 256ths,
    pixels stay exact; what is left has both signs, and each axis by itself is short.
    """
    axes = sorted((x.order.index(axis) for axis in dims), reverse=True)
    near = keras.ops.round(keras.ops.mean(x.tensor, axis=tuple(axes), keepdims=True))
    left = keras.ops.subtract(x.tensor, near)
    parts = keras.ops.round(keras.ops.multiply(keras.ops.mean(left, axis=tuple(axes), keepdims=True), 256.0))
    closer = keras.ops.multiply(parts, 1 / 256)
    rest = keras.ops.subtract(left, closer)
    for axis in axes:
        rest = keras.ops.mean(rest, axis=axis, keepdims=True)
    return near, keras.ops.add(closer, rest)


@calls("sum", torch.sum, how="ops.sum; of many values by their mean")
def sum_(site: Site, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    _refuse_dtype(dtype)
    dims = dims_of(x, dim)
    count = _count(x, dims)
    if count is None or count < MANY or "float" not in str(x.tensor.dtype):
        return _reduced(_whole(x), keras.ops.sum, dims, keepdim)
    near, rest = _near(x, dims)
    total = Value(keras.ops.add(keras.ops.multiply(near, count), keras.ops.multiply(rest, count)), x.order)
    return total if keepdim else squeeze(site, total, dims)


def _refuse_dtype(dtype: Any) -> None:
    if dtype not in (None, torch.float32):
        raise ConversionError(f"dtype={dtype}: what is converted computes in float32")


def _reduces(function: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        """(...) to (...) without some axes, or with size one there."""
        return _reduced(x, function, dim, keepdim)

    return build


calls("amax", torch.amax, how="ops.max")(_reduces(keras.ops.max))
calls("amin", torch.amin, how="ops.min")(_reduces(keras.ops.min))
calls("all", torch.all, how="ops.all")(_reduces(keras.ops.all))
calls("any", torch.any, how="ops.any")(_reduces(keras.ops.any))
calls("logsumexp", torch.logsumexp, how="ops.logsumexp")(_reduces(keras.ops.logsumexp))


def _extreme(function: Callable[..., Any], place: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
        """(...) to () for all axes; for one, to (...) without it, and the places; of two tensors, to the larger."""
        if isinstance(dim, Value):
            return _elementwise(other)(site, x, dim)
        if dim is None:
            return _reduced(x, function, None, False)
        return _reduced(x, function, dim, keepdim), _places(x, place, dim, keepdim)

    return build


def _places(x: Value, function: Callable[..., Any], dim: int, keepdim: bool) -> Value:
    axis = dim % len(x.order)
    found = keras.ops.cast(function(x.tensor, axis=x.order.index(axis), keepdims=keepdim), "int64")
    return Value(found, x.order if keepdim else _without(x.order, axis))


calls("max", torch.max, how="ops.max")(_extreme(keras.ops.max, keras.ops.argmax, keras.ops.maximum))
calls("min", torch.min, how="ops.min")(_extreme(keras.ops.min, keras.ops.argmin, keras.ops.minimum))


def _places_of(function: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        """(...) to (...) without an axis: where along it the value is the greatest, or the least."""
        if dim is None:
            raise ConversionError("it counts places across the batch")
        return _places(x, function, dim, keepdim)

    return build


calls("argmax", torch.argmax, how="ops.argmax")(_places_of(keras.ops.argmax))
calls("argmin", torch.argmin, how="ops.argmin")(_places_of(keras.ops.argmin))


@calls("var", torch.var, how="ops.mean of squares of what is centred")
def var(site: Site, x: Value, dim: Any = None, *, correction: int = 1, unbiased: bool | None = None, keepdim: bool = False) -> Value:  # fmt: skip  # noqa: E501
    """(...) to (...) without some axes, or with size one there."""
    dims = dims_of(x, dim)
    count = _count(x, dims)
    correction = correction if unbiased is None else int(unbiased)
    if count is None and correction:
        raise ConversionError("it divides by the size of the batch, less one")
    centred = Value(keras.ops.subtract(x.tensor, mean(site, x, dims, True).tensor), x.order)
    squares = Value(keras.ops.square(centred.tensor), x.order)
    found = mean(site, squares, dims, keepdim)
    if not correction or count is None:
        return found
    return Value(keras.ops.multiply(found.tensor, count / (count - correction)), found.order)


@calls("std", torch.std, how="ops.sqrt of the variance")
def std(site: Site, x: Value, dim: Any = None, **settings: Any) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    found = var(site, x, dim, **settings)
    return Value(keras.ops.sqrt(found.tensor), found.order)


@calls("norm", torch.norm, torch.linalg.vector_norm, torch.linalg.norm, how="ops.sqrt of a sum of squares")
def norm(site: Site, x: Value, p: Any = 2, dim: Any = None, keepdim: bool = False, **settings: Any) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    p = settings.get("ord", p)
    if p in (1, 1.0):
        return _reduced(Value(keras.ops.abs(x.tensor), x.order), keras.ops.sum, dim, keepdim)
    if p not in (2, 2.0, None, "fro") or (p == "fro" and dim is not None and not isinstance(dim, int)):
        raise ConversionError(f"p={p} has no counterpart; 1 and 2 have")
    squares = sum_(site, Value(keras.ops.square(x.tensor), x.order), dim, keepdim)
    return Value(keras.ops.sqrt(squares.tensor), squares.order)


@calls(torch.nn.functional.normalize, how="a division by the norm")
def normalize(site: Site, x: Value, p: Any = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Value:
    """(...) to (...): of norm one along an axis."""
    length = norm(site, x, p, dim, True)
    return Value(keras.ops.true_divide(x.tensor, keras.ops.maximum(length.tensor, eps)), x.order)


@calls("cumsum", torch.cumsum, how="ops.cumsum")
def cumsum(site: Site, x: Value, dim: int) -> Value:
    """(...) to (...): sums of all before, and itself."""
    return Value(keras.ops.cumsum(_whole(x).tensor, axis=site_axis(x, dim)), x.order)


# -- products ----------------------------------------------------------------------------------------------------------


@calls(operator.matmul, torch.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm", "__matmul__", how="ops.matmul")
def matmul(site: Site, x: Value, y: Value) -> Value:
    """(..., a, b) and (..., b, c) to (..., a, c)."""
    return Value.plain(keras.ops.matmul(plain(x), plain(y)))


@calls(torch.einsum, torch.functional.einsum, how="ops.einsum")
def einsum(site: Site, equation: Any, *operands: Any) -> Value:
    """What the equation says."""
    if not isinstance(equation, str):
        raise ConversionError("einsum without an equation has no counterpart")
    values = operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    return Value.plain(keras.ops.einsum(equation.replace(" ", ""), *map(plain, values)))


@calls(torch.baddbmm, "baddbmm", torch.addmm, "addmm", how="ops.matmul")
def baddbmm(site: Site, add_to: Value, x: Value, y: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """(a, c), (a, b) and (b, c) to (a, c); or batches of these."""
    product = matmul(site, x, y)
    product = product if alpha == 1 else _elementwise(keras.ops.multiply)(site, product, alpha)
    if beta == 0:
        return product
    return add(site, add_to if beta == 1 else _elementwise(keras.ops.multiply)(site, add_to, beta), product)
