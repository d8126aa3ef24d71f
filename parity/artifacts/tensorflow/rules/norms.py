"""Batch norms and layer norms, as one operation or in the arithmetic that they consist of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.artifacts.lifting import Made, View
from parity.artifacts.norms import is_per_channel, layer_norm, layer_of
from parity.artifacts.program import Step
from parity.artifacts.tensorflow.rules.reading import ADDITIONS, format_of, made_of, of_constant
from parity.frameworks import keras


def fused_norm(step: Step, view: View) -> Made | None:
    """A batch norm that is one operation."""
    weights = [view.constant(tensor) for tensor in step.inputs[1:5]]
    if step.attributes.get("is_training", True) or any(weight is None for weight in weights):
        return None
    rank = len(view.shape(step.inputs[0]))
    axis = 1 if format_of(step) == "channels_first" else rank - 1
    layer = keras.layers.BatchNormalization(axis=axis, epsilon=float(step.attributes["epsilon"]))
    return made_of(layer, step, step.inputs[0], weights=tuple(w for w in weights if w is not None))


def norm(step: Step, view: View) -> Made | None:
    """A batch norm written as `x * factor + offset`: its four weights are in the arithmetic that has made these two, or
    where that was done before, there are only these."""
    after = view.next(step, *ADDITIONS)
    read, factor = of_constant(step, view)
    if after is None or read is None or factor is None or after.attributes.get("data_format") == "NCHW":
        return None
    _, offset = of_constant(after, view)
    weights = (_statistics(view, factor, offset) or _two_numbers(view, read, factor, offset)) if offset else None
    if weights is None:
        return None
    *four, epsilon, axis = weights
    layer = keras.layers.BatchNormalization(axis=len(view.shape(read)) - 1 if axis < 0 else axis, epsilon=epsilon)
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after), weights=tuple(four))


def _two_numbers(view: View, read: str, factor: str, offset: str) -> tuple[Any, ...] | None:
    """The same for a factor and an offset of each channel that nothing is known of."""
    scale, shift, shape = view.constant(factor), view.constant(offset), view.shape(read)
    if scale is None or shift is None:
        return None
    axes = (axis for axis in (len(shape) - 1, 1) if all(is_per_channel(each, shape, axis) for each in (scale, shift)))
    axis = next(axes, 0)
    return (
        (scale.reshape(-1), shift.reshape(-1), np.zeros(shape[axis]), np.ones(shape[axis]), 0.0, axis) if axis else None
    )


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


def norm_in_parts(step: Step, view: View) -> Made | None:
    """A layer norm, from its mean on."""

    def axes(step: Step) -> Sequence[int] | None:
        over = view.constant(step.inputs[1]) if step.op == "Mean" and step.attributes.get("keep_dims") else None
        rank = len(view.shape(step.inputs[0]))
        return None if over is None else sorted(int(axis) % rank for axis in over.reshape(-1))

    norm = layer_norm(view, step, axes)
    if norm is None:
        return None
    layer, weights = layer_of(norm, view.shape(norm.read), norm.axes)
    return Made(call=layer, reads=(norm.read,), tensor=norm.tensor, steps=norm.steps, weights=weights)
