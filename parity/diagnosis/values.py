"""Causes that show in the values alone: a slope, a constant factor, an offset."""

from collections.abc import Iterator

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis


def activation_slope(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-slope: right where the input is positive, another constant slope where it is negative."""
    if len(evidence.anchors) != 1 or evidence.anchors[0].shape != evidence.expected.shape:
        return
    negative = evidence.anchors[0] < 0
    if not negative.any() or not np.array_equal(evidence.actual[~negative], evidence.expected[~negative]):
        return
    x = evidence.anchors[0][negative].astype(np.float64)
    size = float(x @ x)
    wanted, present = (
        float(x @ side[negative].astype(np.float64)) / size for side in (evidence.expected, evidence.actual)
    )
    if present == wanted:
        return

    def undone() -> Array:
        return np.where(negative, evidence.anchors[0] * np.float32(wanted), evidence.actual)

    yield Hypothesis(
        slug="activation-slope",
        detail=f"the slope for negative values is {present:.6g}; the reference's is {wanted:.6g}",
        undone=undone,
    )


def scale(evidence: Evidence) -> Iterator[Hypothesis]:
    """scale: the port's values are a constant multiple of the reference's, or off by a constant."""
    actual, expected = (side.astype(np.float64).ravel() for side in (evidence.actual, evidence.expected))
    size = float(expected @ expected)
    factor = float(expected @ actual) / size if size else 0.0
    if factor not in (0.0, 1.0):
        more, less = (
            (1 / factor, "a factor of {:.6g} is missing")
            if abs(factor) < 1
            else (factor, "a factor of {:.6g} too much")
        )
        yield Hypothesis(
            slug="scale",
            detail=f"the port's values are {factor:.6g} times the reference's: {less.format(more)}",
            undone=lambda: (evidence.actual / np.float32(factor)).astype(np.float32),
        )
    offset = float(np.mean(actual - expected)) if actual.size else 0.0
    if offset:
        yield Hypothesis(
            slug="scale",
            detail=f"the port's values are the reference's plus {offset:.6g}: an offset is lost or added",
            undone=lambda: evidence.actual - np.float32(offset),
        )
