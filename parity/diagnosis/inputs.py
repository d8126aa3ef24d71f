"""How the reference prepares its input with constants, in Keras: for repairs of what a port makes of it."""

from typing import Any

import numpy as np

from parity.axes import move
from parity.diagnosis.evidence import Evidence
from parity.frameworks import keras, torch
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


def _moved(evidence: Evidence, constant: Any) -> Any:
    """A number as it is; a tensor with the axes of the port. None for what is neither."""
    if isinstance(constant, (int, float)):
        return float(constant)
    if not isinstance(constant, torch.Tensor):
        return None
    rank = evidence.expected.ndim
    array = constant.detach().numpy()
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    layer = evidence.segment.layer
    moved = move(array, evidence.scene.reference_layout(layer, rank), evidence.scene.layout(layer, rank))
    return np.ascontiguousarray(moved)
