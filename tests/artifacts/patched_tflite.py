"""Faults in `.tflite` files: other constants or settings in the file itself, in the bytes of a copy."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parity.artifacts.names import names_of
from parity.artifacts.tflite.cut import packed
from parity.artifacts.tflite.file import Flat, read, stored_bytes
from parity.axes import Array

KERNEL, BIAS = 1, 2
"""Which of a convolution's inputs its kernel and bias are."""
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def flat(path: Path) -> Flat:
    """The file, read."""
    found = read(path.read_bytes(), path.name)
    for buffer in found.model.buffers:  # of a file that was patched before, they lie behind the rest
        if buffer.data is None and buffer.size:
            buffer.data, buffer.offset, buffer.size = stored_bytes(buffer, found.content), 0, 0
    return found


def operator(of: Flat, layer: str) -> Any:
    """The operator that a layer has become, by the layer's name in Keras."""
    steps = of.program.steps
    names = names_of([step.name for step in steps], [step.op in WEIGHTED for step in steps])
    step = next(step for step, name in zip(steps, names, strict=True) if name == layer)
    return of.graph.operators[of.makers[of.places[step.outputs[0]]]]


def with_constant(path: Path, layer: str, place: int, change: Callable[[Array], Array]) -> bytes:
    """The file with another kernel or bias in one layer: as stored, `change` makes it of the file's own.

    Of a constant that several layers share, this layer gets one of its own.
    """
    of = flat(path)
    model = copy.copy(of.model)
    graph = copy.copy(of.graph)
    found = operator(of, layer)
    tensor = int(found.inputs[place + (of.kind(found) == "TRANSPOSE_CONV" and place == BIAS)])
    source = of.folded.get(tensor, tensor)
    stored = of.stored(source)
    assert stored is not None
    value = np.ascontiguousarray(change(stored), stored.dtype)
    assert value.shape == stored.shape, "a fault leaves the shapes as they are"
    assert not np.array_equal(value, stored), "a fault changes something"
    buffer = copy.copy(model.buffers[graph.tensors[source].buffer])
    buffer.data, buffer.offset, buffer.size = value.reshape(-1).view(np.uint8), 0, 0
    changed = copy.copy(graph.tensors[source])
    changed.buffer = len(model.buffers)
    model.buffers = [*model.buffers, buffer]
    graph.tensors = [*graph.tensors]
    graph.tensors[source] = changed
    model.subgraphs = [graph, *model.subgraphs[1:]]
    return packed(model)


def with_setting(path: Path, layer: str, **settings: Any) -> bytes:
    """The file with other settings of the operator that the layer is."""
    of = flat(path)
    found = operator(of, layer)
    for name, value in settings.items():
        assert getattr(found.builtinOptions, name) != value, "a fault changes something"
        setattr(found.builtinOptions, name, value)
    return packed(of.model)
