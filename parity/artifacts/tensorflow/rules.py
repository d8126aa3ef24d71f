"""What operations of a TensorFlow graph are lifted to.

A layer's weights are what the graph has as constants there, so that they can be compared with the original's. A rule
that does not know a form of its operation gives nothing; the step is then run by the file's own engine alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from parity.artifacts.biases import biased
from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.norms import layer_norm, layer_of
from parity.artifacts.program import Step
from parity.axes import Array
from parity.frameworks import keras

ADDITIONS = ("BiasAdd", "Add", "AddV2")
_FORMATS = {"NHWC": "channels_last", "NDHWC": "channels_last", "NCHW": "channels_first", "NCDHW": "channels_first"}


def _format(step: Step) -> str:
    return _FORMATS[step.attributes.get("data_format") or "NHWC"]


def _spatial(sizes: Sequence[int], data_format: str) -> tuple[int, ...]:
    """The sizes along height and width, of those for every axis."""
    return tuple(sizes[1:-1] if data_format == "channels_last" else sizes[2:])


# -- layers with weights -----------------------------------------------------------------------------------------------


def _bias(view: View, step: Step, channels: int) -> tuple[Step | None, Array | None, int]:
    """The step that adds a bias to a step's value alone, its values, and the axis that it lies along."""
    after = view.next(step, *ADDITIONS)
    if after is None:
        return None, None, 0
    places = [place for place, tensor in enumerate(after.inputs) if view.constant(tensor) is not None]
    value = view.constant(after.inputs[places[0]]) if len(places) == 1 else None
    rank = len(view.shape(step.outputs[0]))
    if value is None or value.size != channels or value.ndim > rank:
        return None, None, 0
    if after.op == "BiasAdd":
        axis = 1 if after.attributes.get("data_format") == "NCHW" else rank - 1
    else:
        long = [place for place, size in enumerate(value.shape) if size == channels]
        if len(long) != 1:
            return None, None, 0
        axis = rank - value.ndim + long[0]
    return after, value.reshape(-1), axis


def _weighted(
    view: View, step: Step, read: str, layer: Callable[..., Any], kernel: Array, channels: int, channel_axis: int
) -> Made | None:
    """A layer with a kernel, and the bias that is added to its value right after."""
    after, bias, axis = _bias(view, step, channels)
    steps = (step,) if after is None else (step, after)
    weights = (kernel,) if bias is None else (kernel, bias)
    made = layer(use_bias=bias is not None)
    last = len(view.shape(step.outputs[0])) - 1
    if bias is not None and (axis, channel_axis) != (last, last):
        made = biased(made, axis)
    return Made(call=made, reads=(read,), tensor=steps[-1].outputs[0], steps=steps, weights=weights)


def _convolution(step: Step, view: View) -> Made | None:
    kernel, read = view.constant(step.inputs[1]), step.inputs[0]
    padding, data_format = str(step.attributes["padding"]).lower(), _format(step)
    if kernel is None or padding not in ("same", "valid"):
        return None
    rank, first = kernel.ndim, data_format == "channels_first"
    axis = 1 if first else rank - 1
    kind = keras.layers.Conv2D if rank == 4 else keras.layers.Conv3D
    layer = partial(
        kind,
        kernel.shape[-1],
        kernel.shape[:-2],
        strides=_spatial(step.attributes["strides"], data_format),
        dilation_rate=_spatial(step.attributes.get("dilations") or [1] * rank, data_format),
        groups=view.shape(read)[axis] // kernel.shape[-2],
        padding=padding,
        data_format=data_format,
        kernel_initializer="zeros",
    )
    return _weighted(view, step, read, layer, kernel, kernel.shape[-1], axis)


def _called(step: Step, view: View) -> Made | None:
    """A call of a function that is a single convolution, as Keras makes one in groups."""
    inner = step.attributes.get("body", ())
    if len(inner) != 1 or inner[0].op != "Conv2D" or not set(inner[0].inputs) <= set(step.inputs):
        return None
    return _convolution(replace(inner[0], name=step.name, outputs=step.outputs), view)


