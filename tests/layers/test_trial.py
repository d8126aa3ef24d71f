"""The judge of single cases: fair where one is ill-conditioned, blind nowhere else, exact where nothing is computed."""

from typing import Any

import numpy as np
import pytest

from parity.axes import Axes
from parity.building import Built
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case
from parity.layers.trial import Outcome, Trial
from parity.pairs import INPUT, Input


def outcome(module: torch.nn.Module, array: Any, function: Any, mode: str = "eager") -> Outcome:
    """What comes of a module on an array where a function of Keras tensors stands for it, axes as they are."""
    layout = "NABCDE"[: array.ndim]
    given = Input(name="x", array=np.asarray(array, np.float32))
    x = keras.Input(batch_shape=(None, *array.shape[1:]))
    axes = Axes(by_name={INPUT: (layout, layout), "output": (layout, layout)})
    port = Built(module=module, model=keras.Model(x, function(x)), layers={}, axes=axes)
    case = Case(module=module.eval(), given=given, layouts={INPUT: layout})
    (only,) = Trial(case, port=port).outcomes(mode).values()
    return only


class Lambda(torch.nn.Module):
    """A module of one function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


CONSTANT = np.repeat(np.random.default_rng(2).uniform(100, 1000, (3, 5, 1)), 7, axis=-1).astype(np.float32)
NOISE = np.random.default_rng(1).standard_normal((3, 5, 7)).astype(np.float32)


def test_a_module_that_works_in_place_leaves_the_input_alone() -> None:
    """Torch's own run must not change what the port is given."""
    before = NOISE.copy()
    assert outcome(torch.nn.LeakyReLU(0.1, inplace=True), NOISE, keras.layers.LeakyReLU(0.1)).passed
    assert np.array_equal(NOISE, before)


def test_the_module_itself_stays_float32() -> None:
    """The float64 run is one of a copy."""
    module = torch.nn.Linear(7, 2)
    layer = keras.layers.Dense(2)
    layer.build((None, None, 7))
    layer.set_weights([array.detach().numpy().T for array in module.parameters()])
    assert outcome(module, NOISE, layer).passed
    assert module.weight.dtype == torch.float32


def normalised(x: Any, order: int) -> Any:
    """A layer norm as one might compose it, its mean summed from either end."""
    x = x[..., ::order] if order < 0 else x
    mean = keras.ops.sum(x * (1 / 7), axis=-1, keepdims=True)
    result = (x - mean) / keras.ops.sqrt(keras.ops.mean(keras.ops.square(x - mean), axis=-1, keepdims=True) + 1e-5)
    return result[..., ::order] if order < 0 else result


def test_where_the_variance_is_zero_roundings_are_allowed_as_measured() -> None:
    """Torch's own mean is exact there, and a faithful port's off by a rounding: 1e-5 of that is in the divisor."""
    module = torch.nn.LayerNorm(7, elementwise_affine=False)
    found = outcome(module, CONSTANT, lambda x: normalised(x, 1))
    assert np.abs(found.expected).max() < np.abs(found.actual).max()
    assert found.passed
    assert outcome(module, NOISE, lambda x: normalised(x, -1)).passed


def test_an_ill_conditioned_case_hides_no_other_function() -> None:
    """What is allowed there is what one rounding does, and no more."""
    module = torch.nn.LayerNorm(7, elementwise_affine=False)
    assert not outcome(module, CONSTANT, lambda x: normalised(x, 1) + 1.0).passed


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 - 1e-5, 1.002])
def test_a_small_factor_is_found(factor: float) -> None:
    """On an ordinary case of a hundred values, one in a hundred thousand is no noise."""
    module = torch.nn.Softplus()
    assert outcome(module, NOISE, keras.ops.softplus).passed
    assert not outcome(module, NOISE, lambda x: keras.ops.softplus(x) * factor).passed


def test_one_wrong_value_is_found() -> None:
    """Among many right ones, by the ratio of the greatest differences."""
    wrong = np.zeros((1, 5, 7), np.float32)
    wrong[0, 2, 3] = 1e-4
    assert not outcome(torch.nn.Tanh(), NOISE, lambda x: keras.ops.tanh(x) + wrong).passed


def test_where_nothing_is_computed_the_port_is_exact() -> None:
    """A value that is off by one unit in the last place is another."""
    assert outcome(torch.nn.Identity(), NOISE, keras.layers.Identity()).passed
    off = outcome(torch.nn.Identity(), NOISE, lambda x: x * np.float32(1 + 2**-23))
    assert not off.passed
    assert off.comparison is not None
    assert off.comparison.limits.rtol == 0


def test_what_is_not_finite_must_be_so_on_both_sides() -> None:
    """NaN where torch has NaN passes; elsewhere, and a number in its place, does not."""
    module = Lambda(lambda x: torch.where(x > 1, torch.nan, x * 3))
    assert outcome(module, NOISE, lambda x: keras.ops.where(x > 1, np.nan, x * 3)).passed
    assert not outcome(module, NOISE, lambda x: x * 3).passed
    assert not outcome(module, NOISE, lambda x: keras.ops.where(x > 0.9, np.nan, x * 3)).passed
    infinite = Lambda(lambda x: torch.where(x > 1, torch.inf, x * 3))
    assert outcome(infinite, NOISE, lambda x: keras.ops.where(x > 1, np.inf, x * 3)).passed
    assert not outcome(infinite, NOISE, lambda x: keras.ops.where(x > 1, -np.inf, x * 3)).passed


def test_shapes_kinds_and_counts_of_outputs_are_compared_first() -> None:
    """What cannot be compared says why, and has not passed."""
    shorter = outcome(torch.nn.ReLU(), NOISE, lambda x: x[:, 1:])
    assert (shorter.passed, shorter.note) == (False, "its shape is (3, 4, 7), and torch's (3, 5, 7)")
    whole = outcome(torch.nn.ReLU(), NOISE, lambda x: keras.ops.cast(x, "int32"))
    assert (whole.passed, whole.note) == (False, "its kind of values is i, and torch's f")
    flat = outcome(torch.nn.ReLU(), NOISE, lambda x: keras.ops.reshape(x, (-1, 35)))
    assert not flat.passed
    assert "axes" in flat.note
    two = outcome(torch.nn.ReLU(), NOISE, lambda x: [x, x])
    assert (two.passed, two.note) == (False, "the port has 2 outputs, and torch 1")


def test_zero_is_zero() -> None:
    """Where torch gives nothing but zeros, so does a faithful port."""
    zeros = np.zeros((2, 3), np.float32)
    assert outcome(torch.nn.Tanh(), zeros, keras.ops.tanh).passed
    assert not outcome(torch.nn.Tanh(), zeros, lambda x: x + 1e-7).passed


def test_a_module_that_is_random_is_no_measure() -> None:
    """What differs from run to run would make the noise as large as any fault."""
    random = outcome(Lambda(lambda x: x + torch.randn_like(x)), NOISE, lambda x: x)
    assert (random.passed, random.note) == (False, "torch gives other values each time it is run on the same input")
