"""A layer around a layer, for every step, answers to a layer of the original that has its steps in the batch."""

from typing import Any

import pytest

from parity.converters import convert
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Pair
from parity.repair import repair
from parity.verification import Verifier, verify

nn, layers = torch.nn, keras.layers
GIVEN = noise((2, 5, 3, 8, 6), seed=3, low=-1, high=1)


class Frames(nn.Module):
    """A convolution at stride 2 and a norm of every frame, and a layer over the frames."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        self.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.norm(self.conv(x.flatten(0, 1))))
        return self.head(maps.mean((2, 3)).view(*x.shape[:2], -1))


def port_of(net: Any, *, padded: bool = True) -> Any:
    """Its port, with a layer for every step; without the padding by hand it pads on another side."""
    start = keras.Input((5, 8, 6, 3))
    settings: dict[str, Any] = {"strides": 2, "padding": "valid" if padded else "same"}
    conv, norm = layers.Conv2D(4, 3, **settings), layers.BatchNormalization(epsilon=1e-5)
    x = layers.TimeDistributed(layers.ZeroPadding2D(1), name="zeros")(start) if padded else start
    x = layers.TimeDistributed(conv, name="conv")(x)
    x = layers.TimeDistributed(layers.ReLU(), name="relu")(layers.TimeDistributed(norm, name="norm")(x))
    head = layers.Dense(2, name="head")
    port = keras.Model(start, head(layers.TimeDistributed(layers.GlobalAveragePooling2D(), name="mean")(x)))
    for name, layer in {"conv": conv, "norm": norm, "head": head}.items():
        layer.set_weights(convert(getattr(net, name), name, layer))
    return port


def test_a_right_port_is_matched_layer_by_layer() -> None:
    """Each is compared by itself, in every mode, by the name that the user gave the layer around it."""
    net = Frames()
    report = verify(Pair(name="net", reference=net, port=port_of(net)), [GIVEN], ("eager", "graph", "xla"))
    assert report.passed
    assert {name: report.coverage.matched[name] for name in ("conv", "norm", "head")} == {
        name: name for name in ("conv", "norm", "head")
    }


def test_a_fault_is_found_in_its_layer_and_repaired() -> None:
    """Padding on another side is the fault of the layer inside."""
    net = Frames()
    pair = Pair(name="net", reference=net, port=port_of(net, padded=False))
    report = verify(pair, [GIVEN], ("eager",))
    assert {finding.layer: finding.cause.slug for finding in report.findings} == {"conv": "padding"}
    assert repair(pair, [GIVEN], ("eager",)).report.passed


@pytest.mark.parametrize("masked", [False, True])
def test_a_layer_that_minds_a_mask_is_left_whole(*, masked: bool) -> None:
    """It is one layer, and computes what it did; how many steps a port without a mask takes may be open."""
    start = keras.Input((5 if masked else None, 3))
    x = layers.Masking()(start) if masked else start
    port = keras.Model(start, layers.TimeDistributed(layers.Dense(2), name="steps")(x))
    net = nn.Linear(3, 2).eval()
    port.get_layer("steps").layer.set_weights(convert(net, "net"))
    pair = Pair(name="net", reference=net, port=port, axes={"input": "NLC"})
    given = noise((2, 5, 3), seed=1)
    names = [tap.name for tap in Verifier(pair).subject(given).port.taps]
    assert verify(pair, [given], ("eager",)).passed
    assert ("steps/merged" in names) is not masked
