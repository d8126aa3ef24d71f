"""Layers without a kernel: activations, pooling, padding, resizing, what is joined."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.program import Step
from parity.artifacts.tensorflow.rules.reading import as_written, format_of, made_of, of_constant, spatial
from parity.frameworks import keras


def plain_layer(make: Callable[[Step], Any]) -> Rule:
    """A layer without weights that reads the first of a step's tensors."""
    return lambda step, view: made_of(make(step), step, step.inputs[0])


def leaky(step: Step, view: View) -> Made | None:
    """`maximum(slope * x, x)`, as a LeakyReLU is written by hand."""
    read, factor = of_constant(step, view)
    after = view.next(step, "Maximum")
    slope = view.constant(factor) if factor else None
    if read is None or after is None or slope is None or slope.size != 1 or read not in after.inputs:
        return None
    if not 0 <= (value := as_written(slope.reshape(-1)[0])) <= 1:
        return None
    layer = keras.layers.LeakyReLU(negative_slope=value)
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after))


def prelu(step: Step, view: View) -> Made | None:
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
    _, factor = of_constant(scaled, view)
    values = view.constant(factor) if factor else None
    sizes = view.shape(read)
    if values is None or values.ndim > len(sizes) or (values.ndim == len(sizes) and values.shape[0] != 1):
        return None
    slopes = -values.reshape([1] * (len(sizes) - values.ndim) + list(values.shape))[0]
    shared = [axis for axis, size in enumerate(slopes.shape, 1) if size == 1 and sizes[axis] > 1]
    layer = keras.layers.PReLU(shared_axes=shared or None)
    steps = (halves["Relu"], halves["Neg"], below, scaled, whole)
    return Made(call=layer, reads=(read,), tensor=whole.outputs[0], steps=steps, weights=(slopes,))


def rescaled(step: Step, view: View) -> Made | None:
    """`x * scale + offset`, with two numbers."""
    read, factor = of_constant(step, view)
    after = view.next(step, "AddV2", "Add")
    if read is None or factor is None or after is None:
        return None
    _, offset = of_constant(after, view)
    scale, shift = view.constant(factor), view.constant(offset) if offset else None
    if scale is None or shift is None or scale.size != 1 or shift.size != 1:
        return None
    layer = keras.layers.Rescaling(float(scale.reshape(-1)[0]), float(shift.reshape(-1)[0]))
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after))


def pool(kinds: Mapping[int, Any]) -> Rule:
    """Pooling over windows."""

    def rule(step: Step, view: View) -> Made | None:
        data_format = format_of(step)
        kind = kinds.get(len(view.shape(step.inputs[0])))
        sizes, strides = (spatial(step.attributes[name], data_format) for name in ("ksize", "strides"))
        padding = str(step.attributes["padding"]).lower()
        if kind is None or padding not in ("same", "valid"):
            return None
        return made_of(kind(sizes, strides=strides, padding=padding, data_format=data_format), step, step.inputs[0])

    return rule


def reduced(function: Callable[..., Any], kinds: Mapping[int, Any]) -> Rule:
    """A reduction over constant axes; over height and width alone a global pooling."""

    def rule(step: Step, view: View) -> Made | None:
        axes = view.constant(step.inputs[1])
        if axes is None:
            return None
        rank, keep = len(view.shape(step.inputs[0])), bool(step.attributes.get("keep_dims"))
        over = tuple(sorted(int(axis) % rank for axis in axes.reshape(-1)))
        formats = {tuple(range(1, rank - 1)): "channels_last", tuple(range(2, rank)): "channels_first"}
        if rank in kinds and over in formats:
            return made_of(kinds[rank](data_format=formats[over], keepdims=keep), step, step.inputs[0])
        return made_of(partial(function, axis=over[0] if len(over) == 1 else over, keepdims=keep), step, step.inputs[0])

    return rule


def joined(step: Step, view: View) -> Made | None:
    """Tensors joined along an axis."""
    *reads, axis = step.inputs
    place = view.constant(axis)
    if place is None or any(view.constant(read) is not None for read in reads):
        return None
    layer = keras.layers.Concatenate(axis=int(place))
    return made_of(lambda *given: layer(list(given)), step, *reads)


def padded(step: Step, view: View) -> Made | None:
    """Zeros around an image; else what is padded in another way."""
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
                return made_of(keras.layers.ZeroPadding2D(inner, data_format=data_format), step, step.inputs[0])
    constant = {"constant_values": float(value)} if mode == "constant" else {}
    return made_of(partial(keras.ops.pad, pad_width=widths, mode=mode, **constant), step, step.inputs[0])


def resized(interpolation: str) -> Rule:
    """Enlarging by a whole factor; else a resizing."""

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
        return made_of(layer, step, step.inputs[0])

    return rule
