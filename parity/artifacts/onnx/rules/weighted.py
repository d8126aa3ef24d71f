"""Layers with weights: convolutions, products with a matrix, norms, slopes, tables."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from parity.artifacts.biases import biased
from parity.artifacts.lifting import Made, View
from parity.artifacts.norms import is_per_channel, layer_norm, layer_of
from parity.artifacts.onnx.rules.reading import (
    axis_of,
    constants,
    format_of,
    has_input,
    in_graph,
    is_plain,
    made_of,
    order_of,
    other_constant,
    padding_of,
    read_shape,
    taken,
)
from parity.artifacts.program import Step
from parity.axes import Array
from parity.frameworks import keras


def _sure(layer: Any) -> Any:
    """A convolution whose bias goes along the channels, where Keras would guess the axis from sizes."""
    return biased(layer, 1) if layer.data_format == "channels_first" else layer


def _steps_of(step: Step, rank: int) -> dict[str, Any]:
    strides, dilations = (tuple(step.attributes.get(name) or [1] * rank) for name in ("strides", "dilations"))
    return {"strides": strides} | ({"dilation_rate": dilations} if set(dilations) != {1} else {})


def convolution(step: Step, view: View) -> Made | None:
    """A convolution, also in groups or one for each channel."""
    kernel, bias = constants(step, view, 1, 2)
    if kernel is None or (bias is None and has_input(step, 2)):
        return None
    rank, sides = kernel.ndim - 2, kernel.shape[2:]
    padding = padding_of(step, view, sides)
    if padding is None:
        return None
    settings = {"padding": padding, "data_format": format_of(step, view), "use_bias": bias is not None}
    settings |= _steps_of(step, rank)
    groups, channels = int(step.attributes.get("group", 1)), read_shape(step, view)[1]
    biases = () if bias is None else (bias,)
    spatial = tuple(range(2, 2 + rank))
    if groups > 1 and groups == channels and rank == 2:
        layer = keras.layers.DepthwiseConv2D(sides, depth_multiplier=len(kernel) // channels, **settings)
        apart = kernel.reshape(channels, -1, *sides).transpose(2, 3, 0, 1)
        return made_of(_sure(layer), step, step.inputs[0], weights=(apart, *biases))
    kind = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)[rank - 1]
    layer = kind(len(kernel), sides, groups=groups, kernel_initializer="zeros", **settings)
    return made_of(_sure(layer), step, step.inputs[0], weights=(kernel.transpose(*spatial, 1, 0), *biases))


def transposed(step: Step, view: View) -> Made | None:
    """A transposed convolution."""
    kernel, bias = constants(step, view, 1, 2)
    attributes = step.attributes
    if kernel is None or (bias is None and has_input(step, 2)) or attributes.get("group", 1) != 1:
        return None
    rank, sides = kernel.ndim - 2, kernel.shape[2:]
    settings = _steps_of(step, rank)
    padding = _crop(step, view, sides, settings["strides"])
    if padding is None:
        return None
    kind = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)[rank - 1]
    layer = kind(
        kernel.shape[1],
        sides,
        **settings,
        padding=padding,
        data_format=format_of(step, view),
        use_bias=bias is not None,
        kernel_initializer="zeros",
    )
    weights = (kernel.transpose(*range(2, 2 + rank), 1, 0), *(() if bias is None else (bias,)))
    return made_of(_sure(layer), step, step.inputs[0], weights=weights)


def _crop(step: Step, view: View, sides: Sequence[int], strides: Sequence[int]) -> str | None:
    """Keras's word for how a transposed convolution is cropped; None where it has none."""
    attributes, before, after = step.attributes, read_shape(step, view)[2:], view.shape(step.outputs[0])[2:]
    usual = attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(
        attributes.get("output_padding", ())
    )
    pads = tuple(attributes.get("pads") or [0] * (2 * len(sides)))
    if usual and not any(pads) and all(side >= stride for side, stride in zip(sides, strides, strict=True)):
        return "valid"
    if any(made != size * stride for made, size, stride in zip(after, before, strides, strict=True)):
        return None
    totals = [max(side - stride, 0) for side, stride in zip(sides, strides, strict=True)]
    same = (*(total // 2 for total in totals), *(total - total // 2 for total in totals))
    return "same" if usual and pads == same else None


def general_product(step: Step, view: View) -> Made | None:
    """A dense layer: the product with a matrix, and a bias."""
    kernel, bias = constants(step, view, 1, 2)
    attributes = step.attributes
    plain = (
        attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0)
    )
    if (
        kernel is None
        or not plain
        or (bias is None and has_input(step, 2))
        or (bias is not None and bias.size != bias.shape[-1])
    ):
        return None
    kernel = kernel.T if attributes.get("transB", 0) else kernel
    biases = () if bias is None else (np.broadcast_to(bias.reshape(-1), kernel.shape[1]),)
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bool(biases), kernel_initializer="zeros")
    return made_of(layer, step, step.inputs[0], weights=(kernel, *biases))


