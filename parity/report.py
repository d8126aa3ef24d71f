"""The frozen records of a verification, and their way to JSON and back.

    Report
    ├── environment, settings, coverage
    ├── runs[]                one input in one mode
    │   ├── layers[]          LayerResult: propagated and introduced Measure, floor, verdict
    │   ├── output            the uninstrumented port's own output, against the reference
    │   └── watching          whether instrumenting the port changed what it computes
    ├── gradients[]           one input in one mode, differentiated; only where that was asked for
    ├── findings[]            every layer that introduces error, in every run, each with its Cause
    ├── first_divergence      the first layer, in the reference's order, that leaves its limits end to end
    └── deaths[]              processes that ended before their work was done; what they had found is kept

Nothing here knows a model, and nothing here prints.
"""

import importlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from parity.errors import ParityError, ReportFileError, ReportFolderError
from parity.numbers import decibels
from parity.portraits import ErrorPicture, OutputPicture, Record, Setup

SCHEMA = 1

PASS, INTRODUCES, INHERITS, NOT_COMPARED = "pass", "introduces", "inherits", "not compared"
DIVERGED, DIED = "diverged", "died"

VALUES, GRADIENTS, TRAINING, TRAINABLE = "values", "gradients", "training", "trainable"
"""What a finding is about."""


@dataclass(frozen=True, kw_only=True)
class Measure(Record):
    """One error of one layer. `relative` is RMSE over the RMS of the reference's values; `allowed` is its limit there.

    `gain` is the part of it that is a constant factor; `ratio` is the error in noise floors. `max_abs` is the
    greatest absolute difference, at `max_index` (in the reference's axes), `max_allowed` its limit. `compared` of
    `total` values were looked at: large maps are sampled end to end.
    """

    relative: float
    allowed: float
    gain: float
    ratio: float
    max_abs: float
    max_allowed: float
    max_index: tuple[int, ...]
    compared: int
    total: int
    passed: bool
    note: str = ""

    @property
    def sqnr(self) -> float:
        """The ratio of signal to noise, in dB; infinite where nothing differs."""
        return decibels(self.relative)

    @property
    def sqnr_allowed(self) -> float:
        """The least that it may be, in dB."""
        return decibels(self.allowed)


@dataclass(frozen=True, kw_only=True)
class LayerResult(Record):
    """One layer in one run. `inside` names reference operations without a counterpart that this layer's segment holds,
    `reads` the compared layers and inputs that it reads, by the reference's names.

    `verdict` is "pass", "introduces" (its own segment is at fault), "inherits" (only what reaches it is) or "not
    compared". `introduced` is None where it was not needed: under a fixed tolerance, when the layer agrees end to
    end. `precision` is what the port's numbers are where the limits follow from that ("int8"), "" for float32; `reason`
    says why a layer was not compared, where that is not what reaches it.
    """

    layer: str
    port_layer: str
    kind: str
    floor: float
    propagated: Measure | None
    introduced: Measure | None
    verdict: str
    weighted: bool = False
    inside: tuple[str, ...] = ()
    policy: str = ""
    precision: str = ""
    reason: str = ""
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """A hypothesis that was put to the test: the relative error it leaves, and whether that is within the limits."""

    slug: str
    detail: str
    residual: float
    explains: bool


@dataclass(frozen=True, kw_only=True)
class Cause(Record):
    """Why a layer differs: a stable slug, the evidence in words, and what a replay without the fault leaves.

    `residual_before` and `residual_after` are relative errors of that one layer on the reference's activations; both
    None where nothing could be replayed (`unknown`). `change` says what to change in the port, in the words of its
    code. `also` names causes that are at work in the same layer and were undone with this one, `tied` those that
    explain the error equally well, `separated_by` the probe that told this one from others that did so on the input
    alone. `tried` has every hypothesis that was put to the test, best first.
    """

    slug: str
    detail: str
    residual_before: float | None = None
    residual_after: float | None = None
    change: str = ""
    also: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()
    separated_by: str = ""
    tried: tuple[Trial, ...] = ()

    @property
    def ranked(self) -> tuple[str, ...]:
        """The slugs that explain the error, best first, each once; the cause's own is the first."""
        return tuple(dict.fromkeys([self.slug, *self.also, *self.tied, *(trial.slug for trial in self.tried)]))


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """A layer that differs in one run. `error` is what it introduces (or, for a first divergence, what reached it).

    `about` says in what it differs: "values", "gradients", "training" (what it computes and keeps in training mode), or
    "trainable" (which of its weights are trained at all).
    """

    layer: str
    port_layer: str
    input: str
    mode: str
    error: float
    floor: float
    cause: Cause
    introduced: bool = True
    about: str = VALUES

    @property
    def ratio(self) -> float:
        """The error in noise floors."""
        return self.error / self.floor


