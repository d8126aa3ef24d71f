"""FlowNet2-SD as a pair: which layer answers to which tap, the same weights on both sides, the inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from parity import inputs
from parity.axes import CHANNELS_FIRST, DATA_FORMATS, Axes
from parity.checkpoints import load_into, read_state_dict
from parity.converters import transfer
from parity.errors import InputError
from parity.inputs.words import seeded as drawn
from parity.inputs.words import two_pictures
from parity.models import Settings
from parity.models.flownet.port import MULTIPLE, build_port
from parity.models.flownet.reference import FlowNet2SD, blank, seeded
from parity.pairs import Input, Pair

SIZE = (704, 448)
"""Default (width, height): what a centre crop to multiples of 64 leaves of the motorcycle pictures."""

IMAGES = "images"
"""The input that is made of the pictures in the settings."""

PREFIXES = ("flownets_d.",)
"""Where NVIDIA's stacked FlowNet2 keeps this network in its state dict."""

ENCODER = tuple(f"conv{level}{part}" for level in range(7) for part in ("", "_1") if (level, part) != (0, "_1"))


def build(settings: Settings) -> tuple[Pair, list[Input]]:
    """The pair and the inputs to compare it on: noise and the motorcycle pictures, or what the settings name.

    Without a size, it is the centre crop of the settings' pictures, or SIZE. Raises InputError for a size
    that is no multiple of 64 both ways or an input that is not known, CheckpointError for weights that do not
    fit.
    """
    settings, chosen = _inputs(settings)
    width, height = settings.size or SIZE
    _check_size(width, height)
    pair = pair_from(
        lambda: _reference(settings), lambda: build_port(height, width, settings.data_format), settings.data_format
    )
    return replace(pair, transfer=True), chosen


def networks(settings: Settings) -> tuple[FlowNet2SD, Any]:
    """The reference in evaluation mode, with the checkpoint's or the seed's weights; the port too."""
    width, height = settings.size or SIZE
    _check_size(width, height)
    reference, port = _reference(settings), build_port(height, width, settings.data_format)
    transfer(reference, port, layer_map())
    return reference, port


def _reference(settings: Settings) -> FlowNet2SD:
    if settings.checkpoint is None:
        return seeded(settings.seed)
    reference = blank()
    load_into(reference, read_state_dict(settings.checkpoint), settings.checkpoint, prefixes=PREFIXES)
    return reference


def pair_from(reference: Any, port: Any, data_format: str = "channels_last") -> Pair:
    """The pair of these two, or of functions that make them; `port` is any whole port with the names of `build_port`, a
    faulty one too."""
    axes = Axes(reference=CHANNELS_FIRST, port=DATA_FORMATS[data_format])
    return Pair(name="flownet", reference=reference, port=port, layers=layer_map(), axes=axes, multiple=MULTIPLE)


def layer_map() -> dict[str, str]:
    """The reference's taps and the port layers that answer to them, in the reference's order of execution.

    Modules have their paths, functional operations torch's names, numbered from the second on. What the port
    has beyond these (padding, the steps to the mean) belongs to the layer that follows.
    """
    return dict(_layer_pairs())


def _layer_pairs() -> Iterator[tuple[str, str]]:
    activations = (f"leaky_re_lu_{number}" for number in range(1, 18))
    yield from zip(
        ("mean", "sub", "div", "getitem", "getitem#2", "cat"),
        ("mean", "centred", "normalised", "first_frame", "second_frame", "joined_frames"),
        strict=True,
    )
    for layer in ENCODER:
        yield f"{layer}.0", layer
        yield f"{layer}.1", next(activations)
    yield "predict_flow6", "predict_flow6"
    for number, (coarse, level) in enumerate(pairwise((6, 5, 4, 3, 2)), start=1):
        yield f"deconv{level}.0", f"deconv{level}"
        yield f"deconv{level}.1", next(activations)
        yield f"upsampled_flow{coarse}_to_{level}", _upsampled_flow(coarse, level)
        yield f"cat#{number + 1}", f"concatenate_{number}"
        yield f"inter_conv{level}.0", f"inter_conv{level}"
        yield f"predict_flow{level}", f"predict_flow{level}"
    yield "mul", "flow_scale"
    yield "upsample1", "up_sampling2d_1"


def _upsampled_flow(coarse: int, level: int) -> str:
    """The article's name; only the first of the four is spelled as in torch."""
    return f"upsampled_flow{coarse}_to_{level}" if coarse == 6 else f"upsampled_flow{coarse}_to{level}"


def _inputs(settings: Settings) -> tuple[Settings, list[Input]]:
    """The inputs, and the settings with the size these have. Pictures that are given are always used."""
    if settings.recorded:
        height, width = settings.recorded[0].array.shape[-2:]
        return replace(settings, size=(width, height)), list(settings.recorded)
    names = settings.inputs or ((IMAGES,) if settings.images else ("noise", "motorcycle"))
    if settings.images and IMAGES not in names:
        names = (*names, IMAGES)
    _check_names(names, settings)
    if settings.size is not None:
        _check_size(*settings.size)
    pictures = dict(_pictures(names, settings))
    size = settings.size
    if size is None and pictures:
        size = next((given.array.shape[4], given.array.shape[3]) for given in pictures.values())
    size = size or SIZE
    return replace(settings, size=size), [
        pictures[name] if name in pictures else _input(name, size, settings.seed) for name in names
    ]


def _pictures(names: Sequence[str], settings: Settings) -> Iterator[tuple[str, Input]]:
    """The inputs that are pictures: the settings' own, and those that a name tells; all as large as the first."""
    size = settings.size
    for name in sorted(names, key=lambda name: name != IMAGES):
        files = settings.images if name == IMAGES else two_pictures(name)
        if files:
            given = inputs.image_pair(*files, size=size, multiple=MULTIPLE)
            size = (given.array.shape[4], given.array.shape[3])
            yield name, replace(given, name=name)


def _input(name: str, size: tuple[int, int], seed: int) -> Input:
    if name == "motorcycle":
        return inputs.motorcycle(size)
    shape = (1, 3, 2, size[1], size[0])
    kind, seed = drawn(name, seed)
    return inputs.noise(shape, seed=seed, name=name) if kind == "noise" else inputs.probe(name, shape)


def _check_names(names: tuple[str, ...], settings: Settings) -> None:
    """Refuse inputs that are not known, named twice, or pictures that were not given."""
    known = ("noise", "motorcycle", *inputs.PROBES, IMAGES)
    for name in names:
        if drawn(name, 0)[0] not in known and not two_pictures(name):
            raise InputError(f"no input is called {name!r}; known inputs: {', '.join(known)}")
        if names.count(name) > 1:
            raise InputError(f"input {name!r} is named {names.count(name)} times; once is enough")
    if IMAGES in names and settings.images is None:
        raise InputError("the input 'images' needs two picture files: give both")


def _check_size(width: int, height: int) -> None:
    """Refuse what the encoder cannot halve six times, and say what it could."""
    wrong = [(name, value) for name, value in (("width", width), ("height", height)) if value % MULTIPLE]
    if wrong:
        raise InputError(
            f"FlowNet2-SD takes sizes that are multiples of {MULTIPLE}: "
            + "; ".join(f"{name}={value}, the nearest are {_nearest(value)}" for name, value in wrong)
        )


def _nearest(value: int) -> str:
    """The multiples just below and above."""
    below = value // MULTIPLE * MULTIPLE
    return f"{below} and {below + MULTIPLE}" if below else str(below + MULTIPLE)
