"""Reports as text for a terminal: a summary, and a table of all layers.

Everything returns a string, laid out for `width` columns (by default the terminal's, 80 where there is none)
and without colour unless asked. Names and commands are never broken in two: only sentences wrap.
"""

from collections import Counter
from collections.abc import Iterator

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from parity.numbers import decibels, short, times
from parity.render.deaths import again, how_it_died, what_was_found, who_died
from parity.render.page import Page, clip, plain_table, visible
from parity.render.sentences import (
    SHOWN,
    badness,
    by_hand_in_words,
    cause_in_words,
    change_in_words,
    explain_command,
    grouped,
    how_far,
    how_far_off,
    in_place_of_a_number,
    next_command,
    places_in_words,
    result_of,
    some_of,
    unit_of,
    unmatched_in,
    what_is_left,
)
from parity.report import (
    DIED,
    DIVERGED,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    Coverage,
    Finding,
    LayerResult,
    Measure,
    Report,
    Run,
)

NARROW = 100
"""Below this width a table puts the port's names under the reference's."""
USUAL, NARROWEST = 80, 56
"""Below these widths tables leave out what a reader misses least."""
MOST_RUNS = 24
"""So many runs are listed: what was found is not to be pushed off the screen."""
SHORTEST = 8
"""To how many characters a name in a table may be cut."""
STYLES = {PASS: "green", DIVERGED: "bold red", DIED: "bold red", INTRODUCES: "bold red", INHERITS: "yellow"}


def _output_lines(report: Report) -> list[str]:
    """Which outputs are beyond their limits, where no layer is: each once, with the first run that says so."""
    if report.findings or report.first_divergence:
        return []
    lines: dict[str, str] = {}
    for run in report.runs:
        for name, measure in (run.outputs or {"output": run.output}).items():
            if not measure.passed and run.verdict != DIED:
                lines.setdefault(name, f"{name}  {how_far_off(report, measure)}  in {run.input} ({run.mode})")
    return list(lines.values())


def summary(report: Report, *, width: int | None = None, colour: bool = False) -> str:
    """The whole verification on one page, the essential first: runs, coverage, findings, warnings; then the settings.

    The verdict is the last line, above the prompt.
    """
    page = Page(width, colour)
    page.line(f"parity: {report.pair}", style="bold")
    for death in report.deaths:
        page.item("died", *how_it_died(death), style=STYLES[DIED])
        page.item("kept", what_was_found(report, death))
        page.item("again", again(report, death))
    page.gap()
    if report.runs:
        shown = _listed(report)
        page.table(_runs_table(report, shown, page.width))
        if left := len(report.runs) - len(shown):
            passing = sum(run.verdict == PASS for run in report.runs) - sum(run.verdict == PASS for run in shown)
            page.item("", f"and {left} more runs, of which {passing} pass (all of them: runs in report.json)")
        page.gap()
    page.item("", _coverage_line(report), style="" if report.coverage.complete else STYLES[DIVERGED])
    for side, names in unmatched_in(report.coverage):
        page.item("unmatched", f"in the {side}: {some_of(names, f'coverage.unmatched_{side}')}")
    if report.coverage.apart:
        listed = some_of(report.coverage.apart, "coverage.apart")
        page.item(
            "apart", f"{listed}: other values on either side, which the layer after it undoes; compared with that"
        )
    if report.coverage.propagated_only:
        listed = some_of(report.coverage.propagated_only, "coverage.propagated_only")
        page.item("end to end", f"{listed}: the port cannot run them alone; what they introduce is not known")
    if reasons := {layer.layer: layer.reason for run in report.runs for layer in run.layers if layer.reason}:
        first = next(iter(reasons.values()))
        page.item("unproven", f"{some_of(list(reasons), 'runs[].layers')}: {first}", style=STYLES[DIVERGED])
    if report.coverage.waived:
        page.item("waived", some_of(report.coverage.waived, "coverage.waived"))
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
        page.item("next", explain_command(report, report.findings[0]))
    elif failed:
        page.item("next", next_command(report, failed.input, failed.mode))
    page.gap()
    for key, value in _header(report).items():
        page.item(key, value)
    page.gap()
    page.line(verdict(report), style=STYLES[report.verdict])
    return page.text()


