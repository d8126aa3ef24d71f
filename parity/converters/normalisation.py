"""Normalisations: vectors of c channels. Their epsilon is no weight, and Keras's default differs from torch's."""

from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters.registry import kind_name, numpy, register
from parity.errors import WeightError
from parity.frameworks import torch

BatchNorm = torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d
InstanceNorm = torch.nn.InstanceNorm1d | torch.nn.InstanceNorm2d | torch.nn.InstanceNorm3d
Normalisation = BatchNorm | InstanceNorm | torch.nn.LayerNorm | torch.nn.GroupNorm


@register(torch.nn.InstanceNorm1d, to="BatchNormalization")
@register(torch.nn.InstanceNorm2d, to="BatchNormalization")
@register(torch.nn.InstanceNorm3d, to="BatchNormalization")
@register(torch.nn.BatchNorm1d)
@register(torch.nn.BatchNorm2d)
@register(torch.nn.BatchNorm3d)
def batch_norm(layer: BatchNorm | InstanceNorm, target: Any) -> list[Array]:
    """Gamma, beta, moving mean and moving variance, each (c,), for `keras.layers.BatchNormalization`.

    A layer that is not affine has neither gamma nor beta; where the target has them, they become 1 and 0.
    """
    if layer.running_mean is None or layer.running_var is None:
        by = "map" if isinstance(layer, InstanceNorm) else "batch"
        raise WeightError(f"{kind_name(type(layer))} without running statistics normalises by each {by}'s own")
    statistics = [numpy(layer.running_mean), numpy(layer.running_var)]
    return [*_scale_and_shift(layer, target, layer.num_features), *statistics]


@register(torch.nn.InstanceNorm1d)
@register(torch.nn.InstanceNorm2d)
@register(torch.nn.InstanceNorm3d)
def instance_norm(layer: InstanceNorm, target: Any) -> list[Array]:
    """Gamma and beta, each (c,), for `keras.layers.GroupNormalization` of one channel a group."""
    if layer.running_mean is not None:
        raise WeightError(f"{kind_name(type(layer))} with running statistics is a BatchNormalization in Keras")
    groups = getattr(target, "groups", layer.num_features)
    if groups not in (layer.num_features, -1):
        raise WeightError(f"{kind_name(type(layer))} has {layer.num_features} groups, and the port's layer {groups}")
    return _scale_and_shift(layer, target, layer.num_features)


@register(torch.nn.LayerNorm)
def layer_norm(layer: torch.nn.LayerNorm, target: Any) -> list[Array]:
    """Gamma and beta, each (c,), for `keras.layers.LayerNormalization` over the last axis."""
    if len(layer.normalized_shape) != 1:
        raise WeightError(
            f"torch.nn.LayerNorm over {len(layer.normalized_shape)} axes has no converter: "
            "the order of its axes in the port is not known"
        )
    return _scale_and_shift(layer, target, layer.normalized_shape[0])


@register(torch.nn.RMSNorm)
def rms_norm(layer: torch.nn.RMSNorm, target: Any) -> list[Array]:
    """Scale, of the normalised axes as torch has them, for `keras.layers.RMSNormalization` over the last ones."""
    if layer.weight is None:
        return [np.ones(layer.normalized_shape, np.float32)]
    return [numpy(layer.weight)]


@register(torch.nn.GroupNorm)
def group_norm(layer: torch.nn.GroupNorm, target: Any) -> list[Array]:
    """Gamma and beta, each (c,), for `keras.layers.GroupNormalization` of the same groups."""
    groups = getattr(target, "groups", layer.num_groups)
    if groups not in (layer.num_groups, -1):
        raise WeightError(f"torch.nn.GroupNorm has {layer.num_groups} groups, and the port's layer {groups}")
    return _scale_and_shift(layer, target, layer.num_channels)


def _scale_and_shift(layer: Normalisation, target: Any, channels: int) -> list[Array]:
    """Gamma and beta, if either side has them: a scale of 1 and a shift of 0 are what lacking them means in torch.

    One that only torch has is given all the same, so that the counts of weights differ and it is not lost.
    """
    arrays = []
    for tensor, wanted, neutral in ((layer.weight, "scale", np.ones), (layer.bias, "center", np.zeros)):
        if tensor is not None:
            arrays.append(numpy(tensor))
        elif getattr(target, wanted, False):
            arrays.append(neutral(channels, np.float32))
    return arrays
