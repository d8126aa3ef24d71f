"""Checking a converter of one's own on cases that Hypothesis draws, and what is said where it is off."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import parity.layers
from parity.errors import UsageError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case, cases
from parity.layers import check
from parity.pairs import INPUT, Input

QUICKLY = settings(max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def case_of(module: torch.nn.Module, shape: tuple[int, ...], layout: str) -> Case:
    """A module on noise."""
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Case(module=module.eval(), given=Input(name="noise", array=array), layouts={INPUT: layout})


def dense(layer: torch.nn.Linear) -> keras.layers.Layer:
    """A converter as somebody would write it."""
    made = keras.layers.Dense(layer.out_features, use_bias=layer.bias is not None)
    made.build((None, layer.in_features))
    made.set_weights([array.detach().numpy().T for array in layer.parameters()])
    return made


def conv(layer: torch.nn.Conv2d, change: Callable[[dict[str, Any], list[Any]], None] = lambda *_: None) -> Any:
    """A converter of convolutions, and what is to be changed of its settings and weights."""
    how: dict[str, Any] = {"strides": layer.stride, "padding": "valid"}
    weights = [layer.weight.detach().numpy().transpose(2, 3, 1, 0), layer.bias.detach().numpy()]
    change(how, weights)
    made = keras.layers.Conv2D(layer.out_channels, layer.kernel_size, **how)
    made.build((None, None, None, layer.in_channels))
    made.set_weights(weights)
    return made


def wrong_conv(change: Callable[[dict[str, Any], list[Any]], None]) -> Callable[[torch.nn.Conv2d], Any]:
    """A converter with a mistake."""
    return lambda layer: conv(layer, change)


def said(case: Case, **how: Any) -> str:
    """What an assertion says of a case."""
    with pytest.raises(AssertionError) as caught:
        check(case, **how)
    return " ".join(str(caught.value).split())


def test_a_faithful_converter_passes_on_drawn_cases() -> None:
    """As in docs/layers.md: a strategy, a check, and a function of the module."""
    seen = []

    @QUICKLY
    @given(cases(torch.nn.Linear).filter(lambda case: case.given.array.ndim == 2))
    def drawn(case: Case) -> None:
        check(case, builder=dense, modes=("eager",))
        seen.append(case)

    drawn()
    assert len(seen) == 5


def test_parity_s_own_converter_is_checked_without_one() -> None:
    """In every mode, in either data format; cases of a class, a short name or a function are the same."""
    case = case_of(torch.nn.Conv2d(3, 5, (2, 3), stride=2, padding=1), (2, 3, 5, 7), "NCHW")
    for data_format in ("channels_last", "channels_first"):
        check(case, data_format=data_format)


def test_what_is_off_is_told_with_its_cause() -> None:
    """The message has what, how far, the cause, the module, the shapes and the mode."""
    case = case_of(torch.nn.Conv2d(3, 5, (2, 3), stride=2), (2, 3, 7, 11), "NCHW")
    check(case, builder=conv)
    text = said(case, builder=wrong_conv(lambda how, _: how.update(strides=(2, 1), padding="valid")))
    assert "layers / Conv2d[channels_last] output cannot be compared: its shape is" in text
    text = said(case, builder=wrong_conv(lambda _, weights: weights.__setitem__(1, weights[1] * 0)))
    assert "output differs by" in text
    assert "cause: bias-missing" in text
    assert " case: Conv2d(3, 5, kernel_size=(2, 3), stride=(2, 2))" in text
    assert "input float32 (2, 3, 7, 11) NCHW" in text
    assert "mode eager" in text


def test_a_kernel_that_is_larger_by_one_in_a_hundred_thousand_is_found() -> None:
    """The factor is below the noise of each value, and shows in all of them together."""
    case = case_of(torch.nn.Conv2d(3, 5, 3), (2, 3, 9, 11), "NCHW")
    larger = wrong_conv(lambda _, weights: weights.__setitem__(0, weights[0] * np.float32(1 + 1e-5)))
    assert "cause: scale (the kernel is 1.00001 times" in said(case, builder=larger, modes=("eager",))


class Zeros(torch.nn.Module):
    """A layer that makes nothing of anything."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as `x`."""
        return x * 0


def test_zeros_are_told_as_such() -> None:
    """Nothing can be said relative to nothing."""
    case = case_of(Zeros(), (2, 3), "NC")
    text = said(case, builder=lambda _: lambda x: x * 0 + 0.25, modes=("eager",))
    assert "output is up to 2.5e-1 where torch has zeros" in text


def test_a_slope_of_two_thousandths_more_is_found() -> None:
    """0.1002 for 0.1, at any of the usual sizes."""
    case = case_of(torch.nn.LeakyReLU(0.1), (2, 3, 5, 7), "NCHW")
    check(case, builder=lambda layer: keras.layers.LeakyReLU(layer.negative_slope), modes=("eager",))
    text = said(case, builder=lambda layer: keras.layers.LeakyReLU(0.1002), modes=("eager",))
    assert "cause: activation-slope" in text


def test_what_a_converter_raises_is_told() -> None:
    """A mistake in it is a failure too, with the case; where it comes from is kept."""

    def broken(layer: torch.nn.Module) -> Any:
        raise ValueError("no such layer")

    case = case_of(torch.nn.ReLU(), (2, 3), "NC")
    with pytest.raises(AssertionError, match="raises ValueError: no such layer") as caught:
        check(case, builder=broken)
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_cause_is_looked_for_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis raises hundreds of failures while it shrinks; only the one that is read costs a verification."""
    asked = []
    monkeypatch.setattr("parity.layers.checking.failure", lambda failed: asked.append(failed) or "all of it")
    case = case_of(torch.nn.ReLU(), (2, 3), "NC")
    with pytest.raises(AssertionError) as caught:
        check(case, builder=lambda _: keras.layers.LeakyReLU(0.1))
    assert asked == []
    assert [str(caught.value), str(caught.value), len(asked)] == ["all of it", "all of it", 1]


def test_unknown_modes_and_formats_are_refused() -> None:
    """Wrong use is no failed test, and nothing checked is no pass."""
    case = case_of(torch.nn.ReLU(), (2, 3), "NC")
    with pytest.raises(UsageError, match="mode 'lazy' is not known"):
        check(case, modes=("lazy",))
    with pytest.raises(UsageError, match="no mode given"):
        check(case, modes=())
    with pytest.raises(UsageError, match="data_format 'NHWC' is not known"):
        check(case, data_format="NHWC")


def test_a_case_says_what_it_is() -> None:
    """In one line, for Hypothesis too."""
    case = case_of(torch.nn.ReLU(), (2, 3), "NC")
    assert repr(case) == "Case(ReLU() on input float32 (2, 3) NC; )"
    from hypothesis.vendor.pretty import pretty

    assert pretty(case) == repr(case)


def test_the_room_is_public() -> None:
    """What the documentation names is there."""
    assert {"check", "every_kind", "tried"} <= set(parity.layers.__all__)
