"""Convolutions: N batch, o output channels, i input channels; s, p, k stride, padding and kernel along each axis."""

from typing import Any

from parity.building.registry import builds
from parity.building.values import Site
from parity.frameworks import keras, torch


@builds(torch.nn.Conv2d, layout="channels", how="Conv2D after ZeroPadding2D")
def conv2d(layer: torch.nn.Conv2d, site: Site, x: Any) -> Any:
    """(N, i, h, w) to (N, o, (h + 2p - d(k - 1) - 1) // s + 1, ...). SKETCH: zero padding only."""
    if any(layer.padding):
        x = keras.layers.ZeroPadding2D(layer.padding, data_format=site.data_format)(x)
    made = keras.layers.Conv2D(
        layer.out_channels,
        layer.kernel_size,
        strides=layer.stride,
        dilation_rate=layer.dilation,
        groups=layer.groups,
        use_bias=layer.bias is not None,
        data_format=site.data_format,
        name=site.name(),
    )
    return site.layer(made, weights_of=layer)(x)
