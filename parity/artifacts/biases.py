"""Layers whose bias a file adds along another axis than the channels.

Keras has no such layer, since it is always a fault: Keras itself makes it of a convolution in channels_first, where it
guesses from the shapes along which axis the bias goes. What a file holds is lifted as it is, so that the fault can be
seen as one, and undone.
"""

from functools import cache
from typing import Any

import numpy as np

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

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bias, self.use_bias = self.bias, False
        try:
            value = base.call(self, *args, **kwargs)
        finally:
            self.use_bias = True
        shape = [1] * len(value.shape)
        shape[self.bias_axis] = -1
        # Subtracted, since `keras.ops.add` is where the axis is guessed.
        return value - keras.ops.reshape(-bias, shape)

    return type(base.__name__, (base,), {"call": call, "bias_axis": -1, "__module__": __name__})


def bias_axis_of(layer: Any) -> int | None:
    """The axis that a layer of this kind adds its bias along; None for any other layer."""
    axis = getattr(layer, "bias_axis", None)
    return None if axis is None else int(np.int64(axis))
