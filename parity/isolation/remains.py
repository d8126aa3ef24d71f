"""The report of what a process had found when it died, from what it had written down.

Of an examination that was not finished there is a run for each mode in which something was judged: its verdict is that
the process died, its layers are those that were judged, and its output was not compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from parity.isolation.journal import Entry, Loaded, Progressed
from parity.report import DIED, Coverage, Death, Finding, LayerResult, Measure, Report, Run, Watching
from parity.watch import Begun, Ended, Judged, Step

NOT_RUN = Measure(
    relative=float("nan"),
    allowed=float("nan"),
    gain=0.0,
    ratio=float("nan"),
    max_abs=float("nan"),
    max_allowed=float("nan"),
    max_index=(),
    compared=0,
    total=0,
    passed=False,
    note="the process died before the output was compared",
)
"""The error of an output that was never compared."""
NOTHING = Coverage(matched={}, weighted=0)


@dataclass
class Remains:
    """What one attempt at an input has left, entry after entry."""

    input: str = ""
    mode: str = ""
    side: str = ""
    doing: str = ""
    step: str = ""
    coverage: Coverage = NOTHING
    order: tuple[str, ...] = ()
    judged: dict[str, dict[str, LayerResult]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        """Take an entry of the journal."""
        if isinstance(entry, Progressed):
            self.doing, self.step = entry.text, ""
        elif isinstance(entry, Step):
            self.side, self.step, self.mode = entry.side, entry.doing, entry.mode or self.mode
        elif isinstance(entry, Begun):
            self.coverage, self.order, self.judged, self.findings = entry.coverage, entry.layers, {}, []
        elif isinstance(entry, Judged):
            self.judged.setdefault(entry.mode, {})[entry.result.layer] = entry.result
            self.findings += [entry.finding] if entry.finding else []
        elif isinstance(entry, Ended):
            self._end(entry.mode, entry.propagated)

    def _end(self, mode: str, propagated: Mapping[str, Measure]) -> None:
        known = self.judged.setdefault(mode, {})
        for layer, measure in propagated.items():
            if layer in known:
                known[layer] = replace(known[layer], propagated=measure)

    def death(self, how: str, where: str = "", last_words: Sequence[str] = ()) -> Death:
        """The death that ended the attempt."""
        part = self.doing.partition(",")[0] if self.step else self.doing
        doing = ": ".join(filter(None, [part, self.step]))
        return Death(
            side=self.side,
            how=how,
            doing=doing or "starting",
            input=self.input,
            mode="" if self.side == "reference" else self.mode,
            where=where,
            last_words=tuple(last_words),
        )

    def report(self, loaded: Loaded, modes: Sequence[str], death: Death) -> Report:
        """Everything that was found in the modes that were asked for, and the death."""
        return Report(
            pair=loaded.pair,
            environment=loaded.environment,
            settings=loaded.settings,
            coverage=self.coverage,
            runs=tuple(self._run(mode, self.judged.get(mode, {})) for mode in modes),
            findings=tuple(self.findings),
            first_divergence=None,
            deaths=(death,),
        )

    def _run(self, mode: str, layers: Mapping[str, LayerResult]) -> Run:
        return Run(
            input=self.input,
            origin="",
            mode=mode,
            verdict=DIED,
            layers=tuple(layers[name] for name in self.order if name in layers),
            output=NOT_RUN,
            watching=Watching(same=True, relative=0.0, within=True),
        )


def nothing_but(pair: str, death: Death, settings: Mapping[str, str]) -> Report:
    """The report of a process that died before there was anything to compare."""
    return Report(
        pair=pair, coverage=NOTHING, runs=(), findings=(), first_divergence=None, deaths=(death,), settings=settings
    )


def combined(attempts: Sequence[Report], modes: Sequence[str]) -> Report:
    """One report of several attempts at an input: for each mode the run that was finished, or the first that was not.

    `attempts` are in the order in which they were made, each in fewer modes than the one before.
    """
    chosen: dict[str, tuple[Run, Report]] = {}
    for report in attempts:
        for run in report.runs:
            if run.mode not in chosen or run.verdict != DIED:
                chosen[run.mode] = run, report
    last = attempts[-1]
    kept = [chosen[mode] for mode in modes if mode in chosen]
    return replace(
        last,
        settings={**last.settings, "modes": ", ".join(modes)},
        coverage=next((each.coverage for each in reversed(attempts) if each.coverage.matched), last.coverage),
        runs=tuple(run for run, _ in kept),
        findings=tuple(finding for run, report in kept for finding in report.findings if finding.mode == run.mode),
        first_divergence=next((each.first_divergence for each in attempts if each.first_divergence), None),
        deaths=tuple(death for report in attempts for death in report.deaths),
        verdict="",
    )
