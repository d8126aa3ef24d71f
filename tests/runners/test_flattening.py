"""What was opened can be copied into a flat functional model, unless something in it has no place there."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.pairs import Input
from parity.runners.flattening import flattened
from parity.runners.graphs import Graph
from parity.runners.opening import opened
from parity.runners.watched import watched

layers, ops = keras.layers, keras.ops
EXAMPLE = Input(name="given", array=np.random.default_rng(1).standard_normal((2, 5, 3), dtype=np.float32))


@dataclasses.dataclass
class Made:
    """What the model returns."""

    last: Any
    levels: tuple[Any, ...]
    factor: float = 2.0


class Twice(layers.Layer):
    """A layer around a layer; with `weighted`, beside a weight of its own."""

    def __init__(self, weighted: bool) -> None:
        super().__init__()
        self.inner = layers.Dense(3)
        self.scale = self.add_weight(shape=(3,), initializer="ones") if weighted else 2.0

    def call(self, x: Any) -> Any:
        return self.inner(x) * self.scale


class Net(keras.Model):
    """Two layers of the same inner names, one of them called twice, in a dataclass."""

    def __init__(self, weighted: bool = False) -> None:
        super().__init__()
        self.first, self.second = Twice(False), Twice(weighted)

    def call(self, x: Any) -> Made:
        first = self.first(x)
        return Made(last=self.first(self.second(first)), levels=(first, ops.relu(first)))


def graph_of(model: Any) -> Graph:
    """The opened model."""
    graph = opened(model, [EXAMPLE])
    assert graph is not None
    return graph


def test_the_copy_computes_the_same_and_shares_nothing() -> None:
    """Layers of one name in two places have two names; what is changed in the copy does not change the model."""
    model = Net()
    copy = flattened(graph_of(model))
    assert [layer.name for layer in copy.layers if layer.weights] == ["first.inner", "second.inner"]
    made, expected = copy(EXAMPLE.array), model(EXAMPLE.array)
    np.testing.assert_array_equal(np.asarray(made["last"]), np.asarray(expected.last))
    for ours, theirs in zip(made["levels"], expected.levels, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    copy.get_layer("first.inner").set_weights([np.zeros((3, 3)), np.zeros(3)])
    np.testing.assert_array_equal(np.asarray(model(EXAMPLE.array).last), np.asarray(expected.last))


def test_a_weight_that_is_no_layers_has_no_place() -> None:
    """Keras could not save it."""
    with pytest.raises(PairError, match="'second/multiply' computes with a weight that is no layer's"):
        flattened(graph_of(Net(weighted=True)))


def test_what_tensorflow_computes_has_no_place() -> None:
    """A part of a trace is no operation of Keras."""
    graph = watched(lambda x: tf.nn.relu(x), [EXAMPLE])
    assert graph is not None
    with pytest.raises(PairError, match="'relu' is no operation of Keras 3"):
        flattened(graph)
