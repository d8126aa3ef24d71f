"""Attention: e features, h heads of d features each; torch keeps the three projections one on the other."""

from typing import Any

from einops import rearrange

from parity.axes import Array
from parity.converters.registry import numpy, register
from parity.errors import WeightError
from parity.frameworks import torch


@register(torch.nn.MultiheadAttention)
def attention(layer: torch.nn.MultiheadAttention, target: Any) -> list[Array]:
    """Kernel (e, h, d) and bias (h, d) of query, key and value, then of the output, (h, d, e) and (e,).

    For `keras.layers.MultiHeadAttention(num_heads=h, key_dim=d)`. Raises WeightError for biases added to the keys, and
    for keys or values of other sizes than the queries.
    """
    if layer.bias_k is not None or layer.bias_v is not None:
        raise WeightError("torch.nn.MultiheadAttention with add_bias_kv=True has no counterpart in Keras")
    if layer.in_proj_weight is None:
        raise WeightError("torch.nn.MultiheadAttention with kdim or vdim of its own is not converted; set it yourself")
    heads = layer.num_heads
    kernels = rearrange(numpy(layer.in_proj_weight), "(part h d) e -> part e h d", part=3, h=heads)
    output = rearrange(numpy(layer.out_proj.weight), "e (h d) -> h d e", h=heads)
    if layer.in_proj_bias is None:
        return [*kernels, output]
    biases = rearrange(numpy(layer.in_proj_bias), "(part h d) -> part h d", part=3, h=heads)
    arrays = [array for pair in zip(kernels, biases, strict=True) for array in pair]
    return [*arrays, output, numpy(layer.out_proj.bias)]
