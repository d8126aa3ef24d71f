"""Runs `.onnx` files by ONNX Runtime: whole, watched, and in pieces.

The file runs as its user runs it, with the optimisations that a session has by default. What is seen inside comes from
a session of the same model with more outputs; a piece is a model of the nodes between, with the file's own constants.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.artifacts.files import ONNX
from parity.artifacts.lifting import Rule
from parity.artifacts.onnx.file import OnnxFile, first_line, needed
from parity.artifacts.onnx.rules import RULES
from parity.artifacts.onnx.steps import OF_SHAPES, Sizes, Steps, moved
from parity.artifacts.program import DYNAMIC, FLOAT16, FLOAT32, INT8, Engine, Program
from parity.axes import Array
from parity.errors import ArtifactError, PairError
from parity.switches import thread_count

KEPT = 64 << 20
"""Bytes of constants of the pieces that are kept ready to run: an explanation asks for one layer many times."""

_INT8 = frozenset({"QLinearConv", "QLinearMatMul", "QuantizeLinear"})
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"})


def opened(path: Path) -> Engine:
    """The engine of an ONNX file. Raises ArtifactError for one that ONNX Runtime does not take."""
    return OnnxEngine(path)


class OnnxEngine(Engine):
    """An `.onnx` file that can be run. Raises ArtifactError where it is none, or cannot be loaded."""

    def __init__(self, path: Path) -> None:
        self._onnx, self._runtime = needed()
        self.path = path
        self.file = OnnxFile(path)
        try:
            self._whole = self._session(str(path), {})
        except Exception as error:  # onnxruntime has a dozen of its own
            raise ArtifactError(f"ONNX Runtime cannot load {path}: {first_line(error)}") from error
        self._sizes: Sizes = self.file.declared()
        self._steps = Steps(file=self.file, sizes=self._sizes)
        self._follows: Mapping[str, Array] = {}
        self._pieces: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._watching: tuple[Any, Any] | None = None

    @property
    def rules(self) -> Mapping[str, Rule]:
        """What operators of ONNX are lifted to."""
        return RULES

    @property
    def versions(self) -> Mapping[str, str]:
        """The engine and its version."""
        return {"engine": f"ONNX Runtime {self._runtime.__version__}, CPU"}

    @cached_property
    def program(self) -> Program:
        """What the file computes, with the sizes that it states."""
        return self._program(self._steps)

    def shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The program for inputs of these shapes, in the axes that these have. Raises PairError where the file does not
        take them."""
        sizes = self.file.for_shapes(shapes)
        unknown = [name for node in self.file.nodes for name in node.output if name and not _is_known(sizes.get(name))]
        if unknown:
            sizes |= self._seen(unknown, shapes)
        if sizes != self._sizes:  # sessions are made for sizes
            self._watching, self._sizes = None, sizes
            self._pieces.clear()
        self._steps = Steps(file=self.file, sizes=sizes)
        return self._program(self._steps)

    def _seen(self, unknown: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """The sizes of tensors in a run on zeros."""
        declared = self.file.declared()
        zeros = {name: np.zeros(shape, self.file.dtype(declared[name][1])) for name, shape in shapes.items()}
        found = self._run(self._model_with(unknown), unknown, zeros)
        kind = self._onnx.helper.np_dtype_to_tensor_dtype
        return {
            name: (value.shape, kind(value.dtype)) for name, value in found.items() if isinstance(value, np.ndarray)
        }

    def _program(self, steps: Steps) -> Program:
        dtypes = {name: self.file.dtype(kind) for name, (_, kind) in steps.sizes.items()}
        plain = {name: steps.plain.get(name, name) for name in self.file.outputs}
        ops, constants = {step.op for step in steps.steps}, _Constants(self, steps)
        self._follows = constants
        float16 = any(dtypes.get(name) == "float16" for name in self.file.constant_names)
        lower = FLOAT16 if float16 else FLOAT32
        return Program(
            format=ONNX,
            steps=tuple(steps.steps),
            inputs={name: name for name in self.file.inputs},
            outputs=plain,
            constants=constants,
            shapes={name: shape for name, (shape, _) in steps.sizes.items() if shape is not None},
            dtypes=dtypes,
            orders=steps.orders,
            precision=DYNAMIC if ops & _DYNAMIC else INT8 if ops & _INT8 else lower,
            folded=tuple(steps.folded),
        )

    # -- runs ----------------------------------------------------------------------------------------------------------

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the file as it ships, by their tensors: those that a move of axes behind them was left out of
        are in the axes before it."""
        names = list(self.file.outputs)
        with _refusals(self.path):
            made = dict(zip(names, self._whole.run(names, self._fed(arrays)), strict=True))
        order = self._steps.order
        return {
            self._plain(name): _real(moved(value, order(name), order(self._plain(name))))
            for name, value in made.items()
        }

    def watched(self, arrays: Mapping[str, Array], tensors: Sequence[str]) -> dict[str, Array]:
        """These tensors of one run of the model that gives them beside its own outputs."""
        names = tuple(dict.fromkeys(tensors))
        if self._watching is None or self._watching[0] != names:
            with _refusals(self.path):
                self._watching = names, self._model_with(names)
        with _refusals(self.path):
            return {name: _real(value) for name, value in self._run(self._watching[1], names, arrays).items()}

    def part(self, known: Mapping[str, Array], tensor: str, constants: Mapping[str, Array] | None = None) -> Array:
        """A tensor's value where others are known, by the nodes between alone."""
        given = {name: np.asarray(value) for name, value in known.items() if name != tensor}
        with _refusals(tensor):
            session, reads = self._piece(given, tensor, constants or {})
            (made,) = session.run([tensor], self._fed({name: given[name] for name in reads}))
        return _real(made)

    def value_of(self, tensor: str, known: Mapping[str, Array]) -> Array:
        """The value of what follows from constants and the sizes of tensors."""
        with _refusals(tensor):
            model, outside, _ = self._between({}, tensor, known)
            (made,) = self._session(model.SerializeToString(), outside).run([tensor], {})
        return _real(made)

    def _plain(self, name: str) -> str:
        return self._steps.plain.get(name, name)

    def _run(self, session: Any, names: Sequence[str], arrays: Mapping[str, Array]) -> dict[str, Any]:
        with _refusals(self.path):
            return dict(zip(names, session.run(list(names), self._fed(arrays)), strict=True))

    def _fed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays in the types that the file's tensors have."""
        sizes = self._steps.sizes
        return {
            name: np.ascontiguousarray(array, self.file.dtype(sizes[name][1]) if name in sizes else None)
            for name, array in arrays.items()
        }

    def _session(self, model: Any, outside: Mapping[str, Any]) -> Any:
        """A session of a path or a serialized model, with the constants that are not in it."""
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = thread_count()
        options.log_severity_level = 4  # what goes wrong is raised as well
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if outside:
            options.add_external_initializers(list(outside), list(outside.values()))
        return self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=False)

    # -- pieces --------------------------------------------------------------------------------------------------------

    def _model_with(self, tensors: Sequence[str]) -> Any:
        """A session of the whole model that gives these tensors too."""
        outputs = {name: self._end(name) for name in dict.fromkeys((*self.file.outputs, *tensors))}
        inputs = {name: self._end(name) for name in self.file.inputs}
        nodes, pads = list(self.file.nodes), dict[str, Array]()
        for name in tensors:
            if name in self._steps.padded:
                nodes.append(self._padding(name, pads))
        model, outside = self.file.model(nodes, inputs, outputs, self._constants_of(nodes), pads)
        return self._session(model.SerializeToString(), outside)

    def _end(self, name: str) -> tuple[Any, int]:
        return self._steps.sizes.get(name, (None, 0))

    def _padding(self, name: str, pads: dict[str, Array]) -> Any:
        """The node that makes a padded value; what it pads goes into `pads`."""
        padded = self._steps.padded[name]
        pads[f"{name} by"] = np.asarray(padded.pads, np.int64)
        return self.file.node("Pad", [padded.read, f"{name} by"], [name])

    def _constants_of(self, nodes: Sequence[Any]) -> list[str]:
        """The constants that nodes read and that no node makes."""
        made = {name for node in nodes for name in node.output}
        read = (name for node in nodes for name in self.file.read_by(node))
        return [name for name in dict.fromkeys(read) if name in self.file.constant_names and name not in made]

    def _piece(
        self, known: Mapping[str, Array], tensor: str, constants: Mapping[str, Array]
    ) -> tuple[Any, Sequence[str]]:
        """A session of the nodes between known tensors and another, and the known ones that it reads."""
        key = (tensor, tuple(sorted((name, value.shape) for name, value in known.items())))
        if not constants and key in self._pieces:
            self._pieces.move_to_end(key)
            session: Any = self._pieces[key][0]
        else:
            shapes = {name: value.shape for name, value in known.items()}
            model, outside, size = self._between(shapes, tensor, constants)
            session = self._session(model.SerializeToString(), outside)
            if not constants:
                self._pieces[key] = session, size
                while len(self._pieces) > 1 and sum(each for _, each in self._pieces.values()) > KEPT:
                    self._pieces.popitem(last=False)
        return session, [each.name for each in session.get_inputs()]

    def _between(
        self, shapes: Mapping[str, tuple[int, ...]], tensor: str, constants: Mapping[str, Array]
    ) -> tuple[Any, dict[str, Any], int]:
        """The model of what lies between, the large constants that it reads, and how many bytes these have."""
        nodes, replaced, reads = list[Any](), dict[str, Array](), dict[str, None]()
        waiting, done = [tensor], set[str]()
        while waiting:
            name = waiting.pop()
            if name in done:
                continue
            done.add(name)
            if name in constants:
                replaced[name] = self._fed({name: constants[name]})[name]
            elif name in shapes:
                reads[name] = None
            elif name in self._steps.of_sizes and name != tensor:
                replaced[name] = self._fed({name: self._follows[name]})[name]
            elif name in self._steps.padded or name in self.file.makers:
                nodes.append(node := self._made_by(name, shapes, replaced))
                done.update(node.output)
                waiting += self.file.read_by(node)
            elif name not in self.file.constant_names and name not in replaced:
                raise PairError(f"{tensor!r} depends on {name!r}, of which no value is given")
        nodes = self._in_order(nodes)
        inputs = {name: (shapes[name], self._end(name)[1] or 1) for name in reads}
        names = [name for name in self._constants_of(nodes) if name not in replaced]
        model, outside = self.file.model(nodes, inputs, {tensor: (None, self._end(tensor)[1])}, names, replaced)
        return model, outside, sum(self.file.stored(name).nbytes for name in outside)

    def _made_by(self, name: str, shapes: Mapping[str, Any], replaced: dict[str, Array]) -> Any:
        """The node that makes a tensor: a padding that the file has in a convolution, or that convolution without."""
        if name in self._steps.padded:
            return self._padding(name, replaced)
        node, padded = self.file.makers[name], f"{name} padded"
        if padded not in self._steps.padded or padded not in shapes:
            return node
        half = len(self._steps.padded[padded].pads) - 4
        return self.file.changed(node, [padded, *node.input[1:]], pads=[0] * half)

    def _in_order(self, nodes: Sequence[Any]) -> list[Any]:
        """Nodes in an order in which they can run: padding first, then as in the file."""
        places = {node.output[0]: place for place, node in enumerate(self.file.nodes)}
        for name, padded in self._steps.padded.items():
            places[name] = places[padded.node.output[0]] - 0.5  # type: ignore[assignment]
        return sorted(nodes, key=lambda node: places[node.output[0]])


