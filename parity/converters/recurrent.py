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


@register(torch.nn.LSTM)
def lstm(layer: torch.nn.LSTM, target: Any) -> list[Array]:
    """Kernel (i, 4u), recurrent kernel (u, 4u) and bias (4u,) for `keras.layers.LSTM`: torch's two biases are added."""
    _refuse_stacks(layer)
    kernels = [_kernel(layer, "weight_ih_l0", LSTM_GATES), _kernel(layer, "weight_hh_l0", LSTM_GATES)]
    if not layer.bias:
        return kernels
    return [*kernels, _bias(layer, "bias_ih_l0", LSTM_GATES) + _bias(layer, "bias_hh_l0", LSTM_GATES)]


@register(torch.nn.GRU)
def gru(layer: torch.nn.GRU, target: Any) -> list[Array]:
    """Kernel (i, 3u), recurrent kernel (u, 3u) and the two biases (2, 3u) for `keras.layers.GRU(reset_after=True)`."""
    _refuse_stacks(layer)
    if not getattr(target, "reset_after", True):
        raise WeightError("torch.nn.GRU resets after the recurrent product, and the port's layer has reset_after=False")
    kernels = [_kernel(layer, "weight_ih_l0", GRU_GATES), _kernel(layer, "weight_hh_l0", GRU_GATES)]
    if not layer.bias:
        return kernels
    return [*kernels, np.stack([_bias(layer, "bias_ih_l0", GRU_GATES), _bias(layer, "bias_hh_l0", GRU_GATES)])]


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


def _refuse_stacks(layer: Recurrent) -> None:
    """One Keras layer is one torch layer in one direction, its output as wide as its state."""
    name = kind_name(type(layer))
    if layer.num_layers != 1:
        raise WeightError(f"{name} with num_layers={layer.num_layers} is as many layers in Keras; set them yourself")
    if layer.bidirectional:
        raise WeightError(f"{name} with bidirectional=True is two layers in Keras; set their weights yourself")
    if layer.proj_size:
        raise WeightError(f"{name} with proj_size={layer.proj_size} has no counterpart in Keras")
