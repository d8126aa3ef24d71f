"""Why a layer differs: hypotheses are replayed on that one layer, and what brings the error to its floor is the cause.

    STANDS FOR      of a file that another engine runs: does the layer, unchanged, give what that engine gave?
    RANGE           are its values cut off at the ends of what the port can hold?
    KNOWN           is it a defect of the engine that shows in the values?
    MODE            is it right in eager, on the same values, and wrong in this mode only?
    CHANCE          does the layer give the same twice?
    TRAINING        does it take its statistics from the batch? Then it changes its weights as it runs
    WEIGHTS         is every number it carries the reference's, in the converter's order or in the port's own?
    REST            its configuration, what it reads, the shape of its error; with the weights put right first

Each family of causes is a file; each cause is a function that yields hypotheses where the evidence speaks for one. A
hypothesis explains the error only when the layer's value with it undone passes the layer's limits. Of several that do,
what lies open in weights or configuration stands before what is inferred from values; if two causes are left within
ten times of each other, probes are run that may tell them apart, and if none does the result is a tie. Where nothing
explains the error the cause is `unknown`, with everything that was tried.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from parity.axes import Array, in_order
from parity.comparison import Comparison, compare, fits_repeated
from parity.diagnosis import (
    activations,
    arrangements,
    bias,
    environment,
    geometry,
    normalisation,
    numbers,
    pooling,
    recurrent,
    resizing,
    wiring,
)
from parity.diagnosis.evidence import Evidence, Family, Hypothesis
from parity.diagnosis.probes import told_apart
from parity.diagnosis.weights import (
    carries_others,
    differing_weights,
    first_explanation,
    restored_edit,
    restored_weights,
    weights,
)
from parity.diagnosis.words import written
from parity.errors import first_line
from parity.report import Cause, Trial
from parity.runners.edits import Edit

RANGE: tuple[Family, ...] = (numbers.number_range,)
KNOWN: tuple[Family, ...] = (bias.bias_axis,)
CHANCE: tuple[Family, ...] = (environment.chance,)
TRAINING: tuple[Family, ...] = (environment.training,)
WEIGHTS: tuple[Family, ...] = (weights,)
REST: tuple[Family, ...] = (
    environment.reduced_precision,
    bias.bias_missing,
    geometry.convolution,
    geometry.padding_itself,
    geometry.transposed,
    pooling.pooling,
    resizing.resize,
    recurrent.equations,
    activations.within_layer,
    activations.slope,
    activations.elu_alpha,
    activations.kind,
    activations.softmaxes,
    activations.missing,
    activations.extra,
    normalisation.epsilon,
    normalisation.epsilon_by_hand,
    normalisation.groups,
    normalisation.ignored,
    normalisation.statistics,
    normalisation.along_other_axes,
    normalisation.axis,
    normalisation.reduction,
    normalisation.centred,
    wiring.wrong_input,
    wiring.unfinished,
    wiring.left_out,
    wiring.operands,
    wiring.detour,
    wiring.flattened,
    wiring.shuffled,
    wiring.cropped,
    wiring.transformed,
    wiring.normalised,
)
MODE: tuple[Family, ...] = (environment.execution_mode,)

WITHIN: tuple[Family, ...] = (wiring.misread,)

EQUAL = 10.0
"""Another hypothesis that leaves less than this many times the best one's residual explains the data as well."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The cause of a layer's error, and the edit of the port that was proven to undo it, where there is one.

    `misloaded` says that the layer's weights are not the reference's, `foreign` that they are like none of them.
    `undoes` has the taps it reads whose own fault its weights undo: one of the two is the port's order, and no fault.
    """

    cause: Cause
    edit: Edit | None = None
    misloaded: bool = False
    foreign: bool = False
    undoes: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A hypothesis, and the layer's error with it undone."""

    hypothesis: Hypothesis
    after: Comparison

    @property
    def explains(self) -> bool:
        """Whether what is left is within the layer's limits."""
        return self.after.passed


@np.errstate(all="ignore")
def diagnose(evidence: Evidence) -> Diagnosis:
    """The proven cause of a layer's error, or `unknown` with what was tried; a layer that cannot be run is unknown."""
    try:
        found = _diagnosed(evidence)
        found = (_as_elsewhere(evidence) or found) if found.cause.slug == "unknown" else found
        if found.edit is not None and found.cause.slug != "unknown":
            evidence.scene.proven.append(found)
        return replace(found, undoes=arrangements.undone(evidence)) if found.misloaded else found
    except Exception as error:  # a layer that refuses the reference's values must not end the whole verification
        why = first_line(error)
        detail = f"{_where(evidence)}; the layer cannot be run again on the reference's values: {why}"
        return Diagnosis(cause=Cause(slug="unknown", detail=detail))