def product(step: Step, view: View) -> Made | None:
    """A dense layer where one is a matrix of the file, with what is added to it; else a product of two tensors."""
    kernel, other = view.constant(step.inputs[1]), view.constant(step.inputs[0])
    if not is_plain(step, view):
        return None
    if kernel is None:
        return None if other is not None else made_of(keras.ops.matmul, step, *step.inputs)
    if kernel.ndim != 2:
        return None
    first = view.maker(step.inputs[0])
    if first is not None and (made := _between_reshapes(first, step, view, (step,))):
        return made
    return _dense(step.inputs[0], (step,), kernel, view)


def of_rows(step: Step, view: View) -> Made | None:
    """A dense layer on more than two axes, as TensorFlow writes it: a product of rows between two reshapes."""
    product = view.next(step, "MatMul")
    return None if product is None else _between_reshapes(step, product, view, (step, product))


def _between_reshapes(first: Step, product: Step, view: View, steps: tuple[Step, ...]) -> Made | None:
    """The dense layer whose product has a reshape before it, which others may read too, and one behind it."""
    back, kernel = view.next(product, "Reshape"), view.constant(product.inputs[1])
    if first.op != "Reshape" or back is None or kernel is None or kernel.ndim != 2 or not is_plain(first, view):
        return None
    before, after = view.shape(first.inputs[0]), view.shape(back.outputs[0])
    if view.shape(first.outputs[0])[-1] != before[-1] or after != (*before[:-1], kernel.shape[1]):
        return None
    return _dense(first.inputs[0], (*steps, back), kernel, view)


def _dense(read: str, steps: tuple[Step, ...], kernel: Array, view: View) -> Made:
    """The dense layer that these steps are, with the bias that is added to the last of them."""
    added = view.next(steps[-1], "Add")
    bias = other_constant(added, view) if added else None
    fits = bias is not None and bias.size == kernel.shape[1] == bias.shape[-1]
    steps = (*steps, *((added,) if added is not None and fits else ()))
    biases = (bias.reshape(-1),) if bias is not None and fits else ()
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bool(biases), kernel_initializer="zeros")
    return Made(call=layer, reads=(read,), tensor=steps[-1].outputs[0], steps=steps, weights=(kernel, *biases))


def batch_norm(step: Step, view: View) -> Made | None:
    """A batch norm."""
    weights = constants(step, view, 1, 2, 3, 4)
    if any(weight is None for weight in weights) or step.attributes.get("training_mode", 0):
        return None
    layer = keras.layers.BatchNormalization(
        axis=axis_of(step, view, 1), epsilon=float(step.attributes.get("epsilon", 1e-5))
    )
    return made_of(layer, step, step.inputs[0], weights=tuple(each for each in weights if each is not None))


def factor_and_offset(step: Step, view: View) -> Made | None:
    """A factor and an offset for each channel, which is what converters leave of a batch norm."""
    after = view.next(step, "Add")
    factor, offset = other_constant(step, view), None if after is None else other_constant(after, view)
    if after is None or factor is None or offset is None:
        return None
    (read,) = (tensor for tensor in step.inputs if view.constant(tensor) is None)
    shape, order = view.shape(step.outputs[0]), view.program.orders.get(step.outputs[0])
    axes = [1] if order is not None else [len(shape) - 1, 1]
    axis = next(
        (axis for axis in axes if is_per_channel(factor, shape, axis) and is_per_channel(offset, shape, axis)), 0
    )
    if not axis or view.shape(read) != shape:
        return None
    layer = keras.layers.BatchNormalization(axis=axis if order is None else order.index(axis), epsilon=0.0)
    weights = (factor.reshape(-1), offset.reshape(-1), np.zeros(shape[axis]), np.ones(shape[axis]))
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after), weights=weights)


