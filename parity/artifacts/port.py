"""An artifact in the place of a pair's port."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.artifacts.files import FROZEN, KERAS, LIMIT, ONNX, RECORDING, SAVED_MODEL, TFLITE, Checked, checked
from parity.artifacts.lifting import lifted
from parity.artifacts.model import ArtifactModel
from parity.artifacts.program import Engine
from parity.artifacts.shipped import shipped
from parity.axes import CHANNELS_FIRST, CHANNELS_LAST, Array
from parity.ends import all_paired
from parity.errors import ArtifactError, PairError, UsageError
from parity.runners.keras_model import KerasModel
from parity.runners.signature import Declared

Names = Mapping[str, str]
"""Names of inputs, and for each what else it is called, as in `parity.ends`."""

ENGINES: Mapping[str, str] = {
    FROZEN: "parity.artifacts.tensorflow.frozen:opened",
    SAVED_MODEL: "parity.artifacts.tensorflow.saved:opened",
    TFLITE: "parity.artifacts.tflite.engine:opened",
    ONNX: "parity.artifacts.onnx.engine:opened",
}
"""What opens a file of a kind: a function of its path that gives its Engine."""


def artifact_port(port: Any) -> "ArtifactPort | None":
    """The artifact that a pair has for its port: the path of a file that an engine of its own runs; else None.

    A `.keras` file is none: it is checked, and is run by Keras as any model. Raises ArtifactError for a file that is
    broken or refused.
    """
    found = _checked(port)
    if found is None:
        return None
    return _LOOKED_INTO.pop(_stamp(found), None) or ArtifactPort(found.path, found.kind)


def taken_by(port: Any) -> tuple[Declared, ...] | None:
    """The inputs that a file with an engine of its own takes; None for any other port. Raises as `artifact_port`."""
    found = _checked(port)
    if found is None:
        return None
    opened = ArtifactPort(found.path, found.kind)
    _LOOKED_INTO.clear()
    _LOOKED_INTO[_stamp(found)] = opened
    return opened.takes


def _checked(port: Any) -> Checked | None:
    """A port that is a file with an engine of its own, checked; any other file is checked too."""
    file = shipped(port)
    if file is None:
        return None
    found = checked(file.path, limit=file.largest or LIMIT, allowed=file.allow)
    return None if found.kind in (KERAS, RECORDING) else found


_LOOKED_INTO: dict[tuple[Any, ...], "ArtifactPort"] = {}
"""The file that was opened last to see what it takes: it is run next, and opening it costs seconds."""


def _stamp(found: Checked) -> tuple[Any, ...]:
    """What tells a file from a later one in the same place."""
    stats = (path.stat() for path in found.files)
    return (found.path.resolve(), *((each.st_mtime_ns, each.st_size, each.st_ino) for each in stats))


class ArtifactPort:
    """A file that ships, checked and of a known kind, ready to be run on inputs of any shapes that it takes.

    Raises ArtifactError where its engine refuses it.
    """

    is_flat = False

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self._engine = _opened(path, kind)
        self._models: dict[tuple[Any, ...], ArtifactModel] = {}
        self._used: ArtifactModel | None = None

    @property
    def mode(self) -> str:
        """The one way to run it."""
        return self.kind

    @property
    def takes(self) -> tuple[Declared, ...]:
        """Its inputs, in its own layout."""
        program = self._engine.program
        return tuple(
            Declared(name=name, shape=program.shapes.get(tensor, ()), dtype=self._dtype(tensor))
            for name, tensor in program.inputs.items()
        )

    def _dtype(self, tensor: str) -> str:
        """What an input is given as: numbers on a grid as the real ones that they stand for."""
        program = self._engine.program
        return "float32" if tensor in program.grids else program.dtypes[tensor]

    @property
    def versions(self) -> Mapping[str, str]:
        """The engine that runs it, and its version."""
        return self._engine.versions

    @property
    def notes(self) -> Sequence[str]:
        """What a report must say of how the file is seen."""
        return self._engine.notes

    @property
    def model(self) -> Any:
        """Nothing that can be changed or filled. Raises UsageError."""
        raise UsageError(f"{self.path} is a file that ships: it is verified as it is, and neither filled nor changed")

    @property
    def used(self) -> KerasModel:
        """What ran the file last. Raises PairError before the first input."""
        if self._used is None:
            raise PairError(f"{self.path} is opened when it is given its first input")
        return self._used

    def engine(self, arrays: Mapping[str, Array], names: Names, input_map: Names) -> KerasModel:
        """What runs the file on inputs of these shapes, in its layout, by the reference's names.

        Raises ArtifactError where the file takes no such inputs.
        """
        program = self._engine.program
        feeds = all_paired(names, _ends(program.inputs), input_map, "input")
        theirs = {ours: arrays[name] for name, ours in feeds.items()}
        found = {name: theirs[end] for name, end in zip(program.inputs, _ends(program.inputs), strict=True)}
        for name, array in found.items():
            self._fits(name, array)
        key = tuple((name, array.shape) for name, array in found.items())
        if self._used is None or key not in self._models or self._models[key] is not self._used:
            shaped = self._engine.shaped({program.inputs[name]: array.shape for name, array in found.items()})
            if key not in self._models:
                self._models[key] = ArtifactModel(self._engine, lifted(self._engine, shaped))
        self._used = self._models[key]
        return self._used

    def restore(self) -> None:
        """Nothing to undo: a file does not change."""

    def _fits(self, name: str, array: Array) -> None:
        """Raise ArtifactError unless the file takes an array of this shape and dtype."""
        program = self._engine.program
        tensor = program.inputs[name]
        shape, takes = program.shapes.get(tensor), self._dtype(tensor)
        fits = shape is None or (
            len(shape) == array.ndim and all(a in (None, b) for a, b in zip(shape, array.shape, strict=True))
        )
        if not fits or str(array.dtype) != takes:
            wanted = ", ".join("any" if size is None else str(size) for size in shape or ())
            given = f"it is given {array.dtype} of shape {array.shape}"
            hint = "" if fits or shape is None else _other_axes(shape, array.shape)
            raise ArtifactError(f"{self.path} takes {name!r} as {takes} of shape ({wanted}); {given}{hint}")


def _other_axes(takes: Sequence[int | None], given: tuple[int, ...]) -> str:
    """What to declare where the file takes the same sizes with the channels elsewhere; "" where it does not."""
    if len(given) != len(takes) or not 3 <= len(given) <= 5:
        return ""
    batch, *rest = given
    rank = len(given)
    layouts = {CHANNELS_FIRST[rank]: (batch, rest[-1], *rest[:-1]), CHANNELS_LAST[rank]: (batch, *rest[1:], rest[0])}
    for layout, moved in layouts.items():
        if all(own in (None, size) for own, size in zip(takes, moved, strict=True)):
            return f'; a file that has its channels there needs Pair(axes=Axes(port={{{rank}: "{layout}"}}))'
    return ""


def _opened(path: Path, kind: str) -> Engine:
    """The engine of a file. Raises ArtifactError for a file that is whole, but means nothing."""
    module, _, function = ENGINES[kind].partition(":")
    opens: Callable[[Path], Engine] = getattr(importlib.import_module(module), function)
    try:
        return opens(path)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        said = (str(error).strip() or "nothing more is known").splitlines()[0]
        raise ArtifactError(f"{path} cannot be read as a program: {type(error).__name__}: {said}") from error


def _ends(inputs: Mapping[str, str]) -> dict[str, str]:
    """The names by which an engine's inputs are given, and what the file calls them."""
    only = len(inputs) == 1
    return {"input" if only else f"input.{name}": name for name in inputs}
