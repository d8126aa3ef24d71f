"""What graphs are lifted to: the layer, with its weights and settings, that computes what the file's engine does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import frozen_net
import numpy as np
import pytest

from parity.artifacts.lifting import Lifted, lifted
from parity.artifacts.names import names_of
from parity.artifacts.tensorflow.frozen import opened
from parity.frameworks import keras, tf

MAP = (2, 11, 13, 6)
"""A map with channels last: no two sizes alike."""

FIRST = {"data_format": "channels_first"}
LAYERS = keras.layers


def filled(model: Any) -> Any:
    """A model with weights that probe it, the same every time: none is zero, variances are positive."""
    random = np.random.default_rng(3)
    model.set_weights([random.uniform(0.2, 1.0, weight.shape) * random.choice((1.0,)) for weight in model.weights])
    return model


def seen(model: Any, path: Path, shape: tuple[int, ...], dtype: str = "float32") -> tuple[Any, Lifted, Any]:
    """A model's frozen graph: its engine, what it is lifted to, and an input."""
    engine = opened(frozen_net.frozen(filled(model), path))
    ((_, tensor),) = engine.program.inputs.items()
    found = lifted(engine, engine.shaped({tensor: shape}))
    random = np.random.default_rng(1)
    given = random.normal(size=shape).astype(dtype) if "float" in dtype else random.integers(0, 5, shape).astype(dtype)
    return engine, found, {tensor: given}


