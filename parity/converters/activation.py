"""Activations with weights: c channels."""

from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters.registry import numpy, register
from parity.errors import WeightError
from parity.frameworks import torch


@register(torch.nn.PReLU)
def prelu(layer: torch.nn.PReLU, target: Any) -> list[Array]:
    """Slopes (c,), or one for all (1,), to the alpha of `keras.layers.PReLU`.

    Alpha has the axes of an image without the batch, those that share a slope of length 1: (1, 1, c) with
    `shared_axes=[1, 2]` on a channels-last image. Without a target, alpha is for such an image.
    """
    slopes = numpy(layer.weight)
    shape = (1, 1, slopes.size) if target is None else tuple(target.alpha.shape)
    if slopes.size == 1:
        return [np.full(shape, slopes[0], slopes.dtype)]
    free = _free_axes(len(shape), target)
    if len(free) != 1:
        raise WeightError(
            f"torch.nn.PReLU has one slope per channel, and the port's layer a slope of its own along axes {free}; "
            "give it shared_axes, all but the channels"
        )
    return [slopes.reshape([slopes.size if axis == free[0] else 1 for axis in range(1, len(shape) + 1)])]


def _free_axes(rank: int, target: Any) -> list[int]:
    """The axes of the input, the batch being 0, along which slopes differ."""
    shared = {1, 2} if target is None else {axis % (rank + 1) for axis in target.shared_axes or ()}
    return [axis for axis in range(1, rank + 1) if axis not in shared]
