"""Causes in resizing: between which points is interpolated, and how.

Each way to resize is a matrix for each axis, so what the port does can be told from its values: the way that predicts
them is the one it takes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.diagnosis.geometry import spatial
from parity.diagnosis.padding import resampled
from parity.diagnosis.words import written
from parity.frameworks import keras
from parity.runners.edits import Change, Edit

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to resize: the method, the grid of points, how the nearest is taken, a cubic's coefficient, smoothing."""

    method: str
    grid: str
    down: bool = False
    cubic: float = -0.75
    antialias: bool = False

    def __str__(self) -> str:
        """In words."""
        more = f", coefficient {self.cubic:g}" if self.method == "bicubic" else ""
        more += f", rounded{' down' if self.down else ''}" if self.method == "nearest" else ""
        more += ", antialiased (its weights sum to 1 at the border)" if self.antialias else ""
        return f"{self.method}, {self.grid}{more}"


GRIDS = ("half-pixel", "align_corners", "asymmetric")
WAYS = (
    *(Way(method="bilinear", grid=grid) for grid in GRIDS),
    *(Way(method="nearest", grid=grid, down=down) for grid in GRIDS for down in (True, False)),
    *(Way(method="bicubic", grid=grid, cubic=cubic) for cubic in (-0.75, -0.5) for grid in GRIDS),
    Way(method="bilinear", grid="half-pixel", antialias=True),
    Way(method="bicubic", grid="half-pixel", cubic=-0.5, antialias=True),
)


def resize(evidence: Evidence) -> Iterator[Hypothesis]:
    """resize-grid, resize-method: the port resizes in another way than the reference; both ways are told apart."""
    wanted = _reference(evidence.settings) if evidence.kind == "resize" else None
    value = evidence.anchors[0] if len(evidence.anchors) == 1 else None
    if wanted is None or value is None or value.ndim != evidence.expected.ndim or not evidence.shapes_agree:
        return
    axes = spatial(evidence)
    sizes = [(value.shape[axis], evidence.expected.shape[axis]) for axis in axes]
    shrinks = any(size > out for size, out in sizes)
    for way in WAYS:
        if way.antialias and way.method == "bilinear" and not shrinks:
            continue  # nothing is smoothed where nothing shrinks
        predicted = _resized(value, axes, [matrix(way, *size) for size in sizes])
        if way != wanted and _close(predicted, evidence.actual):
            last = evidence.segment.node
            yield Hypothesis(
                slug="resize-grid" if replace(way, grid=wanted.grid, down=wanted.down) == wanted else "resize-method",
                detail=f"the port interpolates {way}; the reference {wanted}",
                change=f"{written(last.operation)} -> {wanted}",
                predicted=lambda predicted=predicted: predicted,  # type: ignore[misc]
                mend=_mend(evidence, wanted, axes, sizes),
            )


def _reference(settings: Mapping[str, Any]) -> Way | None:
    mode, corners = settings.get("mode", "nearest"), bool(settings.get("align_corners"))
    grid = "align_corners" if corners else "half-pixel"
    ways = {
        "nearest": Way(method="nearest", grid="asymmetric", down=True),
        "nearest-exact": Way(method="nearest", grid="half-pixel"),
        "linear": Way(method="bilinear", grid=grid),
        "bilinear": Way(method="bilinear", grid=grid),
        "bicubic": Way(method="bicubic", grid=grid),
    }
    return ways.get(str(mode))


def matrix(way: Way, size: int, out: int) -> Matrix:
    """The weights (out, size) with which a way to resize an axis from `size` to `out` places reads them."""
    places = np.arange(out)
    points: npt.NDArray[Any]
    if way.grid == "half-pixel":
        points = (places + 0.5) * size / out - 0.5
    elif way.grid == "align_corners":
        points = places * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:
        points = places * float(size / out)
    if way.method == "nearest":
        whole = np.floor(points + (1e-9 if way.down else 0.5))
        return _gathered(np.clip(whole, 0, size - 1)[:, None], np.ones((out, 1)), size)
    stretch = max(size / out, 1.0) if way.antialias else 1.0
    reach = 1 if way.method == "bilinear" else 2
    width = int(np.ceil(reach * stretch))
    near = np.floor(points)[:, None] + np.arange(-width + 1, width + 1)
    distance = np.abs(points[:, None] - near) / stretch
    weights = np.maximum(1 - distance, 0) if way.method == "bilinear" else _cubic(distance, way.cubic)
    if way.antialias:
        weights = np.where((near >= 0) & (near < size), weights, 0)
        weights = weights / weights.sum(1, keepdims=True)
    return _gathered(np.clip(near, 0, size - 1), weights, size)


def _cubic(distance: Matrix, a: float) -> Matrix:
    inner = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    outer = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    cubic: Matrix = np.where(distance <= 1, inner, np.where(distance < 2, outer, 0.0))
    return cubic


def _gathered(places: Matrix, weights: Matrix, size: int) -> Matrix:
    found = np.zeros((places.shape[0], size))
    rows = np.repeat(np.arange(places.shape[0]), places.shape[1])
    np.add.at(found, (rows, places.astype(int).ravel()), weights.ravel())
    return found


def _resized(value: Array, axes: Sequence[int], matrices: Sequence[Matrix]) -> Array:
    result = value.astype(np.float64)
    for axis, weights in zip(axes, matrices, strict=True):
        result = np.moveaxis(np.moveaxis(result, axis, -1) @ weights.T, -1, axis)
    return result.astype(np.float32)


def _close(predicted: Array, actual: Array) -> bool:
    return float(np.linalg.norm((predicted - actual).ravel())) <= 1e-3 * float(np.linalg.norm(actual.ravel()))


def _mend(evidence: Evidence, way: Way, axes: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Edit:
    """The reference's way in the place of the segment's operations: Keras's own layer where it has it."""
    exact: Change = partial(resampled, axes=axes, matrices=[matrix(way, *size) for size in sizes])
    factors = [out // size for size, out in sizes]
    whole = all(out == size * factor for (size, out), factor in zip(sizes, factors, strict=True))
    if len(axes) == 2 and whole and (way.method, way.grid) in (("bilinear", "half-pixel"), ("nearest", "asymmetric")):
        first = evidence.channel_axis == 1
        exact = keras.layers.UpSampling2D(
            tuple(factors),
            interpolation=way.method,
            data_format="channels_first" if first else "channels_last",
        )
    return evidence.instead(exact)
