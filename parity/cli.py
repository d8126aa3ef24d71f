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
      parity explain flownet conv3_1                   why a layer differs, and what to change
      parity repair flownet --port mine.keras -o fixed.keras

    Exit codes: 0 parity, 1 diverged, 2 wrong use, 3 could not verify.
    """


@app.command()
def models() -> None:
    """List the pairs that can be verified by name."""
    from parity.models import MODELS

    width = max(map(len, MODELS))
    for name, entry in MODELS.items():
        typer.echo(f"{name:<{width}}  {entry.description}")


PairName = Annotated[str, typer.Argument(metavar="PAIR", help="The pair's name; `parity models` lists them.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME", help="An input to compare on, such as noise. Repeatable."),
]
Images = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--images", metavar="LEFT RIGHT", help="Two pictures of your own as an input."),
]
Size = Annotated[str | None, typer.Option("--size", metavar="WxH", help="Width and height in pixels, such as 704x448.")]
Modes = Annotated[
    list[str] | None,
    typer.Option("--mode", metavar="MODE", help="eager, graph or xla; all if not given. Repeatable."),
]
DataFormat = Annotated[
    str | None,
    typer.Option("--data-format", metavar="FORMAT", help="channels_last (default) or channels_first."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="The reference's weights: .pth.tar or .safetensors."),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="For noise, and weights without a checkpoint.")]
Port = Annotated[
    Path | None,
    typer.Option("--port", metavar="FILE", help="A .keras file to judge in place of the pair's own port."),
]


@app.command()
def verify(
    pair: PairName,
    inputs: Inputs = None,
    images: Images = None,
    size: Size = None,
    modes: Modes = None,
    data_format: DataFormat = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    port: Port = None,
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
    from parity.settings import Options

    options = Options(
        inputs=inputs or (),
        images=images,
        size=size,
        modes=modes or (),
        data_format=data_format,
        checkpoint=checkpoint,
        seed=seed,
        port=port,
        rtol=rtol,
        atol=atol,
        report_dir=report_dir,
    )
    with _errors_as_sentences():
        report = _verify(pair, options, layers=layers, quiet=quiet)
    raise typer.Exit(0 if report.passed else DIVERGED)


@app.command()
def explain(
    pair: PairName,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A layer, by the name that either side has for it.")],
    inputs: Inputs = None,
    images: Images = None,
    size: Size = None,
    modes: Modes = None,
    data_format: DataFormat = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    port: Port = None,
) -> None:
    """Explain one layer: both sides' settings, their weights, where its error is, what was tried, what to change.

    \b
    Examples:
      parity explain flownet conv3_1
      parity explain flownet conv3.0 --port my_port.keras --input noise --mode graph

    Without --input and --mode it is the pair's first input, in eager mode. Exit codes: 0 the layer is right, 1 it
    is at fault.
    """
    from parity.settings import Options

    options = Options(
        inputs=inputs or (),
        images=images,
        size=size,
        modes=modes or ("eager",),
        data_format=data_format,
        checkpoint=checkpoint,
        seed=seed,
        port=port,
    )
    with _errors_as_sentences():
        right = _explain(pair, layer, options)
    raise typer.Exit(0 if right else DIVERGED)


def _explain(name: str, layer: str, options: "Options") -> bool:
    """Print what there is to say of a layer; whether it is right."""
    from parity.models import load
    from parity.render import explanation
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings

    settings = RunSettings.of(name, options)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        explained = settings.verifier(pair).explain(inputs[0], settings.modes[0], layer, show)
    colour = _colour()
    typer.echo(explanation(explained, colour=colour), color=colour)
    return explained.cause is None


@app.command()
def repair(
    pair: PairName,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the repaired copy goes, a .keras file.")
    ],
    inputs: Inputs = None,
    images: Images = None,
    size: Size = None,
    modes: Modes = None,
    data_format: DataFormat = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    port: Port = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if there is one.")] = False,
) -> None:
    """Undo every proven fault in a copy of the port, verify the copy, and write it with the list of changes.

    \b
    Examples:
      parity repair flownet --port my_port.keras -o fixed.keras
      parity repair flownet --data-format channels_first --size 64x64 --mode xla -o fixed.keras

    Without --mode it is eager mode. What has no proven remedy is left as it is, and named. The original is not
    touched. Exit codes: 0 every layer of the copy passes, 1 some do not.
    """
    from parity.settings import Options

    options = Options(
        inputs=inputs or (),
        images=images,
        size=size,
        modes=modes or ("eager",),
        data_format=data_format,
        checkpoint=checkpoint,
        seed=seed,
        port=port,
    )
    with _errors_as_sentences():
        whole = _repair(pair, output, options, force=force)
    raise typer.Exit(0 if whole else DIVERGED)


def _repair(name: str, output: Path, options: "Options", *, force: bool) -> bool:
    """Repair, save and say what was done; whether the copy passes."""
    from parity.models import load
    from parity.render import repaired
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_target

    settings = RunSettings.of(name, options)
    ensure_target(output, settings.settings.port, force=force)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        from parity.repair import repair, save

        result = repair(pair, inputs, settings.modes, progress=show)
        if result.changes:
            show("saving and verifying the file", 0.9)
            save(result, output, pair, inputs, settings.modes)
    colour = _colour()
    typer.echo(repaired(result, colour=colour), color=colour)
    if result.changes:
        typer.echo(f"written: {output}, {output.with_suffix('.changes.md').name}")
    return result.whole


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


@app.command()
def plant(
    pair: PairName,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A layer, by the name that either side has for it.")],
    cause: Annotated[str, typer.Option("--cause", metavar="SLUG", help="What to plant, such as padding.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the faulty copy goes.")],
    size: Size = None,
    data_format: DataFormat = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    draw: Annotated[int, typer.Option("--draw", metavar="N", help="Which of the ways to plant it is drawn.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if there is one.")] = False,
) -> None:
    """Plant one known fault in a copy of the port, to see what verify, explain and repair make of it.

    \b
    Examples:
      parity plant flownet conv4 --cause padding -o wrong.keras
      parity verify flownet --port wrong.keras
      parity explain flownet conv4 --port wrong.keras
      parity repair flownet --port wrong.keras -o fixed.keras

    What exactly is planted is drawn by --draw; --seed is that of the weights, as everywhere.
    """
    from parity.settings import Options

    options = Options(size=size, data_format=data_format, checkpoint=checkpoint, seed=seed)
    with _errors_as_sentences():
        _plant(pair, layer, cause, output, options, draw=draw, force=force)


def _plant(name: str, layer: str, cause: str, output: Path, options: "Options", *, draw: int, force: bool) -> None:
    """Plant, save, and say what was planted."""
    from parity.models import load
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_target

    settings = RunSettings.of(name, options)
    ensure_target(output, None, force=force)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        from parity.faults.by_hand import plant_by_hand

        model, planted = plant_by_hand(pair, inputs[0], layer, cause, draw)
        model.save(output)
    typer.echo(f"planted {planted.slug} at {', '.join(planted.layers)}: {planted.detail}")
    typer.echo(f"written: {output}")


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
    colour = _colour()
    for run in report.runs if layers else ():
        typer.echo(layer_table(report, run, colour=colour) + "\n", color=colour)
    typer.echo(summary(report, colour=colour), color=colour)
    typer.echo(f"report: {path}")


if __name__ == "__main__":
    main()
