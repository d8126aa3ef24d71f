"""What TFLite operators are lifted to: each computes what the file's engine does, as what it is in Keras."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.artifacts.lifting import Opaque, lifted
from parity.artifacts.model import ArtifactModel
from parity.artifacts.tflite.engine import TFLite
from parity.axes import Array
from parity.export import FORMATS, served, write
from parity.frameworks import keras

pytest.importorskip("ai_edge_litert")

layers, ops = keras.layers, keras.ops
SHAPE = (1, 6, 10, 4)
_random = {"bias_initializer": "random_normal"}

KINDS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "convolution": (layers.Conv2D(5, 3, padding="same", **_random), "Conv2D"),
    "convolution of two sizes": (layers.Conv2D(5, (3, 2), strides=(2, 1), **_random), "Conv2D"),
    "dilated": (layers.Conv2D(5, 3, dilation_rate=2, padding="same", **_random), "Conv2D"),
    "grouped": (layers.Conv2D(6, 3, groups=2, padding="same", **_random), "Conv2D"),
    "with a ReLU": (layers.Conv2D(5, 3, padding="same", activation="relu", **_random), "Conv2D"),
    "with a ReLU6": (layers.Conv2D(5, 3, padding="same", activation="relu6", **_random), "Conv2D"),
    "depthwise": (layers.DepthwiseConv2D(3, padding="same", depth_multiplier=3, **_random), "DepthwiseConv2D"),
    "depthwise strided": (layers.DepthwiseConv2D(3, strides=2, **_random), "DepthwiseConv2D"),
    "transposed": (layers.Conv2DTranspose(5, 4, strides=2, padding="same", **_random), "Conv2DTranspose"),
    "transposed valid": (layers.Conv2DTranspose(5, 3, strides=2, padding="valid", **_random), "Conv2DTranspose"),
    "dense": (lambda x: layers.Dense(7, **_random)(layers.Flatten()(x)), "Dense"),
    "dense along the last axis": (layers.Dense(7, **_random), "Dense"),
    "dense with a ReLU": (layers.Dense(7, activation="relu", **_random), "Dense"),
    "prelu": (layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal"), "PReLU"),
    "layer norm": (layers.LayerNormalization(beta_initializer="random_normal"), "LayerNormalization"),
    "leaky": (layers.LeakyReLU(negative_slope=0.2), "LeakyReLU"),
    "relu": (layers.ReLU(), "ReLU"),
    "relu6": (layers.ReLU(max_value=6), "ReLU"),
    "elu": (layers.ELU(), "ELU"),
    "sigmoid": (layers.Activation("sigmoid"), "Activation"),
    "tanh": (layers.Activation("tanh"), "Activation"),
    "softmax": (layers.Softmax(), "Softmax"),
    "log softmax": (layers.Activation("log_softmax"), "Activation"),
    "gelu": (layers.Activation("gelu"), "Gelu"),
    "padding": (layers.ZeroPadding2D(((1, 2), (0, 3))), "ZeroPadding2D"),
    "padding with a value": (lambda x: ops.pad(x, [[0, 0], [1, 0], [2, 1], [0, 0]], constant_values=1.5), "Pad"),
    "reflected": (lambda x: ops.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], mode="reflect"), "Pad"),
    "symmetric": (lambda x: ops.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]], mode="symmetric"), "Pad"),
    "largest": (layers.MaxPooling2D(3, strides=2, padding="same"), "MaxPooling2D"),
    "average": (layers.AveragePooling2D((2, 3), strides=2), "AveragePooling2D"),
    "average over all": (layers.GlobalAveragePooling2D(), "GlobalAveragePooling2D"),
    "mean of an axis": (lambda x: ops.mean(x, axis=-1, keepdims=True), "Mean"),
    "sum": (lambda x: ops.sum(x, axis=(1, 3)), "Sum"),
    "maximum of an axis": (lambda x: ops.max(x, axis=2), "Max"),
    "bilinear": (layers.UpSampling2D(3, interpolation="bilinear"), "UpSampling2D"),
    "nearest": (lambda x: ops.image.resize(x, (12, 30), interpolation="nearest"), "UpSampling2D"),
    "resized": (lambda x: ops.image.resize(x, (7, 13), interpolation="bilinear"), "Resize"),
    "sum of two": (lambda x: ops.add(x, ops.sin(x)), "Add"),
    "sum with a ReLU": (lambda x: ops.relu(ops.add(x, ops.sin(x))), "Add"),
    "difference from a constant": (lambda x: 2.5 - x, "Subtract"),
    "constant's difference": (lambda x: x - np.arange(4, dtype="float32"), "Subtract"),
    "product": (lambda x: x * np.arange(1, 5, dtype="float32"), "Multiply"),
    "quotient": (lambda x: x / (2.0 + ops.square(x)), "Divide"),
    "clipped": (lambda x: ops.clip(ops.sin(x) + ops.exp(x), -1.0, 1.0), "Add"),
    "matrices": (lambda x: ops.matmul(x, ops.transpose(ops.sin(x), (0, 1, 3, 2))), "Matmul"),
    "transposition": (lambda x: ops.transpose(x, (0, 3, 1, 2)), "Transpose"),
    "reshape": (lambda x: ops.reshape(x, (1, 10, 24)), "Reshape"),
    "a slice": (lambda x: x[:, 1:5:2, ::-1, 1:], "GetItem"),
    "one place": (lambda x: x[:, :, 3], "GetItem"),
    "joined": (lambda x: ops.concatenate([x, ops.sin(x)], axis=2), "Concatenate"),
    "stacked": (lambda x: ops.stack([x, ops.sin(x)], axis=1), "Stack"),
}
"""What a model of one step is, and the kind that its last step should be lifted to."""


def _model(step: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(5)
    image = keras.Input(SHAPE[1:], name="image")
    return keras.Model(image, step(image))


def _lifted(model: Any, folder: Path) -> ArtifactModel:
    write(FORMATS["tflite"], served(model), folder / "one.tflite")
    engine = TFLite(folder / "one.tflite")
    shapes = dict.fromkeys(engine.program.inputs.values(), SHAPE)
    return ArtifactModel(engine, lifted(engine, engine.shaped(shapes)))


def _array() -> Array:
    return np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("name", KINDS)
def test_a_step_is_lifted_to_what_it_is_in_keras(tmp_path: Path, name: str) -> None:
    """The last step has the kind it has in Keras, and computes what Keras and the file's engine do."""
    step, kind = KINDS[name]
    model = _model(step)
    port, array = _lifted(model, tmp_path), _array()
    last = port.taps[-1]
    assert type(last.operation).__name__ == kind
    values = {**port.every_value({"input": array}, "tflite"), "input": array}
    segments = port.segments({tap.name: tap.name for tap in port.taps})
    for segment in segments:
        known = [values[anchor] for anchor in segment.anchors]
        if not isinstance(segment.tap.operation, Opaque):
            made = np.asarray(segment.run(known))
            np.testing.assert_allclose(made, values[segment.layer], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(values[last.name], np.asarray(model(array)), rtol=2e-5, atol=2e-6)


def test_a_batch_norm_that_cannot_be_folded_is_one(tmp_path: Path) -> None:
    """Before anything else a BatchNorm has no layer to be folded into: it is a product and a sum, and lifted as one."""
    norm = layers.BatchNormalization(moving_variance_initializer="random_uniform", beta_initializer="random_normal")
    port = _lifted(_model(norm), tmp_path)
    assert [type(tap.operation).__name__ for tap in port.taps] == ["BatchNormalization"]


def test_what_has_no_rule_is_run_by_the_file(tmp_path: Path) -> None:
    """An operator that parity does not know is a step of its own, whose value is the engine's."""
    port, array = _lifted(_model(lambda x: ops.cumsum(x, axis=1)), tmp_path), _array()
    (segment,) = port.segments({tap.name: tap.name for tap in port.taps})
    assert isinstance(segment.tap.operation, Opaque)
    np.testing.assert_allclose(np.asarray(segment.run([array])), np.cumsum(array, axis=1), rtol=1e-5, atol=1e-6)
