"""`parity models`: what can be verified by name."""

import typer


def models() -> None:
    """List the pairs that can be verified by name."""
    from parity.models import MODELS

    width = max(map(len, MODELS))
    for name, entry in MODELS.items():
        typer.echo(f"{name:<{width}}  {entry.description}")
