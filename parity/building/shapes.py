"""What moves values: pixels to channels and back, channels among themselves, axes joined and split, patches.

`rearranged` does the most of it: axes are split into parts, and parts joined into axes, wherever the port has them.
`Fold` alone computes: it adds where patches overlap.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch

F = torch.nn.functional
FLAT = "Reshape, of torch's order of the axes"


def rearranged(x: Any, splits: Mapping[int, Mapping[str, int]], axes: Mapping[int, Sequence[str]]) -> Any:
    """x with some axes split into named parts of the given sizes, and made again of others' parts, in that order.

    An axis that `axes` does not mention is what it was: of its own parts, if it was split, else whole.
    """
    shape, places = list[int](), dict[Any, int]()
    for axis, size in enumerate(x.shape):
        parts = splits.get(axis, {axis: -1 if size is None else size})
        places.update({part: len(shape) + i for i, part in enumerate(parts)})
        shape.extend(parts.values())
    made = [list(axes.get(axis, splits.get(axis, [axis]))) for axis in range(len(x.shape))]
    x = keras.ops.transpose(keras.ops.reshape(x, shape), [places[part] for parts in made for part in parts])
    sizes = [[shape[places[part]] for part in parts] for parts in made]
    return keras.ops.reshape(x, [-1 if -1 in each else int(np.prod(each)) for each in sizes])


@builds(F.pixel_shuffle, layout="channels", how="Reshape and transpose", limits="fixed sizes", moves_only=True)
def pixel_shuffle(site: Site, input: Any, upscale_factor: int) -> Any:
    """(N, c r r, h, w) to (N, c, h r, w r): each pixel becomes r x r."""
    c, h, w = (site.axis(dim) for dim in (-3, -2, -1))
    channels = _channels(input, c) // upscale_factor**2
    splits = {c: {"c": channels, "up": upscale_factor, "right": upscale_factor}}
    splits |= {axis: {name: input.shape[axis]} for axis, name in ((h, "h"), (w, "w"))}
    return rearranged(input, splits, {c: ["c"], h: ["h", "up"], w: ["w", "right"]})


@builds(torch.nn.PixelShuffle, layout="channels", how="Reshape and transpose", limits="fixed sizes", moves_only=True)
def pixel_shuffle_layer(layer: torch.nn.PixelShuffle, site: Site, x: Any) -> Any:
    """(N, c r r, h, w) to (N, c, h r, w r)."""
    return pixel_shuffle(site, x, layer.upscale_factor)


@builds(F.pixel_unshuffle, layout="channels", how="Reshape and transpose", limits="fixed sizes", moves_only=True)
def pixel_unshuffle(site: Site, input: Any, downscale_factor: int) -> Any:
    """(N, c, h r, w r) to (N, c r r, h, w): r x r pixels become one."""
    c, h, w = (site.axis(dim) for dim in (-3, -2, -1))
    splits = {c: {"c": _channels(input, c)}}
    splits |= {
        axis: {name: input.shape[axis] // downscale_factor, part: downscale_factor}
        for axis, name, part in ((h, "h", "down"), (w, "w", "left"))
    }
    return rearranged(input, splits, {c: ["c", "down", "left"], h: ["h"], w: ["w"]})


@builds(torch.nn.PixelUnshuffle, layout="channels", how="Reshape and transpose", limits="fixed sizes", moves_only=True)
def pixel_unshuffle_layer(layer: torch.nn.PixelUnshuffle, site: Site, x: Any) -> Any:
    """(N, c, h r, w r) to (N, c r r, h, w)."""
    return pixel_unshuffle(site, x, layer.downscale_factor)


@builds(
    F.channel_shuffle, torch.native_channel_shuffle, layout="channels", how="Reshape and transpose", moves_only=True
)
def channel_shuffle(site: Site, input: Any, groups: int) -> Any:
    """(N, g c, ...) to (N, c g, ...): the first of each group, then the second of each."""
    parts = {"group": groups, "channel": _channels(input, site.channels) // groups}
    return rearranged(input, {site.channels: parts}, {site.channels: ["channel", "group"]})


@builds(torch.nn.ChannelShuffle, layout="channels", how="Reshape and transpose", moves_only=True)
def channel_shuffle_layer(layer: torch.nn.ChannelShuffle, site: Site, x: Any) -> Any:
    """(N, g c, ...) to (N, c g, ...)."""
    return channel_shuffle(site, x, layer.groups)


def _channels(x: Any, axis: int) -> int:
    """How many channels there are: known, or refused."""
    if x.shape[axis] is None:
        raise ConversionError("what is shuffled has an unknown number of channels")
    return int(x.shape[axis])


@builds(torch.nn.Flatten, layout="torch", how=FLAT, limits="fixed sizes", moves_only=True)
def flatten(layer: torch.nn.Flatten, site: Site, x: Any) -> Any:
    """Axes from the first to the last that it names become one, in torch's order; the batch may be one of them."""
    rank = len(x.shape)
    first, last = layer.start_dim % rank, layer.end_dim % rank
    return _reshaped(site, x, [*x.shape[:first], _product(x.shape[first : last + 1]), *x.shape[last + 1 :]])


@builds(torch.nn.Unflatten, layout="torch", how=FLAT, limits="fixed sizes", moves_only=True)
def unflatten(layer: torch.nn.Unflatten, site: Site, x: Any) -> Any:
    """An axis becomes several, in torch's order."""
    axis, sizes = layer.dim % len(x.shape), list(layer.unflattened_size)
    if x.shape[axis] is not None and -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[axis] // -int(np.prod(sizes))
    return _reshaped(site, x, [*x.shape[:axis], *sizes, *x.shape[axis + 1 :]])


