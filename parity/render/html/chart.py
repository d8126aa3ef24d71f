"""The chart of a pair's history: each layer's error over the runs, those named that changed most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.history import Past
from parity.numbers import times
from parity.render.html.scale import Scale

NAMED = 6
"""So many layers are named: those whose error moved most."""
MOST_RELEASES = 6
"""So many changes of versions have their words under the chart."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One layer over the runs; `colour` is the number of its colour, 0 where it is not named."""

    name: str
    path: str
    colour: int
    least: str
    most: str
    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The chart: `failed` is an SVG path of marks under the runs that did not pass; `runs` are the latest first.

    `on` is what all of them were measured on, in words; `others` counts the runs of something else, which are not here.
    `releases` are places along the runs, in percent, where other versions begin, and what is new there.
    """

    count: int
    first: str
    last: str
    ticks: list[tuple[float, str]]
    releases: list[tuple[float, str]]
    lines: list[Line]
    failed: str
    runs: list[Past]
    on: str
    others: int


def chart(history: Sequence[Past], layers: Sequence[str], on_record: int) -> Chart:
    """The chart of these runs, which are alike, the oldest first, for `layers`; there are so many `on_record` at all.

    Lines break where a run lacks a layer.
    """
    scale = Scale.of(error for past in history for error in past.errors.values())
    known = [name for name in layers if any(name in past.errors for past in history)]
    moved = sorted(known, key=lambda name: -_movement(history, name))[:NAMED]
    named = [name for name in known if name in moved and _movement(history, name) > math.log10(2)]
    return Chart(
        count=len(history),
        first=history[0].time[:10],
        last=history[-1].time[:10],
        ticks=scale.ticks(5),
        releases=_releases(history),
        lines=[_line(history, name, scale, named.index(name) + 1 if name in named else 0) for name in known],
        failed="".join(f"M{index + 0.5} 98h0" for index, past in enumerate(history) if past.verdict != "pass"),
        runs=list(reversed(history)),
        on=_conditions(history[-1]),
        others=on_record - len(history),
    )


def _conditions(past: Past) -> str:
    """What a run was measured on: the inputs with their sizes, the modes, and the rest as it is on record."""
    on = dict(past.on)
    runs, modes, inputs = on.pop("runs"), on.pop("modes"), on.pop("inputs", "")
    where = [inputs, modes] if inputs else [runs]
    return "; ".join([*where, *(f"{name} {words}" for name, words in on.items())])


def _releases(history: Sequence[Past]) -> list[tuple[float, str]]:
    """Where versions change, and which; of many changes some, at about equal steps."""
    found: list[tuple[float, str]] = []
    for index, past in enumerate(history):
        before = history[index - 1].versions if index else {}
        new = [f"{name} {version}" for name, version in past.versions.items() if before.get(name) != version]
        if new:
            found.append(((index + 0.5) / len(history) * 100, ", ".join(new)))
    return found[:: math.ceil(len(found) / MOST_RELEASES)] if found else []


def _movement(history: Sequence[Past], name: str) -> float:
    """By how many powers of ten the error of a layer moved, from the floor upward."""
    logs = [math.log10(max(past.errors[name], 1.0)) for past in history if name in past.errors]
    return (
        max(logs) - min(logs) if logs and max(logs) < math.inf else math.inf if logs and min(logs) < math.inf else 0.0
    )


def _words(error: float) -> str:
    return times(error) if math.isfinite(error) else "not finite"


def _line(history: Sequence[Past], name: str, scale: Scale, colour: int) -> Line:
    path, begins = [], True
    for index, past in enumerate(history):
        place = scale.at(past.errors.get(name))
        if place is not None:
            # A line of no length, so that a run between two that lack the layer is seen, as a point.
            path.append(f"{'M' if begins else 'L'}{index + 0.5} {100 - place:.1f}{'h0' if begins else ''}")
        begins = place is None
    errors = [past.errors[name] for past in history if name in past.errors]
    return Line(
        name=name,
        path="".join(path),
        colour=colour,
        least=_words(min(errors)),
        most=_words(max(errors)),
        before=_words(errors[-2]) if len(errors) > 1 else "–",
        now=_words(errors[-1]),
    )
