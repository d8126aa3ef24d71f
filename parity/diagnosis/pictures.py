"""Pictures of one layer's error: where in the map, in which channels, how large; small enough for a report."""

from typing import Any

import numpy as np
import numpy.typing as npt

from parity.diagnosis.evidence import Evidence
from parity.diagnosis.explain import by_channel, coarse, in_words
from parity.portraits import ErrorPicture, Histogram, KeptArray

ROWS, COLUMNS, GROUPS = 48, 72, 256
"""An error map has at most as many cells, and as many groups of channels."""
BINS, LOW, HIGH = 44, -9.0, 2.0
"""The histogram's steps: a quarter of a power of ten each."""
COUNTED = 1 << 20
"""Of a larger map so many values are put into the histogram, at equal steps."""

Floats = npt.NDArray[Any]


def error_picture(evidence: Evidence) -> ErrorPicture | None:
    """The picture of a layer's error; None where the shapes differ. A cell with values that are not finite is NaN."""
    if not evidence.shapes_agree:
        return None
    with np.errstate(all="ignore"):
        rms = _rms(evidence.expected)
        error = (evidence.actual.astype(np.float32) - evidence.expected.astype(np.float32)) / np.float32(rms)
        error[~np.isfinite(error)] = np.nan
        space = [axis for axis, letter in enumerate(evidence.layout) if letter in "HWL"][-2:]
        flat = _over(error, space) if space else None
        channels = by_channel(error, evidence.channel_axis)
        limits = [limit for limit in (evidence.limits.rmse, evidence.limits.max_abs) if np.isfinite(limit)]
        limit = min(limits, default=0.0) / rms
        grid = np.atleast_2d(channels if flat is None else flat)
        finite = bool(np.isfinite(error).all())
        return ErrorPicture(
            space=None if flat is None else KeptArray.of(coarse(np.atleast_2d(flat), ROWS, COLUMNS)),
            height=grid.shape[0],
            width=grid.shape[1],
            channels=KeptArray.of(coarse(channels[None], 1, GROUPS)[0]),
            channel_count=channels.size,
            histogram=_histogram(error),
            limit=float(limit),
            words=tuple(in_words(evidence, error, grid, limit)) if finite else ("some values are not finite",),
        )


def _rms(values: Floats) -> float:
    """The RMS of those values that are finite; 1 where that is nothing to divide by."""
    found = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    if not np.isfinite(found):
        finite = values[np.isfinite(values)]
        found = float(np.sqrt(np.mean(np.square(finite, dtype=np.float64)))) if finite.size else 1.0
    return found or 1.0


def _over(error: Floats, space: list[int]) -> Floats:
    """The RMS error at each place."""
    others = tuple(axis for axis in range(error.ndim) if axis not in space)
    found: Floats = np.sqrt(np.mean(np.square(error), axis=others))
    return found


def _histogram(error: Floats) -> Histogram:
    values = np.abs(error.reshape(-1)[:: max(1, error.size // COUNTED)])
    some = values[values > 0]
    counts, _ = np.histogram(np.clip(np.log10(some), LOW, HIGH), BINS, (LOW, HIGH))
    return Histogram(low=LOW, high=HIGH, counts=tuple(int(n) for n in counts), exact=int((values == 0).sum()))
