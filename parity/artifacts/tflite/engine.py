"""Runs `.tflite` files by the interpreter that they ship with: whole, watched, and in pieces.

The file runs as its user runs it: with the default delegates, which choose other kernels than the interpreter's own
and give other values (of an int8 file by whole steps). Pieces run with the same delegates.
"""

import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from parity.artifacts.lifting import Rule
from parity.artifacts.program import Engine, Program
from parity.artifacts.tflite.cut import Cut, Cutting
from parity.artifacts.tflite.file import read
from parity.artifacts.tflite.rules import RULES
from parity.axes import Array
from parity.errors import ArtifactError, PairError
from parity.frameworks import quiet
from parity.runners.segments import REFUSED
from parity.switches import thread_count

KEPT = 64 << 20
"""Bytes of pieces that are kept ready to run: an explanation asks for one layer many times."""


def opened(path: Path) -> Engine:
    """The engine of a `.tflite` file. Raises ArtifactError where it is none, or cannot be loaded."""
    return TFLite(path)


BARE = "TFLite's default delegate, XNNPACK, refuses {}: it was run by TFLite's other kernels"
"""What is said of a file that is not run as it is by default."""


OF_SIZES = frozenset({"SHAPE", "RANK", "RANGE", "FILL", "WHERE", "UNIQUE", "WHILE", "IF"})
"""Operators with which sizes may be values that are computed."""


