"""Layers with a kernel or a table, and the bias that is added to what they make."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from parity.artifacts.biases import biased
from parity.artifacts.lifting import Made, View
from parity.artifacts.program import Step
from parity.artifacts.tensorflow.rules.reading import ADDITIONS, format_of, made_of, spatial
from parity.axes import Array
from parity.frameworks import keras


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


def convolution(step: Step, view: View) -> Made | None:
    """A convolution, also in groups."""
    kernel, read = view.constant(step.inputs[1]), step.inputs[0]
    padding, data_format = str(step.attributes["padding"]).lower(), format_of(step)
    if kernel is None or padding not in ("same", "valid"):
        return None
    rank, first = kernel.ndim, data_format == "channels_first"
    axis = 1 if first else rank - 1
    kind = keras.layers.Conv2D if rank == 4 else keras.layers.Conv3D
    layer = partial(
        kind,
        kernel.shape[-1],
        kernel.shape[:-2],
        strides=spatial(step.attributes["strides"], data_format),
        dilation_rate=spatial(step.attributes.get("dilations") or [1] * rank, data_format),
        groups=view.shape(read)[axis] // kernel.shape[-2],
        padding=padding,
        data_format=data_format,
        kernel_initializer="zeros",
    )
    return _weighted(view, step, read, layer, kernel, kernel.shape[-1], axis)


def called(step: Step, view: View) -> Made | None:
    """A call of a function that is a single convolution, as Keras makes one in groups."""
    inner = step.attributes.get("body", ())
    if len(inner) != 1 or inner[0].op != "Conv2D" or not set(inner[0].inputs) <= set(step.inputs):
        return None
    return convolution(replace(inner[0], name=step.name, outputs=step.outputs), view)


def depthwise(step: Step, view: View) -> Made | None:
    """A convolution for each channel."""
    kernel, read = view.constant(step.inputs[1]), step.inputs[0]
    padding, data_format = str(step.attributes["padding"]).lower(), format_of(step)
    if kernel is None or padding not in ("same", "valid"):
        return None
    layer = partial(
        keras.layers.DepthwiseConv2D,
        kernel.shape[:2],
        strides=spatial(step.attributes["strides"], data_format),
        dilation_rate=spatial(step.attributes.get("dilations") or [1] * 4, data_format),
        depth_multiplier=kernel.shape[3],
        padding=padding,
        data_format=data_format,
        depthwise_initializer="zeros",
    )
    channels = kernel.shape[2] * kernel.shape[3]
    return _weighted(view, step, read, layer, kernel, channels, 1 if data_format == "channels_first" else 3)


def transposed(step: Step, view: View) -> Made | None:
    """A transposed convolution."""
    kernel, read = view.constant(step.inputs[1]), step.inputs[2]
    padding, data_format = str(step.attributes["padding"]).lower(), format_of(step)
    if kernel is None or padding not in ("same", "valid"):
        return None
    rank, first = kernel.ndim, data_format == "channels_first"
    strides = spatial(step.attributes["strides"], data_format)
    kind = keras.layers.Conv2DTranspose if rank == 4 else keras.layers.Conv3DTranspose
    layer = partial(
        kind,
        kernel.shape[-2],
        kernel.shape[:-2],
        strides=strides,
        dilation_rate=spatial(step.attributes.get("dilations") or [1] * rank, data_format),
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
    inner, outer = (spatial(view.shape(tensor), data_format) for tensor in (step.inputs[2], step.outputs[0]))
    usual, left = [], []
    for size, made, side, stride in zip(inner, outer, sides, strides, strict=True):
        usual.append(made == size * stride + (max(side - stride, 0) if padding == "valid" else 0))
        left.append(made - (size - 1) * stride - side + (2 * (side // 2) if padding == "same" else 0))
    return None if all(usual) else tuple(left)


def dilated(step: Step, view: View) -> Made | None:
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


def product(step: Step, view: View) -> Made | None:
    """A dense layer; a product of two tensors."""
    kernel, read = view.constant(step.inputs[1]), step.inputs[0]
    if kernel is None or kernel.ndim != 2:
        other = view.constant(step.inputs[0])
        plain = kernel is None and other is None and not any(_transposes(step))
        return (
            Made(call=keras.ops.matmul, reads=step.inputs[:2], tensor=step.outputs[0], steps=(step,)) if plain else None
        )
    first = view.maker(read)
    if first is not None and (found := _between_reshapes(first, step, view)):
        return found
    before, after = _transposes(step)
    if before:
        return None
    kernel = kernel.T if after else kernel
    layer = partial(keras.layers.Dense, kernel.shape[1], kernel_initializer="zeros")
    return _weighted(view, step, read, layer, kernel, kernel.shape[1], len(view.shape(read)) - 1)


def _transposes(step: Step) -> tuple[bool, bool]:
    names = ("transpose_a", "transpose_b") if step.op == "MatMul" else ("adj_x", "adj_y")
    return bool(step.attributes.get(names[0])), bool(step.attributes.get(names[1]))


def flattened_product(step: Step, view: View) -> Made | None:
    """A dense layer on more than two axes: flattened to rows, multiplied, and put back in shape."""
    inner = view.next(step, "MatMul")
    found = None if inner is None else _between_reshapes(step, inner, view)
    return found and replace(found, steps=(step, *found.steps))


def _between_reshapes(first: Step, inner: Step, view: View) -> Made | None:
    """The dense layer whose product has a reshape before it, which others may read too, and one behind it."""
    outer, kernel = view.next(inner, "Reshape"), view.constant(inner.inputs[1])
    plain = first.op == "Reshape" and not any(_transposes(inner))
    if outer is None or kernel is None or kernel.ndim != 2 or not plain:
        return None
    read, rows = first.inputs[0], view.shape(first.outputs[0])
    before, after = view.shape(read), view.shape(outer.outputs[0])
    if before[:-1] != after[:-1] or before[-1] != rows[-1] or after[-1] != kernel.shape[1]:
        return None
    layer = partial(keras.layers.Dense, kernel.shape[1], kernel_initializer="zeros")
    found = _weighted(view, outer, read, layer, kernel, kernel.shape[1], len(after) - 1)
    return found and replace(found, steps=(inner, *found.steps))


def turned_product(step: Step, view: View) -> Made | None:
    """A dense layer on more than two axes that begins with a transposition of nothing."""
    order = view.constant(step.inputs[1])
    after = view.next(step, "Reshape") if order is not None and list(order) == sorted(order) else None
    dense = flattened_product(after, view) if after else None
    return dense and replace(dense, reads=step.inputs[:1], steps=(step, *dense.steps))


def embedding(step: Step, view: View) -> Made | None:
    """Rows of a table."""
    table, read = view.constant(step.inputs[0]), step.inputs[1]
    axis = view.constant(step.inputs[2]) if len(step.inputs) > 2 else np.zeros(())
    if table is None or table.ndim != 2 or axis is None or int(axis) != 0:
        return None
    layer = keras.layers.Embedding(*table.shape, embeddings_initializer="zeros")
    return made_of(layer, step, read, weights=(table,))
