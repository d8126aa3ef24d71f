"""Poolings to a size that is given, whether or not it divides the map.

Window i of o along an axis of length l goes from floor(i l / o) to ceil((i + 1) l / o): windows may overlap, and are of
two sizes. Maxima and averages are those along one axis after the other.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.pooling import NO_BATCH, along, gathered, rank_of, refuse_places, sizes_of
from parity.building.registry import builds
from parity.building.values import Site
from parity.frameworks import keras, torch

nn = torch.nn
AdaptiveAvgPool = nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d
AdaptiveMaxPool = nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d | nn.AdaptiveMaxPool3d


@builds(
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    layout="channels",
    how="means along each axis, of parts or of a gather",
    limits=NO_BATCH,
)
def adaptive_avg_pool(layer: AdaptiveAvgPool, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, *output_size): the average of each window."""
    return _pooled(layer, site, x, keras.ops.mean, _mean_of_gathered)


@builds(
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    layout="channels",
    how="maxima along each axis, of parts or of a gather",
    limits="return_indices is refused, and so are maps without a batch",
    moves_only=True,
)
def adaptive_max_pool(layer: AdaptiveMaxPool, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, *output_size): the greatest value of each window."""
    refuse_places(layer, site)
    return _pooled(layer, site, x, keras.ops.max, _max_of_gathered)


def windows(size: int, count: int) -> Array:
    """(count, longest): the places in each window, -1 after the last of a shorter one.

    >>> windows(5, 3).tolist()
    [[0, 1, -1], [1, 2, 3], [3, 4, -1]]
    """
    starts = np.arange(count) * size // count
    ends = -(-np.arange(1, count + 1) * size // count)
    places = starts[:, None] + np.arange((ends - starts).max())
    return np.where(places < ends[:, None], places, -1)


def _pooled(
    layer: Any, site: Site, x: Any, reduce: Callable[..., Any], reduce_gathered: Callable[[Any, int, Array], Any]
) -> Any:
    """Each axis to its size in turn: by parts of equal length where the size divides it, by a gather elsewhere."""
    sizes = sizes_of(site, x, rank_of(layer))
    counts = _counts(layer, sizes)
    if counts == sizes:
        return site.layer(keras.layers.Identity(name=site.name()))(x)
    for axis, size, count in zip(site.spatial, sizes, counts, strict=True):
        if count == 1:
            x = reduce(x, axis=axis, keepdims=True)
        elif count == size:
            continue
        elif size % count == 0:
            shape = [-1, *x.shape[1:axis], count, size // count, *x.shape[axis + 1 :]]
            x = reduce(keras.ops.reshape(x, shape), axis=axis + 1)
        else:
            x = reduce_gathered(x, axis, windows(size, count))
    return x


def _counts(layer: Any, sizes: list[int]) -> list[int]:
    """The size that is asked for along each axis: given once for all or for each, None for that of the map."""
    wanted = layer.output_size
    each = wanted if isinstance(wanted, (tuple, list)) else [wanted] * len(sizes)
    each = list(each) * len(sizes) if len(each) == 1 else each
    return [size if count is None else count for size, count in zip(sizes, each, strict=True)]


def _mean_of_gathered(x: Any, axis: int, indices: Array) -> Any:
    """The sum of each window, whose missing places are zero, divided by how many there are."""
    sums = keras.ops.sum(gathered(x, axis, indices, 0.0), axis=axis + 1)
    return sums / along((indices >= 0).sum(axis=1), axis, len(x.shape))


def _max_of_gathered(x: Any, axis: int, indices: Array) -> Any:
    """The greatest of each window: missing places repeat its first."""
    return keras.ops.max(gathered(x, axis, np.where(indices < 0, indices[:, :1], indices), 0.0), axis=axis + 1)
