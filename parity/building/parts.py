"""Parts of a tensor or of a result: split, selected, indexed; refused where sizes would follow values."""

import builtins
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.building.calls import calls, site_axis
from parity.building.reshaping import transpose, unsqueeze
from parity.building.values import Batch, Site, Value, without
from parity.errors import ConversionError
from parity.frameworks import keras, torch


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
            order = without(order, axis)
        x = Value(tensor, order)
    kept = [each for each in given if not isinstance(each, int) or isinstance(each, bool)]
    for place, each in enumerate(kept):
        if each is None:
            x = unsqueeze(site, x, place)
    return x
