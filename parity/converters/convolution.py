"""Convolutions. A kernel has the axes o output channels, i input channels, kh and kw; a bias has one."""

from einops import rearrange

from parity.axes import Array
from parity.converters.registry import kind_name, numpy, register
from parity.errors import WeightError
from parity.frameworks import torch

Convolution = torch.nn.Conv2d | torch.nn.ConvTranspose2d


@register(torch.nn.Conv2d)
def conv2d(layer: torch.nn.Conv2d) -> list[Array]:
    """Kernel and bias for `keras.layers.Conv2D`; stride, padding and dilation leave weights alone."""
    _refuse_groups(layer)
    return [rearrange(numpy(layer.weight), "o i kh kw -> kh kw i o"), *_bias(layer)]


@register(torch.nn.ConvTranspose2d)
def conv_transpose2d(layer: torch.nn.ConvTranspose2d) -> list[Array]:
    """Kernel and bias for `keras.layers.Conv2DTranspose`, whose kernel has the output channels first."""
    _refuse_groups(layer)
    return [rearrange(numpy(layer.weight), "i o kh kw -> kh kw o i"), *_bias(layer)]


def _bias(layer: Convolution) -> list[Array]:
    """The bias, or nothing: the Keras layer then needs `use_bias=False`, or the counts of weights differ."""
    return [] if layer.bias is None else [numpy(layer.bias)]


def _refuse_groups(layer: Convolution) -> None:
    """Grouped kernels answer to three Keras layers with three layouts; which one is not known here."""
    if layer.groups != 1:
        raise WeightError(
            f"{kind_name(type(layer))} with groups={layer.groups} has no converter yet; "
            "add one in parity/converters/convolution.py"
        )