@dataclass(frozen=True, kw_only=True)
class Watching(Record):
    """The uninstrumented port against the instrumented one, on the whole output.

    `same` is bitwise equality; `relative` the RMSE over RMS between the two; `within` whether that stays inside the
    limits. `once` says that both are one run, which was read as it went, so that there is nothing to tell apart.
    """

    same: bool
    relative: float
    within: bool
    once: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Deviation(Record):
    """How far one output is from the reference's, in the output's own units: what a task is limited in.

    `rms` is the size of the reference's values. Of a map of two channels, such as an optical flow in pixels, there is
    the end-point error as well, the length of the difference of the two vectors: its mean and its greatest.
    """

    rmse: float
    max_abs: float
    rms: float
    epe_mean: float | None = None
    epe_max: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """One input in one mode. `warnings` say where the input leaves a layer blind.

    `output` is the error of the output, of several the worst; `outputs` has each by its name where there are several.
    `deviations` has each output's, always by name. `pictures` has the first layers at fault, `shown` the outputs that
    can be looked at, by name.
    """

    input: str
    origin: str
    mode: str
    verdict: str
    layers: tuple[LayerResult, ...]
    output: Measure
    watching: Watching
    warnings: tuple[str, ...] = ()
    outputs: Mapping[str, Measure] = field(default_factory=dict)
    deviations: Mapping[str, Deviation] = field(default_factory=dict)
    pictures: Mapping[str, ErrorPicture] = field(default_factory=dict)
    shown: Mapping[str, OutputPicture] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Every layer and the output within limits, and nothing changed by watching."""
        layers = bool(self.layers) and all(layer.verdict == PASS for layer in self.layers)
        outputs = self.output.passed and all(output.passed for output in self.outputs.values())
        return layers and outputs and self.watching.within


@dataclass(frozen=True, kw_only=True)
class Ambiguity(Record):
    """A match that nothing decided: `layer` might as well answer to each of `alternatives`, and `port_layer` to each of
    `rivals`."""

    layer: str
    port_layer: str
    alternatives: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words: `conv1 -> conv2d_3, or conv2d_4; conv2d_3 may also be conv2`."""
        others = f", or {', '.join(self.alternatives)}" if self.alternatives else ""
        rivals = f"; {self.port_layer} may also be {', '.join(self.rivals)}" if self.rivals else ""
        return f"{self.layer} -> {self.port_layer}{others}{rivals}"


@dataclass(frozen=True, kw_only=True)
class Death(Record):
    """A process that ended before its work was done: how, and what it was doing.

    `side` is the side of the pair that was at work, "port" or "reference", "" for neither; `doing` what it had last
    said; `mode` is "" where it was not running a mode. `where` is the line of the user's code it was in, where that is
    known, `last_words` what it wrote to stderr last.
    """

    side: str
    how: str
    doing: str
    input: str = ""
    mode: str = ""
    where: str = ""
    last_words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerGradients(Record):
    """One layer in one run, differentiated: the port's gradients against the reference's, in the reference's layout.

    `arriving` is the gradient of the loss that arrives at its value, end to end. Alone, with the reference's values
    and the gradient that arrives there, `to` has what the layer hands to each value that it reads, `weights` what it
    gives each of its weights, by the reference's names. `training` has the layer's value ("value") in training mode,
    its gradients there, and its running statistics after one step. `verdict` is as in LayerResult.
    """

    layer: str
    port_layer: str
    verdict: str
    arriving: Measure | None
    to: Mapping[str, Measure] = field(default_factory=dict)
    weights: Mapping[str, Measure] = field(default_factory=dict)
    training: Mapping[str, Measure] = field(default_factory=dict)
    weighted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def alone(self) -> tuple[Measure, ...]:
        """Everything that is this layer's own."""
        return (*self.to.values(), *self.weights.values(), *self.training.values())


