"""The outputs of both sides as small pictures, for those who look before they read."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array, Axes, move
from parity.examination.outputs import holds_flow
from parity.judge import Judge
from parity.portraits import KeptArray, OutputPicture

ROWS, COLUMNS = 96, 144
"""A picture has at most as many cells."""

Floats = npt.NDArray[Any]


def output_pictures(
    judge: Judge, axes: Axes, outputs: Mapping[str, Array], truth: Array | None = None
) -> dict[str, OutputPicture]:
    """Pictures of those of the port's `outputs` (its layout) that are maps, by the reference's names of them.

    `truth` (2, H, W) is shown with an output that is a flow of its size.
    """
    return dict(_pictures(judge, axes, outputs, truth))


def _pictures(
    judge: Judge, axes: Axes, outputs: Mapping[str, Array], truth: Array | None
) -> Iterator[tuple[str, OutputPicture]]:
    for name, output in outputs.items():
        expected = judge.trace.outputs[name]
        source, target = axes.of(judge.trace.output_taps[name], expected.ndim)
        if not {"H", "W"} <= set(source) or output.ndim != len(target):
            continue
        actual = move(output, target, source)
        if actual.shape == expected.shape and min(_sizes(expected, source)) > 1:
            yield name, picture(actual, expected, source, truth)


def picture(actual: Array, expected: Array, layout: str, truth: Array | None = None) -> OutputPicture:
    """The picture of an output of both sides, both in `layout`, which has H and W. Of a batch it is the first."""
    flow = holds_flow(expected, layout)
    ours, theirs = (_planes(array, layout) for array in (actual, expected))
    with np.errstate(all="ignore"):
        difference = ours - theirs
        squares = np.square(difference)
        error = np.sqrt(squares.sum(axis=0) if flow else squares.mean(axis=0))
        shown = [planes if flow else planes.mean(axis=0) for planes in (theirs, difference)]
        height, width = _sizes(expected, layout)
        known = truth if flow and truth is not None and truth.shape == (2, height, width) else None
        return OutputPicture(
            height=height,
            width=width,
            flow=flow,
            expected=KeptArray.of(_coarse(shown[0])),
            difference=KeptArray.of(_coarse(shown[1])),
            error=KeptArray.of(_coarse(error)),
            truth=None if known is None else KeptArray.of(_coarse_known(known)),
            truth_epe=None if known is None else (_epe(theirs, known), _epe(ours, known)),
        )


def _epe(flow: Floats, truth: Array) -> float:
    """The mean end-point error of a flow, over the places where the truth is known."""
    return float(np.nanmean(np.hypot(*(flow - truth)))) if np.isfinite(truth).any() else float("nan")


def _coarse_known(truth: Array) -> Floats:
    """The mean of what is known in each cell; NaN where nothing is."""
    known = np.isfinite(truth)
    return _coarse(np.where(known, truth, 0.0)) / _coarse(known.astype(np.float64))


def _sizes(array: Array, layout: str) -> tuple[int, int]:
    return array.shape[layout.index("H")], array.shape[layout.index("W")]


def _planes(array: Array, layout: str) -> Floats:
    """An output as planes of H x W, float64; all axes but batch and space are the planes."""
    others = [axis for axis, letter in enumerate(layout) if letter not in "HW"]
    space = [layout.index("H"), layout.index("W")]
    ordered = array.transpose(*others, *space).astype(np.float64)
    first = ordered[0] if others and layout[others[0]] == "N" else ordered
    return first.reshape(-1, *first.shape[-2:])


def _coarse(planes: Floats) -> Floats:
    """The mean of each of at most ROWS x COLUMNS cells, of the last two axes."""
    found = planes
    for axis, most in ((-2, ROWS), (-1, COLUMNS)):
        size = found.shape[axis]
        edges = np.linspace(0, size, min(size, most) + 1).astype(int)
        found = np.add.reduceat(found, edges[:-1], axis=axis)
        steps = np.diff(edges)
        found = found / (steps[:, None] if axis == -2 else steps)
    return found
