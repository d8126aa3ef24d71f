"""The whole of a verification, whose verdict follows from its parts; several of one pair are one."""

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from parity.errors import ParityError
from parity.files import write_whole
from parity.portraits import Record, Setup
from parity.report.reading import read
from parity.report.records import DIED, DIVERGED, PASS, Coverage, Death, Finding, GradientRun, Run

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Report(Record):
    """A whole verification. `verdict` is "pass" or "diverged", or "died" where a process did not live to the end.

    `setups` says of each compared layer how both sides have it.
    """

    pair: str
    coverage: Coverage
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]
    first_divergence: Finding | None
    environment: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    deaths: tuple[Death, ...] = ()
    gradients: tuple[GradientRun, ...] = ()
    setups: Mapping[str, Setup] = field(default_factory=dict)
    schema: int = SCHEMA
    verdict: str = ""

    def __post_init__(self) -> None:
        """The verdict follows from the rest; a stored one that contradicts it is refused."""
        derived = DIED if self.deaths else PASS if self._agrees() else DIVERGED
        if self.verdict not in ("", derived):
            raise ParityError(f"the report says {self.verdict!r} but its runs say {derived!r}")
        object.__setattr__(self, "verdict", derived)

    def _agrees(self) -> bool:
        compared = bool(self.runs) and all(run.layers for run in self.runs)
        values = all(run.verdict == PASS and run.agrees for run in self.runs)
        gradients = all(run.verdict == PASS and run.agrees for run in self.gradients)
        found = bool(self.findings or self.first_divergence)
        return compared and values and gradients and not found and self.coverage.complete

    @property
    def passed(self) -> bool:
        """Every layer and output of every run within its limits, nothing unmatched, and something compared at all."""
        return self.verdict == PASS

    def _repr_html_(self) -> str:
        """What a notebook shows of the report."""
        # By name, since what shows a report builds on this file, and is read only where somebody looks.
        shown: str = importlib.import_module("parity.render.html").cell(self)
        return shown

    def to_json(self) -> str:
        """The report as JSON text."""
        return _ADAPTER.dump_json(self, indent=1).decode()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as JSON, whole or not at all. Raises ReportFolderError if the folder cannot be written."""
        return write_whole(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Report":
        """Read a report back. Raises ReportFileError if the file is not one, or of another schema."""
        return read(path, _ADAPTER, SCHEMA)


def merge(reports: Sequence[Report]) -> Report:
    """One report of several over the same pair: runs and findings in order; what any left unmatched is unmatched."""
    first = next((report for report in reports if report.coverage.matched), reports[0])
    coverage = replace(
        first.coverage,
        unmatched_reference=_union(report.coverage.unmatched_reference for report in reports),
        unmatched_port=_union(report.coverage.unmatched_port for report in reports),
    )
    notes = [report.settings["seen"] for report in reports if report.settings.get("seen")]
    seen = _union(tuple(each.split("; ")) for each in notes)
    return Report(
        pair=first.pair,
        coverage=coverage,
        runs=tuple(run for report in reports for run in report.runs),
        findings=tuple(finding for report in reports for finding in report.findings),
        first_divergence=next((r.first_divergence for r in reports if r.first_divergence), None),
        environment=first.environment,
        settings={**first.settings, **({"seen": "; ".join(seen)} if seen else {})},
        deaths=tuple(death for report in reports for death in report.deaths),
        gradients=tuple(run for report in reports for run in report.gradients),
        setups={layer: setup for report in reversed(reports) for layer, setup in report.setups.items()},
    )


def _union(names: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in names for name in group))


_ADAPTER = TypeAdapter(Report)
