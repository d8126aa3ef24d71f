"""`parity map`: which layer of the port answers to which of the reference, and why, as a file to edit."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import PairName, request, takes
from parity.cli.program import errors_as_sentences
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.settings import Options


@takes(request)
def layer_map(
    pair: PairName,
    options: "Options",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where the map goes; else it is printed.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if there is one.")] = False,
) -> None:
    """Print the layer map of a pair as YAML, with the reason for each match, to be edited and given back with --map.

    \b
    Examples:
      parity map flownet
      parity map mynet.py -o mynet.yaml
      parity verify mynet.py --map mynet.yaml

    What has no counterpart, and what nothing decides, is in comments. It is found on the pair's first input, or the
    first that --input names.
    """
    with errors_as_sentences():
        _map(pair, options, output, force=force)


def _map(name: str, options: "Options", output: Path | None, *, force: bool) -> None:
    """Align, and print or write the map."""
    from parity.files import place_of
    from parity.models import load
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_writable

    settings = RunSettings.of(name, options)
    if output is not None:
        place_of(output)
        if output.exists() and not force:
            raise UsageError(f"{output} exists; --force overwrites it")
        ensure_writable(output.parent, output)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        from parity.alignment import map_as_yaml
        from parity.files import write_whole
        from parity.verification import Verifier

        show("aligning", 0.5)
        text = map_as_yaml(Verifier(pair).alignment(inputs[0]), pair.name)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(output, text)
        typer.echo(f"written: {output}")
