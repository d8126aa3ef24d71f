"""Whether values are others rounded to fewer bits: of a float format, or to a grid of integers."""

from typing import Any

import numpy as np

from parity.axes import Array

FEWEST = 4
"""Steps of a grid that values take at least: three different ones can lie on a grid by chance, or by one change."""


def mantissa(values: Array) -> int:
    """How many bits of the 23 the values use."""
    used = int(np.bitwise_or.reduce(np.ascontiguousarray(values, np.float32).view(np.uint32).ravel()) & 0x7FFFFF)
    return 23 - ((used & -used).bit_length() - 1) if used else 0


def within(weight: Array, source: Array, step: Any) -> bool:
    """Whether no value is further off than a step."""
    return bool(np.all(np.abs(weight - source) <= 1.01 * step))


def grid(weight: Array, source: Array) -> str:
    """Whether the values lie on a grid of 8 or 4 bits: for the whole tensor or by channel, symmetric or not."""
    if not within(weight, source, 0.1 * np.abs(weight).max()):
        return ""
    for bits in (8, 4):
        for axis in (None, *range(weight.ndim)):
            others = None if axis is None else tuple(other for other in range(weight.ndim) if other != axis)
            if axis is not None and weight.size // weight.shape[axis] < 8:
                continue
            for symmetric in (True, False):
                first = _on_grid(*_some_slices(axis, weight, source), others, bits, symmetric)
                if first and _on_grid(weight, source, others, bits, symmetric):
                    scope = "per tensor" if axis is None else f"per slice of axis {axis}"
                    return f"int{bits} {scope}"
    return ""


def _on_grid(weight: Array, source: Array, axes: Any, bits: int, symmetric: bool) -> bool:
    low = weight.min(axis=axes, keepdims=True).astype(np.float64)
    high = weight.max(axis=axes, keepdims=True).astype(np.float64)
    top = 2 ** (bits - 1) - 1
    step = np.maximum(np.abs(low), np.abs(high)) / top if symmetric else (high - low) / (2**bits - 1)
    step, start = np.where(step > 0, step, 1), 0.0 if symmetric else low
    head = (slice(0, 2),) * (weight.ndim - 1)
    if axes is None and not _whole((weight - start)[head] / step):
        return False
    taken = (weight - start) / step
    return _whole(taken) and within(weight, source, step) and weight.size > 8 and _several(taken, axes)


def _several(taken: Any, axes: Any) -> bool:
    """Whether the values of the tensor, or of some slice of it, take several steps of the grid."""
    if axes is None:
        return np.unique(np.round(taken)).size >= FEWEST
    (kept,) = set(range(taken.ndim)) - set(axes)
    return any(np.unique(np.round(part)).size >= FEWEST for part in np.moveaxis(taken, kept, 0))


def _whole(places: Any) -> bool:
    return float(np.abs(places - np.round(places)).max()) < 2e-3


def _some_slices(axis: int | None, weight: Array, source: Array) -> tuple[Array, Array]:
    """The first slices along an axis: if they do not lie on a grid, the others need not be looked at."""
    if axis is None:
        return weight, source
    few = range(min(2, weight.shape[axis]))
    return np.take(weight, few, axis=axis), np.take(source, few, axis=axis)