@dataclass(frozen=True, kw_only=True)
class GradientRun(Record):
    """One input in one mode, differentiated. `inputs` has the gradient that arrives at each input, end to end."""

    input: str
    mode: str
    verdict: str
    layers: tuple[LayerGradients, ...]
    inputs: Mapping[str, Measure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Every layer and input within limits, and something compared at all."""
        inputs = all(measure.passed for measure in self.inputs.values())
        return bool(self.layers) and all(layer.verdict == PASS for layer in self.layers) and inputs


@dataclass(frozen=True, kw_only=True)
class Coverage(Record):
    """Which taps were compared. `inside` maps an operation without a counterpart to the layer that holds it; `fused`
    has those of them with weights, which the port computes in one layer with that one.

    `apart` names those of them that have a counterpart which does not correspond: both sides compute the same, in
    steps that hold other values (another order of the channels that the next layer's weights undo). Of the layers that
    `propagated_only` names the port cannot run one alone, so that what they introduce is not known. `reasons` says of
    each match why it was made, `ambiguous` which might as well be others.
    """

    matched: Mapping[str, str]
    weighted: int
    inside: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)
    unmatched_reference: tuple[str, ...] = ()
    unmatched_port: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    propagated_only: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    ambiguous: tuple[Ambiguity, ...] = ()

    @property
    def complete(self) -> bool:
        """Something was matched and nothing is left over but what was waived by name."""
        left = set(self.unmatched_reference) | set(self.unmatched_port)
        return bool(self.matched) and left <= set(self.waived)


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
        try:
            report: Report = _ADAPTER.validate_json(Path(path).read_bytes())
        except OSError as error:
            raise ReportFileError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValidationError as error:
            raise ReportFileError(f"{path} is not a parity report: {_why(error)}") from error
        except ParityError as error:
            raise ReportFileError(f"{path} contradicts itself: {error}") from error
        if report.schema != SCHEMA:
            raise ReportFileError(f"{path} has schema {report.schema}; this parity reads schema {SCHEMA}")
        return report


def _why(error: ValidationError) -> str:
    """What is wrong with a text that is no report, in a few words."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        reason = str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
        return f"it is cut short, or no JSON ({reason})"
    place = ".".join(map(str, first["loc"]))
    return f"it has no {place!r}" if first["type"] == "missing" else f"{place or 'the whole'}: {first['msg']}"


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


def place_of(path: Path) -> Path:
    """Where a file of that name is written: the file itself, or the one that a link leads to.

    Raises ReportFolderError where something is there that is no file: a folder, a device, a pipe.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise ReportFolderError(f"cannot write {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise ReportFolderError(f"cannot write {path}: {path.name} is {kind}, and no file")
    return path.resolve() if path.is_symlink() else path


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to `path` through a temporary file beside it, so that no reader ever sees half of it.

    A link stays, and what it leads to is written. Raises ReportFolderError where that is no file, or cannot be written.
    """
    place = place_of(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = _nameless(place, text) or _hidden(place, text)
        try:
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ReportFolderError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _nameless(path: Path, text: str) -> Path | None:
    """A file beside `path` with the text, which had no name until it was whole: a process that is killed meanwhile
    leaves nothing. None where the system has no such files."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with ExitStack() as opened:
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, folder)
            handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except (AttributeError, OSError):
            return None
        stream = opened.enter_context(os.fdopen(handle, "w", encoding="utf-8"))
        stream.write(text)
        stream.flush()
        try:
            os.link(f"/proc/self/fd/{handle}", temporary.name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError:
            return None
    return temporary


def _hidden(path: Path, text: str) -> Path:
    """The same where every file has a name: one that begins with a dot."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
    except BaseException:
        os.unlink(temporary)
        raise
    return Path(temporary)


def _umask() -> int:
    """The process's file mode mask: temporary files ignore it, reports should not."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_ADAPTER = TypeAdapter(Report)
