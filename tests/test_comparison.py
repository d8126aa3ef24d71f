"""Comparing: the numbers of plain float64 NumPy, whatever the blocks, and no way for a non-finite value to pass."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parity import comparison
from parity.comparison import BLOCK, Comparison, compare, fits_repeated, is_masked, noise_of
from parity.tolerance import Limits, NoiseFloor

Array = npt.NDArray[Any]

# Within a block sums are float32, so they agree with float64 to a few ulps of float32 per root of their length.
CLOSE = 1e-5


def plain(actual: Array, expected: Array) -> dict[str, float]:
    """The same numbers, the obvious way: whole arrays in float64."""
    actual, expected = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    difference = actual - expected
    power = float(np.sum(expected**2))
    return {
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "gain": float(np.sum(difference * expected)) / power if power else 0.0,
        "max_abs": float(np.max(np.abs(difference))),
        "expected_rms": float(np.sqrt(np.mean(expected**2))),
        "expected_max": float(np.max(np.abs(expected))),
    }


def assert_agrees(found: Comparison, actual: Array, expected: Array) -> None:
    """`found` holds the numbers of `plain`, and points at a greatest difference."""
    wanted = plain(actual, expected)
    size = wanted["rmse"] / wanted["expected_rms"] if wanted["expected_rms"] else 0.0
    for name, value in wanted.items():
        absolute = CLOSE * size if name == "gain" else 0.0
        assert getattr(found, name) == pytest.approx(value, rel=CLOSE, abs=absolute), name
    assert found.count == actual.size
    at = found.max_index
    where = abs(float(actual.flat[at]) - float(expected.flat[at]))
    assert where == pytest.approx(wanted["max_abs"], rel=CLOSE)


sizes = st.sampled_from([1, 2, 3, 5, 7, 11])
# Squares of these neither overflow nor underflow in float32; what does is tested by itself below.
usual = st.floats(-(2.0**50), 2.0**50, width=32, allow_subnormal=False).map(lambda x: x if abs(x) > 2.0**-50 else 0.0)


@st.composite
def two_arrays(draw: st.DrawFn, dtype: type = np.float32) -> tuple[Array, Array]:
    """Two arrays of one shape, of one to three axes."""
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    return draw(arrays(dtype, shape, elements=usual)), draw(arrays(dtype, shape, elements=usual))


@given(two_arrays())
def test_the_numbers_are_those_of_plain_numpy(both: tuple[Array, Array]) -> None:
    """RMSE, gain, maximum and sizes of float32 arrays are what float64 NumPy makes of the whole arrays."""
    actual, expected = both
    assert_agrees(compare(actual, expected), actual, expected)


@given(two_arrays(), two_arrays(np.float64))
def test_a_float64_reference_is_not_rounded(one: tuple[Array, Array], other: tuple[Array, Array]) -> None:
    """A float32 port against a float64 reference differs by less than a float32 could say."""
    actual = one[0].astype(np.float32)
    exact = actual.astype(np.float64) * (1 + 1e-12)
    found = compare(actual, exact)
    assert found.gain == pytest.approx(-1e-12, rel=1e-2, abs=0.0 if actual.any() else 1e-11)
    assert_agrees(compare(*other), *other)


def test_sums_of_halves_are_not_rounded_to_halves() -> None:
    """The sizes of float16 values are as exact as those of others: the sum of their squares is no float16."""
    halves = np.array([23.5, 2.875, 0.3], np.float16)
    assert_agrees(compare(halves * np.float16(2), halves), halves * np.float16(2), halves)


@given(two_arrays(), st.integers(1, 13))
def test_blocks_do_not_show(both: tuple[Array, Array], block: int) -> None:
    """However small the blocks, the numbers and the place of the greatest difference are those of one block."""
    actual, expected = both
    whole = compare(actual, expected, Limits(rtol=0.5, atol=1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "BLOCK", block)
        cut = compare(actual, expected, Limits(rtol=0.5, atol=1.0))
    assert_agrees(cut, actual, expected)
    assert (cut.max_abs, cut.max_index, cut.exceeding) == (whole.max_abs, whole.max_index, whole.exceeding)


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 3])
@pytest.mark.parametrize("place", ["first", "end of the first block", "last"])
def test_the_last_value_of_a_block_counts(size: int, place: str) -> None:
    """Around the real block size, a single difference is found wherever it is, and its index is the flat one."""
    at = {"first": 0, "end of the first block": min(BLOCK, size) - 1, "last": size - 1}[place]
    expected = np.ones(size, np.float32)
    actual = expected.copy()
    actual[at] = 3.0
    found = compare(actual, expected, Limits(rtol=0.5))
    assert (found.max_abs, found.max_index, found.exceeding) == (2.0, at, 1)
    assert found.rmse == pytest.approx(2 / math.sqrt(size))


def test_large_maps_keep_their_precision() -> None:
    """Over many blocks the sums stay those of float64, to far below a percent of a noise floor."""
    generator = np.random.default_rng(5)
    expected = generator.standard_normal((3, 5, 7, 2003), dtype=np.float32)
    actual = expected * np.float32(1 + 1e-5)
    assert expected.size > 3 * BLOCK
    assert_agrees(compare(actual, expected), actual, expected)


@given(arrays(np.float32, sizes, elements=st.floats(1, 1000, width=32)), st.sampled_from([-3.0, -1.0, 0.5, 2.0]))
def test_gain_is_the_constant_factor(expected: Array, factor: float) -> None:
    """Where actual is a multiple of expected, the gain is that multiple less one."""
    found = compare(expected * np.float32(factor), expected)
    assert found.gain == pytest.approx(factor - 1, rel=CLOSE)


def test_gain_is_blind_to_noise() -> None:
    """A difference at right angles to the values has no gain, and does not pass for one."""
    expected = np.array([3.0, 4.0], np.float32)
    found = compare(expected + np.array([4.0, -3.0], np.float32), expected)
    assert found.gain == 0.0
    assert found.rmse == pytest.approx(5 / math.sqrt(2))


def test_of_equal_differences_the_first_is_named() -> None:
    """Ties go to the first position, within a block and from block to block."""
    expected = np.zeros(BLOCK + 5, np.float32)
    actual = expected.copy()
    actual[[3, 7, BLOCK + 2]] = [-2.0, 2.0, 2.0]
    assert compare(actual, expected).max_index == 3


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rmse", "max_abs", "gain"])
def test_each_limit_is_a_judge_of_its_own(name: str) -> None:
    """At a limit is within it, and beyond any single one fails, in either direction."""
    expected = np.array([2.0, 3.0, 5.0, 7.0], np.float32)
    for actual in (expected * 1.25, expected * 0.75):
        value = abs(getattr(compare(actual, expected), name))
        assert compare(actual, expected, Limits(**{name: value})).passed
        assert not compare(actual, expected, Limits(**{name: value * (1 - 1e-6)})).passed


@given(two_arrays(), st.sampled_from([0.0, 1e-3, 0.5]), st.sampled_from([0.0, 1e-3, 10.0]))
def test_exceeding_counts_what_is_beyond_rtol_and_atol(both: tuple[Array, Array], rtol: float, atol: float) -> None:
    """An element exceeds where |actual - expected| > atol + rtol * |expected|; one is enough to fail."""
    actual, expected = both
    found = compare(actual, expected, Limits(rtol=rtol, atol=atol))
    size = np.abs(expected.astype(np.float64))
    beyond = np.abs(actual.astype(np.float64) - expected) - (atol + rtol * size)
    rounding = 1e-6 * (size + np.abs(actual) + atol)
    assert np.count_nonzero(beyond > rounding) <= found.exceeding <= np.count_nonzero(beyond > -rounding)
    assert found.passed == (found.exceeding == 0)


def test_relative_error_divides_by_the_reference() -> None:
    """`relative` is RMSE over the RMS of expected, not of actual; against nothing it is infinite, or zero if equal."""
    one, two, zero = (np.full(5, value, np.float32) for value in (1, 2, 0))
    assert compare(two, one).relative == 1.0
    assert compare(one, two).relative == 0.5
    assert compare(one, zero).relative == math.inf
    assert compare(zero, zero).relative == 0.0


def test_nothing_compared_is_not_a_pass() -> None:
    """Empty arrays agree in everything, and do not pass."""
    found = compare(np.empty((2, 0, 3), np.float32), np.empty((2, 0, 3), np.float32))
    assert (found.count, found.rmse, found.max_abs) == (0, 0.0, 0.0)
    assert not found.passed
    assert compare(np.zeros(1, np.float32), np.zeros(1, np.float32)).passed


def test_other_shapes_are_the_callers_to_report() -> None:
    """Shapes that differ have no numbers, even where they would broadcast or hold as many values."""
    for actual, expected in (((2, 3), (3, 2)), ((2, 3), (1, 3)), ((6,), (2, 3))):
        with pytest.raises(ValueError, match=r"actual .*, expected"):
            compare(np.zeros(actual, np.float32), np.zeros(expected, np.float32))


def test_the_inputs_are_left_alone() -> None:
    """Neither array is written to: both may be read-only views of a framework's memory."""
    actual, expected = np.ones((2, 3), np.float32), np.full((2, 3), np.nan, np.float32)
    for array in (actual, expected):
        array.setflags(write=False)
    compare(actual, expected)
    assert actual.sum() == 6
    assert np.isnan(expected).all()


