"""What rules ask of a step: its data format, the constant that it combines a tensor with; and what they give."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.artifacts.lifting import Made, View
from parity.artifacts.program import Step
from parity.axes import Array

ADDITIONS = ("BiasAdd", "Add", "AddV2")
_FORMATS = {"NHWC": "channels_last", "NDHWC": "channels_last", "NCHW": "channels_first", "NCDHW": "channels_first"}


def format_of(step: Step) -> str:
    """Keras's word for where a step has the channels."""
    return _FORMATS[step.attributes.get("data_format") or "NHWC"]


def spatial(sizes: Sequence[int], data_format: str) -> tuple[int, ...]:
    """The sizes along height and width, of those for every axis."""
    return tuple(sizes[1:-1] if data_format == "channels_last" else sizes[2:])


def made_of(call: Callable[..., Any], step: Step, *reads: str, weights: tuple[Array, ...] = ()) -> Made:
    """What a step alone is."""
    return Made(call=call, reads=reads, tensor=step.outputs[0], steps=(step,), weights=weights)


def of_constant(step: Step, view: View) -> tuple[str | None, str | None]:
    """What a step of two tensors reads, and the constant that it combines it with."""
    constant = [tensor for tensor in step.inputs if view.constant(tensor) is not None]
    other = [tensor for tensor in step.inputs if view.constant(tensor) is None]
    return (other[0], constant[0]) if len(step.inputs) == 2 and len(constant) == 1 else (None, None)


def as_written(value: float) -> float:
    """A float32 number as it was written: 0.1, not 0.10000000149."""
    return float(str(np.float32(value)))
