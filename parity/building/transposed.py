"""Transposed convolutions: torch crops p values at both ends, then has q more at the end; other letters as before."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    how="ConvTranspose, cut to size; Conv after zeros between values for groups and for strides with dilation",
    limits="maps without a batch are refused",
)
def transposed(layer: torch.nn.ConvTranspose2d, site: Site, x: Any) -> Any:
    """(N, i, h, w) to (N, o, (h - 1)s - 2p + d(k - 1) + q + 1, ...), in one, two or three dimensions."""
    refuse_without_batch(layer, x)
    if layer.groups > 1 or (max(layer.stride) > 1 and max(layer.dilation) > 1):
        return _spread(layer, site, x)
    return _by_its_layer(layer, site, x)


@dataclass(frozen=True, kw_only=True)
class Along:
    """One axis of a transposed convolution: k values in the kernel, stride s, dilation d, crop p, q more at the end."""

    k: int
    s: int
    d: int
    p: int
    q: int

    @property
    def span(self) -> int:
        """How many values one value of the input reaches."""
        return self.d * (self.k - 1) + 1

    @property
    def is_same(self) -> bool:
        """Whether it is what Keras calls "same": s times as long, as much cropped at either end."""
        return self.span - self.s == 2 * self.p and self.q == 0

    @property
    def surplus(self) -> int:
        """How many values too many Keras has at the end, where it crops nothing; negative where it has too few."""
        return max(self.span, self.s) - self.span + self.p - self.q

    @property
    def zeros(self) -> int:
        """How many zeros after the input make up for what is missing: each gives s values, the bias alone."""
        return max(0, -(self.surplus // self.s))


def _axes(layer: torch.nn.ConvTranspose2d) -> list[Along]:
    crops = [int(p) for p in layer.padding]
    each = zip(layer.kernel_size, layer.stride, layer.dilation, crops, layer.output_padding, strict=True)
    return [Along(k=k, s=s, d=d, p=p, q=q) for k, s, d, p, q in each]


def _by_its_layer(layer: torch.nn.ConvTranspose2d, site: Site, x: Any) -> Any:
    """As long as Keras makes it, and longer by zeros after the input where that is not enough; then cut to size."""
    axes = dict(zip(site.spatial, _axes(layer), strict=True))
    same = all(along.is_same for along in axes.values())
    if not same:
        x = padded(x, {axis: (0, along.zeros) for axis, along in axes.items()}, "constant")

    def make(data_format: str, name: str) -> Any:
        return getattr(keras.layers, f"Conv{len(axes)}DTranspose")(
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
    crops = {axis: (-along.p, -along.surplus - along.zeros * along.s) for axis, along in axes.items()}
    return padded(x, crops, "constant")


def _spread(layer: torch.nn.ConvTranspose2d, site: Site, x: Any) -> Any:
    """A convolution, its kernel turned round, of the values with the stride's zeros between them."""
    axes = _axes(layer)
    x = _zeros_between(x, {axis: along.s for axis, along in zip(site.spatial, axes, strict=True)})
    settings = Settings(
        filters=layer.out_channels,
        kernel=layer.kernel_size,
        stride=[1] * len(axes),
        dilation=layer.dilation,
        groups=layer.groups,
        pads=[(each.span - 1 - each.p, each.span - 1 - each.p + each.q - (each.s - 1)) for each in axes],
    )
    return convolved(layer, settings, site, x)


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
