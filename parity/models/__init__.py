"""The pairs that can be verified: those parity knows by name, and everybody's own.

A pair is a registered name (parity's, one of a package's entry points `parity.models`, one that `@parity.pair("name")`
gave a function of a conftest.py), or `pkg.module:attr`, or `path/to/file.py:attr`. Listing them loads no framework: one
is imported when it is asked for.
"""

import difflib
import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from parity.errors import UnknownModelError, UsageError
from parity.golden import ENGINES, side_of
from parity.lookup import is_place, is_spec, module_of
from parity.models.settings import Settings
from parity.pairs import Input, Pair
from parity.switches import allow_channels_first, leave_out

if TYPE_CHECKING:
    from parity.models.recorded import Recorded

__all__ = [
    "MODELS",
    "ModelEntry",
    "Settings",
    "as_recorded",
    "everything",
    "is_own",
    "load",
    "names",
    "pair",
    "register",
]

ENTRY_POINTS = "parity.models"
BUILT_IN = "parity"
CONFTEST = "conftest.py"

_FOR_OWN = {"shape": "shapes", "range": "values", "limit": "limit"}

Build = TypeVar("Build", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model in one line, its builder, and where it comes from.

    The builder is "module:function" from Settings to (Pair, inputs) for parity's own; else whatever `load` takes.
    """

    description: str
    builder: Any
    origin: str = BUILT_IN


_MODELS: dict[str, ModelEntry] = {}

MODELS: Mapping[str, ModelEntry] = MappingProxyType(_MODELS)
"""Every registered model by name; read-only, `register` and `pair` add to it."""


def register(name: str, description: str, builder: str) -> None:
    """Add a model; `builder` is "module:function". Raises UsageError where the name is taken."""
    _add(name, ModelEntry(description=description, builder=builder))


def pair(name: str) -> Callable[[Build], Build]:
    """Give a function that returns a Pair, or (Pair, inputs), a name to verify it by, in a conftest.py for example.

    The function takes nothing, or one argument, the Settings. It stays as it is. Raises UsageError for a name that is
    taken, or could be taken for a file's.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", name) or name.endswith(".py"):
        raise UsageError(f"@parity.pair({name!r}): a name has letters, digits, - and _ only, and no ending .py")

    def keep(build: Build) -> Build:
        description = (inspect.getdoc(build) or "no description").splitlines()[0]
        _add(name, ModelEntry(description=description, builder=build, origin=_origin(build)))
        return build

    return keep


def names() -> tuple[str, ...]:
    """The known models' names, in the order they were registered."""
    return tuple(_MODELS)


def everything() -> dict[str, ModelEntry]:
    """Every model that has a name: the registered ones, those of entry points, and of the current folder's conftest."""
    _read_conftest()
    return {**dict(_entry_points()), **_MODELS}


def is_own(name: str) -> bool:
    """Whether a name is of a pair of the user's, not one of parity's."""
    return name not in _MODELS or _MODELS[name].origin != BUILT_IN


def load(name: str, settings: Settings | None = None) -> tuple[Pair, list[Input]]:
    """Build the pair of that name and the inputs to compare it on; this loads the frameworks.

    A recording that the settings name takes the place of its side, whose engine is then not loaded.
    Raises UnknownModelError for a name that nobody knows, UsageError for what is not a pair, UserCodeError where the
    user's code fails, and whatever the model's builder raises.
    """
    settings = settings or Settings()
    if settings.against is None or settings.recorded:
        return _loaded(name, settings)
    recorded = _recorded(settings.against)
    pair, inputs = _loaded(name, recorded.settings(settings))
    return recorded.in_its_place(pair), inputs


def as_recorded(settings: Settings) -> Settings:
    """The settings with those of the recording that they name: its inputs, the size and seed that it was made with."""
    return settings if settings.against is None else _recorded(settings.against).settings(settings)


def _recorded(path: Path) -> "Recorded":
    """A recording, whose side's engine is from now on not loaded."""
    if not path.is_file():
        raise UsageError(f"recording {path}: no such file")
    leave_out(ENGINES[side_of(path)])
    from parity.models.recorded import Recorded

    return Recorded(path)


def _loaded(name: str, settings: Settings) -> tuple[Pair, list[Input]]:
    _ensure_files(settings)
    entry = _found(name)
    if settings.data_format == "channels_first":
        allow_channels_first()
    if entry.origin == BUILT_IN:
        return _built_in(name, entry, settings)
    from parity.models.own import load_own

    engines_first()
    return load_own(name, entry.builder, settings, _MODELS)


def engines_first() -> None:
    """Import the engines that are installed, in the one order in which they get along, before any code of a user."""
    try:
        importlib.import_module("parity.frameworks")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "tensorflow", "keras"):
            raise


def _built_in(name: str, entry: ModelEntry, settings: Settings) -> tuple[Pair, list[Input]]:
    wrong = [f"--{word}" for word in ("shape", "range", "limit") if getattr(settings, _FOR_OWN[word])]
    if wrong:
        raise UsageError(f"{wrong[0]} is for pairs of your own; the inputs of {name} are its own")
    module, _, function = entry.builder.partition(":")
    made, inputs = getattr(importlib.import_module(module), function)(settings)
    return settings.applied(made), inputs


def _ensure_files(settings: Settings) -> None:
    for what, file in (("port", settings.port), ("map", settings.map)):
        if file is not None and not file.is_file() and not (what == "port" and file.is_dir()):
            raise UsageError(f"{what} {file}: no such file")


def _found(name: str) -> ModelEntry:
    """The entry of a name, or of a place in the user's code."""
    entries = [_MODELS[name]] if name in _MODELS else []
    entries += [entry for known, entry in _entry_points() if known == name]
    if len(entries) > 1:
        raise UsageError(
            f"{name!r} is a model of {' and of '.join(e.origin for e in entries)}; say which as pkg.module:attr"
        )
    if entries:
        return entries[0]
    if is_spec(name) or name.endswith(".py"):
        return ModelEntry(description="", builder=name, origin=name)
    _read_conftest()
    if name in _MODELS:
        return _MODELS[name]
    if "." in name and is_place(name):
        return ModelEntry(description="", builder=name, origin=name)
    known = names()
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownModelError(f"no model is called {name!r}; {hint}known models: {', '.join(known)}")


def _entry_points() -> Iterator[tuple[str, ModelEntry]]:
    for point in metadata.entry_points(group=ENTRY_POINTS):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        yield point.name, ModelEntry(description=point.value, builder=point.value, origin=origin)


def _read_conftest() -> None:
    """Import the current folder's conftest.py, if it was not, and speaks of parity: it may name pairs."""
    file = Path(CONFTEST)
    if file.is_file() and b"parity" in file.read_bytes():
        engines_first()
        module_of(CONFTEST)


def _origin(build: Callable[..., Any]) -> str:
    """The line of the file that a function is from: "conftest.py:12"."""
    code = inspect.unwrap(build).__code__ if inspect.isfunction(inspect.unwrap(build)) else None
    if code is None:
        raise UsageError(f"@parity.pair is for functions that return a pair, not for a {type(build).__name__}")
    return f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"


def _add(name: str, entry: ModelEntry) -> None:
    known = _MODELS.get(name)
    # A module that is imported twice, under two names, says the same again.
    if known and (known.origin == BUILT_IN or known.origin != entry.origin):
        where = known.builder if known.origin == BUILT_IN else known.origin
        raise UsageError(f"model {name!r} is registered already, as {where}")
    _MODELS[name] = entry


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
