"""Reports as text for a terminal: failures one by one, a summary, and a table of all layers.

Everything returns a string, laid out for `width` columns (by default the terminal's, 80 where there is none)
and without colour unless asked. Names and commands are never broken in two: only sentences wrap.
"""

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from parity.numbers import short, times
from parity.render.deaths import again, how_it_died, what_was_found, who_died
from parity.render.page import Page, clip, columns, packed, plain_table
from parity.report import (
    DIED,
    DIVERGED,
    GRADIENTS,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    TRAINABLE,
    VALUES,
    Coverage,
    Finding,
    GradientRun,
    LayerResult,
    Measure,
    Report,
    Run,
)

SHOWN = 8
"""How many names, warnings or findings are listed before "and N more"."""
NARROW = 100
"""Below this width a table puts the port's names under the reference's."""
SHORTEST = 8
"""To how many characters a name in a table may be cut."""
NON_FINITE = "non-finite"
STYLES = {PASS: "green", DIVERGED: "bold red", DIED: "bold red", INTRODUCES: "bold red", INHERITS: "yellow"}


# --- one failure -------------------------------------------------------------------------------------------


def failure(report: Report, finding: Finding, *, also: Sequence[Finding] = (), width: int | None = None) -> str:
    """What, where, how far, how far allowed, why, what next: a finding, `also` the same in other runs."""
    result = _result(report, finding)
    where = [f"input {finding.input}, mode {finding.mode}", f"port layer {finding.port_layer}"]
    if also:
        where.append(f"also in {_places(report, also)}")
    return _message(
        [f"{report.pair} / {finding.layer}  {_how_far(report, finding, result)}", _cause(finding)],
        [_change(finding)],
        [_undone(finding), ", ".join(where)],
        ["" if _strange(finding) else _greatest(_measure_of(finding, result))],
        [_judged(result)],
        [f"next: {_explain(report, finding)}"],
        width=width,
    )


def failures(report: Report, findings: Iterable[Finding], *, width: int | None = None) -> str:
    """Findings as `failure` writes them; the same layer and cause in several runs once, for its worst run."""
    texts = []
    for group in _groups(findings):
        worst = max(group, key=_badness)
        others = [finding for finding in group if finding is not worst]
        texts.append(failure(report, worst, also=others, width=width))
    return "\n\n".join(texts)


def output_failure(report: Report, run: Run, *, width: int | None = None) -> str:
    """The output of a run is beyond its limits: how far, how far allowed, where it leaves them first."""
    if run.verdict == DIED:
        return died_failure(report, run.input, width=width)
    measure = run.output
    how_far = _how_far_off(report, measure)
    first = next((layer for layer in run.layers if layer.verdict != PASS), None)
    entered = f"first layer to leave its limits: {first.layer} ({first.verdict})" if first else ""
    return _message(
        [f"{report.pair} / output  {how_far}"],
        [f"input {run.input}, mode {run.mode}", entered],
        ["" if measure.note else _greatest(measure)],
        [f"next: {_next(report, run.input, run.mode)}"],
        width=width,
    )


def _how_far_off(report: Report, measure: Measure) -> str:
    if measure.note:
        return f"cannot be compared: {measure.note}"
    return f"differs by {short(measure.relative)} ({_allowed(report, measure)})"


def _output_lines(report: Report) -> list[str]:
    """Which outputs are beyond their limits, where no layer is: each once, with the first run that says so."""
    if report.findings or report.first_divergence:
        return []
    lines: dict[str, str] = {}
    for run in report.runs:
        for name, measure in (run.outputs or {"output": run.output}).items():
            if not measure.passed and run.verdict != DIED:
                lines.setdefault(name, f"{name}  {_how_far_off(report, measure)}  in {run.input} ({run.mode})")
    return list(lines.values())


def coverage_failure(report: Report, *, width: int | None = None) -> str:
    """What was left uncompared, by name, and how to compare or waive it."""
    left = _unmatched(report.coverage)
    if report.coverage.matched:
        counts = " and ".join(f"{len(names)} of the {side}" for side, names in left)
        head = f"{report.pair}  incomplete coverage: {counts} unmatched"
    else:
        head = f"{report.pair}  nothing was compared: no layer of the port answers to one of the reference"
    return _message(
        [head],
        *([f"unmatched in the {side}: {_listed(names, f'coverage.unmatched_{side}')}"] for side, names in left),
        ["next: map them in Pair(layers={...}), or waive them by name in Pair(waived={...})"],
        width=width,
    )