def _header(report: Report) -> dict[str, str]:
    shown = {key: value for key, value in report.settings.items() if key not in ("command", "unfinished", "model")}
    versions = ", ".join(f"{name} {version}" for name, version in report.environment.items())
    return {**shown, **({"versions": versions} if versions else {})}


def _listed(report: Report) -> list[Run]:
    """The runs that the table has: all, or of many those that do not pass before those that do."""
    if len(report.runs) <= MOST_RUNS:
        return list(report.runs)
    failing = [run for run in report.runs if run.verdict != PASS]
    passing = [run for run in report.runs if run.verdict == PASS]
    return [*failing, *passing][:MOST_RUNS]


def _runs_table(report: Report, runs: list[Run], width: int) -> Table:
    narrow = width < USUAL
    table = plain_table()
    names = max(SHORTEST, (width - 40) // 2) if narrow else max(12, (width - 53) // 2)
    rows = [(run, _ends(run)) for run in runs]
    columns: dict[str, list[Text]] = {
        "input": [Text(clip(run.input, names)) for run in runs],
        "mode": [Text(run.mode) for run in runs],
        "verdict": [Text(run.verdict, style=STYLES.get(run.verdict, "")) for run in runs],
        f"worst layer, in {unit_of(report)}s": [Text(_worst(run, names)) for run in runs],
        "output error": [output for _, (output, _) in rows],
        "watching": [watching for _, (_, watching) in rows],
    }
    if narrow and all(run.watching.within for run in runs):
        del columns["watching"]
    if width < NARROWEST:
        columns = {heading: cells for heading, cells in columns.items() if not heading.startswith("worst")}
    for heading in columns:
        table.add_column(
            heading if not narrow else heading.replace(", ", "\n").replace(" error", "\nerror"),
            no_wrap=True,
            justify="right" if heading == "output error" else "left",
            vertical="bottom",
        )
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _ends(run: Run) -> tuple[Text, Text]:
    """The output's error and what watching changed; neither is known of a run whose process died."""
    if run.verdict == DIED:
        return Text("-"), Text("-")
    return (
        Text(
            in_place_of_a_number(run.output) or short(run.output.relative),
            style="" if run.output.passed else STYLES[DIVERGED],
        ),
        Text(_watching(run), style="" if run.watching.within else STYLES[DIVERGED]),
    )


def _worst(run: Run, width: int) -> str:
    """The layer that introduces most; where none introduces anything, the one farthest off end to end."""
    guilty = [layer for layer in run.layers if layer.verdict == INTRODUCES]
    measured = [(layer.introduced, layer.layer) for layer in guilty if layer.introduced]
    measured = measured or [(layer.propagated, layer.layer) for layer in run.layers if layer.propagated]
    measured = measured or [(layer.introduced, layer.layer) for layer in run.layers if layer.introduced]
    if not measured:
        return "nothing compared"
    measure, name = max(measured, key=lambda pair: pair[0].floors)
    words = f"{in_place_of_a_number(measure) or times(measure.ratio):>7}"
    return f"{words} {clip(name, max(SHORTEST, width + 7 - len(words)))}"


def _watching(run: Run) -> str:
    if run.watching.same:
        return "same"
    return short(run.watching.relative) + ("" if run.watching.within else " !")


def _coverage_line(report: Report) -> str:
    coverage = report.coverage
    # How many of the unmatched have weights is not on record: "of all" is said where nothing is missing.
    count = coverage.weighted + len(coverage.fused)
    of_all = f" of {count}" if not coverage.unmatched_reference else ""
    weighted = {layer.layer for run in report.runs for layer in run.layers if layer.weighted}
    apart = coverage.weighted - len(weighted & set(coverage.matched)) if coverage.apart and report.runs else 0
    operations = len(coverage.matched) - coverage.weighted + apart
    unmatched = len(coverage.unmatched_reference) + len(coverage.unmatched_port)
    return (
        f"{count}{of_all} weighted layers and {operations} operations between them matched, "
        f"{unmatched} unmatched{_fused_in_words(coverage)}"
    )


def _fused_in_words(coverage: Coverage) -> str:
    """Which layers are compared as part of another."""
    names = [f"{name} into {layer}" for name, layer in coverage.fused.items()]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; fused: {', '.join(names[:SHOWN])}{more}" if names else ""


def _first_pieces(first: Finding) -> list[str]:
    return [f"first at {first.layer}, end to end", f"input {first.input}, mode {first.mode}"]


def _finding_pieces(report: Report) -> Iterator[list[str]]:
    groups = grouped(report.findings)
    for group in groups[:SHOWN]:
        worst = max(group, key=badness)
        undone = "  ".join(filter(None, [what_is_left(worst), f"in {places_in_words(report, group)}"]))
        yield [
            f"{worst.layer}  {how_far(report, worst, result_of(report, worst))}",
            cause_in_words(worst),
            change_in_words(worst),
            by_hand_in_words(worst),
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
        why = next((f": {note}" for layer in left for note in layer.notes), "")
        yield f"not compared at {some_of(names, 'gradients[].layers')}{why}"
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


def layer_table(report: Report, run: Run, *, width: int | None = None, colour: bool = False) -> str:
    """Every layer of one run: relative errors and how many floors they are, propagated and introduced."""
    page = Page(width, colour)
    page.line(f"{report.pair}: input {run.input}, mode {run.mode}", style="bold")
    wide = page.width >= NARROW
    cells = [_numbers(layer) for layer in run.layers]
    headings = ("propagated", "introduced", "floor", "verdict")
    widths = {column[0].plain: 2 + max(map(len, column)) for column in zip(map(Text, headings), *cells, strict=True)}
    while page.width - sum(widths.values()) - 2 < SHORTEST and len(widths) > 2:
        del widths["floor" if "floor" in widths else "propagated"]
    taken = sum(widths.values())
    names = max(SHORTEST, (page.width - taken) // 2 - 2 if wide else page.width - taken - 2)
    table = plain_table()
    table.add_column("layer", no_wrap=True)
    if wide:
        table.add_column("port layer", no_wrap=True)
    for heading in widths:
        justify = "left" if heading == "verdict" else "right"
        table.add_column(heading, no_wrap=True, justify=justify, vertical="bottom")  # type: ignore[arg-type]
    for layer, row in zip(run.layers, cells, strict=True):
        shown = (cell for heading, cell in zip(headings, row, strict=True) if heading in widths)
        table.add_row(*(Text(name) for name in _names(layer, names, wide)), *shown)
    page.table(table)
    ratio = "the ratio of signal to noise" if any(layer.precision for layer in run.layers) else "relative"
    page.item("", f"each error is {ratio}, followed by how many {unit_of(report)}s it is")
    for layer in run.layers:
        if layer.reason:
            page.item("", f"{layer.layer} is not proven: {layer.reason}")
    return page.text()


def _numbers(layer: LayerResult) -> tuple[Text, ...]:
    """What is said of a layer: both errors, the floor, the verdict."""
    verdict = Text(layer.verdict, style=STYLES.get(layer.verdict, ""))
    rounded = bool(layer.precision)
    floor = f"{decibels(layer.floor):.1f} dB" if rounded else short(layer.floor)
    return shown_error(layer.propagated, rounded), shown_error(layer.introduced, rounded), Text(floor), verdict


def _names(layer: LayerResult, width: int, wide: bool) -> tuple[str, ...]:
    """The layer's and its port's name: in two cells, or in one, below each other where they do not fit."""
    if wide:
        return clip(layer.layer, width), clip(layer.port_layer, width)
    beside = visible(f"{layer.layer} = {layer.port_layer}")
    if layer.layer == layer.port_layer:
        return (clip(layer.layer, width),)
    if cell_len(beside) <= width:
        return (beside,)
    return (f"{clip(layer.layer, width)}\n = {clip(layer.port_layer, width - 3)}",)


def shown_error(measure: Measure | None, rounded: bool = False) -> Text:
    """An error and how many floors it is, in red where it is beyond its limits; `rounded` gives it in dB."""
    if measure is None:
        return Text("-")
    style = "" if measure.passed else STYLES[DIVERGED]
    if words := in_place_of_a_number(measure):
        return Text(words, style=style)
    error = f"{measure.sqnr:.1f} dB" if rounded else short(measure.relative)
    return Text(f"{error} {times(measure.ratio):>7}", style=style)
