"""Layers that several tests of wiring make their pairs of."""

from collections.abc import Callable
from typing import Any

from small_pairs import (
    layers,
    port_of,
)


def conv(filters: int, name: str, size: int = 3) -> Any:
    """A Keras convolution that keeps the size of its map."""
    return layers.Conv2D(filters, size, padding="same", name=name)


def joined_port_1x1(reference: Any, join: Callable[[Any, Any], Any]) -> Any:
    """A port of two 1x1 convolutions that `join` puts together, and one after them."""

    def build(x: Any) -> Any:
        return conv(2, "last", 1)(join(conv(4, "left", 1)(x), conv(4, "right", 1)(x)))

    return port_of(reference, (8, 6, 3), build)
