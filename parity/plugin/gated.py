"""`pytest --model PAIR --parity-artifact FILE`: the gate's checks, each told by the test that it belongs to.

A layer's and its growth belong to the layer's test, a limit of the task, a waiver and the artifact's size each have one
of their own, and everything else is the network's on that input in that mode.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from parity.files import write_whole
from parity.gate.checks import (
    ARTIFACT,
    COVERAGE,
    ENGINE,
    FAIL,
    FOLLOWS,
    GROWTH,
    LAYER,
    LIMIT,
    OUTPUT,
    PASS,
    PROCESS,
    UNKNOWN,
    WAIVED,
    WAIVER,
    WATCHING,
    Check,
)
from parity.gate.files import Targets
from parity.gate.policy import KEYS, Limit
from parity.gate.record import Record
from parity.gate.running import Asked, Ready
from parity.isolation import Source
from parity.isolation.journal import Described
from parity.plugin.verdicts import compared_in, owners
from parity.render.failures import uncompared_failure
from parity.report import Report
from parity.settings import Options, RunSettings

SOURCE = "gate.json"
"""What workers leave for their controller: the inputs, and the sum of the reference's weights."""
_DESCRIBED = TypeAdapter(list[Described])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a test: why it fails, or else why it is skipped; "" for neither."""

    fails: str = ""
    skips: str = ""


@dataclass
class Gate:
    """The gate of a session: what it was asked for, and its checks of reports, each made once."""

    ready: Ready
    targets: Targets
    inputs: Sequence[Described] = ()
    weights: str = ""
    _records: dict[tuple[str, ...], Record] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, given: Mapping[str, Any], options: Options, *, is_worker: bool) -> "Gate":
        """The gate that the options ask for; what an earlier run has left is removed. Raises as `Ready.of` does."""
        paths = {name: None if given[name] is None else Path(given[name]) for name in ("policy", "baseline", "record")}
        asked = Asked(
            name=model,
            artifact=Path(given["artifact"]),
            options=replace(options, isolate=None),
            policy=paths["policy"],
            baseline=paths["baseline"],
        )
        targets = asked.targets(record=paths["record"])
        targets.refuse_shared(asked.reads())
        if not is_worker:
            targets.clear()
        return cls(ready=Ready.of(asked), targets=targets)

    @property
    def settings(self) -> tuple[RunSettings, ...]:
        """Those of each size."""
        return self.ready.settings

    def describe(self, source: Source, shared: Path | None) -> None:
        """Take the inputs and the weights of a source, for this process and for the controller of the workers."""
        self.inputs, self.weights = source.inputs, source.weights
        if shared:
            said = {"inputs": _DESCRIBED.dump_python(list(self.inputs), mode="json"), "weights": self.weights}
            write_whole(shared / SOURCE, json.dumps(said))

    def learn(self, shared: Path) -> None:
        """Take what the workers have left."""
        if (shared / SOURCE).is_file():
            said = json.loads((shared / SOURCE).read_text(encoding="utf-8"))
            self.inputs, self.weights = _DESCRIBED.validate_python(said["inputs"]), said["weights"]

    def record(self, report: Report) -> Record:
        """The record of a report. Raises UsageError for a policy or a baseline that does not fit it."""
        key = tuple(f"{run.input} {run.mode}" for run in report.runs)
        if key not in self._records:
            self._records[key] = self.ready.record(
                report, self.inputs, self.weights, unfinished=report.settings.get("unfinished", "")
            )
        return self._records[key]

    def is_whole(self, report: Report) -> bool:
        """Whether a report is of everything that the gate is to look at."""
        return {run.input for run in report.runs} == {given.name for given in self.inputs}

    def write(self, record: Record) -> None:
        """Write the record."""
        write_whole(self.targets.record, record.sealed())

    # -- which test tells what ----------------------------------------------------------------------------------------

    def limits(self) -> list[str]:
        """The limits of the task, by their keys in the policy."""
        limits = self.ready.in_force.policy.limits
        names = [KEYS[figure] for figure in Limit.bounds(limits)]
        return names + [f"{name}.{KEYS[figure]}" for name, each in limits.outputs.items() for figure in each.bounds()]

    def conditions(self) -> list[tuple[str, str]]:
        """What is looked at once, whatever the inputs: kinds and names."""
        policy = self.ready.in_force.policy
        size = [(ARTIFACT, "size")] if policy.artifact.size_mb is not None else []
        return size + [(WAIVER, waiver.layer) for waiver in policy.waivers]

    def condition(self, report: Report, kind: str, name: str) -> Outcome:
        """What came of something that is looked at once."""
        return _outcome(check for check in self._checks(report) if (check.kind, check.name) == (kind, name))

    def layer(self, report: Report, weighted: Sequence[str], layer: str) -> Outcome:
        """What came of a weighted layer, and of the operations that belong to it."""
        owner, checks = owners(report, weighted), self._checks(report)
        found = _outcome(c for c in checks if c.kind in (LAYER, GROWTH) and owner.get(c.name) == layer)
        left = [run for run in report.runs if not compared_in(run, owner, layer)]
        if found.fails or not left:
            return found
        waived = next((c for c in checks if c.kind == COVERAGE and c.verdict == WAIVED), None)
        if (waived and layer in report.coverage.unmatched_reference) or layer in report.coverage.waived:
            return Outcome(skips=waived.says if waived else f"{layer} is waived by name")
        return found if found.skips else Outcome(fails=uncompared_failure(report, layer, left))

    def network(self, report: Report, weighted: Sequence[str], given: str, mode: str) -> Outcome:
        """What came of the network on an input in a mode, but for its weighted layers and the task's limits."""
        owner = owners(report, weighted)
        if not any((run.input, run.mode) == (given, mode) for run in report.runs) and not report.deaths:
            return Outcome(fails=f"{report.pair}  was not run on input {given} in mode {mode}")

        def is_its_own(check: Check) -> bool:
            if check.kind in (COVERAGE, PROCESS) or (check.kind, check.name) == (ARTIFACT, ENGINE):
                return True
            here = (check.input, check.mode) == (given, mode)
            return here and (
                check.kind in (OUTPUT, WATCHING) or (check.kind in (LAYER, GROWTH) and check.name not in owner)
            )

        return _outcome(filter(is_its_own, self._checks(report)))

    def limit(self, report: Report, key: str, given: str, mode: str) -> Outcome:
        """What came of a limit of the task on an input in a mode. One that nothing was measured for fails."""
        here = [c for c in self._checks(report) if c.kind == LIMIT and (c.input, c.mode) == (given, mode)]
        mine = [check for check in here if key == check.name or check.name.endswith(f".{key}")]
        return _outcome(mine) if mine else Outcome(fails=f"{key} was not measured on input {given} in mode {mode}")

    def _checks(self, report: Report) -> tuple[Check, ...]:
        return self.record(report).result.checks


def _outcome(checks: Iterable[Check]) -> Outcome:
    said: dict[str, list[str]] = {}
    for check in checks:
        said.setdefault(check.verdict, []).append(check.says)
    failed = dict.fromkeys([*said.get(UNKNOWN, ()), *said.get(FAIL, ())])
    if failed:
        return Outcome(fails="\n\n".join(failed))
    waived = dict.fromkeys(said.get(WAIVED, ()))
    return Outcome(skips="; ".join(waived) if PASS not in said and FOLLOWS not in said else "")
