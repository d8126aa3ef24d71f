"""`parity export`: the port of a pair as files that ship, each verified."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import PairName, Quiet, request, takes
from parity.cli.program import INTERRUPTED, errors_as_sentences, in_colour

if TYPE_CHECKING:
    from parity.export.exporting import Exported, Wanted
    from parity.settings import Options


@takes(request, without="modes")
def export(
    pair: PairName,
    options: "Options",
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="FORMAT,...",
            help="pb, saved_model, keras, tflite, tflite-fp16, tflite-dynamic, tflite-int8, onnx. Repeatable.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="Where the files go; exports by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Keep what does not pass, in FOLDER/failed.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write the port of a pair as files that ship: each is verified, and has its record beside it.

    \b
    Examples:
      parity export flownet --to pb
      parity export flownet --to pb,saved_model,keras,tflite,tflite-fp16,tflite-int8,onnx -o release
      parity export flownet --to tflite-int8 --images left.png right.png --checkpoint weights.pth.tar
      parity export parity_net.py --to onnx --port fixed.keras

    A file takes its name once it has passed the gate on the pair's inputs; the record beside it, NAME.record.json, is
    one that `parity gate --check-record` verifies. An int8 file is calibrated on the inputs, and noise like them.
    Exit codes: 0 all pass, 1 some do not, 2 wrong use, 3 some could not be made or verified.
    """
    from parity.export.exporting import FOLDER, Wanted
    from parity.export.formats import known

    with errors_as_sentences():
        wanted = Wanted(
            name=pair,
            formats=known(to),
            options=options,
            folder=output or FOLDER,
            force=force,
            keep_failed=keep_failed,
        )
        code = _export(wanted, quiet=quiet)
    raise typer.Exit(code)


def _export(wanted: "Wanted", *, quiet: bool) -> int:
    """Export, and say what came of it; the exit code."""
    from parity.export.exporting import export
    from parity.export.page import export_page, export_verdict
    from parity.render.progress import progress_bar

    made: list[Exported] = []
    stopped = False
    with progress_bar(sys.stderr) as show:
        try:
            for each in export(wanted, show):
                made.append(each)
        except KeyboardInterrupt:
            if not made:
                raise
            stopped = True
    colour = in_colour()
    typer.echo(
        export_verdict(wanted.name, made) if quiet else export_page(wanted.name, made, colour=colour), color=colour
    )
    if stopped:
        left = ", ".join(form.word for form in wanted.formats[len(made) :])
        typer.echo(f"parity: interrupted before {left}; what is listed is finished", err=True)
        return INTERRUPTED
    return max(each.exit_code for each in made)
