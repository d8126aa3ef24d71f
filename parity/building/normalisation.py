"""Normalisations over batches, layers, groups, instances and channels.

Keras's layers normalise x as x s + (b - mean s), which loses digits where the mean is large beside the deviation: XLA
keeps more digits of one product than of the other, and what should be nothing is a rounding of x s. So wherever a mean
is taken of what is to be normalised it is subtracted first; the layer then finds a mean of next to nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.pooling import NO_BATCH, rank_of, sizes_of
from parity.building.registry import builds
from parity.building.values import Site
from parity.converters.registry import optional
from parity.errors import ConversionError
from parity.frameworks import keras, torch

nn = torch.nn
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
InstanceNorm = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
OVER_THE_BATCH = "over all axes is refused: the port's first is the batch, of any size"


@builds(
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    layout="channels",
    how="BatchNormalization; without running statistics, moments of the batch",
)
def batch_norm(layer: BatchNorm, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): by the running statistics, or by the batch's own where there are none."""
    if layer.running_mean is not None:
        return site.layer(_batch_normalization(layer, site, layer.eps), weights_of=layer)(x)
    axes = [axis for axis in range(len(x.shape)) if axis != site.channels]
    x = centred(centred(x, axes), axes)  # the first mean is itself rounded
    x = x * keras.ops.rsqrt(keras.ops.mean(keras.ops.square(x), axis=axes, keepdims=True) + layer.eps)
    if layer.weight is None and layer.bias is None:
        return x
    neutral = [np.zeros(layer.num_features, np.float32), np.ones(layer.num_features, np.float32)]
    scaled = _batch_normalization(layer, site, 0.0)
    return site.layer(scaled, arrays=[*optional(layer.weight), *optional(layer.bias), *neutral])(x)


@builds(
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    layout="channels",
    how="GroupNormalization of one channel a group, of what is centred; BatchNormalization with running statistics",
    limits=NO_BATCH,
)
def instance_norm(layer: InstanceNorm, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): each map by its own mean and deviation, or by running ones."""
    sizes_of(site, x, rank_of(layer))
    if layer.track_running_stats:
        return site.layer(_batch_normalization(layer, site, layer.eps), weights_of=layer)(x)
    made = keras.layers.GroupNormalization(
        groups=-1,
        axis=site.channels,
        epsilon=layer.eps,
        scale=layer.weight is not None,
        center=layer.bias is not None,
        name=site.name(),
    )
    return site.layer(made, weights_of=layer)(centred(x, site.spatial))


@builds(nn.GroupNorm, layout="channels", how="GroupNormalization of what is centred")
def group_norm(layer: nn.GroupNorm, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): each group of channels by its own mean and deviation."""
    made = keras.layers.GroupNormalization(
        groups=layer.num_groups,
        axis=site.channels,
        epsilon=layer.eps,
        scale=layer.weight is not None,
        center=layer.bias is not None,
        name=site.name(),
    )
    return site.layer(made, weights_of=layer)(_centred_by_group(x, site.channels, layer.num_groups))


@builds(nn.LayerNorm, layout="any", how="LayerNormalization of what is centred", limits=OVER_THE_BATCH)
def layer_norm(layer: nn.LayerNorm, site: Site, x: Any) -> Any:
    """(..., *normalized_shape) to the same: each by its own mean and deviation over the last axes that torch has."""
    axes = [site.axis(dim) for dim in _normalised(layer, site)]
    made = keras.layers.LayerNormalization(
        axis=sorted(axes),
        epsilon=layer.eps,
        scale=layer.weight is not None,
        center=layer.bias is not None,
        name=site.name(),
    )
    arrays = _in_order(axes, [*optional(layer.weight), *optional(layer.bias)])
    return site.layer(made, arrays=arrays)(centred(x, axes))


@builds(nn.RMSNorm, layout="torch", how="RMSNormalization", limits=OVER_THE_BATCH)
def rms_norm(layer: nn.RMSNorm, site: Site, x: Any) -> Any:
    """(..., *normalized_shape) to the same: each divided by its root mean square over the last axes.

    These must be the port's last as well: Keras multiplies by its scale along the last axes whatever it was told.
    Torch's own epsilon, where none is given, is that of the kind of number.
    """
    axes = _normalised(layer, site)
    epsilon = float(np.finfo(np.float32).eps if layer.eps is None else layer.eps)
    if layer.weight is None:
        return keras.ops.rms_normalization(x, axis=axes, epsilon=epsilon)
    made = keras.layers.RMSNormalization(axis=axes, epsilon=epsilon, name=site.name())
    return site.layer(made, weights_of=layer)(x)


@builds(nn.LocalResponseNorm, layout="channels", how="AveragePooling1D of squares along the channels")
def local_response_norm(layer: nn.LocalResponseNorm, site: Site, x: Any) -> Any:
    """(N, C, ...) to (N, C, ...): x / (k + alpha * the mean of squares of `size` channels around) ** beta.

    Channels that there are not count as zero. What is after the channels in the port is one axis meanwhile.
    """
    shape, size = [-1, *x.shape[1:]], layer.size
    after = int(np.prod(shape[site.channels + 1 :], dtype=int))
    squares = keras.ops.reshape(keras.ops.square(x), (-1, shape[site.channels], after))
    squares = keras.ops.pad(squares, [(0, 0), (size // 2, (size - 1) // 2), (0, 0)])
    means = keras.ops.average_pool(squares, size, strides=1, padding="valid", data_format="channels_last")
    means = keras.ops.reshape(means, shape)
    return x / keras.ops.power(means * layer.alpha + layer.k, layer.beta)


def centred(x: Any, axes: Sequence[int]) -> Any:
    """x less its mean over those axes."""
    return x - keras.ops.mean(x, axis=axes, keepdims=True)


def _centred_by_group(x: Any, channels: int, groups: int) -> Any:
    """x less the mean of each group of channels."""
    shape = [-1, *x.shape[1:]]
    grouped = [*shape[:channels], groups, shape[channels] // groups, *shape[channels + 1 :]]
    axes = [axis for axis in range(1, len(grouped)) if axis != channels]
    return keras.ops.reshape(centred(keras.ops.reshape(x, grouped), axes), shape)


def _batch_normalization(layer: BatchNorm | InstanceNorm, site: Site, epsilon: float) -> Any:
    return keras.layers.BatchNormalization(
        axis=site.channels,
        epsilon=epsilon,
        scale=layer.weight is not None,
        center=layer.bias is not None,
        name=site.name(),
    )


def _normalised(layer: nn.LayerNorm | nn.RMSNorm, site: Site) -> list[int]:
    """The last axes of torch, counted from the end. Raises ConversionError where they are all that there are."""
    count = len(layer.normalized_shape)
    if count == len(site.order):
        raise ConversionError(
            f"{site.path or 'it'}: normalized_shape={tuple(layer.normalized_shape)} is all of the input, and the first "
            "axis of the port is the batch, of any size"
        )
    return [*range(-count, 0)]


def _in_order(axes: Sequence[int], arrays: Sequence[Array]) -> list[Array]:
    """Arrays of torch's last axes, with these in the order in which the port has them."""
    return [np.transpose(array, np.argsort(axes)) for array in arrays]
