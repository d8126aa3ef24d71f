"""What a port does in training mode, and which of its weights it trains at all."""

import copy
from typing import Any

import numpy as np
import pytest
from learners import NORMED, Gated, Normed, differentiated, gated, image, normed, pair_of, told

from parity.frameworks import keras, torch

nn, layers = torch.nn, keras.layers


def test_a_faithful_normalisation_passes() -> None:
    """Its value, gradients and statistics in training mode are compared, the variance over n as Keras keeps it."""
    report = differentiated(pair_of(Normed(), normed(), NORMED))
    assert report.passed
    layer = next(layer for layer in report.gradients[0].layers if layer.layer == "norm")
    assert {"value", "running_mean", "running_var", "gradient of first", "gradient of weight"} <= set(layer.training)
    assert any("over n - 1" in note for note in layer.notes)


@pytest.mark.parametrize(("theirs", "ours", "wanted"), [(0.1, 0.1, "0.9"), (0.1, 0.99, "0.9"), (0.3, 0.3, "0.7")])
def test_a_wrong_momentum(theirs: float, ours: float, wanted: str) -> None:
    """Torch's momentum is 1 - Keras's: the layer is named, and the value to write."""
    report = differentiated(pair_of(Normed(momentum=theirs), normed(momentum=ours), NORMED))
    assert told(report) == [("norm", "training", "momentum")]
    cause = report.findings[0].cause
    assert cause.change.endswith(f"momentum={wanted}")
    assert cause.residual_after is not None
    assert cause.residual_after < 1e-5


def test_a_cumulative_average_has_no_momentum() -> None:
    """Torch's momentum=None is told for what it is."""
    report = differentiated(pair_of(Normed(momentum=None), normed(), NORMED))
    assert told(report) == [("norm", "training", "momentum")]
    assert "cumulative average" in report.findings[0].cause.detail


def test_an_epsilon_that_shows_in_training_alone() -> None:
    """Beside large running variances no epsilon shows; beside a batch's small one it does."""
    reference = Normed()
    with torch.no_grad():
        reference.norm.running_var.fill_(1e7)
        reference.norm.weight.fill_(3e3)
        reference.first.weight.mul_(0.02)
    report = differentiated(pair_of(reference, normed(epsilon=1e-3), NORMED))
    assert told(report) == [("norm", "training", "norm-epsilon")]
    assert differentiated(pair_of(reference, normed(), NORMED)).passed


def test_an_epsilon_that_shows_in_values_is_one_finding() -> None:
    """What its values show already is not told twice."""
    report = differentiated(pair_of(Normed(), normed(epsilon=1e-3), NORMED))
    assert told(report) == [("norm", "values", "norm-epsilon")]


def test_a_normalisation_kept_out_of_training() -> None:
    """training=False in the call keeps the moving statistics; the reference takes the batch's."""
    report = differentiated(pair_of(Normed(), normed(call={"training": False}), NORMED))
    assert told(report) == [("norm", "training", "training-mode")]
    assert report.findings[0].cause.residual_after is not None


def frozen(module: Any) -> None:
    """Torch's way."""
    module.requires_grad_(False)


def test_a_layer_frozen_in_the_port() -> None:
    """The reference trains it: the layer and its weights are named."""
    pair = pair_of(Gated(), gated())
    pair.port.get_layer("gate").trainable = False
    report = differentiated(pair)
    assert told(report) == [("gate", "trainable", "trainable")]
    assert "weight and bias" in report.findings[0].cause.detail
    assert report.findings[0].cause.change.endswith("trainable = True")


def test_a_layer_frozen_in_the_reference() -> None:
    """The port trains it; frozen on both sides is right."""
    reference = Gated()
    frozen(reference.gate)
    pair = pair_of(reference, gated())
    assert told(differentiated(pair)) == [("gate", "trainable", "trainable")]
    pair.port.get_layer("gate").trainable = False
    assert differentiated(pair).passed


def test_a_wholly_frozen_port_is_one_finding() -> None:
    """It says in how many layers; a wholly frozen reference was only loaded to be run, and says nothing."""
    pair = pair_of(Gated(), gated())
    pair.port.trainable = False
    (found,) = differentiated(pair).findings
    assert found.cause.slug == "trainable"
    assert "2 other layers" in found.cause.detail
    pair.port.trainable = True
    frozen(pair.reference)
    assert differentiated(pair).passed


def test_a_frozen_normalisation() -> None:
    """Keras runs it with its moving statistics then: that is one finding, named for what it is."""
    pair = pair_of(Normed(), normed(), NORMED)
    pair.port.get_layer("norm").trainable = False
    assert {(found.layer, found.cause.slug) for found in differentiated(pair).findings} == {("norm", "trainable")}


class Dropped(nn.Module):
    """A convolution, a dropout and a linear layer over the channels."""

    def __init__(self, rate: float, functional: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.drop, self.second = nn.Conv2d(3, 5, 3), nn.Dropout(rate), nn.Conv2d(5, 2, 1)
        self._rate, self._functional = rate, functional
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        rate, training = self._rate, self.training
        return self.second(nn.functional.dropout(x, rate, training=training) if self._functional else self.drop(x))


def dropping(rate: float) -> Any:
    """The port of Dropped; without a dropout where the rate is 0."""
    start = keras.Input((7, 5, 3))
    x = layers.Conv2D(5, 3, name="first")(start)
    x = layers.Dropout(rate)(x) if rate else x
    return keras.Model(start, layers.Conv2D(2, 1, name="second")(x))


@pytest.mark.parametrize("functional", [False, True], ids=["module", "function"])
@pytest.mark.parametrize(("theirs", "ours"), [(0.3, 0.3), (0.3, 0.7), (0.3, 0.0)])
def test_dropout(theirs: float, ours: float, functional: bool) -> None:
    """Random values cannot be compared, rates can; everything else is compared with nothing dropped."""
    names = {"first": "first", "second": "second"}
    report = differentiated(pair_of(Dropped(theirs, functional), dropping(ours), names))
    assert report.passed is (theirs == ours)
    assert told(report) == ([] if theirs == ours else [("first", "training", "dropout-rate")])


def test_neither_side_is_changed() -> None:
    """Weights, statistics, modes and flags are bitwise what they were, whatever was found."""
    pair = pair_of(Normed(), normed(momentum=0.1), NORMED)
    pair.port.get_layer("first").trainable = False
    theirs = copy.deepcopy(pair.reference.state_dict())
    ours = [np.asarray(weight).copy() for weight in pair.port.weights]
    assert not differentiated(pair, image(2), ("eager", "graph")).passed
    after = pair.reference.state_dict()
    assert all(torch.equal(theirs[name], after[name]) for name in theirs)
    assert all(np.array_equal(old, new) for old, new in zip(ours, pair.port.weights, strict=True))
    assert not any(module.training for module in pair.reference.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in pair.reference.parameters())
    assert not pair.port.get_layer("first").trainable