def watching_failure(report: Report, run: Run, *, width: int | None = None) -> str:
    """Instrumenting the port changed what it computes, so its layers' numbers are about something else."""
    return _message(
        [f"{report.pair} / output  changes by {short(run.watching.relative)} when the port is watched"],
        [
            f"input {run.input}, mode {run.mode}",
            "the layers' numbers of this run describe another computation",
        ],
        [f"next: {_next(report, run.input, run.mode)}"],
        width=width,
    )


def uncompared_failure(report: Report, layer: str, runs: Sequence[Run], *, width: int | None = None) -> str:
    """A layer that has weights and was compared in none of `runs`, or not in all of those there are."""
    if report.deaths and all(run.verdict == DIED for run in runs):
        return f"{report.pair} / {layer}  was not compared\n{died_failure(report, width=width)}"
    return _message(
        [f"{report.pair} / {layer}  was not compared"],
        [f"in {_runs_in_words(report, [(run.input, run.mode) for run in runs])}"],
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
    where = f"in {_runs_in_words(report, [(run.input, run.mode) for run in runs])}" if runs else "in any run"
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
        [f"next: {_next(report, run.input, run.mode)}"],
        width=width,
    )


def _message(*lines: Sequence[str], width: int | None) -> str:
    """Each line's pieces beside each other where they fit, else below; indented after the very first."""
    room = width or columns()
    written: list[str] = []
    for pieces in lines:
        written += packed(pieces, room - 2)
    return "\n  ".join(written)


def _how_far(report: Report, finding: Finding, result: LayerResult | None) -> str:
    if _strange(finding):
        measure = _measure_of(finding, result)
        note = f": {measure.note}" if measure and measure.note else ""
        return ("is not finite" if finding.cause.slug == NON_FINITE else "cannot be compared") + note
    if finding.about == TRAINABLE:
        return "is not trained on both sides"
    if finding.cause.slug == "dropout-rate":
        return "is followed by another dropout"
    allowed = f"{_unit(report, result)} {short(finding.floor)}, {times(_floors(finding))}"
    if finding.about != VALUES:
        what = "gives other gradients, off by" if finding.about == GRADIENTS else "differs in training mode by"
        return f"{what} {short(finding.error)} ({allowed})"
    if finding.introduced:
        return f"introduces {short(finding.error)} ({allowed})"
    return f"leaves its limits end to end, by {short(finding.error)} ({allowed})"


def _strange(finding: Finding) -> bool:
    """Whether the error is no number to show: something is not finite, or the shapes differ."""
    return finding.cause.slug == NON_FINITE or not math.isfinite(finding.error)


def _measure_of(finding: Finding, result: LayerResult | None) -> Measure | None:
    if result is None or finding.about != VALUES:
        return None
    return result.introduced if finding.introduced else result.propagated


def _unit(report: Report, result: LayerResult | None = None) -> str:
    """What errors are counted in: the noise floor, or under a fixed policy the tolerance."""
    policy = (result.policy if result else "") or report.settings.get("policy", "")
    return "tolerance" if policy.startswith("rtol=") else "floor"


def _change(finding: Finding) -> str:
    return f"change: {finding.cause.change}" if finding.cause.change else ""


def _cause(finding: Finding) -> str:
    cause = finding.cause
    if cause.slug == "unknown":
        return f"cause: unknown (the evidence: {cause.detail})" if cause.detail else "cause: unknown"
    names = " and ".join([cause.slug, *cause.also])
    return f"cause: {names} ({cause.detail})" if cause.detail else f"cause: {names}"


def _undone(finding: Finding) -> str:
    after = finding.cause.residual_after
    return "" if after is None else f"with that undone: {short(after)}"


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


def _allowed(report: Report, measure: Measure) -> str:
    return f"allowed {short(measure.allowed)}, {times(measure.ratio)} the {_unit(report)}"


def _next(report: Report, input_name: str, mode: str) -> str:
    """A command that shows every layer of that run; without a known command, the Python that does."""
    command = report.settings.get("command")
    if not command:
        run = next((i for i, run in enumerate(report.runs) if (run.input, run.mode) == (input_name, mode)), 0)
        return f"from parity.render import layer_table; print(layer_table(report, report.runs[{run}]))"
    return f"{command} --input {input_name} --mode {mode} --layers"


