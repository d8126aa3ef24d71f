"""A pair in several sizes as one source of reports: each input in each size, called after both."""

from collections.abc import Sequence
from dataclasses import replace

from parity.gate.verdict import IN_SIZE
from parity.isolation import Source, opened
from parity.isolation.journal import Described
from parity.render.progress import Show, part, silent
from parity.report import Finding, Report
from parity.settings import RunSettings, by


class InSizes:
    """The sources of the same pair under several settings. Only one of them is kept running at a time."""

    def __init__(self, settings: Sequence[RunSettings], show: Show = silent) -> None:
        self._settings = settings
        self._sources: list[Source] = []
        self.inputs: list[Described] = []
        self._places: dict[str, tuple[int, str]] = {}
        for index, each in enumerate(settings):
            source = opened(each, part(show, index, len(settings)))
            self._sources.append(source)
            for given in source.inputs:
                name = self._called(given.name, each)
                self._places[name] = index, given.name
                self.inputs.append(replace(given, name=name))
            self.pair, self.modes = source.pair, source.modes
            self.weighted, self.weights = source.weighted, source.weights
            if len(settings) > 1:
                source.close()

    def _called(self, name: str, settings: RunSettings) -> str:
        size = settings.settings.size
        return f"{name}{IN_SIZE}{by(size)}" if size and len(self._settings) > 1 else name

    def verify(self, name: str, modes: Sequence[str], show: Show = silent) -> Report:
        """The report of one input, in some modes. Raises as `parity.verify` does."""
        index, own = self._places[name]
        for other, source in enumerate(self._sources):
            if other != index:
                source.close()
        return _renamed(self._sources[index].verify(own, modes, show), name)

    def close(self) -> None:
        """None of them is needed any more."""
        for source in self._sources:
            source.close()


def _renamed(report: Report, name: str) -> Report:
    """A report of one input, called so."""

    def finding(found: Finding) -> Finding:
        return replace(found, input=name)

    return replace(
        report,
        runs=tuple(replace(run, input=name) for run in report.runs),
        findings=tuple(map(finding, report.findings)),
        first_divergence=finding(report.first_divergence) if report.first_divergence else None,
        deaths=tuple(replace(death, input=name) for death in report.deaths),
    )
