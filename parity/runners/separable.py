"""Takes separable convolutions of Keras apart: into the depthwise convolution and the pointwise one.

The original has two layers, a port has often `SeparableConv2D`. So that each can be held against its own, such a layer
counts as two firings: `conv/depthwise`, and `conv`, which has the bias and what is applied last. The layer itself is
not changed, and both have its own weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from parity.frameworks import keras
from parity.runners.graphs import Arguments, Firing, Graph

layers = keras.layers
PARTS = {
    layers.SeparableConv1D: (layers.DepthwiseConv1D, layers.Conv1D),
    layers.SeparableConv2D: (layers.DepthwiseConv2D, layers.Conv2D),
}
"""The two layers that each kind of separable convolution is."""


def is_separable(layer: Any) -> bool:
    """Whether it is a separable convolution of Keras itself; what one of another class does is not known."""
    return type(layer) in PARTS


def in_parts(graph: Graph) -> Graph:
    """The graph with each separable convolution in two firings, the layers made once however often they are called."""
    made: dict[int, tuple[Any, Any]] = {}
    nodes: list[Firing] = []
    for node in graph.nodes:
        layer = node.operation
        if not is_separable(layer):
            nodes.append(node)
            continue
        (read,) = node.input_tensors
        if id(layer) not in made:
            made[id(layer)] = _parts(layer, read.shape)
        depthwise, pointwise = made[id(layer)]
        between = keras.KerasTensor(depthwise.compute_output_shape(read.shape), dtype=node.outputs[0].dtype)
        first, number, again = node.name.partition("#")
        nodes += [
            replace(node, operation=depthwise, outputs=[between], name=f"{first}/depthwise{number}{again}"),
            replace(node, operation=pointwise, arguments=Arguments((between,), {})),
        ]
    return replace(graph, nodes=tuple(nodes))


def _parts(layer: Any, shape: Sequence[int | None]) -> tuple[Any, Any]:
    kinds = PARTS[type(layer)]
    config = layer.get_config()
    alike = {key: config[key] for key in ("data_format", "dtype")}
    same = {key: config[key] for key in ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")}
    depthwise = kinds[0](**alike, **same, use_bias=False, name=f"{layer.name}.depthwise")
    pointwise = kinds[1](
        layer.filters, 1, **alike, use_bias=layer.use_bias, activation=layer.activation, name=layer.name
    )
    depthwise.build(shape)
    pointwise.build(depthwise.compute_output_shape(shape))
    _hold(depthwise, kernel=layer.depthwise_kernel)
    _hold(pointwise, _kernel=layer.pointwise_kernel, **({"bias": layer.bias} if layer.use_bias else {}))
    return depthwise, pointwise


def _hold(layer: Any, **weights: Any) -> None:
    """Give a layer these weights in place of its own, which Keras would only ever add to."""
    vars(layer).update(weights, _trainable_variables=list(weights.values()))
