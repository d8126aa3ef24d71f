"""The same values in other places: sizes read in torch's order, axes moved, added, taken away, repeated, turned.

Where the port has the axes as they are wanted already, nothing is moved. `shapes` has the modules that do such things.
"""

import math
from collections.abc import Sequence
from typing import Any

from parity.building.broadcasting import added, raised
from parity.building.calls import calls, dims_of, plain
from parity.building.values import Batch, Site, Value, without
from parity.errors import ConversionError
from parity.frameworks import keras, torch


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
        x = Value(keras.ops.squeeze(x.tensor, x.order.index(axis)), without(x.order, axis))
    return x


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
