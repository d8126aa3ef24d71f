"""How one array is another, changed: the transforms that ports apply by mistake, found from the values alone.

`found(changed, original, layout)` yields each transform T with changed = T(original), and, where it can be undone, a
function of `keras.ops` that undoes it. What it yields are candidates, found on samples: the replay decides.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.diagnosis.functions import FUNCTIONS, PRECISIONS
from parity.frameworks import keras

NEAR = 1e-3
"""Relative distance below which a transform is a candidate."""
REACH = 3
"""How many pixels a shift is looked for."""
PLACES = 1 << 12
"""Values looked at when a transform is looked for."""


@dataclass(frozen=True, kw_only=True)
class Relation:
    """`kind` names the transform, `detail` says it in words with "it" for the original; `undo` and `redo` are the two
    ways between them."""

    kind: str
    detail: str
    undo: Callable[[Any], Any] | None = None
    redo: Callable[[Any], Any] | None = None
    axis: str = ""


def found(changed: Array, original: Array, layout: str, limit: float = NEAR) -> Iterator[Relation]:
    """The transforms that make `changed` of `original` to within `limit`, the relative RMS of what is left.

    `layout` has a letter for each axis, such as "NHWC".
    """
    if changed.shape != original.shape or changed.size < 2 or not _finite(changed, original):
        return
    if np.array_equal(changed, original):
        return
    for search in (_rounding, _factor, _permutations, _transposes, _shifts, _functions, _by_channel):
        yield from search(changed, original, layout, limit)


def near(changed: Array, original: Array, limit: float = NEAR) -> bool:
    """Whether the RMSE of a sample is small beside its RMS."""
    a, b = _sample(changed), _sample(original)
    return float(np.linalg.norm(a - b)) <= limit * float(np.linalg.norm(b))


def _sample(array: Array) -> npt.NDArray[np.float64]:
    places = np.random.default_rng(0).integers(array.size, size=min(array.size, PLACES))
    return array[np.unravel_index(places, array.shape)].astype(np.float64)


def _finite(*arrays: Array) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _rounding(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    for name, rounding in PRECISIONS.items():
        if np.array_equal(changed, rounding(original)):
            yield Relation(kind="precision", detail=f"it is rounded to {name}")


def _factor(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    """A constant factor, a constant offset, or both."""
    a, b = _sample(changed), _sample(original)
    size = float(b @ b)
    factor = float(a @ b) / size if size else 0.0
    offset = float(np.mean(a - b))
    if factor and factor != 1 and near(changed, original * factor, limit):
        detail = f"it is multiplied by {factor:.7g}"
        yield Relation(kind="factor", detail=detail, undo=lambda x: x / factor, redo=lambda x: x * factor)
    if offset and near(changed, original + np.float32(offset), limit) and not near(changed, original, 1e-7):
        detail = f"{offset:.7g} is added to it"
        yield Relation(kind="offset", detail=detail, undo=lambda x: x - offset, redo=lambda x: x - -offset)
    slope, intercept = _line(a, b)
    if (
        factor
        and abs(slope) > 1e-6
        and not near(changed, original * factor, limit)
        and abs(intercept) > 1e-6 * np.std(a)
    ):
        straight = original * slope + intercept
        if near(changed, straight, limit) and abs(slope - 1) > 1e-6:
            detail = f"it is multiplied by {slope:.7g} and {intercept:.7g} is added"
            yield Relation(kind="affine", detail=detail, undo=lambda x: (x - intercept) / slope)


def _by_channel(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    """A factor and an offset for each channel."""
    if "C" not in layout or changed.ndim < 3:
        return
    axis = layout.index("C")
    a, b = (np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(np.float64) for x in (changed, original))
    spread = b.var(1)
    if b.shape[1] < 3 or not (spread > 0).all():
        return
    slopes = ((a - a.mean(1, keepdims=True)) * (b - b.mean(1, keepdims=True))).mean(1) / spread
    offsets = a.mean(1) - slopes * b.mean(1)
    left = a - slopes[:, None] * b - offsets[:, None]
    if float(np.linalg.norm(left)) <= 1e-5 * float(np.linalg.norm(a)):
        shape = [1] * changed.ndim
        shape[axis] = -1
        factor, offset = (each.reshape(shape).astype(np.float32) for each in (slopes, offsets))
        yield Relation(
            kind="affine by channel",
            detail="each channel has a factor and an offset of its own",
            redo=lambda x: x * factor - -offset,
            axis=layout[axis],
        )


def _line(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> tuple[float, float]:
    spread = float(np.var(b))
    slope = float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread else 0.0
    return slope, float(a.mean() - slope * b.mean())


def _permutations(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    """Slices along one axis in another order."""
    for axis, letter in enumerate(layout):
        if changed.shape[axis] < 2 or letter == "N":
            continue
        order = matching(changed, original, axis, limit)
        if order is None or np.array_equal(order, np.arange(order.size)):
            continue
        back = np.argsort(order)
        yield Relation(
            kind="permutation",
            axis=letter,
            detail=f"{AXIS_NAMES.get(letter, letter)} are {in_words(order)}",
            undo=partial(keras.ops.take, indices=back.tolist(), axis=axis),
            redo=partial(keras.ops.take, indices=order.tolist(), axis=axis),
        )


SLICE, SLICES = 96, 1 << 18
"""How many values of one slice are looked at, at least, and of all of them, at most."""

AXIS_NAMES = {"C": "its channels", "T": "its frames", "H": "its rows", "W": "its columns", "L": "its steps"}


def matching(changed: Array, original: Array, axis: int, limit: float = NEAR) -> npt.NDArray[np.int64] | None:
    """The order with changed = take(original, order) along an axis, if there is one; from a sample of each slice.

    Slices that are zero nearly everywhere, as after a ReLU, are told apart by few of their values: all are looked at
    where they are not too many.
    """
    count = changed.shape[axis]
    a, b = (np.moveaxis(array, axis, 0).reshape(count, -1) for array in (changed, original))
    wanted = max(SLICE, SLICES // count)
    if a.shape[1] > wanted:
        places = np.random.default_rng(0).integers(a.shape[1], size=wanted)
        a, b = a[:, places], b[:, places]
    a, b = a.astype(np.float64), b.astype(np.float64)
    distances = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    order: npt.NDArray[np.int64] = distances.argmin(1).astype(np.int64)
    if len(np.unique(order)) != count:
        order = _one_to_one(distances)
    scale = max(float((b**2).sum()) / count, 1e-300)
    if float(np.maximum(distances[np.arange(count), order], 0).sum()) > limit**2 * scale * count:
        return None
    return order


def _one_to_one(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Slices that are alike, such as dead channels, are each given a partner of their own."""
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(distances)
    return np.asarray(order, np.int64)


