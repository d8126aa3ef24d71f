"""What "equal" means: how far a port may be from its reference before it counts as different.

The default judge is the reference's own rounding noise. A float64 run of the reference shows how far its float32 run is
from exact arithmetic; a faithful port in any engine stays within a small multiple of that, whatever the network, and a
fault does not. Measured on faithful ports (eager, graph, XLA; FlowNet2-SD and 13 others): RMSE ratios of 0.9 to 4.3,
ratios of the maxima up to 6.5. One kernel scaled by 1 + 1e-5 gives 17.8.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from scipy.special import fdtri

from parity.errors import UsageError

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of one float32 rounding: no floor is lower, since no port can promise less."""
ULP = 2.0**-23
"""Largest relative spacing of float32 numbers: what an operation that only moves values may differ by."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far the reference's float32 run is from its float64 run at one tap, and how large the values there are.

    All in the units of the activations; `count` is the number of values these were measured on. Where some values stand
    for none (the -1e9 of a mask), `beside_masked` has the noise of the others.
    """

    rmse: float
    gain: float
    max_abs: float
    expected_rms: float
    expected_max: float
    count: int
    beside_masked: "Noise | None" = None

    def at_scale(self, values: "Noise") -> "Noise":
        """The same relative noise, for values of the size that `values` describes."""
        scale = values.expected_rms / self.expected_rms if self.expected_rms else 1.0
        ours, theirs = self.beside_masked, values.beside_masked
        return replace(
            values,
            rmse=self.rmse * scale,
            gain=self.gain,
            max_abs=self.max_abs * scale,
            count=self.count,
            beside_masked=ours and theirs and ours.at_scale(theirs),
        )

    def at_most(self, values: "Noise") -> "Noise":
        """The same relative noise for values of the size that `values` describes, but never more than was measured.

        Relative noise says nothing of larger values where what it was measured on is next to nothing: an empty item.
        """
        scaled = self.at_scale(values)
        ours, theirs = self.beside_masked, values.beside_masked
        down = min(1.0, self.expected_rms / values.expected_rms) if values.expected_rms else 1.0
        return replace(
            scaled,
            rmse=min(scaled.rmse, self.rmse),
            max_abs=min(scaled.max_abs, self.max_abs),
            gain=self.gain * down,
            beside_masked=ours and theirs and ours.at_most(theirs),
        )

    @property
    def floor(self) -> float:
        """The noise floor, relative to the RMS of the values; never below one float32 rounding."""
        return max(self.rmse / self.expected_rms, UNIT_ROUNDOFF) if self.expected_rms else UNIT_ROUNDOFF


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one comparison may not exceed: RMSE, gain and greatest difference, or |a - e| <= atol + rtol * |e|.

    `beside_masked` is what the values that are no mask's may not exceed by themselves, where there are both.
    """

    rmse: float = math.inf
    gain: float = math.inf
    max_abs: float = math.inf
    rtol: float | None = None
    atol: float = 0.0
    beside_masked: "Limits | None" = None


@lru_cache
def scatter(count: int) -> float:
    """How much larger than its true value a ratio of two RMSEs of `count` values may come out by chance (1 in 10 000).

    Each squared ratio follows F(count, count); for large maps this is 1, for the two values of a 1x1 flow 100.
    """
    return min(100.0, math.sqrt(float(fdtri(count, count, 1 - 1e-4))))


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """The default policy: within `rmse_ratio` times the reference's noise in RMSE, and `max_ratio` times in maximum.

    Noise is large but unbiased: its projection on the values shrinks with the root of their number, and a constant
    factor's does not. So on the reference's own inputs the gain is judged too, and shows a kernel scaled by 1 + 1e-5
    far below the noise. Where the reference only moves values (copies, concatenation, padding) its segment has no
    noise, and the port must be exact to an ulp.
    """

    rmse_ratio: float = 8.0
    max_ratio: float = 32.0
    why: str = ""

    uses_float64 = True

    def limits(self, noise: Noise, *, anchored: bool = False, moves_only: bool = False) -> Limits:
        """The limits at a tap with that noise.

        `anchored` where only the layer's own error is judged, `moves_only` where its operation computes nothing.
        """
        if moves_only:
            return Limits(rtol=ULP)
        spread = scatter(noise.count)
        unbiased = max(UNIT_ROUNDOFF, abs(noise.gain), noise.floor / math.sqrt(noise.count))
        beside = noise.beside_masked
        return Limits(
            beside_masked=self.limits(beside, anchored=anchored) if beside else None,
            gain=self.rmse_ratio * spread * unbiased if anchored else math.inf,
            rmse=self.rmse_ratio * spread * max(noise.rmse, UNIT_ROUNDOFF * noise.expected_rms),
            max_abs=self.max_ratio * spread * max(noise.max_abs, UNIT_ROUNDOFF * noise.expected_max),
        )

    def floor(self, noise: Noise) -> float:
        """What errors at a tap are counted in: the reference's noise, relative to its values."""
        return noise.floor

    def __str__(self) -> str:
        return f"noise floor of a float64 run (RMSE {self.rmse_ratio:g}x, maximum {self.max_ratio:g}x)"


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The fixed policy: every |actual - expected| <= atol + rtol * |expected|.

    `atol=None` means rtol times the RMS of the expected values. `why` is printed wherever the tolerance is used.
    """

    rtol: float
    atol: float | None = None
    why: str = ""

    uses_float64 = False

    def __post_init__(self) -> None:
        """Refuse what could not mean anything."""
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name}={value} is not a tolerance; it must be a finite number >= 0")

    def limits(self, noise: Noise, *, anchored: bool = False, moves_only: bool = False) -> Limits:
        """The limits at a tap; the noise only lends the RMS of the expected values."""
        atol = self.rtol * noise.expected_rms if self.atol is None else self.atol
        return Limits(rtol=self.rtol, atol=atol)

    def floor(self, noise: Noise) -> float:
        """What errors at a tap are counted in: the tolerance itself, relative to the RMS of the values."""
        atol = self.limits(noise).atol
        return max(self.rtol, atol / noise.expected_rms if noise.expected_rms else 0.0) or UNIT_ROUNDOFF

    def __str__(self) -> str:
        text = f"rtol={self.rtol:g}, atol={'rtol * RMS' if self.atol is None else f'{self.atol:g}'}"
        return f"{text} ({self.why})" if self.why else text


Policy = NoiseFloor | Tolerance


def fits(pattern: str, name: str) -> bool:
    """Whether a name is the one that is meant: `*` stands for any part of it, `?` for one character of it.

    >>> fits("conv3*", "conv3_1.0"), fits("lstm[0]", "lstm[0]"), fits("conv3", "conv3_1.0")
    (True, True, False)
    """
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return pattern == name or re.fullmatch(wild, name) is not None


@dataclass(frozen=True)
class ByPattern(Mapping[str, Policy]):
    """Policies of layers by patterns of their names, as in `fits`: a layer has that of the first pattern it fits."""

    patterns: Mapping[str, Policy]

    def __getitem__(self, layer: str) -> Policy:
        """The layer's; KeyError where no pattern fits it."""
        for pattern, policy in self.patterns.items():
            if fits(pattern, layer):
                return policy
        raise KeyError(layer)

    def __iter__(self) -> Iterator[str]:
        return iter(self.patterns)

    def __len__(self) -> int:
        return len(self.patterns)


def policy_from(rtol: float | None, atol: float | None) -> Policy:
    """The policy two options ask for: both given, a fixed tolerance; neither, the noise floor; one alone is refused."""
    if rtol is None and atol is None:
        return NoiseFloor()
    if rtol is None or atol is None:
        given, missing = ("rtol", "atol") if atol is None else ("atol", "rtol")
        raise UsageError(
            f"{given} given without {missing} ({given}={rtol if atol is None else atol:g}); give both or neither"
        )
    return Tolerance(rtol=rtol, atol=atol)
