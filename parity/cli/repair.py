"""`parity repair`: a copy of the port with every proven fault undone."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Force, PairName, request, takes
from parity.cli.program import DIVERGED, errors_as_sentences, in_colour

if TYPE_CHECKING:
    from parity.settings import Options


@takes(request)
def repair(
    pair: PairName,
    options: "Options",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the repaired copy goes, a .keras file.")
    ],
    force: Force = False,
) -> None:
    """Undo every proven fault in a copy of the port, verify the copy, and write it with the list of changes.

    \b
    Examples:
      parity repair flownet --port my_port.keras -o fixed.keras
      parity repair flownet --data-format channels_first --size 64x64 --mode xla -o fixed.keras

    Without --mode it is eager mode. What has no proven remedy is left as it is, and named. The original is not
    touched. Exit codes: 0 every layer of the copy passes, 1 some do not.
    """
    wanted = replace(options, modes=options.modes or ("eager",))
    with errors_as_sentences():
        whole = _repair(pair, output, wanted, force=force)
    raise typer.Exit(0 if whole else DIVERGED)


def _repair(name: str, output: Path, options: "Options", *, force: bool) -> bool:
    """Repair, save and say what was done; whether the copy passes."""
    from parity.artifacts.shipped import refuse_shipped
    from parity.models import load
    from parity.render import repaired
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_target

    ensure_target(output, Path(options.port) if options.port is not None else None, force=force)
    refuse_shipped(options.port, "repaired")
    settings = RunSettings.of(name, options)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        from parity.repair import repair, save

        result = repair(pair, inputs, settings.modes, progress=show)
        if result.changes:
            show("saving and verifying the file", 0.9)
            save(result, output, pair, inputs, settings.modes)
    colour = in_colour()
    typer.echo(repaired(result, colour=colour), color=colour)
    if result.changes:
        typer.echo(f"written: {output}, {output.with_suffix('.changes.md')}")
    return result.whole
