"""Padding and resampling written with `keras.ops` as torch does them, for replays and repairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import keras

Sides = tuple[tuple[int, int], ...]
"""What is added before and after, for each axis of space."""


def padded(x: Any, axes: Sequence[int], sides: Sequence[Sequence[int]], mode: str = "zeros", value: float = 0.0) -> Any:
    """`x` padded along `axes`; `mode` is zeros, constant, reflect, replicate or circular as in torch, or symmetric."""
    if mode in ("replicate", "circular"):
        for axis, (before, after) in zip(axes, sides, strict=True):
            x = _joined(x, axis, int(before), int(after), mode)
        return x
    widths = [(0, 0)] * len(x.shape)
    for axis, (before, after) in zip(axes, sides, strict=True):
        widths[axis] = (int(before), int(after))
    if mode in ("reflect", "symmetric"):
        return keras.ops.pad(x, widths, mode=mode)
    return keras.ops.pad(x, widths, mode="constant", constant_values=value)


def _joined(x: Any, axis: int, before: int, after: int, mode: str) -> Any:
    """Copies of the edge, or of the other end, put before and after."""

    def part(start: int | None, stop: int | None) -> Any:
        index: list[Any] = [slice(None)] * len(x.shape)
        index[axis] = slice(start, stop)
        return x[tuple(index)]

    size = x.shape[axis]
    if mode == "circular":
        head = [part(size - before, size)] if before else []
        tail = [part(0, after)] if after else []
    else:
        head = [part(0, 1)] * before
        tail = [part(size - 1, size)] * after
    return keras.ops.concatenate([*head, x, *tail], axis=axis) if head or tail else x


def cropped(x: Any, axes: Sequence[int], starts: Sequence[int], sizes: Sequence[int]) -> Any:
    """`x` from `starts`, `sizes` long, along `axes`."""
    index: list[Any] = [slice(None)] * len(x.shape)
    for axis, start, size in zip(axes, starts, sizes, strict=True):
        index[axis] = slice(int(start), int(start) + int(size))
    return x[tuple(index)]


def resampled(x: Any, axes: Sequence[int], matrices: Sequence[Array]) -> Any:
    """`x` with each axis of `axes` multiplied by a matrix (outputs, inputs)."""
    for axis, matrix in zip(axes, matrices, strict=True):
        moved = keras.ops.moveaxis(x, axis, -1)
        x = keras.ops.moveaxis(keras.ops.matmul(moved, np.ascontiguousarray(matrix.T, np.float32)), -1, axis)
    return x
