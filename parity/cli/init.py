"""`parity init`: a file with a pair of one's own, written from two answers, and run."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Range
from parity.cli.program import DIVERGED, errors_as_sentences
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.models.drafting import Draft
    from parity.report import Report


def init(
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What the pair is called.")] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="SPEC", help="The torch module: pkg.module:Net, or file.py:build."),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option("--port", metavar="SPEC", help="The port: pkg.module:build, file.py:build, or a .keras file."),
    ] = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            "--shape",
            metavar="[NAME=]N,C,...",
            help="An input's shape in the reference's layout. Repeatable.",
        ),
    ] = None,
    values: Range = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where the pair goes; parity_NAME.py by default."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing that has a default.")] = False,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Verify the pair once it is written.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if there is one.")] = False,
) -> None:
    """Write a pair of your own into a file: ask where both sides are, build them, and verify.

    \b
    Examples:
      parity init
      parity init --reference nets.torch_net:Net --port port.py:build
      parity init --name mynet --reference net.py:Net --port port.keras --input-shape 1,3,64,96 --yes

    Every question is an option as well. A side is a class or function that needs no arguments. Shapes are proposed
    from what the port declares. Exit codes: those of verify.
    """
    with errors_as_sentences():
        reference = reference or typer.prompt("The torch module (pkg.module:Net, or file.py:Net)")
        port = port or typer.prompt("The port (pkg.module:build, file.py:build, or a .keras file)")
        name = name or _answer("The pair's name", _name_of(reference), yes=yes)
        file = output or Path(f"parity_{re.sub(r'[^0-9A-Za-z_]', '_', name)}.py")
        _ensure_free(file, force=force)
        drafted = _drafted(name, reference, port, shapes or [], values, yes=yes)
        file.write_text(drafted.text(str(file)), encoding="utf-8")
        typer.echo(f"written: {file}")
        report = _verified(file) if run else None
    typer.echo(f"all modes: parity verify {file}")
    raise typer.Exit(0 if report is None or report.passed else DIVERGED)


def _answer(question: str, proposed: str, *, yes: bool) -> str:
    """The answer to a question that has a default; with `yes` it is not asked."""
    return proposed if yes else str(typer.prompt(question, default=proposed))


def _name_of(reference: str) -> str:
    """A pair's name, from that of its reference: "net" for "nets/torch_net.py:Net"."""
    return re.sub(r"[^0-9a-z]+", "_", reference.rpartition(":")[2].lower()).strip("_") or "pair"


def _ensure_free(file: Path, *, force: bool) -> None:
    if file.suffix != ".py":
        raise UsageError(f"{file} is not named as a Python file; give it the ending .py")
    from parity.files import place_of

    if file.exists() and (file.is_dir() or not force):
        raise UsageError(f"{file} exists; {'it is a folder' if file.is_dir() else '--force overwrites it'}")
    place_of(file)
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.absolute().parent}")


def _drafted(name: str, reference: str, port: str, shapes: list[str], values: str | None, *, yes: bool) -> "Draft":
    """The pair as both sides say it is, with the shapes and values that are given, or proposed and agreed to."""
    from parity.models import Settings, engines_first
    from parity.models.drafting import draft, identifier
    from parity.settings import parse_range, parse_shapes

    identifier(name)
    given = Settings(shapes=parse_shapes(shapes), values=parse_range(values) if values else None)
    engines_first()
    found = draft(name, reference, port, given)
    if yes or (shapes and values):
        return found
    asked = shapes or [
        f"{slot.name}={_answer(f'The shape of {words}', ','.join(map(str, slot.shape)), yes=yes)}"
        for slot, words in zip(found.slots, found.layouts, strict=True)
    ]
    low_high = values or _answer("The values it expects", "{:g},{:g}".format(*found.values), yes=yes)
    return draft(name, reference, port, Settings(shapes=parse_shapes(asked), values=parse_range(low_high)))


def _verified(file: Path) -> "Report":
    """The first verification of the file's pair, in eager mode."""
    from parity.cli.verify import verified
    from parity.settings import Options

    return verified(str(file), Options(modes=("eager",)), layers=False, quiet=False)
