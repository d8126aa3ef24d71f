"""The models parity knows by name. Listing them loads no framework: one is imported when it is asked for."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from parity.axes import DATA_FORMATS
from parity.errors import UnknownModelError, UsageError
from parity.pair import Input, Pair
from parity.switches import allow_channels_first


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user may choose about a model; each has a default of the model's own.

    `inputs` names inputs ("noise", "motorcycle", a probe, "images"); `images` are two picture files; `size`
    is (width, height) in pixels; `checkpoint` holds the reference's weights, and without one they are drawn
    from `seed`; `port` is a `.keras` file that takes the place of the model's own port. Raises UsageError for a
    size or a data format that no model can have.
    """

    inputs: tuple[str, ...] = ()
    images: tuple[Path, Path] | None = None
    size: tuple[int, int] | None = None
    data_format: str = "channels_last"
    checkpoint: Path | None = None
    seed: int = 0
    port: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what could not mean anything."""
        if self.size is not None and min(self.size) <= 0:
            raise UsageError(f"size={self.size}: width and height must be positive")
        if self.data_format not in DATA_FORMATS:
            raise UsageError(f"data_format={self.data_format!r}; give one of {', '.join(sorted(DATA_FORMATS))}")


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model in one line, and its builder: "module:function", from Settings to (Pair, inputs)."""

    description: str
    builder: str


_MODELS: dict[str, ModelEntry] = {}

MODELS: Mapping[str, ModelEntry] = MappingProxyType(_MODELS)
"""Every registered model by name; read-only, `register` adds to it."""


def register(name: str, description: str, builder: str) -> None:
    """Add a model; `builder` is "module:function". Raises UsageError where the name is taken."""
    if name in _MODELS:
        raise UsageError(f"model {name!r} is registered already, as {_MODELS[name].builder}")
    _MODELS[name] = ModelEntry(description=description, builder=builder)


def names() -> tuple[str, ...]:
    """The known models' names, in the order they were registered."""
    return tuple(_MODELS)


def load(name: str, settings: Settings | None = None) -> tuple[Pair, list[Input]]:
    """Build the pair of that name and the inputs to compare it on; this loads the frameworks.

    Raises UnknownModelError for a name that is not registered, and whatever the model's builder raises.
    """
    if settings is not None and settings.port is not None and not settings.port.is_file():
        raise UsageError(f"port {settings.port}: no such file")
    if name not in _MODELS:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownModelError(f"no model is called {name!r}; {hint}known models: {', '.join(names())}")
    settings = settings or Settings()
    if settings.data_format == "channels_first":
        allow_channels_first()
    module, _, function = _MODELS[name].builder.partition(":")
    build = getattr(importlib.import_module(module), function)
    pair, inputs = build(settings)
    return (replace(pair, port=settings.port) if settings.port else pair), inputs


register(
    "flownet",
    "NVIDIA's FlowNet2-SD (optical flow, 45 M parameters) and its hand-written Keras port",
    "parity.models.flownet:build",
)

for _name, _description in (
    ("residual", "a small residual classifier: BatchNorm, strides, shortcuts, every kind of pooling"),
    ("unet", "a small U-Net: transposed convolutions, skips, three ways of enlarging"),
    ("depthwise", "a small mobile-style classifier: depthwise, grouped, dilated convolutions, a channel shuffle"),
    ("mlp", "a small classifier whose features are flattened: dense layers, adaptive pooling, log-softmax"),
    ("upscaler", "a small network that doubles images: pixel shuffle, global skip, clamp"),
    ("tagger", "a small tagger of tokens: embedding, LSTM, GRU, softmax"),
    ("encoder", "a small transformer encoder: attention, LayerNorm, GELU"),
):
    register(_name, _description, f"parity.models.small.{_name}:build")
