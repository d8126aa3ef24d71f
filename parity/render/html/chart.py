"""The chart of a pair's history: each layer's error over the runs, those named that changed most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parity.history import Past
from parity.numbers import times
from parity.render.html.scale import Scale

NAMED = 6
"""So many layers are named: those whose error moved most."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One layer over the runs."""

    name: str
    path: str
    named: bool
    least: str
    most: str
    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The chart: `failed` is an SVG path of marks under the runs that did not pass; `runs` are the latest first."""

    count: int
    first: str
    last: str
    ticks: list[tuple[float, str]]
    lines: list[Line]
    failed: str
    runs: list[Past]


def chart(history: Sequence[Past], layers: Sequence[str]) -> Chart:
    """The chart of these runs, the oldest first, for `layers`. Lines break where a run lacks a layer."""
    scale = Scale.of(error for past in history for error in past.errors.values())
    known = [name for name in layers if any(name in past.errors for past in history)]
    moved = sorted(known, key=lambda name: -_movement(history, name))[:NAMED]
    named = {name for name in moved if _movement(history, name) > math.log10(2)}
    return Chart(
        count=len(history),
        first=history[0].time[:10],
        last=history[-1].time[:10],
        ticks=scale.ticks(5),
        lines=[_line(history, name, scale, named=name in named) for name in known],
        failed="".join(f"M{index + 0.5} 98h0" for index, past in enumerate(history) if past.verdict != "pass"),
        runs=list(reversed(history)),
    )


def _movement(history: Sequence[Past], name: str) -> float:
    """By how many powers of ten the error of a layer moved, from the floor upward."""
    logs = [math.log10(max(past.errors[name], 1.0)) for past in history if name in past.errors]
    return (
        max(logs) - min(logs) if logs and max(logs) < math.inf else math.inf if logs and min(logs) < math.inf else 0.0
    )


def _line(history: Sequence[Past], name: str, scale: Scale, *, named: bool) -> Line:
    path, pen = [], "M"
    for index, past in enumerate(history):
        place = scale.at(past.errors.get(name))
        if place is None:
            pen = "M"
            continue
        path.append(f"{pen}{index + 0.5} {100 - place:.1f}")
        pen = "L"
    errors = [past.errors[name] for past in history if name in past.errors]
    return Line(
        name=name,
        path="".join(path),
        named=named,
        least=times(min(errors)),
        most=times(max(errors)),
        before=times(errors[-2]) if len(errors) > 1 else "–",
        now=times(errors[-1]),
    )
