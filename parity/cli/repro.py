"""`parity repro`: one layer in a folder of its own, as a script that shows what it does without parity."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import PairName, request, takes
from parity.cli.program import DIVERGED, errors_as_sentences
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.repro import Repro
    from parity.settings import Options


@takes(request)
def repro(
    pair: PairName,
    options: "Options",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the script, its data and a README go.")
    ],
    layer: Annotated[
        str | None,
        typer.Argument(metavar="[LAYER]", help="A layer, by the name that either side has for it; else every finding."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into FOLDER even if it is not empty.")] = False,
) -> None:
    """Write a layer as a script of at most 40 lines that shows how it diverges: to attach to a report upstream.

    \b
    Examples:
      parity repro flownet conv4 --port my_port.keras -o conv4
      parity repro flownet --port my_port.keras -o findings
      parity repro flownet conv0 --data-format channels_first --size 64x64 --mode xla -o bias

    The script needs numpy, keras with tensorflow, and torch where it is there. Without LAYER every finding gets a
    folder in FOLDER, in the first input and mode in which it is one. Without --input and --mode it is the pair's first
    input, in eager mode. Exit codes: 0 no layer is at fault, 1 one is.
    """
    wanted = replace(options, modes=options.modes or ("eager",))
    with errors_as_sentences():
        right = _repro(pair, layer, output, wanted, force=force)
    raise typer.Exit(0 if right else DIVERGED)


def _repro(name: str, layer: str | None, output: Path, options: "Options", *, force: bool) -> bool:
    """Write what was asked for and say what was written; whether no layer is at fault."""
    from parity.artifacts.shipped import refuse_shipped
    from parity.models import load
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_writable

    refuse_shipped(options.port, "cut into scripts")
    settings = RunSettings.of(name, options)
    _ensure_folder(output, force=force)
    ensure_writable(output, output)
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        pair, inputs = load(name, settings.settings)
        from parity.repro import of_findings, of_layer

        refuse_shipped(pair.port, "cut into scripts")
        verifier, command = settings.verifier(pair), _Command(settings.command())
        if layer is None:
            written, refused = of_findings(verifier, inputs, settings.modes, output, show, command)
        else:
            given, mode = inputs[0], settings.modes[0]
            again = command(layer, given.name, mode)
            written, refused = [of_layer(verifier, given, mode, layer, output, show, again)], []
    for line in _lines(written, refused):
        typer.echo(line)
    return not refused and all(each.passed for each in written)


class _Command:
    """How to write one layer again: made of the `parity verify` that asks for the same."""

    def __init__(self, verify: str) -> None:
        program, _, pair, *options = shlex.split(verify)
        self._before, self._after = [program, "repro", pair], options

    def __call__(self, layer: str, given: str, mode: str) -> str:
        chosen = [] if "--images" in self._after else ["--input", given]
        return shlex.join([*self._before, layer, *self._after, *chosen, "--mode", mode, "-o", "folder"])


def _lines(written: "Sequence[Repro]", refused: Sequence[str]) -> Iterator[str]:
    """What was written, and how to run it."""
    from parity.numbers import short

    if not written and not refused:
        yield "no layer is at fault: nothing was written"
    for each in written:
        state = "agrees" if each.passed else "diverges"
        shown = "does not run or has another shape" if each.shown is None else f"{state}: {short(each.shown)}"
        yield f"{each.layer} -> {each.port_layer}: {shown}"
        yield f"  written  {each.folder} ({each.lines} lines, {_size(each.size)})"
        yield f"  run it   python {each.folder / 'repro.py'}"
        yield from (f"  note     {note}" for note in each.notes)
    yield from (f"not written: {reason}" for reason in refused)


def _size(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def _ensure_folder(folder: Path, *, force: bool) -> None:
    """Raise UsageError unless `folder` is new or empty, or may be written into."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder is needed")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if held and not force:
        raise UsageError(f"{folder} is not empty: it holds {held[0]}; --force writes into it all the same")