def test_strided_views_are_compared_in_their_own_order() -> None:
    """Of a transposed view, the index is that of the view, not of the memory under it."""
    expected = np.zeros((3, 5), np.float32)
    actual = np.zeros((5, 3), np.float32).T
    actual[1, 4] = 2.0
    assert compare(actual, expected).max_index == 1 * 5 + 4


# -- non-finite values -------------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("actual", "expected", "counts"),
    [
        (NAN, 1.0, (1, 0)),
        (1.0, NAN, (0, 1)),
        (NAN, NAN, (1, 1)),
        (INF, 1.0, (1, 0)),
        (1.0, -INF, (0, 1)),
        (INF, -INF, (1, 1)),
        (NAN, INF, (1, 1)),
    ],
)
@pytest.mark.parametrize("place", [0, 4])
def test_what_is_not_finite_fails(actual: float, expected: float, counts: tuple[int, int], place: int) -> None:
    """NaN, or an infinity that the other side has not, is counted on its side and fails under limits of infinity."""
    sides = [np.array([2.0, 3.0, 5.0, 7.0, 11.0], np.float32) for _ in "ab"]
    for side, value in zip(sides, (actual, expected), strict=True):
        side[place] = value
    found = compare(*sides)
    assert (found.nonfinite_actual, found.nonfinite_expected) == counts
    assert not found.passed
    assert (found.rmse, found.max_abs, found.gain) == (0.0, 0.0, 0.0)