def _depthwise(step: Step, view: View) -> Made | None:
    kernel, read = view.constant(step.inputs[1]), step.inputs[0]
    padding, data_format = str(step.attributes["padding"]).lower(), _format(step)
    if kernel is None or padding not in ("same", "valid"):
        return None
    layer = partial(
        keras.layers.DepthwiseConv2D,
        kernel.shape[:2],
        strides=_spatial(step.attributes["strides"], data_format),
        dilation_rate=_spatial(step.attributes.get("dilations") or [1] * 4, data_format),
        depth_multiplier=kernel.shape[3],
        padding=padding,
        data_format=data_format,
        depthwise_initializer="zeros",
    )
    channels = kernel.shape[2] * kernel.shape[3]
    return _weighted(view, step, read, layer, kernel, channels, 1 if data_format == "channels_first" else 3)


def _transposed(step: Step, view: View) -> Made | None:
    kernel, read = view.constant(step.inputs[1]), step.inputs[2]
    padding, data_format = str(step.attributes["padding"]).lower(), _format(step)
    if kernel is None or padding not in ("same", "valid"):
        return None
    rank, first = kernel.ndim, data_format == "channels_first"
    strides = _spatial(step.attributes["strides"], data_format)
    kind = keras.layers.Conv2DTranspose if rank == 4 else keras.layers.Conv3DTranspose
    layer = partial(
        kind,
        kernel.shape[-2],
        kernel.shape[:-2],
        strides=strides,
        dilation_rate=_spatial(step.attributes.get("dilations") or [1] * rank, data_format),
        padding=padding,
        output_padding=_left_over(step, view, kernel.shape[:-2], strides, padding, data_format),
        data_format=data_format,
        kernel_initializer="zeros",
    )
    return _weighted(view, step, read, layer, kernel, kernel.shape[-2], 1 if first else rank - 1)


