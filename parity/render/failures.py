"""Failures one by one, as a test's message has them: what, where, how far, how far allowed, why, what next.

Everything returns a string, laid out for `width` columns (by default the terminal's, 80 where there is none). Names and
commands are never broken in two: only sentences wrap.
"""

import math
from collections.abc import Iterable, Sequence

from parity.numbers import short
from parity.render.deaths import again, how_it_died
from parity.render.page import columns, packed
from parity.render.sentences import (
    badness,
    by_hand_in_words,
    cause_in_words,
    change_in_words,
    explain_command,
    grouped,
    how_far,
    how_far_off,
    is_strange,
    measure_of,
    next_command,
    places_in_words,
    result_of,
    runs_in_words,
    some_of,
    unmatched_in,
    what_is_left,
)
from parity.report import (
    DIED,
    PASS,
    Finding,
    GradientRun,
    LayerResult,
    Measure,
    Report,
    Run,
)


def failure(report: Report, finding: Finding, *, also: Sequence[Finding] = (), width: int | None = None) -> str:
    """What, where, how far, how far allowed, why, what next: a finding, `also` the same in other runs."""
    result = result_of(report, finding)
    where = [f"input {finding.input}, mode {finding.mode}", f"port layer {finding.port_layer}"]
    if also:
        where.append(f"also in {places_in_words(report, also)}")
    return _message(
        [f"{report.pair} / {finding.layer}  {how_far(report, finding, result)}", cause_in_words(finding)],
        [change_in_words(finding)],
        [by_hand_in_words(finding)],
        [what_is_left(finding), ", ".join(where)],
        ["" if is_strange(finding) else _greatest(measure_of(finding, result))],
        [_judged(result)],
        [f"next: {explain_command(report, finding)}"],
        width=width,
    )


def failures(report: Report, findings: Iterable[Finding], *, width: int | None = None) -> str:
    """Findings as `failure` writes them; the same layer and cause in several runs once, for its worst run."""
    texts = []
    for group in grouped(findings):
        worst = max(group, key=badness)
        others = [finding for finding in group if finding is not worst]
        texts.append(failure(report, worst, also=others, width=width))
    return "\n\n".join(texts)


def output_failure(report: Report, run: Run, *, width: int | None = None) -> str:
    """The output of a run is beyond its limits: how far, how far allowed, where it leaves them first."""
    if run.verdict == DIED:
        return died_failure(report, run.input, width=width)
    measure = run.output
    how_far = how_far_off(report, measure)
    first = next((layer for layer in run.layers if layer.verdict != PASS), None)
    entered = f"first layer to leave its limits: {first.layer} ({first.verdict})" if first else ""
    return _message(
        [f"{report.pair} / output  {how_far}"],
        [f"input {run.input}, mode {run.mode}", entered],
        ["" if measure.note else _greatest(measure)],
        [f"next: {next_command(report, run.input, run.mode)}"],
        width=width,
    )


def coverage_failure(report: Report, *, width: int | None = None) -> str:
    """What was left uncompared, by name, and how to compare or waive it."""
    left = unmatched_in(report.coverage)
    if report.coverage.matched:
        counts = " and ".join(f"{len(names)} of the {side}" for side, names in left)
        head = f"{report.pair}  incomplete coverage: {counts} unmatched"
    else:
        head = f"{report.pair}  nothing was compared: no layer of the port answers to one of the reference"
    return _message(
        [head],
        *([f"unmatched in the {side}: {some_of(names, f'coverage.unmatched_{side}')}"] for side, names in left),
        ["next: map them in Pair(layers={...}), or waive them by name in Pair(waived={...})"],
        width=width,
    )


