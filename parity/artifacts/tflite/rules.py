"""What the operators of `.tflite` files are lifted to: Keras layers with the weights that the file has, or `keras.ops`.

An operator may have an activation fused into it, and the names of its tensors list what else the converter joined.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.norms import layer_norm, layer_of
from parity.artifacts.program import Step
from parity.artifacts.tflite.file import JOINED
from parity.axes import Array
from parity.frameworks import keras

NONE = "NONE"


def clamp(x: Any) -> Any:
    """What the format calls RELU_N1_TO_1."""
    return keras.ops.clip(x, -1.0, 1.0)


Activation = str | Callable[..., Any] | None
ACTIVATIONS: Mapping[str, Activation] = {
    NONE: None,
    "RELU": "relu",
    "RELU6": "relu6",
    "RELU_N1_TO_1": clamp,
    "TANH": "tanh",
}
"""Fused activations by Keras's names."""


def _of(step: Step, call: Callable[..., Any], *reads: str, weights: tuple[Array, ...] = ()) -> Made:
    """What one operator alone is."""
    tensor = step.outputs[0]
    return Made(call=call, reads=reads, tensor=tensor, steps=(step,), weights=weights, fused=tuple(_joined(step)))


def _joined(step: Step) -> Iterator[str]:
    """Of what the converter joined into an operator, one name for each scope that is not the operator's own."""
    scopes = {step.name.rpartition("/")[0]}
    for name in step.attributes[JOINED]:
        scope = name.rpartition("/")[0]
        if scope and not any(_within(scope, known) or _within(known, scope) for known in scopes):
            scopes.add(scope)
            yield name


def _within(scope: str, other: str) -> bool:
    return f"{scope}/".startswith(f"{other}/")


def _fused(step: Step) -> Activation:
    """The activation that an operator ends with. Raises KeyError for one that Keras has not."""
    return ACTIVATIONS[step.attributes.get("fusedActivationFunction", NONE)]


# -- layers with weights -----------------------------------------------------------------------------------------------


def _bias(step: Step, place: int, view: View) -> tuple[Array, ...] | None:
    """The bias as what follows the kernel; none where there is none, None where it is computed."""
    if len(step.inputs) <= place or not step.inputs[place]:
        return ()
    bias = view.constant(step.inputs[place])
    return None if bias is None else (bias,)


def _window(step: Step) -> dict[str, Any]:
    """How a window moves, in Keras's words."""
    attributes = step.attributes
    found: dict[str, Any] = {
        "strides": (attributes["strideH"], attributes["strideW"]),
        "padding": attributes["padding"].lower(),
    }
    dilation = (attributes.get("dilationHFactor", 1), attributes.get("dilationWFactor", 1))
    return found | ({"dilation_rate": dilation} if dilation != (1, 1) else {})


def _convolution(step: Step, view: View) -> Made | None:
    kernel, bias = view.constant(step.inputs[1]), _bias(step, 2, view)
    if kernel is None or bias is None:
        return None
    filters, height, width, channels = kernel.shape
    layer = keras.layers.Conv2D(
        filters,
        (height, width),
        **_window(step),
        groups=view.shape(step.inputs[0])[-1] // channels,
        use_bias=bool(bias),
        activation=_fused(step),
        kernel_initializer="zeros",
    )
    return _of(step, layer, step.inputs[0], weights=(kernel.transpose(1, 2, 3, 0), *bias))


def _depthwise(step: Step, view: View) -> Made | None:
    kernel, bias = view.constant(step.inputs[1]), _bias(step, 2, view)
    if kernel is None or bias is None:
        return None
    _, height, width, made = kernel.shape
    channels = view.shape(step.inputs[0])[-1]
    layer = keras.layers.DepthwiseConv2D(
        (height, width),
        **_window(step),
        depth_multiplier=made // channels,
        use_bias=bool(bias),
        activation=_fused(step),
        depthwise_initializer="zeros",
    )
    return _of(step, layer, step.inputs[0], weights=(kernel.reshape(height, width, channels, -1), *bias))


def _transposed(step: Step, view: View) -> Made | None:
    """Reads the sizes of its result first, the kernel second."""
    kernel, bias = view.constant(step.inputs[1]), _bias(step, 3, view)
    if kernel is None or bias is None:
        return None
    layer = keras.layers.Conv2DTranspose(
        kernel.shape[0],
        kernel.shape[1:3],
        **_window(step),
        use_bias=bool(bias),
        activation=_fused(step),
        kernel_initializer="zeros",
    )
    return _of(step, layer, step.inputs[2], weights=(kernel.transpose(1, 2, 0, 3), *bias))


