"""Recurrent layers: N batch, L steps, i features, u units, D directions; of several layers, the batch first or not.

Torch keeps the states of all layers and directions in one tensor (layers * D, N, u); in Keras each layer has its own.
"""

from typing import Any

from parity.building.registry import builds
from parity.building.values import Site, Value
from parity.converters.recurrent import of_one
from parity.converters.registry import kind_name
from parity.errors import ConversionError
from parity.frameworks import keras, torch

Stack = torch.nn.LSTM | torch.nn.GRU | torch.nn.RNN
Cell = torch.nn.LSTMCell | torch.nn.GRUCell | torch.nn.RNNCell


STACKED = "one for each layer, each in Bidirectional where there are two directions"
REFUSED = "refused: packed sequences, a sequence without a batch"


@builds(torch.nn.LSTM, layout="values", how=f"LSTM: {STACKED}", limits=f"{REFUSED}, proj_size")
def lstm(layer: torch.nn.LSTM, site: Site, x: Value, hx: tuple[Value, Value] | None = None) -> Any:
    """(N, L, i) and two states (layers * D, N, u) to (N, L, D * u) and the two after it; N, L as torch has them."""
    if layer.proj_size:
        raise ConversionError(
            f"{_title(layer, site)}: proj_size={layer.proj_size} makes what is fed back narrower than the cell, and "
            "keras.layers.LSTM has no such projection"
        )
    output, after = _stacked(layer, site, x, hx or ())
    return output, after


@builds(torch.nn.GRU, layout="values", how=f"GRU(reset_after=True): {STACKED}", limits=REFUSED)
def gru(layer: torch.nn.GRU, site: Site, x: Value, hx: Value | None = None) -> Any:
    """(N, L, i) and a state (layers * D, N, u) to (N, L, D * u) and the state after it; N, L as torch has them."""
    output, (after,) = _stacked(layer, site, x, () if hx is None else (hx,))
    return output, after


@builds(torch.nn.RNN, layout="values", how=f"SimpleRNN: {STACKED}", limits=REFUSED)
def rnn(layer: torch.nn.RNN, site: Site, x: Value, hx: Value | None = None) -> Any:
    """(N, L, i) and a state (layers * D, N, u) to (N, L, D * u) and the state after it; N, L as torch has them."""
    output, (after,) = _stacked(layer, site, x, () if hx is None else (hx,))
    return output, after


def _stacked(layer: Stack, site: Site, x: Value, before: tuple[Value, ...]) -> tuple[Value, tuple[Value, ...]]:
    """The output of a module's layers, one on the other, and its kinds of states after the last step, of all layers.

    The last layer has the module's name, those before it have that name and their number.
    """
    _refuse_without_batch(layer, site, x, rank=3)
    order = (0, 1, 2) if layer.batch_first else (1, 0, 2)
    steps, given, after = x.moved(order), [state.moved((0, 1, 2)) for state in before], []
    ways = 2 if layer.bidirectional else 1
    for number in range(layer.num_layers):
        made = _one(layer, site.name("" if number == layer.num_layers - 1 else f"l{number}"))
        starts = [states[number * ways + way] for way in range(ways) for states in given]
        steps, *ends = site.layer(made, arrays=of_one(layer, number))(steps, initial_state=starts or None)
        after += [ends[: len(ends) // ways], ends[len(ends) // ways :]][:ways]
    kinds = (keras.ops.stack(states) for states in zip(*after, strict=True))
    return Value(steps, order), tuple(Value.plain(states) for states in kinds)


def _one(layer: Stack, name: str) -> Any:
    """The Keras layer for one layer of a module, in both directions if it has them; it gives all steps and states."""
    settings: dict[str, Any] = {"use_bias": layer.bias, "return_sequences": True, "return_state": True}
    kind = keras.layers.LSTM
    if isinstance(layer, torch.nn.GRU):
        kind, settings = keras.layers.GRU, {**settings, "reset_after": True}
    elif isinstance(layer, torch.nn.RNN):
        kind, settings = keras.layers.SimpleRNN, {**settings, "activation": layer.nonlinearity}
    if layer.bidirectional:
        return keras.layers.Bidirectional(kind(layer.hidden_size, name="steps", **settings), name=name)
    return kind(layer.hidden_size, name=name, **settings)


@builds(torch.nn.LSTMCell, layout="values", how="LSTMCell", limits="refused: a step without a batch")
def lstm_cell(layer: torch.nn.LSTMCell, site: Site, x: Value, hx: tuple[Value, Value] | None = None) -> Any:
    """(N, i) and two states (N, u) to the two after it."""
    made = keras.layers.LSTMCell(layer.hidden_size, use_bias=layer.bias, name=site.name())
    return _stepped(layer, site, made, x, hx or (None, None))


@builds(torch.nn.GRUCell, layout="values", how="GRUCell(reset_after=True)", limits="refused: a step without a batch")
def gru_cell(layer: torch.nn.GRUCell, site: Site, x: Value, hx: Value | None = None) -> Any:
    """(N, i) and a state (N, u) to the one after it."""
    made = keras.layers.GRUCell(layer.hidden_size, use_bias=layer.bias, reset_after=True, name=site.name())
    return _stepped(layer, site, made, x, (hx,))[0]


@builds(torch.nn.RNNCell, layout="values", how="SimpleRNNCell", limits="refused: a step without a batch")
def rnn_cell(layer: torch.nn.RNNCell, site: Site, x: Value, hx: Value | None = None) -> Any:
    """(N, i) and a state (N, u) to the one after it."""
    settings = {"use_bias": layer.bias, "activation": layer.nonlinearity}
    made = keras.layers.SimpleRNNCell(layer.hidden_size, name=site.name(), **settings)
    return _stepped(layer, site, made, x, (hx,))[0]


def _stepped(layer: Cell, site: Site, made: Any, x: Value, before: tuple[Value | None, ...]) -> tuple[Value, ...]:
    """The states after a step of a Keras cell; a state that is not given is zero."""
    _refuse_without_batch(layer, site, x, rank=2)
    step = x.moved((0, 1))
    none = keras.ops.repeat(keras.ops.zeros_like(step[:, :1]), layer.hidden_size, axis=1)
    given = [none if state is None else state.moved((0, 1)) for state in before]
    _, after = site.layer(made, weights_of=layer)(step, given)
    return tuple(Value.plain(state) for state in after)


def _refuse_without_batch(layer: Stack | Cell, site: Site, x: Value, rank: int) -> None:
    """Torch takes a single sequence or step too; a Keras layer always has a batch."""
    if len(x.order) != rank:
        raise ConversionError(
            f"{_title(layer, site)}: its input has {len(x.order)} axes, that is no batch; "
            f"Keras's recurrent layers take a batch, {rank} axes"
        )


def _title(layer: Stack | Cell, site: Site) -> str:
    return site.path or kind_name(type(layer))
