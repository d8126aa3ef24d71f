"""`parity explain`: what there is to say of one layer."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Against, LayerName, PairName, Quiet, request, takes
from parity.cli.program import DIVERGED, errors_as_sentences, in_colour

if TYPE_CHECKING:
    from parity.settings import Options


@takes(request)
def explain(
    pair: PairName,
    layer: LayerName,
    options: "Options",
    against: Against = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List every hypothesis that was tried.")] = False,
    quiet: Quiet = False,
) -> None:
    """Explain one layer: both sides' settings, their weights, where its error is, what was tried, what to change.

    \b
    Examples:
      parity explain flownet conv3_1
      parity explain flownet conv3.0 --port my_port.keras --input noise --mode graph

    Without --input and --mode it is the pair's first input, in eager mode, or in that of the file that the port is.
    Exit codes: 0 the layer is right, 1 it is at fault.
    """
    wanted = replace(options, against=against)
    with errors_as_sentences():
        right = _explain(pair, layer, wanted, verbose=verbose, quiet=quiet)
    raise typer.Exit(0 if right else DIVERGED)


def _explain(name: str, layer: str, options: "Options", *, verbose: bool, quiet: bool) -> bool:
    """Print what there is to say of a layer; whether it is right."""
    from parity.artifacts.shipped import modes_of
    from parity.models import load
    from parity.render import explanation
    from parity.render.explanation import explained_in_one_line
    from parity.render.page import visible
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings

    settings = RunSettings.of(name, options)
    with progress_bar(sys.stderr, quiet=quiet) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        verifier = settings.verifier(pair)
        mode = modes_of(verifier.pair.port, settings.modes)[0]
        explained = verifier.explain(inputs[0], mode, layer, show)
    colour = in_colour()
    if quiet:
        typer.echo(visible(explained_in_one_line(explained)))
    else:
        typer.echo(explanation(explained, colour=colour, every_trial=verbose), color=colour)
    return explained.cause is None
