"""Causes in how a layer's bias is added: not at all, or along another axis."""

from collections.abc import Iterator

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import SEEN, Evidence, Hypothesis, along
from parity.diagnosis.words import written
from parity.runners.edits import Edit


def bias_missing(evidence: Evidence) -> Iterator[Hypothesis]:
    """bias-missing: the reference adds a bias, and the port's layer has none."""
    bias = _source_bias(evidence)
    if bias is None or not np.any(bias) or evidence.config.get("use_bias") is not False:
        return
    yield Hypothesis(
        slug="bias-missing",
        detail=f"the port has no bias; the reference adds {bias.size} values",
        change=f"{written(evidence.operation, use_bias=False)} -> use_bias=True, with the reference's bias",
        edit=Edit(replaced={evidence.operation: evidence.copy(weights=evidence.source_weights, use_bias=True)}),
        standing=SEEN,
    )


def bias_axis(evidence: Evidence) -> Iterator[Hypothesis]:
    """bias-axis: the bias is added along an axis that is as long as the channels (Keras >= 3.8, channels_first)."""
    bias = _source_bias(evidence)
    if bias is None or bias.ndim != 1 or not np.any(bias) or not evidence.shapes_agree:
        return
    rank = evidence.expected.ndim
    right = evidence.along_channels(bias)
    for axis, size in enumerate(evidence.expected.shape):
        if axis in (0, evidence.channel_axis) or size != bias.size:
            continue
        wrong = along(bias, axis, rank)
        where = {"W": "width", "H": "height"}.get(evidence.layout[axis], f"axis {evidence.layout[axis]}")
        yield Hypothesis(
            slug="bias-axis",
            detail=(
                f"the bias is added along the {where} instead of the channels: "
                f"output {where} == filters == {size}{_guessed(evidence)}"
            ),
            change=f"add the bias of {written(evidence.operation)} along the channels by hand, with use_bias=False",
            undone=lambda wrong=wrong: evidence.actual - wrong + right,  # type: ignore[misc]
            mend=_mend(evidence, wrong, right),
        )


def _guessed(evidence: Evidence) -> str:
    first = evidence.config.get("data_format") == "channels_first"
    return ", and this version of Keras guesses the axis from the shape" if first else ""


def _mend(evidence: Evidence, wrong: Array, right: Array) -> Edit:
    """A convolution without its bias, which is added along the channels; where it has none, the other is taken off.

    Subtracted, since `keras.ops.add` is where the axis is guessed.
    """
    if evidence.config.get("use_bias"):
        plain = evidence.copy(weights=evidence.port_weights[:1], use_bias=False)
        return Edit(replaced={evidence.operation: lambda x: plain(x) - np.asarray(-right)})
    correction = np.asarray(wrong - right)
    return Edit(appended={evidence.segment.node: lambda value: value - correction})


def _source_bias(evidence: Evidence) -> Array | None:
    return evidence.source_weights[1] if len(evidence.source_weights) > 1 and _has_bias(evidence) else None


def _has_bias(evidence: Evidence) -> bool:
    bias = evidence.settings.get("_parameters", {}).get("bias")
    return bias is not None and tuple(bias.shape) == evidence.source_weights[1].shape