def of_a_layer(layer: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """A model of one layer."""
    given = keras.Input(shape[1:], dtype=dtype, name="given")
    return keras.Model(given, layer(given), name="net")


def hold_against_each_other(engine: Any, found: Lifted, given: Any) -> None:
    """Each lifted operation, on what the engine has made before it, makes what the engine makes."""
    tensors = list(dict.fromkeys(found.tensors[id(t)] for node in found.graph.nodes for t in node.outputs))
    made = {**given, **engine.watched(given, tensors)}
    for node in found.graph.nodes:
        known = {id(symbol): tf.convert_to_tensor(made[found.tensors[id(symbol)]]) for symbol in node.input_tensors}
        args, kwargs = node.arguments.fill_in(known)
        values = keras.tree.flatten(node.operation(*args, **kwargs))
        for symbol, value in zip(node.outputs, values, strict=True):
            expected = made[found.tensors[id(symbol)]]
            np.testing.assert_allclose(np.asarray(value), expected, rtol=2e-5, atol=2e-5, err_msg=node.name)


ONE_LAYER: dict[str, Callable[[], Any]] = {
    "Conv2D": lambda: LAYERS.Conv2D(5, (3, 2), name="it"),
    "Conv2D strided": lambda: LAYERS.Conv2D(5, (3, 2), strides=(2, 3), padding="same", name="it"),
    "Conv2D dilated": lambda: LAYERS.Conv2D(5, (3, 2), dilation_rate=(2, 3), padding="same", name="it"),
    "Conv2D dilated, not padded": lambda: LAYERS.Conv2D(5, (3, 2), dilation_rate=(2, 3), name="it"),
    "Conv2D in groups": lambda: LAYERS.Conv2D(4, (3, 2), groups=2, name="it"),
    "Conv2D without a bias": lambda: LAYERS.Conv2D(5, 3, use_bias=False, name="it"),
    "DepthwiseConv2D": lambda: LAYERS.DepthwiseConv2D((3, 2), depth_multiplier=2, padding="same", name="it"),
    "DepthwiseConv2D dilated": lambda: LAYERS.DepthwiseConv2D(3, dilation_rate=2, padding="same", name="it"),
    "Conv2DTranspose": lambda: LAYERS.Conv2DTranspose(5, 4, strides=2, padding="same", name="it"),
    "Conv2DTranspose, not padded": lambda: LAYERS.Conv2DTranspose(5, (4, 3), strides=(2, 3), name="it"),
    "Conv2DTranspose, more at the end": lambda: LAYERS.Conv2DTranspose(
        5, 3, strides=2, padding="same", output_padding=0, name="it"
    ),
    "BatchNormalization": lambda: LAYERS.BatchNormalization(epsilon=0.01, name="it"),
    "Dense": lambda: LAYERS.Dense(5, name="it"),
    "LeakyReLU": lambda: LAYERS.LeakyReLU(negative_slope=0.1, name="it"),
    "ReLU": lambda: LAYERS.ReLU(name="it"),
    "ReLU to 6": lambda: LAYERS.ReLU(max_value=6, name="it"),
    "PReLU": lambda: LAYERS.PReLU(shared_axes=[1, 2], name="it"),
    "ELU": lambda: LAYERS.Activation("elu", name="it"),
    "sigmoid": lambda: LAYERS.Activation("sigmoid", name="it"),
    "tanh": lambda: LAYERS.Activation("tanh", name="it"),
    "softplus": lambda: LAYERS.Activation("softplus", name="it"),
    "Softmax": lambda: LAYERS.Softmax(name="it"),
    "MaxPooling2D": lambda: LAYERS.MaxPooling2D((2, 3), padding="same", name="it"),
    "AveragePooling2D": lambda: LAYERS.AveragePooling2D((2, 3), strides=(1, 2), name="it"),
    "GlobalAveragePooling2D": lambda: LAYERS.GlobalAveragePooling2D(name="it"),
    "GlobalMaxPooling2D": lambda: LAYERS.GlobalMaxPooling2D(keepdims=True, name="it"),
    "ZeroPadding2D": lambda: LAYERS.ZeroPadding2D(((1, 2), (3, 0)), name="it"),
    "UpSampling2D": lambda: LAYERS.UpSampling2D((2, 3), interpolation="bilinear", name="it"),
    "Rescaling": lambda: LAYERS.Rescaling(20.0, 0.5, name="it"),
    "Reshape": lambda: LAYERS.Reshape((13, 66), name="it"),
    "Permute": lambda: LAYERS.Permute((3, 1, 2), name="it"),
    "Cropping2D": lambda: LAYERS.Cropping2D(((1, 2), (3, 0)), name="it"),
}

AS_THEY_ARE = {
    "Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "BatchNormalization", "Dense", "LeakyReLU", "ReLU", "Softmax",
    "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D", "UpSampling2D",
    "Rescaling", "PReLU",
}  # fmt: skip
"""Layers that come back as themselves, in one step."""


@pytest.mark.parametrize("name", ONE_LAYER)
def test_a_layer_comes_back_from_its_graph(name: str, tmp_path: Path) -> None:
    """What is lifted computes what the engine does; a layer that parity knows is that layer, under its own name."""
    layer = ONE_LAYER[name]()
    engine, found, given = seen(of_a_layer(layer, MAP), tmp_path / "net.pb", MAP)
    hold_against_each_other(engine, found, given)
    kind = type(layer).__name__
    if kind in AS_THEY_ARE:
        (node,) = found.graph.nodes
        assert (node.name, type(node.operation).__name__) == ("it", kind)
        weights = [np.asarray(weight) for weight in layer.weights]
        assert all(map(np.array_equal, weights, (np.asarray(w) for w in node.operation.weights)))
        assert len(weights) == len(node.operation.weights)


SEQUENCES: dict[str, Callable[[], Any]] = {
    "Conv1D": lambda: LAYERS.Conv1D(5, 3, name="it"),
    "Dense on a sequence": lambda: LAYERS.Dense(5, name="it"),
    "LayerNormalization": lambda: LAYERS.LayerNormalization(name="it"),
    "GRU": lambda: LAYERS.GRU(5, name="it"),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_what_is_lifted_of_sequences_computes_what_the_engine_does(name: str, tmp_path: Path) -> None:
    """Known or not: what parity has no layer for is run by the engine."""
    shape = (2, 7, 6)
    engine, found, given = seen(of_a_layer(SEQUENCES[name](), shape), tmp_path / "net.pb", shape)
    hold_against_each_other(engine, found, given)


def test_attention_computes_what_the_engine_does(tmp_path: Path) -> None:
    """Products of tensors of which none is a weight."""
    given = keras.Input((7, 6), name="given")
    model = keras.Model(given, LAYERS.MultiHeadAttention(2, 3, name="it")(given, given), name="net")
    engine, found, values = seen(model, tmp_path / "net.pb", (2, 7, 6))
    hold_against_each_other(engine, found, values)


def test_an_embedding_comes_back_with_its_table(tmp_path: Path) -> None:
    """Its weights are what tells it from another."""
    layer = LAYERS.Embedding(9, 4, name="it")
    engine, found, given = seen(of_a_layer(layer, (2, 7), "int32"), tmp_path / "net.pb", (2, 7), "int32")
    hold_against_each_other(engine, found, given)
    (node,) = [node for node in found.graph.nodes if node.name == "it"]
    assert np.array_equal(np.asarray(node.operation.weights[0]), np.asarray(layer.weights[0]))


@pytest.mark.parametrize("width", [6, 5])
@pytest.mark.parametrize("kind", [LAYERS.Conv2D, LAYERS.Conv2DTranspose])
def test_a_bias_is_lifted_along_the_axis_that_the_file_says(kind: Any, width: int, tmp_path: Path) -> None:
    """channels_first with a width of 6 and 6 channels: Keras writes the bias along the width, and so it is lifted."""
    shape = (2, 3, 7, width)
    layer = kind(6, 3, padding="same", name="it", **FIRST)
    _, found, _ = seen(of_a_layer(layer, shape), tmp_path / "net.pb", shape)
    (node,) = found.graph.nodes
    assert type(node.operation).__name__ == kind.__name__
    assert node.operation.bias_axis == (3 if width == 6 else 1)
    given = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made, bias = np.asarray(node.operation(given)), np.asarray(layer.bias)
    node.operation.bias.assign(0 * bias)
    without = np.asarray(node.operation(given))
    along = bias.reshape((1, 1, 1, 6) if width == 6 else (1, 6, 1, 1))
    np.testing.assert_allclose(made, without + along, rtol=1e-5, atol=1e-5)


def test_dense_layers_of_the_same_rows_are_each_a_layer_with_its_bias(tmp_path: Path) -> None:
    """TensorFlow's optimisers let two read one reshape of what both read."""
    given = keras.Input((4, 5), name="given")
    rows, rng, made = keras.ops.reshape(given, (-1, 5)), np.random.default_rng(0), []
    for _ in range(2):
        kernel, bias = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=7).astype(np.float32)
        made.append(keras.ops.reshape(keras.ops.matmul(rows, kernel), (-1, 4, 7)) + bias)
    model = keras.Model(given, keras.layers.Maximum(name="most")(made), name="net")
    engine, found, values = seen(model, tmp_path / "net.pb", (2, 4, 5))
    hold_against_each_other(engine, found, values)
    dense = [node.operation for node in found.graph.nodes if isinstance(node.operation, keras.layers.Dense)]
    assert [len(each.weights) for each in dense] == [2, 2]


def test_a_leaky_relu_by_hand_is_one(tmp_path: Path) -> None:
    """`maximum(0.1 * x, x)` is how it was written before TensorFlow had an operation for it."""
    given = keras.Input(MAP[1:], name="given")
    model = keras.Model(given, keras.ops.maximum(given * 0.1, given), name="net")
    engine, found, values = seen(model, tmp_path / "net.pb", MAP)
    hold_against_each_other(engine, found, values)
    (node,) = found.graph.nodes
    assert type(node.operation).__name__ == "LeakyReLU"
    assert node.operation.negative_slope == 0.1


def test_a_rule_that_makes_another_shape_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the step stays what it is: an operation of the file, run by its engine."""
    from parity.artifacts.lifting import Made
    from parity.artifacts.tensorflow import rules

    def wrong(step: Any, view: Any) -> Made:
        return Made(call=keras.layers.ZeroPadding2D(1), reads=(step.inputs[0],), tensor=step.outputs[0], steps=(step,))

    monkeypatch.setitem(rules.RULES, "Relu", wrong)
    engine, found, given = seen(of_a_layer(LAYERS.ReLU(name="it"), MAP), tmp_path / "net.pb", MAP)
    (node,) = found.graph.nodes
    assert type(node.operation).__name__ == "Relu"
    hold_against_each_other(engine, found, given)


def test_a_step_with_weights_that_parity_does_not_know_says_that_it_has_some(tmp_path: Path) -> None:
    """So that a layer of the reference in its place is not reported as missing."""
    layer = LAYERS.GRU(5, name="it")
    _, found, _ = seen(of_a_layer(layer, (2, 7, 6)), tmp_path / "net.pb", (2, 7, 6))
    assert any(getattr(node.operation, "reads_weights", False) for node in found.graph.nodes)
    assert not found.graph.only_ends


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["net_1/conv1_1/convolution", "net_1/conv1_1_2/convolution"], ["conv1", "conv1_1"]),
        (["net/conv1/Conv2D", "net/conv1_1/Conv2D"], ["conv1", "conv1_1"]),
        (["a_1/conv_1/convolution", "b_1/conv_1/convolution"], ["a/conv", "b/conv"]),
        (["net_1/conv_1/convolution", "net_1/conv_2/convolution"], ["conv_1", "conv_2"]),
        (["Relu", "net_1/conv_1/convolution"], ["Relu", "conv"]),
        (
            ["Stateful/net_1/conv_1/convolution", "Stateful/net_1/Round"],
            ["conv", "Round"],
        ),
    ],
)
def test_names_are_those_of_keras_layers_where_they_stay_apart(operations: list[str], expected: list[str]) -> None:
    """The scopes around all of them go, and the number that Keras adds to every scope, but not where two become one."""
    assert names_of(operations, [True] * len(operations)) == expected


def test_in_a_scope_the_layer_with_weights_has_its_name() -> None:
    """What else the scope makes has its own behind it; what was fused away takes no name from a tap."""
    operations = ["net_1/it_1/Mul", "net_1/it_1/convolution", "net_1/it_1/Relu", "net_1/other_1/Relu"]
    found = names_of(operations, [False, True, False, False], ["net_1/gone_1/BiasAdd", "net_1/it_1/Add"])
    assert found == ["it/Mul", "it", "it/Relu", "other", "gone", "it/Add"]
