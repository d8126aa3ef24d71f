"""Recurrent layers of torch as Keras layers: every setting on a case of its own, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import pytest
from layers_on_trial import noise
from reloading import same_when_loaded

from parity.building import built
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case, seeded
from parity.layers import tried
from parity.pairs import Input

KERAS_SAVES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
STACKS = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)
CELLS = (torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell)


def on(module: torch.nn.Module, *args: Any, layouts: tuple[str, ...]) -> Case:
    """A case of the module, its weights drawn."""
    inputs = Input(name="noise", args=args)
    return Case(module=seeded(module, 1), given=inputs, layouts=dict(zip(inputs.arrays, layouts, strict=True)))


def stacked(kind: Any, **changes: Any) -> Case:
    """A case of two layers in both directions, on two sequences of five steps and with their states."""
    module = kind(**{"input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True, **changes})
    states = [noise(4, 2, 4, seed=seed) for seed in range(2 if kind is torch.nn.LSTM else 1)]
    sequence = noise(2, 5, 3) if module.batch_first else noise(5, 2, 3)
    before = tuple(states) if len(states) > 1 else states[0]
    return on(module, sequence, before, layouts=("NLC" if module.batch_first else "LNC", *("ANC",) * len(states)))


def step(kind: Any, given: bool, **changes: Any) -> Case:
    """A case of one step of a batch of two, with its states or without."""
    states = [noise(2, 4, seed=seed) for seed in range(2 if kind is torch.nn.LSTMCell else 1)]
    before = (tuple(states) if len(states) > 1 else states[0],) if given else ()
    return on(kind(3, 4, **changes), noise(2, 3), *before, layouts=("NC", *("NC",) * len(states) * given))


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("kind", STACKS)
def test_two_layers_of_two_directions_from_given_states(kind: Any, mode: str) -> None:
    """The sequence and every state of every layer and direction are torch's."""
    outcomes = tried(stacked(kind), mode=mode)
    assert len(outcomes) == (3 if kind is torch.nn.LSTM else 2)
    assert all(each.passed for each in outcomes.values()), outcomes


@pytest.mark.parametrize("changes", [{"batch_first": True}, {"bias": False}, {"dropout": 0.5}])
@pytest.mark.parametrize("kind", STACKS)
def test_settings_of_stacks(kind: Any, changes: dict[str, Any]) -> None:
    """The batch first or second, no biases, and a dropout, which does nothing in inference."""
    assert all(each.passed for each in tried(stacked(kind, **changes)).values())


def test_relu() -> None:
    """An RNN of ReLUs is not one of tanh, and neither is its cell."""
    assert all(each.passed for each in tried(stacked(torch.nn.RNN, nonlinearity="relu")).values())
    assert all(each.passed for each in tried(step(torch.nn.RNNCell, True, nonlinearity="relu")).values())


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind: Any, given: bool) -> None:
    """One step of each kind, its states given or zero."""
    assert all(each.passed for each in tried(step(kind, given)).values())
    assert all(each.passed for each in tried(step(kind, given, bias=False)).values())


class Network(torch.nn.Module):
    """What a stack makes of a sequence, without its states."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.nn.GRU(3, 4, num_layers=3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, _ = self.rnn(x)
        return output


def test_names_of_stacked_layers() -> None:
    """The last layer has the module's name, and those before it a number behind it: what it returns is the last's."""
    case = on(Network(), noise(2, 5, 3), layouts=("NLC",))
    port = built(case.module, case.given, case.layouts)
    names = [layer.name for layer in port.model.layers if isinstance(layer, keras.layers.GRU)]
    assert names == ["rnn_l0", "rnn_l1", "rnn"]
    assert all(each.passed for each in tried(case).values())


class Twice(torch.nn.Module):
    """A layer of both directions that is used twice, the second time from where it was left."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.rnn = kind(4, 2, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, state = self.rnn(x)
        x, _ = self.rnn(x, state)
        return x


@pytest.mark.parametrize("kind", STACKS)
def test_what_is_used_twice_has_its_weights_once(kind: Any) -> None:
    """A module that is called again is the same layer, called again."""
    case = on(Twice(kind), noise(2, 5, 4), layouts=("NLC",))
    assert len(built(case.module, case.given, case.layouts).model.weights) == 6
    assert all(each.passed for each in tried(case).values())


@KERAS_SAVES
@pytest.mark.parametrize("kind", STACKS)
def test_stacks_load_without_parity(kind: Any, tmp_path: Path) -> None:
    """Saved and loaded in Keras's safe mode, the model is of Keras's own classes and gives the same values."""
    assert same_when_loaded(stacked(kind), "channels_last", tmp_path)


@KERAS_SAVES
@pytest.mark.parametrize("kind", CELLS)
def test_cells_load_without_parity(kind: Any, tmp_path: Path) -> None:
    """So does a cell, with the states it is given and with those of zero."""
    assert same_when_loaded(step(kind, True), "channels_last", tmp_path)
    assert same_when_loaded(step(kind, False), "channels_last", tmp_path)


@pytest.mark.parametrize(
    ("module", "shape", "layout", "why"),
    [
        (torch.nn.LSTM(3, 4, proj_size=2), (5, 2, 3), "LNC", "proj_size=2 makes what is fed back narrower than"),
        (torch.nn.LSTM(3, 4), (5, 3), "LC", "torch.nn.LSTM: its input has 2 axes, that is no batch"),
        (torch.nn.GRU(3, 4), (5, 3), "LC", "torch.nn.GRU: its input has 2 axes, that is no batch"),
        (torch.nn.RNN(3, 4), (5, 3), "LC", "torch.nn.RNN: its input has 2 axes, that is no batch"),
        (torch.nn.LSTMCell(3, 4), (3,), "C", "torch.nn.LSTMCell: its input has 1 axes, that is no batch"),
        (torch.nn.GRUCell(3, 4), (3,), "C", "torch.nn.GRUCell: its input has 1 axes, that is no batch"),
        (torch.nn.RNNCell(3, 4), (3,), "C", "torch.nn.RNNCell: its input has 1 axes, that is no batch"),
    ],
)
def test_refused(module: torch.nn.Module, shape: tuple[int, ...], layout: str, why: str) -> None:
    """What Keras's layers cannot do is refused with the reason."""
    case = on(module, noise(*shape), layouts=(layout,))
    with pytest.raises(ConversionError, match=why):
        built(case.module, case.given, case.layouts)
