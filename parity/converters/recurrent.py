"""Recurrent layers: i input features, u units, g gates. Torch stacks the gates along the first axis of its weights."""

from typing import Any

import numpy as np
from einops import rearrange

from parity.axes import Array
from parity.converters.registry import kind_name, numpy, register
from parity.errors import WeightError
from parity.frameworks import torch

Recurrent = torch.nn.LSTM | torch.nn.GRU | torch.nn.RNN
Cell = torch.nn.LSTMCell | torch.nn.GRUCell | torch.nn.RNNCell

LSTM_GATES = (0, 1, 2, 3)
"""Torch has input, forget, cell, output; Keras has the same."""
GRU_GATES = (1, 0, 2)
"""Torch has reset, update, new; Keras has update, reset, new."""
RNN_GATES = (0,)
"""Nothing is gated: the one part is the new state."""
PARTS = ("ih", "hh")
"""What multiplies the input, and what the state."""


@register(torch.nn.LSTM)
def lstm(layer: torch.nn.LSTM, target: Any) -> list[Array]:
    """Kernel (i, 4u), recurrent kernel (u, 4u) and bias (4u,) for `keras.layers.LSTM`: torch's two biases are added.

    A layer of both directions gives those of the forward one and then those of the backward one, for `Bidirectional`.
    """
    _refuse_stacks(layer, target)
    return of_one(layer, 0)


@register(torch.nn.GRU)
def gru(layer: torch.nn.GRU, target: Any) -> list[Array]:
    """Kernel (i, 3u), recurrent kernel (u, 3u) and the two biases (2, 3u) for `keras.layers.GRU(reset_after=True)`.

    A layer of both directions gives those of the forward one and then those of the backward one, for `Bidirectional`.
    """
    _refuse_stacks(layer, target)
    _refuse_reset_before(layer, getattr(target, "forward_layer", target))
    return of_one(layer, 0)


@register(torch.nn.RNN)
def rnn(layer: torch.nn.RNN, target: Any) -> list[Array]:
    """Kernel (i, u), recurrent kernel (u, u) and bias (u,) for `keras.layers.SimpleRNN`: torch's two biases are added.

    A layer of both directions gives those of the forward one and then those of the backward one, for `Bidirectional`.
    """
    _refuse_stacks(layer, target)
    return of_one(layer, 0)


@register(torch.nn.LSTMCell)
@register(torch.nn.RNNCell)
def cell(layer: torch.nn.LSTMCell | torch.nn.RNNCell, target: Any) -> list[Array]:
    """Kernel, recurrent kernel and bias of one step, as a whole layer has them: for `LSTMCell` or `SimpleRNNCell`."""
    return _of_way(layer, "")


@register(torch.nn.GRUCell)
def gru_cell(layer: torch.nn.GRUCell, target: Any) -> list[Array]:
    """Kernel (i, 3u), recurrent kernel (u, 3u) and the two biases (2, 3u) for `keras.layers.GRUCell`."""
    _refuse_reset_before(layer, target)
    return _of_way(layer, "")


def of_one(layer: Recurrent, number: int) -> list[Array]:
    """The weights of one of a module's layers, for its Keras layer, or for `Bidirectional` where it has two ways."""
    ways = ("", "_reverse") if layer.bidirectional else ("",)
    return [array for way in ways for array in _of_way(layer, f"_l{number}{way}")]


def _of_way(layer: Recurrent | Cell, way: str) -> list[Array]:
    """Kernel, recurrent kernel and bias, if there is one; a GRU keeps its two biases apart, as it resets in between."""
    gated_thrice = isinstance(layer, (torch.nn.GRU, torch.nn.GRUCell))
    gated = isinstance(layer, (torch.nn.LSTM, torch.nn.LSTMCell))
    gates = GRU_GATES if gated_thrice else LSTM_GATES if gated else RNN_GATES
    kernels = [_kernel(layer, f"weight_{part}{way}", gates) for part in PARTS]
    if not layer.bias:
        return kernels
    of_input, of_state = (_bias(layer, f"bias_{part}{way}", gates) for part in PARTS)
    return [*kernels, np.stack([of_input, of_state]) if gated_thrice else of_input + of_state]


def _kernel(layer: Recurrent | Cell, name: str, gates: tuple[int, ...]) -> Array:
    """The weight of that name, (g * u, i), as (i, g * u), the gates in Keras's order."""
    by_gate = rearrange(numpy(getattr(layer, name)), "(g u) i -> g i u", g=len(gates))
    kernel: Array = rearrange(by_gate[list(gates)], "g i u -> i (g u)")
    return kernel


def _bias(layer: Recurrent | Cell, name: str, gates: tuple[int, ...]) -> Array:
    """The bias of that name, (g * u,), the gates in Keras's order."""
    by_gate = rearrange(numpy(getattr(layer, name)), "(g u) -> g u", g=len(gates))
    ordered: Array = rearrange(by_gate[list(gates)], "g u -> (g u)")
    return ordered


def _refuse_stacks(layer: Recurrent, target: Any) -> None:
    """One Keras layer is one torch layer, its output as wide as its state; both directions are one `Bidirectional`."""
    name = kind_name(type(layer))
    if layer.num_layers != 1:
        raise WeightError(f"{name} with num_layers={layer.num_layers} is as many layers in Keras; set them yourself")
    if layer.proj_size:
        raise WeightError(f"{name} with proj_size={layer.proj_size} has no counterpart in Keras")
    if target is not None and layer.bidirectional != hasattr(target, "backward_layer"):
        wanted = "Bidirectional" if layer.bidirectional else "one layer"
        raise WeightError(f"{name} with bidirectional={layer.bidirectional} is {wanted} in Keras")


def _refuse_reset_before(layer: torch.nn.GRU | torch.nn.GRUCell, target: Any) -> None:
    """A GRU of torch's resets what the recurrent product gives, not what it is given."""
    if not getattr(target, "reset_after", True):
        name = kind_name(type(layer))
        raise WeightError(f"{name} resets after the recurrent product, and the port's layer has reset_after=False")
