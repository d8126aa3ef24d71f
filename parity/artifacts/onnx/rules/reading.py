"""What rules ask of a step: its constants, its axes as the graph has them, how it is padded; and what they give."""

from collections.abc import Callable, Sequence
from typing import Any

from parity.artifacts.lifting import Made, View
from parity.artifacts.onnx.steps import AS_READ, FUSED, Order, same_pads
from parity.artifacts.program import Step
from parity.axes import Array


def made_of(call: Callable[..., Any], step: Step, *reads: str, weights: tuple[Array, ...] = ()) -> Made:
    """What a step alone is."""
    fused = tuple(step.attributes.get(FUSED, ()))
    return Made(call=call, reads=reads, tensor=step.outputs[0], steps=(step,), weights=weights, fused=fused)


def order_of(step: Step, view: View, place: int = 0) -> Order:
    """The axes in which the file's operator reads a tensor, for each axis that the graph has it in."""
    name = step.attributes[AS_READ][place]
    found = view.program.orders.get(name)
    return tuple(found) if found is not None else tuple(range(len(view.shape(name))))


def axis_of(step: Step, view: View, axis: int, place: int = 0) -> int:
    """The graph's axis for one that the file's operator names."""
    order = order_of(step, view, place)
    return order.index(axis % len(order))


def read_shape(step: Step, view: View, place: int = 0) -> tuple[int, ...]:
    """The sizes of a tensor in the axes in which the file's operator reads it."""
    return view.shape(step.attributes[AS_READ][place])


def format_of(step: Step, view: View) -> str:
    """Where the graph has the channels of the image that a step reads. Raises ValueError where it is neither."""
    order = order_of(step, view)
    if order == tuple(range(len(order))):
        return "channels_first"
    if order == (0, *range(2, len(order)), 1):
        return "channels_last"
    raise ValueError(f"no image has the axes {order}")


def constants(step: Step, view: View, *places: int) -> list[Array | None]:
    """The constants that a step reads at these places; None for what is left out or computed."""
    return [
        view.constant(step.inputs[place]) if place < len(step.inputs) and step.inputs[place] else None
        for place in places
    ]


def has_input(step: Step, place: int) -> bool:
    """Whether a step is given something at a place."""
    return place < len(step.inputs) and bool(step.inputs[place])


def is_plain(step: Step, view: View) -> bool:
    """Whether the file keeps all that a step reads in the graph's axes."""
    return not any(name in view.program.orders for name in step.attributes[AS_READ])


def other_constant(step: Step, view: View) -> Array | None:
    """The only constant that a step of two tensors reads."""
    found = [value for tensor in step.inputs if (value := view.constant(tensor)) is not None]
    return found[0] if len(found) == 1 and len(step.inputs) == 2 else None


def padding_of(step: Step, view: View, kernel: Sequence[int]) -> str | None:
    """Keras's word for how a window is padded; None where it has none."""
    attributes = step.attributes
    given = attributes.get("auto_pad", "NOTSET")
    if given == "VALID" or (given == "NOTSET" and not any(attributes.get("pads", ()))):
        return "valid"
    same = same_pads(read_shape(step, view)[2:], kernel, attributes)
    half = len(same) // 2
    is_same = {
        "SAME_UPPER": True,
        "SAME_LOWER": same[:half] == same[half:],
        "NOTSET": tuple(attributes.get("pads", ())) == same,
    }
    return "same" if is_same.get(given, False) else None


def in_graph(value: Array, order: Order | None) -> Array:
    """A constant that is combined with a tensor in the file's axes, for the graph's."""
    if order is None or value.ndim == 0:
        return value
    return value.reshape([1] * (len(order) - value.ndim) + list(value.shape)).transpose(order)


def taken(x: Any, where: tuple[Any, ...]) -> Any:
    """A part of a tensor."""
    return x[where]
