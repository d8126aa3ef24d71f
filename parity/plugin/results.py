"""The reports the tests look at: one per input, made when the first test needs it, kept, shared among workers.

Workers of one run (pytest-xdist) share a folder. Per input there is a lock: whoever holds it verifies and leaves the
report; the others take inputs that nobody holds, and wait only for what is left.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from parity.errors import ParityError
from parity.files import write_whole
from parity.isolation import Source
from parity.render.progress import Show
from parity.report import Report
from parity.settings import RunSettings, gathered

DO_NOT_WAIT, WAIT = 0, -1
NEEDED = "needed.json"

Outcome = Report | ParityError
"""What came of verifying an input: its report, or why there is none."""


@dataclass
class Results:
    """The outcomes of one pair's inputs. `shared` is the workers' folder, None in a single process."""

    settings: RunSettings
    source: Source
    shared: Path | None
    showing: Callable[[], AbstractContextManager[Show]]
    _modes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _outcomes: dict[str, Outcome] = field(default_factory=dict)

    def need(self, places: Iterable[tuple[str, str]]) -> None:
        """Say which (input, mode) the selected tests look at; nothing else will be verified."""
        wanted = set(places)
        for given in self.source.inputs:
            modes = tuple(mode for mode in self.source.modes if (given.name, mode) in wanted)
            if modes:
                self._modes[given.name] = modes
        if self.shared:
            write_whole(self.shared / NEEDED, json.dumps(list(self._modes)))

    def obtain(self, names: Sequence[str]) -> None:
        """See to it that there is an outcome for each of the inputs; those that are missing are verified now."""
        for patience in (DO_NOT_WAIT, WAIT):
            for name in names:
                if name not in self._outcomes:
                    self._obtain_one(name, patience)

    def report(self, names: Sequence[str]) -> Report:
        """One report of these inputs. Raises the ParityError of the first that could not be verified."""
        reports = []
        for name in names:
            outcome = self._outcomes[name]
            if isinstance(outcome, ParityError):
                raise outcome
            reports.append(outcome)
        return gathered(reports)

    def finished(self) -> "Finished":
        """What there is so far."""
        return Finished(needed=list(self._modes), outcomes=dict(self._outcomes))

    def _obtain_one(self, name: str, patience: int) -> None:
        if self.shared is None:
            self._verify(name)
            return
        index = [given.name for given in self.source.inputs].index(name)
        with suppress(Timeout), FileLock(self.shared / f"{index}.lock", timeout=patience):
            found = _read(self.shared, index)
            if found:
                self._outcomes[name] = found[1]
                return
            try:
                self._verify(name)
            finally:
                if name in self._outcomes:
                    _write(self.shared, index, name, self._outcomes[name])

    def _verify(self, name: str) -> None:
        try:
            with self.showing() as show, calm():
                self._outcomes[name] = self.source.verify(name, self._modes[name], show)
        except ParityError as error:
            self._outcomes[name] = error
        except (Exception, SystemExit) as error:
            # The test that needed it first shows the traceback; the others only say that there was one.
            sentence = f"verifying input {name} failed with {type(error).__name__}: {error}"
            self._outcomes[name] = ParityError(sentence)
            raise


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a run of tests has to show: the inputs it needed, and what came of those it got to."""

    needed: Sequence[str]
    outcomes: dict[str, Outcome]

    @classmethod
    def of(cls, shared: Path) -> "Finished":
        """What workers left in their folder."""
        found = [_read(shared, int(path.stem)) for path in sorted(shared.glob("*.json")) if path.stem.isdigit()]
        needed = shared / NEEDED
        return cls(
            needed=json.loads(needed.read_text()) if needed.exists() else [],
            outcomes=dict(filter(None, found)),
        )

    def report(self) -> Report | None:
        """One report of everything that was finished, saying what was not; None where nothing was."""
        reports = [self.outcomes[name] for name in self.needed if name in self.outcomes]
        good = [outcome for outcome in reports if isinstance(outcome, Report)]
        return gathered(good, "; ".join(self._missing())) if good else None

    def _missing(self) -> list[str]:
        missing = []
        for name in self.needed:
            outcome = self.outcomes.get(name)
            if outcome is None:
                missing.append(f"{name} was not reached")
            elif isinstance(outcome, ParityError):
                missing.append(f"{name} could not be verified ({outcome})")
        return missing


@contextmanager
def calm() -> Iterator[None]:
    """Within it warnings of the frameworks stay warnings, even where pytest is told to make them errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


def _read(shared: Path, index: int) -> tuple[str, Outcome] | None:
    """The name and outcome of the input of that number, or None while there is none."""
    path = shared / f"{index}.json"
    if not path.exists():
        return None
    kept = json.loads(path.read_text())
    if kept["error"] is not None:
        return kept["name"], ParityError(kept["error"])
    return kept["name"], Report.load(shared / kept["report"])


def _write(shared: Path, index: int, name: str, outcome: Outcome) -> None:
    error, report = None, f"{index}.report"
    if isinstance(outcome, ParityError):
        error = str(outcome)
    else:
        outcome.save(shared / report)
    # Last, since its presence says that the outcome is there.
    write_whole(shared / f"{index}.json", json.dumps({"name": name, "error": error, "report": report}))
