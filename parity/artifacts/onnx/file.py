"""What is in an ONNX file: its nodes, constants and sizes; and smaller models made of parts of it.

Large constants are never copied into these: a model made here names them, and a session is given the arrays.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import ArtifactError, PairError

SMALL = 1024
"""Constants of no more values than this are written into the models that are made of parts."""

STANDARD = ("", "ai.onnx")
"""The names of the domain whose operators are called by their names alone."""

Shape = tuple[int | None, ...]


def needed() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime. Raises ArtifactError where one is missing."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ArtifactError(f"an .onnx file needs {error.name}: pip install 'parity[onnx]'") from error
    return onnx, onnxruntime


class OnnxFile:
    """A model that was read. Raises ArtifactError for a file that holds none."""

    def __init__(self, path: Path) -> None:
        self._onnx, self._runtime = needed()
        self.path = path
        try:
            self.proto = self._onnx.load(path)
        except Exception as error:  # protobuf's own DecodeError, and those of files beside it
            raise ArtifactError(f"{path} holds no ONNX model that can be read: {first_line(error)}") from error
        graph = self.proto.graph
        self.nodes = tuple(graph.node)
        self._initializers = {each.name: each for each in graph.initializer}
        self.inputs = {each.name: each for each in graph.input if each.name not in self._initializers}
        self.outputs = {each.name: each for each in graph.output}
        if not self.inputs or not self.outputs:
            raise ArtifactError(f"{path} holds a model without {'outputs' if self.inputs else 'inputs'}")
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self._arrays: dict[str, Array] = {}
        self._values: dict[str, Any] = {}

    @cached_property
    def constant_names(self) -> frozenset[str]:
        """The tensors whose values are written in the file."""
        made = (node.output[0] for node in self.nodes if node.op_type == "Constant" and node.domain in STANDARD)
        return frozenset((*self._initializers, *made))

    def stored(self, name: str) -> Array:
        """A constant as the file has it."""
        if name not in self._arrays:
            self._arrays[name] = self._read(name)
        return self._arrays[name]

    def _read(self, name: str) -> Array:
        if name in self._initializers:
            found: Array = self._onnx.numpy_helper.to_array(self._initializers[name])
            return found
        (attribute,) = self.makers[name].attribute
        value = self._onnx.helper.get_attribute_value(attribute)
        if attribute.name == "value":
            found = self._onnx.numpy_helper.to_array(value)
            return found
        if attribute.name not in ("value_float", "value_floats", "value_int", "value_ints"):
            raise PairError(f"the constant {name!r} is a {attribute.name}, which parity does not read")
        return np.asarray(value, np.float32 if "float" in attribute.name else np.int64)

    # -- sizes ---------------------------------------------------------------------------------------------------------

    def declared(self) -> dict[str, tuple[Shape | None, int]]:
        """The shape and the type of every tensor that the file states them of, and that follow from these."""
        return self._inferred({})

    def for_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[Shape | None, int]]:
        """The same for inputs of these shapes. Raises PairError where the file does not take them."""
        for name, shape in shapes.items():
            own = shape_of(self.inputs[name])
            if own is not None and (
                len(own) != len(shape) or any(a not in (None, b) for a, b in zip(own, shape, strict=True))
            ):
                sizes = ", ".join("any" if size is None else str(size) for size in own)
                raise PairError(f"{self.path} takes {name!r} of shape ({sizes}); it is given {shape}")
        return self._inferred(shapes)

    def _inferred(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[Shape | None, int]]:
        ends = {name: (shapes.get(name) or shape_of(info), type_of(info)) for name, info in self.inputs.items()}
        names = [name for node in self.nodes for name in node.input if name in self._initializers]
        outputs = {name: (None if shapes else shape_of(info), type_of(info)) for name, info in self.outputs.items()}
        model, _ = self.model(self.nodes, ends, outputs, names)
        with suppress(Exception):  # nodes that it cannot follow: their sizes are seen in a run
            model = self._onnx.shape_inference.infer_shapes(model, data_prop=True)
        found = {each.name: (shape_of(each), type_of(each)) for each in (*model.graph.value_info, *model.graph.output)}
        found |= {name: (tuple(each.dims), each.data_type) for name, each in self._initializers.items()}
        return {**found, **ends}

    # -- parts of it ---------------------------------------------------------------------------------------------------

    def model(
        self,
        nodes: Iterable[Any],
        inputs: Mapping[str, tuple[Shape | None, int]],
        outputs: Mapping[str, tuple[Shape | None, int]],
        constants: Iterable[str],
        replaced: Mapping[str, Array] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """A model of some nodes, and the values of the large constants that it names but does not hold.

        `inputs` and `outputs` have a shape and a type of each, 0 for an unknown one; `replaced` has other values for
        constants.
        """
        helper, other = self._onnx.helper, replaced or {}
        made = self._onnx.ModelProto(ir_version=self.proto.ir_version)
        made.opset_import.extend(self.proto.opset_import)
        made.functions.extend(self.proto.functions)
        made.graph.name = "part"
        made.graph.node.extend(nodes)
        for ends, group in ((inputs, made.graph.input), (outputs, made.graph.output)):
            for name, (shape, kind) in ends.items():
                group.append(
                    helper.make_tensor_value_info(name, kind, shape) if kind else self._onnx.ValueInfoProto(name=name)
                )
        outside: dict[str, Any] = {}
        for name in dict.fromkeys((*constants, *other)):
            if name not in other and self._is_large(name):
                outside[name] = self._value(name)
                made.graph.initializer.append(self._elsewhere(name))
            else:
                array = np.ascontiguousarray(other[name]) if name in other else self.stored(name)
                made.graph.initializer.append(self._onnx.numpy_helper.from_array(array, name))
        return made, outside

    def _is_large(self, name: str) -> bool:
        each = self._initializers.get(name)
        return each is not None and int(np.prod(each.dims, dtype=np.int64)) > SMALL

    def _elsewhere(self, name: str) -> Any:
        """A constant whose values a session is given beside the model."""
        own = self._initializers[name]
        tensor = self._onnx.TensorProto(name=name, data_type=own.data_type, dims=own.dims)
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="given")
        return tensor

    def _value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._runtime.OrtValue.ortvalue_from_numpy(self.stored(name))
        return self._values[name]

    def read_by(self, node: Any) -> Iterator[str]:
        """The tensors that a node reads, those that are read inside of its branches and loops too."""
        yield from (name for name in node.input if name)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                own = {each.name for each in (*graph.input, *graph.initializer)}
                own |= {name for inner in graph.node for name in inner.output}
                for inner in graph.node:
                    yield from (name for name in self.read_by(inner) if name not in own)
                yield from (each.name for each in graph.output if each.name not in own)

    def attributes(self, node: Any) -> dict[str, Any]:
        """A node's attributes as plain values; branches and tensors stay what they are."""
        found = {each.name: self._onnx.helper.get_attribute_value(each) for each in node.attribute}
        return {
            name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in found.items()
        }

    def dtype(self, kind: int) -> str:
        """The name that NumPy has for a type of ONNX; float32 for an unknown one."""
        return str(self._onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else "float32"

    def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
        """A node of the standard domain."""
        return self._onnx.helper.make_node(op, list(inputs), list(outputs), **attributes)

    def changed(self, node: Any, inputs: Sequence[str], **attributes: Any) -> Any:
        """A copy of a node that reads other tensors and has other attributes."""
        copy = self._onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(inputs)
        kept = [each for each in node.attribute if each.name not in (*attributes, *_UNLESS_GIVEN)]
        del copy.attribute[:]
        copy.attribute.extend([*kept, *(self._onnx.helper.make_attribute(*each) for each in attributes.items())])
        return copy


_UNLESS_GIVEN = ("auto_pad",)


def shape_of(info: Any) -> Shape | None:
    """The sizes that a value is declared to have, None for one that may be any; None where nothing is declared."""
    if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in dims)


def type_of(info: Any) -> int:
    """The type of a value's numbers, as ONNX counts them; 0 where it is not declared."""
    return int(info.type.tensor_type.elem_type) if info.type.HasField("tensor_type") else 0


def first_line(error: Exception) -> str:
    """What an exception says, in one line, without the numbers that ONNX Runtime puts before it."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
