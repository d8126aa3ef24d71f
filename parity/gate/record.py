"""What an auditor needs: which file was verified, with what, on what, held to what, and what came of it.

A record is a JSON file. Its `seal` is the SHA-256 of everything in it but the seal itself and `made`, the time, in the
form that `sealed` gives it: so the records of two runs on the same inputs and the same machine are the same, byte by
byte, but for the time. A seal shows that a record was changed; it does not prove who made it, as a signature would.
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from parity.doctor.facts import SWITCHES, features, versions
from parity.errors import GateRecordError, UsageError
from parity.gate.checks import Result, for_json, verdict_of
from parity.gate.facts import Facts, sum_of
from parity.gate.policy import InForce
from parity.switches import thread_count

SCHEMA = 1
KIND = "parity gate record"
FREE = ("seal", "made")
"""What the seal is not of."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """An input: its name, its size in words, where it is from, and the SHA-256 of its arrays."""

    name: str
    size: str
    origin: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """A file that the run was held to: its path, its SHA-256, and of a policy its text and what it says, defaults too.

    `file` is "" where there was none, and the defaults were in force.
    """

    file: str
    sha256: str
    text: str = ""
    says: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run of the gate. `weights` is the SHA-256 of the reference's; `asked` has the request in words.

    `machine` has the system, the processor and its features, the cores and the threads; `switches` the environment
    variables that change what engines compute.
    """

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")

    made: str
    result: Result
    weights: str
    inputs: tuple[Given, ...]
    asked: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    switches: Mapping[str, str]
    policy: Held
    baseline: Held | None = None
    schema: int = SCHEMA
    kind: str = KIND

    def sealed(self) -> str:
        """The record as it is written."""
        says = for_json(_ADAPTER.dump_python(self, mode="json"))
        return json.dumps({**says, "seal": seal_of(says)}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


_ADAPTER = TypeAdapter(Record)


def seal_of(says: Mapping[str, Any]) -> str:
    """The seal of what a record says."""
    kept = {name: value for name, value in says.items() if name not in FREE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises UsageError where there is no such file, GateRecordError for what is no record, or not as it was written.
    """
    try:
        says = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"record {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise GateRecordError(f"{path} is no record of a gate: {error}") from error
    if not isinstance(says, dict) or says.get("kind") != KIND:
        raise GateRecordError(f"{path} is no record of a gate")
    if says.get("schema") != SCHEMA:
        raise GateRecordError(f"{path} has schema {says.get('schema')}; this parity reads schema {SCHEMA}")
    seal = says.pop("seal", "")
    if seal != seal_of(says):
        raise GateRecordError(f"{path} was changed since it was written: its seal does not fit what it says")
    try:
        record: Record = _ADAPTER.validate_python(says)
    except ValidationError as error:
        raise GateRecordError(f"{path} is no record of a gate: {str(error).splitlines()[0]}") from error
    if problem := next(_problems(record), ""):
        raise GateRecordError(f"{path} is no record of a gate: {problem}")
    return record


def _problems(record: Record) -> Iterator[str]:
    """What a record says and no run does: its seal is no proof that one has written it, since anybody can make it."""
    if (found := verdict_of(record.result.checks)) != record.result.verdict:
        yield f"it says {record.result.verdict!r}, and its checks make that {found!r}"
    for waiver in record.policy.says.get("waivers", ()):
        try:
            _ = waiver["layer"], date.fromisoformat(waiver["expires"])
        except (KeyError, TypeError, ValueError):
            yield f"{waiver!r} is no waiver"


def held_to(in_force: InForce) -> Held:
    """The policy that the run is held to."""
    return Held(file=in_force.file, sha256=in_force.digest, text=in_force.text, says=in_force.says())


def held_against(baseline: Path | None) -> Held | None:
    """The baseline that the run is held against."""
    if baseline is None:
        return None
    return Held(file=str(baseline), sha256=hashlib.sha256(baseline.read_bytes()).hexdigest())


def machine() -> dict[str, str]:
    """This machine, as far as it matters to what engines compute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": processor(),
        "features": " ".join(features()),
        "cores": str(cores),
        "threads": str(thread_count()),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def switches() -> dict[str, str]:
    """The environment variables that are set and change what engines compute."""
    return {name: os.environ[name] for name in SWITCHES if name in os.environ}


def versions_with(environment: Mapping[str, str]) -> dict[str, str]:
    """The versions of what is installed, and of what a report says that it ran with."""
    other = ("machine", "threads", "onednn")
    return {**versions(), **{name: value for name, value in environment.items() if name not in other}}


# -- checked later ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not as the record has it: what, then and now. `fails` where the record no longer holds."""

    what: str
    then: str
    now: str
    fails: bool = False


def differences(record: Record, artifact: Path, today: date) -> Iterator[Difference]:
    """What is not as a record has it: the artifact at that path first."""
    facts: Facts = record.result.artifact
    now = sum_of(artifact, facts)
    if now != facts.sha256:
        yield Difference(what=f"artifact {artifact}", then=facts.sha256, now=now or "not there", fails=True)
    elif artifact.name != Path(facts.path).name:
        yield Difference(what="name of the artifact", then=Path(facts.path).name, now=artifact.name)
    if record.policy.file and (was := Path(record.policy.file)).is_file():
        text = hashlib.sha256(was.read_bytes()).hexdigest()
        if text != record.policy.sha256:
            yield Difference(what=f"policy {was}", then=record.policy.sha256, now=text)
    for waiver in record.policy.says.get("waivers", ()):
        if date.fromisoformat(waiver["expires"]) < today:
            then = f"in force until {waiver['expires']}"
            yield Difference(what=f"waiver of {waiver['layer']}", then=then, now=f"expired, on {today}")
    tables = (
        ("", record.versions, versions()),
        ("machine: ", record.machine, machine()),
        ("switch ", record.switches, switches()),
    )
    for what, before, here in tables:
        for name in sorted({*before, *here}) if what == "switch " else sorted(before):
            if name in here or what:
                then_, now_ = before.get(name, "not set"), here.get(name, "not set")
                if then_ != now_:
                    yield Difference(what=f"{what}{name}", then=then_, now=now_)
