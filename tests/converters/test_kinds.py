"""Each kind of layer, filled by its converter, computes in Keras what it computes in torch; the rest is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from parity.converters import convert, transfer
from parity.errors import WeightError
from parity.frameworks import keras, torch

nn, layers = torch.nn, keras.layers

IMAGE = (2, 7, 9, 4)
"""Batch, height, width, channels."""
SEQUENCE = (2, 7, 6)
"""Batch, length, channels."""
VECTOR = (5, 6)


@dataclass(frozen=True)
class Case:
    """A torch layer, the Keras layer that is to compute the same, the shape of its channels-last input."""

    module: Callable[[], torch.nn.Module]
    layer: Callable[[], Any]
    shape: tuple[int, ...]
    channels_first: bool = True


CASES = {
    "conv1d": Case(lambda: nn.Conv1d(6, 5, 3), lambda: layers.Conv1D(5, 3), SEQUENCE),
    "conv1d grouped": Case(lambda: nn.Conv1d(6, 9, 2, groups=3), lambda: layers.Conv1D(9, 2, groups=3), SEQUENCE),
    "conv1d depthwise": Case(
        lambda: nn.Conv1d(6, 12, 3, groups=6), lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), SEQUENCE
    ),
    "conv2d": Case(
        lambda: nn.Conv2d(4, 5, (3, 2), bias=False), lambda: layers.Conv2D(5, (3, 2), use_bias=False), IMAGE
    ),
    "conv2d grouped": Case(
        lambda: nn.Conv2d(4, 6, (3, 2), groups=2), lambda: layers.Conv2D(6, (3, 2), groups=2), IMAGE
    ),
    "conv2d depthwise": Case(
        lambda: nn.Conv2d(4, 12, (3, 2), groups=4),
        lambda: layers.DepthwiseConv2D((3, 2), depth_multiplier=3),
        IMAGE,
    ),
    "conv2d grouped to one each": Case(
        lambda: nn.Conv2d(4, 8, 3, groups=4, bias=False), lambda: layers.Conv2D(8, 3, groups=4, use_bias=False), IMAGE
    ),
    "transposed 1d": Case(
        lambda: nn.ConvTranspose1d(6, 5, 4, stride=2), lambda: layers.Conv1DTranspose(5, 4, strides=2), SEQUENCE
    ),
    "transposed 2d": Case(
        lambda: nn.ConvTranspose2d(4, 5, (3, 2), stride=2),
        lambda: layers.Conv2DTranspose(5, (3, 2), strides=2),
        IMAGE,
    ),
    "linear": Case(lambda: nn.Linear(6, 5), lambda: layers.Dense(5), VECTOR),
    "linear without bias": Case(lambda: nn.Linear(6, 5, bias=False), lambda: layers.Dense(5, use_bias=False), VECTOR),
    "batch norm 1d": Case(lambda: nn.BatchNorm1d(6), lambda: layers.BatchNormalization(epsilon=1e-5), VECTOR),
    "batch norm 2d": Case(lambda: nn.BatchNorm2d(4), lambda: layers.BatchNormalization(epsilon=1e-5), IMAGE),
    "batch norm, not affine": Case(
        lambda: nn.BatchNorm2d(4, affine=False),
        lambda: layers.BatchNormalization(epsilon=1e-5, scale=False, center=False),
        IMAGE,
    ),
    "batch norm, affine in the port only": Case(
        lambda: nn.BatchNorm2d(4, affine=False), lambda: layers.BatchNormalization(epsilon=1e-5), IMAGE
    ),
    "layer norm": Case(
        lambda: nn.LayerNorm(6), lambda: layers.LayerNormalization(epsilon=1e-5), SEQUENCE, channels_first=False
    ),
    "layer norm without bias": Case(
        lambda: nn.LayerNorm(6, bias=False),
        lambda: layers.LayerNormalization(epsilon=1e-5, center=False),
        SEQUENCE,
        channels_first=False,
    ),
    "layer norm without bias, centred in the port": Case(
        lambda: nn.LayerNorm(6, bias=False),
        lambda: layers.LayerNormalization(epsilon=1e-5),
        SEQUENCE,
        channels_first=False,
    ),
    "group norm": Case(lambda: nn.GroupNorm(2, 4), lambda: layers.GroupNormalization(2, epsilon=1e-5), IMAGE),
    "prelu": Case(lambda: nn.PReLU(4), lambda: layers.PReLU(shared_axes=[1, 2]), IMAGE),
    "prelu of vectors": Case(lambda: nn.PReLU(6), lambda: layers.PReLU(), VECTOR),
    "prelu, one slope": Case(lambda: nn.PReLU(), lambda: layers.PReLU(shared_axes=[1, 2, 3]), IMAGE),
    "prelu, one slope in every place": Case(lambda: nn.PReLU(), lambda: layers.PReLU(), IMAGE),
}


def shuffled(module: torch.nn.Module) -> torch.nn.Module:
    """The module in evaluation mode, every weight and statistic drawn anew, so that no two are equal."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                low = 0.5 if name.endswith("running_var") else -1.0
                tensor.uniform_(low, 1.5, generator=generator)
    return module.eval()


