"""Layers of torch whose weights are computed from others are layers like any other."""

from typing import Any

import numpy as np
import pytest

import parity
from parity.converters import convert, transfer
from parity.frameworks import keras, torch
from parity.pairs import Input, Pair
from parity.parametrized import class_of, plain
from parity.runners.taps import weighted_layers
from parity.runners.torch_module import TorchModule

LAYERS = {"0": "conv", "2": "head"}
SEQUENCE = Input(name="noise", array=np.random.default_rng(3).standard_normal((2, 3, 7), dtype=np.float32))


def parametrised() -> Any:
    """A convolution under weight norm, and a dense layer without a bias under spectral norm."""
    torch.manual_seed(0)
    conv = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 5, 2))
    head = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(6, 4, bias=False))
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(1.7)
    return torch.nn.Sequential(conv, torch.nn.ReLU(), head).eval()


def port() -> Any:
    """Its port, with the weights that are computed."""
    sequence = keras.Input((7, 3))
    value = keras.layers.Conv1D(5, 2, name="conv")(sequence)
    value = keras.layers.Permute((2, 1))(keras.layers.ReLU()(value))
    made = keras.Model(sequence, keras.layers.Dense(4, use_bias=False, name="head")(value))
    transfer(parametrised(), made, LAYERS)
    return made


def test_they_are_layers_with_their_weights() -> None:
    """Each is one tap of torch's own class with the weight it computes with, and what makes the weight is none."""
    network = parametrised()
    taps = {tap.name: tap for tap in TorchModule(network).taps(SEQUENCE).taps}
    assert {name: tap.kind for name, tap in taps.items() if tap.weighted} == {"0": "conv1d", "2": "linear"}
    assert any(np.array_equal(array, network[0].weight.detach().numpy()) for array in taps["0"].weights())
    assert weighted_layers(network) == ("0", "2")


def test_the_plain_layer_is_a_copy() -> None:
    """It computes the same with a weight of its own, and the layer keeps what makes its weight."""
    conv = parametrised()[0]
    value = torch.from_numpy(SEQUENCE.array)
    assert class_of(conv) is type(plain(conv)) is torch.nn.Conv1d
    assert torch.equal(plain(conv)(value), conv(value))
    assert torch.nn.utils.parametrize.is_parametrized(conv)
    assert plain(plain(conv)) is not conv


class Own(torch.nn.Conv1d):
    """A convolution with settings of a team's own."""

    def __init__(self, features: int) -> None:
        super().__init__(3, features, 2)

    def fused(self) -> None:
        """Nothing that is computed depends on it."""


class Deeper(Own):
    """A class of that class."""


class Standardised(Own):
    """A convolution that computes something else."""

    def _conv_forward(self, x: Any, weight: Any, bias: Any) -> Any:
        return super()._conv_forward(x, weight - weight.mean(), bias)


def test_a_class_that_only_makes_a_layer_is_that_layer() -> None:
    """However deep it derives from torch's; one that changes what is computed, a container, and torch's own are not."""
    assert [class_of(kind(5)) for kind in (Own, Deeper, Standardised)] == [torch.nn.Conv1d] * 2 + [Standardised]
    patched = Own(5)
    patched.forward = lambda x: x  # type: ignore[method-assign]
    chain = type("Chain", (torch.nn.Sequential,), {})
    assert [class_of(each) for each in (patched, chain(), torch.nn.ReLU6())] == [Own, chain, torch.nn.ReLU6]
    assert [array.shape for array in convert(Deeper(5), "conv")] == [(2, 3, 5), (5,)]


def test_a_faithful_port_passes() -> None:
    """Both layers are matched by their weights, without a map."""
    report = parity.verify(
        Pair(name="made", reference=parametrised(), port=port()), inputs=[SEQUENCE], modes=("eager",)
    )
    assert report.passed
    assert {name: report.coverage.matched[name] for name in LAYERS} == LAYERS


@pytest.mark.parametrize("name", ["conv", "head"])
def test_a_wrong_weight_is_found_in_its_layer(name: str) -> None:
    """The raw weight in place of the computed one is at fault, and the computed one is its remedy."""
    wrong, network = port(), parametrised()
    layer = {answer: layer for layer, answer in LAYERS.items()}[name]
    raw = network.get_submodule(layer).parametrizations.weight
    value = (raw.original1 if hasattr(raw, "original1") else raw.original).detach().numpy()
    wrong.get_layer(name).weights[0].assign(np.transpose(value, tuple(reversed(range(value.ndim)))))
    report = parity.verify(Pair(name="made", reference=network, port=wrong), inputs=[SEQUENCE], modes=("eager",))
    assert [(found.layer, found.cause.residual_after < 1e-6) for found in report.findings] == [(layer, True)]
