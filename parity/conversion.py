"""A torch module as a Keras model that was proven to compute the same: built, verified layer by layer, then written.

build    the functional model of the module's steps, with its weights (parity/building)
verify   every layer of it against the module, on the inputs and on one more sample, in every mode
write    the file, loaded again and compared before it takes its name; what does not pass is not written
"""

import copy
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import CHANNELS_FIRST, Array, Axes
from parity.building import Built, built
from parity.errors import ConversionError, ParityError, UsageError, first_line
from parity.examination import Progress
from parity.files import place_of
from parity.frameworks import keras, torch
from parity.inputs.signature import INTEGER, Slot, from_signature
from parity.layouts import layouts
from parity.lookup import users_code
from parity.pairs import INPUT, Input, Pair
from parity.report import Report, merge
from parity.runners.signature import forward_names
from parity.runners.taps import MODES
from parity.runners.torch_module import TorchModule
from parity.tolerance import NoiseFloor, Policy
from parity.verification import verify

ONE_MORE = "larger batch"
"""The input that shows that the model takes any batch, and that nothing in it is of the values it was built on."""

OTHER = "other values"
"""What shows the latter where the module takes batches of one size."""

Given = Input | Sequence[Input] | Sequence[int] | Mapping[str, Sequence[int]]
"""What a module is converted for: inputs, or the shape of its only one, or the shapes of several by name."""

_DEFAULT_POLICY = NoiseFloor()


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A Keras model made of a torch module: `model`, the `pair` of both, and the `report` of their verification."""

    model: Any
    pair: Pair
    inputs: Sequence[Input]
    report: Report
    free: bool = True
    """Whether it takes batches of any size: the module takes one that is larger by one."""

    @property
    def passed(self) -> bool:
        """Whether every layer computes what the module's computes."""
        return self.report.passed

    def save(self, path: str | Path, *, force: bool = False, write_anyway: bool = False) -> Path:
        """Write the model as a `.keras` file, whole or not at all, with the report beside it (`NAME.report.json`).

        The file is loaded again in safe mode and compared before it takes its name. Raises ConversionError for a model
        that did not pass (`write_anyway` writes it all the same), for one that is another after loading, and where the
        file cannot be written; UsageError for a file that is there already (`force` overwrites it).
        """
        path = Path(path)
        ensure_free(path, force=force)
        if not self.passed and not write_anyway:
            raise ConversionError(f"{path} is not written: the model does not compute what {self.pair.name} computes")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
                written = Path(folder) / "model.keras"
                _written(self.model, written, path)
                _compare(self, written, path)
                self.save_report(path)
                os.replace(written, place_of(path))
        except OSError as error:
            raise ConversionError(f"cannot write {path}: {error.strerror or error}") from error
        return path

    def save_report(self, path: str | Path) -> Path:
        """Write the report beside where the model goes; the place of it."""
        place = report_of(Path(path))
        self.report.save(place)
        return place


def report_of(path: Path) -> Path:
    """Where the report of a model is: `net.report.json` for `net.keras`."""
    return path.with_suffix(".report.json")


def ensure_free(path: Path, *, force: bool) -> None:
    """Raise UsageError unless the file is named as one of Keras and can take its place."""
    if path.suffix != ".keras":
        raise UsageError(f"{path} is not named as a Keras file; give it the ending .keras")
    place_of(path)
    if path.exists() and not force:
        raise UsageError(f"{path} exists; it is overwritten only where that is asked for (--force)")


def convert(
    module: Any,
    given: Given,
    *,
    axes: Mapping[str, str] | str | None = None,
    data_format: str = "channels_last",
    name: str = "",
    modes: Sequence[str] = MODES,
    policy: Policy = _DEFAULT_POLICY,
    seed: int = 0,
    values: tuple[float, float] | None = None,
    multiple: int | None = None,
    progress: Progress = lambda text, fraction: None,
) -> Converted:
    """The Keras model of a torch module in evaluation mode, with its weights, and the report of its verification.

    `given` are inputs, or shapes of made-up ones, with values drawn from the `seed` in the range `values`. `axes` says
    which axes an input has where its readers do not (`"NLC"`, or by name). Raises ConversionError with everything that
    cannot be converted, and UsageError for an input whose axes nothing says. Values that differ never raise: they are
    in the report, and `Converted.save` refuses to write such a model.
    """
    module = _in_evaluation(module)
    progress("looking at the module", 0.0)
    inputs = list(_inputs(module, given, seed, values))
    with users_code("the module"):
        known = input_layouts(module, inputs[0], axes)
        progress("building", 0.05)
        port = built(module, inputs[0], known, data_format)
    pair = replace(port.pair(name or type(module).__name__), multiple=multiple)
    again = next(_inputs(module, given, seed + 1, values))  # other values, unless they are the user's own
    report = merge(list(_reports(port, pair, inputs, again, modes, known, policy, progress)))
    return Converted(model=port.model, pair=pair, inputs=inputs, report=report, free=port.free)