def _product(sizes: Sequence[int | None]) -> int | None:
    return None if None in sizes else int(np.prod([size or 0 for size in sizes]))


def _reshaped(site: Site, x: Any, shape: Sequence[int | None]) -> Any:
    """A Reshape layer where the batch stays what it is, and the operation otherwise; at most one size is not known."""
    if (
        shape[0] is None
        and x.shape[0] is None
        and None not in shape[1:]
        and _product(shape[1:]) == _product(x.shape[1:])
    ):
        return site.layer(keras.layers.Reshape(shape[1:], name=site.name()))(x)
    return keras.ops.reshape(x, [-1 if size is None else size for size in shape])


@builds(
    torch.nn.Unfold, layout="torch", how="rows, then columns, gathered for each place of the kernel", moves_only=True
)
def unfold(layer: torch.nn.Unfold, site: Site, x: Any) -> Any:
    """(N, c, h, w) to (N, c kh kw, L): the patch at each of L places, row after row."""
    settings = [_pair(value) for value in (layer.kernel_size, layer.dilation, layer.padding, layer.stride)]
    return unfolded(x, *settings)


@builds(F.unfold, layout="torch", how="as Unfold", moves_only=True)
def unfold_of(site: Site, input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """(N, c, h, w) to (N, c kh kw, L)."""
    return unfolded(input, *map(_pair, (kernel_size, dilation, padding, stride)))


def unfolded(
    x: Any, kernel: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int], stride: tuple[int, int]
) -> Any:
    """(N, c, h, w) to (N, c kh kw, L), by zeros around the image and what each place of the kernel reads of it."""
    if len(x.shape) != 4:
        raise ConversionError(f"Unfold of a tensor of {len(x.shape)} axes; give it a batch of images")
    _, c, height, width = x.shape
    x = keras.ops.pad(x, [(0, 0), (0, 0), *((pad, pad) for pad in padding)])
    rows, columns = (
        _read(size, *each)
        for size, each in zip((height, width), zip(kernel, dilation, padding, stride, strict=True), strict=True)
    )
    x = keras.ops.take(keras.ops.take(x, rows, axis=2), columns, axis=4)  # (N, c, kh, rows, kw, columns)
    places = rows.shape[1] * columns.shape[1]
    return keras.ops.reshape(keras.ops.transpose(x, (0, 1, 2, 4, 3, 5)), (-1, c * kernel[0] * kernel[1], places))


def _read(size: int, kernel: int, dilation: int, padding: int, stride: int) -> Array:
    """(k, L): the place along a padded axis that position k of the kernel reads at each of its L stops."""
    stops = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return np.asarray(dilation * np.arange(kernel)[:, None] + stride * np.arange(stops), np.int32)


@builds(torch.nn.Fold, layout="torch", how="what reaches each pixel gathered, and added")
def fold(layer: torch.nn.Fold, site: Site, x: Any) -> Any:
    """(N, c kh kw, L) to (N, c, h, w): patches are put where they are from, and added where they overlap."""
    settings = (layer.output_size, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    return folded(x, *map(_pair, settings))


@builds(F.fold, layout="torch", how="as Fold")
def fold_of(
    site: Site, input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """(N, c kh kw, L) to (N, c, h, w)."""
    return folded(input, *map(_pair, (output_size, kernel_size, dilation, padding, stride)))


def folded(
    x: Any,
    size: tuple[int, int],
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
) -> Any:
    """(N, c kh kw, L) to (N, c, h, w), first along the rows and then along the columns."""
    if len(x.shape) != 3:
        raise ConversionError(f"Fold of a tensor of {len(x.shape)} axes; give it a batch of patches")
    each = [_read(*of) for of in zip(size, kernel, dilation, padding, stride, strict=True)]
    stops = [read.shape[1] for read in each]
    c = x.shape[1] // (kernel[0] * kernel[1])
    x = keras.ops.reshape(x, (-1, c, *kernel, *stops))
    x = keras.ops.transpose(x, (0, 1, 2, 4, 3, 5))  # (N, c, kh, rows, kw, columns)
    x = keras.ops.reshape(x, (-1, c, kernel[0] * stops[0], kernel[1], stops[1]))
    x = _added(x, each[0] - padding[0], size[0], axis=2)
    x = keras.ops.reshape(x, (-1, c, size[0], kernel[1] * stops[1]))
    return _added(x, each[1] - padding[1], size[1], axis=3)


def _added(x: Any, places: Array, size: int, axis: int) -> Any:
    """The sum of what goes to each of `size` places along an axis: `places` says where its values, in order, go."""
    flat = places.reshape(-1)
    readers = [np.flatnonzero(flat == place) for place in range(size)]
    none, most = len(flat), max(1, *(len(each) for each in readers))  # what is at `none` is zero
    indices = np.asarray([[*each, *[none] * (most - len(each))] for each in readers], np.int32)
    x = keras.ops.pad(x, [(0, int(i == axis)) for i in range(len(x.shape))])
    return keras.ops.sum(keras.ops.take(x, indices, axis=axis), axis=axis + 1)


def _pair(value: Any) -> tuple[int, int]:
    one, other = (value, value) if isinstance(value, int) else value
    return int(one), int(other)
