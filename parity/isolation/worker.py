"""A process that does a part of a verification, and writes down every step before it begins.

A folder has the request; the journal, the stacks and the reports go there. What to do comes as lines on stdin; with
the end of stdin, which comes with the end of the supervising process, this one ends.

BOTH        has the pair and verifies its inputs
REFERENCE   has the reference, records its runs, and makes its calls again for the port's process
PORT        has the port, and verifies it against what the reference's process has recorded
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from parity.errors import ParityError
from parity.isolation.endings import users_line
from parity.isolation.journal import Finished, Journal, Loaded, Progressed, Raised, Ready, Refused
from parity.report import Report
from parity.settings import RunSettings
from parity.switches import keep_stderr, leave_out
from parity.watch import PORT, REFERENCE, Step, listening, tell

if TYPE_CHECKING:
    from parity.isolation.relay import Asked, RelayedReference
    from parity.pairs import Input, Pair
    from parity.verification import Verifier

REQUEST, JOURNAL, STACKS, STDERR = "request", "journal", "stacks", "stderr"
"""The files of the folder."""
BOTH = "both"
IMPORTING = "importing the engines"
NEEDLESS = {REFERENCE: "tensorflow", PORT: "torch"}
"""The engine that a process does without."""
SHOW_STACKS = signal.SIGUSR1
"""On this signal the process writes down where it is."""
FAILED = 70
"""The exit code after an exception that nobody raised on purpose."""

Question = Mapping[str, Any]
Questions = SimpleQueue[Any]
"""What is to be done, in order: lines of JSON, and calls that the port's process asks for."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the process is started for. `memory` is the most address space it may have, in bytes; `socket` is where the
    port's process asks the reference's."""

    role: str
    settings: RunSettings
    supervisor: int
    socket: Path
    memory: int | None = None

    def save(self, folder: Path) -> None:
        """Leave it where the process looks for it."""
        (folder / REQUEST).write_bytes(pickle.dumps(self))


def main(folder: Path) -> None:
    """Do what comes on stdin, until it ends."""
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
            WORKERS[request.role](journal, folder, request, asked).serve()
    except BaseException as error:
        journal.write(_raised(error))
        os._exit(FAILED)


class Worker:
    """What all processes do: get ready, then answer questions; an error of parity's is an answer too."""

    def __init__(self, journal: Journal, folder: Path, request: Request, asked: Questions) -> None:
        self.journal = journal
        self.folder = folder
        self.request = request
        self.settings = request.settings
        self.asked = asked
        self._answered = 0

    def serve(self) -> None:
        """Get ready, then answer one question after another."""
        try:
            self.prepare()
        except ParityError as error:
            self._refuse(error)
            return
        while True:
            question = self.question()
            try:
                self.journal.write(Finished(report=self.answer(question)))
            except ParityError as error:
                self._refuse(error)

    def prepare(self) -> None:
        """Import the engines that are needed; say what there is."""
        keep_stderr()
        needless = NEEDLESS.get(self.request.role)
        if needless:
            leave_out(needless)
        tell(Step(side="", doing=IMPORTING))
        importlib.import_module("parity.frameworks")

    def question(self) -> Question:
        """The next question."""
        asked: Question = self.asked.get()
        return asked

    def answer(self, question: Question) -> str:
        """Do what is asked; the file that has the answer."""
        raise NotImplementedError

    def load(self, **changes: Any) -> "tuple[Pair, list[Input]]":
        """The pair and its inputs, with some settings changed."""
        from parity.models import load

        tell(Step(side="", doing=f"loading {self.settings.name}"))
        return load(self.settings.name, replace(self.settings.settings, **changes))

    def say_loaded(self, pair: "Pair", inputs: "Sequence[Input]", reference: Any) -> None:
        """Write down what was loaded."""
        from parity.artifacts.shipped import modes_of
        from parity.examination import environment
        from parity.isolation.digests import described, digest_of_weights
        from parity.runners.taps import weighted_layers

        audited = self.settings.audited

        self.journal.write(
            Loaded(
                pair=pair.name,
                inputs=tuple(described(given, audited=audited) for given in inputs),
                weighted=weighted_layers(reference),
                weights=digest_of_weights(reference) if audited else "",
                environment=environment(),
                settings=self.settings.on_record(inputs),
                modes=modes_of(pair.port, self.settings.modes),
            )
        )

    def keep(self, report: Report) -> str:
        """The file in which a report is kept."""
        self._answered += 1
        file = f"{self._answered}.json"
        report.save(self.folder / file)
        return file

    def show(self, text: str, fraction: float) -> None:
        """Write down how far the work is."""
        self.journal.write(Progressed(text=text, fraction=fraction))

    def _refuse(self, error: ParityError) -> None:
        self.journal.write(Refused(error=type(error).__name__, message=str(error)))


