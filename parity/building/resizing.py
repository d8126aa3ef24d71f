"""Resizing: every mode of torch's is, along each axis, a matrix of shares: which input values make an output value.

Torch says itself what the shares are, by resizing the identity; so sizes, factors and rounding are its own. They are
constants of the port, which gathers the values that an output value has a share of, and sums them by their shares.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch

F = torch.nn.functional
HOW = "UpSampling by whole factors; else values gathered along each axis by torch's own indices, times its weights"
LIMITS = "sizes of space are fixed; with antialias, images that become 1 wide are refused: torch resizes them wrongly"


@builds(F.interpolate, layout="channels", how=HOW, limits=LIMITS)
def interpolate(
    site: Site,
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    """(N, c, ...) to (N, c, ...): each axis of space to its size, or to its size times its factor, rounded down."""
    sides = [_known(input.shape[axis], axis) for axis in site.spatial]
    sizes, factors = (_each(value, len(sides)) for value in (size, scale_factor))
    settings = {
        "mode": mode,
        "align_corners": align_corners,
        "recompute_scale_factor": recompute_scale_factor,
        "antialias": antialias,
    }
    shares = [shares_of(sides, i, sizes[i], factors[i], **settings) for i in range(len(sides))]
    if antialias and len(shares[1]) == 1 and len(shares[0]) != sides[0]:
        raise ConversionError(
            f"with antialias torch reads the same row for every row of an image that becomes 1 wide (height {sides[0]} "
            f"to {len(shares[0])}); resize it with a width of 2 or more"
        )
    factors = [_repeated(each) for each in shares]
    if len(sides) > 1 and all(factors) and max(factors) > 1:
        kind = {2: keras.layers.UpSampling2D, 3: keras.layers.UpSampling3D}[len(sides)]
        return site.layer(kind(tuple(factors), data_format=site.data_format, name=site.name()))(input)
    changed = [(axis, each) for axis, each in zip(site.spatial, shares, strict=True) if not _changes_nothing(each)]
    if not changed:
        return site.layer(keras.layers.Identity(name=site.name()))(input)
    for axis, each in reversed(changed):
        input = shared(input, each, axis)
    return input


@builds(torch.nn.Upsample, layout="channels", how=HOW, limits=LIMITS)
def upsample(layer: torch.nn.Upsample, site: Site, x: Any) -> Any:
    """(N, c, ...) as `interpolate`."""
    return interpolate(
        site, x, layer.size, layer.scale_factor, layer.mode, layer.align_corners, layer.recompute_scale_factor
    )


@builds(torch.nn.UpsamplingNearest2d, torch.nn.UpsamplingBilinear2d, layout="channels", how=HOW, limits=LIMITS)
def upsampling(layer: torch.nn.Upsample, site: Site, x: Any) -> Any:
    """(N, c, h, w) as `interpolate`: to the nearest value, or bilinear with the corners aligned."""
    return upsample(layer, site, x)


@builds(F.upsample, layout="channels", how=HOW, limits=LIMITS)
def upsample_of(
    site: Site,
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Any:
    """(N, c, ...) as `interpolate`, whose older name it is."""
    return interpolate(site, input, size, scale_factor, mode, align_corners)


@builds(F.upsample_nearest, layout="channels", how=HOW, limits=LIMITS)
def upsample_nearest(site: Site, input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """(N, c, ...) as `interpolate` to the nearest value."""
    return interpolate(site, input, size, scale_factor)


@builds(F.upsample_bilinear, layout="channels", how=HOW, limits=LIMITS)
def upsample_bilinear(site: Site, input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """(N, c, h, w) as `interpolate`, bilinear with the corners aligned."""
    return interpolate(site, input, size, scale_factor, "bilinear", align_corners=True)


def shares_of(sides: Sequence[int], axis: int, size: int | None, factor: float | None, **settings: Any) -> Array:
    """(out, in): the share each input value has of each output value along one axis of space, as torch computes it.

    A map is resized, as large as it is along that axis, of which channel i has ones at i. Its other axes stay 2, in
    which no mode changes anything; of a width of 1, torch with antialias would make something else.

    >>> shares_of([2, 9], 0, None, 2.0, mode="bilinear", align_corners=False)[:, 0].tolist()
    [1.0, 0.75, 0.25, 0.0]
    """
    side, rest = sides[axis], len(sides) - 1
    ones = torch.eye(side).reshape(side, side, *[1] * rest).expand(side, side, *[2] * rest)
    to: list[Any] = [*[2] * axis, size, *[2] * (rest - axis)]
    by: list[Any] = [*[1.0] * axis, factor, *[1.0] * (rest - axis)]
    resized = F.interpolate(
        ones.movedim(1, axis + 1)[None].contiguous(),
        None if size is None else to,
        None if factor is None else by,
        **settings,
    )
    return np.ascontiguousarray(resized[0].movedim(axis + 1, 1).reshape(side, -1, 2**rest)[:, :, 0].T.numpy())


def shared(x: Any, shares: Array, axis: int) -> Any:
    """The sums of x along an axis by shares (out, in); of the input values only those with a share are read."""
    count = max(1, int((shares != 0).sum(axis=1).max()))
    indices = np.sort(np.argsort(shares == 0, axis=1, kind="stable")[:, :count], axis=1)
    weights = np.take_along_axis(shares, indices, axis=1)
    if count == 1 and (weights == 1).all():
        return keras.ops.take(x, indices[:, 0].astype(np.int32), axis=axis)
    gathered = keras.ops.take(x, indices.astype(np.int32), axis=axis)
    shape = [1] * axis + list(weights.shape) + [1] * (len(x.shape) - axis - 1)
    return keras.ops.sum(gathered * weights.reshape(shape), axis=axis + 1)


def _changes_nothing(shares: Array) -> bool:
    return shares.shape[0] == shares.shape[1] and np.array_equal(shares, np.eye(len(shares)))


def _repeated(shares: Array) -> int:
    """How often each value is there in turn, where that is all: a whole factor."""
    out, side = shares.shape
    whole = out % side == 0 and np.array_equal(shares, np.repeat(np.eye(side, dtype=np.float32), out // side, axis=0))
    return out // side if whole else 0


def _each(value: Any, count: int) -> Sequence[Any]:
    """A value for each axis: one for all, or one each, or None."""
    return list(value) if isinstance(value, (tuple, list)) else [value] * count


def _known(size: int | None, axis: int) -> int:
    if size is None:
        raise ConversionError(f"what is resized has no fixed size along axis {axis}; give the model one")
    return size