def _as_elsewhere(evidence: Evidence) -> Diagnosis | None:
    """The cause that was proven for another value of one of the layer's own operations: its state, another firing."""
    within = {id(node.operation) for node in evidence.segment.nodes}
    for found in evidence.scene.proven:
        if not any(id(operation) in within for operation in found.edit.replaced):
            continue
        cause = found.cause
        again = Hypothesis(slug=cause.slug, detail=cause.detail, change=cause.change, also=cause.also, edit=found.edit)
        if (tried := _attempt(evidence, again)) and tried.explains:
            return replace(_conclude(evidence, [tried]), misloaded=found.misloaded)
    return None


def unproven(evidence: Evidence) -> Diagnosis:
    """What can be said of a layer that cannot be run again, since the port was recorded: how its weights relate."""
    try:
        differing = differing_weights(evidence)
        found, foreign = [first_explanation(evidence, index) for index in differing], carries_others(evidence)
    except Exception:  # weights of a form that nobody thought of must not end the run
        differing, found, foreign = [], [], False
    why = "; the port is a recording and was not run here, so no cause can be proven"
    cause = Cause(
        slug="unknown",
        detail="; ".join([f"{_where(evidence)}{why}", *found]),
        residual_before=_relative(evidence.before),
    )
    return Diagnosis(cause=cause, misloaded=bool(differing), foreign=foreign)


def _diagnosed(evidence: Evidence) -> Diagnosis:
    not_finite = environment.non_finite(evidence)
    if not_finite:
        return _not_finite(evidence, not_finite)
    cut_off = _all(evidence, RANGE)
    if any(each.explains for each in cut_off):
        return _conclude(evidence, cut_off)
    if evidence.scene.stands_for and not (apart := _stood_for(evidence)).passed:
        return _not_stood_for(evidence, apart)
    if evidence.scene.is_rounded:  # what stands for the layer computes the same, without the noise of rounded values
        evidence = replace(evidence, actual=in_order(evidence.replay(), evidence.actual.dtype))
    known = _all(evidence, KNOWN)
    if any(each.explains for each in known):
        return _conclude(evidence, known)
    if evidence.mode != "eager" and not evidence.scene.stands_for:
        right_in_eager = _all(evidence, MODE)
        if any(each.explains for each in right_in_eager):
            return _conclude(evidence, right_in_eager)
    if environment.unsteady(evidence):
        return _conclude(evidence, _all(evidence, CHANCE))
    trained = _all(evidence, TRAINING)
    if any(each.explains for each in trained):
        return _conclude(evidence, trained)
    base = restored_edit(evidence)
    if base is None:
        return _conclude(evidence, _rest(evidence))
    tried = _all(evidence, WEIGHTS)
    if any(each.explains for each in tried):
        return replace(_conclude(evidence, tried), misloaded=True, foreign=carries_others(evidence))
    found = _in_own_order(evidence)
    return found or replace(_two_faults(evidence, base, tried), misloaded=True, foreign=carries_others(evidence))


def _in_own_order(evidence: Evidence) -> Diagnosis | None:
    """What is wrong where the port is right with weights that are not the converter's, or with fewer of these put in.

    The reference's weights in all places leave the layer wrong: so either that is not all, or the rest of the port goes
    with weights in another order. Where weights alone explain it then, that is the cause; else what does beside them.
    """
    for each in chain(arrangements.by_flattening(evidence), arrangements.by_fewer(evidence)):
        edit = restored_edit(each)
        if edit is None or not (restored := _attempt(each, Hypothesis(slug="unknown", detail="", edit=edit))):
            continue
        tried = _all(each, WEIGHTS) if restored.explains else []
        if any(trial.explains for trial in tried):
            return replace(_conclude(each, tried), misloaded=True, foreign=carries_others(each))
    for each in arrangements.by_flattening(evidence):
        if 0 in differing_weights(each):
            continue
        base = restored_edit(each)
        found = _two_faults(each, base, _all(each, WEIGHTS)) if base else _conclude(each, _rest(each))
        if found.cause.slug != "unknown":
            return replace(found, misloaded=base is not None, foreign=carries_others(each))
    return None


def _stood_for(evidence: Evidence) -> Comparison:
    """How far the layer that stands for a part of a file, unchanged, is from what the file's engine made there.

    What it makes is held to the range of the file's numbers, which is no operation of its own.
    """
    made, fit = evidence.replay(), evidence.scene.fits.get(evidence.segment.layer)
    made = made if fit is None else np.clip(made, *fit.ends)
    if made.shape != evidence.actual.shape:
        return compare(np.empty(0, np.float32), np.empty(0, np.float32), evidence.limits)
    return compare(in_order(made, evidence.actual.dtype), evidence.actual, evidence.limits)


