"""What a finding, a measure or a run says, piece by piece: the words that messages and summaries share."""

import math
import re
import shlex
from collections.abc import Iterable, Sequence

from parity.numbers import short, times
from parity.report import (
    GRADIENTS,
    TRAINABLE,
    VALUES,
    Cause,
    Coverage,
    Finding,
    LayerResult,
    Measure,
    Report,
)

SHOWN = 8
"""How many names, warnings or findings are listed before "and N more"."""
NON_FINITE = "non-finite"


def in_place_of_a_number(measure: Measure) -> str:
    """What is said of a measure that is no number to compare; nothing of any other."""
    if not measure.note:
        return ""
    return "not finite" if "not finite" in measure.note else "not comparable"


def how_far_off(report: Report, measure: Measure) -> str:
    """How far a measure is off, and how far it may be."""
    if measure.note:
        return f"cannot be compared: {measure.note}"
    return f"differs by {short(measure.relative)} ({allowed(report, measure)})"


def how_far(report: Report, finding: Finding, result: LayerResult | None) -> str:
    """How far off the layer of a finding is, in the words of what it is about."""
    if is_strange(finding):
        measure = measure_of(finding, result)
        note = f": {measure.note}" if measure and measure.note else ""
        return ("is not finite" if finding.cause.slug == NON_FINITE else "cannot be compared") + note
    if finding.about == TRAINABLE:
        return "is not trained on both sides"
    if finding.cause.slug == "dropout-rate":
        return "is followed by another dropout"
    allowed = f"{unit_of(report, result)} {short(finding.floor)}"
    allowed += f", {times(ratio)}" if math.isfinite(ratio := in_floors(finding)) else ""
    allowed += in_decibels(finding, result)
    if finding.about != VALUES:
        what = "gives other gradients, off by" if finding.about == GRADIENTS else "differs in training mode by"
        return f"{what} {short(finding.error)} ({allowed})"
    if finding.introduced:
        return f"introduces {short(finding.error)} ({allowed})"
    return f"leaves its limits end to end, by {short(finding.error)} ({allowed})"


def in_decibels(finding: Finding, result: LayerResult | None) -> str:
    """The same as a ratio of signal to noise, where that is what low precision is judged by; else nothing."""
    measure = measure_of(finding, result)
    if result is None or measure is None or not result.precision:
        return ""
    return f"; {measure.sqnr:.1f} dB, where {result.precision} allows {measure.sqnr_allowed:.1f} dB"


def is_strange(finding: Finding) -> bool:
    """Whether the error is no number to show: something is not finite, or the shapes differ."""
    return finding.cause.slug == NON_FINITE or not math.isfinite(finding.error)


def measure_of(finding: Finding, result: LayerResult | None) -> Measure | None:
    """The measure that a finding is about; None where it is about something else than values."""
    if result is None or finding.about != VALUES:
        return None
    return result.introduced if finding.introduced else result.propagated


def unit_of(report: Report, result: LayerResult | None = None) -> str:
    """What errors are counted in: the noise floor, or under a fixed policy the tolerance."""
    policy = (result.policy if result else "") or report.settings.get("policy", "")
    return "tolerance" if policy.startswith("rtol=") else "floor"


def change_in_words(finding: Finding) -> str:
    """What to change in the port; nothing where that is not known."""
    return f"change: {finding.cause.change}" if finding.cause.change else ""


def by_hand(cause: Cause) -> str:
    """The same change as code, where it is one of a weight's axes alone; else nothing."""
    return "" if cause.also else transposed_by_hand(cause.detail)


def by_hand_in_words(finding: Finding) -> str:
    """The change as code, for whoever reads lines; else nothing."""
    code = by_hand(finding.cause)
    return f"that is: {code}" if code else ""


def cause_in_words(finding: Finding) -> str:
    """The cause with its evidence."""
    cause = finding.cause
    if cause.slug == "unknown":
        return f"cause: unknown (the evidence: {cause.detail})" if cause.detail else "cause: unknown"
    names = " and ".join([cause.slug, *cause.also])
    return f"cause: {names} ({cause.detail})" if cause.detail else f"cause: {names}"


PERMUTED = re.compile(r"the (\w+)'s axes are permuted: it needs ([a-z ]+) = its axes \(([0-9, ]+)\)")
AXES = {"kh": "height", "kw": "width", "i": "input channels", "o": "output channels"}


