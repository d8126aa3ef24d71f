"""Ports of tf_keras: their faults are explained, their parts run in every mode."""

from collections.abc import Mapping
from typing import Any

import pytest
from ports_of_forms import TorchNet, convolutional, image, nested, nn, report_of, sequential, subclassed, tf_keras

from parity.converters import transfer
from parity.errors import PairError
from parity.frameworks import tf, torch
from parity.pairs import Pair
from parity.repair import repair


class LegacyNorm(tf_keras.layers.BatchNormalization):  # type: ignore[misc]
    """A layer class of the port's own, which cannot be made again from its configuration."""

    def __init__(self, wide: float) -> None:
        super().__init__(epsilon=wide, axis=3, name="norm")


class Legacy(tf_keras.Model):  # type: ignore[misc]
    """Two convolutions, a norm and a pooling padded by `tf.pad`, of tf_keras."""

    def __init__(self, epsilon: float, pads: int) -> None:
        super().__init__()
        self.first, self.second = (tf_keras.layers.Conv2D(3, 3, padding="same") for _ in range(2))
        self.norm, self.relu = LegacyNorm(epsilon), tf_keras.layers.ReLU()
        self.pads, self.pool = ((0, 0), (pads, 1), (pads, 1), (0, 0)), tf_keras.layers.MaxPooling2D(3, 2)

    def call(self, x: Any) -> Any:
        return self.pool(tf.pad(self.relu(self.norm(self.second(self.first(x)))), self.pads))


def legacy(*, epsilon: float = 1e-5, swapped: bool = False, pads: int = 0) -> Any:
    """The port, with faults."""
    port = Legacy(epsilon, pads)
    port(tf.zeros((1, 20, 12, 3)))
    first, second = port.first, port.second
    transfer(legacy_reference(), port, {"0": first, "1": second, "2": port.norm})
    if swapped:
        one, other = first.get_weights(), second.get_weights()
        first.set_weights(other)
        second.set_weights(one)
    return port


def legacy_reference() -> Any:
    """Its reference."""
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()
    return nn.Sequential(*parts, nn.MaxPool2d(3, 2, ceil_mode=True)).eval()


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({}, []),
        ({"epsilon": 1e-2}, ["2: norm-epsilon, epsilon is 0.01; the reference's is 1e-05"]),
        (
            {"pads": 1},
            [
                "4: pooling, the port pools with MaxPooling2D, pool_size=(3, 3), strides=(2, 2), padding=valid, 1,1 of "
                "0 put around; the reference with kernel_size=3, stride=2, ceil_mode=True"
            ],
        ),
        (
            {"swapped": True},
            [
                "0: wrong-tensor, the kernel is the kernel of the reference's 1; the bias is the bias of the "
                "reference's 1",
                "1: wrong-tensor, the kernel is the kernel of the reference's 0; the bias is the bias of the "
                "reference's 0",
            ],
        ),
    ],
    ids=["faithful", "epsilon", "padding of a pooling", "swapped"],
)
def test_faults_of_tf_keras_are_explained(fault: Mapping[str, Any], found: list[str]) -> None:
    """A layer class of the port's own, padding by TensorFlow and the names of weights are no hindrance."""
    layers = {"0": "first", "1": "second", "2": "norm"}
    report = report_of(legacy_reference(), legacy(**fault), image(), layers=layers)
    assert [f"{each.layer}: {each.cause.slug}, {each.cause.detail}" for each in report.findings] == found


def test_a_port_of_tf_keras_cannot_be_copied() -> None:
    """A repair says in a sentence what it has no copy of."""
    with pytest.raises(PairError, match="is no operation of Keras 3"):
        repair(Pair(name="form", reference=TorchNet(), port=nested(tf_keras, True)), [image()])


def test_xla_runs_what_was_cut_out() -> None:
    """Layers and what lies between them are compiled like any other."""
    assert report_of(TorchNet(), subclassed(tf, False), image(), "xla").passed


def test_a_sequential_model_of_tf_keras_passes() -> None:
    """Both layers with weights are compared."""
    report = report_of(convolutional(), sequential(), image())
    assert report.passed
    assert {*report.coverage.matched, *report.coverage.inside} >= {"0", "4"}
