"""What happened in each run of the benchmark, and what it counts for: rules over records, which run nothing.

A fault counts where it changes the value of a layer at fault by more than ten noise floors. A tie counts as wrong, and
so does a run that ends in an error.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from parity.files import write_whole
from parity.report import Finding

COUNTS_FROM = 10.0
"""Noise floors that a fault must change a layer by."""

SINGLE, SEVERAL, OPEN, CLEAN = "single", "several", "open", "clean"


class _Record:
    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")


@dataclass(frozen=True, kw_only=True)
class Fault(_Record):
    """A fault that was planted: by which operator, its true cause, the taps at fault, its effect in noise floors."""

    operator: str
    slug: str
    layers: tuple[str, ...]
    detail: str
    effect: float


@dataclass(frozen=True, kw_only=True)
class Found(_Record):
    """A finding of the verification: `ranked` are the causes that it holds possible, best first."""

    layer: str
    slug: str
    detail: str = ""
    tied: tuple[str, ...] = ()
    ranked: tuple[str, ...] = ()

    @classmethod
    def of(cls, finding: Finding) -> "Found":
        """What a finding says, as far as it is scored."""
        cause = finding.cause
        return cls(
            layer=finding.layer,
            slug=cause.slug,
            detail=cause.detail,
            tied=tuple(cause.tied),
            ranked=tuple(cause.ranked),
        )


@dataclass(frozen=True, kw_only=True)
class Outcome(_Record):
    """One run: what was planted, and what was said. `blamed` has the layer that each baseline blames, `alarms` the
    baselines that raise one. `repaired` is None where no repair was tried; `left` says what kept it from passing.
    """

    kind: str
    model: str
    seed: int
    size: tuple[int, ...]
    mode: str
    input: str = ""
    faults: tuple[Fault, ...] = ()
    found: tuple[Found, ...] = ()
    passed: bool = False
    repaired: bool | None = None
    left: str = ""
    blamed: dict[str, str] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def layers(self) -> set[str]:
        """All taps at fault."""
        return {layer for fault in self.faults for layer in fault.layers}

    @property
    def detected(self) -> bool:
        """Whether anything was said to be wrong."""
        return not self.passed and not self.error

    @property
    def localised(self) -> bool:
        """Whether the first finding is at a layer at fault."""
        return bool(self.found) and self.found[0].layer in self.layers

    @property
    def nothing_else(self) -> bool:
        """Whether, besides, no other layer is blamed."""
        return self.localised and all(found.layer in self.layers for found in self.found)

    @property
    def all_located(self) -> bool:
        """Whether a layer of each fault is found, and no other."""
        return self.nothing_else and all(self._at(fault) is not None for fault in self.faults)

    @property
    def all_named(self) -> bool:
        """Whether, besides, each one's cause is named."""
        return self.all_located and all(self.names(fault) for fault in self.faults)

    def _at(self, fault: Fault) -> Found | None:
        """The first finding at one of the fault's layers."""
        return next((found for found in self.found if found.layer in fault.layers), None)

    def names(self, fault: Fault) -> bool:
        """Whether the fault's cause is the one given, and the only one."""
        found = self._at(fault)
        return found is not None and found.slug == fault.slug and not found.tied

    @property
    def named(self) -> bool:
        """Whether every fault's cause is named."""
        return all(self.names(fault) for fault in self.faults)

    @property
    def among_three(self) -> bool:
        """Whether every fault's cause is among the first three."""
        at = [(fault, self._at(fault)) for fault in self.faults]
        return all(found is not None and fault.slug in found.ranked[:3] for fault, found in at)

    def located_by(self, baseline: str) -> bool:
        """Whether a baseline blames a layer at fault."""
        return self.blamed.get(baseline) in self.layers

    @property
    def words(self) -> str:
        """Enough to plant it again and see what was said."""
        where = f"{self.model} {'x'.join(map(str, self.size))} seed {self.seed} {self.mode}"
        planted = (
            " + ".join(f"{f.operator} at {f.layers[0]} ({f.detail})" for f in self.faults) or f"clean, {self.input}"
        )
        return f"{where}: {planted}; {self._said}"

    @property
    def _said(self) -> str:
        if self.error:
            return f"ended in {self.error}"
        if self.found:
            ties = {found: f" tied with {', '.join(found.tied)}" if found.tied else "" for found in self.found}
            return "said " + ", ".join(f"{found.slug}{ties[found]} at {found.layer}" for found in self.found[:4])
        return "said nothing" if self.passed else "said no layer"


