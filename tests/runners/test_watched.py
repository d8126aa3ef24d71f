"""What cannot be opened is watched: layers' calls are firings, what is between is cut out, nothing stays patched."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.axes import Array
from parity.frameworks import keras, tf
from parity.pairs import Input
from parity.runners.graphs import Graph
from parity.runners.watched import watched

tf_keras = pytest.importorskip("tf_keras")
layers = tf_keras.layers


def given(*args: Any) -> Input:
    """An input of these arguments."""
    return Input(name="given", args=args)


def image(*shape: int) -> Array:
    """Noise of both signs: by default two pictures, 5 high and 7 wide, of 3 channels."""
    return np.random.default_rng(1).standard_normal(shape or (2, 5, 7, 3), dtype=np.float32)


def graph_of(model: Any, *args: Any) -> Graph:
    """The watched model, which must have a graph."""
    graph = watched(model, [given(*args)])
    assert graph is not None
    return graph


def names(graph: Graph) -> list[str]:
    """The names of its firings in order."""
    return [node.name for node in graph.nodes]


def legacy() -> Any:
    """A functional model of tf_keras with functions of TensorFlow between its layers; one layer is used twice."""
    start = layers.Input((5, 7, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    value = tf.roll(tf.nn.leaky_relu(shared(start), 0.1), 1, -1)
    return tf_keras.Model(start, layers.Dense(2, name="last")(tf.nn.relu(shared(value))))


class Masked(tf_keras.Model):  # type: ignore[misc]
    """An embedding whose mask reaches two recurrent layers without a word of it in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = layers.Embedding(11, 6, mask_zero=True)
        self.thin = layers.Dropout(0.5)
        self.walk = layers.Bidirectional(layers.GRU(3, return_sequences=True))
        self.end = layers.LSTM(4)

    def call(self, ids: Any, training: bool = True) -> Any:
        return self.end(self.walk(self.thin(self.embed(ids))))


def test_layers_and_what_is_between_are_firings() -> None:
    """A single operation of TensorFlow has its name, several together are what is between."""
    graph = graph_of(legacy(), image())
    assert names(graph) == ["shared", "between", "shared#2", "relu", "last"]
    assert [type(node.operation).__name__ for node in graph.nodes] == ["Conv2D", "Between", "Conv2D", "Relu", "Dense"]
    assert not any(node.operation.reads_weights for node in graph.nodes if hasattr(node.operation, "reads_weights"))


def test_the_graph_computes_what_the_model_computes() -> None:
    """On other values and another batch than it was made with, in each way of running it."""
    model, array = legacy(), image(3, 5, 7, 3)
    graph = graph_of(model, image())
    expected = np.asarray(model(array, training=False))
    tensor = tf.convert_to_tensor(array)
    for run in (graph.run, tf.function(graph.run), tf.function(graph.run, jit_compile=True)):
        np.testing.assert_allclose(np.asarray(run([tensor])), expected, rtol=1e-5, atol=1e-6)


def test_masks_are_arguments() -> None:
    """A layer that minds a mask reads it, and every layer is told not to train."""
    ids = np.random.default_rng(3).integers(1, 11, (2, 7), dtype=np.int32)
    ids[:, -2:] = 0
    model = Masked()
    graph = graph_of(model, ids)
    by_name = {node.name: node for node in graph.nodes}
    assert [by_name[name].arguments.kwargs["mask"].dtype for name in ("walk", "end")] == ["bool", "bool"]
    assert by_name["thin"].arguments.kwargs["training"] is False
    np.testing.assert_array_equal(
        np.asarray(graph.run([tf.convert_to_tensor(ids[:, ::-1])])), np.asarray(model(ids[:, ::-1], training=False))
    )


def test_weights_without_a_layer_are_told() -> None:
    """What is computed with a variable says so."""
    weight = tf.Variable(np.ones((3, 2), np.float32))
    graph = graph_of(lambda x: tf.matmul(x, weight), image(5, 3))
    assert names(graph) == ["mat_mul"]
    assert graph.nodes[0].operation.reads_weights
    assert graph.only_ends
    weight.assign(weight * 2.0)
    np.testing.assert_allclose(np.asarray(graph.run([tf.ones((1, 3))])), [[6.0, 6.0]])  # the variable itself is read


def test_a_loop_is_one_operation() -> None:
    """Layers called inside of a loop of TensorFlow cannot be read, and are a part of it."""
    dense = keras.layers.Dense(3)

    def looped(x: Any) -> Any:
        return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, dense(y)), (tf.constant(0), x))[1]

    graph = graph_of(looped, image(5, 3))
    assert [type(node.operation).__name__ for node in graph.nodes] == ["While"]
    np.testing.assert_allclose(
        np.asarray(graph.run([tf.convert_to_tensor(image(5, 3))])), np.asarray(looped(image(5, 3))), rtol=1e-5
    )


def test_what_cannot_be_traced_is_refused_and_nothing_stays_patched() -> None:
    """None for a function that looks at values; layers are called as before."""
    before = [sys.modules[name].layers.Layer.__call__ for name in ("keras", "tf_keras")]
    assert watched(lambda x: tf.constant(x.numpy()), [given(image())]) is None
    assert [sys.modules[name].layers.Layer.__call__ for name in ("keras", "tf_keras")] == before


def test_another_result_of_the_trace_is_refused() -> None:
    """A function that does something else while it is traced has no graph."""
    assert watched(lambda x: x * (2.0 if tf.executing_eagerly() else 3.0), [given(image())]) is None


def test_the_model_is_as_before(tmp_path: Path) -> None:
    """It can be saved and loaded, and does the same."""
    model = legacy()
    graph_of(model, image())
    model.save(tmp_path / "model.keras")
    loaded = tf_keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(loaded(image())), np.asarray(model(image())))
