"""Arithmetic, and what moves numbers without changing them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.program import Step
from parity.artifacts.tensorflow.rules.reading import made_of
from parity.frameworks import keras


def operation(function: Callable[..., Any]) -> Rule:
    """A function of one or two tensors, of which some may be constants."""

    def rule(step: Step, view: View) -> Made:
        values = [view.constant(tensor) for tensor in step.inputs]
        reads = [tensor for tensor, value in zip(step.inputs, values, strict=True) if value is None]

        def call(*given: Any) -> Any:
            left = list(given)
            return function(*(left.pop(0) if value is None else value for value in values))

        return made_of(call, step, *reads)

    return rule


def reshaped(step: Step, view: View) -> Made | None:
    """Other sizes."""
    shape = view.shape(step.outputs[0])
    return made_of(partial(keras.ops.reshape, newshape=shape), step, step.inputs[0])


def turned(step: Step, view: View) -> Made | None:
    """Axes in another order."""
    order = view.constant(step.inputs[1])
    return (
        None
        if order is None
        else made_of(partial(keras.ops.transpose, axes=tuple(map(int, order))), step, step.inputs[0])
    )


def sliced(step: Step, view: View) -> Made | None:
    """A part along some axes."""
    bounds = [view.constant(tensor) for tensor in step.inputs[1:4]]
    names = ("begin", "end", "shrink_axis", "ellipsis", "new_axis")
    masks = {name: int(step.attributes.get(f"{name}_mask", 0)) for name in names}
    known = [bound for bound in bounds if bound is not None]
    if len(known) < 3:
        return None
    key = tuple(_part(place, [int(bound[place]) for bound in known], masks) for place in range(known[0].size))
    return made_of(lambda x: x[key], step, step.inputs[0])


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


def squeezed(step: Step, view: View) -> Made | None:
    """Axes of one place taken away."""
    axes = step.attributes.get("squeeze_dims") or None
    return made_of(partial(keras.ops.squeeze, axis=tuple(axes) if axes else None), step, step.inputs[0])


def expanded(step: Step, view: View) -> Made | None:
    """An axis of one place."""
    axis = view.constant(step.inputs[1])
    return None if axis is None else made_of(partial(keras.ops.expand_dims, axis=int(axis)), step, step.inputs[0])


def cast(step: Step, view: View) -> Made | None:
    """Numbers of another type."""
    return made_of(partial(keras.ops.cast, dtype=step.attributes["DstT"]), step, step.inputs[0])


def tiled(step: Step, view: View) -> Made | None:
    """A tensor repeated along its axes."""
    counts = view.constant(step.inputs[1])
    if counts is None:
        return None
    return made_of(partial(keras.ops.tile, repeats=tuple(map(int, counts))), step, step.inputs[0])