def _dense(step: Step, view: View) -> Made | None:
    kernel, bias = view.constant(step.inputs[1]), _bias(step, 2, view)
    if kernel is None or bias is None or step.attributes.get("weightsFormat", 0):
        return None
    layer = keras.layers.Dense(
        kernel.shape[0], use_bias=bool(bias), activation=_fused(step), kernel_initializer="zeros"
    )
    return _of(step, layer, step.inputs[0], weights=(kernel.transpose(), *bias))


def _prelu(step: Step, view: View) -> Made | None:
    slopes = view.constant(step.inputs[1])
    shape = view.shape(step.inputs[0])[1:]
    if slopes is None or slopes.ndim != len(shape):
        return None
    shared = [axis + 1 for axis, (size, whole) in enumerate(zip(slopes.shape, shape, strict=True)) if size != whole]
    return _of(step, keras.layers.PReLU(shared_axes=shared or None), step.inputs[0], weights=(slopes,))


def _normalisation(step: Step, view: View) -> Made | None:
    """A product with one number per channel, then a sum with one: what a converter leaves of a BatchNorm that it
    cannot fold into the layer before."""
    after = view.next(step, "ADD")
    read, scale = _with_constant(step, view)
    if after is None or scale is None or _fused(step) is not None:
        return None
    value, shift = _with_constant(after, view)
    shape = view.shape(read)
    channels = shape[-1]
    per_channel = all(each is not None and each.size == channels == each.shape[-1] for each in (scale, shift))
    if shift is None or value != step.outputs[0] or not per_channel or channels < 2 or len(shape) < 2:
        return None
    plain = np.zeros(channels), np.ones(channels)
    activation = _fused(after)
    layer = keras.layers.BatchNormalization(epsilon=0.0) if activation is None else _normalised(activation)
    made = _of(after, layer, read, weights=(scale.reshape(-1), shift.reshape(-1), *plain))
    return replace(made, steps=(step, after))


def _mean(step: Step, view: View) -> Made | None:
    """A layer norm, from its mean on; else a mean."""

    def axes(step: Step) -> Sequence[int] | None:
        over = view.constant(step.inputs[1]) if step.op == "MEAN" and step.attributes["keepDims"] else None
        rank = len(view.shape(step.inputs[0]))
        return None if over is None else sorted(int(axis) % rank for axis in over.reshape(-1))

    norm = layer_norm(view, step, axes)
    if norm is None:
        return _reduced("mean")(step, view)
    layer, weights = layer_of(norm, view.shape(norm.read), norm.axes)
    return Made(call=layer, reads=(norm.read,), tensor=norm.tensor, steps=norm.steps, weights=weights)


def _normalised(activation: Activation) -> Any:
    """A BatchNorm with an activation built in, which Keras has not."""

    class BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return self.activation(super().call(inputs, training=training, mask=mask))

    layer = BatchNormalization(epsilon=0.0)
    layer.activation = keras.activations.get(activation)
    return layer


# -- operations --------------------------------------------------------------------------------------------------------


def _layer(make: Callable[[Step], Any]) -> Rule:
    """An operator of one argument, as the Keras layer that its settings make."""
    return lambda step, view: _of(step, make(step), step.inputs[0])


def _function(name: str) -> Rule:
    """An operator of one argument, as the function of `keras.ops` of that name."""
    return lambda step, view: _of(step, getattr(keras.ops, name), step.inputs[0])


def _with_constant(step: Step, view: View) -> tuple[str, Array | None]:
    """What an operator of two arguments reads that is computed, and the constant beside it."""
    for read, other in (step.inputs[:2], step.inputs[1::-1]):
        if view.constant(read) is None and (value := view.constant(other)) is not None:
            return read, value
    return "", None


def _binary(name: str) -> Rule:
    """An operator of two arguments, of which one may be a constant."""

    def rule(step: Step, view: View) -> Made | None:
        first, second = (view.constant(read) for read in step.inputs[:2])
        reads = tuple(read for read, known in zip(step.inputs, (first, second), strict=True) if known is None)
        function = getattr(keras.ops, name)
        if first is not None:
            return _of(step, _activated(name, lambda x: function(first, x), step), *reads)
        if second is not None:
            return _of(step, _activated(name, lambda x: function(x, second), step), *reads)
        return _of(step, _activated(name, function, step), *reads)

    return rule


def _product(step: Step, view: View) -> Made | None:
    return _normalisation(step, view) or _binary("multiply")(step, view)


def _activated(name: str, function: Callable[..., Any], step: Step) -> Callable[..., Any]:
    """A function, and the activation that is fused into it, as one operation."""
    activation = _fused(step)
    return function if activation is None else _one(name, function, activation)


def _one(name: str, function: Callable[..., Any], activation: Activation) -> Callable[..., Any]:
    """A function of several steps as one operation of that kind."""
    kind = type("".join(word.title() for word in name.split("_")), (Through,), {})
    made: Callable[..., Any] = kind(function, activation)
    return made


