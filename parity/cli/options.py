"""The options that several commands share: which pair, on what, in which modes.

`request` reads them all, once; a command that is marked `@takes(request)` has them as options of its own, and gets what
was asked for as its argument `options`.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from parity.settings import Options

PairName = Annotated[
    str, typer.Argument(metavar="PAIR", help="A name that `parity models` lists, pkg.module:attr, or file.py:attr.")
]
LayerName = Annotated[str, typer.Argument(metavar="LAYER", help="A layer, by the name that either side has for it.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME", help="An input, such as noise, or a file, or a folder. Repeatable."),
]
Images = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--images", metavar="LEFT RIGHT", help="Two pictures of your own as an input."),
]
Size = Annotated[str | None, typer.Option("--size", metavar="WxH", help="Width and height in pixels, such as 704x448.")]
Modes = Annotated[
    list[str] | None,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="eager, graph or xla; all if not given; of files, .keras has them. Repeatable.",
    ),
]
DataFormat = Annotated[
    str | None,
    typer.Option("--data-format", metavar="FORMAT", help="channels_last (default) or channels_first."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="The reference's weights: .pth.tar or .safetensors."),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="For noise, and weights without a checkpoint.")]
Port = Annotated[
    Path | None,
    typer.Option("--port", metavar="FILE", help="A file, .keras or another that ships, in place of the pair's port."),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="[NAME=]N,C,...", help="An input's shape in the reference's layout. Repeatable."),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW,HIGH",
        help="The values your network expects: made-up inputs have them (-1,1 by default), and pictures (0,255).",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N files of a folder.")]
Map = Annotated[
    Path | None, typer.Option("--map", metavar="FILE", help="Which layer answers to which, as `parity map` writes it.")
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against", metavar="FILE", help="A recording, as `parity record` writes it, in place of the side it is of."
    ),
]
Exports = Annotated[
    list[str] | None,
    typer.Option("--export", metavar="FORM", help="Also write model-explorer or tensorboard files beside the report."),
]
EveryLayer = Annotated[
    bool,
    typer.Option("--layers", "--verbose", "-v", help="Print a table of all layers of every run, and of its gradients."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the verdict's line and errors.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE if there is one.")]


def network(
    size: Size = None,
    shapes: Shapes = None,
    data_format: DataFormat = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    layer_map: Map = None,
) -> "Options":
    """What was asked for, where only the networks are chosen."""
    from parity.settings import Options

    return Options(
        size=size,
        shapes=shapes or (),
        data_format=data_format,
        checkpoint=checkpoint,
        seed=seed,
        map=layer_map,
    )


def request(
    inputs: Inputs = None,
    images: Images = None,
    size: Size = None,
    modes: Modes = None,
    data_format: DataFormat = None,
    checkpoint: Checkpoint = None,
    seed: Seed = None,
    port: Port = None,
    layer_map: Map = None,
    shapes: Shapes = None,
    values: Range = None,
    limit: Limit = None,
) -> "Options":
    """What was asked for, where the pair, the inputs and the modes are chosen."""
    from parity.settings import Options

    return Options(
        inputs=inputs or (),
        images=images,
        size=size,
        modes=modes or (),
        data_format=data_format,
        checkpoint=checkpoint,
        seed=seed,
        port=port,
        map=layer_map,
        shapes=shapes or (),
        range=values,
        limit=limit,
    )


def takes(read: Callable[..., "Options"], *, without: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose parameter `options` is made by `read`, and is given as the options that `read` has, `without` the
    one that would mean nothing to it."""

    def mark(command: Callable[..., None]) -> Callable[..., None]:
        shared, own = dict(inspect.signature(read).parameters), inspect.signature(command).parameters
        shared.pop(without, None)

        def called(**given: Any) -> None:
            options = read(**{name: given.pop(name) for name in shared})
            command(options=options, **given)

        before = [each for each in own.values() if each.default is inspect.Parameter.empty and each.name != "options"]
        after = [each for each in own.values() if each.default is not inspect.Parameter.empty]
        parameters = [*before, *shared.values(), *after]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return mark