def _reports(
    port: Built,
    pair: Pair,
    inputs: Sequence[Input],
    again: Input,
    modes: Sequence[str],
    known: Mapping[str, str],
    policy: Policy,
    progress: Progress,
) -> Iterator[Report]:
    """A verification on every input in every mode; in the first also on `again`, a sample larger if that is taken."""
    shown: Progress = lambda text, fraction: progress(text, 0.2 + 0.6 * fraction)  # noqa: E731
    yield verify(pair, inputs, modes, policy=policy, progress=shown)
    if port.free and any("N" in layout for layout in known.values()):
        progress(ONE_MORE, 0.8)
        yield verify(pair, [_one_more(again, known)], modes[:1], policy=policy)
    elif again is not inputs[0]:
        progress(OTHER, 0.8)
        other = again.changed(lambda _, array: array, name=OTHER, origin=f"{again.name}, drawn by another seed")
        yield verify(pair, [other], modes[:1], policy=policy)


def _one_more(given: Input, known: Mapping[str, str]) -> Input:
    """The input with its samples turned round, and the first of them twice."""

    def longer(name: str, array: Array) -> Array:
        if "N" not in known.get(name, ""):
            return array
        axis = known[name].index("N")
        both = np.concatenate([array, np.take(array, [0], axis=axis)], axis=axis)
        return np.ascontiguousarray(np.flip(both, axis=axis))

    return given.changed(longer, name=ONE_MORE, origin=f"{given.name}, and its first sample once more")


def _in_evaluation(module: Any) -> torch.nn.Module:
    """The module in evaluation mode: itself, or a copy. Raises UsageError for TorchScript and what is no module."""
    module = getattr(module, "_orig_mod", module)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"a {type(module).__name__} cannot be converted; give a torch.nn.Module")
    compiled = [name for name, each in module.named_modules() if isinstance(each, torch.jit.ScriptModule)]
    if compiled:
        raise UsageError(f"{compiled[0] or 'the module'} is compiled by torch.jit; give the module that it was made of")
    return copy.deepcopy(module).eval() if any(each.training for each in module.modules()) else module


# -- inputs ------------------------------------------------------------------------------------------------------------


def _inputs(module: torch.nn.Module, given: Given, seed: int, values: tuple[float, float] | None) -> Iterator[Input]:
    if isinstance(given, Input):
        yield given
    elif isinstance(given, Mapping) or (given and all(isinstance(size, int) for size in given)):
        yield made_up(module, given, seed, values)  # type: ignore[arg-type]
    elif given and all(isinstance(each, Input) for each in given):
        yield from given  # type: ignore[misc]
    else:
        raise UsageError(f"given={given!r} is neither an Input nor a shape, such as (1, 3, 64, 96)")


def made_up(
    module: torch.nn.Module,
    shapes: Sequence[int] | Mapping[str, Sequence[int]],
    seed: int = 0,
    values: tuple[float, float] | None = None,
) -> Input:
    """Noise of these shapes; tokens where an embedding reads the input. Raises UsageError for a name that none has."""
    named = dict(shapes) if isinstance(shapes, Mapping) else {"": shapes}
    names = forward_names(module)
    if "" in named and len(named) == 1:
        named = {(names or [INPUT])[0]: named[""]}
    unknown = [name for name in named if name not in names]
    if unknown and names:
        raise UsageError(f"the module has no input {unknown[0]!r}; its forward takes {', '.join(names)}")
    ordered = sorted(named, key=lambda name: names.index(name) if name in names else 0)
    slots = [Slot(name=name, shape=tuple(named[name])) for name in ordered]
    for _ in slots:
        made = _called_with(from_signature(slots, seed=seed, values=values), slots, names)
        if (tokens := _tokens(module, made)) is None:
            return made
        place, vocabulary = tokens
        slots[place] = replace(slots[place], kind=INTEGER, vocabulary=vocabulary)
    return _called_with(from_signature(slots, seed=seed, values=values), slots, names)


def _called_with(given: Input, slots: Sequence[Slot], names: Sequence[str]) -> Input:
    """The arrays as the module is called with them: by position as long as none is left out, then by name."""
    arrays = dict(zip((slot.name for slot in slots), given.args, strict=True))
    leading = [name for name, slot in zip(names, slots, strict=False) if name == slot.name] if names else list(arrays)
    rest = {name: array for name, array in arrays.items() if name not in leading}
    return Input(name=given.name, args=tuple(arrays[name] for name in leading), kwargs=rest, origin=given.origin)


class _TokensAreRead(Exception):  # noqa: N818 - it is a signal, no error
    """An embedding was given floats."""

    def __init__(self, vocabulary: int, read: torch.Tensor) -> None:
        super().__init__()
        self.vocabulary, self.read = vocabulary, read