def _explain(report: Report, finding: Finding) -> str:
    """The command that explains the layer of a finding; without a known command, what shows every layer of its run."""
    command = report.settings.get("command", "")
    if not command.startswith("parity verify ") or not finding.introduced or finding.about != VALUES:
        return _next(report, finding.input, finding.mode)
    _, _, name, *options = (word for word in shlex.split(command) if word != "--grad")
    words = ["parity", "explain", name, finding.layer, *options, "--input", finding.input, "--mode", finding.mode]
    return shlex.join(words)


def _result(report: Report, finding: Finding) -> LayerResult | None:
    """The record of the layer a finding is about; of the one around it, for an operation the port lacks."""
    for run in report.runs:
        if (run.input, run.mode) == (finding.input, finding.mode):
            by_name = {name: layer for layer in run.layers for name in (*layer.inside, layer.layer)}
            return by_name.get(finding.layer)
    return None


def _groups(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of the same layer with the same cause, in the order of first appearance."""
    groups: dict[tuple[str, str, str, bool, str], list[Finding]] = {}
    for finding in findings:
        key = (finding.layer, finding.port_layer, finding.cause.slug, finding.introduced, finding.about)
        groups.setdefault(key, []).append(finding)
    return list(groups.values())


def _floors(finding: Finding) -> float:
    return finding.error / finding.floor if finding.floor else math.inf


def _badness(finding: Finding) -> float:
    return math.inf if _strange(finding) else _floors(finding)


def _places(report: Report, findings: Iterable[Finding]) -> str:
    return _runs_in_words(report, [(finding.input, finding.mode) for finding in findings])


def _runs_in_words(report: Report, places: Sequence[tuple[str, str]]) -> str:
    """Runs as "noise (eager, graph), ramp (eager)"; all of them as "all 6 runs"."""
    if len(report.runs) > 1 and set(places) == {(run.input, run.mode) for run in report.runs}:
        return f"all {len(report.runs)} runs"
    modes: dict[str, list[str]] = {}
    for name, mode in dict.fromkeys(places):
        modes.setdefault(name, []).append(mode)
    return ", ".join(f"{name} ({', '.join(of_input)})" for name, of_input in modes.items())


def _listed(names: Sequence[str], field: str) -> str:
    more = f" and {len(names) - SHOWN} more (all of them: {field} in report.json)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# --- the summary -------------------------------------------------------------------------------------------


def summary(report: Report, *, width: int | None = None, colour: bool = False) -> str:
    """The whole verification on one page: settings, runs, coverage, findings, warnings, verdict."""
    page = Page(width, colour)
    page.line(f"parity: {report.pair}", style="bold")
    for death in report.deaths:
        page.item("died", *how_it_died(death), style=STYLES[DIED])
        page.item("kept", what_was_found(report, death))
        page.item("again", again(report, death))
    for key, value in _header(report).items():
        page.item(key, value)
    page.gap()
    if report.runs:
        page.table(_runs_table(report, page.width))
        page.gap()
    page.item("", _coverage_line(report), style="" if report.coverage.complete else STYLES[DIVERGED])
    for side, names in _unmatched(report.coverage):
        page.item("unmatched", f"in the {side}: {_listed(names, f'coverage.unmatched_{side}')}")
    if report.coverage.apart:
        listed = _listed(report.coverage.apart, "coverage.apart")
        page.item(
            "apart", f"{listed}: other values on either side, which the layer after it undoes; compared with that"
        )
    if report.coverage.propagated_only:
        listed = _listed(report.coverage.propagated_only, "coverage.propagated_only")
        page.item("end to end", f"{listed}: the port cannot run them alone; what they introduce is not known")
    if report.coverage.waived:
        page.item("waived", _listed(report.coverage.waived, "coverage.waived"))
    for text in _gradient_lines(report):
        page.item("gradients", text)
    if report.first_divergence:
        page.item("diverges", *_first_pieces(report.first_divergence))
    for pieces in _finding_pieces(report):
        page.item("finding", *pieces)
    for text in _output_lines(report):
        page.item("output", text)
    for text in _warning_lines(report):
        page.item("warning", text, style=STYLES[INHERITS])
    failed = next((run for run in report.runs if run.verdict not in (PASS, DIED)), None)
    if report.findings:
        page.item("next", _explain(report, report.findings[0]))
    elif failed:
        page.item("next", _next(report, failed.input, failed.mode))
    page.gap()
    page.line(verdict(report), style=STYLES[report.verdict])
    return page.text()


def _header(report: Report) -> dict[str, str]:
    shown = {key: value for key, value in report.settings.items() if key not in ("command", "unfinished", "model")}
    versions = ", ".join(f"{name} {version}" for name, version in report.environment.items())
    return {**shown, **({"versions": versions} if versions else {})}


def _runs_table(report: Report, width: int) -> Table:
    table = plain_table()
    names = max(12, (width - 52) // 2)
    table.add_column("input", no_wrap=True)
    table.add_column("mode", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column(f"worst layer, in {_unit(report)}s", no_wrap=True)
    table.add_column("output error", no_wrap=True, justify="right")
    table.add_column("watching", no_wrap=True)
    for run in report.runs:
        table.add_row(
            Text(clip(run.input, names)),
            Text(run.mode),
            Text(run.verdict, style=STYLES.get(run.verdict, "")),
            Text(_worst(run, names)),
            *_ends(run),
        )
    return table


def _ends(run: Run) -> tuple[Text, Text]:
    """The output's error and what watching changed; neither is known of a run whose process died."""
    if run.verdict == DIED:
        return Text("-"), Text("-")
    return (
        Text(short(run.output.relative), style="" if run.output.passed else STYLES[DIVERGED]),
        Text(_watching(run), style="" if run.watching.within else STYLES[DIVERGED]),
    )


def _worst(run: Run, width: int) -> str:
    """The layer that introduces most; where none introduces anything, the one farthest off end to end."""
    guilty = [layer for layer in run.layers if layer.verdict == INTRODUCES]
    measured = [(layer.introduced.ratio, layer.layer) for layer in guilty if layer.introduced]
    measured = measured or [(layer.propagated.ratio, layer.layer) for layer in run.layers if layer.propagated]
    measured = measured or [(layer.introduced.ratio, layer.layer) for layer in run.layers if layer.introduced]
    if not measured:
        return "nothing compared"
    ratio, name = max(measured, key=lambda pair: pair[0] if not math.isnan(pair[0]) else math.inf)
    return f"{times(ratio):>7} {clip(name, width)}"


def _watching(run: Run) -> str:
    if run.watching.same:
        return "same"
    return short(run.watching.relative) + ("" if run.watching.within else " !")


def _coverage_line(report: Report) -> str:
    coverage = report.coverage
    # How many of the unmatched have weights is not on record: "of all" is said where nothing is missing.
    of_all = f" of {coverage.weighted}" if not coverage.unmatched_reference else ""
    weighted = {layer.layer for run in report.runs for layer in run.layers if layer.weighted}
    apart = coverage.weighted - len(weighted & set(coverage.matched)) if coverage.apart and report.runs else 0
    operations = len(coverage.matched) - coverage.weighted + apart
    unmatched = len(coverage.unmatched_reference) + len(coverage.unmatched_port)
    return (
        f"{coverage.weighted}{of_all} weighted layers and {operations} operations between them matched, "
        f"{unmatched} unmatched"
    )


def _unmatched(coverage: Coverage) -> list[tuple[str, list[str]]]:
    """The names left over on each side that were not waived, for the sides that have any."""
    waived = set(coverage.waived)
    sides = (("reference", coverage.unmatched_reference), ("port", coverage.unmatched_port))
    left = [(side, [name for name in names if name not in waived]) for side, names in sides]
    return [(side, names) for side, names in left if names]


def _first_pieces(first: Finding) -> list[str]:
    return [f"first at {first.layer}, end to end", f"input {first.input}, mode {first.mode}"]


def _finding_pieces(report: Report) -> Iterator[list[str]]:
    groups = _groups(report.findings)
    for group in groups[:SHOWN]:
        worst = max(group, key=_badness)
        undone = "  ".join(filter(None, [_undone(worst), f"in {_places(report, group)}"]))
        yield [
            f"{worst.layer}  {_how_far(report, worst, _result(report, worst))}",
            _cause(worst),
            _change(worst),
            undone,
        ]
    if len(groups) > SHOWN:
        yield [f"and {len(groups) - SHOWN} more (all of them: findings in report.json)"]


def _gradient_lines(report: Report) -> Iterator[str]:
    """How many gradients agree, and what was left out."""
    if not report.gradients:
        return
    layers = [layer for run in report.gradients for layer in run.layers]
    agreeing = sum(run.verdict == PASS for run in report.gradients)
    values, weights = sum(len(layer.to) for layer in layers), sum(len(layer.weights) for layer in layers)
    trained = sum(bool(layer.training) for layer in layers)
    yield (
        f"agree in {agreeing} of {len(report.gradients)} runs: {values} to values, {weights} to weights, "
        f"{trained} layers in training mode"
    )
    left = [layer for layer in layers if layer.verdict == NOT_COMPARED]
    if left:
        names = list(dict.fromkeys(layer.layer for layer in left))
        yield f"not compared at {_listed(names, 'gradients[].layers')}: {left[0].notes[0]}"
    yield from dict.fromkeys(note for run in report.gradients for note in run.notes)


def _warning_lines(report: Report) -> Iterator[str]:
    seen = Counter((run.input, warning) for run in report.runs for warning in run.warnings)
    for name, warning in list(seen)[:SHOWN]:
        yield f"{name}: {warning}"
    if len(seen) > SHOWN:
        yield f"and {len(seen) - SHOWN} more (all of them: runs[].warnings in report.json)"


def verdict(report: Report) -> str:
    """The whole verification in one line."""
    unfinished = report.settings.get("unfinished", "")
    tail = f"; UNFINISHED: {unfinished}" if unfinished else ""
    agreeing = sum(run.verdict == PASS for run in report.runs)
    runs = f"{agreeing} of {len(report.runs)} runs"
    if report.passed:
        return f"PASS: the port of {report.pair} computes what its reference computes, in {runs}{tail}"
    if report.deaths:
        return f"DIED: {who_died(report)}; {report.pair} agrees in {runs}{tail}"
    if not report.runs or not report.coverage.matched:
        return f"NOTHING COMPARED: {report.pair} is not verified{tail}"
    if not report.coverage.complete:
        return f"DIVERGED: {report.pair} is not wholly compared; {runs} agree in what was{tail}"
    if agreeing == len(report.runs) and any(run.verdict != PASS for run in report.gradients):
        first = f"; first at {report.findings[0].layer}" if report.findings else ""
        return f"DIVERGED: {report.pair} agrees in {runs}, and not in its gradients or in training mode{first}{tail}"
    where = f"; first at {report.first_divergence.layer}" if report.first_divergence else ""
    return f"DIVERGED: {report.pair} agrees in {runs}{where}{tail}"


# --- the table of layers -----------------------------------------------------------------------------------


def layer_table(report: Report, run: Run, *, width: int | None = None, colour: bool = False) -> str:
    """Every layer of one run: relative errors and how many floors they are, propagated and introduced."""
    page = Page(width, colour)
    page.line(f"{report.pair}: input {run.input}, mode {run.mode}", style="bold")
    wide = page.width >= NARROW
    cells = [_numbers(layer) for layer in run.layers]
    headings = ("propagated", "introduced", "floor", "verdict")
    taken = sum(2 + max(map(len, column)) for column in zip(headings, *cells, strict=True))
    names = max(SHORTEST, (page.width - taken) // 2 - 2 if wide else page.width - taken - 2)
    table = plain_table()
    table.add_column("layer", no_wrap=True)
    if wide:
        table.add_column("port layer", no_wrap=True)
    for heading in headings:
        justify = "left" if heading == "verdict" else "right"
        table.add_column(heading, no_wrap=True, justify=justify, vertical="bottom")  # type: ignore[arg-type]
    for layer, row in zip(run.layers, cells, strict=True):
        table.add_row(*(Text(name) for name in _names(layer, names, wide)), *row)
    page.table(table)
    page.item("", f"each error is relative, followed by how many {_unit(report)}s it is")
    return page.text()


def _numbers(layer: LayerResult) -> tuple[Text, ...]:
    """What is said of a layer: both errors, the floor, the verdict."""
    verdict = Text(layer.verdict, style=STYLES.get(layer.verdict, ""))
    return _measured(layer.propagated), _measured(layer.introduced), Text(short(layer.floor)), verdict


def _names(layer: LayerResult, width: int, wide: bool) -> tuple[str, ...]:
    """The layer's and its port's name: in two cells, or in one, below each other where they do not fit."""
    if wide:
        return clip(layer.layer, width), clip(layer.port_layer, width)
    beside = f"{layer.layer} = {layer.port_layer}"
    if layer.layer == layer.port_layer:
        return (clip(layer.layer, width),)
    if len(beside) <= width:
        return (beside,)
    return (f"{clip(layer.layer, width)}\n = {clip(layer.port_layer, width - 3)}",)


def _measured(measure: Measure | None) -> Text:
    if measure is None:
        return Text("-")
    style = "" if measure.passed else STYLES[DIVERGED]
    return Text(f"{short(measure.relative)} {times(measure.ratio):>7}", style=style)
