"""Which tests a command line names, where they are in no file: ids as pytest prints them, and folders to be in."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parity.errors import ParityError, UsageError


def in_place_of_files(
    session: pytest.Session, collector: Callable[[], pytest.Collector], *, is_worker: bool
) -> pytest.CollectReport:
    """The report of a session that holds one collector alone. Raises pytest.UsageError for a ParityError of its making,
    but in a worker, where the report says it."""
    try:
        return pytest.CollectReport(session.nodeid, "passed", None, [collector()])
    except ParityError as error:
        if not is_worker:
            raise pytest.UsageError(str(error)) from None
        return pytest.CollectReport(session.nodeid, "failed", str(error), [])


@dataclass
class Asked:
    """The ids asked for of the tests of `model`; none for all of them."""

    config: pytest.Config
    model: str
    ids: list[str] = field(default_factory=list)

    @property
    def listed_by(self) -> str:
        """The command that lists what there is."""
        return f"pytest --model {self.model} --co -q"

    def hide_paths(self) -> None:
        """Have pytest's header not announce test paths that nothing is collected from."""
        if self.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
            self.config.args_source = pytest.Config.ArgsSource.INVOCATION_DIR

    def take(self) -> None:
        """Take the ids from the command line, and leave pytest nothing of its own to collect, whatever folder it is in.

        Raises pytest.UsageError for files.
        """
        if self.config.args_source is pytest.Config.ArgsSource.ARGS:
            self.ids = [arg for arg in self.config.args if not self._is_folder(arg)]
            for arg in self.ids:
                if "::" not in arg:
                    raise pytest.UsageError(self._cannot_be_run(arg))
        self.config.args = []

    def of(self, title: str) -> list[str]:
        """The ids asked for, of tests whose ids begin with `title`. Raises UsageError for others."""
        return [self._wanted(arg, title) for arg in self.ids]

    def _wanted(self, arg: str, title: str) -> str:
        path, _, rest = arg.partition("::")
        # In a folder below the root pytest prints ids with ../ before them.
        if Path(path).name == title:
            return f"{title}::{rest}"
        raise UsageError(self._cannot_be_run(arg))

    def _is_folder(self, arg: str) -> bool:
        """Whether an argument only says where to be."""
        return "::" not in arg and (self.config.invocation_params.dir / arg).is_dir()

    def _cannot_be_run(self, arg: str) -> str:
        return f"{arg} cannot be run with --model {self.model}; what can is listed by {self.listed_by}"


def chosen(tests: Iterable[pytest.Item], ids: Sequence[str], listed_by: str) -> list[pytest.Item]:
    """The tests that the ids ask for; all without one. Raises UsageError where one of them is no test's."""
    tests = list(tests)
    for wanted in ids:
        if not any(_asks_for(wanted, test.nodeid) for test in tests):
            raise UsageError(f"not found: {wanted}; {listed_by} lists what there is")
    return [test for test in tests if not ids or any(_asks_for(each, test.nodeid) for each in ids)]


def _asks_for(wanted: str, nodeid: str) -> bool:
    return nodeid == wanted or nodeid.startswith((f"{wanted}[", f"{wanted}::"))