class TFLite(Engine):
    """A `.tflite` file that can be run. Raises ArtifactError where it is none, or cannot be loaded."""

    def __init__(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
        self.flat = read(content, path.name)
        self._pieces = _Pieces()
        self._sizes: Mapping[int, tuple[int, ...]] = {}
        self._bare = False

    @property
    def program(self) -> Program:
        """What the file computes."""
        return self.flat.program

    @property
    def rules(self) -> Mapping[str, Rule]:
        """What its operators are lifted to."""
        return RULES

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of the interpreter."""
        return {"ai-edge-litert": metadata.version("ai-edge-litert")}

    @property
    def notes(self) -> Sequence[str]:
        """Whether it is run otherwise than its user would by default."""
        return (BARE.format(self.flat.name),) if self._bare else ()

    def shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The program for inputs of these shapes. Raises PairError where the file has others.

        The sizes are those of an interpreter that keeps all tensors: of what a delegate has to itself, any other tells
        the sizes that the file was written with.
        """
        given = {self.flat.places[name]: shape for name, shape in shapes.items()}
        self._interpreter(given)
        interpreter = _interpreter(self.flat.content, keep_all=True, bare=self._bare)
        with _refusals(self.flat.name):
            self._sized(interpreter, given)
        if any(self.flat.kind(each) in OF_SIZES for each in self.flat.graph.operators):
            with _refusals(self.flat.name):
                for place, shape in given.items():
                    interpreter.set_tensor(place, np.zeros(shape, self.flat.dtype(place)))
                interpreter.invoke()  # sizes that the file computes are known only then
        found = {each["index"]: tuple(int(size) for size in each["shape"]) for each in interpreter.get_tensor_details()}
        self._sizes = {tensor: found[tensor] for tensor in range(len(self.flat.names)) if tensor in found}
        return self._of_sizes()

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the file as it ships, by their tensors."""
        with _refusals(self.flat.name):
            return self._run(self._whole, arrays, list(self.program.outputs.values()))

    def watched(self, arrays: Mapping[str, Array], tensors: Sequence[str]) -> dict[str, Array]:
        """These tensors of one run in which all are kept.

        The interpreter is one of its own, whose memory the values are: it goes when they go.
        """
        with _refusals(self.flat.name):
            interpreter = _interpreter(self.flat.content, keep_all=True, bare=self._bare)
            return self._run(interpreter, arrays, tensors, view=True)

    def part(self, known: Mapping[str, Array], tensor: str, constants: Mapping[str, Array] | None = None) -> Array:
        """A tensor's value where others are known, by the operators between alone."""
        wanted = self.flat.places[tensor]
        given = {self.flat.places[name]: np.asarray(value) for name, value in known.items()}
        stored = {place: self._stored(place, value) for place, value in given.items()}
        cutting = self._cutting(stored, wanted, self._constants(constants or {}))
        if wanted in cutting.given:
            return self._real(wanted, cutting.given[wanted])
        with _refusals(tensor):
            cut, run = self._pieces.of(cutting, bare=self._bare)
            return self._real(wanted, run([stored[place] for place in cut.inputs]))

    def _cutting(self, stored: Mapping[int, Array], wanted: int, given: Mapping[int, Array]) -> Cutting:
        """How a piece is cut. Sizes of what is not in it are those that the file's tensors had last."""
        shapes = {place: value.shape for place, value in stored.items()}
        cutting = Cutting(self.flat, shapes, wanted, given)
        try:
            cutting.operators  # noqa: B018
        except PairError:
            return Cutting(self.flat, shapes, wanted, {**self._shape_values(), **given})
        return cutting

    def _shape_values(self) -> dict[int, Array]:
        """The values of tensors that are another one's sizes."""
        found = {}
        for each in self.flat.graph.operators:
            if self.flat.kind(each) == "SHAPE" and int(each.inputs[0]) in self._sizes:
                output = int(each.outputs[0])
                found[output] = np.array(self._sizes[int(each.inputs[0])], self.flat.dtype(output))
        return found

    def _of_sizes(self) -> Program:
        """The program where every tensor has the sizes that it had last, and what follows from these is constant."""
        names = self.flat.names
        sized = {names[tensor] for tensor in self._shape_values()}
        steps, folded = [], list(self.program.folded)
        for step in self.program.steps:
            if all(read in sized or read in self.program.constants or not read for read in step.inputs) and sized:
                sized.update(step.outputs)
            if sized.issuperset(step.outputs):
                folded.append(step)
            else:
                steps.append(step)
        shapes = {names[tensor]: shape for tensor, shape in self._sizes.items()}
        values = Following(self.program.constants, {name: partial(self.part, {}, name) for name in sized})
        return replace(
            self.program,
            steps=tuple(steps),
            folded=tuple(folded),
            shapes={**self.program.shapes, **shapes},
            constants=values,
        )

    def _constants(self, values: Mapping[str, Array]) -> dict[int, Array]:
        """Constants as the file stores them, by the tensors that it has them in."""
        found = {}
        for name, value in values.items():
            tensor = self.flat.places[name]
            tensor = self.flat.folded.get(tensor, tensor)
            found[tensor] = self._stored(tensor, np.asarray(value))
        return found

    # -- whole runs ----------------------------------------------------------------------------------------------------

    @cached_property
    def _whole(self) -> Any:
        return _interpreter(self.flat.content, bare=self._bare)

    def _interpreter(self, shapes: Mapping[int, tuple[int, ...]]) -> Any:
        """The interpreter of the whole file, ready for inputs of these shapes."""
        with _refusals(self.flat.name):
            try:
                self._sized(self._whole, shapes)
            except RuntimeError:
                self._without_delegate(shapes)
            return self._whole

    def _without_delegate(self, shapes: Mapping[int, tuple[int, ...]]) -> None:
        """Run it by the interpreter's own kernels from now on, where these take what the default delegate refuses."""
        bare = _interpreter(self.flat.content, bare=True)
        self._sized(bare, shapes)
        self._bare = True
        vars(self)["_whole"] = bare

    def _sized(self, interpreter: Any, shapes: Mapping[int, tuple[int, ...]]) -> None:
        """Give the inputs these shapes. Raises PairError where the file has others."""
        now = {each["index"]: tuple(int(size) for size in each["shape"]) for each in interpreter.get_input_details()}
        for tensor, shape in shapes.items():
            own = self.program.shapes[self.flat.names[tensor]]
            if len(own) != len(shape) or any(size not in (None, given) for size, given in zip(own, shape, strict=True)):
                sizes = ", ".join("any" if size is None else str(size) for size in own)
                raise PairError(f"{self.flat.name} takes ({sizes}) at {self._called(tensor)!r}, not {shape}")
            if now[tensor] != shape:
                interpreter.resize_tensor_input(tensor, shape, strict=True)
        _quietly(interpreter.allocate_tensors)

    def _called(self, tensor: int) -> str:
        return next(name for name, own in self.program.inputs.items() if own == self.flat.names[tensor])

    def _run(
        self, interpreter: Any, arrays: Mapping[str, Array], tensors: Sequence[str], *, view: bool = False
    ) -> dict[str, Array]:
        given = {self.flat.places[name]: np.asarray(array) for name, array in arrays.items()}
        self._sized(interpreter, {place: array.shape for place, array in given.items()})
        for place, array in given.items():
            interpreter.set_tensor(place, self._stored(place, array))
        interpreter.reset_all_variables()
        interpreter.invoke()
        read = (lambda place: _view(interpreter, place)) if view else interpreter.get_tensor
        places = {name: self.flat.places[name] for name in tensors}
        kept = {name for step in self.program.steps for name in step.inputs} | set(self.program.outputs.values())
        unread = {place for name, place in places.items() if name not in kept}
        ends = {name: self.flat.ends.get(place, place) for name, place in places.items()}
        return {name: REFUSED if place in unread else self._real(place, read(place)) for name, place in ends.items()}

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _stored(self, tensor: int, value: Array) -> Array:
        """Real numbers as a tensor stores them."""
        grid, dtype = self.flat.grid(tensor), self.flat.dtype(tensor)
        if grid is not None and value.dtype.kind == "f":
            return grid.stored(value, dtype)
        return np.ascontiguousarray(value, dtype)

    def _real(self, tensor: int, value: Array) -> Array:
        """What a tensor's stored numbers stand for."""
        grid = self.flat.grid(tensor)
        return value if grid is None else grid.real(value)


class Following(Mapping[str, Array]):
    """Constants of a file, and what follows from them, made when it is asked for."""

    def __init__(self, own: Mapping[str, Array], made: Mapping[str, Callable[[], Array]]) -> None:
        self._own, self._made = own, made

    def __getitem__(self, name: str) -> Array:
        return self._made[name]() if name in self._made else self._own[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (name for name in self._made if name not in self._own)

    def __len__(self) -> int:
        return len({*self._own, *self._made})


class _Pieces:
    """Pieces of a file that are ready to run, those that were asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[Cut, Any]] = OrderedDict()

    def of(self, cutting: Cutting, *, bare: bool) -> tuple[Cut, Callable[[Sequence[Array]], Array]]:
        """The piece, and what runs it on the values of its inputs."""
        key = (cutting.wanted, tuple(sorted(cutting.known.items())))
        made = self._kept.get(key) if not cutting.given else None
        if made is None:
            cut = cutting.cut()
            made = (cut, _interpreter(cut.content, bare=bare))
            _quietly(made[1].allocate_tensors)
            if not cutting.given:
                self._keep(key, made)
        else:
            self._kept.move_to_end(key)
        cut, interpreter = made
        return cut, lambda values: _run_piece(interpreter, values)

    def _keep(self, key: Any, made: tuple[Cut, Any]) -> None:
        self._kept[key] = made
        while sum(len(cut.content) for cut, _ in self._kept.values()) > KEPT and len(self._kept) > 1:
            self._kept.popitem(last=False)


def _view(interpreter: Any, tensor: int) -> Array:
    """A tensor where the interpreter has it, which it lives as long as; nothing of one that it does not keep."""
    try:
        values = np.asarray(interpreter.tensor(tensor)())  # a scalar comes as a number
    except ValueError:
        return REFUSED
    values.flags.writeable = False
    return values


def _run_piece(interpreter: Any, values: Sequence[Array]) -> Array:
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.reset_all_variables()
    interpreter.invoke()
    made: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return made


def _interpreter(content: bytes, *, keep_all: bool = False, bare: bool = False) -> Any:
    """An interpreter as its user makes one; a `bare` one has no delegate."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ArtifactError("a .tflite file needs ai-edge-litert: pip install 'parity[tflite]'") from error
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if bare else OpResolverType.AUTO
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all tensors are kept needs memory
        return _quietly(
            Interpreter,
            model_content=content,
            num_threads=thread_count(),
            experimental_preserve_all_tensors=keep_all,
            experimental_op_resolver_type=kernels,
        )


def _quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function of the interpreter makes, without the lines it writes: its error has what there is to say."""
    refusal: Exception | None = None
    with quiet():
        try:
            return function(*args, **kwargs)
        except (RuntimeError, ValueError) as error:
            refusal = error
    raise refusal


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What the interpreter refuses becomes a PairError of one sentence."""
    try:
        yield
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        words = re.sub(r"^\S+\.cc:\d+\s*|^\S+\.cc\s+", "", str(error).strip())
        reason = next((line.strip() for line in words.splitlines() if line.strip()), type(error).__name__)
        raise PairError(f"{what} cannot be run by TFLite: {reason}") from error
