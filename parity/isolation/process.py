"""One process, from its start to its end: asked, listened to, timed, and buried."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity import errors
from parity.errors import ParityError
from parity.isolation.endings import Memory, how_it_ended, last_words, users_line, what_it_raised
from parity.isolation.folder import SOCKET
from parity.isolation.journal import Entry, Finished, Loaded, Progressed, Raised, Reader, Ready, Refused
from parity.isolation.remains import Remains
from parity.isolation.worker import BOTH, IMPORTING, JOURNAL, SHOW_STACKS, STACKS, STDERR, Request
from parity.render.progress import Show
from parity.report import Death, Report
from parity.settings import RunSettings

POLL = 0.02
"""Seconds between two looks at the journal."""
STARTING = 120.0
"""Seconds that starting, and importing engines, may take at least."""
OF_ITSELF = ("INFO: Created TensorFlow Lite",)
"""What lines begin with that TFLite's interpreter writes to stderr whenever it is made."""
LAST_CHANCE = 2.0
"""Seconds that a process has to say where it is, before it is killed."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from parity.isolation.worker import main; "
    "from pathlib import Path; main(Path(sys.argv.pop(1)))"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a process may take: `timeout` seconds for one step, `memory` bytes of address space; None is no limit."""

    timeout: float | None = None
    memory: int | None = None


class DiedError(Exception):
    """The process of that role is gone; this is how."""

    def __init__(self, role: str, death: Death) -> None:
        super().__init__(death.how)
        self.role = role
        self.death = death


class Process:
    """A process with a role. `shared` is the folder in which processes of a pair leave things for each other.

    What it is asked raises DiedError where it dies instead, and what parity raised in it on purpose.
    """

    def __init__(self, role: str, settings: RunSettings, limits: Limits, shared: Path) -> None:
        self.role = role
        self._limits = limits
        self._memory = Memory.now()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{role}-", dir=shared))
        Request(
            role=role, settings=settings, supervisor=os.getpid(), socket=shared / SOCKET, memory=limits.memory
        ).save(self._folder)
        self._reader = Reader(self._folder / JOURNAL)
        self._forwarded = 0
        self._is_ready = False
        with (self._folder / STDERR).open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path), str(self._folder)],
                stdin=subprocess.PIPE,
                stderr=stderr,
                # A group of its own: an interruption at the terminal is the supervisor's to handle, and what the
                # process starts ends with it.
                start_new_session=True,
            )

    def close(self) -> None:
        """End it and leave nothing of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._reader.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ready(self, show: Show) -> Entry:
        """What it says once it can be asked; nothing new, Ready, where it could before."""
        if self._is_ready:
            return Ready()
        answer = self._answer(Remains(), show)
        self._is_ready = True
        return answer

    def ask(self, question: Mapping[str, Any], remains: Remains, show: Show, beside: "Process | None" = None) -> str:
        """The file of its answer; until it is there, `remains` takes what the process writes down.

        The process `beside` it must live as well.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._answer(remains, show, beside)
        assert isinstance(answer, Finished)
        return answer.report

    def report(
        self, question: Mapping[str, Any], remains: Remains, show: Show, beside: "Process | None" = None
    ) -> Report:
        """The report that it answers with."""
        return Report.load(self._folder / self.ask(question, remains, show, beside))

    def _answer(self, remains: Remains, show: Show, beside: "Process | None" = None) -> Entry:
        """Wait for an answer."""
        for entry in self._entries(remains, beside):
            remains.take(entry)
            if isinstance(entry, Progressed):
                show(entry.text, entry.fraction)
            elif isinstance(entry, Raised):
                raise self._gone(remains, what_it_raised(entry.error, entry.message), entry.where, "")
            elif isinstance(entry, Refused):
                raise _error(entry)
            elif isinstance(entry, (Loaded, Ready, Finished)):
                self._forward(show=isinstance(entry, Finished))
                return entry
        raise self._ended(remains)

    def _entries(self, remains: Remains, beside: "Process | None") -> Iterator[Entry]:
        """What the process writes down, until it ends; one that does nothing for too long is ended."""
        heard = time.monotonic()
        while True:
            alive = self._process.poll() is None
            for entry in self._reader.new():
                heard = time.monotonic()
                yield entry
            if not alive:
                return
            if beside and beside._process.poll() is not None:
                for entry in beside._reader.new():
                    remains.take(entry)
                raise beside._ended(remains)
            if time.monotonic() - heard > self._patience(remains):
                raise self._hung(remains)
            time.sleep(POLL)

    def _patience(self, remains: Remains) -> float:
        """Seconds that what is being done may take; starting and importing engines is no step of the pair's."""
        if self._limits.timeout is None:
            return math.inf
        return max(self._limits.timeout, STARTING) if remains.step in ("", IMPORTING) else self._limits.timeout

    def _hung(self, remains: Remains) -> DiedError:
        until = time.monotonic() + LAST_CHANCE
        if remains.step:  # before it says anything, it does not listen either
            self._process.send_signal(SHOW_STACKS)
        while not (where := users_line(self._read(STACKS))) and time.monotonic() < until:
            time.sleep(POLL)
        how = f"did nothing more for {self._limits.timeout:g} seconds, and was ended"
        return self._gone(remains, how, where, self._said())

    def _ended(self, remains: Remains) -> DiedError:
        said = self._said()
        how = how_it_ended(self._process.wait(), self._memory, Memory.now(), said)
        return self._gone(remains, how, users_line(self._read(STACKS)), said)

    def _gone(self, remains: Remains, how: str, where: str, said: str) -> DiedError:
        if self.role != BOTH:
            remains.side = self.role
        return DiedError(self.role, remains.death(how, where, last_words(said)))

    def _read(self, name: str) -> str:
        path = self._folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _forward(self, *, show: bool) -> None:
        """Show what the process has written to stderr since: warnings of the user's code, not what engines say while
        they are imported."""
        said = self._said()
        sys.stderr.write(of_interest(said) if show else "")
        self._forwarded += len(said)

    def _said(self) -> str:
        """What it has written to stderr since that was shown last."""
        return self._read(STDERR)[self._forwarded :]


def of_interest(said: str) -> str:
    """What a process wrote to stderr, without what an engine says of itself each time it is used.

    >>> of_interest("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\nUserWarning: mine\\n")
    'UserWarning: mine\\n'
    """
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith(OF_ITSELF))


def _error(refused: Refused) -> ParityError:
    kind = getattr(errors, refused.error, ParityError)
    error: ParityError = kind(refused.message)
    return error
