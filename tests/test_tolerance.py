"""What "equal" means: limits follow the reference's own noise, and a widened tolerance says so."""

import math

import numpy as np
import pytest
import scipy.stats

from parity.comparison import compare
from parity.errors import UsageError
from parity.tolerance import (
    ULP,
    UNIT_ROUNDOFF,
    Limits,
    Noise,
    NoiseFloor,
    Tolerance,
    policy_from,
    scatter,
)

MANY = 1 << 20
"""So many values that chance plays no part: scatter(MANY) is 1."""


def noise(**changes: float) -> Noise:
    """Noise of 1e-6 on values of RMS 2."""
    usual = {"rmse": 2e-6, "gain": 0.0, "max_abs": 7e-6, "expected_rms": 2.0, "expected_max": 5.0, "count": MANY}
    return Noise(**{**usual, **changes})  # type: ignore[arg-type]


def test_limits_are_multiples_of_the_noise() -> None:
    """RMSE may be 8 times the reference's, the maximum 32 times, where chance plays no part."""
    limits = NoiseFloor().limits(noise())
    assert limits.rmse == pytest.approx(8 * 2e-6, rel=0.01)
    assert limits.max_abs == pytest.approx(32 * 7e-6, rel=0.01)
    assert limits.rtol is None


def test_noise_is_never_scaled_up_to_more_than_was_measured() -> None:
    """Noise of an item is scaled down for smaller values, and kept as it is for larger ones."""
    measured = noise(gain=1e-6)
    smaller = measured.at_most(noise(expected_rms=1.0, expected_max=2.0))
    assert (smaller.rmse, smaller.max_abs, smaller.gain) == (1e-6, 3.5e-6, 1e-6)
    larger = measured.at_most(noise(expected_rms=200.0, expected_max=500.0))
    assert (larger.rmse, larger.max_abs, larger.gain) == (2e-6, 7e-6, 1e-8)
    assert (larger.expected_rms, larger.expected_max) == (200.0, 500.0)


def test_the_ratios_are_the_policys() -> None:
    """Other ratios give other limits."""
    limits = NoiseFloor(rmse_ratio=3, max_ratio=5).limits(noise())
    assert limits.rmse == pytest.approx(3 * 2e-6, rel=0.01)
    assert limits.max_abs == pytest.approx(5 * 7e-6, rel=0.01)


def test_no_limit_is_below_float32_rounding() -> None:
    """Where the reference happens to be exact, the port may still round: 8 and 32 times half an ulp of the values."""
    limits = NoiseFloor().limits(noise(rmse=0.0, max_abs=0.0))
    assert limits.rmse == pytest.approx(8 * UNIT_ROUNDOFF * 2.0, rel=0.01)
    assert limits.max_abs == pytest.approx(32 * UNIT_ROUNDOFF * 5.0, rel=0.01)


def test_where_the_reference_is_zero_the_port_must_be() -> None:
    """A dead layer has no noise and no size, so any difference at all is beyond its limits."""
    limits = NoiseFloor().limits(noise(rmse=0.0, max_abs=0.0, expected_rms=0.0, expected_max=0.0))
    zeros = np.zeros(7, np.float32)
    assert compare(zeros, zeros, limits).passed
    assert not compare(zeros + np.float32(1e-30), zeros, limits).passed


def test_the_floor_is_relative_noise_and_at_least_one_rounding() -> None:
    """Errors are counted in noise over RMS, never in less than one float32 rounding."""
    assert noise().floor == pytest.approx(1e-6)
    assert noise(rmse=1e-12).floor == UNIT_ROUNDOFF
    assert noise(expected_rms=0.0).floor == UNIT_ROUNDOFF
    assert NoiseFloor().floor(noise()) == noise().floor


@pytest.mark.parametrize("count", [2, 3, 5, 7, 35, 1000])
def test_scatter_is_the_root_of_an_f_quantile(count: int) -> None:
    """The ratio of two variances of `count` values follows F(count, count); SciPy's quantile is the same."""
    assert scatter(count) == pytest.approx(math.sqrt(scipy.stats.f.ppf(1 - 1e-4, count, count)), rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 5, 7, 35])
def test_scatter_is_exceeded_as_rarely_as_it_claims(count: int) -> None:
    """Simulated, two RMSEs of equal noise differ by more than scatter() about once in 10 000 times, not far less."""
    generator = np.random.default_rng(count)
    trials = 400_000
    squares = generator.chisquare(count, size=(2, trials))
    exceeded = np.count_nonzero(np.sqrt(squares[0] / squares[1]) > scatter(count))
    assert 10 <= exceeded <= 80  # 40 expected, +- 6
    assert np.count_nonzero(np.sqrt(squares[0] / squares[1]) > scatter(count) / 2) > 80


def test_scatter_shrinks_to_nothing() -> None:
    """It is 100 for a handful of values, falls with their number, and is 1 to a percent for a large map."""
    assert scatter(1) == 100.0
    assert [scatter(n) for n in (2, 3, 5, 7)] == sorted((scatter(n) for n in (2, 3, 5, 7)), reverse=True)
    assert scatter(MANY) == pytest.approx(1.0, abs=0.01)


def test_few_values_have_wider_limits() -> None:
    """All three limits are multiplied by the scatter of the number of values they were measured on."""
    few, many = (NoiseFloor().limits(noise(count=count), anchored=True) for count in (5, MANY))
    assert few.rmse == pytest.approx(many.rmse * scatter(5), rel=0.01)
    assert few.max_abs == pytest.approx(many.max_abs * scatter(5), rel=0.01)
    assert few.gain > many.gain


