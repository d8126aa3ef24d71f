"""Two reports of one pair, held against each other: what appeared, what vanished, what got worse or better.

A layer's error is counted in floors, so that runs on other machines, sizes or versions can be compared; a change counts
where it is more than noise: by more than a factor of two, and beyond the floor. Where one of them was judged by a fixed
tolerance the counts mean other things, and only what is at fault in one of them and not in the other is a change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from parity.errors import UsageError
from parity.report import DIED, INTRODUCES, NOT_COMPARED, PASS, Finding, LayerResult, Measure, Report

MOST_NAMED = 3
APPEARED, VANISHED, WORSE, BETTER = "appeared", "vanished", "worse", "better"
FACTOR = 2.0
"""By how much an error must change to be another one: faithful ports differ by as much between engines."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One layer that is not as before. Errors are relative, None where the layer is not compared; `places` are runs.

    `kind` is "appeared" (a finding that was none), "vanished", "worse" or "better". `cause` is the cause of the
    finding; where there is one in both reports and they differ, of both.
    """

    kind: str
    layer: str
    port_layer: str
    before: Measure | None
    after: Measure | None
    places: tuple[tuple[str, str], ...]
    cause: str = ""
    what: str = ""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """All that is other in `after` than in `before`. `other` has the settings and versions that differ, both values.

    `only_before` and `only_after` name runs ("noise (eager)") and layers that only one of them has; `turned` has the
    runs of both whose verdicts differ, with both. Without a `common_unit` errors were not held against each other.
    """

    before: Report
    after: Report
    changes: tuple[Change, ...]
    as_before: int
    other: Mapping[str, tuple[str, str]]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    turned: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    common_unit: bool = True

    @property
    def regressed(self) -> bool:
        """Whether anything appeared or got worse, or the verdict of a run or of the whole did."""
        bad = any(change.kind in (APPEARED, WORSE) for change in self.changes)
        verdicts = [(self.before.verdict, self.after.verdict), *self.turned.values()]
        return bad or any(_rank(now) > _rank(was) for was, now in verdicts)

    def of(self, kind: str) -> list[Change]:
        """The changes of one kind."""
        return [change for change in self.changes if change.kind == kind]


def _rank(verdict: str) -> int:
    """How bad a verdict is: a run that died is worse than one that diverged."""
    return {PASS: 0, DIED: 2}.get(verdict, 1)


def difference(before: Report, after: Report) -> Difference:
    """What is other in `after`. Runs are held against the run on the same input in the same mode.

    Raises UsageError for reports of two pairs, and for reports that have no run in common.
    """
    _ensure_comparable(before, after)
    old, new = _layers(before), _layers(after)
    found: dict[tuple[str, str], list[tuple[tuple[str, str], LayerResult, LayerResult]]] = {}
    both = [key for key in new if key in old]
    for place, layer in both:
        earlier, later = old[place, layer], new[place, layer]
        kind = _kind(earlier, later, (_unit(before, earlier), _unit(after, later)))
        if kind:
            found.setdefault((kind, layer), []).append((place, earlier, later))
    causes = _causes(before), _causes(after)
    changes = [_change(kind, layer, where, causes) for (kind, layer), where in found.items()]
    changes += _other_findings(before, after)
    changed = {change.layer for change in changes}
    runs = [{f"{run.input} ({run.mode})" for run in report.runs} for report in (before, after)]
    names = [{layer.layer for run in report.runs for layer in run.layers} for report in (before, after)]
    return Difference(
        before=before,
        after=after,
        changes=tuple(sorted(changes, key=lambda each: ORDER.index(each.kind))),
        as_before=len({layer for _, layer in both} - changed),
        other=_other_settings(before, after),
        only_before=(*sorted(runs[0] - runs[1]), *sorted(names[0] - names[1])),
        only_after=(*sorted(runs[1] - runs[0]), *sorted(names[1] - names[0])),
        turned=_turned(before, after),
        common_unit=all(_unit(before, old[key]) == _unit(after, new[key]) for key in both),
    )


def _ensure_comparable(before: Report, after: Report) -> None:
    if before.pair != after.pair:
        raise UsageError(f"one report is of {before.pair}, the other of {after.pair}; compare two runs of one pair")
    places = [[f"{run.input} ({run.mode})" for run in report.runs] for report in (before, after)]
    if all(places) and not set(places[0]) & set(places[1]):
        had, has = (", ".join(names[:MOST_NAMED]) + (", ..." if names[MOST_NAMED:] else "") for names in places)
        raise UsageError(f"the two have no run in common: one has {had}, the other {has}")


def _turned(before: Report, after: Report) -> dict[str, tuple[str, str]]:
    """The runs of both whose verdict is another one."""
    was = {(run.input, run.mode): run.verdict for run in before.runs}
    now = {(run.input, run.mode): run.verdict for run in after.runs}
    return {f"{key[0]} ({key[1]})": (was[key], now[key]) for key in now if was.get(key, now[key]) != now[key]}


def _unit(report: Report, layer: LayerResult) -> str:
    """What a layer's errors are counted in: floors, or a fixed tolerance."""
    policy = layer.policy or report.settings.get("policy", "")
    return policy if policy.startswith("rtol=") else "floor"