def layer_normalization(step: Step, view: View) -> Made | None:
    """A layer norm that the file has as one operator."""
    scale, shift = constants(step, view, 1, 2)
    rank = len(view.shape(step.inputs[0]))
    first = int(step.attributes.get("axis", -1)) % rank
    if scale is None or (shift is None and has_input(step, 2)) or not is_plain(step, view):
        return None
    axes = list(range(first, rank))
    layer = keras.layers.LayerNormalization(
        axis=axes if len(axes) > 1 else axes[0],
        epsilon=float(step.attributes.get("epsilon", 1e-5)),
        center=shift is not None,
    )
    return made_of(layer, step, step.inputs[0], weights=(scale, *(() if shift is None else (shift,))))


def norm_in_parts(step: Step, view: View) -> Made | None:
    """A layer norm, from its mean on."""
    norm = layer_norm(view, step, partial(_averaged, view))
    if norm is None or not all(is_plain(each, view) for each in norm.steps):
        return None
    layer, weights = layer_of(norm, view.shape(norm.read), norm.axes)
    return Made(call=layer, reads=(norm.read,), tensor=norm.tensor, steps=norm.steps, weights=weights)


def _averaged(view: View, step: Step) -> Sequence[int] | None:
    """The axes over which a step takes the mean, keeping them; None where it is no such mean."""
    rank = len(read_shape(step, view))
    if step.op == "GlobalAveragePool":
        return range(2, rank)
    (given,) = constants(step, view, 1)
    axes = step.attributes.get("axes") if given is None else given.reshape(-1).tolist()
    if step.op != "ReduceMean" or axes is None or not step.attributes.get("keepdims", 1):
        return None
    return sorted(int(axis) % rank for axis in axes)


def prelu(step: Step, view: View) -> Made | None:
    """A PReLU that the file has as one operator."""
    (slopes,) = constants(step, view, 1)
    order = order_of(step, view)
    if slopes is None:
        return None
    slopes = slopes.reshape([1] * (len(order) - slopes.ndim) + list(slopes.shape)).transpose(order)[0]
    return made_of(_slopes(step, view, slopes), step, step.inputs[0], weights=(slopes,))


def prelu_in_parts(step: Step, view: View) -> Made | None:
    """A PReLU as Keras writes it: relu(x) + factor * relu(-x)."""
    whole = view.next(step, "Add")
    turned = next((each for each in view.readers(step.inputs[0]) if each.op == "Neg"), None)
    below = turned and view.next(turned, "Relu")
    scaled = below and view.next(below, "Mul")
    if whole is None or turned is None or below is None or scaled is None or view.next(scaled, "Add") is not whole:
        return None
    factor = other_constant(scaled, view)
    order = order_of(step, view)
    if factor is None:
        return None
    slopes = -in_graph(factor.reshape([1] * (len(order) - factor.ndim) + list(factor.shape)), order)[0]
    steps = (step, turned, below, scaled, whole)
    made = _slopes(step, view, slopes)
    return Made(call=made, reads=(step.inputs[0],), tensor=whole.outputs[0], steps=steps, weights=(slopes,))


def _slopes(step: Step, view: View, slopes: Array) -> Any:
    """The PReLU that has these slopes, in the graph's axes."""
    shape, order = read_shape(step, view), order_of(step, view)
    shared = [axis for axis, size in enumerate(slopes.shape, 1) if size == 1 and shape[order[axis]] > 1]
    return keras.layers.PReLU(shared_axes=shared)


def gathered(step: Step, view: View) -> Made | None:
    """Rows of a table, or one place along an axis."""
    table, places = constants(step, view, 0, 1)
    axis = int(step.attributes.get("axis", 0))
    if table is not None and table.ndim == 2 and axis == 0 and places is None:
        return made_of(
            keras.layers.Embedding(*table.shape, embeddings_initializer="zeros"), step, step.inputs[1], weights=(table,)
        )
    if table is None and places is not None and places.ndim == 0 and is_plain(step, view):
        where: list[Any] = [slice(None)] * len(view.shape(step.inputs[0]))
        where[axis] = int(places)
        return made_of(partial(taken, where=tuple(where)), step, step.inputs[0])
    return None