def watching_failure(report: Report, run: Run, *, width: int | None = None) -> str:
    """Instrumenting the port changed what it computes, so its layers' numbers are about something else."""
    return _message(
        [f"{report.pair} / output  changes by {short(run.watching.relative)} when the port is watched"],
        [
            f"input {run.input}, mode {run.mode}",
            "the layers' numbers of this run describe another computation"
            + ("" if run.mode == "eager" else f": in {run.mode} each is compiled by itself, and the port as one"),
        ],
        [f"next: {next_command(report, run.input, run.mode)}"],
        width=width,
    )


def uncompared_failure(report: Report, layer: str, runs: Sequence[Run], *, width: int | None = None) -> str:
    """A layer that has weights and was compared in none of `runs`, or not in all of those there are."""
    if report.deaths and all(run.verdict == DIED for run in runs):
        return f"{report.pair} / {layer}  was not compared\n{died_failure(report, width=width)}"
    reasons = dict.fromkeys(each.reason for run in runs for each in run.layers if each.layer == layer and each.reason)
    if reasons:
        return _message([f"{report.pair} / {layer}  is not proven"], *([reason] for reason in reasons), width=width)
    return _message(
        [f"{report.pair} / {layer}  was not compared"],
        [f"in {runs_in_words(report, [(run.input, run.mode) for run in runs])}"],
        ["next: name the port's layer for it in Pair(layers={...})"],
        width=width,
    )


def died_failure(report: Report, input_name: str = "", *, width: int | None = None) -> str:
    """A process has died, on one input or on any: how, while doing what, what to do next."""
    deaths = [death for death in report.deaths if not input_name or death.input in (input_name, "")]
    return "\n\n".join(
        _message(
            [f"{report.pair}  died"],
            *([piece] for piece in how_it_died(death)),
            [f"next: {again(report, death)}"],
            width=width,
        )
        for death in deaths
    )


def undifferentiated_failure(
    report: Report, name: str, runs: Sequence[GradientRun], *, width: int | None = None
) -> str:
    """The gradients of a layer, or on an input, were compared in none of `runs`, or there are none."""
    where = f"in {runs_in_words(report, [(run.input, run.mode) for run in runs])}" if runs else "in any run"
    notes = (note for run in runs for layer in run.layers if layer.layer == name for note in layer.notes)
    return _message(
        [f"{report.pair} / {name}  its gradients were not compared"], [where], [next(notes, "")], width=width
    )


def arriving_failure(report: Report, run: GradientRun, inputs: Sequence[str], *, width: int | None = None) -> str:
    """The gradient of the loss arrives changed: at inputs, or, where none is named, at layers on the way."""
    off = [(name, run.inputs[name]) for name in inputs]
    if not off:
        changed = [layer for layer in run.layers if layer.verdict != PASS and layer.arriving]
        off = [(layer.layer, layer.arriving) for layer in changed[-1:] if layer.arriving]
    words = [f"{report.pair} / {name}  a gradient arrives that is off by {short(m.relative)}" for name, m in off]
    return _message(
        [words[0] if words else f"{report.pair}  the gradients diverge"],
        [f"input {run.input}, mode {run.mode}"],
        [f"next: {next_command(report, run.input, run.mode)}"],
        width=width,
    )


def _message(*lines: Sequence[str], width: int | None) -> str:
    """Each line's pieces beside each other where they fit, else below; indented after the very first."""
    room = width or columns()
    written: list[str] = []
    for pieces in lines:
        written += packed(pieces, room - 2)
    return "\n  ".join(written)


def _greatest(measure: Measure | None) -> str:
    if measure is None:
        return ""
    if measure.relative <= measure.allowed and abs(measure.gain) >= measure.relative / 2:
        return f"no larger than noise, but not noise: every value is off by the factor 1 {measure.gain:+.1e}"
    allowed = f" (up to {short(measure.max_allowed)} allowed)" if math.isfinite(measure.max_allowed) else ""
    return f"greatest difference {short(measure.max_abs)} at {_index(measure.max_index)}{allowed}"


def _index(index: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, index))})"


def _judged(result: LayerResult | None) -> str:
    return f"judged by {result.policy}" if result and result.policy else ""