@dataclass(frozen=True, kw_only=True)
class Score(_Record):
    """So many of so many; `goal` is the share to be reached, if there is one."""

    name: str
    good: int
    of: int
    goal: float | None = None

    @property
    def share(self) -> float:
        """The part that is good; 0 of nothing."""
        return self.good / self.of if self.of else 0.0

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one, or with nothing to count."""
        return None if self.goal is None or not self.of else self.share >= self.goal


@dataclass(kw_only=True)
class Benchmark(_Record):
    """All runs of a benchmark, and the mutants that were dropped, by reason."""

    seed: int
    outcomes: list[Outcome] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False
    seconds: float = 0.0

    def of(self, *kinds: str) -> list[Outcome]:
        """The runs of these kinds."""
        return [outcome for outcome in self.outcomes if outcome.kind in kinds]

    def scores(self) -> list[Score]:
        """The scores of the diagnosis."""
        single, several, open_set, clean = map(self.of, (SINGLE, SEVERAL, OPEN, CLEAN))
        tried = [outcome for outcome in single if outcome.repaired is not None]
        faulty = [*single, *several, *open_set]
        return [
            _score("detected", faulty, lambda o: o.detected, 0.99),
            _score("clean runs without an alarm", clean, lambda o: o.passed, 1.0),
            _score("located: first finding at fault (single)", single, lambda o: o.localised, 0.98),
            _score("located, and nothing else found (single)", single, lambda o: o.nothing_else),
            _score("located (open set)", open_set, lambda o: o.localised),
            _score("all located (several)", several, lambda o: o.all_located, 0.95),
            _score("all located and named (several)", several, lambda o: o.all_named),
            _score("cause named (single)", single, lambda o: o.named, 0.92),
            _score("cause among three (single)", single, lambda o: o.among_three, 0.97),
            _score("called unknown (open set)", open_set, lambda o: o.named, 0.90),
            _score("repaired, every layer passes (single)", tried, lambda o: bool(o.repaired), 0.85),
        ]

    def baseline(self, name: str) -> list[Score]:
        """Detection, clean runs and localisation of one baseline, on the same runs."""
        single, clean = self.of(SINGLE), self.of(CLEAN)
        return [
            _score("detected", self.of(SINGLE, SEVERAL, OPEN), lambda o: name in o.alarms),
            _score("clean runs without an alarm", clean, lambda o: name not in o.alarms),
            _score("located: first finding at fault (single)", single, lambda o: o.located_by(name)),
        ]

    def misses(self) -> list[tuple[str, Outcome]]:
        """Every run that counts against a score, and what went wrong."""
        return [(why, outcome) for outcome in self.outcomes if (why := _missed(outcome))]

    def save(self, path: Path) -> Path:
        """Write every run and every score as JSON. Raises ReportFolderError where that cannot be written."""
        return write_whole(path, _ADAPTER.dump_json(self._record(), indent=1).decode())

    def _record(self) -> dict[str, Any]:
        from parity.faults.baselines import BASELINES

        return {
            "seed": self.seed,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 1),
            "scores": self.scores(),
            "baselines": {name: self.baseline(name) for name in BASELINES},
            "dropped": dict(self.dropped),
            "outcomes": self.outcomes,
        }


def _score(name: str, outcomes: Sequence[Outcome], good: Callable[[Outcome], bool], goal: float | None = None) -> Score:
    return Score(name=name, good=sum(map(good, outcomes)), of=len(outcomes), goal=goal)


def _missed(outcome: Outcome) -> str:
    """What went wrong in a run, the worst of it; nothing where all was right."""
    if outcome.error:
        return "error"
    if outcome.kind == CLEAN:
        return "" if outcome.passed else "false alarm"
    checks = (
        ("not detected", outcome.detected),
        ("not located", outcome.localised),
        ("another layer blamed", outcome.nothing_else),
        ("not all located", outcome.all_located or outcome.kind != SEVERAL),
        ("not among three", outcome.among_three or outcome.kind == OPEN),
        ("not named", outcome.named),
        ("not repaired", outcome.repaired is not False),
    )
    return next((why for why, right in checks if not right), "")


def by(outcomes: Iterable[Outcome], key: Callable[[Outcome], str]) -> dict[str, list[Outcome]]:
    """The runs by some name, in the order of the names."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome), []).append(outcome)
    return dict(sorted(groups.items()))


_ADAPTER: TypeAdapter[Any] = TypeAdapter(dict[str, Any], config=ConfigDict(ser_json_inf_nan="strings"))
