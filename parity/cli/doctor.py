"""`parity doctor`: what this environment is, and what is known to go wrong in it."""

import json
import sys
from typing import Annotated

import typer

from parity.cli.program import errors_as_sentences, in_colour
from parity.errors import ParityError


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, for a program or a report.")] = False,
) -> None:
    """Look at this environment: versions, CPU, switches, and every known hazard with what to do about it.

    \b
    Examples:
      parity doctor
      parity doctor --json

    Engines are tried in processes of their own, so this works where one is missing or broken. Exit codes: 0 parity
    can verify here, 3 it cannot.
    """
    with errors_as_sentences():
        able = _doctor(as_json=as_json)
    raise typer.Exit(0 if able else ParityError.exit_code)


def _doctor(*, as_json: bool) -> bool:
    """Print the checkup; whether parity can verify here."""
    from parity.doctor import checkup
    from parity.render.checkup import checkup_page
    from parity.render.progress import progress_bar

    with progress_bar(sys.stderr) as show:
        show("trying torch, tensorflow and keras", 0.1)
        found = checkup()
    colour = in_colour()
    typer.echo(json.dumps(found.as_json(), indent=2) if as_json else checkup_page(found, colour=colour), color=colour)
    return found.able
