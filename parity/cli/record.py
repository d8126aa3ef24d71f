"""`parity record`: one side of a pair run where its engine is, and recorded for where it is not."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Against, Force, PairName, request, takes
from parity.cli.program import errors_as_sentences

if TYPE_CHECKING:
    from parity.settings import Options


@takes(request)
def record(
    pair: PairName,
    options: "Options",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it: a .safetensors file.")
    ],
    side: Annotated[
        str, typer.Option("--side", metavar="SIDE", help="reference (default) or port: the side to run.")
    ] = "reference",
    against: Against = None,
    force: Force = False,
) -> None:
    """Record one side of a pair: the values of all its layers, its weights, how it is set up.

    \b
    Examples:
      parity record flownet -o golden.safetensors             where torch is
      parity verify flownet --against golden.safetensors      where only TensorFlow is
      parity record flownet --side port --against golden.safetensors -o port.safetensors
      parity verify flownet --against port.safetensors        where only torch is

    The inputs are recorded with it, and verified on. --mode is for ports, which are recorded in all modes. A port that
    starts with fresh weights is filled with the reference's, from --against where torch is not installed.
    """
    from dataclasses import replace

    with errors_as_sentences():
        _record(pair, side, replace(options, against=against), output, force=force)


def _record(name: str, side: str, options: "Options", output: Path, *, force: bool) -> None:
    from parity.errors import UsageError
    from parity.files import place_of
    from parity.golden import ENGINES
    from parity.models import as_recorded, load
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_writable

    if side not in ENGINES:
        raise UsageError(f"side {side!r} is not one of {', '.join(ENGINES)}")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output} is not named as a recording; give it the ending .safetensors")
    place_of(output)
    if output.exists() and not force:
        raise UsageError(f"{output} exists; --force overwrites it")
    settings = RunSettings.of(name, options)
    ensure_writable(output.parent, output)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        from parity.recording import record as recorded
        from parity.recording import summary

        known = as_recorded(settings.settings)
        header = recorded(
            pair,
            inputs,
            output,
            side=side,
            modes=settings.modes,
            settings={"size": known.size, "seed": known.seed, "data_format": known.data_format},
            command=settings.command().replace("parity verify", "parity record", 1),
            show=show,
        )
    typer.echo(summary(header))
    typer.echo(f"written: {output}")
