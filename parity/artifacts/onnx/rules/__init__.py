"""What operators of ONNX are lifted to: Keras layers with the weights that the file has, or `keras.ops`.

    reading      what rules ask of a step, and what they give
    weighted     layers with weights
    unweighted   layers without
    arithmetic   functions of tensors, and what moves numbers

A tensor may be kept in other axes than the graph has it in (`Program.orders`); a rule speaks of the graph's. So an
image that a converter has moved to channels-first is read by a Keras layer that is channels-last, if the inputs are.
"""

from collections.abc import Mapping

from parity.artifacts.lifting import Rule, first
from parity.artifacts.onnx.rules.arithmetic import combined, moved, reduced, reshaped, sliced
from parity.artifacts.onnx.rules.unweighted import (
    activation,
    clipped,
    hard_sigmoid,
    joined,
    padded,
    plain_function,
    plain_layer,
    pooled,
    pooled_whole,
    resized,
    sigmoid,
    softmax,
)
from parity.artifacts.onnx.rules.weighted import (
    batch_norm,
    convolution,
    factor_and_offset,
    gathered,
    general_product,
    layer_normalization,
    norm_in_parts,
    of_rows,
    prelu,
    prelu_in_parts,
    product,
    transposed,
)
from parity.frameworks import keras

_KERAS = keras.layers
_RESHAPED = first(of_rows, reshaped)

RULES: Mapping[str, Rule] = {
    "Abs": plain_function(keras.ops.abs),
    "Add": combined(keras.ops.add, lambda: keras.layers.Add()),
    "AveragePool": pooled((_KERAS.AveragePooling1D, _KERAS.AveragePooling2D, _KERAS.AveragePooling3D)),
    "BatchNormalization": batch_norm,
    "Clip": clipped,
    "Concat": joined,
    "Conv": convolution,
    "ConvTranspose": transposed,
    "Div": combined(keras.ops.divide),
    "Elu": plain_layer(lambda attributes: keras.layers.ELU(alpha=attributes.get("alpha", 1.0))),
    "Erf": plain_function(keras.ops.erf),
    "Exp": plain_function(keras.ops.exp),
    "Flatten": _RESHAPED,
    "Floor": plain_function(keras.ops.floor),
    "Gather": gathered,
    "Gemm": general_product,
    "GlobalAveragePool": first(norm_in_parts, pooled_whole(keras.ops.mean)),
    "GlobalMaxPool": pooled_whole(keras.ops.max),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": activation("hard_silu"),
    "LayerNormalization": layer_normalization,
    "LeakyRelu": plain_layer(lambda attributes: keras.layers.LeakyReLU(negative_slope=attributes.get("alpha", 0.01))),
    "Log": plain_function(keras.ops.log),
    "LogSoftmax": activation("log_softmax"),
    "MatMul": product,
    "Max": combined(keras.ops.maximum),
    "MaxPool": pooled((_KERAS.MaxPooling1D, _KERAS.MaxPooling2D, _KERAS.MaxPooling3D)),
    "Min": combined(keras.ops.minimum),
    "Mish": activation("mish"),
    "Mul": first(factor_and_offset, combined(keras.ops.multiply, lambda: keras.layers.Multiply())),
    "Neg": plain_function(keras.ops.negative),
    "PRelu": prelu,
    "Pad": padded,
    "Pow": combined(keras.ops.power),
    "ReduceMax": reduced(keras.ops.max),
    "ReduceMean": first(norm_in_parts, reduced(keras.ops.mean)),
    "ReduceMin": reduced(keras.ops.min),
    "ReduceSum": reduced(keras.ops.sum),
    "Relu": first(prelu_in_parts, plain_layer(lambda attributes: keras.layers.ReLU())),
    "Reshape": _RESHAPED,
    "Resize": resized,
    "Round": plain_function(keras.ops.round),
    "Selu": activation("selu"),
    "Sigmoid": sigmoid,
    "Slice": sliced,
    "Softmax": softmax,
    "Softplus": activation("softplus"),
    "Softsign": activation("softsign"),
    "Sqrt": plain_function(keras.ops.sqrt),
    "Squeeze": _RESHAPED,
    "Sub": combined(keras.ops.subtract, lambda: keras.layers.Subtract()),
    "Tanh": activation("tanh"),
    "Transpose": moved,
    "Unsqueeze": _RESHAPED,
}
"""A rule for each operator that parity knows."""
