"""What counts as equal, for tolerances and noise of any size: more allowed never fails what less let pass."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples

from parity.axes import Array
from parity.comparison import compare
from parity.inputs.strategies.tensors import shapes, tensors, tolerances
from parity.numbers import decibels, short, times
from parity.tolerance import ByPattern, Limits, Noise, NoiseFloor, Policy, Tolerance, fits

SIZES = st.sampled_from([0.0, 1e-7, 1e-3, 1.0]) | st.floats(1e-30, 1e6)
COUNTS = st.sampled_from([1, 2, 7, 100, 1 << 15]) | st.integers(1, 1 << 20)
NAMES = st.text("abc01.[]_#*", max_size=8)


@st.composite
def noises(draw: st.DrawFn) -> Noise:
    """Noise that values may have: no RMSE is above the greatest difference, no gain above the noise itself."""
    expected_rms, rmse = draw(SIZES), draw(SIZES)
    gain = draw(st.floats(-1, 1)) * (rmse / expected_rms if expected_rms else 0.0)
    most = draw(st.floats(1, 30))
    return Noise(
        rmse=rmse, gain=gain, max_abs=rmse * most, expected_rms=expected_rms, expected_max=expected_rms * most,
        count=draw(COUNTS),
    )  # fmt: skip


@st.composite
def near(draw: st.DrawFn) -> tuple[Array, Array]:
    """An array and one that is a little off, by an amount that some tolerances allow and others do not."""
    expected = np.asarray(draw(tensors(draw(shapes((1, 3))), ("float32",))), np.float32)
    off = draw(st.sampled_from([0.0, 1e-7, 1e-6, 1e-4, 0.1])) * draw(tensors(expected.shape, ("float32",)))
    return np.asarray(expected + off, np.float32), expected


@examples(100)
@given(near(), SIZES, SIZES, SIZES, SIZES)
def test_more_allowed_passes_what_less_did(
    both: tuple[Array, Array], rtol: float, atol: float, more: float, most: float
) -> None:
    """What passes under a tolerance passes under any whose two parts are as large or larger."""
    limits = Limits(rtol=rtol, atol=atol)
    wider = Limits(rtol=rtol + more, atol=atol + most)
    less, greater = compare(*both, limits), compare(*both, wider)
    assert greater.exceeding <= less.exceeding
    assert greater.passed or not less.passed


@examples(60)
@given(near(), st.sampled_from(["rmse", "gain", "max_abs"]), SIZES, SIZES)
def test_each_limit_passes_more_when_it_is_wider(both: tuple[Array, Array], name: str, at: float, more: float) -> None:
    """The same of each single limit, and of none at all."""
    passed = [compare(*both, Limits(**{name: limit})).passed for limit in (at, at + more, math.inf)]
    assert passed == sorted(passed)
    assert passed[-1]


@examples(200)
@given(noises(), st.floats(1, 1e3), st.floats(1, 1e3), st.booleans())
def test_a_wider_noise_floor_allows_more(noise: Noise, ratio: float, factor: float, anchored: bool) -> None:
    """Greater ratios, and more noise, widen every limit that there is; an operation that computes nothing has its
    own."""
    narrow = NoiseFloor(rmse_ratio=ratio, max_ratio=ratio)
    wide = NoiseFloor(rmse_ratio=ratio * factor, max_ratio=ratio * factor)
    louder = dataclasses.replace(
        noise, rmse=noise.rmse * factor, gain=noise.gain * factor, max_abs=noise.max_abs * factor
    )
    less = narrow.limits(noise, anchored=anchored)
    for more in (wide.limits(noise, anchored=anchored), narrow.limits(louder, anchored=anchored)):
        assert (less.rmse <= more.rmse, less.gain <= more.gain, less.max_abs <= more.max_abs) == (True, True, True)
    assert narrow.limits(noise, moves_only=True) == wide.limits(louder, moves_only=True)


@examples(200)
@given(noises(), tolerances())
def test_what_the_reference_does_itself_is_allowed(noise: Noise, policy: Policy) -> None:
    """No noise floor is narrower than the noise; every floor is a number above zero, so that errors can be counted in
    it."""
    assert policy.floor(noise) > 0
    assert math.isfinite(policy.floor(noise))
    limits = policy.limits(noise, anchored=True)
    if isinstance(policy, NoiseFloor):
        assert noise.rmse <= limits.rmse
        assert noise.max_abs <= limits.max_abs
        assert abs(noise.gain) <= limits.gain


@examples(200)
@given(noises(), noises())
def test_noise_at_another_scale_is_as_loud(noise: Noise, values: Noise) -> None:
    """Noise taken to values of another size is the same relative to them, and at most as it was measured where asked
    for."""
    assume(noise.expected_rms > 1e-6 and values.expected_rms > 1e-6)
    scaled = noise.at_scale(values)
    assert scaled.rmse / values.expected_rms == pytest.approx(noise.rmse / noise.expected_rms)
    assert scaled.floor == pytest.approx(noise.floor)
    assert noise.at_scale(noise) == noise
    most = noise.at_most(values)
    assert most.rmse <= min(noise.rmse, scaled.rmse)
    assert most.max_abs <= min(noise.max_abs, scaled.max_abs)


@examples(100)
@given(near(), SIZES, st.none() | SIZES)
def test_a_tolerance_is_the_formula_that_it_says(both: tuple[Array, Array], rtol: float, atol: float | None) -> None:
    """A fixed tolerance lets pass what |actual - expected| <= atol + rtol * |expected| does, but for float32's own
    rounding of that."""
    actual, expected = (array.astype(np.float64) for array in both)
    rms = float(np.sqrt(np.mean(expected**2)))
    noise = Noise(rmse=0.0, gain=0.0, max_abs=0.0, expected_rms=rms, expected_max=rms, count=expected.size)
    found = compare(*both, Tolerance(rtol=rtol, atol=atol).limits(noise))
    size = np.abs(expected)
    beyond = np.abs(actual - expected) - ((rtol * rms if atol is None else atol) + rtol * size)
    rounding = 1e-6 * (size + np.abs(actual) + (atol or rtol * rms) + rtol * size)
    assert np.count_nonzero(beyond > rounding) <= found.exceeding <= np.count_nonzero(beyond > -rounding)
    assert found.passed == (found.exceeding == 0)


# -- names and numbers ------------------------------------------------------------------------------------------------


@examples(200)
@given(NAMES, NAMES, NAMES)
def test_patterns_fit_what_they_are_made_of(before: str, name: str, after: str) -> None:
    """Every name fits itself, and a star in place of any part; a policy is that of the first pattern that fits."""
    whole = before + name + after
    assert fits(whole, whole)
    assert fits(f"{before}*{after}", whole)
    assert fits("*", whole)
    assert fits("?" * len(whole), whole)
    assert not fits("?" * (len(whole) + 1), whole)
    first, second = NoiseFloor(why="first"), NoiseFloor(why="second")
    assert whole == "*" or ByPattern({whole: first, "*": second})[whole] is first


@examples(300)
@given(st.floats(-1e300, 1e300).filter(lambda x: abs(x) > 1e-300 or not x))
def test_short_numbers_say_what_they_are_of(value: float) -> None:
    """Two digits are within a twentieth of what they stand for."""
    assert float(short(value)) == pytest.approx(value, rel=0.05)


@examples(300)
@given(st.floats(0, 1e300), st.floats(0, 1e300))
def test_ratios_read_as_what_they_are(one: float, other: float) -> None:
    """A ratio is within a twentieth of what it says, and the greater of two never says less."""
    said = [float(times(ratio).removesuffix("x").replace(" ", "")) for ratio in sorted((one, other))]
    assert said[0] <= said[1]
    for ratio, read in zip(sorted((one, other)), said, strict=True):
        assert read == pytest.approx(ratio, rel=0.051, abs=0.051)


@examples(300)
@given(st.floats(0, 1e30), st.floats(0, 1e30))
def test_more_decibels_are_less_error(one: float, other: float) -> None:
    """The greater of two errors has no more decibels; no error has infinitely many, and no number has none."""
    least, most = sorted((one, other))
    assert decibels(most) <= decibels(least)
    assert math.isnan(decibels(math.nan))
