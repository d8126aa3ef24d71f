"""A run of the gate: what is asked for is made ready, the artifact is verified, and what came of it is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from parity.artifacts.files import RECORDING, kind_of_file
from parity.errors import ArtifactError, UsageError
from parity.files import write_whole
from parity.gate.checks import NOT_VERIFIED, Result, verdict_of
from parity.gate.facts import MEGABYTE, Facts, facts_of
from parity.gate.files import Targets, write_markdown
from parity.gate.growth import grown
from parity.gate.junit import junit
from parity.gate.markdown import markdown
from parity.gate.policy import InForce, Policy, read_policy
from parity.gate.record import Given, Held, Record, held_against, held_to, machine, read_record, switches, versions_with
from parity.gate.results import as_json
from parity.gate.sizes import InSizes
from parity.gate.verdict import checks_of
from parity.gate.waivers import Waivers
from parity.inputs.words import SEEDED, picture_pairs
from parity.isolation import ProcessDiedError, Source
from parity.isolation.journal import Described
from parity.publishing import publish
from parity.render.progress import Show, part, silent
from parity.report import Report
from parity.settings import REPORT_FILE, Options, RunSettings, ensure_writable, gathered, report_folder
from parity.tolerance import Tolerance

RECORD_FILE = "record.json"
"""Where the record goes if nobody says so, beside the report."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run of the gate is asked for. `options` choose the pair's weights and, where the policy does not, its
    inputs; they have no port, since the artifact is that."""

    name: str
    artifact: Path
    options: Options
    policy: Path | None = None
    baseline: Path | None = None
    isolate: bool = True

    def reads(self) -> dict[str, Path | None]:
        """The files that are read, by the option that names them."""
        paths = {"--checkpoint": self.options.checkpoint, "--map": self.options.map, "--against": self.options.against}
        return {
            "--artifact": self.artifact,
            "--policy": self.policy,
            "--baseline": self.baseline,
            **{option: None if path is None else Path(path) for option, path in paths.items()},
        }

    def targets(self, **chosen: Path | None) -> Targets:
        """Where the run writes: the files that were chosen, and the report and the record beside it."""
        folder = report_folder(Path(self.options.report_dir or "reports"), self.name)
        ensure_writable(folder)
        record = chosen.pop("record", None) or folder / RECORD_FILE
        return Targets(report=folder / REPORT_FILE, record=record, **chosen)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A run that can begin: the policy in force, the artifact's facts, the baseline's record, the settings for each
    size."""

    asked: Asked
    in_force: InForce
    facts: Facts
    then: Record | None
    against: Held | None
    settings: tuple[RunSettings, ...]

    @classmethod
    def of(cls, asked: Asked) -> "Ready":
        """Make a run ready, without loading anything that runs a network.

        Raises UsageError for what makes no sense, ArtifactError for an artifact that is not safe to load, and
        GateRecordError for a baseline that is none.
        """
        in_force = read_policy(asked.policy)
        then = read_record(asked.baseline) if asked.baseline else None
        against = held_against(asked.baseline)
        if not asked.artifact.exists():
            raise UsageError(f"artifact {asked.artifact}: no such file")
        settings = tuple(_settings(asked, in_force, kind_of_file(asked.artifact)))
        facts = facts_of(asked.artifact, in_force.policy.artifact)
        return cls(asked=asked, in_force=in_force, facts=facts, then=then, against=against, settings=settings)

    def record(
        self,
        report: Report,
        inputs: Sequence[Described],
        weights: str,
        *,
        today: date | None = None,
        unfinished: str = "",
    ) -> Record:
        """What came of the run, and all that an auditor asks for. Raises UsageError for a policy that does not fit."""
        now = datetime.now(UTC)
        policy = self.in_force.policy
        waivers = Waivers(policy.waivers, today or now.date())
        checks, notes = checks_of(report, policy, waivers, self.facts, unfinished)
        result = Result(
            pair=report.pair,
            verdict=verdict_of(checks),
            artifact=self.facts,
            policy=self._policy_in_words(),
            baseline=str(self.asked.baseline or ""),
            checks=tuple(checks),
            notes=tuple(notes),
        )
        used = {run.input for run in report.runs}
        record = Record(
            made=now.isoformat(timespec="seconds"),
            result=result,
            weights=weights,
            inputs=tuple(
                Given(name=each.name, size=each.size, origin=each.origin, sha256=each.digest)
                for each in inputs
                if each.name in used
            ),
            asked=report.settings,
            versions=versions_with(report.environment),
            machine=machine(),
            switches=switches(),
            policy=held_to(self.in_force),
            baseline=self.against,
        )
        return record if record.result.verdict == NOT_VERIFIED else self._completed(record, waivers)

    def _completed(self, record: Record, waivers: Waivers) -> Record:
        """The record, with what has become worse since the baseline, and which waivers have waived nothing."""
        baseline = self.in_force.policy.baseline
        more, told = grown(record, self.then, baseline, waivers) if self.then else ([], [])
        checks, notes = (*record.result.checks, *more), (*waivers.idle(), *record.result.notes, *told)
        result = replace(record.result, checks=checks, notes=notes, verdict=verdict_of(checks))
        return replace(record, result=result)

    def _policy_in_words(self) -> str:
        if not self.in_force.file:
            return "none given: the defaults, with no limit of the task"
        return f"{self.in_force.file}, sha256 {self.in_force.digest[:12]}"


