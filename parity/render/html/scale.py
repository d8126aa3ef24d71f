"""Errors on a logarithmic axis: where a value is, in percent, and where its ticks are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EXACT, STRANGE = 1.5, 98.5
"""Where an error of nothing is, and one that is no number: at the ends of the axis, which have no value."""
LOW, HIGH = 9.0, 91.0
"""Between them the decades are."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A logarithmic axis from 10^low to 10^high, in percent of its length."""

    low: int
    high: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Scale":
        """The axis, in whole decades, that all of the values have a place on."""
        logs = [math.log10(value) for value in values if 0 < value < math.inf]
        low, high = (math.floor(min(logs)), math.ceil(max(logs))) if logs else (-8, 0)
        return cls(low=low, high=max(high, low + 2))

    def at(self, value: float | None) -> float | None:
        """The place of an error; None where there is none."""
        if value is None:
            return None
        if not math.isfinite(value):
            return STRANGE
        if value <= 0:
            return EXACT
        return self._along(math.log10(value))

    def _along(self, power: float) -> float:
        share = (power - self.low) / (self.high - self.low)
        return round(LOW + (HIGH - LOW) * min(1.0, max(0.0, share)), 1)

    def ticks(self, most: int = 6, ends: Sequence[tuple[float, str]] = ()) -> list[tuple[float, str]]:
        """Places and their words, in steps of as many decades as leave at most so many, and the `ends`."""
        step = max(1, math.ceil((self.high - self.low) / most))
        powers = range(self.low, self.high + 1, step)
        return [*((self._along(power), "1" if power == 0 else f"1e{power}") for power in powers), *ends]
