"""What each run of a pair came to, one line a run in a file beside its report: how errors move from release to release.

A line is small (a verdict, versions, and for each layer its worst error in floors), so that the file can be kept for
years, and in version control. A line that cannot be read is passed over: a run that was cut off must not end history.

An error is another one on another input, of another size, in another mode or by other weights. So each line says on
what it was, and only runs on the same are held against each other.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from parity.errors import ReportFolderError
from parity.report import LayerResult, Report

HISTORY_FILE = "history.jsonl"
KEPT = 400
"""A chart shows so many runs, the last ones."""
VERSIONS = ("torch", "tensorflow", "keras")
CONDITIONS = ("inputs", "format", "weights", "policy")
"""The settings that an error depends on, beside the runs themselves. The port is not one: it is what changes."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """One run of a pair. `time` is ISO 8601 in UTC; `errors` are in floors, infinity for what is no number.

    `on` is what they were measured on: which inputs in which modes, and `CONDITIONS`; empty where that is not known.
    """

    time: str
    verdict: str
    errors: Mapping[str, float]
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    first: str = ""
    on: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, report: Report, time: datetime | None = None) -> "Past":
        """What is kept of a report; the time is now."""
        errors: dict[str, float] = {}
        for run in report.runs:
            for layer in run.layers:
                errors[layer.layer] = max(errors.get(layer.layer, 0.0), _floors(layer))
        return cls(
            time=(time or datetime.now(UTC)).isoformat(timespec="seconds"),
            verdict=report.verdict,
            errors=errors,
            versions={name: report.environment[name] for name in VERSIONS if name in report.environment},
            command=report.settings.get("command", ""),
            first=report.first_divergence.layer if report.first_divergence else "",
            on=_measured_on(report),
        )

    def line(self) -> str:
        """The run as a line of JSON; three digits of each error are kept."""
        errors = {
            name: str(error) if math.isinf(error) else float(f"{error:.3g}") for name, error in self.errors.items()
        }
        return json.dumps({**vars(self), "errors": errors}, ensure_ascii=False)


def _measured_on(report: Report) -> dict[str, str]:
    """Not what was asked for but what was run: an interruption, or a choice of tests, leaves some of it out."""
    runs = sorted(f"{run.input} ({run.mode})" for run in report.runs)
    conditions = {name: report.settings[name] for name in CONDITIONS if report.settings.get(name)}
    modes = ", ".join(dict.fromkeys(run.mode for run in report.runs))
    return {"runs": ", ".join(runs), "modes": modes, **conditions} if runs else {}


def alike(history: Sequence[Past], report: Report) -> list[Past]:
    """Those runs of a history whose errors may be held against the report's: they are of the same runs, under the same
    conditions."""
    on = _measured_on(report)
    return [past for past in history if on and past.on == on]


def _floors(layer: LayerResult) -> float:
    measure = layer.introduced or layer.propagated
    return measure.floors if measure else 0.0


def remember(report: Report, folder: Path) -> Path:
    """Add a line for the report to the history in `folder`. Raises ReportFolderError if that cannot be written."""
    path = folder / HISTORY_FILE
    line = (Past.of(report).line() + "\n").encode()
    try:
        # One write, at the end whatever others have added meanwhile: runs at the same time do not mix their lines.
        with path.open("ab+", buffering=0) as stream:
            stream.write(line if _is_whole(stream) else b"\n" + line)
    except OSError as error:
        raise ReportFolderError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _is_whole(stream: IO[bytes]) -> bool:
    """Whether a file ends with the end of a line; a run that was cut off may have left a part of one."""
    if not stream.seek(0, os.SEEK_END):
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def recall(folder: Path) -> list[Past]:
    """The last runs that the history in `folder` has, the oldest first; none where there is none."""
    try:
        text = (folder / HISTORY_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    # Not splitlines: a name may hold one of the other signs that end a line for it.
    return [past for past in map(_read, text.rstrip("\n").split("\n")[-KEPT:]) if past]


def _read(line: str) -> Past | None:
    try:
        found: dict[str, Any] = json.loads(line)
        errors = {str(name): float(error) for name, error in found["errors"].items()}
        return Past(
            time=str(found["time"]),
            verdict=str(found["verdict"]),
            errors=errors,
            versions={str(name): str(version) for name, version in found.get("versions", {}).items()},
            command=str(found.get("command", "")),
            first=str(found.get("first", "")),
            on={str(name): str(words) for name, words in found.get("on", {}).items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
