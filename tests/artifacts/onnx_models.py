"""ONNX models made node by node, and what a lifted one computes, for the tests of the engine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from parity.artifacts.lifting import Lifted, Opaque, lifted
from parity.artifacts.onnx.engine import OnnxEngine
from parity.artifacts.program import Program
from parity.axes import Array

Shape = Sequence[int | str]
node = onnx.helper.make_node


def saved(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    *,
    kind: int = onnx.TensorProto.FLOAT,
    opset: int = 17,
) -> Path:
    """A model of these nodes, written to a file."""
    graph = onnx.helper.make_graph(
        list(nodes),
        "made",
        [onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def values(shape: Sequence[int], seed: int = 0) -> Array:
    """Numbers of both signs."""
    return np.random.default_rng(seed).normal(size=tuple(shape)).astype(np.float32)


def shaped(engine: OnnxEngine, given: Mapping[str, Array]) -> Program:
    """The program for these inputs."""
    return engine.shaped({name: value.shape for name, value in given.items()})


def graph_of(engine: OnnxEngine, given: Mapping[str, Array]) -> Lifted:
    """The file as a graph of Keras layers, for these inputs."""
    return lifted(engine, shaped(engine, given))


def every(engine: OnnxEngine, given: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of a run, by its tensor."""
    tensors = [tensor for step in shaped(engine, given).steps for tensor in step.outputs]
    return {**given, **engine.watched(given, tensors)}


def kinds(graph: Lifted) -> list[str]:
    """What was made of each step, in order."""
    return [type(firing.operation).__name__ for firing in graph.graph.nodes]


def largest_difference(graph: Lifted, made: Mapping[str, Array]) -> float:
    """How far the lifted operations are from what the file's engine made of the same values, relative to their size."""
    found = [0.0]
    for firing in graph.graph.nodes:
        assert not isinstance(firing.operation, Opaque), f"{firing.name} was not lifted"
        read = {id(symbol): _seen(graph, made, symbol) for symbol in firing.input_tensors}
        args, kwargs = firing.arguments.fill_in(read)
        actual = np.asarray(firing.operation(*args, **kwargs))
        expected = _seen(graph, made, firing.outputs[0])
        assert actual.shape == expected.shape
        found.append(float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)))
    return max(found)


def _seen(graph: Lifted, made: Mapping[str, Array], symbol: Any) -> Array:
    tensor = graph.tensors[id(symbol)]
    order = graph.orders.get(tensor)
    return made[tensor] if order is None else made[tensor].transpose(order)
