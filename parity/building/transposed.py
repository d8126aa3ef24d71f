"""Transposed convolutions: letters as for convolutions, and q what an axis is given more after it."""

from collections.abc import Sequence
from typing import Any

from parity.building.convolution import Settings, convolved, in_format
from parity.building.padding import padded
from parity.building.registry import builds
from parity.building.values import Site
from parity.frameworks import keras, torch


@builds(
    torch.nn.ConvTranspose1d,
    torch.nn.ConvTranspose2d,
    torch.nn.ConvTranspose3d,
    layout="channels",
    how="ConvTranspose, cut to size; Conv after zeros between values for groups and for strides with dilation",
)
def transposed(layer: torch.nn.ConvTranspose2d, site: Site, x: Any) -> Any:
    """(N, i, h, w) to (N, o, (h - 1)s - 2p + d(k - 1) + q + 1, ...), in one, two or three dimensions."""
    if layer.groups > 1 or (max(layer.stride) > 1 and max(layer.dilation) > 1):
        return _spread(layer, site, x)
    return _by_its_layer(layer, site, x)


def _by_its_layer(layer: torch.nn.ConvTranspose2d, site: Site, x: Any) -> Any:
    """As large as Keras makes it, and more by zeros after the input where that is not enough; then cut to size."""
    spans = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    axes = list(zip(spans, layer.stride, layer.padding, layer.output_padding, strict=True))
    same = all(span - s == 2 * p and q == 0 for span, s, p, q in axes)
    more = [0 if same else max(0, -((max(span, s) - span + p - q) // s)) for span, s, p, q in axes]
    x = padded(x, {axis: (0, extra) for axis, extra in zip(site.spatial, more, strict=True)}, "constant")

    def make(data_format: str, name: str) -> Any:
        return getattr(keras.layers, f"Conv{len(spans)}DTranspose")(
            layer.out_channels,
            layer.kernel_size,
            strides=layer.stride,
            dilation_rate=layer.dilation,
            padding="same" if same else "valid",
            use_bias=layer.bias is not None,
            data_format=data_format,
            name=name,
        )

    x = in_format(make, site, x, layer)
    if same:
        return x
    over = [max(span, s) - span + extra * s - q for (span, s, _, q), extra in zip(axes, more, strict=True)]
    cuts = {axis: (-p, -p - rest) for axis, p, rest in zip(site.spatial, layer.padding, over, strict=True)}
    return padded(x, cuts, "constant")


def _spread(layer: torch.nn.ConvTranspose2d, site: Site, x: Any) -> Any:
    """A convolution, its kernel turned round, of the values with the stride's zeros between them."""
    x = _zeros_between(x, dict(zip(site.spatial, layer.stride, strict=True)))
    pads = []
    for k, s, d, p, q in zip(
        layer.kernel_size, layer.stride, layer.dilation, layer.padding, layer.output_padding, strict=True
    ):
        pads.append((d * (k - 1) - p, d * (k - 1) - p + q - (s - 1)))
    settings = Settings(
        filters=layer.out_channels,
        kernel=layer.kernel_size,
        stride=[1] * len(pads),
        dilation=layer.dilation,
        groups=layer.groups,
        pads=pads,
    )
    return convolved(layer, settings, site, x)


def _zeros_between(x: Any, strides: dict[int, int]) -> Any:
    """(..., h, ...) to (..., h * s, ...) for each axis and its s: after every value come s - 1 zeros."""
    for axis, s in strides.items():
        if s > 1:
            shape: Sequence[int] = [-1 if size is None else size for size in x.shape]
            x = keras.ops.expand_dims(x, axis + 1)
            x = padded(x, {axis + 1: (0, s - 1)}, "constant")
            x = keras.ops.reshape(x, [size * s if each == axis else size for each, size in enumerate(shape)])
    return x
