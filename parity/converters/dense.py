"""Fully connected layers and tables: o output features, i (and j) input features, v entries of a vocabulary."""

from typing import Any

from einops import rearrange

from parity.axes import Array
from parity.converters.registry import numpy, optional, register
from parity.errors import WeightError
from parity.frameworks import torch


@register(torch.nn.Linear)
def linear(layer: torch.nn.Linear, target: Any) -> list[Array]:
    """Kernel (o, i) to (i, o) and bias (o,) for `keras.layers.Dense`.

    After a flattening the port must hand the features over in torch's order: channels, height, width.
    """
    return [rearrange(numpy(layer.weight), "o i -> i o"), *optional(layer.bias)]


@register(torch.nn.Bilinear)
def bilinear(layer: torch.nn.Bilinear, target: Any) -> list[Array]:
    """Kernel (o, i, j) to (i * j, o) and bias (o,) for `keras.layers.Dense` of all products of two features."""
    return [rearrange(numpy(layer.weight), "o i j -> (i j) o"), *optional(layer.bias)]


@register(torch.nn.Embedding)
def embedding(layer: torch.nn.Embedding, target: Any) -> list[Array]:
    """Table (v, o) as it is, for `keras.layers.Embedding`; `padding_idx` only matters in training."""
    if layer.max_norm is not None:
        raise WeightError(f"torch.nn.Embedding with max_norm={layer.max_norm} rewrites its table while it runs")
    return [numpy(layer.weight)]
