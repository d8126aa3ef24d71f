"""Tiny pairs that compute the same, and differ in what they learn."""

from collections.abc import Callable, Mapping
from typing import Any

from parity.converters import transfer
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.report import Report
from parity.verification import verify

nn, layers, ops = torch.nn, keras.layers, keras.ops

Change = Callable[[Any], Any]
NAMES = {"first": "first", "gate": "gate", "second": "second"}


def image(batch: int = 3) -> Input:
    """Noise of both signs, of unequal sizes."""
    return noise((batch, 3, 7, 5), seed=3, low=-1, high=1)


def differentiated(pair: Pair, given: Input | None = None, modes: tuple[str, ...] = ("eager",)) -> Report:
    """The pair's report, with gradients."""
    return verify(pair, [given or image()], modes, gradients=True)


def told(report: Report) -> list[tuple[str, str, str]]:
    """What each finding says: the layer, what about it, the cause."""
    return [(found.layer, found.about, found.cause.slug) for found in report.findings]


def same(x: Any) -> Any:
    """Nothing done."""
    return x


class Gated(nn.Module):
    """A convolution, times a gate that is computed from it, and another convolution."""

    def __init__(self, entering: Change = same, leaving: Change = same, before: Change = same) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.gate, self.second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 2, 1)
        self._entering, self._leaving, self._before = entering, leaving, before
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        gate = self._leaving(torch.sigmoid(self.gate(self._entering(x))))
        return self.second(self._before(x * gate))


def gated(entering: Change = same, leaving: Change = same, before: Change = same) -> Any:
    """The port of Gated."""
    start = keras.Input((7, 5, 3))
    x = layers.Conv2D(5, 3, name="first")(start)
    gate = leaving(ops.sigmoid(layers.Conv2D(5, 1, name="gate")(entering(x))))
    return keras.Model(start, layers.Conv2D(2, 1, name="second")(before(x * gate)))


def pair_of(reference: Any, port: Any, names: Mapping[str, str] = NAMES) -> Pair:
    """A pair of the two, the port filled with the reference's weights."""
    transfer(reference, port, names)
    return Pair(name="tiny", reference=reference, port=port, layers=names)


class Normed(nn.Module):
    """A convolution, a normalisation that keeps statistics, and another convolution."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.norm, self.second = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, **settings), nn.Conv2d(5, 2, 1)
        with torch.no_grad():
            self.norm.running_mean.uniform_(-0.5, 0.5)
            self.norm.running_var.uniform_(0.5, 2)
            for parameter in self.norm.parameters():
                parameter.uniform_(0.5, 1.5)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(x)))


NORMED = {"first": "first", "norm": "norm", "second": "second"}


def normed(momentum: float = 0.9, epsilon: float = 1e-5, call: Mapping[str, Any] | None = None) -> Any:
    """The port of Normed."""
    start = keras.Input((7, 5, 3))
    x = layers.Conv2D(5, 3, name="first")(start)
    x = layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name="norm")(x, **(call or {}))
    return keras.Model(start, layers.Conv2D(2, 1, name="second")(x))
