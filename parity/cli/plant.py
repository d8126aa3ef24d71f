"""`parity plant`: a copy of the port with one known fault in it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Force, LayerName, PairName, network, takes
from parity.cli.program import errors_as_sentences

if TYPE_CHECKING:
    from parity.settings import Options


@takes(network)
def plant(
    pair: PairName,
    layer: LayerName,
    options: "Options",
    cause: Annotated[str, typer.Option("--cause", metavar="SLUG", help="What to plant, such as padding.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where the faulty copy goes.")],
    draw: Annotated[int, typer.Option("--draw", metavar="N", help="Which of the ways to plant it is drawn.")] = 0,
    force: Force = False,
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
    with errors_as_sentences():
        _plant(pair, layer, cause, output, options, draw=draw, force=force)


def _plant(name: str, layer: str, cause: str, output: Path, options: "Options", *, draw: int, force: bool) -> None:
    """Plant, save, and say what was planted."""
    from parity.artifacts.shipped import refuse_shipped
    from parity.lookup import both
    from parity.models import load
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_target

    settings = RunSettings.of(name, options)
    ensure_target(output, None, force=force)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        pair = both(pair)
        refuse_shipped(pair.port, "planted with faults")
        from parity.faults.by_hand import plant_by_hand

        model, planted = plant_by_hand(pair, inputs[0], layer, cause, draw)
        model.save(output)
    typer.echo(f"planted {planted.slug} at {', '.join(planted.layers)}: {planted.detail}")
    typer.echo(f"written: {output}")
