"""Convolutions. A kernel has the axes o output channels, i input channels, kt, kh and kw (k in one dimension).

Stride, padding and dilation leave weights alone. A bias (o,) stays as it is; where a layer has none, the Keras layer
needs `use_bias=False`, or the counts of weights differ.
"""

from typing import Any

import numpy as np
from einops import rearrange

from parity.axes import Array
from parity.converters.registry import kind_name, numpy, optional, register
from parity.errors import WeightError
from parity.frameworks import torch

Convolution = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d
Transposed = torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d


@register(torch.nn.Conv1d)
def conv1d(layer: torch.nn.Conv1d, target: Any) -> list[Array]:
    """Kernel (o, i/groups, k) to (k, i/groups, o) and bias (o,) for `keras.layers.Conv1D`."""
    _same_groups(layer, target)
    return [rearrange(numpy(layer.weight), "o i k -> k i o"), *optional(layer.bias)]


@register(torch.nn.Conv2d)
def conv2d(layer: torch.nn.Conv2d, target: Any) -> list[Array]:
    """Kernel (o, i/groups, kh, kw) to (kh, kw, i/groups, o) and bias (o,) for `keras.layers.Conv2D`."""
    _same_groups(layer, target)
    return [rearrange(numpy(layer.weight), "o i kh kw -> kh kw i o"), *optional(layer.bias)]


@register(torch.nn.Conv3d)
def conv3d(layer: torch.nn.Conv3d, target: Any) -> list[Array]:
    """Kernel (o, i/groups, kt, kh, kw) to (kt, kh, kw, i/groups, o) and bias (o,) for `keras.layers.Conv3D`."""
    _same_groups(layer, target)
    return [rearrange(numpy(layer.weight), "o i kt kh kw -> kt kh kw i o"), *optional(layer.bias)]


@register(torch.nn.Conv1d, to="DepthwiseConv1D")
def depthwise_conv1d(layer: torch.nn.Conv1d, target: Any) -> list[Array]:
    """Kernel (c * m, 1, k) to (k, c, m) and bias (c * m,) for `keras.layers.DepthwiseConv1D`, multiplier m."""
    _refuse_mixing(layer)
    return [rearrange(numpy(layer.weight), "(c m) 1 k -> k c m", c=layer.groups), *optional(layer.bias)]


@register(torch.nn.Conv2d, to="DepthwiseConv2D")
def depthwise_conv2d(layer: torch.nn.Conv2d, target: Any) -> list[Array]:
    """Kernel (c * m, 1, kh, kw) to (kh, kw, c, m), bias (c * m,) for `keras.layers.DepthwiseConv2D`, multiplier m."""
    _refuse_mixing(layer)
    return [rearrange(numpy(layer.weight), "(c m) 1 kh kw -> kh kw c m", c=layer.groups), *optional(layer.bias)]


@register(torch.nn.ConvTranspose1d)
def conv_transpose1d(layer: torch.nn.ConvTranspose1d, target: Any) -> list[Array]:
    """Kernel (i, o, k) to (k, o, i) and bias (o,) for `keras.layers.Conv1DTranspose`."""
    _refuse_groups(layer)
    return [rearrange(numpy(layer.weight), "i o k -> k o i"), *optional(layer.bias)]


@register(torch.nn.ConvTranspose2d)
def conv_transpose2d(layer: torch.nn.ConvTranspose2d, target: Any) -> list[Array]:
    """Kernel (i, o, kh, kw) to (kh, kw, o, i) and bias (o,) for `keras.layers.Conv2DTranspose`."""
    _refuse_groups(layer)
    return [rearrange(numpy(layer.weight), "i o kh kw -> kh kw o i"), *optional(layer.bias)]


@register(torch.nn.ConvTranspose3d)
def conv_transpose3d(layer: torch.nn.ConvTranspose3d, target: Any) -> list[Array]:
    """Kernel (i, o, kt, kh, kw) to (kt, kh, kw, o, i) and bias (o,) for `keras.layers.Conv3DTranspose`."""
    _refuse_groups(layer)
    return [rearrange(numpy(layer.weight), "i o kt kh kw -> kt kh kw o i"), *optional(layer.bias)]


@register(torch.nn.ConvTranspose1d, to="Conv1D")
@register(torch.nn.ConvTranspose2d, to="Conv2D")
@register(torch.nn.ConvTranspose3d, to="Conv3D")
def conv_of_spread(layer: Transposed, target: Any) -> list[Array]:
    """Kernel (i, o/groups, kh, kw) turned round, (kh, kw, i/groups, o), and bias (o,) for `keras.layers.Conv2D`.

    That layer computes the same of an input that has the stride's zeros between its values.
    """
    _same_groups(layer, target)
    kernel = rearrange(_turned(layer), "(g i) o ... -> ... i (g o)", g=layer.groups)
    return [kernel, *optional(layer.bias)]


@register(torch.nn.ConvTranspose1d, to="DepthwiseConv1D")
@register(torch.nn.ConvTranspose2d, to="DepthwiseConv2D")
def depthwise_conv_of_spread(layer: Transposed, target: Any) -> list[Array]:
    """Kernel (c, m, kh, kw) turned round, (kh, kw, c, m), and bias (c * m,) for `keras.layers.DepthwiseConv2D`.

    That layer computes the same of an input that has the stride's zeros between its values.
    """
    _refuse_mixing(layer)
    return [rearrange(_turned(layer), "c m ... -> ... c m"), *optional(layer.bias)]


def _turned(layer: Transposed) -> Array:
    """The kernel with its last value first along each axis of space."""
    kernel = numpy(layer.weight)
    return np.flip(kernel, tuple(range(2, kernel.ndim)))


def _same_groups(layer: Convolution | Transposed, target: Any) -> None:
    """Kernels of other groups may have the same shape, when the layers take other channels."""
    groups = getattr(target, "groups", layer.groups)
    if groups != layer.groups:
        raise WeightError(f"{kind_name(type(layer))} has groups={layer.groups}, and the port's layer groups={groups}")


def _refuse_mixing(layer: Convolution | Transposed) -> None:
    """A depthwise layer computes each output channel from one input channel."""
    if layer.groups != layer.in_channels:
        raise WeightError(
            f"{kind_name(type(layer))} with groups={layer.groups} and in_channels={layer.in_channels} is not "
            "depthwise; its Keras layer is the plain one, with the same groups"
        )


def _refuse_groups(layer: Transposed) -> None:
    """Keras's transposed convolutions have no groups."""
    if layer.groups != 1:
        raise WeightError(
            f"{kind_name(type(layer))} with groups={layer.groups} has no counterpart in Keras; write it as "
            "one transposed convolution per group, and set their weights yourself"
        )