class Through(keras.Operation):  # type: ignore[misc]
    """A function whose value goes through an activation, as one operation."""

    def __init__(self, function: Callable[..., Any], activation: Activation) -> None:
        super().__init__()
        self.function = function
        self.activation = keras.activations.get(activation)

    def call(self, *values: Any) -> Any:
        """The function's value through the activation."""
        return self.activation(self.function(*values))

    def compute_output_spec(self, *values: Any) -> Any:
        """A tensor like the function's."""
        made = self.function(*values)
        return keras.KerasTensor(made.shape, dtype=made.dtype)


def _concatenated(step: Step, view: View) -> Made | None:
    if _fused(step) is not None or any(view.constant(read) is not None for read in step.inputs):
        return None
    layer = keras.layers.Concatenate(axis=step.attributes["axis"])
    return _of(step, lambda *values: layer(list(values)), *step.inputs)


def _padded(mode: str) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        widths = view.constant(step.inputs[1])
        filled = view.constant(step.inputs[2]) if len(step.inputs) > 2 else np.zeros(())
        if widths is None or filled is None:
            return None
        pads = [tuple(int(each) for each in pair) for pair in widths]
        if mode == "constant" and len(pads) == 4 and pads[0] == pads[3] == (0, 0) and not filled.any():
            return _of(step, keras.layers.ZeroPadding2D(pads[1:3]), step.inputs[0])
        own = "reflect" if step.attributes.get("mode") == "REFLECT" else "symmetric"
        extra = {"constant_values": float(filled)} if mode == "constant" else {}
        how = mode if mode == "constant" else own
        return _of(step, lambda x: keras.ops.pad(x, pads, mode=how, **extra), step.inputs[0])

    return rule


def _pooled(kind: str) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        if _fused(step) is not None:
            return None
        size = (step.attributes["filterHeight"], step.attributes["filterWidth"])
        return _of(step, getattr(keras.layers, kind)(size, **_window(step)), step.inputs[0])

    return rule


def _reduced(name: str) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        axes = view.constant(step.inputs[1])
        if axes is None:
            return None
        rank, keep = len(view.shape(step.inputs[0])), bool(step.attributes["keepDims"])
        over = tuple(sorted(int(axis) % rank for axis in axes.reshape(-1)))
        if name == "mean" and rank == 4 and over == (1, 2):
            return _of(step, keras.layers.GlobalAveragePooling2D(keepdims=keep), step.inputs[0])
        return _of(step, lambda x: getattr(keras.ops, name)(x, axis=over, keepdims=keep), step.inputs[0])

    return rule


