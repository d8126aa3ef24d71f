"""Values in order, the greatest of them, and values read at places that are computed, along any of torch's axes.

Of values that are equal the first comes first, as in torch's own sorting on a CPU; which of them `topk` takes, torch
leaves open.
"""

from typing import Any

from parity.building.calls import calls, plain
from parity.building.values import Site, Value
from parity.errors import ConversionError
from parity.frameworks import keras, torch

MOST = 46_340
"""Of more values than that, a place among as many groups is no number of 32 bits."""


def _ranked(x: Value, dim: int, count: int | None, *, greatest: bool) -> tuple[Value, Value]:
    """The greatest values along an axis, or the least, the outermost first, and where they are; all where `count` is
    None."""
    axis, size = x.order.index(dim % len(x.order)), x.shape[dim % len(x.order)]
    kind = keras.backend.standardize_dtype(x.tensor.dtype)
    if size is None or kind == "bool":
        raise ConversionError("it puts the batch in order" if size is None else "it puts truth values in order")
    turned = keras.ops.negative if "float" in kind else keras.ops.bitwise_not
    last = keras.ops.moveaxis(x.tensor, axis, -1)
    values, places = keras.ops.top_k(last if greatest else turned(last), size)
    found = (values if greatest else turned(values), _first_first(values, places, size))
    ordered, at = (Value(keras.ops.moveaxis(each[..., :count], -1, axis), x.order) for each in found)
    return ordered, at


def _first_first(values: Any, places: Any, size: int) -> Any:
    """The places of values in order; of equal ones the first comes first. To XLA by itself -0 is less than 0."""
    if size > MOST:
        raise ConversionError(f"it puts {size} values in order; {MOST} are what can be numbered twice in 32 bits")
    another = keras.ops.cast(keras.ops.not_equal(values[..., 1:], values[..., :-1]), "int32")
    first = keras.ops.zeros_like(places[..., :1], dtype="int32")
    group = keras.ops.cumsum(keras.ops.concatenate([first, another], axis=-1), axis=-1)
    keys = keras.ops.add(keras.ops.multiply(group, size), keras.ops.cast(places, "int32"))
    keys, _ = keras.ops.top_k(keras.ops.negative(keys), size)
    return keras.ops.cast(keras.ops.mod(keras.ops.negative(keys), size), "int64")


@calls("sort", torch.sort, how="ops.top_k of all")
def sort(site: Site, x: Value, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """(..., n, ...) to the same in order along an axis, and where each was."""
    return _ranked(x, dim, None, greatest=descending)


@calls("argsort", torch.argsort, how="ops.top_k of all")
def argsort(site: Site, x: Value, dim: int = -1, descending: bool = False, stable: bool = False) -> Value:
    """(..., n, ...) to where the values are that are the least, the next, and so on."""
    return _ranked(x, dim, None, greatest=descending)[1]


@calls("topk", torch.topk, how="ops.top_k")
def topk(site: Site, x: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(..., n, ...) to (..., k, ...): the greatest along an axis, or the least, and where they are."""
    if not sorted:
        raise ConversionError("sorted=False leaves open in which order they come")
    return _ranked(x, dim, k, greatest=largest)


@calls("gather", torch.gather, moves_only=True, how="ops.take_along_axis")
def gather(site: Site, x: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Value:
    """(..., n, ...) and places (..., m, ...) along one axis to (..., m, ...); of the others the first so many."""
    tensor, places, axis = plain(x), plain(index), dim % len(x.order)
    wanted = [size if each != axis else None for each, size in enumerate(index.shape)]
    if any(size is not None and size != have for size, have in zip(wanted, x.shape, strict=True)):
        tensor = tensor[tuple(slice(size) for size in wanted)]
    return Value.plain(keras.ops.take_along_axis(tensor, places, axis=axis))
