"""`parity verify`: every layer of a port against its reference, on every input, in every mode."""

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Against, EveryLayer, Exports, PairName, Quiet, request, takes
from parity.cli.program import COULD_NOT_VERIFY, DIVERGED, INTERRUPTED, errors_as_sentences, in_colour

if TYPE_CHECKING:
    from parity.isolation import Source
    from parity.render.progress import Show
    from parity.report import Report
    from parity.settings import Options, RunSettings

INTERRUPTED_BY_USER = "interrupted"


@takes(request)
def verify(
    pair: PairName,
    options: "Options",
    rtol: Annotated[
        float | None,
        typer.Option("--rtol", metavar="R", help="A fixed tolerance instead of the noise floor; needs --atol."),
    ] = None,
    atol: Annotated[float | None, typer.Option("--atol", metavar="A", help="The absolute part; needs --rtol.")] = None,
    report_dir: Annotated[
        Path | None,
        typer.Option("--report-dir", metavar="DIR", help="Where PAIR/report.json goes; reports by default."),
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Verify in a process of its own; if that dies, report what it found.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="End a step that takes longer; this isolates as well."),
    ] = None,
    against: Against = None,
    exports: Exports = None,
    grad: Annotated[
        bool, typer.Option("--grad", help="Compare gradients too, layer by layer, and one step in training mode.")
    ] = False,
    layers: EveryLayer = False,
    quiet: Quiet = False,
) -> None:
    """Verify a pair: every layer of the port against the reference, on every input, in every mode.

    \b
    Examples:
      parity verify flownet
      parity verify flownet --size 256x256 --input noise --mode eager --layers
      parity verify flownet --images left.png right.png --checkpoint weights.pth.tar
      parity verify flownet --port my_port.keras
      parity verify flownet --data-format channels_first --size 512x512 --mode eager
      parity verify flownet --against golden.safetensors   with one of the two engines

    The report is written to DIR/PAIR/report.json and report.html, whether the port agrees or not.
    """
    wanted = replace(
        options,
        rtol=rtol,
        atol=atol,
        report_dir=report_dir,
        isolate=isolate,
        timeout=timeout,
        against=against,
        grad=grad,
        export=exports or (),
    )
    with errors_as_sentences():
        report = verified(pair, wanted, layers=layers, quiet=quiet)
    raise typer.Exit(exit_code(report))


def exit_code(report: "Report") -> int:
    """What the command ends with: 3 where a process died, whatever else was found."""
    if report.deaths:
        return COULD_NOT_VERIFY
    return 0 if report.passed else DIVERGED


def verified(name: str, options: "Options", *, layers: bool, quiet: bool) -> "Report":
    """Verify and write the report; interrupted, write what was finished and raise typer.Exit."""
    from parity.errors import ReportFolderError
    from parity.publishing import publish
    from parity.render.annotations import annotations, on_github
    from parity.render.progress import progress_bar
    from parity.settings import REPORT_FILE, RunSettings, ensure_writable, report_folder

    settings = RunSettings.of(name, options)
    ensure_writable(report_folder(settings.report_dir, name))
    with progress_bar(sys.stderr, quiet=quiet) as show:
        show(f"loading {name}", 0.0)
        report, interrupted = _made(settings, show)
    path = report_folder(settings.report_dir, report.pair) / REPORT_FILE
    try:
        seen = publish(report, path, settings.exports)
    except (ReportFolderError, KeyboardInterrupt) as error:
        # What was found is not lost with the disk, nor for the last second of an hour.
        show_report(report, None, layers=layers, quiet=quiet)
        if isinstance(error, ReportFolderError):
            raise
        typer.echo("parity: interrupted while the report was written; it may be an earlier run's", err=True)
        raise typer.Exit(INTERRUPTED) from None
    show_report(report, seen, layers=layers, quiet=quiet)
    for line in annotations(report) if on_github() else ():
        typer.echo(line, err=True)
    if interrupted:
        kept = ", ".join(dict.fromkeys(run.input for run in report.runs))
        typer.echo(f"parity: interrupted; what was finished ({kept}) is kept in {path}", err=True)
        raise typer.Exit(INTERRUPTED)
    return report


def _made(settings: "RunSettings", show: "Show") -> "tuple[Report, bool]":
    """A report of all inputs, and whether the user has interrupted; where loading ends the process, of that."""
    from parity.isolation import ProcessDiedError, opened
    from parity.settings import ensure_writable, gathered, report_folder

    try:
        source = opened(settings, show)
    except ProcessDiedError as died:
        return died.report(settings.name, {**settings.words(), "command": settings.command()}), False
    with closing(source):
        ensure_writable(report_folder(settings.report_dir, source.pair))
        finished, stopped = _finished(settings, source, show)
        missing = [given.name for given in source.inputs[len(finished) :]]
    unfinished = f"{stopped} before {', '.join(missing)}" if missing else ""
    return gathered(finished, unfinished), bool(missing) and stopped == INTERRUPTED_BY_USER


def _finished(settings: "RunSettings", source: "Source", show: "Show") -> "tuple[list[Report], str]":
    """A report for each input, and what stopped that early. An interruption before the first is passed on."""
    from parity.isolation import ProcessDiedError
    from parity.render.progress import part

    finished: list[Report] = []
    try:
        for index, given in enumerate(source.inputs):
            finished.append(source.verify(given.name, source.modes, part(show, index, len(source.inputs), given.name)))
    except KeyboardInterrupt:
        if not finished:
            raise
        return finished, INTERRUPTED_BY_USER
    except ProcessDiedError as died:
        if not finished:
            raise
        return finished, f"ended, since {died},"
    return finished, ""


def show_report(report: "Report", path: Path | None, *, layers: bool, quiet: bool) -> None:
    """Print a report, with where it is written, if it is; quietly, its verdict alone."""
    from parity.render import gradient_table, layer_table, summary, verdict
    from parity.render.page import visible

    if quiet:
        typer.echo(visible(verdict(report)))
        return
    colour = in_colour()
    for run in report.runs if layers else ():
        typer.echo(layer_table(report, run, colour=colour) + "\n", color=colour)
    for differentiated in report.gradients if layers else ():
        typer.echo(gradient_table(report, differentiated, colour=colour) + "\n", color=colour)
    typer.echo(summary(report, colour=colour), color=colour)
    if path is not None:
        typer.echo(f"report: {path}")
