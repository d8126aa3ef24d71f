"""Pads of torch in Keras: of every mode, with negative ones, whatever the order of the axes; and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layers_on_trial import on_noise
from reloading import same_when_loaded

from parity.building import Site, Value, build
from parity.building.padding import padded
from parity.building.registry import apply, builder_of
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.layers import tried

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves
FORMATS = ("channels_last", "channels_first")
F = torch.nn.functional


CASES = {
    "zeros": lambda: on_noise(torch.nn.ZeroPad2d((1, 2, 0, 3)), (2, 3, 5, 7)),
    "zeros, and cut off": lambda: on_noise(torch.nn.ZeroPad3d((1, -2, -1, 3, 0, -1)), (2, 3, 4, 5, 7)),
    "a constant": lambda: on_noise(torch.nn.ConstantPad1d((2, -3), -1e30), (2, 3, 5)),
    "reflected": lambda: on_noise(torch.nn.ReflectionPad2d((6, 1, 0, 4)), (2, 3, 5, 7)),
    "reflected beyond what is cut off": lambda: on_noise(torch.nn.ReflectionPad1d((-3, 4)), (2, 3, 5)),
    "replicated": lambda: on_noise(torch.nn.ReplicationPad3d((3, 0, 1, 2, 0, 5)), (2, 3, 1, 2, 3)),
    "replicated from what is cut off": lambda: on_noise(torch.nn.ReplicationPad1d((-6, 4)), (2, 3, 5)),
    "circular, and cut off before": lambda: on_noise(torch.nn.CircularPad2d((-2, 3, 5, 5)), (2, 3, 5, 7)),
}


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_a_setting_is_torchs(name: str, data_format: str, mode: str) -> None:
    """To the last bit, in both data formats and every mode."""
    assert all(each.passed for each in tried(CASES[name](), data_format, mode).values())


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ["zeros, and cut off", "reflected", "circular, and cut off before"])
def test_what_is_built_is_keras_alone(name: str, data_format: str, tmp_path: Path) -> None:
    """It is saved, loaded in safe mode, and gives the same values."""
    assert same_when_loaded(CASES[name](), data_format, tmp_path)


def called(x: Any, order: tuple[int, ...], *args: Any, **kwargs: Any) -> Value:
    """What becomes of a call of `torch.nn.functional.pad` on a tensor of the port."""
    return apply(builder_of(F.pad), Site(path="pad"), (Value(x, order), *args), kwargs)


@pytest.mark.parametrize(
    "settings",
    [
        {"pad": (1, 2)},
        {"pad": (1, 2, 0, 1, 3, 0, 2, 2), "value": 0.5},
        {"pad": (1, -2, 2, 0), "mode": "reflect"},
        {"pad": (1, 2, 0, 3), "mode": "replicate"},
        {"pad": (1, 2), "mode": "constant", "value": None},
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 0, 2, 1)])
def test_a_call_pads_torchs_last_axes(settings: dict[str, Any], order: tuple[int, ...]) -> None:
    """Wherever the port has them."""
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    found = called(array.transpose(order), order, **settings)
    assert found.order == order
    assert np.array_equal(found.moved((0, 1, 2, 3)), F.pad(torch.tensor(array), **settings))


@pytest.mark.parametrize(("kind", "value"), [("int32", 2), ("int64", -3.0), ("bool", True), ("float32", 1)])
def test_a_call_pads_any_kind_of_numbers(kind: str, value: float) -> None:
    """Whole numbers and truths stay what they are."""
    array = np.array([[0, 1, 1]]).astype(kind)
    found = np.asarray(called(array, (0, 1), (2, 1), value=value).tensor)
    assert found.dtype == array.dtype
    assert np.array_equal(found, F.pad(torch.tensor(array), (2, 1), value=value))


def test_nothing_is_made_of_no_pads() -> None:
    """Pads of zero leave the tensor itself."""
    x = keras.Input((3, 4))
    assert called(x, (0, 1, 2), (0, 0, 0, 0)).tensor is x
    assert called(x, (0, 1, 2), (0, 0), mode="reflect").tensor is x


def test_circular_pads_longer_than_what_is_left_are_refused() -> None:
    """Torch reads memory there that nothing was written to."""
    x = Value(keras.Input((5, 3)), (0, 2, 1))
    with pytest.raises(ConversionError, match=r"circular padding by \(-3, 4\) of 5 values repeats more than it has"):
        build(torch.nn.CircularPad1d((-3, 4)), Site(path="pad"), x)


def test_sizes_that_are_not_known_take_constants_only() -> None:
    """Where values come from depends on the size."""
    x = keras.Input((None, 3))
    assert padded(x, {1: (1, 2)}, "constant").shape == (None, None, 3)
    with pytest.raises(ConversionError, match="mode 'reflect' needs to know the size of the axis"):
        padded(x, {1: (1, 2)}, "reflect")


def test_modes_that_torch_has_not_are_refused() -> None:
    """With those it has."""
    with pytest.raises(ConversionError, match="'symmetric' is none of torch's: constant, reflect, replicate, circular"):
        called(keras.Input((3, 4)), (0, 1, 2), (1, 1), mode="symmetric")
