"""What is written in a `.tflite` file: its operators, tensors, constants and number grids, read and checked.

The flatbuffer is read through the schema's own objects; its constants stay where they are in the file's bytes. What an
interpreter would take for granted is checked here: that what is referred to is there, that a constant has as many
bytes as its shape says.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from parity.artifacts.program import DYNAMIC, FLOAT16, FLOAT32, INT8, Grid, Program, Step
from parity.axes import Array
from parity.errors import ArtifactError
from parity.runners.taps import Numbering

MOST = 1_000_000
"""More tensors, operators or buffers than any network has: a file that says so is broken."""

DTYPES: Mapping[str, str] = {
    "FLOAT32": "float32", "FLOAT16": "float16", "FLOAT64": "float64", "BOOL": "bool",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
}  # fmt: skip
"""NumPy's names of the types that it can hold as they are stored."""

ON_GRIDS = ("int8", "uint8", "int16", "int32", "int64")
"""Types whose whole numbers may stand for others."""

JOINED = "joined"
"""The attribute of a step with the names of all operations that the converter made one operator of."""

OF_LAYER = frozenset({"softmax", "log_softmax", "logistic", "tanh", "relu", "relu6", "elu", "gelu", "hard_swish"})
"""What layers may have built in."""

UNFOLDED = ("DEQUANTIZE", "DENSIFY")
"""Operators that only unpack how a constant is stored."""


