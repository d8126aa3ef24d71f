"""However a process ends, whoever started it learns how, and nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stub_worker import START

from parity.isolation import process
from parity.isolation.process import DiedError, Limits, Process
from parity.isolation.remains import Remains
from parity.isolation.worker import BOTH
from parity.render.progress import silent
from parity.report import Death
from parity.settings import RunSettings

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a process that has no engine, and is ready."""
    started: list[Process] = []
    monkeypatch.setattr(process, "_START", START)

    def begin(limits: Limits = Limits()) -> Process:  # noqa: B008
        started.append(Process(BOTH, RunSettings(name="none"), limits, tmp_path))
        started[-1].ready(silent)
        return started[-1]

    yield begin
    for each in started:
        each.close()
    assert list(tmp_path.iterdir()) == []


def death_of(one: Process, how: str) -> Death:
    """The death of a process that is asked to end."""
    with pytest.raises(DiedError) as died:
        one.ask({"how": how}, Remains(input="noise"), silent)
    return died.value.death


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("abort", "was ended by SIGABRT (it called abort)"),
        ("exit", "ended itself with exit code 7"),
        ("kill", "was killed (SIGKILL)"),
        ("raise", "raised ZeroDivisionError: one two"),
    ],
)
def test_ends(how: str, words: str, start: Start) -> None:
    """Its signal, exit code or exception; what it was doing; the line it was in where it could say; its last words."""
    death = death_of(start(), how)
    assert death.how.startswith(words)
    assert (death.side, death.doing, death.input, death.mode) == ("port", "running 'bad'", "noise", "eager")
    assert ("in end" in death.where) == (how in ("abort", "raise"))
    assert death.last_words == (() if how == "raise" else ("LLVM ERROR: no",))


def test_a_hang(start: Start) -> None:
    """A process that says nothing more for longer than it may is asked where it is, and ended."""
    death = death_of(start(Limits(timeout=2)), "sleep")
    assert death.how == "did nothing more for 2 seconds, and was ended"
    assert "in end" in death.where


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on address space is not kept elsewhere")
def test_memory(start: Start) -> None:
    """A process that may not have as much memory as it asks for ends with that, in words."""
    assert "MemoryError" in death_of(start(Limits(memory=1 << 32)), "memory").how


def test_a_step_that_is_done_in_time(start: Start) -> None:
    """A process with a limit that keeps it answers."""
    assert start(Limits(timeout=60)).ask({"how": "well"}, Remains(), silent) == "nothing"


def test_no_orphan(tmp_path: Path) -> None:
    """A supervisor that is killed, with no time to clean up, takes its processes with it."""
    code = (
        "import sys, time; from pathlib import Path; from stub_worker import START;"
        "from parity.isolation import process;"
        "from parity.settings import RunSettings; process._START = START;"
        "one = process.Process('both', RunSettings(name='none'), process.Limits(), Path(sys.argv[1]));"
        "one.ready(lambda text, fraction: None); print(one._process.pid, flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as supervisor:
        assert supervisor.stdout is not None
        worker = int(supervisor.stdout.readline())
        assert _lives(worker)
        supervisor.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while _lives(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