def _left_over(
    step: Step, view: View, sides: Sequence[int], strides: Sequence[int], padding: str, data_format: str
) -> tuple[int, ...] | None:
    """Keras's `output_padding` for the size that the graph asks for; None where that is the usual one."""
    inner, outer = (_spatial(view.shape(tensor), data_format) for tensor in (step.inputs[2], step.outputs[0]))
    usual, left = [], []
    for size, made, side, stride in zip(inner, outer, sides, strides, strict=True):
        usual.append(made == size * stride + (max(side - stride, 0) if padding == "valid" else 0))
        left.append(made - (size - 1) * stride - side + (2 * (side // 2) if padding == "same" else 0))
    return None if all(usual) else tuple(left)


def _dilated(step: Step, view: View) -> Made | None:
    """A convolution between SpaceToBatchND and BatchToSpaceND: TensorFlow's older way to dilate one."""
    inner = view.next(step, "Conv2D", "DepthwiseConv2dNative")
    outer = view.next(inner, "BatchToSpaceND") if inner else None
    kernel = view.constant(inner.inputs[1]) if inner else None
    block = view.constant(step.inputs[1])
    if inner is None or outer is None or kernel is None or block is None or kernel.ndim != 4:
        return None
    read, made = step.inputs[0], outer.outputs[0]
    padding = "same" if view.shape(read)[1:3] == view.shape(made)[1:3] else "valid"
    settings: dict[str, Any] = {"dilation_rate": tuple(map(int, block)), "padding": padding}
    if inner.op == "Conv2D":
        zeros = {"kernel_initializer": "zeros", "groups": view.shape(read)[3] // kernel.shape[2]}
        layer, channels = (
            partial(keras.layers.Conv2D, kernel.shape[3], kernel.shape[:2], **settings, **zeros),
            kernel.shape[3],
        )
    else:
        zeros = {"depthwise_initializer": "zeros", "depth_multiplier": kernel.shape[3]}
        layer, channels = (
            partial(keras.layers.DepthwiseConv2D, kernel.shape[:2], **settings, **zeros),
            kernel.shape[2] * kernel.shape[3],
        )
    found = _weighted(view, outer, read, layer, kernel, channels, 3)
    return found and replace(found, steps=(step, inner, *found.steps))


def _product(step: Step, view: View) -> Made | None:
    kernel, read = view.constant(step.inputs[1]), step.inputs[0]
    if kernel is None or kernel.ndim != 2:
        other = view.constant(step.inputs[0])
        plain = kernel is None and other is None and not any(_transposes(step))
        return (
            Made(call=keras.ops.matmul, reads=step.inputs[:2], tensor=step.outputs[0], steps=(step,)) if plain else None
        )
    before, after = _transposes(step)
    if before:
        return None
    kernel = kernel.T if after else kernel
    layer = partial(keras.layers.Dense, kernel.shape[1], kernel_initializer="zeros")
    return _weighted(view, step, read, layer, kernel, kernel.shape[1], len(view.shape(read)) - 1)


def _transposes(step: Step) -> tuple[bool, bool]:
    names = ("transpose_a", "transpose_b") if step.op == "MatMul" else ("adj_x", "adj_y")
    return bool(step.attributes.get(names[0])), bool(step.attributes.get(names[1]))


def _fused_norm(step: Step, view: View) -> Made | None:
    weights = [view.constant(tensor) for tensor in step.inputs[1:5]]
    if step.attributes.get("is_training", True) or any(weight is None for weight in weights):
        return None
    rank = len(view.shape(step.inputs[0]))
    axis = 1 if _format(step) == "channels_first" else rank - 1
    layer = keras.layers.BatchNormalization(axis=axis, epsilon=float(step.attributes["epsilon"]))
    return _made(layer, step, step.inputs[0], weights=tuple(w for w in weights if w is not None))


def _norm(step: Step, view: View) -> Made | None:
    """A batch norm written as `x * factor + offset`, its four weights in the arithmetic that has made these two."""
    after = view.next(step, "AddV2", "Add")
    read, factor = _of_constant(step, view)
    if after is None or read is None or factor is None:
        return None
    _, offset = _of_constant(after, view)
    weights = _statistics(view, factor, offset) if offset else None
    if weights is None:
        return None
    *four, epsilon, axis = weights
    layer = keras.layers.BatchNormalization(axis=len(view.shape(read)) - 1 if axis < 0 else axis, epsilon=epsilon)
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after), weights=tuple(four))


def _statistics(view: View, factor: str, offset: str) -> tuple[Any, ...] | None:
    """gamma, beta, mean, variance, epsilon and the axis (-1: the last), where factor and offset were made of them."""
    folded = {tensor: step for step in view.program.folded for tensor in step.outputs}
    scale, minus = folded.get(factor), folded.get(offset)
    if scale is None or minus is None or scale.op != "Mul" or minus.op != "Sub":
        return None
    root = next((folded[each] for each in scale.inputs if each in folded and folded[each].op == "Rsqrt"), None)
    added = folded.get(root.inputs[0]) if root else None
    shift = folded.get(minus.inputs[1])
    if root is None or added is None or added.op not in ("Add", "AddV2") or shift is None or shift.op != "Mul":
        return None
    values = {each: view.constant(each) for each in (*scale.inputs, *added.inputs, *shift.inputs, minus.inputs[0])}
    terms = [value for each in added.inputs if (value := values[each]) is not None]
    epsilon = next((value for value in terms if value.size == 1), None)
    variance = next((value for value in terms if value.size > 1), None)
    gamma = next(values[each] for each in scale.inputs if each != root.outputs[0])
    mean = next((values[each] for each in shift.inputs if each != factor), None)
    beta = values[minus.inputs[0]]
    if epsilon is None or variance is None or any(value is None for value in (gamma, beta, mean)):
        return None
    lengths = [place - variance.ndim for place, size in enumerate(variance.shape) if size > 1] or [-1]
    four = (value.reshape(-1) for value in (gamma, beta, mean, variance) if value is not None)
    return (*four, float(epsilon.reshape(-1)[0]), lengths[0])


def _mean(step: Step, view: View) -> Made | None:
    """A layer norm, from its mean on; else a mean."""

    def axes(step: Step) -> Sequence[int] | None:
        over = view.constant(step.inputs[1]) if step.op == "Mean" and step.attributes.get("keep_dims") else None
        rank = len(view.shape(step.inputs[0]))
        return None if over is None else sorted(int(axis) % rank for axis in over.reshape(-1))

    norm = layer_norm(view, step, axes)
    if norm is None:
        return _PLAIN_MEAN(step, view)
    layer, weights = layer_of(norm, view.shape(norm.read), norm.axes)
    return Made(call=layer, reads=(norm.read,), tensor=norm.tensor, steps=norm.steps, weights=weights)


def _embedding(step: Step, view: View) -> Made | None:
    table, read = view.constant(step.inputs[0]), step.inputs[1]
    axis = view.constant(step.inputs[2]) if len(step.inputs) > 2 else np.zeros(())
    if table is None or table.ndim != 2 or axis is None or int(axis) != 0:
        return None
    layer = keras.layers.Embedding(*table.shape, embeddings_initializer="zeros")
    return _made(layer, step, read, weights=(table,))


# -- layers without weights, and operations ----------------------------------------------------------------------------


def _made(call: Callable[..., Any], step: Step, *reads: str, weights: tuple[Array, ...] = ()) -> Made:
    return Made(call=call, reads=reads, tensor=step.outputs[0], steps=(step,), weights=weights)


def _layer(make: Callable[[Step], Any]) -> Rule:
    """A layer without weights that reads the first of a step's tensors."""
    return lambda step, view: _made(make(step), step, step.inputs[0])


def _operation(function: Callable[..., Any]) -> Rule:
    """A function of one or two tensors, of which some may be constants."""

    def rule(step: Step, view: View) -> Made:
        values = [view.constant(tensor) for tensor in step.inputs]
        reads = [tensor for tensor, value in zip(step.inputs, values, strict=True) if value is None]

        def call(*given: Any) -> Any:
            left = list(given)
            return function(*(left.pop(0) if value is None else value for value in values))

        return _made(call, step, *reads)

    return rule


def _of_constant(step: Step, view: View) -> tuple[str | None, str | None]:
    """What a step of two tensors reads, and the constant that it combines it with."""
    constant = [tensor for tensor in step.inputs if view.constant(tensor) is not None]
    other = [tensor for tensor in step.inputs if view.constant(tensor) is None]
    return (other[0], constant[0]) if len(step.inputs) == 2 and len(constant) == 1 else (None, None)


def _multiplied(step: Step, view: View) -> Made | None:
    """A batch norm, a LeakyReLU, a rescaling (`x * scale + offset` with two numbers), or a product."""
    found = _norm(step, view) or _leaky(step, view) or _rescaled(step, view)
    return found or _operation(keras.ops.multiply)(step, view)


def _leaky(step: Step, view: View) -> Made | None:
    """`maximum(slope * x, x)`, as a LeakyReLU is written by hand."""
    read, factor = _of_constant(step, view)
    after = view.next(step, "Maximum")
    slope = view.constant(factor) if factor else None
    if read is None or after is None or slope is None or slope.size != 1 or read not in after.inputs:
        return None
    if not 0 <= (value := _number(slope.reshape(-1)[0])) <= 1:
        return None
    layer = keras.layers.LeakyReLU(negative_slope=value)
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after))