def test_the_other_values_are_still_measured() -> None:
    """Beside a NaN, the finite values have their numbers: those of the arrays with a zero in its place."""
    generator = np.random.default_rng(2)
    actual, expected = (generator.standard_normal(7).astype(np.float32) for _ in "ab")
    zeroed = compare(np.where(np.arange(7) == 3, 0, actual), np.where(np.arange(7) == 3, 0, expected))
    expected[3] = actual[3] = NAN
    found = compare(actual, expected)
    for name in ("rmse", "max_abs", "max_index", "gain", "expected_rms", "expected_max"):
        assert getattr(found, name) == pytest.approx(getattr(zeroed, name), rel=CLOSE), name


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, BLOCK + 2])
def test_one_nan_in_any_block_fails(place: int) -> None:
    """A single NaN among many blocks is seen, and does not hide a difference in another block."""
    expected = np.ones(BLOCK + 3, np.float32)
    actual = expected.copy()
    actual[1] = 1.5
    actual[place] = NAN
    found = compare(actual, expected)
    assert found.nonfinite_actual == 1
    assert not found.passed
    assert found.max_index == 1


def test_equal_infinities_are_equal() -> None:
    """An infinity of one sign on both sides is what the reference computes: masks are made of them."""
    both = np.array([2.0, INF, -INF, 3.0], np.float32)
    found = compare(both, both.copy(), Limits(rtol=0.0))
    assert (found.nonfinite_actual, found.nonfinite_expected, found.exceeding) == (0, 0, 0)
    assert found.passed
    assert found.expected_max == 3.0


def test_equal_infinities_do_not_hide_a_difference() -> None:
    """Beside equal infinities the finite values are judged."""
    expected = np.array([2.0, INF, 3.0], np.float32)
    found = compare(expected + np.array([0, 0, 0.5], np.float32), expected, Limits(rtol=1e-3))
    assert (found.max_abs, found.max_index, found.exceeding) == (0.5, 2, 1)
    assert not found.passed


