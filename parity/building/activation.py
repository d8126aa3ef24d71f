"""Activations: elementwise, so their tensors may have any order."""

from typing import Any

from parity.building.registry import builds
from parity.building.values import Site
from parity.frameworks import keras, torch


@builds(torch.nn.LeakyReLU, layout="any", how="LeakyReLU")
def leaky_relu(layer: torch.nn.LeakyReLU, site: Site, x: Any) -> Any:
    """(...) to (...): x, times the slope where it is negative."""
    return site.layer(keras.layers.LeakyReLU(layer.negative_slope, name=site.name()))(x)
