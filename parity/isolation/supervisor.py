"""Starts the process of a pair, asks it for one input after another, and notices how it ends.

A process that dies is not asked again for the mode in which it died: another one is started for what is left, and after
MOST_DEATHS of them no more. Whatever was found by then is in the reports.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from parity import errors
from parity.errors import ParityError
from parity.isolation.endings import Memory, how_it_ended, last_words, plain, users_line
from parity.isolation.journal import Described, Entry, Finished, Loaded, Progressed, Raised, Reader, Refused
from parity.isolation.remains import Remains, combined, nothing_but
from parity.isolation.worker import JOURNAL, SHOW_STACKS, STACKS, STDERR, Request
from parity.render.progress import Show, silent
from parity.report import Death, Report
from parity.settings import RunSettings

MOST_DEATHS = 3
"""After so many deaths no further process is started."""
POLL = 0.02
"""Seconds between two looks at the journal."""
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


class ProcessDiedError(ParityError):
    """A process has died before there was a pair to report on, or too many have."""

    def __init__(self, message: str, death: Death | None = None) -> None:
        super().__init__(message)
        self.death = death

    def report(self, pair: str, settings: Mapping[str, str]) -> Report:
        """The report that says so; `settings` is what it records of them."""
        assert self.death is not None
        return nothing_but(pair, self.death, settings)


class _DiedError(Exception):
    """The process is gone; this is how."""

    def __init__(self, death: Death) -> None:
        super().__init__(death.how)
        self.death = death


class Isolated:
    """A pair in a process of its own; the process lives until `close`, or the end of a `with` block.

    `load` and `verify` raise what the same would raise in this process, where parity raises it on purpose.
    """

    def __init__(self, settings: RunSettings, limits: Limits | None = None) -> None:
        self._settings = settings
        self._limits = limits or Limits()
        self._process: _Process | None = None
        self._loaded: Loaded | None = None
        self._deaths = 0

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process:
            self._process.close()
        self._process = None

    @property
    def pair(self) -> str:
        """The pair's name."""
        return self._known().pair

    @property
    def inputs(self) -> Sequence[Described]:
        """Its inputs."""
        return self._known().inputs

    @property
    def weighted(self) -> Sequence[str]:
        """The reference's layers with weights, in order of registration."""
        return self._known().weighted

    def _known(self) -> Loaded:
        return self._loaded or self.load()

    def load(self, show: Show = silent) -> Loaded:
        """What the pair is called, and its inputs. Raises ProcessDiedError where making it ends the process."""
        if self._process is None:
            self._process = _Process(self._settings, self._limits)
            try:
                self._loaded = self._process.loaded(show)
            except _DiedError as died:
                self._died()
                raise ProcessDiedError(_sentence(died.death), died.death) from None
            except BaseException:
                self.close()
                raise
        assert self._loaded is not None
        return self._loaded

    def verify(self, name: str, modes: Sequence[str], show: Show = silent) -> Report:
        """The report of one input, with the deaths of all processes that were needed for it.

        Raises ProcessDiedError, without asking, where too many processes have died already.
        """
        if self._deaths >= MOST_DEATHS:
            raise ProcessDiedError(f"{self._deaths} processes of the pair have died; no other was started")
        attempts = [self._attempt(name, modes, show)]
        left = list(modes)
        while (deaths := attempts[-1].deaths) and deaths[0].mode in left and self._deaths < MOST_DEATHS:
            left.remove(deaths[0].mode)
            if not left:
                break
            try:
                attempts.append(self._attempt(name, left, show))
            except ProcessDiedError as error:  # another one does not even start
                attempts.append(error.report(self.pair, self._known().settings))
            except ParityError:
                break
        return combined(attempts, modes)

    def _attempt(self, name: str, modes: Sequence[str], show: Show) -> Report:
        loaded = self.load(show)
        assert self._process is not None
        remains = Remains(input=name)
        try:
            return self._process.report(name, modes, remains, show)
        except _DiedError as died:
            self._died()
            return remains.report(loaded, modes, died.death)

    def _died(self) -> None:
        self._deaths += 1
        self.close()


class _Process:
    """One process, from its start to its end; its folder is gone with it."""

    def __init__(self, settings: RunSettings, limits: Limits) -> None:
        self._limits = limits
        self._memory = Memory.now()
        self._folder = Path(tempfile.mkdtemp(prefix="parity-"))
        Request(settings=settings, supervisor=os.getpid(), memory=limits.memory).save(self._folder)
        self._reader = Reader(self._folder / JOURNAL)
        self._forwarded = 0
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

    def loaded(self, show: Show) -> Loaded:
        """What it has loaded."""
        answer = self._answer(Remains(), show)
        assert isinstance(answer, Loaded)
        return answer

    def report(self, name: str, modes: Sequence[str], remains: Remains, show: Show) -> Report:
        """Its report of an input; until it is there, `remains` takes what the process writes down."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"input": name, "modes": list(modes)}).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._answer(remains, show)
        assert isinstance(answer, Finished)
        return Report.load(self._folder / answer.report)

    def _answer(self, remains: Remains, show: Show) -> Entry:
        """Wait for an answer. Raises _DiedError where there will be none, or what parity raised in the process."""
        for entry in self._entries(remains):
            remains.take(entry)
            if isinstance(entry, Progressed):
                show(entry.text, entry.fraction)
            elif isinstance(entry, Raised):
                words = f"raised {entry.error}: {' '.join(plain(entry.message).split())}"
                raise _DiedError(remains.death(words, entry.where, last_words(entry.traceback)))
            elif isinstance(entry, Refused):
                raise _error(entry)
            elif isinstance(entry, (Loaded, Finished)):
                self._forward()
                return entry
        raise _DiedError(self._death(remains))

    def _entries(self, remains: Remains) -> Iterator[Entry]:
        """What the process writes down, until it ends; one that does nothing for too long is ended."""
        heard = time.monotonic()
        while True:
            alive = self._process.poll() is None
            for entry in self._reader.new():
                heard = time.monotonic()
                yield entry
            if not alive:
                return
            if self._limits.timeout is not None and time.monotonic() - heard > self._limits.timeout:
                raise _DiedError(self._hung(remains))
            time.sleep(POLL)

    def _hung(self, remains: Remains) -> Death:
        self._process.send_signal(SHOW_STACKS)
        until = time.monotonic() + LAST_CHANCE
        while not (where := users_line(self._read(STACKS))) and time.monotonic() < until:
            time.sleep(POLL)
        how = f"did nothing more for {self._limits.timeout:g} seconds, and was ended"
        return remains.death(how, where, last_words(self._read(STDERR)))

    def _death(self, remains: Remains) -> Death:
        said = self._read(STDERR)
        how = how_it_ended(self._process.wait(), self._memory, Memory.now(), said)
        return remains.death(how, users_line(self._read(STACKS)), last_words(said))

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8", errors="replace")

    def _forward(self) -> None:
        """Show what the process has written to stderr since: warnings of the user's code, for example."""
        said = self._read(STDERR)
        sys.stderr.write(said[self._forwarded :])
        self._forwarded = len(said)


def _error(refused: Refused) -> ParityError:
    kind = getattr(errors, refused.error, ParityError)
    error: ParityError = kind(refused.message)
    return error


def _sentence(death: Death) -> str:
    where = f" ({death.where})" if death.where else ""
    words = f"; its last words: {death.last_words[-1]}" if death.last_words else ""
    return f"the process of the pair {death.how} while {death.doing}{where}{words}"
