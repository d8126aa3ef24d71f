"""Comparing, for arrays of any shape, kind of number and place in memory, and for blocks of any size."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples

from parity import comparison
from parity.axes import Array
from parity.comparison import Comparison, compare, noise_of
from parity.inputs.strategies.tensors import placed, shapes, tensors
from parity.tolerance import Limits

CLOSE = 1e-5
"""Within a block sums are float32, and agree with those of float64 to a few ulps of float32."""
FLOATS = ("float32", "float64", "float16")
SIZES = ("rmse", "max_abs", "expected_rms", "expected_max")
BLOCKS = st.sampled_from([1, 7, 1 << 40])


@st.composite
def pairs(draw: st.DrawFn, *, finite: bool = True) -> tuple[Array, Array]:
    """Two arrays of one shape, each of a kind of number and a place in memory of its own."""
    shape = draw(shapes((1, 3)))
    return draw(tensors(shape, finite=finite)), draw(tensors(shape, finite=finite))


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Arrays are walked in blocks of that many values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "BLOCK", size)
        patch.setattr(comparison, "BLOCK_OF_DOUBLES", size)
        yield


def plain(actual: Array, expected: Array) -> dict[str, float]:
    """The figures, the obvious way: whole arrays in float64, what is not finite on either side left out."""
    actual, expected = (np.array(array, np.float64).ravel() for array in (actual, expected))
    both = np.isfinite(actual) & np.isfinite(expected)
    there = np.where(np.isfinite(expected), expected, 0)
    difference = np.where(both, np.where(both, actual, 0) - there, 0)
    power = float(np.sum(there**2))
    return {
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "max_abs": float(np.max(np.abs(difference))),
        "expected_rms": float(np.sqrt(np.mean(there**2))),
        "expected_max": float(np.max(np.abs(there))),
        "gain": float(np.sum(difference * there)) / power if power else 0.0,
    }


def assert_same_figures(found: Comparison, wanted: Comparison | dict[str, float]) -> None:
    """Both have the same sizes, to rounding; the gain, a sum of positive and negative parts, to that of its parts."""
    right = wanted if isinstance(wanted, dict) else {name: getattr(wanted, name) for name in (*SIZES, "gain")}
    for name in SIZES:
        assert getattr(found, name) == pytest.approx(right[name], rel=CLOSE), name
    parts = right["rmse"] / right["expected_rms"] if right["expected_rms"] else 0.0
    assert found.gain == pytest.approx(right["gain"], rel=CLOSE, abs=CLOSE * parts)


@examples(60)
@given(pairs())
def test_figures_are_those_of_plain_numpy(both: tuple[Array, Array]) -> None:
    """Whatever the numbers are and wherever they lie, the figures are what float64 makes of the whole arrays."""
    actual, expected = both
    found = compare(actual, expected)
    assert_same_figures(found, plain(actual, expected))
    where = np.unravel_index(found.max_index, actual.shape)
    assert abs(float(actual[where]) - float(expected[where])) == pytest.approx(found.max_abs, rel=CLOSE)
    assert (found.count, found.nonfinite_actual, found.nonfinite_expected) == (actual.size, 0, 0)


@examples(60)
@given(pairs(), BLOCKS, st.sampled_from([0.0, 1e-3, 0.5]))
def test_the_size_of_a_block_does_not_matter(both: tuple[Array, Array], size: int, rtol: float) -> None:
    """In blocks of one value, of seven, or of all, the figures are the same, and so is the greatest difference."""
    limits = Limits(rtol=rtol, atol=1.0)
    whole = compare(*both, limits)
    with blocks_of(size):
        cut = compare(*both, limits)
    assert_same_figures(cut, whole)
    assert (cut.max_index, cut.exceeding) == (whole.max_index, whole.exceeding)


@examples(60)
@given(pairs(finite=False), BLOCKS)
def test_the_size_of_a_block_does_not_matter_beside_nan(both: tuple[Array, Array], size: int) -> None:
    """What is not finite is counted alike in any blocks, and takes nothing from the others of its block."""
    whole = compare(*both)
    with blocks_of(size):
        cut = compare(*both)
    counts = "nonfinite_actual", "nonfinite_expected", "passed"
    assert [getattr(cut, name) for name in counts] == [getattr(whole, name) for name in counts]
    assert cut.expected_max == pytest.approx(whole.expected_max, rel=CLOSE)


@examples(60)
@given(pairs(finite=False))
def test_what_is_symmetric(both: tuple[Array, Array]) -> None:
    """Exchanged, two arrays are as far apart, most so at the same place, and bad values are counted on the other
    side."""
    one, other = compare(*both), compare(*reversed(both))
    assert one.rmse == pytest.approx(other.rmse, rel=CLOSE)
    assert one.max_abs == pytest.approx(other.max_abs, rel=CLOSE)
    assert (one.nonfinite_actual, one.nonfinite_expected) == (other.nonfinite_expected, other.nonfinite_actual)


@examples(60)
@given(tensors(finite=False), st.data())
def test_equal_arrays_are_nothing_apart(array: Array, data: st.DataObject) -> None:
    """An array is equal to itself, wherever its values lie, under limits of zero; unless it has a NaN."""
    twin = data.draw(placed(array))
    found = compare(twin, array, Limits(rmse=0.0, gain=0.0, max_abs=0.0, rtol=0.0))
    assert (found.rmse, found.gain, found.max_abs, found.relative, found.exceeding) == (0, 0, 0, 0, 0)
    assert found.passed == (not np.isnan(array).any())


@examples(60)
@given(tensors(dtypes=FLOATS), st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_what_is_not_finite_on_one_side_fails(array: Array, bad: float, data: st.DataObject) -> None:
    """A single NaN or infinity anywhere, on either side, fails under limits that allow everything."""
    place = data.draw(st.integers(0, array.size - 1))
    spoilt = array.copy()
    spoilt.flat[place] = bad
    for actual, expected, counts in ((spoilt, array, (1, 0)), (array, spoilt, (0, 1))):
        found = compare(actual, expected)
        assert (found.nonfinite_actual, found.nonfinite_expected) == counts
        assert not found.passed
    assert compare(array, array).passed


@examples(60)
@given(tensors(dtypes=FLOATS), st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_what_is_not_finite_on_both_sides(array: Array, bad: float, data: st.DataObject) -> None:
    """An infinity that both sides have at one place is no difference; a NaN on both sides fails all the same."""
    spoilt = array.copy()
    spoilt.flat[data.draw(st.integers(0, array.size - 1))] = bad
    found = compare(spoilt, spoilt.copy(), Limits(rtol=0.0))
    assert found.passed == math.isinf(bad)
    assert not compare(spoilt, np.where(np.isinf(spoilt), -spoilt, spoilt)).passed


@examples(60)
@given(pairs(), st.integers(-8, 8))
def test_figures_grow_with_the_values(both: tuple[Array, Array], power: int) -> None:
    """Both sides times a power of two: sizes are so many times as large, and what is relative stays as it is."""
    actual, expected = (np.asarray(array, np.float64) for array in both)
    factor = 2.0**power
    one, other = compare(actual, expected), compare(actual * factor, expected * factor)
    for name in SIZES:
        assert getattr(other, name) == pytest.approx(factor * getattr(one, name), rel=CLOSE), name
    assert other.relative == pytest.approx(one.relative, rel=CLOSE)
    assert other.max_index == one.max_index


@examples(60)
@given(pairs())
def test_the_figures_bound_each_other(both: tuple[Array, Array]) -> None:
    """No RMSE is above the greatest difference or below its share of one value; no gain is above the relative error."""
    found = compare(*both)
    slack = 1 + CLOSE
    assert found.rmse <= found.max_abs * slack
    assert found.max_abs <= found.rmse * math.sqrt(found.count) * slack
    assert abs(found.gain) <= found.relative * slack


@examples(60)
@given(tensors(dtypes=("float64",)))
def test_noise_of_a_precision_is_its_rounding(array: Array) -> None:
    """Values rounded to float32 are at most half an ulp of float32 from what they were, relative to the greatest."""
    assume(array.any())
    noise = noise_of(array.astype(np.float32), array)
    assert noise.max_abs <= 2.0**-24 * noise.expected_max
    assert noise.rmse <= 2.0**-24 * noise.expected_max
    assert noise.floor >= 2.0**-24
