"""Layers whose bias lies along the axis that a file says, which need not be that of the channels.

That it is another is a fault, and Keras itself makes it: of a convolution in channels_first it guesses from the shapes
along which axis the bias goes. What a file holds is lifted as it is there, so that the fault can be seen as one, and
what is tried on a layer does not depend on what this Keras would guess.
"""

from functools import cache
from typing import Any

from parity.frameworks import keras


def biased(layer: Any, axis: int) -> Any:
    """The layer, not yet built, as one that adds its bias along this axis of its value."""
    kind: Any = _kind(type(layer))  # type: ignore[arg-type]
    made = kind.from_config(layer.get_config())
    made.bias_axis = axis
    return made


@cache
def _kind(base: Any) -> Any:
    """A layer class that adds the bias along `bias_axis`; it has the name of its base."""

    def call(self: Any, inputs: Any) -> Any:
        if not self.use_bias:
            return base.call(self, inputs)
        bias, self.use_bias = self.bias, False
        try:
            value = base.call(self, inputs)
        finally:
            self.use_bias = True
        shape = [1] * len(value.shape)
        shape[self.bias_axis] = -1
        # Subtracted, since `keras.ops.add` is where the axis is guessed.
        return value - keras.ops.reshape(-bias, shape)

    return type(base.__name__, (base,), {"call": call, "bias_axis": -1, "__module__": __name__})


def is_astray(operation: Any) -> bool:
    """Whether a layer adds its bias along another axis than that of its channels."""
    axis = getattr(operation, "bias_axis", None)
    if axis is None or not operation.use_bias:
        return False
    first = operation.data_format == "channels_first"
    return bool(axis != (1 if first else operation.kernel.ndim - 1))
