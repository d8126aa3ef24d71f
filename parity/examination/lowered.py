"""A port of low precision under examination: what its number formats allow, what they hide, how its ranges fit."""

from collections.abc import Iterator, Mapping, Sequence

from parity.adequacy import SHOWN
from parity.artifacts.formats import FormatsOf, is_low
from parity.artifacts.precision import MAX_RATIO, RMSE_RATIO, Expected, Fit, Stored
from parity.axes import Array
from parity.examination.matching import Matching, Subject
from parity.judge import Judge
from parity.numbers import decibels, short
from parity.pairs import Input
from parity.runners.segments import Segment

CUT = 1e-3
"""The share of a layer's values beyond the ends of its grid from which a report says so."""
COARSE = 4.0
"""How many times too large a grid's steps may be before a report says so: two of its eight bits are lost then."""


class Lowered:
    """The number formats of a port of low precision, on one input. The judge is told what they allow."""

    def __init__(self, subject: Subject, matching: Matching, given: Input, judge: Judge) -> None:
        self._formats = FormatsOf(
            subject.port,  # type: ignore[arg-type]
            matching.segments,
            matching.alignment.inside,
            frozenset(name for name, tap in judge.taps.items() if tap.weighted),
        )
        self._expected = Expected(subject.reference, given, self._formats.formats())
        self._waived = subject.pair.waived
        judge.expected = self._expected

    @property
    def precision(self) -> str:
        """What the port's numbers are: "int8"."""
        return self._expected.formats.precision

    def __str__(self) -> str:
        ratios = f"RMSE {RMSE_RATIO:g}x, maximum {MAX_RATIO:g}x"
        return f"{self.precision}, whose noise from the file's own step sizes is allowed ({ratios})"

    @property
    def fits(self) -> Mapping[str, Fit]:
        """How the port's grids fit the reference's values, by the names of taps and inputs."""
        return self._expected.fits

    @property
    def stored(self) -> Mapping[str, Stored]:
        """How the port stores the weights of the reference's layers."""
        return self._expected.formats.weights

    def see(self, segment: Segment, anchors: Sequence[Array]) -> None:
        """Look at what a segment rounds on its way, given its anchors' values (the port's layout)."""
        self._expected.inner[segment.layer] = self._formats.inner(segment, anchors)

    def unproven(self, layer: str) -> str:
        """Why nothing is known of a layer: its formats allow an error as large as its values; "" where they do not."""
        if layer in self._waived or self._expected.proves(layer):
            return ""
        left = decibels(self._expected.floor(layer, anchored=True))
        whose = f"the file's own {self.precision} numbers"
        if left > 0:
            return f"{whose} leave {left:.1f} dB between its values and their noise"
        fit = self.fits.get(layer)
        return f"the noise of {whose} is larger than its values{f' ({_ranges(fit)})' if fit else ''}"

    def warnings(self) -> Iterator[str]:
        """A sentence on ranges that are too small for the reference's values on this input, and on those too large."""
        cut = [f"{name} ({_percent(fit)} of its values, {_ranges(fit)})" for name, fit in self._worst("share", CUT)]
        if cut:
            yield f"the port's number range is too small at {_some(cut)}: was it calibrated on other inputs?"
        coarse = [f"{name} ({fit.coarse:.0f} times, {_ranges(fit)})" for name, fit in self._worst("coarse", COARSE)]
        if coarse:
            yield f"the steps of the port's numbers are larger than these values need at {_some(coarse)}"

    def _worst(self, trait: str, limit: float) -> list[tuple[str, Fit]]:
        """The taps whose grid fits worst in a trait, of those beyond a limit."""
        bad = [(name, fit) for name, fit in self.fits.items() if getattr(fit, trait) > limit and any(fit.values)]
        return sorted(bad, key=lambda each: -getattr(each[1], trait))


def lowered(subject: Subject, matching: Matching, given: Input, judge: Judge) -> Lowered | None:
    """The formats of a port that is judged by them; None for one in float32, and under a fixed tolerance."""
    if not is_low(subject.port) or not subject.policy.uses_float64:
        return None
    return Lowered(subject, matching, given, judge)


def _percent(fit: Fit) -> str:
    return f"{100 * fit.share:.2g} %"


def _ranges(fit: Fit) -> str:
    return f"it holds {' to '.join(map(short, fit.ends))}, they are {' to '.join(map(short, fit.values))}"


def _some(sentences: Sequence[str]) -> str:
    more = f" and {len(sentences) - SHOWN} more" if len(sentences) > SHOWN else ""
    return f"{', '.join(sentences[:SHOWN])}{more}"