def schema() -> ModuleType:
    """The objects of the file format. Raises ArtifactError where they are not installed."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ArtifactError("a .tflite file needs ai-edge-litert: pip install 'parity[tflite]'") from error
    return schema_py_generated  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, eq=False)
class Flat:
    """A `.tflite` file: `content` are its bytes, `model` the objects in them, `name` is what messages call it.

    Tensors are called by index in here, by unique names outside.
    """

    name: str
    content: bytes
    model: Any

    @property
    def graph(self) -> Any:
        """The subgraph that is run."""
        return self.model.subgraphs[0]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each tensor: the file's own, with a number behind it where it is not the only one."""
        number = Numbering()
        return tuple(number(_text(each.name) or f"tensor_{place}") for place, each in enumerate(self.graph.tensors))

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The index of each tensor by name."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def makers(self) -> Mapping[int, int]:
        """The index of the operator that makes a tensor, by the tensor's index."""
        return {
            int(output): place for place, each in enumerate(self.graph.operators) for output in _indices(each.outputs)
        }

    @cached_property
    def folded(self) -> Mapping[int, int]:
        """Tensors that only unpack a constant, and that constant."""
        found: dict[int, int] = {}
        for each in self.graph.operators:
            if self.kind(each) in UNFOLDED and self.is_stored(int(each.inputs[0])):
                found[int(each.outputs[0])] = int(each.inputs[0])
        return found

    @cached_property
    def ends(self) -> Mapping[int, int]:
        """Values on a grid of which nothing but an output is read, as real numbers, and that output."""
        outputs = set(_indices(self.graph.outputs))
        found: dict[int, int] = {}
        for each in self.graph.operators:
            if self.kind(each) == "DEQUANTIZE" and int(each.outputs[0]) in outputs - set(self.folded):
                found.setdefault(int(each.inputs[0]), int(each.outputs[0]))
        read = {t for each in self.graph.operators for t in _indices(each.inputs)}
        inputs = set(_indices(self.graph.inputs))
        return {value: end for value, end in found.items() if end not in read and value not in outputs | inputs}

    def kind(self, operator: Any) -> str:
        """What the format calls an operator; of one that is not the format's own, `custom:` and its name."""
        return _kind(self.model, operator)

    def is_stored(self, tensor: int) -> bool:
        """Whether a tensor's values are in the file, as they are."""
        return len(self.data(tensor)) > 0

    def data(self, tensor: int) -> Array:
        """The bytes of a constant, where they are in the file; none of what is computed."""
        return stored_bytes(self.model.buffers[self.graph.tensors[tensor].buffer], self.content)

    def stored(self, tensor: int) -> Array | None:
        """A constant as it is stored; None where NumPy has no such form of it (sparse, four bits, text)."""
        wanted = self.graph.tensors[tensor]
        dtype = DTYPES.get(_names("TensorType")[wanted.type])
        if dtype is None or wanted.sparsity is not None:
            return None
        return self.data(tensor).view(dtype).reshape(shape_of(wanted))

    def real(self, tensor: int) -> Array | None:
        """The numbers that a constant stands for: float32 of what is on a grid or in half precision."""
        tensor = self.folded.get(tensor, tensor)
        values = self.stored(tensor)
        if values is None:
            return None
        grid = self.grid(tensor)
        if grid is not None:
            return grid.real(values)
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def dtype(self, tensor: int) -> str:
        """How a tensor is stored: NumPy's name, or the format's own where NumPy has none."""
        name = _names("TensorType")[self.graph.tensors[self.folded.get(tensor, tensor)].type]
        return DTYPES.get(name, name.lower())

    def grid(self, tensor: int) -> Grid | None:
        """The numbers that a tensor can hold, where it is stored on a grid."""
        tensor = self.folded.get(tensor, tensor)
        dtype, quantised = self.dtype(tensor), self.graph.tensors[tensor].quantization
        if quantised is None or quantised.scale is None or not len(quantised.scale) or dtype not in ON_GRIDS:
            return None
        zero = quantised.zeroPoint if quantised.zeroPoint is not None else np.zeros(len(quantised.scale))
        ends = np.iinfo(dtype)
        is_weight = dtype == "int8" and self.is_stored(tensor) and not np.any(zero)
        return Grid(
            scale=np.asarray(quantised.scale, np.float64),
            zero=np.asarray(zero, np.float64),
            low=-ends.max if is_weight else ends.min,
            high=ends.max,
            axis=int(quantised.quantizedDimension),
        )

    @cached_property
    def precision(self) -> str:
        """What its numbers are: by its own tensors, the coarsest that it computes with."""
        dtypes = {True: set[str](), False: set[str]()}
        for tensor in range(len(self.graph.tensors)):
            is_constant = self.is_stored(tensor) or tensor in self.folded
            if is_constant and np.prod(shape_of(self.graph.tensors[tensor])) <= 1:
                continue  # a zero point, a slope: no precision of its own
            if self.dtype(tensor) == "float16" or self.grid(tensor) is not None or self.dtype(tensor) == "int4":
                dtypes[is_constant].add(self.dtype(tensor))
        if dtypes[False] - {"float16"}:
            return INT8
        return DYNAMIC if dtypes[True] - {"float16"} else FLOAT16 if dtypes[True] | dtypes[False] else FLOAT32

    @cached_property
    def signature(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The inputs and the outputs by the names that the file's user gives them; of an output that is only read from
        a grid, the value on it."""
        own = next((each for each in self.model.signatureDefs or () if each.subgraphIndex == 0), None)
        sides, values = [], {end: value for value, end in self.ends.items()}
        for tensors, named in ((self.graph.inputs, own and own.inputs), (self.graph.outputs, own and own.outputs)):
            words = {int(each.tensorIndex): _text(each.name) for each in named or ()}
            number = Numbering()
            found = [(number(words.get(t) or self._plain(t)), t) for t in _indices(tensors)]
            # A converter may list outputs in any order; their names in the signature (output_0, output_1) have one.
            listed = words and tensors is self.graph.outputs
            sides.append(dict(sorted(found, key=lambda each: _counted(each[0])) if listed else found))
        return sides[0], {name: values.get(tensor, tensor) for name, tensor in sides[1].items()}

    def _plain(self, tensor: int) -> str:
        return self.names[tensor].removeprefix("serving_default_").partition(":")[0]

    @cached_property
    def program(self) -> Program:
        """The same as a program."""
        tensors = range(len(self.graph.tensors))
        grids = {self.names[tensor]: grid for tensor in tensors if (grid := self.grid(tensor)) is not None}
        inputs, outputs = ({key: self.names[tensor] for key, tensor in side.items()} for side in self.signature)
        steps = tuple(self._steps())
        unpacking = {self.names[tensor] for tensor in self.folded}
        return Program(
            format="tflite",
            steps=tuple(step for step in steps if not unpacking & set(step.outputs)),
            folded=tuple(step for step in steps if unpacking & set(step.outputs)),
            inputs=inputs,
            outputs=outputs,
            constants=_Constants(self),
            shapes={self.names[tensor]: open_shape_of(self.graph.tensors[tensor]) for tensor in tensors},
            dtypes={self.names[tensor]: self.dtype(tensor) for tensor in tensors},
            grids=grids,
            precision=self.precision,
        )

    def _steps(self) -> Iterator[Step]:
        number = Numbering()
        scopes: dict[int, str] = {}
        for each in self.graph.operators:
            outputs = _indices(each.outputs)
            if not outputs or outputs[0] in self.ends.values():
                continue
            name, joined = self._step_name(each, scopes)
            scopes |= dict.fromkeys(outputs, name.rpartition("/")[0])
            yield Step(
                op=self.kind(each),
                name=number(name),
                inputs=tuple(self.names[tensor] if tensor >= 0 else "" for tensor in _indices(each.inputs)),
                outputs=tuple(self.names[tensor] for tensor in outputs),
                attributes={**_attributes(each), JOINED: joined},
            )

    def _step_name(self, operator: Any, scopes: Mapping[int, str]) -> tuple[str, tuple[str, ...]]:
        """What the operation was called from which the converter made an operator: the first of those that it joined;
        and all of them.

        What makes an output has the output's name instead. Its constants may still tell; or else it is a function that
        a layer may end with, or one outside of layers.
        """
        reads = [tensor for tensor in _indices(operator.inputs) if tensor >= 0]
        lists = [self.names[int(operator.outputs[0])].split(";")]
        constants = (self.folded.get(tensor, tensor) for tensor in reads)
        lists += sorted((self.names[t].split(";") for t in constants if self.is_stored(t)), key=len, reverse=True)
        for names in lists:
            if "/" in names[0]:
                return names[0], tuple(names)
        scope = next((scopes[tensor] for tensor in reads if scopes.get(tensor)), "")
        kind = self.kind(operator).lower()
        if not scope:
            return self._plain(int(operator.outputs[0])), ()
        return f"{scope if kind in OF_LAYER else scope.partition('/')[0]}/{kind}", ()


class _Constants(Mapping[str, Array]):
    """The real values of a file's constants by name; each is read when it is asked for."""

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        readable = _names("TensorType")
        self._names = {
            flat.names[tensor]: tensor
            for tensor, each in enumerate(flat.graph.tensors)
            if (flat.is_stored(tensor) or tensor in flat.folded)
            and readable[flat.graph.tensors[flat.folded.get(tensor, tensor)].type] in DTYPES
            and each.sparsity is None
            and flat.graph.tensors[flat.folded.get(tensor, tensor)].sparsity is None
        }

    def __getitem__(self, name: str) -> Array:
        value = self._flat.real(self._names[name])
        assert value is not None
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


# -- reading -----------------------------------------------------------------------------------------------------------


def read(content: bytes, name: str) -> Flat:
    """The file with these bytes, checked. Raises ArtifactError of one sentence where it is not a whole one."""
    try:
        model = _unpacked(content)
        flat = Flat(name=name, content=content, model=model)
        problem = next(_problems(flat), None)
    except ArtifactError:
        raise
    except Exception as error:  # whatever reading bytes that are no such file may raise
        raise ArtifactError(f"{name} is not a whole TFLite file: {type(error).__name__} while reading it") from error
    if problem is not None:
        raise ArtifactError(f"{name} is not a whole TFLite file: {problem}")
    return flat


def _unpacked(content: bytes) -> Any:
    objects = schema()
    if content[4:8] != b"TFL3":
        raise ValueError("no TFL3")
    root = objects.Model.GetRootAs(content, 0)
    counts = [root.OperatorCodesLength(), root.SubgraphsLength(), root.BuffersLength()]
    for place in range(min(root.SubgraphsLength(), MOST)):
        subgraph = root.Subgraphs(place)
        counts += [subgraph.TensorsLength(), subgraph.OperatorsLength()]
    if max(counts) > MOST:
        raise ValueError("too long")
    return objects.ModelT.InitFromObj(root)


def _problems(flat: Flat) -> Iterator[str]:
    """What keeps a file from being what it says it is."""
    model = flat.model
    if not model.subgraphs:
        yield "it has no graph"
    for graph in model.subgraphs:
        tensors = graph.tensors or []
        if graph.operators is None:
            graph.operators = []
        if not len(tensors) or not len(_indices(graph.outputs)):
            yield "it has a graph that makes nothing"
        for each in tensors:
            yield from _tensor_problems(flat, each)
        for operator in graph.operators:
            if not 0 <= operator.opcodeIndex < len(model.operatorCodes or ()):
                yield f"it has an operator of kind {operator.opcodeIndex}, which it does not list"
                return
            if _code(model, operator) not in _names("BuiltinOperator"):
                yield f"it has an operator of the unknown kind {_code(model, operator)}"
            yield from _index_problems(_kind(model, operator), operator, len(tensors))
        yield from _index_problems("the graph", graph, len(tensors))


def _tensor_problems(flat: Flat, tensor: Any) -> Iterator[str]:
    if tensor.type not in _names("TensorType"):
        yield f"it has a tensor of the unknown type {tensor.type}"
        return
    if not 0 <= tensor.buffer < len(flat.model.buffers or ()):
        yield f"a tensor has its values in part {tensor.buffer}, of {len(flat.model.buffers or ())}"
        return
    shape = shape_of(tensor)
    if any(size < 0 for size in shape):
        yield f"it has a tensor of the shape {shape}"
        return
    dtype = DTYPES.get(_names("TensorType")[tensor.type])
    there = len(stored_bytes(flat.model.buffers[tensor.buffer], flat.content))
    if there and dtype is not None and tensor.sparsity is None:
        needed = math.prod(shape) * np.dtype(dtype).itemsize
        if there != needed:
            yield f"a constant {shape} of {dtype} has {there} bytes, not {needed}"
    scale = None if tensor.quantization is None else tensor.quantization.scale
    if scale is not None and len(scale):
        yield from _scale_problems(tensor.quantization, shape)


def _scale_problems(quantised: Any, shape: tuple[int, ...]) -> Iterator[str]:
    axis, count = int(quantised.quantizedDimension), len(quantised.scale)
    if not np.isfinite(quantised.scale).all():
        yield "it has a number grid without a finite step"
    if count > 1 and not (0 <= axis < len(shape) and shape[axis] == count):
        yield f"it has {count} number grids for a tensor of the shape {shape}"
    if quantised.zeroPoint is not None and len(quantised.zeroPoint) not in (0, 1, count):
        yield f"it has {len(quantised.zeroPoint)} zero points for {count} number grids"


def _index_problems(what: str, thing: Any, count: int) -> Iterator[str]:
    for index in (*_indices(thing.inputs), *_indices(thing.outputs)):
        if not -1 <= index < count:
            yield f"{what} reads or makes tensor {index}, of {count}"
    if any(index < 0 for index in _indices(thing.outputs)):
        yield f"{what} makes a tensor that is not there"


# -- the schema's objects ----------------------------------------------------------------------------------------------


def stored_bytes(buffer: Any, content: bytes) -> Array:
    """The bytes of a buffer: within the flatbuffer, or behind it in a file of more than 2 GB."""
    if buffer.data is not None and len(buffer.data):
        return np.asarray(buffer.data, np.uint8)
    if buffer.offset and buffer.size:
        if buffer.offset + buffer.size > len(content):
            raise ValueError("values beyond the end")
        return np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    return np.empty(0, np.uint8)


def shape_of(tensor: Any) -> tuple[int, ...]:
    """A tensor's sizes as the file has them; () of a scalar."""
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)


