"""Parts of a tensor or of a result: split, selected, indexed; refused where sizes would follow values."""

import builtins
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.calls import calls, plain, site_axis
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
    size = x.shape[dim % len(x.order)]
    if start < 0 and size is None:
        raise ConversionError("it counts from the end of the batch")
    start = start + (size or 0) if start < 0 else start
    part = slice(start, start + length)
    return _picked(site, x, [part if axis == dim % len(x.order) else slice(None) for axis in range(len(x.order))])


@calls("index_select", torch.index_select, moves_only=True, how="ops.take")
def index_select(site: Site, x: Value, dim: int, index: Value) -> Value:
    """(..., n, ...) to (..., m, ...)."""
    return Value(keras.ops.take(x.tensor, index.tensor, axis=site_axis(x, dim)), x.order)


@calls(operator.getitem, moves_only=True, how="a part")
def getitem(site: Site, x: Any, index: Any) -> Any:
    """What torch's index picks: numbers, slices, None, and places along an axis; or along several, if they are
    neighbours and the places are constants."""
    if not isinstance(x, Value):
        return x[index]
    given = [_places_of(each) for each in (index if isinstance(index, tuple) else [index])]
    _refuse_indices(given)
    taken = sum(each is not None and each is not Ellipsis for each in given)
    if not any(each is Ellipsis for each in given):
        given.append(Ellipsis)
    place = next(number for number, each in enumerate(given) if each is Ellipsis)
    given[place : place + 1] = [slice(None)] * (len(x.order) - taken)
    return _picked(site, x, given)


def _places_of(index: Any) -> Any:
    """An index of constants as an array of places, or as a number; a mask as the places where it is true."""
    if isinstance(index, list):
        index = np.asarray(index)
    elif isinstance(index, Value) and isinstance(index.tensor, np.ndarray):
        index = index.moved(range(len(index.order)))
    if not isinstance(index, np.ndarray):
        return index
    if index.dtype == bool and index.ndim != 1:
        raise ConversionError("it is indexed by a mask of several axes")
    places = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
    return int(places) if places.ndim == 0 else places


def _refuse_indices(given: Sequence[Any]) -> None:
    if any(isinstance(each, Value) and str(each.tensor.dtype) == "bool" for each in given):
        raise ConversionError("it is indexed by a mask, so that sizes follow values")
    if any(isinstance(each, bool) for each in given):
        raise ConversionError("it is indexed by True or False")
    sizes = [end for each in given if isinstance(each, slice) for end in (each.start, each.stop, each.step)]
    if any(isinstance(each, Batch) for each in (*given, *sizes)):
        raise ConversionError("it is indexed by the size of the batch")
    if any(isinstance(each, Value) for each in sizes):
        raise ConversionError("it is sliced at places that are computed")


def _picked(site: Site, x: Value, given: Sequence[Any]) -> Value:
    """A part of x; `given` has an index for each of its axes, and None for each new one."""
    x, given = _taken(*_without_numbers(x, given))
    own = [each for each in given if each is not None]
    if any(each != slice(None) for each in own):
        x = Value(x.tensor[tuple(own[axis] for axis in x.order)], x.order)
    for place, each in enumerate(given):
        if each is None:
            x = unsqueeze(site, x, place)
    return x


def _without_numbers(x: Value, given: Sequence[Any]) -> tuple[Value, list[Any]]:
    """What numbers pick, as torch does it first, and the other indices."""
    own = [each for each in given if each is not None]
    numbers = [axis for axis, each in enumerate(own) if isinstance(each, int)]
    if not numbers:
        return x, list(given)
    order = x.order
    for axis in reversed(numbers):
        order = without(order, axis)
    picked = x.tensor[tuple(own[axis] if axis in numbers else slice(None) for axis in x.order)]
    return Value(picked, order), [each for each in given if not isinstance(each, int)]


def _taken(x: Value, given: list[Any]) -> tuple[Value, list[Any]]:
    """What places pick, and the other indices: nothing is left to pick from the axes that the places make."""
    at = [number for number, each in enumerate(given) if isinstance(each, (Value, np.ndarray))]
    if not at:
        return x, given
    first, last = at[0], at[-1]
    axis = sum(each is not None for each in given[:first])
    places = given[first]
    if len(at) > 1:
        x, places = _joined(x, axis, given[first : last + 1])
    rank = len(places.order if isinstance(places, Value) else places.shape)
    places = plain(places) if isinstance(places, Value) else places
    if rank == 1:
        x = Value(keras.ops.take(x.tensor, places, axis=x.order.index(axis)), x.order)
    else:
        x = Value.plain(keras.ops.take(plain(x), places, axis=axis))
    return x, [*given[:first], *[slice(None)] * rank, *given[last + 1 :]]


def _joined(x: Value, axis: int, places: Sequence[Any]) -> tuple[Value, Array]:
    """Neighbouring axes made one, from `axis` on, and where in it the places along each of them are."""
    if not all(isinstance(each, np.ndarray) for each in places):
        raise ConversionError("it is indexed by several tensors at once that are computed, or that are apart")
    sizes = x.shape[axis : axis + len(places)]
    if None in sizes:
        raise ConversionError("it is indexed by several tensors at once, and one of their axes is the batch")
    known = [size or 0 for size in sizes]
    flat = np.ravel_multi_index(
        np.broadcast_arrays(*(each % size for each, size in zip(places, known, strict=True))), known
    )
    shape = [*x.shape[:axis], int(np.prod(known)), *x.shape[axis + len(places) :]]
    joined = keras.ops.reshape(plain(x), [-1 if size is None else size for size in shape])
    return Value.plain(joined), np.asarray(flat)
