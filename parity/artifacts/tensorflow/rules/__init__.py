"""What operations of a TensorFlow graph are lifted to.

    reading      what rules ask of a step, and what they give
    weighted     layers with a kernel or a table
    norms        batch norms and layer norms
    unweighted   layers without
    arithmetic   functions of tensors, and what moves numbers

A layer's weights are what the graph has as constants there, so that they can be compared with the original's. A rule
that does not know a form of its operation gives nothing; the step is then run by the file's own engine alone.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from parity.artifacts.lifting import Rule, first
from parity.artifacts.tensorflow.rules.arithmetic import (
    cast,
    expanded,
    operation,
    reshaped,
    sliced,
    squeezed,
    tiled,
    turned,
)
from parity.artifacts.tensorflow.rules.norms import fused_norm, norm, norm_in_parts
from parity.artifacts.tensorflow.rules.reading import as_written
from parity.artifacts.tensorflow.rules.unweighted import (
    joined,
    leaky,
    padded,
    plain_layer,
    pool,
    prelu,
    reduced,
    rescaled,
    resized,
)
from parity.artifacts.tensorflow.rules.weighted import (
    called,
    convolution,
    depthwise,
    dilated,
    embedding,
    flattened_product,
    product,
    transposed,
    turned_product,
)
from parity.frameworks import keras


def _activations() -> Iterator[tuple[str, Rule]]:
    names = ("elu", "selu", "sigmoid", "softplus", "softsign", "tanh")
    for name in names:
        yield name.capitalize(), plain_layer(partial(lambda name, step: keras.layers.Activation(name), name))
    yield "LogSoftmax", plain_layer(lambda step: keras.layers.Activation("log_softmax"))
    yield "Relu", first(prelu, plain_layer(lambda step: keras.layers.ReLU()))
    yield "Neg", first(prelu, operation(keras.ops.negative))
    yield "Relu6", plain_layer(lambda step: keras.layers.ReLU(max_value=6.0))
    yield (
        "LeakyRelu",
        plain_layer(lambda step: keras.layers.LeakyReLU(negative_slope=as_written(step.attributes["alpha"]))),
    )
    yield "Softmax", plain_layer(lambda step: keras.layers.Softmax())


_LAYERS, _OPS = keras.layers, keras.ops
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Add": _OPS.add,
    "AddV2": _OPS.add,
    "BiasAdd": _OPS.add,
    "Sub": _OPS.subtract,
    "RealDiv": _OPS.true_divide,
    "Maximum": _OPS.maximum,
    "Minimum": _OPS.minimum,
    "Pow": _OPS.power,
    "Abs": _OPS.abs,
    "Exp": _OPS.exp,
    "Log": _OPS.log,
    "Sqrt": _OPS.sqrt,
    "Rsqrt": _OPS.rsqrt,
    "Square": _OPS.square,
    "Round": _OPS.round,
    "Floor": _OPS.floor,
    "Erf": _OPS.erf,
}
_MEANS: Mapping[int, Any] = {4: _LAYERS.GlobalAveragePooling2D, 5: _LAYERS.GlobalAveragePooling3D}

RULES: Mapping[str, Rule] = {
    **{op: operation(function) for op, function in _FUNCTIONS.items()},
    **dict(_activations()),
    "Conv2D": convolution,
    "Conv3D": convolution,
    "PartitionedCall": called,
    "StatefulPartitionedCall": called,
    "DepthwiseConv2dNative": depthwise,
    "Conv2DBackpropInput": transposed,
    "Conv3DBackpropInputV2": transposed,
    "SpaceToBatchND": dilated,
    "MatMul": product,
    "BatchMatMulV2": product,
    "FusedBatchNormV3": fused_norm,
    "GatherV2": embedding,
    "ResourceGather": embedding,
    "Mul": first(norm, leaky, rescaled, operation(_OPS.multiply)),
    "MaxPool": pool({4: _LAYERS.MaxPooling2D}),
    "MaxPool3D": pool({5: _LAYERS.MaxPooling3D}),
    "AvgPool": pool({4: _LAYERS.AveragePooling2D}),
    "AvgPool3D": pool({5: _LAYERS.AveragePooling3D}),
    "Mean": first(norm_in_parts, reduced(_OPS.mean, _MEANS)),
    "Max": reduced(_OPS.max, {4: _LAYERS.GlobalMaxPooling2D, 5: _LAYERS.GlobalMaxPooling3D}),
    "Min": reduced(_OPS.min, {}),
    "Sum": reduced(_OPS.sum, {}),
    "ConcatV2": joined,
    "Pad": padded,
    "PadV2": padded,
    "MirrorPad": padded,
    "ResizeBilinear": resized("bilinear"),
    "ResizeNearestNeighbor": resized("nearest"),
    "ResizeBicubic": resized("bicubic"),
    "Reshape": first(flattened_product, reshaped),
    "Transpose": first(turned_product, turned),
    "StridedSlice": sliced,
    "Squeeze": squeezed,
    "ExpandDims": expanded,
    "Cast": cast,
    "Tile": tiled,
}
"""What the operation that a pattern begins with is lifted by."""