ORDER = (APPEARED, WORSE, VANISHED, BETTER)


def _layers(report: Report) -> dict[tuple[tuple[str, str], str], LayerResult]:
    return {((run.input, run.mode), layer.layer): layer for run in report.runs for layer in run.layers}


def measured(layer: LayerResult) -> Measure | None:
    """What a layer introduces; where that is not known, what reaches it."""
    return layer.introduced or layer.propagated


def floors(measure: Measure | None) -> float:
    """An error in floors: infinity where it is no number, 0 where there is none."""
    return measure.floors if measure else 0.0


def _kind(earlier: LayerResult, later: LayerResult, units: tuple[str, str]) -> str:
    was, now = earlier.verdict == INTRODUCES, later.verdict == INTRODUCES
    if was != now:
        return APPEARED if now else VANISHED
    if units[0] != units[1] or NOT_COMPARED in (earlier.verdict, later.verdict):
        return ""
    old, new = floors(measured(earlier)), floors(measured(later))
    if new > FACTOR * max(old, 1.0):
        return WORSE
    if old > FACTOR * max(new, 1.0):
        return BETTER
    return ""


Causes = Mapping[str, Finding]


def _causes(report: Report) -> Causes:
    return {finding.layer: finding for finding in reversed(report.findings)}


def _change(
    kind: str,
    layer: str,
    where: list[tuple[tuple[str, str], LayerResult, LayerResult]],
    causes: tuple[Causes, Causes],
) -> Change:
    """One change of one layer, in the run in which it is greatest."""
    place, earlier, later = max(where, key=lambda each: max(floors(measured(each[1])), floors(measured(each[2]))))
    slugs = [found[layer].cause.slug for found in causes if layer in found]
    return Change(
        kind=kind,
        layer=layer,
        port_layer=later.port_layer,
        before=measured(earlier),
        after=measured(later),
        places=(place, *(other for other, _, _ in where if other != place)),
        cause=" -> ".join(dict.fromkeys(slugs)),
    )


def _other_findings(before: Report, after: Report) -> Iterator[Change]:
    """Findings about something else than values, which only one of the reports has."""
    old, new = (
        {(found.layer, found.about): found for found in report.findings if found.about != "values"}
        for report in (before, after)
    )
    for kind, has, lacks in ((APPEARED, new, old), (VANISHED, old, new)):
        for key, found in has.items():
            if key not in lacks:
                yield Change(
                    kind=kind,
                    layer=found.layer,
                    port_layer=found.port_layer,
                    before=None,
                    after=None,
                    places=((found.input, found.mode),),
                    cause=found.cause.slug,
                    what=found.about,
                )


def _other_settings(before: Report, after: Report) -> dict[str, tuple[str, str]]:
    old = {**before.environment, **before.settings}
    new = {**after.environment, **after.settings}
    keys = [key for key in {**old, **new} if key not in ("command", "unfinished")]
    return {key: (old.get(key, "-"), new.get(key, "-")) for key in keys if old.get(key) != new.get(key)}
