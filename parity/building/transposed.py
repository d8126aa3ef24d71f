"""Transposed convolutions: torch crops p values at both ends, then has q more at the end; other letters as before.

TensorFlow has no dilated ones on a CPU without oneDNN, and Keras none in groups: these are convolutions of the input
with zeros between its values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from parity.building.convolution import Settings, convolved, in_format, refuse_without_batch
from parity.building.padding import padded
from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch


@builds(
    torch.nn.ConvTranspose1d,
    torch.nn.ConvTranspose2d,
    torch.nn.ConvTranspose3d,
    layout="channels",
    how="ConvTranspose, cut to size; Conv after zeros between values for groups and dilation",
    limits="maps without a batch are refused; channels_first needs oneDNN on a CPU, but for volumes",
)
def transposed(layer: torch.nn.ConvTranspose2d, site: Site, x: Any, output_size: Sequence[Any] | None = None) -> Any:
    """(N, i, h, w) to (N, o, (h - 1)s - 2p + d(k - 1) + q + 1, ...), in one, two or three dimensions.

    `output_size` says of what size the result is to be along each axis of space, and so what q is.
    """
    refuse_without_batch(layer, x)
    more = list(layer.output_padding) if output_size is None else _more(layer, site, x, output_size)
    if layer.groups > 1 or max(layer.dilation) > 1:
        return _spread(layer, site, x, more)
    return _by_its_layer(layer, site, x, more)


def _more(layer: torch.nn.ConvTranspose2d, site: Site, x: Any, wanted: Sequence[Any]) -> list[int]:
    """What is to be put at the end of each axis of space for a size that is wanted, which torch has seen to fit."""
    sides = [x.shape[axis] for axis in site.spatial]
    space = list(wanted)[-len(sides) :]
    if not all(isinstance(size, int) for size in (*sides, *space)):
        raise ConversionError(f"output_size={tuple(wanted)} of a map of {sides}: sizes of space are to be fixed")
    axes = zip(sides, space, layer.kernel_size, layer.stride, layer.dilation, _crops(layer), strict=True)
    return [size - ((side - 1) * s - 2 * p + d * (k - 1) + 1) for side, size, k, s, d, p in axes]


def _by_its_layer(layer: torch.nn.ConvTranspose2d, site: Site, x: Any, more: Sequence[int]) -> Any:
    """Keras's "same" where it is that; else as long as can be, and longer by what q is more than p, then cropped."""
    crops = _crops(layer)
    axes = zip(layer.kernel_size, layer.stride, crops, more, strict=True)
    same = all(k - s == 2 * p and q == 0 for k, s, p, q in axes)

    def make(data_format: str, name: str) -> Any:
        return getattr(keras.layers, f"Conv{len(crops)}DTranspose")(
            layer.out_channels,
            layer.kernel_size,
            strides=layer.stride,
            padding="same" if same else "valid",
            output_padding=None if same else tuple(max(0, q - p) for p, q in zip(crops, more, strict=True)),
            use_bias=layer.bias is not None,
            data_format=data_format,
            name=name,
        )

    x = in_format(make, site, x, layer)
    if same:
        return x
    cuts = [(-p, -max(0, p - q)) for p, q in zip(crops, more, strict=True)]
    return padded(x, dict(zip(site.spatial, cuts, strict=True)), "constant")


def _spread(layer: torch.nn.ConvTranspose2d, site: Site, x: Any, more: Sequence[int]) -> Any:
    """A convolution, its kernel turned round, of the values with the stride's zeros between them."""
    x = _zeros_between(x, dict(zip(site.spatial, layer.stride, strict=True)))
    reach = [d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    axes = zip(reach, layer.stride, _crops(layer), more, strict=True)
    settings = Settings(
        filters=layer.out_channels,
        kernel=layer.kernel_size,
        stride=[1] * len(reach),
        dilation=layer.dilation,
        groups=layer.groups,
        pads=[(far - p, far - p + q - (s - 1)) for far, s, p, q in axes],
    )
    return convolved(layer, settings, site, x)


def _crops(layer: torch.nn.ConvTranspose2d) -> list[int]:
    """What torch calls its padding."""
    return [int(p) for p in layer.padding]


def _zeros_between(x: Any, strides: Mapping[int, int]) -> Any:
    """(..., h, ...) to (..., h * s, ...) for each axis and its s: after every value come s - 1 zeros."""
    for axis, s in strides.items():
        if s > 1 and x.shape[axis] is None:
            raise ConversionError(f"zeros between values, for strides of {s}, need a size that is known")
        if s > 1:
            shape = [-1 if size is None else size for size in x.shape]
            x = padded(keras.ops.expand_dims(x, axis + 1), {axis + 1: (0, s - 1)}, "constant")
            x = keras.ops.reshape(x, [*shape[:axis], shape[axis] * s, *shape[axis + 1 :]])
    return x