def _prelu(step: Step, view: View) -> Made | None:
    """`relu(x) + (-slopes) * relu(-x)`, as Keras writes a PReLU; it begins with either half."""
    read = step.inputs[0]
    halves = {each.op: each for each in view.readers(read) if each.op in ("Relu", "Neg")}
    if len(halves) != 2:
        return None
    below = view.next(halves["Neg"], "Relu")
    scaled = below and view.next(below, "Mul")
    whole = view.next(halves["Relu"], "AddV2", "Add")
    if below is None or scaled is None or whole is None or view.next(scaled, "AddV2", "Add") is not whole:
        return None
    _, factor = _of_constant(scaled, view)
    values = view.constant(factor) if factor else None
    sizes = view.shape(read)
    if values is None or values.ndim > len(sizes) or (values.ndim == len(sizes) and values.shape[0] != 1):
        return None
    slopes = -values.reshape([1] * (len(sizes) - values.ndim) + list(values.shape))[0]
    shared = [axis for axis, size in enumerate(slopes.shape, 1) if size == 1 and sizes[axis] > 1]
    layer = keras.layers.PReLU(shared_axes=shared or None)
    steps = (halves["Relu"], halves["Neg"], below, scaled, whole)
    return Made(call=layer, reads=(read,), tensor=whole.outputs[0], steps=steps, weights=(slopes,))


