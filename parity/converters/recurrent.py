"""Recurrent layers: i input features, u units, g gates. Torch stacks the gates along the first axis of its weights."""

from typing import Any

import numpy as np
from einops import rearrange

from parity.axes import Array
from parity.converters.registry import kind_name, numpy, register
from parity.errors import WeightError
from parity.frameworks import torch

Recurrent = torch.nn.LSTM | torch.nn.GRU

LSTM_GATES = (0, 1, 2, 3)
"""Torch has input, forget, cell, output; Keras has the same."""
GRU_GATES = (1, 0, 2)
"""Torch has reset, update, new; Keras has update, reset, new."""
PARTS = ("ih", "hh")
"""What multiplies the input, and what the state."""


@register(torch.nn.LSTM)
def lstm(layer: torch.nn.LSTM, target: Any) -> list[Array]:
    """Kernel (i, 4u), recurrent kernel (u, 4u) and bias (4u,) for `keras.layers.LSTM`: torch's two biases are added.

    A layer of both directions gives those of the forward one and then those of the backward one, for `Bidirectional`.
    """
    arrays: list[Array] = []
    for way in _ways(layer, target):
        arrays += [_kernel(layer, f"weight_{part}_{way}", LSTM_GATES) for part in PARTS]
        if layer.bias:
            of_input, of_state = (_bias(layer, f"bias_{part}_{way}", LSTM_GATES) for part in PARTS)
            arrays.append(of_input + of_state)
    return arrays


@register(torch.nn.GRU)
def gru(layer: torch.nn.GRU, target: Any) -> list[Array]:
    """Kernel (i, 3u), recurrent kernel (u, 3u) and the two biases (2, 3u) for `keras.layers.GRU(reset_after=True)`.

    A layer of both directions gives those of the forward one and then those of the backward one, for `Bidirectional`.
    """
    arrays: list[Array] = []
    for way in _ways(layer, target):
        arrays += [_kernel(layer, f"weight_{part}_{way}", GRU_GATES) for part in PARTS]
        if layer.bias:
            arrays.append(np.stack([_bias(layer, f"bias_{part}_{way}", GRU_GATES) for part in PARTS]))
    if not getattr(getattr(target, "forward_layer", target), "reset_after", True):
        raise WeightError("torch.nn.GRU resets after the recurrent product, and the port's layer has reset_after=False")
    return arrays


def _kernel(layer: Recurrent, name: str, gates: tuple[int, ...]) -> Array:
    """The weight of that name, (g * u, i), as (i, g * u), the gates in Keras's order."""
    by_gate = rearrange(numpy(getattr(layer, name)), "(g u) i -> g i u", g=len(gates))
    kernel: Array = rearrange(by_gate[list(gates)], "g i u -> i (g u)")
    return kernel


def _bias(layer: Recurrent, name: str, gates: tuple[int, ...]) -> Array:
    """The bias of that name, (g * u,), the gates in Keras's order."""
    by_gate = rearrange(numpy(getattr(layer, name)), "(g u) -> g u", g=len(gates))
    ordered: Array = rearrange(by_gate[list(gates)], "g u -> (g u)")
    return ordered


def _ways(layer: Recurrent, target: Any) -> tuple[str, ...]:
    """The ends of the names of the weights of each direction.

    One Keras layer is one torch layer, its output as wide as its state; both directions are one `Bidirectional`.
    """
    name = kind_name(type(layer))
    if layer.num_layers != 1:
        raise WeightError(f"{name} with num_layers={layer.num_layers} is as many layers in Keras; set them yourself")
    if layer.proj_size:
        raise WeightError(f"{name} with proj_size={layer.proj_size} has no counterpart in Keras")
    if target is not None and layer.bidirectional != hasattr(target, "backward_layer"):
        wanted = "Bidirectional" if layer.bidirectional else "one layer"
        raise WeightError(f"{name} with bidirectional={layer.bidirectional} is {wanted} in Keras")
    return ("l0", "l0_reverse") if layer.bidirectional else ("l0",)