def _not_stood_for(evidence: Evidence, apart: Comparison) -> Diagnosis:
    """What a layer that is not what the file's engine runs would prove is nothing: the cause stays unknown."""
    detail = (
        f"{_where(evidence)}; the file's engine computes something else there than {written(evidence.operation)} says: "
        f"the two differ by {apart.relative:.1e}, so nothing that is tried on the layer would prove anything"
    )
    return Diagnosis(cause=Cause(slug="unknown", detail=detail, residual_before=_relative(evidence.before)))


def _rest(evidence: Evidence) -> list[Tried]:
    """What the rest says; where it has nothing that explains, what trying every tensor within the layer does."""
    tried = _all(evidence, REST)
    return tried if any(each.explains for each in tried) else [*tried, *_all(evidence, WITHIN)]


def _not_finite(evidence: Evidence, cause: Cause) -> Diagnosis:
    """NaN or infinity: proven where the reference's weights bring the layer back."""
    tried = _all(evidence, WEIGHTS)
    if not any(each.explains and each.hypothesis.slug != "unknown" for each in tried):
        return Diagnosis(cause=cause)
    found = _conclude(evidence, tried)
    detail = cause.detail if found.cause.slug == cause.slug else f"{found.cause.detail}; {cause.detail}"
    return replace(found, cause=replace(found.cause, detail=detail), misloaded=True)


def _two_faults(evidence: Evidence, base: Edit, tried: Sequence[Tried]) -> Diagnosis:
    """The weights are wrong, and not they alone: what is wrong once they are put right?"""
    rest = evidence.over(base, restored_weights(evidence))
    second = _conclude(rest, _rest(rest))
    slugs = list(dict.fromkeys(slug for each in tried[:1] for slug in (each.hypothesis.slug, *each.hypothesis.also)))
    words = f"{tried[0].hypothesis.slug} ({tried[0].hypothesis.detail})" if tried else "they differ"
    cause = replace(
        second.cause,
        detail=f"{second.cause.detail}; and the weights: {words}",
        also=tuple(slugs),
        residual_before=_relative(evidence.before),
        tried=(*second.cause.tried, *map(_trial, tried)),
    )
    edit = base | second.edit if second.edit else base
    return Diagnosis(cause=cause, edit=edit)


def _all(evidence: Evidence, families: Iterable[Family]) -> list[Tried]:
    found = []
    for family in families:
        found += [tried for hypothesis in _proposed(family, evidence) if (tried := _attempt(evidence, hypothesis))]
    return found


def _proposed(family: Family, evidence: Evidence) -> list[Hypothesis]:
    """What a family puts forward; a layer of a form it was not written for is none of its business."""
    found: list[Hypothesis] = []
    try:
        for hypothesis in family(evidence):
            found.append(hypothesis)
    except Exception as error:  # a port of a form that the family does not know must not end the run
        evidence.scene.troubles[family.__name__] = f"{type(error).__name__}: {error}"
    return found


def _attempt(evidence: Evidence, hypothesis: Hypothesis) -> Tried | None:
    """The layer's error with the hypothesis undone; None where that cannot be run or has another shape."""
    try:
        tried = _try(evidence, hypothesis)
    except Exception:  # a change that the layer refuses to run is simply not the cause
        return None
    return tried if tried.after.count else None


def _try(evidence: Evidence, hypothesis: Hypothesis) -> Tried:
    if hypothesis.predicted is not None:
        return Tried(hypothesis=hypothesis, after=_predicts(evidence, hypothesis.predicted()))
    if hypothesis.undone is not None:
        undone = hypothesis.undone()
    else:
        undone = evidence.replay(hypothesis.edit or Edit(), hypothesis.beside)
    return Tried(hypothesis=hypothesis, after=_left(evidence, undone))


def _left(evidence: Evidence, undone: Array) -> Comparison:
    if fits_repeated(undone.shape, evidence.expected.shape):
        undone = np.broadcast_to(undone, evidence.expected.shape)
    if undone.shape != evidence.expected.shape:
        return compare(np.empty(0, np.float32), np.empty(0, np.float32), evidence.limits)
    value = in_order(undone, evidence.expected.dtype)
    return compare(value, evidence.expected, evidence.limits)


def _predicts(evidence: Evidence, predicted: Array) -> Comparison:
    """How far the port's value is from what the hypothesis says it must be, at the scale of the reference's values."""
    if predicted.shape != evidence.actual.shape:
        return compare(np.empty(0, np.float32), np.empty(0, np.float32), evidence.limits)
    size, wanted = (float(np.sqrt(np.mean(np.square(a, dtype=np.float64)))) for a in (predicted, evidence.expected))
    scale = np.float32(wanted / size if size > wanted > 0 else 1.0)
    return compare(in_order(evidence.actual * scale), in_order(predicted * scale), evidence.limits)


