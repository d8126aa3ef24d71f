"""Forms in which right ports come: activations built in, the last step of a sequence, weights that do not show."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.axes import CHANNELS_FIRST, CHANNELS_LAST, Axes
from parity.converters import transfer
from parity.errors import PairError
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.repair import repair
from parity.report import Report
from parity.verification import verify

nn, layers, ops = torch.nn, keras.layers, keras.ops
SEQUENCES = Axes(reference={**CHANNELS_FIRST, 3: "NLC"}, port={**CHANNELS_LAST, 3: "NLC"})


def image() -> Input:
    """Noise of both signs."""
    return noise((2, 3, 9, 7), seed=3, low=-1, high=1)


def judged(pair: Pair, given: Input) -> Report:
    """The pair's report in eager mode."""
    return verify(pair, [given], ("eager",))


def head(activation: str, names: Mapping[str, str] | None) -> Pair:
    """A linear layer and a softmax, against one Dense with an activation built in."""
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Linear(5, 4), nn.Softmax(-1)).eval()
    port = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation=activation, name="head")])
    transfer(reference, port, {"0": "head"})
    return Pair(name="head", reference=reference, port=port, layers=names)


@pytest.mark.parametrize("names", [None, {"0": "head"}, {"1": "head"}], ids=["no map", "the layer", "the activation"])
def test_a_built_in_last_activation_is_right(names: Mapping[str, str] | None) -> None:
    """Dense(activation="softmax") answers to a Linear and a Softmax, whichever of them the map speaks of, if any."""
    assert judged(head("softmax", names), noise((3, 5), seed=3, low=-1, high=1)).passed


def test_another_built_in_last_activation_is_found() -> None:
    """A sigmoid in its place is a fault."""
    assert not judged(head("sigmoid", {"0": "head"}), noise((3, 5), seed=3, low=-1, high=1)).passed


class LastStep(nn.Module):
    """An LSTM of which only the last step is read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.LSTM(5, 6, batch_first=True)
        self.out = nn.Linear(6, 3)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("swapped", [False, True], ids=["right", "gates exchanged"])
def test_the_last_step_alone(swapped: bool) -> None:
    """An LSTM without return_sequences answers to torch's read at its last step, and only if its gates are right."""
    reference = LastStep()
    start = keras.Input((9, 5))
    port = keras.Model(start, layers.Dense(3, name="out")(layers.LSTM(6, name="rnn")(start)))
    transfer(reference, port, {"rnn": "rnn", "out": "out"})
    if swapped:
        kernel, *rest = port.get_layer("rnn").get_weights()
        port.get_layer("rnn").set_weights([np.concatenate(np.split(kernel, 4, -1)[::-1], -1), *rest])
    pair = Pair(name="last", reference=reference, port=port, layers={"out": "out"}, axes=SEQUENCES)
    report = judged(pair, noise((2, 9, 5), seed=3, low=-1, high=1))
    assert report.coverage.complete
    assert report.passed is not swapped


def chain(activation: Any, function: Any) -> Pair:
    """Two convolutions around an activation of which the map does not speak."""
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Conv2d(3, 4, 3), activation, nn.Conv2d(4, 2, 1)).eval()
    start = keras.Input((9, 7, 3))
    value = function(layers.Conv2D(4, 3, name="first")(start))
    port = keras.Model(start, layers.Conv2D(2, 1, name="second")(value))
    names = {"0": "first", "2": "second"}
    transfer(reference, port, names)
    return Pair(name="chain", reference=reference, port=port, layers=names)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (nn.Hardsigmoid(), lambda x: ops.clip(x * 0.2 + 0.5, 0, 1)),
        (nn.Mish(), ops.silu),
        (nn.ReLU(), layers.ELU()),
    ],
    ids=["hard sigmoid of 0.2", "silu for mish", "elu for relu"],
)
def test_another_function_between_two_layers(activation: Any, function: Any) -> None:
    """It is activation-kind even where it is straight on this input, and the repair holds where it is not."""
    pair = chain(activation, function)
    result = repair(pair, [image()])
    assert [finding.cause.slug for finding in result.before.findings] == ["activation-kind"]
    assert result.whole
    wide = noise((2, 3, 9, 7), seed=5, low=-8, high=8)
    fixed = Pair(name="fixed", reference=pair.reference, port=result.model, layers=pair.layers)
    assert judged(fixed, wide).passed


def test_weights_that_do_not_show_are_told() -> None:
    """A wrong weight behind a dead channel changes nothing on this input: the run passes, and says so."""
    pair = chain(nn.ReLU(), layers.ReLU())
    with torch.no_grad():
        pair.reference[0].bias[0] = -9
    first, second = (pair.port.get_layer(name) for name in ("first", "second"))
    first.set_weights([first.get_weights()[0], pair.reference[0].bias.detach().numpy()])
    assert not any("not the reference's" in warning for warning in judged(pair, image()).runs[0].warnings)
    kernel, bias = second.get_weights()
    kernel[0, 0, 0] = 77
    second.set_weights([kernel, bias])
    report = judged(pair, image())
    assert report.passed
    assert any("the weights of 2 are not the reference's" in warning for warning in report.runs[0].warnings)


def last_step() -> Pair:
    """An LSTM, of which the last step is read, and its port, without declared axes."""
    reference = LastStep()
    start = keras.Input((9, 5))
    port = keras.Model(start, layers.Dense(3, name="out")(layers.LSTM(6, name="rnn")(start)))
    transfer(reference, port, {"rnn": "rnn", "out": "out"})
    return Pair(name="last", reference=reference, port=port, layers={"out": "out"})


def test_sequences_need_no_declared_axes() -> None:
    """That torch has (batch, steps, features) there follows from the LSTM's batch_first."""
    assert judged(last_step(), noise((2, 9, 5), seed=3, low=-1, high=1)).passed


def test_sequences_taken_for_channels_are_told_in_a_sentence() -> None:
    """Axes declared wrongly are taken, and what the port then cannot run is a PairError, no traceback."""
    pair = replace(last_step(), axes=Axes(by_name={"input": ("NCL", "NLC")}))
    with pytest.raises(PairError, match="cannot run in eager"):
        judged(pair, noise((2, 9, 5), seed=3, low=-1, high=1))