def _rescaled(step: Step, view: View) -> Made | None:
    read, factor = _of_constant(step, view)
    after = view.next(step, "AddV2", "Add")
    if read is None or factor is None or after is None:
        return None
    _, offset = _of_constant(after, view)
    scale, shift = view.constant(factor), view.constant(offset) if offset else None
    if scale is None or shift is None or scale.size != 1 or shift.size != 1:
        return None
    layer = keras.layers.Rescaling(float(scale.reshape(-1)[0]), float(shift.reshape(-1)[0]))
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after))


def _pool(kinds: Mapping[int, Any]) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        data_format = _format(step)
        kind = kinds.get(len(view.shape(step.inputs[0])))
        sizes, strides = (_spatial(step.attributes[name], data_format) for name in ("ksize", "strides"))
        padding = str(step.attributes["padding"]).lower()
        if kind is None or padding not in ("same", "valid"):
            return None
        return _made(kind(sizes, strides=strides, padding=padding, data_format=data_format), step, step.inputs[0])

    return rule


def _reduced(function: Callable[..., Any], kinds: Mapping[int, Any]) -> Rule:
    """A reduction over constant axes; over height and width alone a global pooling."""

    def rule(step: Step, view: View) -> Made | None:
        axes = view.constant(step.inputs[1])
        if axes is None:
            return None
        rank, keep = len(view.shape(step.inputs[0])), bool(step.attributes.get("keep_dims"))
        over = tuple(sorted(int(axis) % rank for axis in axes.reshape(-1)))
        formats = {tuple(range(1, rank - 1)): "channels_last", tuple(range(2, rank)): "channels_first"}
        if rank in kinds and over in formats:
            return _made(kinds[rank](data_format=formats[over], keepdims=keep), step, step.inputs[0])
        return _made(partial(function, axis=over[0] if len(over) == 1 else over, keepdims=keep), step, step.inputs[0])

    return rule


def _joined(step: Step, view: View) -> Made | None:
    *reads, axis = step.inputs
    place = view.constant(axis)
    if place is None or any(view.constant(read) is not None for read in reads):
        return None
    layer = keras.layers.Concatenate(axis=int(place))
    return _made(lambda *given: layer(list(given)), step, *reads)


def _padded(step: Step, view: View) -> Made | None:
    sides = view.constant(step.inputs[1])
    value = view.constant(step.inputs[2]) if step.op == "PadV2" else np.zeros(())
    if sides is None or value is None:
        return None
    widths = [(int(before), int(after)) for before, after in sides]
    mode = str(step.attributes.get("mode", "constant")).lower()
    if mode == "constant" and float(value) == 0 and len(widths) == 4:
        for data_format, around in (("channels_last", (0, 3)), ("channels_first", (0, 1))):
            inner = tuple(widths[axis] for axis in range(4) if axis not in around)
            if all(widths[axis] == (0, 0) for axis in around):
                return _made(keras.layers.ZeroPadding2D(inner, data_format=data_format), step, step.inputs[0])
    constant = {"constant_values": float(value)} if mode == "constant" else {}
    return _made(partial(keras.ops.pad, pad_width=widths, mode=mode, **constant), step, step.inputs[0])