class BothWorker(Worker):
    """Has both sides."""

    def prepare(self) -> None:
        """Load the pair."""
        super().prepare()
        pair, self._inputs = self.load()
        tell(Step(side="", doing="making the pair ready to run"))
        self._verifier = self.settings.verifier(pair)
        self.say_loaded(pair, self._inputs, self._verifier.pair.reference)

    def answer(self, question: Question) -> str:
        """Verify an input in some modes."""
        given = next(each for each in self._inputs if each.name == question["input"])
        settings = replace(self.settings, modes=tuple(question["modes"]))
        return self.keep(settings.verify(self._verifier, given, self._inputs, self.show))


class ReferenceWorker(Worker):
    """Has the reference."""

    def prepare(self) -> None:
        """Build the reference, and the inputs."""
        from parity.isolation.relay import listen
        from parity.lookup import resolved
        from parity.runners.torch_module import TorchModule

        super().prepare()
        pair, self._inputs = self.load()
        if not _is_built_later(pair.port):
            if pair.port is None:
                raise NotApartError(
                    "its inputs are made from what the port takes; with inputs of its own it can be apart"
                )
            raise NotApartError("its port is there with the pair; to be apart it has to be a function, or module:attr")
        tell(Step(side=REFERENCE, doing="building the reference"))
        self._pair = replace(pair, reference=resolved(pair.reference, f"the reference of {pair.name}"))
        self._reference = TorchModule(self._pair.reference)
        listen(self.request.socket, self.asked.put)
        self.say_loaded(pair, self._inputs, self._pair.reference)

    def question(self) -> Question:
        """The next question; calls that come before it are made."""
        while not isinstance(what := self.asked.get(), dict):
            self._again(what)
        return what

    def answer(self, question: Question) -> str:
        """Record an input's run."""
        from parity.isolation.relay import record

        given = next(each for each in self._inputs if each.name == question["input"])
        tell(Step(side=REFERENCE, doing="running it for the port to be held against"))
        record(self._reference, self._pair, given, Path(question["to"]), self.show)
        self._given = given
        return str(question["to"])

    def _again(self, asked: "Asked") -> None:
        tell(Step(side=REFERENCE, doing=f"running {asked.tap!r} again, on other values"))
        try:
            asked.answer(self._reference.calls(self._given)[asked.tap].on_arrays(asked.values))
        except Exception as error:  # a call that does not take the values is for the port's process to hear of
            asked.answer(f"{asked.tap} of the reference cannot be run again: {error}")


class PortWorker(Worker):
    """Has the port. What it is held against comes with the first question."""

    def prepare(self) -> None:
        """Import the engine; the port is built for the inputs, which come later."""
        super().prepare()
        self._verifier: Verifier | None = None
        self._reference: RelayedReference | None = None
        self.journal.write(Ready())

    def answer(self, question: Question) -> str:
        """Verify a recorded input in some modes."""
        verifier, reference = self._turned_to(Path(question["recording"]))
        (given,) = reference.inputs
        report = verifier.report(given, tuple(question["modes"]), self.show)
        return self.keep(replace(report, settings={**report.settings, **question["settings"]}))

    def _turned_to(self, recording: Path) -> "tuple[Verifier, RelayedReference]":
        from parity.isolation.relay import RelayedReference

        if self._verifier is None or self._reference is None:
            self._reference = RelayedReference(recording, self.request.socket)
            pair, _ = self.load(recorded=tuple(self._reference.inputs))
            tell(Step(side=PORT, doing="building the port"))
            self._verifier = self.settings.verifier(replace(pair, reference=self._reference))
        else:
            self._reference.turn_to(recording)
        return self._verifier, self._reference


WORKERS = {BOTH: BothWorker, REFERENCE: ReferenceWorker, PORT: PortWorker}


class NotApartError(ParityError):
    """The sides of a pair cannot be had apart."""


def _is_built_later(side: Any) -> bool:
    """Whether a side of a pair is not there yet: a builder, or where to find it."""
    from parity.artifacts.shipped import Shipped
    from parity.lookup import builds

    return isinstance(side, (str, Path, Shipped)) or builds(side)


def _raised(error: BaseException) -> Raised:
    written = "".join(traceback.format_exception(error))
    stack = "".join(
        f'  File "{frame.filename}", line {frame.lineno} in {frame.name}\n'
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    return Raised(error=type(error).__name__, message=str(error), where=users_line(stack), traceback=written)


def _questions(supervisor: int) -> Questions:
    """The lines of stdin, as they come; when it ends, so does the process, whatever it is doing."""
    _die_with_parent(supervisor)
    questions: Questions = SimpleQueue()
    stream = os.fdopen(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # code of the user's that reads stdin must not take the questions

    def read() -> None:
        for line in stream:
            questions.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return questions


def _die_with_parent(supervisor: int) -> None:
    """Ask the kernel to end this process when the one that started it ends; Linux only, the rest goes by stdin."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(0)
