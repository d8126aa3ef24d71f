"""Attention: e features, h heads of d features each; torch keeps the three projections one on the other."""

from typing import Any

import numpy as np
from einops import rearrange

from parity.axes import Array
from parity.converters.registry import numpy, register
from parity.errors import WeightError
from parity.frameworks import torch

PROJECTIONS = ("query", "key", "value", "output")


@register(torch.nn.MultiheadAttention)
def attention(layer: torch.nn.MultiheadAttention, target: Any) -> list[Array]:
    """Kernel (i, h, d) and bias (h, d) of query, key and value, then of the output, (h, d, e) and (e,).

    For `keras.layers.MultiHeadAttention(num_heads=h, key_dim=d)`; i is e, or what keys and values have for it. Raises
    WeightError for biases that are added to the keys and values as one more of each.
    """
    if layer.bias_k is not None or layer.bias_v is not None:
        raise WeightError("torch.nn.MultiheadAttention with add_bias_kv=True has no counterpart in Keras")
    arrays: list[Array] = []
    for part, (kernel, *bias) in projections(layer).items():
        by_head = "(h d) e -> h d e" if part == "output" else "i (h d) -> i h d"
        arrays.append(rearrange(kernel, by_head, h=layer.num_heads))
        arrays += bias if part == "output" else [rearrange(each, "(h d) -> h d", h=layer.num_heads) for each in bias]
    return arrays


def projections(layer: torch.nn.MultiheadAttention) -> dict[str, list[Array]]:
    """Kernel (i, e) and, if there is one, bias (e,) of query, key, value and output, for `keras.layers.Dense`."""
    if layer.in_proj_weight is None:
        weights = [numpy(each) for each in (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)]
    else:
        weights = np.split(numpy(layer.in_proj_weight), 3)
    kernels = [rearrange(each, "e i -> i e") for each in (*weights, numpy(layer.out_proj.weight))]
    if layer.in_proj_bias is None:
        return {part: [kernel] for part, kernel in zip(PROJECTIONS, kernels, strict=True)}
    biases = [*np.split(numpy(layer.in_proj_bias), 3), numpy(layer.out_proj.bias)]
    return {part: list(pair) for part, *pair in zip(PROJECTIONS, kernels, biases, strict=True)}
