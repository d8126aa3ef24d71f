"""`parity layers`: which kinds of torch layers can be converted, how each is built, and in what it is exact."""

import json
from typing import Annotated

import typer

from parity.cli.program import errors_as_sentences


def layers(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help="Kinds to list, such as conv2d; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, for a program.")] = False,
) -> None:
    """List every kind of torch layer that can be converted: in what it is exact, how it is built, what is refused.

    \b
    Examples:
      parity layers
      parity layers conv2d lstm
      parity layers --json

    What the table claims, `pytest --model layers` tries.
    """
    with errors_as_sentences():
        text = _layers(tuple(names or ()), as_json=as_json)
    typer.echo(text)


def _layers(names: tuple[str, ...], *, as_json: bool) -> str:
    """The table, of some kinds or all."""
    from parity.switches import allow_channels_first

    allow_channels_first()
    from parity.layers.kinds import every_kind, kind_called
    from parity.layers.table import row, table

    kinds = [kind_called(name) for name in names] or list(every_kind())
    return json.dumps([row(kind) for kind in kinds], indent=2) if as_json else table(kinds)
