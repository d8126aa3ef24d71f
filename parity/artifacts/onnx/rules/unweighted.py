"""Layers without weights: activations, padding, pooling, resizing, what is joined."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.onnx.rules.reading import (
    axis_of,
    constants,
    format_of,
    has_input,
    made_of,
    order_of,
    padding_of,
    read_shape,
)
from parity.artifacts.program import Step
from parity.frameworks import keras


def plain_layer(make: Callable[[Mapping[str, Any]], Any]) -> Rule:
    """A layer without weights, made of the attributes of a step that reads one tensor."""
    return lambda step, view: made_of(make(step.attributes), step, step.inputs[0])


def plain_function(function: Callable[..., Any]) -> Rule:
    """A function of one tensor."""
    return lambda step, view: made_of(function, step, step.inputs[0])


def activation(name: str) -> Rule:
    """An activation, by Keras's name."""
    return plain_layer(lambda attributes: keras.layers.Activation(name))


def sigmoid(step: Step, view: View) -> Made | None:
    """A sigmoid; with the product of it and what it reads a swish."""
    after = view.next(step, "Mul")
    if after is not None and set(after.inputs) == {step.inputs[0], step.outputs[0]}:
        layer = keras.layers.Activation("silu")
        return Made(call=layer, reads=(step.inputs[0],), tensor=after.outputs[0], steps=(step, after))
    return made_of(keras.layers.Activation("sigmoid"), step, step.inputs[0])


def softmax(step: Step, view: View) -> Made | None:
    """A softmax along one axis."""
    axis = axis_of(step, view, int(step.attributes.get("axis", -1)))
    return made_of(keras.layers.Softmax(axis=axis), step, step.inputs[0])


def clipped(step: Step, view: View) -> Made | None:
    """A ReLU, where the lower limit is zero; else what is cut off at both ends."""
    low, high = constants(step, view, 1, 2)
    lowest = float(step.attributes.get("min", -np.inf)) if low is None else float(low)
    highest = float(step.attributes.get("max", np.inf)) if high is None else float(high)
    if (low is None and has_input(step, 1)) or (high is None and has_input(step, 2)):
        return None
    if lowest == 0.0:
        layer = keras.layers.ReLU(max_value=None if highest == np.inf else highest)
        return made_of(layer, step, step.inputs[0])
    return made_of(partial(keras.ops.clip, x_min=lowest, x_max=highest), step, step.inputs[0])


def hard_sigmoid(step: Step, view: View) -> Made | None:
    """The hard sigmoid, where its slope is Keras's."""
    alpha, beta = step.attributes.get("alpha", 0.2), step.attributes.get("beta", 0.5)
    if not (np.isclose(alpha, 1 / 6) and beta == 0.5):
        return None
    return made_of(keras.layers.Activation("hard_sigmoid"), step, step.inputs[0])


def joined(step: Step, view: View) -> Made | None:
    """Tensors joined along an axis."""
    axes = {axis_of(step, view, int(step.attributes["axis"]), place) for place in range(len(step.inputs))}
    if len(axes) != 1 or any(view.constant(tensor) is not None for tensor in step.inputs):
        return None
    layer = keras.layers.Concatenate(axis=axes.pop())
    return made_of(lambda *tensors: layer(list(tensors)), step, *step.inputs)


def padded(step: Step, view: View) -> Made | None:
    """Zeros around an image; else what is padded in another way."""
    pads, value, axes = constants(step, view, 1, 2, 3)
    widths = step.attributes.get("pads") if pads is None else pads.tolist()
    if widths is None or axes is not None or min(widths) < 0 or (value is None and has_input(step, 2)):
        return None
    order, half = order_of(step, view), len(widths) // 2
    sides = [(int(widths[axis]), int(widths[half + axis])) for axis in order]
    mode = str(step.attributes.get("mode", "constant"))
    filling = float(step.attributes.get("value", 0.0)) if value is None else float(value)
    if len(order) == 4 and mode == "constant" and filling == 0.0:
        data_format = _format_of_pads(sides)
        if data_format:
            inner = sides[1:3] if data_format == "channels_last" else sides[2:]
            return made_of(keras.layers.ZeroPadding2D(inner, data_format=data_format), step, step.inputs[0])
    if mode not in ("constant", "reflect"):
        return None
    more = {"constant_values": filling} if mode == "constant" else {}
    return made_of(partial(keras.ops.pad, pad_width=sides, mode=mode, **more), step, step.inputs[0])


def _format_of_pads(sides: Sequence[tuple[int, int]]) -> str:
    """The data format in which only space is padded; channels-last where both would do."""
    outside = {"channels_last": (0, 3), "channels_first": (0, 1)}
    return next((name for name, axes in outside.items() if not any(any(sides[axis]) for axis in axes)), "")


def pooled(kinds: Sequence[Any]) -> Rule:
    """Pooling over windows."""

    def rule(step: Step, view: View) -> Made | None:
        attributes = step.attributes
        sides = tuple(attributes["kernel_shape"])
        padding = padding_of(step, view, sides)
        odd = attributes.get("ceil_mode", 0) or set(attributes.get("dilations", ())) - {1}
        if (
            padding is None
            or odd
            or len(step.outputs) > 1
            or (padding == "same" and attributes.get("count_include_pad", 0))
        ):
            return None
        settings = {"strides": tuple(attributes.get("strides") or [1] * len(sides)), "padding": padding}
        layer = kinds[len(sides) - 1](sides, **settings, data_format=format_of(step, view))
        return made_of(layer, step, step.inputs[0])

    return rule


def pooled_whole(function: Callable[..., Any]) -> Rule:
    """The mean or the maximum of each channel."""

    def rule(step: Step, view: View) -> Made:
        axes = tuple(axis_of(step, view, axis) for axis in range(2, len(read_shape(step, view))))
        return made_of(partial(function, axis=tuple(sorted(axes)), keepdims=True), step, step.inputs[0])

    return rule


def resized(step: Step, view: View) -> Made | None:
    """A resizing to a whole multiple."""
    before, after = read_shape(step, view), view.shape(step.outputs[0])
    if (
        len(before) != 4
        or before[:2] != after[:2]
        or any(made % size for made, size in zip(after, before, strict=True))
    ):
        return None
    attributes = step.attributes
    mode, rounding = attributes.get("mode", "nearest"), attributes.get("nearest_mode", "round_prefer_floor")
    places = attributes.get("coordinate_transformation_mode", "half_pixel")
    linear = mode == "linear" and places in ("half_pixel", "pytorch_half_pixel") and min(after[2:]) > 1
    nearest = mode == "nearest" and (
        (places == "asymmetric" and rounding == "floor")
        or (places in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round_prefer"))
    )
    if not (linear or nearest) or step.op == "Upsample":
        return None
    layer = keras.layers.UpSampling2D(
        (after[2] // before[2], after[3] // before[3]),
        data_format=format_of(step, view),
        interpolation="bilinear" if linear else "nearest",
    )
    return made_of(layer, step, step.inputs[0])