def run(asked: Asked, targets: Targets, show: Show = silent) -> Record:
    """Verify an artifact, write what came of it, and return the record.

    What an earlier run has left in the places of the targets is removed first, whatever becomes of this one. Raises
    what `Ready.of` does, and what verifying raises; then nothing is written.
    """
    targets.refuse_shared(asked.reads())
    targets.clear()
    show("looking at the artifact", 0.0)
    ready = Ready.of(asked)
    report, inputs, weights, unfinished = _verified(ready, show)
    if facts_of(asked.artifact, ready.in_force.policy.artifact) != ready.facts:
        raise ArtifactError(f"{asked.artifact} was changed while it was verified")
    record = ready.record(report, inputs, weights, unfinished=unfinished)
    write(record, report, targets)
    return record


def _verified(ready: Ready, show: Show) -> tuple[Report, Sequence[Described], str, str]:
    """The report, the inputs, the sum of the weights, and what stopped it before it was finished."""
    try:
        source = InSizes(ready.settings, show)
    except ProcessDiedError as died:
        settings = ready.settings[0]
        report = died.report(settings.name, {**settings.words(), "command": settings.command()})
        return report, (), "", str(died)
    try:
        reports, unfinished = _reports(ready, source, show)
        return gathered(reports, unfinished), source.inputs, source.weights, unfinished
    finally:
        source.close()


def _reports(ready: Ready, source: Source, show: Show) -> tuple[list[Report], str]:
    """The report of each input, up to the one before which too many processes had died."""
    reports: list[Report] = []
    for index, given in enumerate(source.inputs):
        try:
            reports.append(source.verify(given.name, source.modes, part(show, index, len(source.inputs), given.name)))
        except ProcessDiedError as died:
            if not reports:
                raise
            return reports, f"{given.name} was not run: {died}"
    return reports, ""


def write(record: Record, report: Report, targets: Targets) -> None:
    """Write everything, the record last. Raises ReportFolderError for what cannot be written."""
    publish(report, targets.report)
    if targets.json:
        write_whole(targets.json, as_json(record.result))
    if targets.junit:
        write_whole(targets.junit, junit(record.result))
    if targets.markdown:
        write_markdown(targets.markdown, markdown(record))
    write_whole(targets.record, record.sealed())


# -- what the policy and the options ask for, together -----------------------------------------------------------------


def _settings(asked: Asked, in_force: InForce, kind: str) -> Iterator[RunSettings]:
    """The settings for each size. Raises UsageError where the policy and an option say the same thing."""
    policy = in_force.policy
    _refuse_twice(asked, policy)
    fixed = policy.judge
    if kind == RECORDING:
        raise UsageError(
            f"artifact {asked.artifact} is a recording, as `parity record` writes it, and no file that ships"
        )
    options = replace(
        asked.options,
        port=asked.artifact,
        inputs=tuple(_words(in_force)) or asked.options.inputs,
        modes=tuple(policy.run.modes) or asked.options.modes,
        timeout=policy.run.timeout or asked.options.timeout,
        isolate=asked.isolate,
    )
    sizes: Sequence[str | None] = policy.inputs.sizes or [asked.options.size]
    for size in sizes:
        settings = RunSettings.of(asked.name, replace(options, size=size))
        judged = Tolerance(rtol=fixed.rtol, atol=fixed.atol, why=fixed.why) if fixed else settings.policy
        model = replace(
            settings.settings,
            tolerances=policy.judgements(),
            allow=tuple(policy.artifact.allow),
            largest=None if policy.artifact.load_mb is None else int(policy.artifact.load_mb * MEGABYTE),
        )
        yield replace(settings, settings=model, policy=judged, audited=True)


def _refuse_twice(asked: Asked, policy: Policy) -> None:
    given, inputs = asked.options, policy.inputs
    has_inputs = bool(inputs.names or inputs.seeds or inputs.files or inputs.pairs)
    twice = {
        "--input": (given.inputs, has_inputs),
        "--images": (given.images, has_inputs),
        "--size": (given.size, inputs.sizes),
        "--mode": (given.modes, policy.run.modes),
        "--timeout": (given.timeout, policy.run.timeout),
    }
    for option, (here, there) in twice.items():
        if here and there:
            raise UsageError(f"{option} is given, and {asked.policy} says it as well; leave it out of one of them")


def _words(in_force: InForce) -> Iterator[str]:
    """The inputs that the policy asks for, as words for --input. None where it leaves them to the pair."""
    inputs = in_force.policy.inputs
    for name in inputs.names or (["noise"] if inputs.seeds else []):
        if name in SEEDED and inputs.seeds:
            yield from (f"{name}#{seed}" for seed in inputs.seeds)
        else:
            yield name
    for file in inputs.files:
        yield in_force.path(file)
    for written in inputs.pairs:
        folder = Path(in_force.path(written))
        if not folder.is_dir():
            raise UsageError(f"the policy's inputs.pairs: {folder} is no folder")
        yield from (f"{left}+{right}" for left, right in picture_pairs(folder)[: inputs.most])
