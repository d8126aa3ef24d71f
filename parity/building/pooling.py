"""Poolings over windows: maximum, average and power average.

N batch, C channels, size, kernel, stride, padding and dilation along each axis of space. Torch pads as it pools, and
with ceil_mode goes beyond the map; here the map is padded first, by as much as the last window needs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch

nn = torch.nn
AvgPool = nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d
LPPool = nn.LPPool1d | nn.LPPool2d | nn.LPPool3d
MaxPool = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d

NO_BATCH = "maps without a batch are refused: Keras's have one"


@builds(
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    layout="channels",
    how="MaxPooling after a pad of -inf; maxima of a gather where dilated",
    limits="return_indices is refused, and so are maps without a batch; a NaN beside a number is passed over",
    moves_only=True,
)
def max_pool(layer: MaxPool, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): the greatest value of each window, which is no less than one of the map's."""
    refuse_places(layer, site)
    windows, least = windows_of(layer, site, x), _least(x)
    if all(each.dilation == 1 for each in windows):
        return _pooled("Max", _padded(x, site, windows, least), site, windows)
    for axis, each in zip(site.spatial, windows, strict=True):
        x = keras.ops.max(gathered(x, axis, each.indices, least), axis=axis + 1)
    return x


def _least(x: Any) -> float:
    """What is no greater than anything in a tensor of its kind of numbers."""
    kind = keras.backend.standardize_dtype(x.dtype)
    return -math.inf if "float" in kind else int(np.iinfo(kind).min)


@builds(
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    layout="channels",
    how="AveragePooling after a pad of zeros, times what torch divides otherwise by",
    limits=NO_BATCH,
)
def avg_pool(layer: AvgPool, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): the sum of each window, divided by the size that torch gives it."""
    windows = windows_of(layer, site, x)
    return averaged(x, site, windows, layer.count_include_pad, getattr(layer, "divisor_override", None))


@builds(
    nn.LPPool1d,
    nn.LPPool2d,
    nn.LPPool3d,
    layout="channels",
    how="AveragePooling of powers, times the window's size, to the inverse power; MaxPooling where the power is inf",
    limits=f"{NO_BATCH}; powers below 1.2e-38 are zero, as TensorFlow has no subnormal numbers",
)
def lp_pool(layer: LPPool, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): the root of the sum of each window's powers.

    Of a window that ceil_mode has beyond the map, torch takes the average times the whole kernel: so does this.
    """
    windows, power = windows_of(layer, site, x), float(layer.norm_type)
    if math.isinf(power):
        sign = math.copysign(1, power)
        x = _padded(sign * keras.ops.abs(x), site, windows, -math.inf)
        return sign * _pooled("Max", x, site, windows)
    x = averaged(raised(x, power), site, windows, include_pad=True)
    return raised(x * float(math.prod(each.kernel for each in windows)), 1 / power)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows along one axis of space: torch's settings there, and the map's size."""

    size: int
    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False

    @property
    def reach(self) -> int:
        """From a window's first place to beyond its last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def count(self) -> int:
        """How many there are: with ceil_mode also one that begins inside the map or before it, and ends beyond."""
        room = self.size + 2 * self.padding - self.reach
        if not self.ceil_mode:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        return count - ((count - 1) * self.stride >= self.size + self.padding)

    @property
    def starts(self) -> Array:
        """(count,): where each begins in the map; before it where negative."""
        return np.arange(self.count) * self.stride - self.padding

    @property
    def pads(self) -> tuple[int, int]:
        """What is missing before the first and after the last."""
        return self.padding, max(0, int(self.starts[-1]) + self.reach - self.size)

    @property
    def indices(self) -> Array:
        """(count, kernel): the places in each window; -1 for one outside of the map."""
        places = self.starts[:, None] + self.dilation * np.arange(self.kernel)
        return np.where((places >= 0) & (places < self.size), places, -1)

    def sizes(self, *, include_pad: bool) -> Array:
        """(count,): what torch takes for the size of each: what is in the map, or in the map and its padding."""
        before, beyond = (self.padding, self.size + self.padding) if include_pad else (0, self.size)
        ends = self.starts + self.kernel
        inside: Array = np.minimum(ends, beyond) - np.maximum(self.starts, -before)
        return inside