def two_axes_swapped(detail: str) -> str:
    """What a permutation of two axes is in plain words; nothing where more than two are moved.

    >>> two_axes_swapped("the kernel's axes are permuted: it needs kh kw i o = its axes (1, 0, 2, 3)")
    'height and width of the kernel are swapped'
    """
    found = PERMUTED.search(detail)
    if not found:
        return ""
    letters, order = found[2].split(), _order(found)
    moved = [AXES.get(letter, letter) for place, letter in enumerate(letters) if order[place : place + 1] != [place]]
    return f"{' and '.join(moved)} of the {found[1]} are swapped" if len(moved) == 2 else ""


def transposed_by_hand(detail: str) -> str:
    """The code that puts permuted axes right; nothing where no permutation is told, or more than that.

    >>> transposed_by_hand("the kernel's axes are permuted: it needs kh kw i o = its axes (1, 0, 2, 3)")
    'kernel = kernel.transpose(1, 0, 2, 3)'
    """
    found = PERMUTED.fullmatch(detail)
    return f"{found[1]} = {found[1]}.transpose({', '.join(map(str, _order(found)))})" if found else ""


def _order(found: re.Match[str]) -> list[int]:
    return [int(index) for index in found[3].split(",")]


def what_is_left(finding: Finding) -> str:
    """What a replay without the fault leaves; nothing where there was none."""
    after = finding.cause.residual_after
    return "" if after is None else f"with that undone: {short(after)}"


def allowed(report: Report, measure: Measure) -> str:
    """How much of a measure is allowed."""
    return f"allowed {short(measure.allowed)}, {times(measure.ratio)} the {unit_of(report)}"


def next_command(report: Report, input_name: str, mode: str) -> str:
    """A command that shows every layer of that run; without a known command or file, the Python that does."""
    command = report.settings.get("command")
    if not command and (file := report.settings.get("file")):
        return f"parity report {file} --layers"
    if not command:
        run = next((i for i, run in enumerate(report.runs) if (run.input, run.mode) == (input_name, mode)), 0)
        return f"from parity.render import layer_table; print(layer_table(report, report.runs[{run}]))"
    return f"{command} --input {input_name} --mode {mode} --layers"


def explain_command(report: Report, finding: Finding) -> str:
    """The command that explains the layer of a finding; without a known command, what shows every layer of its run."""
    command = report.settings.get("command", "")
    if not command.startswith("parity verify ") or not finding.introduced or finding.about != VALUES:
        return next_command(report, finding.input, finding.mode)
    _, _, name, *options = (word for word in shlex.split(command) if word != "--grad")
    words = ["parity", "explain", name, finding.layer, *options, "--input", finding.input, "--mode", finding.mode]
    return shlex.join(words)


def result_of(report: Report, finding: Finding) -> LayerResult | None:
    """The record of the layer a finding is about; of the one around it, for an operation the port lacks."""
    for run in report.runs:
        if (run.input, run.mode) == (finding.input, finding.mode):
            by_name = {name: layer for layer in run.layers for name in (*layer.inside, layer.layer)}
            return by_name.get(finding.layer)
    return None


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of the same layer with the same cause, in the order of first appearance."""
    groups: dict[tuple[str, str, str, bool, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.layer, finding.port_layer, finding.cause.slug, finding.introduced, finding.about)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def in_floors(finding: Finding) -> float:
    """The error of a finding, counted in floors."""
    return finding.error / finding.floor if finding.floor else math.inf


def badness(finding: Finding) -> float:
    """How bad a finding is, to put the worst of several first."""
    return math.inf if is_strange(finding) else in_floors(finding)


def places_in_words(report: Report, findings: Iterable[Finding]) -> str:
    """The runs that findings are of."""
    return runs_in_words(report, [(finding.input, finding.mode) for finding in findings])


def runs_in_words(report: Report, places: Sequence[tuple[str, str]]) -> str:
    """Runs as "noise (eager, graph), ramp (eager)"; all of them as "all 6 runs"."""
    if len(report.runs) > 1 and set(places) == {(run.input, run.mode) for run in report.runs}:
        return "both runs" if len(report.runs) == 2 else f"all {len(report.runs)} runs"
    modes: dict[str, list[str]] = {}
    for name, mode in dict.fromkeys(places):
        modes.setdefault(name, []).append(mode)
    return ", ".join(f"{name} ({', '.join(of_input)})" for name, of_input in modes.items())


def some_of(names: Sequence[str], field: str) -> str:
    """Names, and where to read the others of a long list."""
    more = f" and {len(names) - SHOWN} more (all of them: {field} in report.json)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def unmatched_in(coverage: Coverage) -> list[tuple[str, list[str]]]:
    """The names left over on each side that were not waived, for the sides that have any."""
    waived = set(coverage.waived)
    sides = (("reference", coverage.unmatched_reference), ("port", coverage.unmatched_port))
    left = [(side, [name for name in names if name not in waived]) for side, names in sides]
    return [(side, names) for side, names in left if names]
