"""A pytest session that verifies one model: what is collected, what the header and the end of the run say."""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parity import __version__
from parity.errors import ParityError, UsageError
from parity.gate.page import gate_annotations, gate_page
from parity.gate.record import Record
from parity.gate.sizes import InSizes
from parity.isolation import ProcessDiedError, Source, opened
from parity.plugin.asked import Asked, in_place_of_files
from parity.plugin.gated import Gate
from parity.plugin.items import Model, Plan, Test, nodeid_of
from parity.plugin.results import Finished, Results, calm
from parity.publishing import publish
from parity.render.annotations import annotations, on_github
from parity.render.progress import Show, progress_bar, silent
from parity.render.terminal import summary, verdict
from parity.report import Report
from parity.settings import REPORT_FILE, Options, RunSettings, engine_versions, ensure_writable, report_folder

SHARED = "parity_shared"
"""The key under which workers are told the folder they share."""
COULD_NOT_WRITE = 3
FOR_GATE = ("artifact", "policy", "baseline", "record")
"""The options that a gate is asked by."""


@dataclass(eq=False)  # pluggy keeps plugins in sets
class ModelSession:
    """The hooks of a session with `--model`, in a single process, a worker of pytest-xdist, or their controller."""

    config: pytest.Config
    settings: RunSettings
    asked: Asked
    is_worker: bool
    shared: Path | None = None
    results: Results | None = None
    report: Report | None = None
    written: str = ""
    title: str = ""
    gate: Gate | None = None
    record: Record | None = None

    @classmethod
    def of(cls, config: pytest.Config, model: str, given: Mapping[str, Any]) -> "ModelSession":
        """The session the options ask for. Raises pytest.UsageError where they make no sense."""
        workerinput: Mapping[str, str] | None = getattr(config, "workerinput", None)
        try:
            options = _options({name: value for name, value in given.items() if name not in FOR_GATE})
            gate = Gate.of(model, given, options, is_worker=workerinput is not None) if given["artifact"] else None
            _refuse_idle(given, gate)
            settings = gate.settings[0] if gate else RunSettings.of(model, options)
            ensure_writable(report_folder(settings.report_dir, model))
        except ParityError as error:
            raise pytest.UsageError(str(error)) from None
        asked = Asked(config, settings.name)
        asked.hide_paths()
        shared = Path(workerinput[SHARED]) if workerinput else None
        is_worker = workerinput is not None
        return cls(config=config, settings=settings, asked=asked, is_worker=is_worker, shared=shared, gate=gate)

    # -- collection ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Leave pytest nothing of its own to collect, whatever folder it is in."""
        self.asked.take()

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> pytest.CollectReport | None:
        """In place of files, the session holds one collector, the model."""
        if not isinstance(collector, pytest.Session):
            return None
        return in_place_of_files(collector, partial(self._model, collector), is_worker=self.is_worker)

    def _model(self, session: pytest.Session) -> Model:
        with calm():
            source = self._opened()
        ensure_writable(report_folder(self.settings.report_dir, source.pair))
        self.results = Results(settings=self.settings, source=source, shared=self.shared, showing=self._showing)
        self.title = nodeid_of(source.pair)
        nodeid: Any = self.title
        if self.gate:
            self.gate.describe(source, self.shared)
        plan = Plan.of(source, self.settings, self.gate)
        model: Model = Model.from_parent(
            session,
            name=self.title,
            nodeid=nodeid,
            plan=plan,
            results=self.results,
            selected=self.asked.of(self.title),
            listed_by=self.asked.listed_by,
        )
        return model

    def _opened(self) -> Source:
        """The pair. One that takes its process down while it is made leaves a report."""
        try:
            return InSizes(self.gate.settings) if self.gate else opened(self.settings)
        except ProcessDiedError as died:
            words = {**self.settings.words(), "command": self.settings.command()}
            report = died.report(self.settings.name, words)
            path = publish(report, report_folder(self.settings.report_dir, self.settings.name) / REPORT_FILE)
            raise ProcessDiedError(f"{died}; report: {path}") from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What stopped a worker from collecting stops the run, with the same sentence as in a single process."""
        if report.failed and self.shared and not self.is_worker:
            raise pytest.UsageError(report.longreprtext)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Now that -k, --lf and the like have chosen, say which inputs and modes are needed."""
        tests = [item for item in session.items if isinstance(item, Test)]
        if self.results:
            self.results.need(place for test in tests for place in test.places())

    # -- while it runs ------------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give the workers of pytest-xdist a folder to share, which goes with the run, however early it is stopped."""
        if self.shared is None:
            prefix = f"parity-{node.workerinput['testrunuid']}-"
            self.shared = Path(tempfile.mkdtemp(prefix=prefix))
            self.config.add_cleanup(partial(shutil.rmtree, self.shared, ignore_errors=True))
        node.workerinput[SHARED] = str(self.shared)

    @contextmanager
    def _showing(self) -> Iterator[Show]:
        """A progress bar on the real terminal, if there is one; what the frameworks print stays captured."""
        reporter: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.is_worker or reporter is None or not reporter.isatty:
            yield silent
            return
        with self._uncaptured():
            terminal = os.dup(sys.stderr.fileno())
        with os.fdopen(terminal, "w") as stream, progress_bar(stream) as show:
            yield show
        with self._uncaptured():
            # The bar took the line on which pytest had begun to write: let it begin again.
            reporter.currentfspath = None
            if reporter.showfspath and not reporter.showlongtestinfo:
                reporter.write_fspath_result(f"{self.title}::", "")
                reporter.flush()

    def _uncaptured(self) -> AbstractContextManager[None]:
        """Within it stdout and stderr are the real ones."""
        capture: Any = self.config.pluginmanager.get_plugin("capturemanager")
        uncaptured: AbstractContextManager[None] = capture.global_and_fixture_disabled() if capture else nullcontext()
        return uncaptured

    # -- what is said -------------------------------------------------------------------------------------------------

    def pytest_report_header(self) -> list[str]:
        """The settings in force."""
        words = self.settings.words()
        versions = ", ".join(f"{name} {version}" for name, version in engine_versions().items())
        artifact = self.gate.ready.facts if self.gate else None
        return [
            f"parity {__version__}: model {words['model']}, inputs {words['inputs']}, size {words['size']}",
            f"  modes {words['modes']}; {words['format']}; weights of {words['weights']}; {versions}",
            f"  judged by {words['policy']}; report in {report_folder(self.settings.report_dir, words['model'])}",
            *([f"  artifact {artifact.path} ({artifact.kind}), sha256 {artifact.sha256}"] if artifact else []),
        ]

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the report of what was finished, once the workers are gone, however the run was stopped."""
        try:
            return (yield)
        finally:
            if self.results:
                self.results.source.close()
            if not self.is_worker:
                self._write(session)

    def _write(self, session: pytest.Session) -> None:
        try:
            self.report = self._finished()
            if self.report:
                path = report_folder(self.settings.report_dir, self.report.pair) / REPORT_FILE
                path = self.gate.targets.report if self.gate else path
                self.written = f"report: {publish(self.report, path, self.settings.exports)}"
            if self.report and self.gate:
                self._keep_record(self.gate, self.report)
        except ParityError as error:
            self.written = f"parity: {error}"
            session.exitstatus = COULD_NOT_WRITE

    def _keep_record(self, gate: Gate, report: Report) -> None:
        """Write the record of a gate that has looked at everything; of a part of it there is none."""
        if self.shared:
            gate.learn(self.shared)
        if gate.is_whole(report):
            self.record = gate.record(report)
            gate.write(self.record)
            self.written = f"record: {gate.targets.record}\n{self.written}"

    def _finished(self) -> Report | None:
        if self.shared:
            return Finished.of(self.shared).report()
        return self.results.finished().report() if self.results else None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The summary of the report, and where it is."""
        if not self.report:
            return
        writer = self.config.get_terminal_writer()
        terminalreporter.section("parity")
        if self.config.get_verbosity() < -1:
            writer.line(verdict(self.report))
        elif self.record:
            writer.line(gate_page(self.record, width=writer.fullwidth, colour=writer.hasmarkup))
        else:
            writer.line(summary(self.report, width=writer.fullwidth, colour=writer.hasmarkup))
        writer.line(self.written)
        told = gate_annotations(self.record.result) if self.record else annotations(self.report)
        for line in told if on_github() else ():
            writer.line(line)


def _refuse_idle(given: Mapping[str, Any], gate: Gate | None) -> None:
    """Raise UsageError for options of a gate without an artifact, and for what a gate is not asked."""
    idle = [name for name in FOR_GATE if given[name] is not None and gate is None]
    if idle:
        raise UsageError(f"--parity-{idle[0]} given without --parity-artifact; say which file is to go out")
    for name in ("port", "rtol", "atol", "grad"):
        if gate and given[name] is not None:
            raise UsageError(f"--parity-{name} has no effect with --parity-artifact")


def _options(given: Mapping[str, Any]) -> Options:
    words = dict(given)
    return Options(
        inputs=words.pop("input") or (),
        modes=words.pop("mode") or (),
        shapes=words.pop("shape") or (),
        export=words.pop("export") or (),
        **words,
    )
