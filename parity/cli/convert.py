"""`parity convert`: a torch module as a Keras file that was proven to compute the same."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parity.cli.options import Checkpoint, DataFormat, Force, Modes, Quiet, Range, Seed, Shapes, Size
from parity.cli.program import DIVERGED, INTERRUPTED, errors_as_sentences, in_colour
from parity.errors import UsageError

if TYPE_CHECKING:
    from parity.conversion import Converted
    from parity.settings import Options


def convert(
    module: Annotated[
        str,
        typer.Argument(
            metavar="MODULE",
            help="pkg.module:attr or file.py:attr, a torch module or what returns one; or a pair, of which it is the "
            "reference.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the model goes, a .keras file.")
    ],
    shapes: Shapes = None,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--axes",
            metavar="[NAME=]AXES",
            help="Which axes an input has where its readers do not say: NLC a sequence, NCL a map. Repeatable.",
        ),
    ] = None,
    data_format: DataFormat = None,
    modes: Modes = None,
    size: Size = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    values: Range = None,
    force: Force = False,
    write_anyway: Annotated[
        bool, typer.Option("--write-anyway", help="Write the model even where it does not pass; the exit code stays 1.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a torch module as a Keras model: built, verified layer by layer in every mode, loaded again and compared.

    \b
    Examples:
      parity convert net.py:Net -o net.keras --shape 1,3,64,96
      parity convert net.py:tagger -o tagger.keras --shape 2,11
      parity convert pkg.nets:make -o net.keras --shape image=1,3,32,32 --shape mask=1,7 --axes mask=NL
      parity convert flownet -o flownet.keras --size 128x64 --data-format channels_first

    What cannot be converted is named, layer by layer, before anything is built. A model that does not compute what the
    module computes is not written. Its report is beside it, FILE.report.json and .html.
    Exit codes: 0 written, 1 it does not pass, 2 wrong use, 3 it could not be converted.
    """
    from parity.settings import Options

    options = Options(
        shapes=shapes or (), modes=modes or (), size=size, data_format=data_format, checkpoint=checkpoint, seed=seed,
        range=values,
    )  # fmt: skip
    with errors_as_sentences():
        made = _converted(module, output, options, _layouts(axes or ()), force=force, write_anyway=write_anyway)
        stopped = _stopped_at_the_page(made, output)
        _show(made, output, written=made.passed or write_anyway, quiet=quiet)
    if stopped:
        typer.echo(f"parity: interrupted while {stopped} was written; it may be an earlier run's", err=True)
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if made.passed else DIVERGED)


def _layouts(words: Any) -> dict[str, str]:
    """The layouts of inputs by name, "" for the only one. Raises UsageError for a second one of the same."""
    found: dict[str, str] = {}
    for word in words:
        name, _, layout = word.rpartition("=")
        if name in found:
            raise UsageError(f"axes {word!r}: there are some for {name or 'the input'} already")
        found[name] = layout
    return found


def _converted(
    name: str, output: Path, options: "Options", axes: Mapping[str, str], *, force: bool, write_anyway: bool
) -> "Converted":
    """Convert, and write the model where it passes; its report in any case."""
    from parity.models import engines_first
    from parity.render.progress import progress_bar
    from parity.settings import RunSettings, ensure_target
    from parity.switches import allow_channels_first

    settings = RunSettings.of(name, options)
    ensure_target(output, None, force=force)
    if settings.settings.data_format == "channels_first":
        allow_channels_first()
    with progress_bar(sys.stderr) as show:
        show(f"loading {name}", 0.0)
        engines_first()
        from parity.conversion import convert, report_of

        module, given, known = _found(name, settings)
        made = convert(
            module,
            given,
            axes={**known, **axes},
            data_format=settings.settings.data_format,
            name=name,
            modes=settings.modes,
            policy=settings.policy,
            seed=settings.settings.seed,
            values=settings.settings.values,
            progress=show,
        )
        told = {**made.report.settings, "file": str(report_of(output))}
        made = replace(made, report=replace(made.report, settings=told))
        show("writing", 0.9)
        if made.passed or write_anyway:
            made.save(output, force=force, write_anyway=write_anyway)
        else:
            made.save_report(output)
    return made


def _found(name: str, settings: Any) -> tuple[Any, Any, dict[str, str]]:
    """The module of that name, what it is to be converted for, and the axes of its inputs where a pair says them."""
    from parity.frameworks import torch
    from parity.lookup import is_spec, named, resolved
    from parity.models import MODELS
    from parity.pairs import Pair

    if name not in MODELS and is_spec(name):
        thing = named(name)
        thing = thing if isinstance(thing, Pair) else resolved(name)
        if isinstance(thing, torch.nn.Module):
            return _own(thing, name, settings)
    return _of_pair(name, settings)


def _own(module: Any, name: str, settings: Any) -> tuple[Any, Any, dict[str, str]]:
    """A module of the user's: with the weights of the checkpoint, for the shapes that are given."""
    from parity.checkpoints import load_into, read_state_dict

    words = settings.settings
    if words.size is not None:
        raise UsageError(f"--size is for pairs that parity knows; give the shape of {name}'s input: --shape N,C,...")
    if not words.shapes:
        raise UsageError(f"nothing says the shape of {name}'s input; give it in torch's layout: --shape N,C,...")
    if words.checkpoint is not None:
        load_into(module, read_state_dict(words.checkpoint), words.checkpoint)
    shapes = words.shapes
    return module, tuple(shapes[""]) if list(shapes) == [""] else shapes, {}


def _of_pair(name: str, settings: Any) -> tuple[Any, Any, dict[str, str]]:
    """The reference of a pair, and the pair's inputs."""
    from parity.layouts import derived_for
    from parity.lookup import resolved
    from parity.models import load
    from parity.runners.torch_module import TorchModule

    pair, inputs = load(name, replace(settings.settings, data_format="channels_last"))
    if not inputs:
        raise UsageError(f"{name} has no inputs; what is converted is verified on some")
    module = resolved(pair.reference, f"the reference of {name}")
    axes = derived_for(replace(pair, reference=module), TorchModule(module), inputs[0]).axes
    return module, inputs, {key: axes.of(key, array.ndim)[0] for key, array in inputs[0].arrays.items()}


def _stopped_at_the_page(made: "Converted", output: Path) -> str:
    """Write the page of the report; its place where that was interrupted. The model and its report are there by now."""
    from parity.conversion import report_of
    from parity.files import write_whole
    from parity.render.html import page

    place = report_of(output).with_suffix(".html")
    try:
        write_whole(place, page(made.report, ()))
    except KeyboardInterrupt:
        return str(place)
    return ""


def _show(made: "Converted", output: Path, *, written: bool, quiet: bool) -> None:
    """Print what was made: the whole summary, or the verdict's line alone."""
    from parity.conversion import report_of
    from parity.render import summary, verdict

    colour = in_colour()
    if quiet:
        typer.echo(verdict(made.report))
        return
    typer.echo(summary(made.report, colour=colour), color=colour)
    typer.echo(f"written: {output}" if written else f"not written: {output}; --write-anyway writes it all the same")
    if not made.free:
        typer.echo("note: it takes batches of that one size; on a larger one the module itself fails")
    typer.echo(f"report: {report_of(output).with_suffix('.html')}")
