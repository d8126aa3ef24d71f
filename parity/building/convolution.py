"""Convolutions: N batch, i input and o output channels; s, p, k, d an axis' stride, padding, kernel and dilation.

Keras adds a bias along the last axis wherever that has as many values as there are filters, whatever the data format
says (see `bias_goes_astray`), and takes strides with dilation in no layer: both are gone round here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from parity.building.padding import padded
from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
"""Modes of padding, as convolutions and as pads call them."""


@builds(
    torch.nn.Conv1d,
    torch.nn.Conv2d,
    torch.nn.Conv3d,
    layout="channels",
    how="Conv, DepthwiseConv where groups are channels; padded before, cut to strides after dilation",
    limits="maps without a batch are refused; channels_first needs oneDNN on a CPU, but for volumes",
)
def convolution(layer: torch.nn.Conv2d, site: Site, x: Any) -> Any:
    """(N, i, h, w) to (N, o, (h + 2p - d(k - 1) - 1) // s + 1, ...), in one, two or three dimensions."""
    refuse_without_batch(layer, x)
    pads = _pads(layer)
    if layer.padding_mode != "zeros":
        x = padded(x, dict(zip(site.spatial, pads, strict=True)), MODES[layer.padding_mode])
        pads = [(0, 0)] * len(pads)
    settings = Settings(
        filters=layer.out_channels,
        kernel=layer.kernel_size,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=layer.groups,
        pads=pads,
    )
    return convolved(layer, settings, site, x)


def refuse_without_batch(layer: torch.nn.Conv2d | torch.nn.ConvTranspose2d, x: Any) -> None:
    """Torch takes a map without a batch as well, and Keras does not."""
    rank = len(layer.kernel_size) + 2
    if len(x.shape) != rank:
        raise ConversionError(f"{layer} is given {len(x.shape)} axes; in Keras it has {rank}, the batch being one")


def _pads(layer: torch.nn.Conv2d) -> list[tuple[int, int]]:
    """How much is put before and after each axis; of an odd sum torch puts more after."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":
        return [_halves(d * (k - 1)) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
    return [(int(p), int(p)) for p in layer.padding]


def _halves(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a convolution computes; `pads` are of zeros, (before, after) of each axis, and may be negative."""

    filters: int
    kernel: Sequence[int]
    stride: Sequence[int]
    dilation: Sequence[int]
    groups: int
    pads: Sequence[tuple[int, int]]

    @property
    def keeps_sizes(self) -> bool:
        """Whether at strides of 1 the result is as large as what it is computed from."""
        return all(
            both == _halves(d * (k - 1)) for both, k, d in zip(self.pads, self.kernel, self.dilation, strict=True)
        )

    @property
    def strides_at_once(self) -> bool:
        """Whether the layer itself can take its strides: none does that is dilated."""
        return max(self.stride) == 1 or max(self.dilation) == 1


def convolved(module: torch.nn.Module, settings: Settings, site: Site, x: Any) -> Any:
    """(N, i, h, w) to (N, o, ...) by a layer with the weights of a module; strides are cut out after it if need be."""
    strides = settings.stride if settings.strides_at_once else [1] * len(settings.stride)
    same = settings.keeps_sizes and max(strides) == 1
    if not same:
        x = padded(x, dict(zip(site.spatial, settings.pads, strict=True)), "constant")
    x, strides = _without_an_idle_stride(settings, strides, site, x)
    make = _maker(settings, strides, "same" if same else "valid", module.bias is not None, x.shape[site.channels])
    x = in_format(make, site, x, module)
    if settings.strides_at_once:
        return x
    steps = dict(zip(site.spatial, settings.stride, strict=True))
    return x[tuple(slice(None, None, steps.get(axis)) for axis in range(len(x.shape)))]


def _without_an_idle_stride(
    settings: Settings, strides: Sequence[int], site: Site, x: Any
) -> tuple[Any, Sequence[int]]:
    """A volume of one channel, and strides: where it gives one value along its width it has no stride along that.

    With one, oneDNN leaves rows of the result as the memory was (AVX-512). Once what the stride would have left over is
    cut off, the kernel reaches over the whole width.
    """
    axis, span = site.spatial[-1], settings.dilation[-1] * (settings.kernel[-1] - 1) + 1
    width = x.shape[axis]
    if len(settings.kernel) < 3 or x.shape[site.channels] > 1 or width is None or not 0 <= width - span < strides[-1]:
        return x, strides
    return padded(x, {axis: (0, span - width)}, "constant"), [*strides[:-1], 1]


def _maker(
    settings: Settings, strides: Sequence[int], padding: str, use_bias: bool, channels: int
) -> Callable[[str, str], Any]:
    """What makes the Keras layer, given its data format and name: depthwise where each channel is a group."""
    rank = len(settings.kernel)
    common = {
        "strides": tuple(strides),
        "dilation_rate": tuple(settings.dilation),
        "padding": padding,
        "use_bias": use_bias,
    }
    if 1 < settings.groups == channels and rank < 3 and len(set(strides)) == 1:
        depthwise = getattr(keras.layers, f"DepthwiseConv{rank}D")
        return lambda data_format, name: depthwise(
            settings.kernel,
            depth_multiplier=settings.filters // settings.groups,
            data_format=data_format,
            name=name,
            **common,
        )
    plain = getattr(keras.layers, f"Conv{rank}D")
    return lambda data_format, name: plain(
        settings.filters, settings.kernel, groups=settings.groups, data_format=data_format, name=name, **common
    )


def in_format(make: Callable[[str, str], Any], site: Site, x: Any, module: torch.nn.Module) -> Any:
    """A map through a layer in the site's data format, or with its channels last where Keras does better by that.

    Volumes with their channels first are such: Keras compiles their convolution anew with every eager call, and has XLA
    inside every graph of it.
    """
    layer = make(site.data_format, site.name())
    if site.channels_last or not (len(x.shape) == 5 or bias_goes_astray(layer, x.shape)):
        return site.layer(layer, weights_of=module)(x)
    rank = len(x.shape)
    layer = make("channels_last", site.name())
    x = keras.ops.transpose(x, [0, *range(2, rank), 1])
    return keras.ops.transpose(site.layer(layer, weights_of=module)(x), [0, rank - 1, *range(1, rank - 1)])


def bias_goes_astray(layer: Any, shape: Sequence[int | None]) -> bool:
    """Whether Keras would add the bias of a channels-first layer along the width: where that may equal the filters."""
    _, filters, *_, width = layer.compute_output_shape(tuple(shape))
    return bool(layer.use_bias) and filters > 1 and width in (None, filters)
