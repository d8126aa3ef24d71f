"""Two arrays and their limits in, a Comparison out: data, and never an exception because values differ.

`actual` is the port, `expected` the reference, in that order, everywhere. Arrays are walked in blocks that fit the
cache: thirty times faster than whole-array NumPy on a large map, and no temporary is larger than a block.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.tolerance import Limits, Noise

BLOCK = 1 << 15
BLOCK_OF_DOUBLES = 1 << 13
"""OpenBLAS takes threads for a product of more than 10 000 doubles, and those then spin on the cores that an engine
needs next."""
VANISHING = 1e-30
"""A sum of squares in float32 below this is taken again in float64: the least that a float32 has in full is 1e-38."""

MASK_GAP, MASK_SPREAD = 100.0, 0.9
"""Values are masked where they are so many times as large as all others, and at least so much of the largest."""


def fits_repeated(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a value of shape `own` is one of `shape` that is there once for all of the first axes: positions without
    a batch. What reads it repeats it."""
    rest = own
    while rest[:1] == (1,):
        rest = rest[1:]
    return own == shape or (len(own) <= len(shape) and bool(rest) and shape[len(shape) - len(rest) :] == rest)


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
    def not_finite(self) -> str:
        """How many values of which side are not finite, in words; "" where all are."""
        bad = {"port": self.nonfinite_actual, "reference": self.nonfinite_expected}
        return "; ".join(f"{count} values of the {side} are not finite" for side, count in bad.items() if count)

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

    Where masked values hide what the others have, the comparison is that of the others. Raises ValueError where the
    shapes differ: that is the caller's to report, there is no number for it.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: actual {actual.shape}, expected {expected.shape}")
    limits = limits or Limits()
    # Halves are widened like whole numbers: a sum of their squares is rounded to a half.
    actual, expected = (a if a.dtype in (np.float32, np.float64) else a.astype(np.float64) for a in (actual, expected))
    whole = _walked(actual, expected, limits)
    if limits.beside_masked is None or not whole.passed:
        return whole
    places = np.flatnonzero(~is_masked(expected))
    beside = _walked(actual.reshape(-1)[places], expected.reshape(-1)[places], limits.beside_masked)
    return whole if beside.passed else replace(beside, max_index=int(places[beside.max_index]) if places.size else 0)


def _walked(actual: Array, expected: Array, limits: Limits) -> Comparison:
    walk = _Walk(limits)
    block = BLOCK if actual.itemsize == expected.itemsize == 4 else BLOCK_OF_DOUBLES
    flat_actual, flat_expected = actual.reshape(-1), expected.reshape(-1)
    with np.errstate(all="ignore"):
        for start in range(0, flat_actual.size, block):
            walk.add(flat_actual[start : start + block], flat_expected[start : start + block], start)
    return walk.comparison(flat_actual.size)


def noise_of(reference: Array, exact: Array) -> Noise:
    """The noise of a float32 sample against the float64 sample of the same positions."""
    noise = _noise_of(reference, exact)
    masked = is_masked(exact)
    return replace(noise, beside_masked=_noise_of(reference[~masked], exact[~masked])) if masked.any() else noise


def is_masked(values: Array) -> npt.NDArray[np.bool_]:
    """Which values stand for none, as the -1e9 that is put in place of scores: all alike, and far from the others.

    None where there are no such values, or no others that differ from zero.
    """
    sizes = np.abs(values)
    greatest = sizes.max(initial=0.0, where=np.isfinite(sizes))
    large = sizes > greatest / MASK_GAP
    alike = bool((sizes[large] > greatest * MASK_SPREAD).all())
    return large if alike and (sizes[~large] > 0).any() else np.zeros(values.shape, bool)


def _noise_of(reference: Array, exact: Array) -> Noise:
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
        """Take one block, whose first value is at flat position `start`."""
        difference = np.subtract(actual, expected, dtype=np.result_type(actual, expected, np.float32))
        ours, theirs = _Size.of(difference), _Size.of(expected)
        if not math.isfinite(ours.squares + theirs.squares) or ours.vanishes or theirs.vanishes:
            difference, expected = self._finite(actual, expected)
            ours, theirs = _Size.of(difference), _Size.of(expected)
        self.squares += ours.squares
        self.expected_squares += theirs.squares
        self.product += float(np.dot(difference, expected))
        self.expected_max = max(self.expected_max, theirs.greatest)
        if ours.greatest > self.max_abs:
            self.max_abs = ours.greatest
            self.max_index = start + int(np.abs(difference).argmax())
        if self.limits.rtol is not None:
            allowed = self.limits.atol + self.limits.rtol * np.abs(expected)
            self.exceeding += int(np.count_nonzero(np.abs(difference) > allowed))

    def _finite(self, actual: Array, expected: Array) -> tuple[Array, Array]:
        """Difference and expected values in float64, non-finite ones counted and zeroed; equal infinities are equal."""
        equal_infinities = np.isinf(actual) & (actual == expected)
        finite_actual, finite_expected = np.isfinite(actual), np.isfinite(expected)
        self.nonfinite_actual += int(np.count_nonzero(~finite_actual & ~equal_infinities))
        self.nonfinite_expected += int(np.count_nonzero(~finite_expected & ~equal_infinities))
        both = finite_actual & finite_expected
        wide: npt.NDArray[np.float64] = np.where(finite_expected, expected, 0).astype(np.float64)
        return np.where(both, np.where(both, actual, 0).astype(np.float64) - wide, 0), wide

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


class _Size(NamedTuple):
    """How large the values of a block are: the sum of their squares, the greatest absolute value."""

    squares: float
    greatest: float

    @classmethod
    def of(cls, values: Array) -> Self:
        greatest = max(float(np.maximum.reduce(values)), -float(np.minimum.reduce(values)))
        return cls(float(np.dot(values, values)), greatest)

    @property
    def vanishes(self) -> bool:
        """Whether the squares may have been rounded to nothing, or nearly, in float32."""
        return self.squares < VANISHING and self.greatest > 0
