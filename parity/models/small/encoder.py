"""A transformer encoder written out: heads by view and transpose, scaled products, LayerNorm, GELU."""

import math
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import keras, torch
from parity.models.small.building import named
from parity.models.small.network import SequenceNetwork

FEATURES, WIDTH, HEADS = 5, 16, 4
"""A head is as wide as there are heads, so that exchanging the two has the right shape."""
EPSILON = 1e-5
"""Torch's default; Keras's is 1e-3."""


def positions(length: int) -> Array:
    """(length, WIDTH): sines and cosines of the place, so that the order of a sequence matters."""
    angles = np.arange(length)[:, None] / 50.0 ** (np.arange(WIDTH) // 2 * 2 / WIDTH)
    return np.where(np.arange(WIDTH) % 2, np.cos(angles), np.sin(angles)).astype(np.float32)


class Attention(torch.nn.Module):
    """(B, L, WIDTH) to the same: every place looks at all."""

    def __init__(self) -> None:
        super().__init__()
        self.query = torch.nn.Linear(WIDTH, WIDTH)
        self.key = torch.nn.Linear(WIDTH, WIDTH)
        self.value = torch.nn.Linear(WIDTH, WIDTH)
        self.merge = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The class says which shapes."""
        batch, length, _ = x.shape
        query, key, value = (
            project(x).view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        scores = torch.matmul(query, key.transpose(-2, -1)) * (1.0 / math.sqrt(WIDTH // HEADS))
        looked_up = torch.matmul(torch.softmax(scores, dim=-1), value)
        merged: torch.Tensor = self.merge(looked_up.transpose(1, 2).reshape(batch, length, WIDTH))
        return merged


class Reference(torch.nn.Module):
    """(B, L, 5) to (B, 6) scores."""

    positions: torch.Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("positions", torch.from_numpy(positions(length)), persistent=False)
        self.embed = torch.nn.Linear(FEATURES, WIDTH)
        self.attention = Attention()
        self.norm1 = torch.nn.LayerNorm(WIDTH, eps=EPSILON)
        self.widen = torch.nn.Linear(WIDTH, 28)
        self.gelu = torch.nn.GELU()
        self.narrow = torch.nn.Linear(28, WIDTH)
        self.norm2 = torch.nn.LayerNorm(WIDTH, eps=EPSILON)
        self.head = torch.nn.Linear(WIDTH, 6)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """The scores; the class says which shapes."""
        x = self.embed(sequence) + self.positions
        x = self.norm1(x + self.attention(x))
        x = self.norm2(x + self.narrow(self.gelu(self.widen(x))))
        scores: torch.Tensor = self.head(x.mean(dim=1))
        return scores


def build_port(length: int) -> Any:
    """The port for sequences of that length: (B, L, 5) to (B, 6)."""
    sequence = keras.Input((length, FEATURES), name="sequence")
    x = named("placed", keras.layers.Dense(WIDTH, name="embed")(sequence) + positions(length))
    x = _norm("norm1", keras.layers.Add(name="add1")([x, _attention(x, length)]))
    y = keras.layers.Dense(28, name="widen")(x)
    y = named("gelu", keras.ops.gelu(y, approximate=False))
    y = keras.layers.Dense(WIDTH, name="narrow")(y)
    x = _norm("norm2", keras.layers.Add(name="add2")([x, y]))
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(sequence, keras.layers.Dense(6, name="head")(x), name="encoder")


def _attention(x: Any, length: int) -> Any:
    query, key, value = (_heads(name, x, length) for name in ("query", "key", "value"))
    key = named("key_across", keras.ops.transpose(key, (0, 1, 3, 2)))
    products = named("products", keras.ops.matmul(query, key))
    scores = named("scores", products * (1.0 / math.sqrt(WIDTH // HEADS)))
    weights = named("looks", keras.ops.softmax(scores, axis=-1))
    looked_up = named("looked_up", keras.ops.matmul(weights, value))
    back = named("heads_back", keras.ops.transpose(looked_up, (0, 2, 1, 3)))
    merged = named("heads_merged", keras.ops.reshape(back, (-1, length, WIDTH)))
    return keras.layers.Dense(WIDTH, name="merge")(merged)


def _heads(name: str, x: Any, length: int) -> Any:
    """(B, L, WIDTH) to (B, HEADS, L, WIDTH / HEADS)."""
    x = keras.layers.Dense(WIDTH, name=name)(x)
    split = named(f"{name}_split", keras.ops.reshape(x, (-1, length, HEADS, WIDTH // HEADS)))
    return named(f"{name}_heads", keras.ops.transpose(split, (0, 2, 1, 3)))


def _norm(name: str, x: Any) -> Any:
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


LAYERS = {
    "embed": "embed",
    "add": "placed",
    "attention.query": "query",
    "attention.view": "query_split",
    "attention.transpose": "query_heads",
    "attention.key": "key",
    "attention.view#2": "key_split",
    "attention.transpose#2": "key_heads",
    "attention.value": "value",
    "attention.view#3": "value_split",
    "attention.transpose#3": "value_heads",
    "attention.transpose#4": "key_across",
    "attention.matmul": "products",
    "attention.mul": "scores",
    "attention.softmax": "looks",
    "attention.matmul#2": "looked_up",
    "attention.transpose#5": "heads_back",
    "attention.reshape": "heads_merged",
    "attention.merge": "merge",
    "add#2": "add1",
    "norm1": "norm1",
    "widen": "widen",
    "gelu": "gelu",
    "narrow": "narrow",
    "add#3": "add2",
    "norm2": "norm2",
    "mean": "mean",
    "head": "head",
}
"""The reference's taps and the port layers that answer to them."""

NETWORK = SequenceNetwork(
    name="encoder",
    reference=Reference,
    port=build_port,
    layers=LAYERS,
    sizes=((9,), (HEADS,), (13,)),
    batch=2,
    features=FEATURES,
)
pair = NETWORK.pair
build = NETWORK.build