def test_gain_is_limited_only_where_the_input_is_the_references() -> None:
    """End to end a gain is what rounding in earlier layers may have made; on the reference's values it is a fault."""
    assert NoiseFloor().limits(noise()).gain == math.inf
    assert NoiseFloor().limits(noise(), anchored=True).gain == pytest.approx(8 * UNIT_ROUNDOFF, rel=0.01)


def test_the_gain_limit_allows_what_the_reference_has() -> None:
    """A reference with a gain of its own, or noise on few values, leaves as much to the port."""
    own = NoiseFloor().limits(noise(gain=-3e-6), anchored=True)
    assert own.gain == pytest.approx(8 * 3e-6, rel=0.01)
    few = NoiseFloor().limits(noise(count=7), anchored=True)
    assert few.gain == pytest.approx(8 * scatter(7) * 1e-6 / math.sqrt(7))


def test_the_gain_limit_shows_a_factor_far_below_the_noise() -> None:
    """A factor of 1 + 3e-6 drowns in noise of 1e-6 by RMSE and by maximum, and is seen by its gain."""
    generator = np.random.default_rng(3)
    exact = generator.standard_normal(200_003) * 2
    spread = 2e-6
    expected = exact + generator.standard_normal(exact.size) * spread
    faithful = exact + generator.standard_normal(exact.size) * spread
    policy = NoiseFloor()
    measured = noise(count=exact.size, max_abs=5 * spread, expected_rms=2.0, expected_max=10.0)
    limits = policy.limits(measured, anchored=True)
    assert compare(faithful, expected, limits).passed
    scaled = compare(faithful * (1 + 3e-6), expected, limits)
    assert scaled.rmse <= limits.rmse
    assert scaled.max_abs <= limits.max_abs
    assert not scaled.passed


def test_what_only_moves_values_must_be_exact_to_an_ulp() -> None:
    """Copies have no noise: one ulp per element is allowed, two are not, whatever the noise on the way there."""
    limits = NoiseFloor().limits(noise(rmse=1.0, max_abs=1.0), anchored=True, moves_only=True)
    assert limits == Limits(rtol=ULP)
    expected = np.array([2.0, 3.0, -5.0, 0.0], np.float32)
    once = np.nextafter(expected, np.float32(np.inf))
    once[3] = 0.0
    assert compare(once, expected, limits).passed
    assert not compare(np.nextafter(once, np.float32(np.inf)), expected, limits).passed


def test_a_tolerance_is_rtol_and_atol() -> None:
    """The fixed policy's limits are its own numbers, on the reference's values or not, moved or computed."""
    fixed = Tolerance(rtol=1e-3, atol=1e-5)
    expected = Limits(rtol=1e-3, atol=1e-5)
    assert fixed.limits(noise()) == fixed.limits(noise(), anchored=True, moves_only=True) == expected


def test_without_atol_a_tolerance_takes_the_size_of_the_values() -> None:
    """rtol alone is relative to the RMS: values near zero are not held to nothing."""
    fixed = Tolerance(rtol=1e-3)
    assert fixed.limits(noise()).atol == pytest.approx(1e-3 * 2.0)
    expected = np.array([0.0, 2.0, -3.0], np.float32)
    assert compare(expected + np.float32(1.9e-3), expected, fixed.limits(noise())).passed
    assert not compare(expected + np.float32(1.9e-3), expected, Tolerance(rtol=1e-3, atol=0.0).limits(noise())).passed


def test_errors_under_a_tolerance_are_counted_in_it() -> None:
    """The floor is the larger of rtol and atol over RMS; a tolerance of nothing counts in roundings."""
    assert Tolerance(rtol=1e-3, atol=1e-5).floor(noise()) == 1e-3
    assert Tolerance(rtol=1e-6, atol=1e-3).floor(noise()) == pytest.approx(5e-4)
    assert Tolerance(rtol=0.0, atol=0.0).floor(noise()) == UNIT_ROUNDOFF
    assert Tolerance(rtol=1e-3).floor(noise(expected_rms=0.0)) == 1e-3


@pytest.mark.parametrize(("name", "value"), [("rtol", -1e-9), ("rtol", math.nan), ("atol", math.inf), ("atol", -1.0)])
def test_what_is_no_tolerance_is_refused(name: str, value: float) -> None:
    """Negative, infinite and NaN tolerances are refused with their name and value."""
    with pytest.raises(UsageError, match=rf"^{name}={value} is not a tolerance"):
        Tolerance(**{"rtol": 1e-3, name: value})


def test_policies_say_themselves_and_why() -> None:
    """The words for a report hold the numbers, and a widened tolerance's reason."""
    assert str(NoiseFloor()) == "noise floor of a float64 run (RMSE 8x, maximum 32x)"
    assert str(Tolerance(rtol=1e-3, why="int8 activations")) == "rtol=0.001, atol=rtol * RMS (int8 activations)"
    assert str(Tolerance(rtol=1e-3, atol=1e-5)) == "rtol=0.001, atol=1e-05"


def test_two_options_make_one_policy() -> None:
    """Neither option means the noise floor, both a tolerance; zero is given, not missing."""
    assert policy_from(None, None) == NoiseFloor()
    assert policy_from(1e-3, 1e-5) == Tolerance(rtol=1e-3, atol=1e-5)
    assert policy_from(0.0, 0.0) == Tolerance(rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("rtol", "atol", "message"),
    [
        (1e-4, None, r"rtol given without atol \(rtol=0.0001\); give both or neither"),
        (None, 1e-5, r"atol given without rtol \(atol=1e-05\); give both or neither"),
        (0.0, None, r"rtol given without atol \(rtol=0\)"),
    ],
)
def test_one_option_alone_is_refused(rtol: float | None, atol: float | None, message: str) -> None:
    """rtol without atol, or the reverse, is refused with the value that was given."""
    with pytest.raises(UsageError, match=message):
        policy_from(rtol, atol)
