"""How the reference prepares its input with constants, in Keras: for repairs of what a port makes of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.axes import in_order, move
from parity.converters.registry import numpy
from parity.diagnosis.evidence import Evidence
from parity.frameworks import keras, torch
from parity.runners.calls import Read
from parity.runners.edits import Change, Edit

OPERATIONS = {
    "sub": keras.ops.subtract,
    "isub": keras.ops.subtract,
    "div": keras.ops.divide,
    "truediv": keras.ops.divide,
    "itruediv": keras.ops.divide,
    "mul": keras.ops.multiply,
    "imul": keras.ops.multiply,
}
"""torch's arithmetic by the name of its functions. Not addition: Keras may take a constant for a bias."""


def with_constant(evidence: Evidence) -> Edit | None:
    """The reference's own arithmetic with a constant in place of the segment; None where it is something else."""
    call = evidence.call
    name = getattr(call.function, "__name__", "").strip("_") if call else ""
    if call is None or name not in OPERATIONS or len(call.args) != 2 or len(call.reads) != 1:
        return None
    constant = _moved(evidence, call.args[1])
    if constant is None or tuple(call.reads) != evidence.segment.anchors:
        return None
    operation: Change = OPERATIONS[name]
    return evidence.instead(lambda x: operation(x, constant))


def step(evidence: Evidence, name: str) -> Change | None:
    """The reference's arithmetic from an anchor of the segment to the tap `name`, in Keras; None for other things.

    Arithmetic is with constants, with means of what it is done to, and with one value after the other.
    """
    scene = evidence.scene
    if name in scene.matched or name in scene.inputs:
        return lambda x: x
    call = scene.calls.get(name)
    function = getattr(call.function, "__name__", "").strip("_") if call else ""
    if call is None or not call.reads:
        return None
    before = [step(evidence, read) for read in call.reads]
    if any(each is None for each in before) or len({tuple(scene.resolved(read)) for read in call.reads}) != 1:
        return None
    first: Any = before[0]
    if function == "mean":
        axes = scene.axes_of(name)
        return lambda x: mean(first(x), axes, keep=bool(scene.settings(name).get("keepdim")))
    if function not in OPERATIONS or len(call.args) != 2 or not isinstance(call.args[0], Read):
        return None
    operation: Change = OPERATIONS[function]
    if len(before) == 2:
        second: Any = before[1]
        return lambda x: operation(first(x), second(x))
    constant = _moved(evidence, call.args[1])
    return None if constant is None else lambda x: operation(first(x), constant)


def mean(x: Any, axes: Sequence[int], *, keep: bool) -> Any:
    """The mean over axes, the last one first: short sums round less than one long one."""
    for axis in sorted(axes, reverse=True):
        x = keras.ops.mean(x, axis=axis, keepdims=keep)
    return x


def _moved(evidence: Evidence, constant: Any) -> Any:
    """A number as it is; a tensor with the axes of the port. None for what is neither."""
    if isinstance(constant, (int, float)):
        return float(constant)
    if not isinstance(constant, (torch.Tensor, np.ndarray)):
        return None
    rank = evidence.expected.ndim
    array = numpy(constant)
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    layer = evidence.segment.layer
    moved = move(array, evidence.scene.reference_layout(layer, rank), evidence.scene.layout(layer, rank))
    return in_order(moved)
