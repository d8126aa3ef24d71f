"""`parity verify`: every layer of a port against its reference, on every input, in every mode."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import PairName, request, takes
from parity.cli.program import DIVERGED, INTERRUPTED, errors_as_sentences, in_colour

if TYPE_CHECKING:
    from parity.pair import Input, Pair
    from parity.render.progress import Show
    from parity.report import Report
    from parity.settings import Options, RunSettings


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
    layers: Annotated[bool, typer.Option("--layers", help="Print a table of all layers of every run.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict's line and errors.")
    ] = False,
) -> None:
    """Verify a pair: every layer of the port against the reference, on every input, in every mode.

    \b
    Examples:
      parity verify flownet
      parity verify flownet --size 256x256 --input noise --mode eager --layers
      parity verify flownet --images left.png right.png --checkpoint weights.pth.tar
      parity verify flownet --port my_port.keras
      parity verify flownet --data-format channels_first --size 512x512 --mode eager

    The report is written to DIR/PAIR/report.json, whether the port agrees or not.
    """
    wanted = replace(options, rtol=rtol, atol=atol, report_dir=report_dir)
    with errors_as_sentences():
        report = verified(pair, wanted, layers=layers, quiet=quiet)
    raise typer.Exit(0 if report.passed else DIVERGED)


def verified(name: str, options: "Options", *, layers: bool, quiet: bool) -> "Report":
    """Verify and write the report; interrupted, write what was finished and raise typer.Exit."""
    from parity.models import load
    from parity.render.progress import progress_bar
    from parity.settings import REPORT_FILE, RunSettings, ensure_writable, gathered, report_folder

    settings = RunSettings.of(name, options)
    ensure_writable(report_folder(settings.report_dir, name))
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        folder = report_folder(settings.report_dir, pair.name)
        ensure_writable(folder)
        finished = _finished(settings, pair, inputs, show)
    missing = [given.name for given in inputs[len(finished) :]]
    report = gathered(finished, f"interrupted before {', '.join(missing)}" if missing else "")
    path = report.save(folder / REPORT_FILE)
    _print(report, path, layers=layers, quiet=quiet)
    if missing:
        kept = ", ".join(given.name for given in inputs[: len(finished)])
        typer.echo(f"parity: interrupted; what was finished ({kept}) is kept in {path}", err=True)
        raise typer.Exit(INTERRUPTED)
    return report


def _finished(settings: "RunSettings", pair: "Pair", inputs: "list[Input]", show: "Show") -> "list[Report]":
    """A report for each input; fewer where the user interrupts. An interruption before the first is passed on."""
    from parity.render.progress import part

    finished: list[Report] = []
    verifier = settings.verifier(pair)
    try:
        for index, given in enumerate(inputs):
            finished.append(settings.verify(verifier, given, inputs, part(show, index, len(inputs))))
    except KeyboardInterrupt:
        if not finished:
            raise
    return finished


def _print(report: "Report", path: Path, *, layers: bool, quiet: bool) -> None:
    from parity.render import layer_table, summary, verdict

    if quiet:
        typer.echo(verdict(report))
        return
    colour = in_colour()
    for run in report.runs if layers else ():
        typer.echo(layer_table(report, run, colour=colour) + "\n", color=colour)
    typer.echo(summary(report, colour=colour), color=colour)
    typer.echo(f"report: {path}")