def _resized(interpolation: str) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        sizes = view.constant(step.inputs[1])
        if sizes is None or step.attributes.get("align_corners") or not step.attributes.get("half_pixel_centers"):
            return None
        height, width = view.shape(step.inputs[0])[1:3]
        if not sizes[0] % height and not sizes[1] % width and interpolation != "bicubic":
            factors = (int(sizes[0]) // height, int(sizes[1]) // width)
            layer = keras.layers.UpSampling2D(factors, interpolation=interpolation, data_format="channels_last")
        else:
            layer = keras.layers.Resizing(*map(int, sizes), interpolation=interpolation, data_format="channels_last")
        return _made(layer, step, step.inputs[0])

    return rule


def _flattened_product(step: Step, view: View) -> Made | None:
    """A dense layer on more than two axes: flattened to rows, multiplied, and put back in shape."""
    inner = view.next(step, "MatMul")
    outer = view.next(inner, "Reshape") if inner else None
    kernel = view.constant(inner.inputs[1]) if inner else None
    if inner is None or outer is None or kernel is None or kernel.ndim != 2 or any(_transposes(inner)):
        return None
    read, rows = step.inputs[0], view.shape(step.outputs[0])
    before, after = view.shape(read), view.shape(outer.outputs[0])
    if before[:-1] != after[:-1] or before[-1] != rows[-1] or after[-1] != kernel.shape[1]:
        return None
    layer = partial(keras.layers.Dense, kernel.shape[1], kernel_initializer="zeros")
    found = _weighted(view, outer, read, layer, kernel, kernel.shape[1], len(after) - 1)
    return found and replace(found, steps=(step, inner, *found.steps))


def _reshaped(step: Step, view: View) -> Made | None:
    if (dense := _flattened_product(step, view)) is not None:
        return dense
    shape = view.shape(step.outputs[0])
    return _made(partial(keras.ops.reshape, newshape=shape), step, step.inputs[0])


def _transposing(step: Step, view: View) -> Made | None:
    order = view.constant(step.inputs[1])
    if order is None:
        return None
    after = view.next(step, "Reshape") if list(order) == sorted(order) else None
    dense = _flattened_product(after, view) if after else None
    if dense is not None:
        return replace(dense, reads=step.inputs[:1], steps=(step, *dense.steps))
    return _made(partial(keras.ops.transpose, axes=tuple(map(int, order))), step, step.inputs[0])


def _sliced(step: Step, view: View) -> Made | None:
    bounds = [view.constant(tensor) for tensor in step.inputs[1:4]]
    names = ("begin", "end", "shrink_axis", "ellipsis", "new_axis")
    masks = {name: int(step.attributes.get(f"{name}_mask", 0)) for name in names}
    known = [bound for bound in bounds if bound is not None]
    if len(known) < 3:
        return None
    key = tuple(_part(place, [int(bound[place]) for bound in known], masks) for place in range(known[0].size))
    return _made(lambda x: x[key], step, step.inputs[0])


def _part(place: int, bounds: Sequence[int], masks: Mapping[str, int]) -> Any:
    """One axis of a slice, as Python writes it."""
    begin, end, stride = bounds
    on = {name for name, mask in masks.items() if mask >> place & 1}
    if "ellipsis" in on:
        return Ellipsis
    if "new_axis" in on:
        return None
    if "shrink_axis" in on:
        return begin
    return slice(None if "begin" in on else begin, None if "end" in on else end, stride if stride != 1 else None)


def _squeezed(step: Step, view: View) -> Made | None:
    axes = step.attributes.get("squeeze_dims") or None
    return _made(partial(keras.ops.squeeze, axis=tuple(axes) if axes else None), step, step.inputs[0])


def _expanded(step: Step, view: View) -> Made | None:
    axis = view.constant(step.inputs[1])
    return None if axis is None else _made(partial(keras.ops.expand_dims, axis=int(axis)), step, step.inputs[0])


def _cast(step: Step, view: View) -> Made | None:
    return _made(partial(keras.ops.cast, dtype=step.attributes["DstT"]), step, step.inputs[0])


def _tiled(step: Step, view: View) -> Made | None:
    counts = view.constant(step.inputs[1])
    if counts is None:
        return None
    return _made(partial(keras.ops.tile, repeats=tuple(map(int, counts))), step, step.inputs[0])


def _activations() -> Iterator[tuple[str, Rule]]:
    names = ("elu", "selu", "sigmoid", "softplus", "softsign", "tanh")
    for name in names:
        yield name.capitalize(), _layer(partial(lambda name, step: keras.layers.Activation(name), name))
    yield "LogSoftmax", _layer(lambda step: keras.layers.Activation("log_softmax"))
    relu, negative = _layer(lambda step: keras.layers.ReLU()), _operation(keras.ops.negative)
    yield "Relu", lambda step, view: _prelu(step, view) or relu(step, view)
    yield "Neg", lambda step, view: _prelu(step, view) or negative(step, view)
    yield "Relu6", _layer(lambda step: keras.layers.ReLU(max_value=6.0))
    yield "LeakyRelu", _layer(lambda step: keras.layers.LeakyReLU(negative_slope=_number(step.attributes["alpha"])))
    yield "Softmax", _layer(lambda step: keras.layers.Softmax())


def _number(value: float) -> float:
    """A float32 number as it was written: 0.1, not 0.10000000149."""
    return float(str(np.float32(value)))


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
_PLAIN_MEAN = _reduced(_OPS.mean, {4: _LAYERS.GlobalAveragePooling2D, 5: _LAYERS.GlobalAveragePooling3D})

RULES: Mapping[str, Rule] = {
    **{op: _operation(function) for op, function in _FUNCTIONS.items()},
    **dict(_activations()),
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "PartitionedCall": _called,
    "StatefulPartitionedCall": _called,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "SpaceToBatchND": _dilated,
    "MatMul": _product,
    "BatchMatMulV2": _product,
    "FusedBatchNormV3": _fused_norm,
    "GatherV2": _embedding,
    "ResourceGather": _embedding,
    "Mul": _multiplied,
    "MaxPool": _pool({4: _LAYERS.MaxPooling2D}),
    "MaxPool3D": _pool({5: _LAYERS.MaxPooling3D}),
    "AvgPool": _pool({4: _LAYERS.AveragePooling2D}),
    "AvgPool3D": _pool({5: _LAYERS.AveragePooling3D}),
    "Mean": _mean,
    "Max": _reduced(_OPS.max, {4: _LAYERS.GlobalMaxPooling2D, 5: _LAYERS.GlobalMaxPooling3D}),
    "Min": _reduced(_OPS.min, {}),
    "Sum": _reduced(_OPS.sum, {}),
    "ConcatV2": _joined,
    "Pad": _padded,
    "PadV2": _padded,
    "MirrorPad": _padded,
    "ResizeBilinear": _resized("bilinear"),
    "ResizeNearestNeighbor": _resized("nearest"),
    "ResizeBicubic": _resized("bicubic"),
    "Reshape": _reshaped,
    "Transpose": _transposing,
    "StridedSlice": _sliced,
    "Squeeze": _squeezed,
    "ExpandDims": _expanded,
    "Cast": _cast,
    "Tile": _tiled,
}
"""What the operation that a pattern begins with is lifted by."""
