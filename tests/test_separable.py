"""A separable convolution of Keras answers to two of the original's: the depthwise one, and the pointwise one."""

from typing import Any

import numpy as np
import pytest

from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Pair
from parity.repair import repair
from parity.report import Report
from parity.runners.opening import is_flat
from parity.verification import Verifier, verify

nn, layers = torch.nn, keras.layers


class Net(nn.Module):
    """Two channels of each in a depthwise convolution at stride 2, a pointwise one that is used, and an activation."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        conv = {1: nn.Conv1d, 2: nn.Conv2d}[rank]
        self.depthwise = conv(3, 6, 3, stride=2, padding=1, groups=3, bias=False)
        self.pointwise, self.last = conv(6, 5, 1), conv(5, 2, 1)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.pointwise(self.depthwise(x))))


def port_of(net: Any, size: tuple[int, ...], *, padded: bool = True) -> Any:
    """Its port in two layers; without the padding by hand it pads on another side."""
    rank = len(size)
    start = keras.Input((*size, 3))
    x = getattr(layers, f"ZeroPadding{rank}D")(1)(start) if padded else start
    settings: dict[str, Any] = {"depth_multiplier": 2, "strides": 2, "padding": "valid" if padded else "same"}
    separable = getattr(layers, f"SeparableConv{rank}D")(5, 3, activation="relu", name="separable", **settings)
    last = getattr(layers, f"Conv{rank}D")(2, 1, name="last")
    port = keras.Model(start, last(separable(x)))
    weights = {name: weight.detach().numpy() for name, weight in net.named_parameters()}
    depthwise = np.moveaxis(weights["depthwise.weight"].reshape(3, 2, *(3,) * rank), (0, 1), (-2, -1))
    kernels = [weights[f"{name}.weight"].swapaxes(0, 1) for name in ("pointwise", "last")]
    pointwise, head = (np.moveaxis(kernel, (0, 1), (-2, -1)) for kernel in kernels)
    separable.set_weights([depthwise, pointwise, weights["pointwise.bias"]])
    last.set_weights([head, weights["last.bias"]])
    return port


def judged(net: Any, port: Any, size: tuple[int, ...], modes: tuple[str, ...] = ("eager",)) -> Report:
    """The report of a pair."""
    return verify(Pair(name="net", reference=net, port=port), [noise((2, 3, *size), seed=3, low=-1, high=1)], modes)


@pytest.mark.parametrize("size", [(9,), (8, 6)], ids=["one axis", "two axes"])
def test_a_right_port_is_matched_layer_by_layer(size: tuple[int, ...]) -> None:
    """Both convolutions and the activation are compared, each by itself, in every mode; the layer is as before."""
    net = Net(len(size))
    port = port_of(net, size)
    report = judged(net, port, size, ("eager", "graph", "xla"))
    assert report.passed
    halves = {"depthwise": "separable/depthwise", "pointwise": "separable", "relu": "separable/relu"}
    assert dict(report.coverage.matched) == {**halves, "last": "last"}
    assert not is_flat(port)
    assert [len(layer._inbound_nodes) for layer in port.layers if layer.name == "separable"] == [1]


def test_a_fault_is_found_in_its_half_and_repaired() -> None:
    """Another side that is padded is the depthwise convolution's fault, a bias that is lost the pointwise one's."""
    net, size = Net(2), (8, 6)
    port = port_of(net, size, padded=False)
    layer = port.get_layer("separable")
    layer.bias.assign(layer.bias * 0)
    given = noise((2, 3, *size), seed=3, low=-1, high=1)
    pair = Pair(name="net", reference=net, port=port)
    report = verify(pair, [given], ("eager",))
    found = {finding.layer: finding.cause.slug for finding in report.findings}
    assert found == {"depthwise": "padding", "pointwise": "bias-missing"}
    assert repair(pair, [given], ("eager",)).report.passed
    assert Verifier(pair).subject(given).port.operation("separable").weights[0] is layer.pointwise_kernel
