"""The command `parity`: words in, a verification, words and an exit code out."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parity.errors import ParityError

if TYPE_CHECKING:
    from parity.pair import Input, Pair
    from parity.render.progress import Show
    from parity.report import Report
    from parity.settings import Options, RunSettings

DIVERGED, INTERRUPTED = 1, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain errors: they read the same in a pipe, in a log and on a narrow terminal.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """The console entry point."""
    app(prog_name="parity")


def _print_version(wanted: bool) -> None:
    if wanted:
        from parity import __version__

        typer.echo(f"parity {__version__}")
        raise typer.Exit


@app.callback()
def parity(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Prove, layer by layer, that a Keras/TensorFlow port computes what its PyTorch original computes.

    \b
    Examples:
      parity models                                    what can be verified by name
      parity verify flownet                            noise and a real pair, in eager, graph and XLA
      parity verify flownet --input noise --mode xla   one input in one mode

    Exit codes: 0 parity, 1 diverged, 2 wrong use, 3 could not verify.
    """


@app.command()
def models() -> None:
    """List the pairs that can be verified by name."""
    from parity.models import MODELS

    width = max(map(len, MODELS))
    for name, entry in MODELS.items():
        typer.echo(f"{name:<{width}}  {entry.description}")


@app.command()
def verify(
    pair: Annotated[str, typer.Argument(metavar="PAIR", help="The pair's name; `parity models` lists them.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME", help="An input to compare on, such as noise. Repeatable."),
    ] = None,
    images: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--images", metavar="LEFT RIGHT", help="Two pictures of your own as an input."),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Width and height in pixels, such as 704x448.")
    ] = None,
    modes: Annotated[
        list[str] | None,
        typer.Option("--mode", metavar="MODE", help="eager, graph or xla; all if not given. Repeatable."),
    ] = None,
    data_format: Annotated[
        str | None,
        typer.Option("--data-format", metavar="FORMAT", help="channels_last (default) or channels_first."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="The reference's weights: .pth.tar or .safetensors."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="For noise, and weights without a checkpoint.")
    ] = None,
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
      parity verify flownet --data-format channels_first --size 512x512 --mode eager

    The report is written to DIR/PAIR/report.json, whether the port agrees or not.
    """
    from parity.settings import Options

    options = Options(
        inputs=inputs or (),
        images=images,
        size=size,
        modes=modes or (),
        data_format=data_format,
        checkpoint=checkpoint,
        seed=seed,
        rtol=rtol,
        atol=atol,
        report_dir=report_dir,
    )
    with _errors_as_sentences():
        report = _verify(pair, options, layers=layers, quiet=quiet)
    raise typer.Exit(0 if report.passed else DIVERGED)


@app.command()
def faults(
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="What is planted where, and all weights.")] = 0,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="A model to plant in; all by default. Repeatable."),
    ] = None,
    causes: Annotated[
        list[str] | None,
        typer.Option("--cause", metavar="SLUG", help="A cause to plant, such as padding; all by default. Repeatable."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A sixth of it, on the small models.")] = False,
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Repair the single faults as well.")] = True,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where every run goes, as JSON.")
    ] = Path("reports/faults.json"),
) -> None:
    """Plant known faults in faithful ports, and score what is found, located, named and repaired.

    \b
    Examples:
      parity faults --seed 7
      parity faults --quick --no-repair
      parity faults --model unet --cause padding --cause output-crop

    Interrupted, the scores of what was run are printed and written.
    """
    with _errors_as_sentences():
        interrupted = _faults(
            {
                "seed": seed,
                "models": tuple(models or ()),
                "causes": tuple(causes or ()),
                "quick": quick,
                "repair": repair,
            },
            output,
        )
    raise typer.Exit(INTERRUPTED if interrupted else 0)


def _faults(wanted: dict[str, Any], output: Path) -> bool:
    """Run the benchmark, print and write its scores; whether it was interrupted."""
    from parity.faults.benchmark import Wanted, run
    from parity.faults.table import print_scores
    from parity.render.progress import progress_bar
    from parity.settings import ensure_writable

    asked = Wanted(**wanted)
    ensure_writable(output.parent)
    with progress_bar(sys.stderr) as show:
        result = run(asked, show)
    path = result.save(output)
    print_scores(result, sys.stdout)
    typer.echo(f"every run: {path}{' (interrupted)' if result.interrupted else ''}")
    return result.interrupted


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """Every error parity raises on purpose becomes one line on stderr and its exit code."""
    try:
        yield
    except ParityError as error:
        typer.echo(f"parity: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("parity: interrupted; nothing was finished, and nothing was written", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _verify(name: str, options: "Options", *, layers: bool, quiet: bool) -> "Report":
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
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for run in report.runs if layers else ():
        typer.echo(layer_table(report, run, colour=colour) + "\n", color=colour)
    typer.echo(summary(report, colour=colour), color=colour)
    typer.echo(f"report: {path}")


if __name__ == "__main__":
    main()
