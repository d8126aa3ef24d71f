"""Starts the process of a pair, asks it for one input after another, and notices how it ends.

A process that dies is not asked again for the mode in which it died: another one is started for what is left, and after
MOST_DEATHS of them no more. Whatever was found by then is in the reports.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from parity.errors import ParityError, RecordingError, UsageError
from parity.isolation.folder import new_folder
from parity.isolation.journal import Described, Loaded
from parity.isolation.process import DiedError, Limits, Process
from parity.isolation.remains import Remains, combined, nothing_but
from parity.isolation.worker import BOTH
from parity.render.progress import Show, part, silent
from parity.report import Death, Report
from parity.settings import RunSettings
from parity.watch import PORT, REFERENCE

MOST_DEATHS = 3
"""After so many deaths no further process is started."""
NO_SPACE = "No space left"
GRADIENTS = "both sides in one process: gradients need the reference at hand"


class ProcessDiedError(ParityError):
    """A process has died before there was a pair to report on, or too many have."""

    def __init__(self, message: str, death: Death | None = None) -> None:
        super().__init__(message)
        self.death = death

    def report(self, pair: str, settings: Mapping[str, str]) -> Report:
        """The report that says so; `settings` is what it records of them."""
        assert self.death is not None
        return nothing_but(pair, self.death, settings)


class Isolated:
    """A pair in processes of its own, which live until `close`, or the end of a `with` block.

    Each side has its own process where the pair says how to make each; else both share one. `load` and `verify` raise
    what the same would raise in this process, where parity raises it on purpose.
    """

    def __init__(self, settings: RunSettings, limits: Limits | None = None) -> None:
        self._settings = settings
        self._limits = limits or Limits()
        self._folder: Path | None = None
        self._processes: dict[str, Process] = {}
        self._loaded: Loaded | None = None
        self._spill: Path | None = None
        self._together = GRADIENTS if settings.gradients else ""
        self._proven = False
        self._recordings = 0
        self._deaths = 0

    def __enter__(self) -> "Isolated":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, whatever they are doing, and leave nothing of them."""
        for process in self._processes.values():
            process.close()
        self._processes = {}
        for folder in filter(None, (self._folder, self._spill)):
            shutil.rmtree(folder, ignore_errors=True)
        self._folder = self._spill = None

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

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes in which it is run."""
        return self._known().modes

    @property
    def weights(self) -> str:
        """SHA-256 of the reference's weights, "" where that was not asked for."""
        return self._known().weights

    def _known(self) -> Loaded:
        return self._loaded or self.load()

    def load(self, show: Show = silent) -> Loaded:
        """What the pair is called, and its inputs. Raises ProcessDiedError where making it ends a process."""
        try:
            if not self._together:
                self._load_apart(show)
            if self._together:
                self._load_together(show)
        except DiedError as died:
            self._died(died)
            raise ProcessDiedError(_sentence(died.death), died.death) from None
        except BaseException:
            self.close()
            raise
        return self._known()

    def _load_apart(self, show: Show) -> None:
        """Start what is not running of both processes. Where they cannot be had, `_together` says why."""
        try:
            for role in (REFERENCE, PORT):  # both at once: importing an engine takes seconds
                self._start(role)
            for role in (REFERENCE, PORT):
                answer = self._processes[role].ready(show)
                self._loaded = answer if isinstance(answer, Loaded) else self._loaded
        except UsageError:
            raise
        except ParityError as error:
            self._give_up_apart(error)

    def _give_up_apart(self, error: ParityError) -> None:
        """From now on both sides share one process: the first try with two has failed, and this is why."""
        self.close()
        self._together = f"both sides in one process: {error}"

    def _load_together(self, show: Show) -> None:
        self._start(BOTH)
        answer = self._processes[BOTH].ready(show)
        self._loaded = answer if isinstance(answer, Loaded) else self._loaded

    def _start(self, role: str) -> None:
        if role not in self._processes:
            self._folder = self._folder or new_folder()
            self._processes[role] = Process(role, self._settings, self._limits, self._folder)

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
                attempts.append(error.report(self.pair, self._on_record()))
            except ParityError:
                break
        return combined(attempts, modes)

    def _attempt(self, name: str, modes: Sequence[str], show: Show) -> Report:
        self.load(show)
        remains = Remains(input=name)
        try:
            if self._together:
                report = self._processes[BOTH].report({"input": name, "modes": list(modes)}, remains, show)
                return replace(report, settings={**report.settings, **self._on_record()})
            report = self._attempt_apart(name, modes, remains, show)
            self._proven = True
            return report
        except DiedError as died:
            self._died(died)
            return remains.report(replace(self._known(), settings=self._on_record()), modes, died.death)
        except UsageError:
            raise
        except ParityError as error:
            if self._together or self._proven:
                raise
            self._give_up_apart(error)
            return self._attempt(name, modes, show)

    def _attempt_apart(self, name: str, modes: Sequence[str], remains: Remains, show: Show) -> Report:
        reference, port = self._processes[REFERENCE], self._processes[PORT]
        path = self._recorded(name, remains, part(show, 0, 2))
        question = {"recording": str(path), "modes": list(modes), "settings": self._on_record()}
        return port.report(question, remains, part(show, 1, 2), beside=reference)

    def _recorded(self, name: str, remains: Remains, show: Show) -> Path:
        """The recording of an input's run: in memory, or where there is not enough of it, in a temporary folder."""
        self._recordings += 1
        file = f"{self._recordings}.recording"
        assert self._folder is not None
        if not self._spill:
            try:
                return self._record(name, self._folder / file, remains, show)
            except RecordingError as error:
                if NO_SPACE not in str(error):
                    raise
                self._spill = new_folder(Path(tempfile.gettempdir()))
        return self._record(name, self._spill / file, remains, show)

    def _record(self, name: str, path: Path, remains: Remains, show: Show) -> Path:
        self._processes[REFERENCE].ask({"input": name, "to": str(path)}, remains, show)
        return path

    def _on_record(self) -> dict[str, str]:
        spilt = f", by way of {self._spill.parent} for want of shared memory" if self._spill else ""
        how = self._together or f"each side in a process of its own{spilt}"
        return {**self._known().settings, "isolated": how}

    def _died(self, died: DiedError) -> None:
        self._deaths += 1
        self._processes.pop(died.role).close()


def _sentence(death: Death) -> str:
    where = f" ({death.where})" if death.where else ""
    words = f"; its last words: {death.last_words[-1]}" if death.last_words else ""
    return f"the process of the pair {death.how} while {death.doing}{where}{words}"