def filled(module: torch.nn.Module, layer: Any, shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """A port of that one layer, with the weights of the module."""
    start = keras.Input(shape[1:], dtype=dtype)
    port = keras.Model(start, layer(start))
    transfer(torch.nn.Sequential(module), port, {"0": layer.name})
    return port


def outputs(case: Case) -> tuple[Any, Any]:
    """What the port and the module make of the same noise, channels last."""
    module = shuffled(case.module())
    given = np.random.default_rng(0).normal(size=case.shape).astype(np.float32)
    actual = np.asarray(filled(module, case.layer(), case.shape)(given))
    value = torch.from_numpy(given)
    with torch.no_grad():
        if case.channels_first and given.ndim > 2:
            return actual, module(value.movedim(-1, 1)).movedim(1, -1).numpy()
        return actual, module(value).numpy()


def agree(actual: Any, expected: Any) -> None:
    """Equal to rounding."""
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_filled_layer_computes_the_same(name: str) -> None:
    """The Keras layer with the converted weights gives torch's values, on noise of unequal sizes."""
    agree(*outputs(CASES[name]))


def test_filled_embedding_computes_the_same() -> None:
    """A table gives the same vectors for the same tokens."""
    module = shuffled(nn.Embedding(11, 6, padding_idx=0))
    tokens = np.random.default_rng(0).integers(11, size=(2, 7))
    port = filled(module, layers.Embedding(11, 6), tokens.shape, "int64")
    np.testing.assert_array_equal(np.asarray(port(tokens)), module(torch.from_numpy(tokens)).detach().numpy())


RECURRENT = [(nn.LSTM, layers.LSTM), (nn.GRU, layers.GRU), (nn.RNN, layers.SimpleRNN)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kind", "layer"), RECURRENT)
def test_filled_recurrent_layer_computes_the_same(kind: Any, layer: Any, batch_first: bool, bias: bool) -> None:
    """An LSTM, a GRU and an RNN give the same values at every step, whichever axis torch takes for the batch."""
    module = shuffled(kind(6, 5, batch_first=batch_first, bias=bias))
    given = np.random.default_rng(0).normal(size=SEQUENCE).astype(np.float32)
    actual = np.asarray(filled(module, layer(5, return_sequences=True, use_bias=bias), SEQUENCE)(given))
    with torch.no_grad():
        steps = torch.from_numpy(given if batch_first else given.swapaxes(0, 1).copy())
        expected = module(steps)[0].numpy()
    agree(actual, expected if batch_first else expected.swapaxes(0, 1))


@pytest.mark.parametrize(("kind", "layer"), RECURRENT)
def test_filled_bidirectional_layer_computes_the_same(kind: Any, layer: Any) -> None:
    """A recurrent layer of both directions fills a Bidirectional: forward weights first, then the backward ones."""
    module = shuffled(kind(6, 5, batch_first=True, bidirectional=True))
    given = np.random.default_rng(0).normal(size=SEQUENCE).astype(np.float32)
    port = filled(module, layers.Bidirectional(layer(5, return_sequences=True)), SEQUENCE)
    with torch.no_grad():
        agree(np.asarray(port(given)), module(torch.from_numpy(given))[0].numpy())


def test_one_of_several_outputs_stands_for_its_module() -> None:
    """A layer map names an LSTM by its outputs, on both sides; its weights are loaded once."""
    module = torch.nn.ModuleDict({"lstm": shuffled(nn.LSTM(6, 5, batch_first=True))})
    start = keras.Input(SEQUENCE[1:])
    sequence, hidden, cell = layers.LSTM(5, return_sequences=True, return_state=True, name="steps")(start)
    port = keras.Model(start, [sequence, hidden, cell])
    transfer(module, port, {"lstm[0]": "steps[0]", "lstm[1][0]": "steps[1]", "lstm[1][1]": "steps[2]"})
    np.testing.assert_array_equal(port.get_layer("steps").cell.recurrent_kernel, module["lstm"].weight_hh_l0.detach().T)


@pytest.mark.parametrize(
    ("module", "target", "message"),
    [
        (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), None, "ConvTranspose1d with groups=2 has no counterpart"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), None, "ConvTranspose2d with groups=2 has no counterpart"),
        (lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: layers.Conv2D(6, 3), "has groups=2, and the port's .* groups=1"),
        (lambda: nn.Conv1d(4, 6, 3), lambda: layers.Conv1D(6, 3, groups=2), "has groups=1, and the port's .* groups=2"),
        (lambda: nn.Conv2d(4, 4, 3), lambda: layers.DepthwiseConv2D(3), "groups=1 and in_channels=4 is not depthwise"),
        (lambda: nn.Embedding(3, 4, max_norm=1.0), None, "max_norm=1.0 rewrites its table"),
        (lambda: nn.BatchNorm2d(4, track_running_stats=False), None, "BatchNorm2d without running statistics"),
        (lambda: nn.LayerNorm((3, 4)), None, "LayerNorm over 2 axes has no converter"),
        (lambda: nn.GroupNorm(2, 4), lambda: layers.GroupNormalization(4), "2 groups, and the port's layer 4"),
        (lambda: nn.LSTM(4, 5, num_layers=2), None, "LSTM with num_layers=2 is as many layers"),
        (lambda: nn.GRU(4, 5, bidirectional=True), lambda: layers.GRU(5), "bidirectional=True is Bidirectional"),
        (lambda: nn.LSTM(4, 5), lambda: layers.Bidirectional(layers.LSTM(5)), "bidirectional=False is one layer"),
        (lambda: nn.LSTM(4, 5, proj_size=3), None, "LSTM with proj_size=3 has no counterpart"),
        (lambda: nn.GRU(4, 5), lambda: layers.GRU(5, reset_after=False), "the port's layer has reset_after=False"),
        (lambda: nn.GRUCell(4, 5), lambda: layers.GRUCell(5, reset_after=False), "has reset_after=False"),
        (lambda: nn.RNN(4, 5, num_layers=2), None, "RNN with num_layers=2 is as many layers"),
        (lambda: nn.MultiheadAttention(4, 2, add_bias_kv=True), None, "add_bias_kv=True has no counterpart"),
    ],
)
def test_what_cannot_be_converted_is_refused(module: Any, target: Any, message: str) -> None:
    """Settings whose weights have no place in the Keras layer are refused, with the path and the value."""
    with pytest.raises(WeightError, match=rf"layer 'body\.3': torch\.nn\..*{message}"):
        convert(module(), "body.3", target and target())


