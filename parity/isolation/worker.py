"""The process that a pair has to itself: it loads the pair, verifies what it is asked for, and writes down every step.

A folder has the request; the journal, the stacks and the reports go there. What to verify comes as a line on stdin, and
with the end of stdin, which is the end of the supervising process as well, this one ends.
"""

import faulthandler
import importlib
import json
import os
import pickle
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from parity.errors import ParityError
from parity.isolation.endings import users_line
from parity.isolation.journal import Described, Finished, Journal, Loaded, Progressed, Raised, Refused
from parity.settings import RunSettings, size_of
from parity.watch import Step, listening, tell

if TYPE_CHECKING:
    from parity.pair import Input, Pair

REQUEST, JOURNAL, STACKS, STDERR = "request", "journal", "stacks", "stderr"
"""The files of the folder."""
SHOW_STACKS = signal.SIGUSR1
"""On this signal the process writes down where it is."""
FAILED = 70
"""The exit code after an exception that nobody raised on purpose."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the process is started for. `memory` is the most address space it may have, in bytes."""

    settings: RunSettings
    supervisor: int
    memory: int | None = None

    def save(self, folder: Path) -> None:
        """Leave it where the process looks for it."""
        (folder / REQUEST).write_bytes(pickle.dumps(self))


def main(folder: Path) -> None:
    """Load the pair and verify what comes on stdin, until it ends."""
    journal = Journal(folder / JOURNAL)
    stacks = (folder / STACKS).open("w")
    faulthandler.enable(stacks)
    faulthandler.register(SHOW_STACKS, stacks)
    request: Request = pickle.loads((folder / REQUEST).read_bytes())
    asked = _questions(request.supervisor)
    if request.memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request.memory, request.memory))
    try:
        with listening(journal.write):
            Worker(journal, folder, request.settings).serve(asked)
    except BaseException as error:
        journal.write(_raised(error))
        os._exit(FAILED)


class Worker:
    """Answers questions about one pair, one after another."""

    def __init__(self, journal: Journal, folder: Path, settings: RunSettings) -> None:
        self._journal = journal
        self._folder = folder
        self._settings = settings
        self._answered = 0

    def serve(self, asked: "SimpleQueue[str]") -> None:
        """Load the pair, then verify each input that is asked for; an error of parity's is an answer too."""
        try:
            self._load()
        except ParityError as error:
            self._journal.write(Refused(error=type(error).__name__, message=str(error)))
            return
        while question := asked.get():
            what = json.loads(question)
            try:
                self._verify(what["input"], tuple(what["modes"]))
            except ParityError as error:
                self._journal.write(Refused(error=type(error).__name__, message=str(error)))

    def _load(self) -> None:
        from parity.models import load

        tell(Step(side="", doing="importing the engines"))
        importlib.import_module("parity.frameworks")
        tell(Step(side="", doing=f"loading {self._settings.name}"))
        self._pair, self._inputs = load(self._settings.name, self._settings.settings)
        tell(Step(side="", doing="making the pair ready to run"))
        self._verifier = self._settings.verifier(self._pair)
        self._journal.write(_loaded(self._settings, self._verifier.pair, self._inputs))

    def _verify(self, name: str, modes: tuple[str, ...]) -> None:
        given = next(each for each in self._inputs if each.name == name)
        settings = replace(self._settings, modes=modes)
        report = settings.verify(self._verifier, given, self._inputs, self._show)
        self._answered += 1
        file = f"{self._answered}.json"
        report.save(self._folder / file)
        self._journal.write(Finished(report=file))

    def _show(self, text: str, fraction: float) -> None:
        self._journal.write(Progressed(text=text, fraction=fraction))


def _loaded(settings: RunSettings, pair: "Pair", inputs: "Sequence[Input]") -> Loaded:
    from parity.examination import environment
    from parity.runners.taps import weighted_layers

    return Loaded(
        pair=pair.name,
        inputs=tuple(Described(name=given.name, size=size_of(given)) for given in inputs),
        weighted=weighted_layers(pair.reference),
        environment=environment(),
        settings=settings.on_record(inputs),
    )


def _raised(error: BaseException) -> Raised:
    written = "".join(traceback.format_exception(error))
    stack = "".join(
        f'  File "{frame.filename}", line {frame.lineno} in {frame.name}\n'
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    return Raised(error=type(error).__name__, message=str(error), where=users_line(stack), traceback=written)


def _questions(supervisor: int) -> "SimpleQueue[str]":
    """The lines of stdin, as they come; when it ends, so does the process, whatever it is doing."""
    _die_with_parent(supervisor)
    lines: SimpleQueue[str] = SimpleQueue()
    stream = os.fdopen(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # code of the user's that reads stdin must not take the questions

    def read() -> None:
        for line in stream:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _die_with_parent(supervisor: int) -> None:
    """Ask the kernel to end this process when the one that started it ends; Linux only, the rest goes by stdin."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(0)
