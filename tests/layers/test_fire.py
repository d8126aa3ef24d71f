"""A kind under fire: what a builder decides not to build is refused, and what goes wrong in it is a failure."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis.errors import UnsatisfiedAssumption

from parity.building.registry import _BUILDERS
from parity.errors import BuilderError, ConversionError
from parity.frameworks import torch
from parity.inputs.strategies import Case
from parity.inputs.strategies.cases import Call
from parity.layers.fire import Tally
from parity.pairs import INPUT, Input

TRIED = {
    "a module": (torch.nn.PixelShuffle, torch.nn.PixelShuffle(2)),
    "a function": (torch.nn.functional.interpolate, Call(torch.nn.functional.interpolate, scale_factor=2.0)),
}
ARRAY = np.random.default_rng(0).standard_normal((2, 4, 3, 5)).astype(np.float32)


def tried(name: str, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Tally:
    """What is known of a kind after one case of it, whose builder raises."""

    def builder(*args: Any, **kwargs: Any) -> Any:
        raise error

    kind, module = TRIED[name]

    def another() -> None:
        raise UnsatisfiedAssumption

    monkeypatch.setattr("parity.layers.fire.reject", another)
    monkeypatch.setitem(_BUILDERS, kind, replace(_BUILDERS[kind], function=builder))
    tally = Tally()
    case = Case(module=module, given=Input(name="noise", array=ARRAY), layouts={INPUT: "NCHW"})
    with pytest.raises((UnsatisfiedAssumption, BuilderError)):
        tally.try_one(case, "channels_last", "eager")
    return tally


@pytest.mark.parametrize("name", TRIED)
def test_a_builder_that_fails_refuses_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in a builder that shows on few cases must not pass for a few refusals."""
    tally = tried(name, monkeypatch, TypeError("1 + ''"))
    assert tally.failed is not None
    assert "its builder failed: TypeError: 1 + ''" in str(tally.failed.error)
    assert not tally.refused


@pytest.mark.parametrize("name", TRIED)
def test_what_a_builder_refuses_is_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence is kept, and another case is drawn."""
    tally = tried(name, monkeypatch, ConversionError("it has no counterpart"))
    assert tally.failed is None
    (sentence,) = tally.refused
    assert sentence.endswith("it has no counterpart")