def windows_of(layer: Any, site: Site, x: Any) -> list[Windows]:
    """Those along each axis of space, in torch's order. Raises ConversionError for a map without a batch."""
    rank = rank_of(layer)
    sizes = sizes_of(site, x, rank)
    kernel = _each(layer.kernel_size, rank)
    stride = _each(layer.stride, rank) if layer.stride is not None and layer.stride != () else kernel
    padding, dilation = (
        _each(getattr(layer, key, default), rank) for key, default in (("padding", 0), ("dilation", 1))
    )
    return [
        Windows(size=size, kernel=k, stride=s, padding=p, dilation=d, ceil_mode=layer.ceil_mode)
        for size, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]


def refuse_places(layer: Any, site: Site) -> None:
    """Raises ConversionError for a pooling that is asked where its maxima are."""
    if layer.return_indices:
        raise ConversionError(
            f"{_at(site)}return_indices={layer.return_indices}: Keras's poolings do not tell where their maxima are"
        )


def rank_of(layer: Any) -> int:
    """How many axes of space a kind has by its name: 2 for AvgPool2d."""
    return int(type(layer).__name__[-2])


def sizes_of(site: Site, x: Any, rank: int) -> list[int]:
    """The sizes of a map along its axes of space. Raises ConversionError for another number of them than `rank`."""
    if len(site.spatial) != rank:
        raise ConversionError(
            f"{_at(site)}an input of {len(x.shape)} axes; batch, channels and {rank} of space are needed"
        )
    return [int(x.shape[axis]) for axis in site.spatial]


def averaged(x: Any, site: Site, windows: Sequence[Windows], include_pad: bool, divisor: int | None = None) -> Any:
    """The sum of each window, divided by `divisor` or by its size as torch counts it."""
    if "float" not in keras.backend.standardize_dtype(x.dtype):
        raise ConversionError(
            f"{_at(site)}an average of whole numbers, which torch rounds down and Keras does not take"
        )
    x = _pooled("Average", _padded(x, site, windows, 0.0), site, windows)
    if divisor is not None:
        return x * (math.prod(each.kernel for each in windows) / divisor)
    for axis, each in zip(site.spatial, windows, strict=True):
        factors = each.kernel / each.sizes(include_pad=include_pad)
        if (factors != 1).any():
            x = x * along(factors, axis, len(x.shape))
    return x


def gathered(x: Any, axis: int, indices: Array, outside: float) -> Any:
    """(..., size, ...) to (..., count, kernel, ...): the values at indices (count, kernel), `outside` where -1."""
    if (indices < 0).any():
        x = keras.ops.pad(x, _pads(len(x.shape), {axis: (0, 1)}), constant_values=outside)
    last = int(x.shape[axis]) - 1
    return keras.ops.take(x, np.where(indices < 0, last, indices).astype(np.int32), axis=axis)


def along(values: Array, axis: int, rank: int) -> Array:
    """(count,) as a float32 array of that rank, to be broadcast along all other axes."""
    return np.reshape(values, [-1 if i == axis else 1 for i in range(rank)]).astype(np.float32)


def raised(x: Any, power: float) -> Any:
    """x to a power, computed as torch does where the power has an operation of its own."""
    simple = {1: lambda x: x, 2: keras.ops.square, 0.5: keras.ops.sqrt, -1: keras.ops.reciprocal}
    return simple[power](x) if power in simple else keras.ops.power(x, power)


def _pooled(kind: str, x: Any, site: Site, windows: Sequence[Windows]) -> Any:
    """A Keras pooling of that kind, without any padding."""
    pooling = getattr(keras.layers, f"{kind}Pooling{len(windows)}D")
    made = pooling(
        tuple(each.kernel for each in windows),
        strides=tuple(each.stride for each in windows),
        data_format=site.data_format,
        name=site.name(),
    )
    return site.layer(made)(x)


def _padded(x: Any, site: Site, windows: Sequence[Windows], value: float) -> Any:
    """The map with `value` wherever its windows reach beyond it."""
    pads = dict(zip(site.spatial, (each.pads for each in windows), strict=True))
    if not any(map(any, pads.values())):
        return x
    return keras.ops.pad(x, _pads(len(x.shape), pads), constant_values=value)


def _pads(rank: int, pads: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    return [pads.get(axis, (0, 0)) for axis in range(rank)]


def _each(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """A setting along each axis, given once for all or for each."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return values * rank if len(values) == 1 else values


def _at(site: Site) -> str:
    return f"{site.path}: " if site.path else ""
