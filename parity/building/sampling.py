"""Sampling a map at places that are computed: `grid_sample`, and `affine_grid`, which makes such places.

A place has a coordinate along each axis of space, x (the last axis) first. Each is brought to the map's positions, and
to its inside where the padding says so; the values around it are gathered and weighted, as torch does it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.building.registry import builds
from parity.building.values import Site, Value, channels_order
from parity.errors import ConversionError
from parity.frameworks import keras, torch

F = torch.nn.functional
FAR = 2.0**24
"""Beyond this, float32 has no positions between the whole ones, and no map is that large."""


@builds(F.grid_sample, layout="values", how="positions computed, values gathered and weighted", limits="fixed sizes")
def grid_sample(
    site: Site,
    input: Value,
    grid: Value,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Value:
    """Maps (N, c, h, w) at places (N, h', w', 2) to (N, c, h', w'); or one more axis of space, and 3."""
    rank = len(input.order)
    order = channels_order(rank, "channels_last")
    maps, places = input.moved(order), grid.moved(range(len(grid.order)))
    sides, to = list(maps.shape[1:-1]), list(places.shape[1:-1])
    if None in (*sides, *to):
        raise ConversionError(f"grid_sample of a map of {sides} at {to} places: their sizes are to be fixed")
    places = keras.ops.reshape(places, (-1, int(np.prod(to)), rank - 2))
    sampler = _Sampler(maps, sides, padding_mode, bool(align_corners))
    along = [sampler.positions(places[:, :, -1 - i], side) for i, side in enumerate(sides)]
    values = {"bilinear": sampler.linear, "nearest": sampler.nearest, "bicubic": sampler.cubic}[mode](along)
    result = Value(keras.ops.reshape(values, (-1, *to, maps.shape[-1])), order)
    order = channels_order(rank, site.data_format)
    return Value(result.moved(order), order)


class _Sampler:
    """Maps (N, ..., c) with the sizes of their space, to be read at positions along each axis, (N, places) each."""

    def __init__(self, maps: Any, sides: Sequence[int], padding: str, aligned: bool) -> None:
        self._flat = keras.ops.reshape(maps, (-1, int(np.prod(sides)), maps.shape[-1]))
        self._sides, self._padding, self._aligned = sides, padding, aligned

    def positions(self, coordinates: Any, side: int) -> Any:
        """Coordinates from -1 to 1 as positions: from middle to middle of the outer values, or from edge to edge."""
        if self._aligned:
            return (coordinates + 1.0) * ((side - 1) / 2)
        return (coordinates + 1.0) * (side / 2) - 0.5

    def _inside(self, at: Any, side: int) -> Any:
        """Positions brought inside where the padding says so; with zeros they stay, but for those far away."""
        if self._padding == "reflection":
            at = self._reflected(at, side)
        if self._padding != "zeros":
            return keras.ops.clip(at, 0.0, float(side - 1))
        return keras.ops.clip(at, -FAR, FAR)

    def _reflected(self, at: Any, side: int) -> Any:
        """Positions mirrored at the middle of the outer values, or at the edges, as often as it takes."""
        offset = 0.0 if self._aligned else 0.5
        span = 2.0 * (side - 1 if self._aligned else side)
        if not span:
            return keras.ops.zeros_like(at)
        away = keras.ops.abs(at + offset)
        extra = away - keras.ops.floor(away / span) * span
        return keras.ops.minimum(extra, span - extra) - offset

    def nearest(self, along: Sequence[Any]) -> Any:
        """(N, places, c): the value nearest to each position; half way, the even one."""
        at = [keras.ops.round(self._inside(at, side)) for at, side in zip(along, self._sides, strict=True)]
        return self._read([keras.ops.expand_dims(each, -1) for each in at])[:, :, 0]

    def linear(self, along: Sequence[Any]) -> Any:
        """(N, places, c): the values around each position, by how near they are along every axis."""
        taps, weights = [], []
        for at, side in zip(along, self._sides, strict=True):
            at = keras.ops.expand_dims(self._inside(at, side), -1)
            low = keras.ops.floor(at)
            taps.append(_each_added(low, [0.0, 1.0]))
            weights.append(keras.ops.concatenate([low + 1.0 - at, at - low], axis=-1))
        return self._weighted(taps, weights)

    def cubic(self, along: Sequence[Any]) -> Any:
        """(N, places, c): four values along each axis, each brought inside by itself, by the cubic of a = -0.75."""
        taps, weights = [], []
        for at, side in zip(along, self._sides, strict=True):
            at = keras.ops.expand_dims(keras.ops.clip(at, -FAR, FAR), -1)
            low = keras.ops.floor(at)
            taps.append(self._inside(_each_added(low, [-1.0, 0.0, 1.0, 2.0]), side))
            weights.append(keras.ops.concatenate(_cubic(at - low), axis=-1))
        return self._weighted(taps, weights)

    def _weighted(self, taps: Sequence[Any], weights: Sequence[Any]) -> Any:
        """The sum over the taps along all axes, (N, places, k) each: values, times the products of their weights."""
        product = math.prod(_spread(weights))
        values = self._read(taps)
        product = keras.ops.reshape(product, (-1, values.shape[1], values.shape[2], 1))
        return keras.ops.sum(values * product, axis=2)

    def _read(self, at: Sequence[Any]) -> Any:
        """(N, places, taps, c): the values at whole positions (N, places, k) along each axis; zeros outside."""
        places, taps = at[0].shape[1], math.prod(each.shape[2] for each in at)
        index, there = 0, True
        for each, side in zip(_spread(at), self._sides, strict=True):
            there = keras.ops.logical_and(there, keras.ops.logical_and(each >= 0.0, each <= float(side - 1)))
            inside = keras.ops.cast(keras.ops.clip(each, 0.0, float(side - 1)), "int32")
            index = _sum(index * side, inside)
        values = keras.ops.take_along_axis(self._flat, keras.ops.reshape(index, (-1, places * taps, 1)), axis=1)
        values = keras.ops.reshape(values, (-1, places, taps, self._flat.shape[-1]))
        if self._padding != "zeros":
            return values
        return keras.ops.where(keras.ops.reshape(there, (-1, places, taps, 1)), values, 0.0)


def _each_added(x: Any, numbers: Sequence[float]) -> Any:
    """(N, places, 1) to (N, places, k): plus each number."""
    return _sum(x, np.asarray(numbers, np.float32))


def _sum(x: Any, y: Any) -> Any:
    """The sum of what broadcasts. By a difference, since `keras.ops.add` takes what has one long axis for a bias."""
    return keras.ops.subtract(x, -y)


def _spread(along: Sequence[Any]) -> list[Any]:
    """(N, places, k) for each axis, each with an axis of its own for its k: what they make together broadcasts."""
    count = len(along)
    return [
        keras.ops.reshape(each, (-1, each.shape[1], *[1] * i, each.shape[2], *[1] * (count - i - 1)))
        for i, each in enumerate(along)
    ]


def _cubic(t: Any) -> list[Any]:
    """The weights of four values for a position t beyond the second (Keys, with a = -0.75)."""
    a = -0.75

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1.0

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


@builds(F.affine_grid, layout="torch", how="a product with constant places", limits="fixed sizes")
def affine_grid(site: Site, theta: Any, size: Sequence[Any], align_corners: bool | None = None) -> Any:
    """Matrices (N, 2, 3) to places (N, h, w, 2) of maps of that size (N, c, h, w); or (N, 3, 4) to (N, t, h, w, 3)."""
    space = list(size)[2:]
    if not all(isinstance(side, int) for side in space):
        raise ConversionError(f"affine_grid for the size {tuple(size)}: the sizes of space are to be fixed")
    rank = len(space)
    same = torch.eye(rank, rank + 1)[None]
    places = F.affine_grid(same, [1, 1, *space], align_corners=bool(align_corners)).reshape(-1, rank).numpy()
    ends = np.concatenate([places, np.ones((len(places), 1), np.float32)], axis=1)
    moved = keras.ops.matmul(ends[None], keras.ops.transpose(theta, (0, 2, 1)))
    return keras.ops.reshape(moved, (-1, *space, rank))