def open_shape_of(tensor: Any) -> tuple[int | None, ...]:
    """A tensor's sizes, None for those that its user may choose."""
    signature = tensor.shapeSignature
    if signature is None or len(signature) != len(shape_of(tensor)):
        return shape_of(tensor)
    return tuple(None if size < 0 else int(size) for size in signature)


def _counted(name: str) -> tuple[str, int]:
    """What names are sorted by, so that output_10 comes behind output_9."""
    numbered = re.fullmatch(r"(.*?)(\d+)", name)
    return (numbered[1], int(numbered[2])) if numbered else (name, -1)


def _attributes(operator: Any) -> dict[str, Any]:
    """The settings of an operator by the schema's names, with words for numbers that stand for one."""
    options = operator.builtinOptions if operator.builtinOptions is not None else operator.builtinOptions2
    words = {"padding": "Padding", "fusedActivationFunction": "ActivationFunctionType", "mode": "MirrorPadMode"}
    return {
        key: _names(words[key]).get(value, value) if key in words and isinstance(value, int) else value
        for key, value in (vars(options) if options is not None else {}).items()
    }


_TABLES: dict[str, dict[int, str]] = {}


def _names(table: str) -> dict[int, str]:
    """The names of the numbers of one of the schema's enumerations."""
    if table not in _TABLES:
        found = vars(getattr(schema(), table)).items()
        _TABLES[table] = {value: name for name, value in found if isinstance(value, int)}
    return _TABLES[table]


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _kind(model: Any, operator: Any) -> str:
    name = _names("BuiltinOperator").get(_code(model, operator), "UNKNOWN")
    custom = model.operatorCodes[operator.opcodeIndex].customCode
    return f"custom:{_text(custom)}" if name == "CUSTOM" else name


def _indices(found: Any) -> list[int]:
    return [] if found is None else [int(each) for each in found]


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
