"""Takes `TimeDistributed` layers apart: steps and batch in one axis, the layer itself, and the steps apart again.

The original has its frames in the batch (`view(b * t, ...)`), for which Keras has a layer around a layer. So that the
layer inside can be held against the original's, such a layer counts as three firings: `conv/merged`, `conv`, and
`conv/steps`. The layer inside is the user's own.
"""

from dataclasses import replace
from typing import Any

from parity.frameworks import keras
from parity.runners.graphs import Arguments, Firing, Graph


def is_timewise(node: Firing) -> bool:
    """Whether it fires a `TimeDistributed` of Keras itself around one layer, on a known number of steps, unmasked."""
    if type(node.operation) is not keras.layers.TimeDistributed or node.arguments.kwargs.get("mask") is not None:
        return False
    shape = [*node.input_tensors[0].shape[1:], *node.outputs[0].shape[1:]]
    return len(node.input_tensors) == len(node.outputs) == 1 and None not in shape


def in_one_axis(graph: Graph) -> Graph:
    """The graph with each such firing in three."""
    nodes = [part for node in graph.nodes for part in (_parts(node) if is_timewise(node) else (node,))]
    return replace(graph, nodes=tuple(nodes))


def _parts(node: Firing) -> tuple[Firing, Firing, Firing]:
    (read,), (made,), layer = node.input_tensors, node.outputs, node.operation.layer
    first, number, again = node.name.partition("#")
    inside, within = (keras.KerasTensor((None, *each.shape[2:]), dtype=each.dtype) for each in (read, made))
    told = {"training": False} if layer._call_has_training_arg else {}

    def reshaped(what: str, given: Any, result: Any) -> Firing:
        shape = tuple(-1 if size is None else size for size in result.shape)
        operation = keras.src.ops.numpy.Reshape(shape)
        name = f"{first}/{what}{number}{again}"
        return Firing(operation=operation, arguments=Arguments((given,), {}), outputs=[result], name=name)

    return (
        reshaped("merged", read, inside),
        replace(node, operation=layer, arguments=Arguments((inside,), told), outputs=[within]),
        reshaped("steps", within, made),
    )
