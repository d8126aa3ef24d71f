"""`parity models`: what can be verified by name, and where each comes from."""

import typer

from parity.cli.program import errors_as_sentences


def models() -> None:
    """List the pairs that can be verified by name, and where each comes from.

    Beside parity's own these are the entry points `parity.models` of installed packages, and the functions that
    @parity.pair("name") names in the conftest.py of this folder.
    """
    from parity.models import everything

    with errors_as_sentences():
        known = everything()
    name_width = max(map(len, known))
    origin_width = max(len(entry.origin) for entry in known.values())
    for name, entry in known.items():
        typer.echo(f"{name:<{name_width}}  {entry.origin:<{origin_width}}  {entry.description}")
