"""What the weights of a layer should be in which the port computes several of the reference's at once.

A convolution with the BatchNorm after it, a factor, an activation: each of these but the last is a factor and a shift
for every channel, which go into the kernel and the bias.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.artifacts.folding import scaled_by
from parity.axes import Array
from parity.frameworks import torch
from parity.runners.calls import Call
from parity.runners.taps import ACTIVATIONS

PASSED = frozenset({"identity", "dropout", "dropout1d", "dropout2d", "dropout3d"})
"""Kinds that pass values on, in inference."""
OUTPUTS: Mapping[str, int] = {
    "Conv1D": 1, "Conv2D": 1, "Conv3D": 1, "Dense": 1, "Conv1DTranspose": 2, "Conv2DTranspose": 2, "Conv3DTranspose": 2,
    "DepthwiseConv1D": 0, "DepthwiseConv2D": 0,
}  # fmt: skip
"""Kinds of layers with a kernel, and where its output channels are: its last axis, the one before, or both together."""


@dataclass
class Joined:
    """The layers of the reference that lead up to one of its taps, from the last to the first with a kernel.

    `converted` gives the weights of a tap's layer for the port's; `matched` are taps that are compared on their own,
    which no such way goes past.
    """

    calls: Mapping[str, Call]
    kinds: Callable[[str], str]
    matched: Collection[str]
    converted: Callable[[str, Any], Sequence[Array]]
    factor: Array = field(default_factory=lambda: np.ones(()))
    shift: Array = field(default_factory=lambda: np.zeros(()))

    def weights(self, name: str, target: Any) -> tuple[Array, ...]:
        """What the kernel and the bias of `target` should be, which computes all that leads up to a tap; nothing where
        something leads up to it that cannot be a part of them."""
        if type(target).__name__ not in OUTPUTS or name not in self.calls:
            return ()
        current = name
        while current in self.calls and (current == name or current not in self.matched):
            call = self.calls[current]
            own = self.converted(current, target) if isinstance(call.function, torch.nn.Module) else ()
            if len(own) in (1, 2) and tuple(own[0].shape) == tuple(target.weights[0].shape):
                return () if current == name else self._folded(own, target)
            if len(call.reads) != 1 or not self._goes_in(current, call):
                return ()
            current = call.reads[0]
        return ()

    def _goes_in(self, name: str, call: Call) -> bool:
        """Take a step into the factor and the shift; whether it is one that can be."""
        if self.kinds(name) in ACTIVATIONS:
            return not self.factor.ndim and self.factor == 1 and not np.any(self.shift)
        scaled = scaled_by(call)
        if scaled is None:
            return self.kinds(name) in PASSED
        self.factor, self.shift = self.factor * scaled[0], self.factor * scaled[1] + self.shift
        return True

    def _folded(self, own: Sequence[Array], target: Any) -> tuple[Array, ...]:
        """The weights with the factor and the shift in them, one bias more where the port's layer has one."""
        kernel = own[0].astype(np.float64)
        trailing = OUTPUTS[type(target).__name__]
        factor = self.factor
        if factor.ndim:
            shape = kernel.shape[-2:] if trailing == 0 else (-1, 1) if trailing == 2 else (-1,)
            factor = factor.reshape(shape)
        bias = own[1].astype(np.float64) if len(own) > 1 else np.zeros(())
        bias = bias * self.factor + self.shift
        count = len(target.weights)
        if count == 1 and not np.any(bias):
            return ((kernel * factor).astype(np.float32),)
        channels = int(np.prod(kernel.shape[-2:])) if trailing == 0 else kernel.shape[-trailing]
        return (kernel * factor).astype(np.float32), np.broadcast_to(bias, (channels,)).astype(np.float32)
