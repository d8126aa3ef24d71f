"""Arithmetic, and what moves numbers without changing them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.onnx.rules.reading import (
    axis_of,
    constants,
    has_input,
    in_graph,
    made_of,
    order_of,
    read_shape,
    taken,
)
from parity.artifacts.program import Step
from parity.frameworks import keras


def combined(function: Callable[..., Any], layer: Callable[[], Any] | None = None) -> Rule:
    """A function of two tensors, of which one may be a constant; `layer` makes one for two tensors of one shape."""

    def rule(step: Step, view: View) -> Made | None:
        if len(step.inputs) != 2:
            return None
        values = [view.constant(tensor) for tensor in step.inputs]
        reads = [tensor for tensor, value in zip(step.inputs, values, strict=True) if value is None]
        order = view.program.orders.get(step.outputs[0])
        ranks = {len(view.shape(tensor)) for tensor in reads}
        if order is not None and len(ranks) > 1:
            return None
        turned = [value if value is None else in_graph(value, order) for value in values]
        if len(reads) == 2 and layer is not None and len({view.shape(tensor) for tensor in reads}) == 1:
            made = layer()
            return made_of(lambda *tensors: made(list(tensors)), step, *reads)

        def call(*given: Any) -> Any:
            left = list(given)
            return function(*(left.pop(0) if value is None else value for value in turned))

        return made_of(call, step, *reads)

    return rule


def reduced(function: Callable[..., Any]) -> Rule:
    """A reduction over constant axes."""

    def rule(step: Step, view: View) -> Made | None:
        (given,) = constants(step, view, 1)
        axes = step.attributes.get("axes") if given is None else given.reshape(-1).tolist()
        rank = len(view.shape(step.inputs[0]))
        keeps = bool(step.attributes.get("keepdims", 1))
        if axes is None and (step.attributes.get("noop_with_empty_axes", 0) or has_input(step, 1)):
            return None
        named = sorted(axis_of(step, view, int(axis)) for axis in (axes or range(rank)))
        kept = [axis for place, axis in enumerate(order_of(step, view)) if place not in named]
        if not keeps and kept != sorted(kept):
            return None
        axis = named[0] if len(named) == 1 else tuple(named)
        return made_of(partial(function, axis=axis, keepdims=keeps), step, step.inputs[0])

    return rule


def reshaped(step: Step, view: View) -> Made | None:
    """Other sizes, the numbers in the same order."""
    before, order = read_shape(step, view), order_of(step, view)
    long = [axis for axis in order if before[axis] > 1]
    if long != sorted(long) or step.outputs[0] in view.program.orders:
        return None
    return made_of(partial(keras.ops.reshape, newshape=view.shape(step.outputs[0])), step, step.inputs[0])


def moved(step: Step, view: View) -> Made | None:
    """Axes in another order."""
    rank = len(view.shape(step.inputs[0]))
    permutation = tuple(step.attributes.get("perm") or reversed(range(rank)))
    axes = tuple(axis_of(step, view, axis) for axis in permutation)
    return made_of(partial(keras.ops.transpose, axes=axes), step, step.inputs[0])


def sliced(step: Step, view: View) -> Made | None:
    """A part along some axes; with the Squeeze after it, one place along them."""
    found = constants(step, view, 1, 2, 3, 4)
    rank = len(read_shape(step, view))
    if found[0] is None or found[1] is None:
        return None
    starts, ends = (each.tolist() for each in found[:2] if each is not None)
    axes = list(range(len(starts))) if found[2] is None else found[2].tolist()
    strides = [1] * len(starts) if found[3] is None else found[3].tolist()
    where: list[Any] = [slice(None)] * rank
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        where[axis_of(step, view, axis)] = _part(start, end, stride, read_shape(step, view)[axis])
    after = view.next(step, "Squeeze")
    steps: tuple[Step, ...] = (step,)
    if after is not None and step.outputs[0] not in view.program.orders:
        (dropped,) = constants(after, view, 1)
        for axis in after.attributes.get("axes", ()) if dropped is None else dropped.tolist():
            if where[axis].indices(view.shape(step.inputs[0])[axis])[1:] == where[axis].indices(0)[1:]:
                return None
            where[axis] = where[axis].start
        steps = (step, after)
    return Made(
        call=partial(taken, where=tuple(where)), reads=(step.inputs[0],), tensor=steps[-1].outputs[0], steps=steps
    )


def _part(start: int, end: int, stride: int, size: int) -> slice:
    """A slice as Python has it: ONNX means "to the end" by a number that is larger than any size."""
    if stride < 0:
        return slice(start, None if end <= -size - 1 else end, stride)
    return slice(start, None if end >= size else end, stride if stride != 1 else None)