def _tokens(module: torch.nn.Module, given: Input) -> tuple[int, int] | None:
    """Which of the inputs an embedding reads that was given floats, and its vocabulary; None where all fit."""
    tensors: list[torch.Tensor] = []

    def start(name: str, array: Array) -> torch.Tensor:
        tensors.append(torch.from_numpy(np.array(array, copy=True)))
        return tensors[-1]

    def look(layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if args and torch.is_tensor(args[0]) and args[0].is_floating_point():
            raise _TokensAreRead(layer.num_embeddings, args[0])  # type: ignore[arg-type]

    args, kwargs = given.filled(start)
    with ExitStack() as stack, torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, torch.nn.Embedding):
                stack.callback(layer.register_forward_pre_hook(look).remove)
        try:
            module(*args, **kwargs)
        except _TokensAreRead as found:
            places = [
                i
                for i, each in enumerate(tensors)
                if found.read.untyped_storage()._cdata == each.untyped_storage()._cdata
            ]
            place = places[0] if places else next(i for i, each in enumerate(tensors) if each.is_floating_point())
            return place, found.vocabulary
        except Exception:  # it is run again where its failure is told
            return None
    return None


def input_layouts(module: torch.nn.Module, given: Input, axes: Mapping[str, str] | str | None = None) -> dict[str, str]:
    """Which axes each input has in torch: as `axes` says, or as the layers say that read it.

    An image (four axes or more) that nothing says of has torch's usual ones. Raises UsageError for three axes that
    nothing says of: they may be a map or a sequence, and that is never guessed.
    """
    reference = TorchModule(module)
    told = _told(given, axes, reference)
    trace, calls = reference.taps(given), reference.calls(given)
    shapes = {tap.name: tuple(int(size or 0) for size in tap.shape) for tap in trace.taps}
    inputs = {name: array.shape for name, array in given.arrays.items()}
    found = layouts(
        Axes(by_name=told),
        {name: call for name, call in calls.items() if name in shapes},
        shapes,
        inputs,
        trace.aliases,
    )
    result = {}
    for name, array in given.arrays.items():
        layout = found.get(name)
        if array.ndim == 3 and array.dtype.kind == "f" and (layout is None or layout.origin == "rank"):
            raise UsageError(
                f"nothing says which axes {_name(name)} of shape {array.shape} has; say --axes "
                f"{'' if name == INPUT else f'{name}='}NCL for a map (channels before places) or NLC for a sequence"
            )
        usual = CHANNELS_FIRST.get(array.ndim, "NCTHWDEFG"[: array.ndim])
        is_image = array.ndim > 3 and name not in told and array.dtype.kind == "f"
        result[name] = usual if layout is None or (is_image and "C" not in layout.reference) else layout.reference
    return result


def _name(name: str) -> str:
    return "the input" if name == INPUT else name


def _told(given: Input, axes: Mapping[str, str] | str | None, reference: TorchModule) -> dict[str, str]:
    """The layouts that a user gives, by the names of the input's arrays. Raises UsageError where they fit none."""
    if not axes:
        return {}
    told = {"": axes} if isinstance(axes, str) else dict(axes)
    others = reference.names_of(given)
    result = {}
    for key, layout in told.items():
        fits = [name for name in given.arrays if key in (name, others.get(name), name.removeprefix(f"{INPUT}."))]
        fits = fits or (list(given.arrays) if key == "" and len(given.arrays) == 1 else [])
        if not fits:
            known = ", ".join(others.get(name) or name for name in given.arrays)
            raise UsageError(f"axes {layout} are given for {key or 'the input'}; the inputs are {known}: say NAME=AXES")
        array = given.arrays[fits[0]]
        if len(layout) != array.ndim or not layout.isalpha() or len(set(layout)) != len(layout):
            raise UsageError(
                f"axes {layout!r} are not one letter for each of the {array.ndim} axes of {_name(fits[0])}"
            )
        result[fits[0]] = layout
    return result


# -- writing -----------------------------------------------------------------------------------------------------------


def _written(model: Any, file: Path, place: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's own, about NumPy
            model.save(file)
    except OSError:
        raise
    except Exception as error:
        raise ConversionError(f"{place} cannot be saved: {first_line(error)}") from error


def _compare(converted: Converted, file: Path, place: Path) -> None:
    """Load the file in safe mode, and see that it is the model. Raises ConversionError where it is another."""
    try:
        loaded = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        raise ConversionError(f"{place} cannot be loaded again in safe mode: {first_line(error)}") from error
    pair = replace(converted.pair, port=loaded)
    try:
        report = verify(pair, converted.inputs[:1], ("eager",))
    except ParityError as error:
        raise ConversionError(f"{place} is another model once it is loaded again: {error}") from error
    same = all(
        np.array_equal(np.asarray(ours), np.asarray(theirs), equal_nan=True)
        for ours, theirs in zip(loaded.weights, converted.model.weights, strict=True)
    )
    if not same or (converted.passed and not report.passed):
        raise ConversionError(f"{place} is another model once it is loaded again; it is not written")
