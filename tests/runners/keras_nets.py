"""Small Keras models and an input for them, and what their segments make."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import keras
from parity.pairs import INPUT
from parity.runners.keras_model import KerasModel
from parity.runners.segments import Segment

layers = keras.layers


def image(*shape: int, seed: int = 1) -> Array:
    """Noise of both signs: by default two pictures, 5 high and 7 wide, of 3 channels."""
    return np.random.default_rng(seed).standard_normal(shape or (2, 5, 7, 3), dtype=np.float32)


def chain(*steps: Callable[[Any], Any], shape: tuple[int | None, ...] = (5, 7, 3)) -> Any:
    """A model of one step after the other; weights, biases too, are drawn from a seed."""
    start = value = keras.Input(shape)
    for step in steps:
        value = step(value)
    return drawn(keras.Model(start, value))


def drawn(model: Any) -> Any:
    """The model with noise in every weight."""
    generator = np.random.default_rng(5)
    model.set_weights([generator.uniform(0.1, 0.5, weight.shape) for weight in model.weights])
    return model


def network() -> Any:
    """Convolution, activation, padded convolution, and the sum with the first convolution's values."""
    start = keras.Input((5, 7, 3))
    first = layers.Conv2D(5, 3, padding="same", name="first")(start)
    second = layers.LeakyReLU(negative_slope=0.1, name="act")(first)
    second = layers.ZeroPadding2D(1, name="pad")(second)
    second = layers.Conv2D(5, 3, name="second")(second)
    return drawn(keras.Model(start, layers.Add(name="sum")([first, second])))


ALL = {"r1": "first", "r2": "act", "r3": "second", "r4": "sum"}
"""Which reference taps (r) answer; the padding has none."""


def whole(port: KerasModel, segments: Sequence[Segment], array: Array, mode: str) -> tuple[dict[str, Array], Array]:
    """What `propagate` gives when every value of every segment is asked for."""
    model = keras.Model(port.model.inputs[0], [_tensor(port, segment) for segment in segments])
    shapes = [value.shape for value in keras.tree.flatten(model(array))]
    samples, outputs = port.propagate({INPUT: array}, segments, [np.arange(np.prod(shape)) for shape in shapes], mode)
    return {s.layer: v.reshape(shape) for s, v, shape in zip(segments, samples, shapes, strict=True)}, outputs["output"]


def _tensor(port: KerasModel, segment: Segment) -> Any:
    return next(t for node in segment.nodes for t in node.outputs if id(t) == segment.tap.key)
