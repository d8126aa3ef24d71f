"""Cases of recurrent layers: the sequence in either order of its axes, the states before it given or not."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from parity.axes import Array
from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, arrays, cases_of, seeded
from parity.pairs import Input

Shape = Sequence[int]


@cases_of(torch.nn.LSTM, "lstm")
def lstm(draw: st.DrawFn) -> Case:
    """Up to three layers in one direction or two in both, dropout or none; both states given, or neither."""
    return _stacked(draw, torch.nn.LSTM, states=2)


@cases_of(torch.nn.GRU, "gru")
def gru(draw: st.DrawFn) -> Case:
    """Up to three layers in one direction or two in both, dropout or none; the state given or not."""
    return _stacked(draw, torch.nn.GRU, states=1)


@cases_of(torch.nn.RNN, "rnn")
def rnn(draw: st.DrawFn) -> Case:
    """Up to three layers in one direction or two in both, of tanh or ReLU; the state given or not."""
    return _stacked(draw, torch.nn.RNN, states=1, nonlinearity=draw(st.sampled_from(("tanh", "relu"))))


@cases_of(torch.nn.LSTMCell, "lstm_cell")
def lstm_cell(draw: st.DrawFn) -> Case:
    """One step, both states given, or neither."""
    return _cell(draw, torch.nn.LSTMCell, states=2)


@cases_of(torch.nn.GRUCell, "gru_cell")
def gru_cell(draw: st.DrawFn) -> Case:
    """One step, the state given or not."""
    return _cell(draw, torch.nn.GRUCell, states=1)


@cases_of(torch.nn.RNNCell, "rnn_cell")
def rnn_cell(draw: st.DrawFn) -> Case:
    """One step of tanh or ReLU, the state given or not."""
    return _cell(draw, torch.nn.RNNCell, states=1, nonlinearity=draw(st.sampled_from(("tanh", "relu"))))


def _stacked(draw: st.DrawFn, kind: Any, states: int, **settings: Any) -> Case:
    """(N, L, i) or (L, N, i), and so many states (layers * D, N, u)."""
    two_ways, batch_first = draw(st.booleans()), draw(st.booleans())
    layers = draw(st.integers(1, 2 if two_ways else 3))
    features, units, batch, steps = (draw(st.integers(1, most)) for most in (5, 4, 3, 4))
    module = kind(
        features,
        units,
        num_layers=layers,
        bidirectional=two_ways,
        batch_first=batch_first,
        bias=draw(st.booleans()),
        dropout=draw(st.sampled_from((0.0, 0.5))) if layers > 1 else 0.0,
        **settings,
    )
    sequence = (batch, steps, features) if batch_first else (steps, batch, features)
    state = (layers * (2 if two_ways else 1), batch, units)
    return _with_states(draw, module, (sequence, "NLC" if batch_first else "LNC"), (state, "ANC"), states)


def _cell(draw: st.DrawFn, kind: Any, states: int, **settings: Any) -> Case:
    """(N, i), and so many states (N, u)."""
    features, units, batch = (draw(st.integers(1, most)) for most in (5, 5, 3))
    module = kind(features, units, bias=draw(st.booleans()), **settings)
    return _with_states(draw, module, ((batch, features), "NC"), ((batch, units), "NC"), states)


def _with_states(
    draw: st.DrawFn, module: torch.nn.Module, first: tuple[Shape, str], state: tuple[Shape, str], states: int
) -> Case:
    """A case of a module that is given a sequence or a step, and either no state or all of its states."""
    module = seeded(module, draw(st.integers(0, 2**16)))
    array, says = draw(arrays(first[0]))
    before: tuple[Array, ...] = ()
    if draw(st.booleans()):
        before = tuple(draw(arrays(state[0]))[0] for _ in range(states))
    args = (array, *([before] if states > 1 and before else before))
    given = Input(name=says, args=args, origin=says)
    layouts = dict(zip(given.arrays, (first[1], *(state[1] for _ in before)), strict=True))
    return Case(module=module, given=given, layouts=layouts)
