"""Causes in how a layer's bias is added: not at all, or along another axis."""

from collections.abc import Iterator

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis


def bias_missing(evidence: Evidence) -> Iterator[Hypothesis]:
    """bias-missing: the reference adds a bias, the port has none or only zeros."""
    bias = _source_bias(evidence)
    if bias is None or not np.any(bias):
        return
    ported = evidence.port_weights[1] if len(evidence.port_weights) > 1 else None
    if ported is not None and np.any(ported):
        return
    yield Hypothesis(
        slug="bias-missing",
        detail=f"the port {'has no bias' if ported is None else 'adds zeros'}; the reference adds {bias.size} values",
        undone=lambda: evidence.actual + evidence.along_channels(bias),
    )


def bias_axis(evidence: Evidence) -> Iterator[Hypothesis]:
    """bias-axis: the bias is added along an axis that is as long as the channels (Keras >= 3.8, channels_first)."""
    if len(evidence.port_weights) < 2 or evidence.port_weights[1].ndim != 1:
        return
    bias = evidence.port_weights[1]
    for axis, size in enumerate(evidence.expected.shape):
        if axis in (0, evidence.channel_axis) or size != bias.size:
            continue
        shape = [1] * evidence.expected.ndim
        shape[axis] = -1
        wrong = bias.reshape(shape)
        where = {-1: "width", -2: "height"}.get(axis - evidence.expected.ndim, f"axis {axis}")
        yield Hypothesis(
            slug="bias-axis",
            detail=(
                f"the bias is added along the {where} instead of the channels: "
                f"output {where} == filters == {size}, and this version of Keras guesses the axis from the shape"
            ),
            undone=lambda wrong=wrong: evidence.actual - wrong + evidence.along_channels(bias),  # type: ignore[misc]
        )


def _source_bias(evidence: Evidence) -> Array | None:
    return evidence.source_weights[1] if len(evidence.source_weights) > 1 else None
