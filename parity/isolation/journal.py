"""What a process writes down while it works: one JSON object a line, in the file before the step it tells of begins.

A file and not a pipe: it is there when its writer is gone, whatever took it down, and however much was in it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from parity.watch import Begun, Ended, Event, Judged, Step


@dataclass(frozen=True, kw_only=True)
class Described:
    """An input as it is listed: its name, its size in words, and where that was asked for the SHA-256 of its arrays."""

    name: str
    size: str
    digest: str = ""
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The pair is there: its name, its inputs, its layers with weights, and what a report of it records.

    `weights` is the SHA-256 of the reference's, where that was asked for; `modes` are those that it will be run in.
    """

    pair: str
    inputs: tuple[Described, ...]
    weighted: tuple[str, ...]
    environment: Mapping[str, str]
    settings: Mapping[str, str]
    weights: str = ""
    modes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The process can be asked."""


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """A part of the work begins, with the fraction of the whole that is done."""

    text: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What was asked for is done; the report is in the file of that name."""

    report: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What was asked for ended in an error that parity raises on purpose."""

    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Raised:
    """What was asked for ended in an error that nobody raised on purpose; the process ends with it."""

    error: str
    message: str
    where: str
    traceback: str


Entry = Event | Loaded | Ready | Progressed | Finished | Refused | Raised
_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (Step, Begun, Judged, Ended, Loaded, Ready, Progressed, Finished, Refused, Raised)
}


_BLOCK = 1 << 20


class Journal:
    """The writing end. Each entry is one write to the end of the file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, entry: Entry) -> None:
        """Write an entry down; it is in the file when this returns."""
        kind = type(entry).__name__
        os.write(self._file, b'["%s",%s]\n' % (kind.encode(), _ADAPTERS[kind].dump_json(entry)))


class Reader:
    """The reading end: every entry once."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._half = b""

    def new(self) -> Iterator[Entry]:
        """The entries that were written since this was asked last. A line without its end waits for it."""
        written = self._half
        while more := os.read(self._file, _BLOCK):
            written += more
        *lines, self._half = written.split(b"\n")
        return map(entry_of, lines)

    def close(self) -> None:
        """Read no more."""
        os.close(self._file)


def entry_of(line: bytes) -> Entry:
    """The entry that a line holds."""
    name, what = json.loads(line)
    entry: Entry = _ADAPTERS[name].validate_python(what)
    return entry
