"""Fully connected layers and tables, on the last axis that torch has."""

from typing import Any

from parity.building.registry import builds
from parity.building.values import Site
from parity.frameworks import keras, torch


@builds(torch.nn.Linear, layout="torch", how="Dense")
def linear(layer: torch.nn.Linear, site: Site, x: Any) -> Any:
    """(..., i) to (..., o)."""
    made = keras.layers.Dense(layer.out_features, use_bias=layer.bias is not None, name=site.name())
    return site.layer(made, weights_of=layer)(x)