def _resized(interpolation: str) -> Rule:
    """Only with pixels' centres at halves, as Keras has them; a whole factor by nearest is the same either way."""

    def rule(step: Step, view: View) -> Made | None:
        size = view.constant(step.inputs[1])
        if size is None or step.attributes["alignCorners"]:
            return None
        sizes = view.shape(step.inputs[0])[1:3]
        factors = [int(to) // own for to, own in zip(size, sizes, strict=True)]
        whole = all(factor * own == to for factor, own, to in zip(factors, sizes, size, strict=True))
        if not step.attributes["halfPixelCenters"] and not (whole and interpolation == "nearest"):
            return None
        if whole:
            layer = keras.layers.UpSampling2D(tuple(factors), interpolation=interpolation)
            return _of(step, layer, step.inputs[0])
        to = tuple(int(each) for each in size)
        return _of(step, lambda x: keras.ops.image.resize(x, to, interpolation=interpolation), step.inputs[0])

    return rule


def _reshaped(step: Step, view: View) -> Made | None:
    shape = view.shape(step.outputs[0])
    return _of(step, lambda x: keras.ops.reshape(x, shape), step.inputs[0])


def _moved_axes(step: Step, view: View) -> Made | None:
    order = view.constant(step.inputs[1])
    if order is None:
        return None
    axes = tuple(int(axis) for axis in order)
    return _of(step, lambda x: keras.ops.transpose(x, axes), step.inputs[0])


def _sliced(step: Step, view: View) -> Made | None:
    begin, end, strides = (view.constant(read) for read in step.inputs[1:4])
    if begin is None or end is None or strides is None:
        return None
    index = tuple(_part(step, n, int(begin[n]), int(end[n]), int(strides[n])) for n in range(len(begin)))
    return _of(step, lambda x: x[index], step.inputs[0])


def _part(step: Step, place: int, begin: int, end: int, stride: int) -> Any:
    """What one place of a slice takes, by the masks of the operator."""

    def marked(mask: str) -> bool:
        return bool(step.attributes[mask] >> place & 1)

    if marked("ellipsisMask"):
        return Ellipsis
    if marked("newAxisMask"):
        return None
    if marked("shrinkAxisMask"):
        return begin
    ends = None if marked("endMask") else begin + end if step.attributes.get("offset") else end
    return slice(None if marked("beginMask") else begin, ends, stride)


def _cropped(step: Step, view: View) -> Made | None:
    begin, size = (view.constant(read) for read in step.inputs[1:3])
    if begin is None or size is None:
        return None
    sizes = view.shape(step.outputs[0])
    index = tuple(slice(int(at), int(at) + length) for at, length in zip(begin, sizes, strict=True))
    return _of(step, lambda x: x[index], step.inputs[0])


def _stacked(step: Step, view: View) -> Made | None:
    if any(view.constant(read) is not None for read in step.inputs):
        return None
    axis = step.attributes["axis"]
    return _of(step, lambda *values: keras.ops.stack(list(values), axis=axis), *step.inputs)


def _matrix_product(step: Step, view: View) -> Made | None:
    if not step.attributes["adjX"] and not step.attributes["adjY"]:
        return _binary("matmul")(step, view)
    if any(view.constant(read) is not None for read in step.inputs):
        return None

    def product(first: Any, second: Any) -> Any:
        first = ops.swapaxes(first, -1, -2) if step.attributes["adjX"] else first
        return ops.matmul(first, ops.swapaxes(second, -1, -2) if step.attributes["adjY"] else second)

    ops = keras.ops
    return _of(step, _one("matmul", product, None), *step.inputs)


def _cast(step: Step, view: View) -> Made | None:
    dtype = view.program.dtypes[step.outputs[0]]
    return _of(step, lambda x: keras.ops.cast(x, dtype), step.inputs[0])


def _softmax(step: Step, view: View) -> Made | None:
    return _of(step, keras.layers.Softmax(), step.inputs[0]) if step.attributes["beta"] == 1 else None


def _gelu(step: Step, view: View) -> Made | None:
    approximate = bool(step.attributes.get("approximate"))
    return _of(step, lambda x: keras.ops.gelu(x, approximate=approximate), step.inputs[0])


def _activation(name: str) -> Rule:
    return _layer(lambda step: keras.layers.Activation(name))


_same = _layer(lambda step: keras.layers.Identity())

RULES: Mapping[str, Rule] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "PRELU": _prelu,
    "LEAKY_RELU": _layer(lambda step: keras.layers.LeakyReLU(negative_slope=step.attributes["alpha"])),
    "RELU": _layer(lambda step: keras.layers.ReLU()),
    "RELU6": _layer(lambda step: keras.layers.ReLU(max_value=6)),
    "RELU_0_TO_1": _layer(lambda step: keras.layers.ReLU(max_value=1)),
    "ELU": _layer(lambda step: keras.layers.ELU()),
    "LOGISTIC": _activation("sigmoid"),
    "TANH": _activation("tanh"),
    "HARD_SWISH": _activation("hard_silu"),
    "LOG_SOFTMAX": _activation("log_softmax"),
    "SOFTMAX": _softmax,
    "GELU": _gelu,
    "ADD": _binary("add"),
    "SUB": _binary("subtract"),
    "MUL": _product,
    "DIV": _binary("divide"),
    "MAXIMUM": _binary("maximum"),
    "MINIMUM": _binary("minimum"),
    "POW": _binary("power"),
    "BATCH_MATMUL": _matrix_product,
    "CONCATENATION": _concatenated,
    "PAD": _padded("constant"),
    "PADV2": _padded("constant"),
    "MIRROR_PAD": _padded("mirror"),
    "MAX_POOL_2D": _pooled("MaxPooling2D"),
    "AVERAGE_POOL_2D": _pooled("AveragePooling2D"),
    "MEAN": _mean,
    "SUM": _reduced("sum"),
    "REDUCE_MAX": _reduced("max"),
    "REDUCE_MIN": _reduced("min"),
    "RESIZE_BILINEAR": _resized("bilinear"),
    "RESIZE_NEAREST_NEIGHBOR": _resized("nearest"),
    "RESHAPE": _reshaped,
    "SQUEEZE": _reshaped,
    "EXPAND_DIMS": _reshaped,
    "TRANSPOSE": _moved_axes,
    "STRIDED_SLICE": _sliced,
    "SLICE": _cropped,
    "PACK": _stacked,
    "CAST": _cast,
    "QUANTIZE": _same,
    "DEQUANTIZE": _same,
    "EXP": _function("exp"),
    "LOG": _function("log"),
    "SQRT": _function("sqrt"),
    "RSQRT": _function("rsqrt"),
    "SQUARE": _function("square"),
    "ABS": _function("abs"),
    "NEG": _function("negative"),
    "FLOOR": _function("floor"),
    "ROUND": _function("round"),
}
"""Rules by the format's names of its operators."""