def in_words(order: npt.NDArray[np.int64]) -> str:
    """An order of slices as people call it: reversed, rotated, shuffled in groups, or the numbers."""
    count = order.size
    plain = np.arange(count)
    if np.array_equal(order, plain[::-1]):
        return "in reverse order" if count != 2 else "exchanged"
    moved = np.flatnonzero(order != plain)
    if moved.size == 2:
        return f"exchanged: {moved[0]} and {moved[1]}"
    turn = int(order[0])
    if np.array_equal(order, np.roll(plain, -turn)):
        return f"rotated by {turn}"
    for groups in range(2, count):
        if count % groups == 0 and np.array_equal(order, plain.reshape(groups, -1).T.ravel()):
            return f"interleaved as from {groups} groups"
    shown = ", ".join(map(str, order[:8]))
    return f"in the order {shown}{', ...' if count > 8 else ''}"


def _transposes(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    """Axes of equal size exchanged."""
    for order in itertools.permutations(range(changed.ndim)):
        if order == tuple(range(changed.ndim)) or np.transpose(original, order).shape != changed.shape:
            continue
        if near(changed, np.transpose(original, order), limit):
            moved = " and ".join(layout[axis] for axis, now in enumerate(order) if axis != now)
            back = tuple(int(axis) for axis in np.argsort(order))
            yield Relation(
                kind="transpose",
                detail=f"its axes {moved} are exchanged",
                undo=partial(keras.ops.transpose, axes=back),
                redo=partial(keras.ops.transpose, axes=order),
            )


def _shifts(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    """Moved by a few places along the axes of space or time; what comes in at the border may be anything."""
    axes = [axis for axis, letter in enumerate(layout) if letter in "HWL" and changed.shape[axis] > 2]
    reach = [min(REACH, changed.shape[axis] // 2) for axis in axes]
    for steps in itertools.product(*(range(-most, most + 1) for most in reach)):
        if not any(steps):
            continue
        here, there = [slice(None)] * changed.ndim, [slice(None)] * changed.ndim
        for axis, step in zip(axes, steps, strict=True):
            size = changed.shape[axis]
            here[axis] = slice(max(step, 0), size + min(step, 0))
            there[axis] = slice(max(-step, 0), size + min(-step, 0))
        if near(changed[tuple(here)], original[tuple(there)], 1e-6):
            moved = " and ".join(
                f"{step:+d} along {layout[axis]}" for axis, step in zip(axes, steps, strict=True) if step
            )
            yield Relation(kind="shift", detail=f"it is shifted by {moved}")


def _functions(changed: Array, original: Array, layout: str, limit: float) -> Iterator[Relation]:
    """An activation applied to it."""
    a, b = _sample(changed), _sample(original)
    negative = b < 0
    if negative.any() and np.allclose(a[~negative], b[~negative], rtol=1e-6, atol=0):
        slope = float(a[negative] @ b[negative]) / float(b[negative] @ b[negative])
        if 0 < slope != 1 and np.allclose(a[negative], slope * b[negative], rtol=1e-4, atol=1e-30):
            yield Relation(kind="function", detail=f"a leaky ReLU of slope {slope:.6g} is applied to it", axis="leaky")
    for name, function in FUNCTIONS.items():
        value = function(b)
        size = float(np.linalg.norm(value))
        if np.isfinite(size) and float(np.linalg.norm(a - value)) <= 1e-5 * size:
            yield Relation(kind="function", detail=f"{name} is applied to it", axis=name)