class _Constants(Mapping[str, Array]):
    """The real values of constants, each read or worked out when it is asked for."""

    def __init__(self, engine: OnnxEngine, steps: Steps) -> None:
        self._engine = engine
        self._steps = steps
        self._names = steps.constant
        self._made = {name: step for step in steps.folded for name in step.outputs}
        self._values: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._values:
            made = name in self._made
            self._values[name] = self._worked_out(name) if made else _real(self._engine.file.stored(name))
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _worked_out(self, name: str) -> Array:
        known = {made: self._size(step) for made, step in self._made.items() if step.op in OF_SHAPES}
        return known[name] if name in known else self._engine.value_of(name, known)

    def _size(self, step: Any) -> Array:
        shape = self._steps.shape(step.attributes["tensors as read"][0]) or ()
        if step.op == "Size":
            return np.asarray(int(np.prod(shape)), np.int64)
        start, end = step.attributes.get("start", 0), step.attributes.get("end")
        return np.asarray(shape[start:end], np.int64)


def _is_known(size: Any) -> bool:
    return size is not None and size[0] is not None and None not in size[0] and bool(size[1])


def _real(value: Array) -> Array:
    """The numbers that stored ones stand for."""
    return value.astype(np.float32) if value.dtype == np.float16 else value


@contextmanager
def _refusals(what: Any) -> Iterator[None]:
    """What ONNX Runtime refuses to run becomes a PairError of one sentence."""
    try:
        yield
    except PairError:
        raise
    except Exception as error:  # onnxruntime has a dozen of its own
        raise PairError(f"ONNX Runtime cannot run {what}: {first_line(error)}") from error