# -- large and small values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e20, 1e30, 3e38])
def test_large_values_do_not_overflow(size: float) -> None:
    """Where float32 squares overflow, the numbers are those of float64, and nothing counts as non-finite."""
    expected = np.array([1.0, -1.0, 0.5], np.float32) * np.float32(size)
    actual = -expected
    found = compare(actual, expected)
    assert_agrees(found, actual, expected)
    assert (found.nonfinite_actual, found.nonfinite_expected) == (0, 0)
    assert found.gain == pytest.approx(-2.0)


@pytest.mark.parametrize("size", [1e-17, 1e-25, 1e-35])
def test_small_differences_do_not_vanish(size: float) -> None:
    """Where float32 squares underflow, RMSE and gain are still those of float64."""
    expected = np.array([1.0, -2.0, 3.0], np.float32) * np.float32(size)
    actual = expected * np.float32(1 + 1e-5)
    assert_agrees(compare(actual, expected), actual, expected)


@pytest.mark.parametrize(
    ("values", "masked"),
    [
        ([0.5, -1e9, 2.0, -1e9, 0.0], [False, True, False, True, False]),
        ([-1e9, 3.0, -1.0000001e9, -np.inf], [True, False, True, True]),
        ([1e-3, 1.0, 30.0, 1e4], [False, False, False, True]),
        ([1e-3, 1.0, 30.0, 1e3], [False] * 4),
        ([0.5, -1e9, 5e7, 2.0], [False] * 4),
        ([0.0, 0.0, -1e9], [False] * 3),
        ([-1e9, -1e9], [False] * 2),
        ([1.0, np.nan, np.inf], [False] * 3),
        ([], []),
    ],
    ids=str,
)
def test_what_is_masked(values: list[float], masked: list[bool]) -> None:
    """Values that are all alike and a hundred times as large as all others are a mask; without others there is none."""
    assert is_masked(np.array(values)).tolist() == masked


@pytest.mark.parametrize("mask", [-1e4, -1e9, np.finfo(np.float32).min])
def test_values_beside_a_mask_are_judged_by_their_own_noise(mask: float) -> None:
    """A ten-thousandth of an ordinary value is nothing to the mask, and a fault all the same, at its place."""
    exact = np.random.default_rng(5).standard_normal(60)
    exact[::7] = mask
    expected = exact.astype(np.float32)
    limits = NoiseFloor().limits(noise_of(expected, exact))
    assert compare(np.nextafter(expected, np.float32(0)), expected, limits).passed
    wrong = expected.copy()
    wrong[3:6] *= np.float32(1 + 1e-4)
    found = compare(wrong, expected, limits)
    assert not found.passed
    assert found.max_index in (3, 4, 5)
    assert found.count == 60 - len(exact[::7])


def test_noise_is_the_difference_of_two_precisions() -> None:
    """The noise of a float32 run is its comparison with the float64 run, number by number."""
    exact = np.random.default_rng(7).standard_normal((2, 3, 5))
    rounded = exact.astype(np.float32)
    noise, found = noise_of(rounded, exact), compare(rounded, exact)
    assert (noise.rmse, noise.gain, noise.max_abs) == (found.rmse, found.gain, found.max_abs)
    assert (noise.expected_rms, noise.expected_max, noise.count) == (found.expected_rms, found.expected_max, 30)
    assert 1e-9 < noise.rmse < 1e-7


@pytest.mark.parametrize(
    ("own", "shape", "fits"),
    [
        ((2, 5, 3), (2, 5, 3), True),
        ((5, 3), (2, 5, 3), True),
        ((1, 5, 3), (2, 5, 3), True),
        ((1, 1), (1, 1), True),
        ((1, 1), (2, 1), False),
        ((), (), True),
        ((2, 5, 1), (2, 5, 3), False),
        ((2, 3), (2, 5, 3), False),
        ((1, 2, 5, 3), (2, 5, 3), False),
        ((), (2, 3), False),
    ],
)
def test_what_is_there_once_for_the_first_axes(own: tuple[int, ...], shape: tuple[int, ...], fits: bool) -> None:
    """Only axes in front may be missing or of length one: a value for all of a batch, but no channel for all."""
    assert fits_repeated(own, shape) is fits