# -- what follows from the trials -------------------------------------------------------------------------------------


def _conclude(evidence: Evidence, tried: Sequence[Tried]) -> Diagnosis:
    """The best that explains, what explains as well after probing; or unknown."""
    candidates = _best_founded([each for each in tried if each.explains])
    if not candidates:
        return _unknown(evidence, tried)
    limit = EQUAL * max(
        candidates[0].after.rmse, evidence.limits.rmse / EQUAL if np.isfinite(evidence.limits.rmse) else 0
    )
    equals = [each for each in candidates if each.after.rmse <= limit or not np.isfinite(evidence.limits.rmse)]
    left, probe = told_apart(evidence, [each.hypothesis for each in equals])
    best = next(each for each in equals if each.hypothesis is left[0])
    tied = [hypothesis for hypothesis in left[1:] if hypothesis.slug != best.hypothesis.slug]
    detail = best.hypothesis.detail
    if tied:
        detail += "; equally well: " + "; ".join(f"{each.slug} ({each.detail})" for each in tied)
    cause = Cause(
        slug=best.hypothesis.slug,
        detail=detail,
        residual_before=_relative(evidence.before),
        residual_after=best.after.relative,
        change=best.hypothesis.change,
        also=best.hypothesis.also,
        tied=tuple(dict.fromkeys(hypothesis.slug for hypothesis in tied)),
        separated_by=probe,
        tried=_ranked(tried),
    )
    return Diagnosis(cause=cause, edit=_repair(evidence, best))


def _repair(evidence: Evidence, best: Tried) -> Edit | None:
    """The edit that repairs the port: the one that was tried, or one that has to show first that it does."""
    mend = best.hypothesis.mend
    if best.hypothesis.edit is not None or mend is None:
        return best.hypothesis.edit
    tried = _attempt(evidence, replace(best.hypothesis, edit=mend, undone=None, predicted=None))
    return mend if tried is not None and tried.explains else None


def _best_founded(explaining: Sequence[Tried]) -> list[Tried]:
    """Those that explain and have a name, of the openest standing among them, best first; else those without a name."""
    named = [each for each in explaining if each.hypothesis.slug != "unknown"] or list(explaining)
    highest = max((each.hypothesis.standing for each in named), default=0)
    return sorted((each for each in named if each.hypothesis.standing == highest), key=lambda each: each.after.rmse)


def _unknown(evidence: Evidence, tried: Sequence[Tried]) -> Diagnosis:
    ranked = _ranked(tried)
    best: dict[str, float] = {}
    for trial in ranked:
        best.setdefault(trial.slug, trial.residual)
    names = {slug: "what has no name" if slug == "unknown" else slug for slug in best}
    leaves = ", ".join(f"{names[slug]} leaves {left:.1e}" for slug, left in list(best.items())[:4]) or "nothing applied"
    cause = Cause(
        slug="unknown",
        detail=f"{_where(evidence)}; tried: {leaves}{_not_looked_at(evidence)}",
        residual_before=_relative(evidence.before),
        tried=ranked,
    )
    return Diagnosis(cause=cause)


def _where(evidence: Evidence) -> str:
    before = evidence.before
    if before is None:
        return f"shape {evidence.actual.shape}, but should be {evidence.expected.shape}"
    place = tuple(int(i) for i in np.unravel_index(before.max_index, evidence.expected.shape))
    return f"greatest difference {before.max_abs:.2e} at {place} of the port's axes"


def _not_looked_at(evidence: Evidence) -> str:
    """What a port of this form does not show."""
    if evidence.port_weights and not evidence.source_weights:
        why = evidence.scene.why_not_converted(evidence.segment.layer)
        return f"; the weights of {written(evidence.operation)} could not be compared: {why}"
    if differing_weights(evidence):
        return "; its weights differ from the reference's"
    troubles = evidence.scene.troubles
    return f"; could not be looked into: {', '.join(sorted(troubles))}" if troubles else ""


def _ranked(tried: Iterable[Tried]) -> tuple[Trial, ...]:
    """The trials, those that explain first, then by what they leave; one for each thing that was said."""
    order = sorted(tried, key=lambda each: (not each.explains, -each.hypothesis.standing, each.after.relative))
    return tuple({(trial.slug, trial.detail): trial for trial in map(_trial, order)}.values())[:24]


def _trial(tried: Tried) -> Trial:
    hypothesis = tried.hypothesis
    return Trial(slug=hypothesis.slug, detail=hypothesis.detail, residual=tried.after.relative, explains=tried.explains)


def _relative(comparison: Comparison | None) -> float:
    return comparison.relative if comparison is not None else float("inf")