def test_slopes_for_each_pixel_are_refused() -> None:
    """A PReLU of the port that forgot its shared axes has a slope for every pixel, and no converter can fill that."""
    with pytest.raises(WeightError, match=r"a slope of its own along axes \[1, 2, 3\]; give it shared_axes"):
        filled(nn.PReLU(4), layers.PReLU(), IMAGE)


def test_a_lost_scale_is_not_passed_over() -> None:
    """A BatchNorm's gamma is given even to a layer that has none, so that the counts differ."""
    with pytest.raises(WeightError, match=r"'0' gives 4 arrays; port layer '.*' has 3: beta, moving_mean, moving_var"):
        filled(nn.BatchNorm2d(4), layers.BatchNormalization(scale=False), IMAGE)


def test_unknown_targets_get_the_default() -> None:
    """Without a target, weights are for the Keras layer of the same name: PReLU's for a channels-last image."""
    assert convert(nn.PReLU(4), "prelu")[0].shape == (1, 1, 4)
    assert [array.shape for array in convert(nn.GRU(4, 5), "gru")] == [(4, 15), (5, 15), (2, 15)]
    assert [array.shape for array in convert(nn.Conv2d(4, 8, 3, groups=4), "conv")] == [(3, 3, 1, 8), (8,)]
    assert len(convert(nn.BatchNorm2d(4, affine=False), "norm")) == 2
    assert [array.shape for array in convert(nn.LSTMCell(4, 5), "cell")] == [(4, 20), (5, 20), (20,)]
    kernels = convert(nn.MultiheadAttention(6, 2, kdim=4, vdim=5, bias=False), "attention")
    assert [array.shape for array in kernels] == [(6, 2, 3), (4, 2, 3), (5, 2, 3), (2, 3, 6)]
