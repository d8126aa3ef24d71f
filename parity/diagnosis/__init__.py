"""Why a layer differs: hypotheses are replayed on that one layer, and what brings the error to its floor is the cause.

Each family of causes is a file; each cause is a function that yields hypotheses where the evidence speaks for one. A
hypothesis is accepted only when the layer's value with it undone passes the layer's limits. Of several, the one that
leaves least is named; any other within ten times of that is named beside it, as an equal explanation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.comparison import Comparison, compare
from parity.diagnosis.bias import bias_axis, bias_missing
from parity.diagnosis.environment import execution_mode, non_finite
from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.diagnosis.geometry import padding, resize_method
from parity.diagnosis.values import activation_slope, scale
from parity.diagnosis.weights import kernel_arrangement, weight_precision, weight_scale
from parity.report import Cause

CAUSES: tuple[Callable[[Evidence], Iterator[Hypothesis]], ...] = (
    kernel_arrangement,
    weight_precision,
    weight_scale,
    bias_axis,
    bias_missing,
    padding,
    resize_method,
    activation_slope,
    scale,
)
LAST: tuple[Callable[[Evidence], Iterator[Hypothesis]], ...] = (execution_mode,)
"""Looked at only where nothing else explains the error: any fault of the layer itself explains it better."""

EQUAL = 10.0
"""Another hypothesis that leaves less than this many times the best one's residual explains the data as well."""


@dataclass(frozen=True, kw_only=True)
class _Trial:
    hypothesis: Hypothesis
    after: Comparison


def diagnose(evidence: Evidence) -> Cause:
    """The proven cause of a layer's error, or `unknown` with the evidence."""
    not_finite = non_finite(evidence)
    if not_finite:
        return not_finite
    trials: list[_Trial] = []
    for causes in (CAUSES, LAST):
        trials += [trial for cause in causes for hypothesis in cause(evidence) if (trial := _try(evidence, hypothesis))]
        proven = sorted((trial for trial in trials if trial.after.passed), key=lambda trial: trial.after.rmse)
        if proven:
            return _named(evidence, proven)
    return _unknown(evidence, trials)


def _named(evidence: Evidence, proven: Sequence[_Trial]) -> Cause:
    """The best of the proven hypotheses, and beside it those that explain the error as well."""
    best = proven[0]
    others = (trial for trial in proven[1:] if trial.hypothesis.slug != best.hypothesis.slug)
    equals = [trial for trial in others if trial.after.rmse <= EQUAL * best.after.rmse]
    detail = best.hypothesis.detail
    if equals:
        detail += "; equally well: " + "; ".join(f"{t.hypothesis.slug} ({t.hypothesis.detail})" for t in equals)
    return Cause(
        slug=best.hypothesis.slug,
        detail=detail,
        residual_before=evidence.before.relative,
        residual_after=best.after.relative,
    )


def _try(evidence: Evidence, hypothesis: Hypothesis) -> _Trial | None:
    """The layer's error with the hypothesis undone; None where that cannot be run or has another shape."""
    try:
        undone = np.ascontiguousarray(hypothesis.undone())
    except Exception:  # a hypothesis that the layer refuses to run is simply not the cause
        return None
    if undone.shape != evidence.expected.shape:
        return None
    return _Trial(hypothesis=hypothesis, after=compare(undone, evidence.expected, evidence.limits))


def _unknown(evidence: Evidence, trials: list[_Trial]) -> Cause:
    before = evidence.before
    tried: Mapping[str, float] = {t.hypothesis.slug: t.after.relative for t in trials}
    best = ", ".join(f"{slug} leaves {left:.1e}" for slug, left in sorted(tried.items(), key=lambda item: item[1]))
    where = tuple(int(i) for i in np.unravel_index(before.max_index, evidence.expected.shape))
    detail = (
        f"greatest difference {before.max_abs:.2e} at {where} of the port's axes; tried: {best or 'nothing applied'}"
    )
    return Cause(slug="unknown", detail=detail, residual_before=before.relative)
