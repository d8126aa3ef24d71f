"""What has become worse since the last release, within all tolerances: a run of the gate against an earlier record.

Errors are compared in noise floors: a floor is the reference's own rounding noise on that input, so a number of them
means the same for other weights and other sizes of values. The arithmetic of one engine on one input is compared with
itself, and nothing else is: where the inputs, the kind of artifact or the engines are not those of the baseline, that
is said, and nothing is compared.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from parity.errors import UsageError
from parity.gate.checks import FAIL, GROWTH, LAYER, OUTPUT, PASS, WAIVED, Check, Figure
from parity.gate.policy import Baseline
from parity.gate.record import Record
from parity.gate.waivers import Waivers
from parity.numbers import times

ERRORS = {"introduced_floors": "introduces", "propagated_floors": "is off end to end by", "floors": "is off by"}
"""The figures that are compared, and how they are said."""
ENGINES = ("torch", "tensorflow", "keras", "onnxruntime", "ai-edge-litert", "numpy")
"""What must be of one version for two runs to be comparable."""


def grown(now: Record, then: Record, policy: Baseline, waivers: Waivers) -> tuple[list[Check], list[str]]:
    """A check for each layer and output that both runs have, and notes. Raises UsageError where runs do not compare."""
    _refuse_incomparable(now, then, policy)
    compared = {check.key: check for check in now.result.checks if check.kind in (LAYER, OUTPUT)}
    before = {check.key: check for check in then.result.checks if check.kind in (LAYER, OUTPUT)}
    checks: list[Check] = []
    notes = list(_differences(now, then))
    for key, check in compared.items():
        if key not in before:
            continue
        if check.figures.get("judged", "") != before[key].figures.get("judged", ""):
            notes.append(f"{check.name} is judged otherwise than in the baseline, and is not compared with it")
            continue
        if check.figures.keys() & ERRORS.keys() and not before[key].figures.keys() & ERRORS.keys():
            notes.append(f"{check.name} has no error in the baseline that it could be compared with")
            continue
        checks.append(_growth(check, before[key], policy, waivers))
    gone = [check for key, check in before.items() if key not in compared and _place(check) in _places(now)]
    names = list(dict.fromkeys(check.name for check in gone))
    if names and policy.gone == "tell":
        notes.append(f"compared in the baseline, and not now: {', '.join(names)}")
    elif names:
        checks += [_vanished(check, waivers) for check in gone]
    new = list(dict.fromkeys(check.name for key, check in compared.items() if key not in before))
    if new:
        notes.append(f"not in the baseline: {', '.join(new)}")
    return checks, list(dict.fromkeys(notes))


def _growth(now: Check, then: Check, policy: Baseline, waivers: Waivers) -> Check:
    """What came of a layer that both runs have."""
    figures: dict[str, Figure] = {}
    worse, allowed = [], policy.quantised if now.figures.get("precision") else policy
    for name, words in ERRORS.items():
        if name not in now.figures or name not in then.figures:
            continue
        ours, theirs = number(now.figures[name]), number(then.figures[name])
        figures |= {name: ours, f"{name}_then": theirs}
        if not ours <= max(allowed.growth * theirs, allowed.ignore_below):  # a NaN is worse than anything
            worse.append(f"{words} {times(ours)} the floor, and {times(theirs)} in the baseline")
    says = f"{now.name} {'; '.join(worse)} ({allowed.growth:g} times as much is allowed)" if worse else ""
    greatest = max((number(figures[name]) for name in ERRORS if name in figures), default=0.0)
    check = Check(kind=GROWTH, name=now.name, verdict=PASS, input=now.input, mode=now.mode, says=says, figures=figures)
    return _failed(check, waivers, greatest) if worse else check


def _vanished(then: Check, waivers: Waivers) -> Check:
    says = f"{then.name} was compared in the baseline, and is not now"
    check = Check(kind=GROWTH, name=then.name, verdict=FAIL, input=then.input, mode=then.mode, says=says)
    return _failed(check, waivers)


def _failed(check: Check, waivers: Waivers, floors: float = 0.0) -> Check:
    """The check as one that fails, or is waived."""
    waiver = waivers.of(check.name, floors=floors)
    if waiver is None:
        return replace(check, verdict=FAIL)
    return replace(check, verdict=WAIVED, says=f"{check.says}; waived until {waiver.expires}: {waiver.why}")


def number(figure: Figure) -> float:
    """A figure as a number; what is none is a NaN."""
    try:
        return float(figure)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _place(check: Check) -> tuple[str, str]:
    return check.input, check.mode


def _places(record: Record) -> set[tuple[str, str]]:
    return {_place(check) for check in record.result.checks if check.kind in (LAYER, OUTPUT)}


def _refuse_incomparable(now: Record, then: Record, policy: Baseline) -> None:
    reason = next(_reasons(now, then, policy), "")
    if reason:
        raise UsageError(f"the baseline cannot be compared with this run: {reason}")


def _reasons(now: Record, then: Record, policy: Baseline) -> Iterator[str]:
    """Why two runs do not compare."""
    if then.result.pair != now.result.pair:
        yield f"it is of {then.result.pair}, and this is {now.result.pair}"
    if then.result.artifact.kind != now.result.artifact.kind:
        yield f"it is of a {then.result.artifact.kind} artifact, and this is a {now.result.artifact.kind}"
    if then.result.verdict == "not verified":
        yield "it was not finished"
    known = {given.name: given for given in then.inputs}
    for given in now.inputs:
        if given.name not in known:
            yield f"it was not made on {given.name}, but on {', '.join(known)}"
        elif known[given.name].sha256 != given.sha256:
            other = known[given.name]
            same = f" ({other.size} then, {given.size} now)" if other.size != given.size else ""
            yield f"{given.name} has other values than it had then{same}"
    missing = sorted({mode for _, mode in _places(now)} - {mode for _, mode in _places(then)})
    if missing:
        yield f"it was not run in mode {missing[0]}"
    if policy.versions == "same":
        changed = list(_changed(then.versions, now.versions, ENGINES))
        if changed:
            yield f'{changed[0]}; [baseline] versions = "any" in the policy compares all the same'


def _differences(now: Record, then: Record) -> Iterator[str]:
    """What differs from the baseline and may have changed its figures."""
    if now.weights != then.weights:
        yield "the reference's weights are not the baseline's: errors are compared in noise floors"
    for told in _changed(then.versions, now.versions, sorted({*now.versions, *then.versions})):
        yield f"since the baseline: {told}"
    for told in _changed(then.machine, now.machine, sorted({*now.machine, *then.machine})):
        yield f"since the baseline: {told}"
    for told in _changed(then.switches, now.switches, sorted({*now.switches, *then.switches})):
        yield f"since the baseline: {told}"


def _changed(then: Mapping[str, str], now: Mapping[str, str], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if then.get(name) != now.get(name):
            yield f"{name} was {then.get(name, 'not there')}, and is {now.get(name, 'not there')}"
