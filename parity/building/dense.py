"""Fully connected layers and tables, on the last axis that torch has: i input features, o output features."""

from typing import Any

from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch


@builds(torch.nn.Linear, layout="torch", how="Dense")
def linear(layer: torch.nn.Linear, site: Site, x: Any) -> Any:
    """(..., i) to (..., o)."""
    return _dense(layer, layer.out_features, site, x)


@builds(torch.nn.Bilinear, layout="torch", how="Dense of all products of two features")
def bilinear(layer: torch.nn.Bilinear, site: Site, x: Any, y: Any) -> Any:
    """(..., i) and (..., j) to (..., o), by all their i * j products."""
    products = keras.ops.expand_dims(x, -1) * keras.ops.expand_dims(y, -2)
    shape = [-1 if size is None else size for size in x.shape[:-1]]
    products = keras.ops.reshape(products, [*shape, layer.in1_features * layer.in2_features])
    return _dense(layer, layer.out_features, site, products)


def _dense(layer: torch.nn.Linear | torch.nn.Bilinear, features: int, site: Site, x: Any) -> Any:
    """(..., i) to (..., o) with the weights of the layer."""
    if not layer.weight.numel():
        raise ConversionError(f"{layer} has no weights, and Keras has no layer without features")
    made = keras.layers.Dense(features, use_bias=layer.bias is not None, name=site.name())
    return site.layer(made, weights_of=layer)(x)


@builds(
    torch.nn.Embedding,
    layout="torch",
    how="Embedding",
    limits="max_norm is refused: torch rewrites the table while it runs",
    moves_only=True,
)
def embedding(layer: torch.nn.Embedding, site: Site, x: Any) -> Any:
    """(...) whole numbers to (..., o): the rows of the table; that of `padding_idx` as it is, once training is over."""
    if layer.max_norm is not None:
        raise ConversionError(f"torch.nn.Embedding with max_norm={layer.max_norm} rewrites its table while it runs")
    made = keras.layers.Embedding(layer.num_embeddings, layer.embedding_dim, name=site.name())
    return site.layer(made, weights_of=layer)(x)
