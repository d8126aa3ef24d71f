"""How a process ended, read from its exit status, from the kernel's counters, and from what it wrote."""

import signal
from pathlib import Path

import pytest

from parity.isolation.endings import Memory, how_it_ended, last_words, users_line

UNKNOWN = Memory(None)


@pytest.mark.parametrize(
    ("status", "before", "after", "words"),
    [
        (-signal.SIGABRT, UNKNOWN, UNKNOWN, "was ended by SIGABRT (it called abort)"),
        (-signal.SIGSEGV, UNKNOWN, UNKNOWN, "was ended by SIGSEGV (it touched memory that is not its own)"),
        (-signal.SIGUSR2, UNKNOWN, UNKNOWN, "was ended by SIGUSR2"),
        (-signal.SIGKILL, UNKNOWN, UNKNOWN, "was killed (SIGKILL), perhaps because memory ran out"),
        (-signal.SIGKILL, Memory(3), Memory(4), "was killed (SIGKILL): memory ran out, and the kernel ended it"),
        (
            -signal.SIGKILL,
            Memory(3),
            Memory(3),
            "was killed (SIGKILL), not by the kernel for its memory: by somebody else",
        ),
        (7, UNKNOWN, UNKNOWN, "ended itself with exit code 7"),
    ],
)
def test_an_exit_status_in_words(status: int, before: Memory, after: Memory, words: str) -> None:
    """Signals have their names, a kill is blamed on memory only where the kernel counted one."""
    assert how_it_ended(status, before, after) == words


def test_an_abort_for_want_of_memory_says_so() -> None:
    """C++ ends a process with abort when memory runs out; what it wrote tells."""
    said = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"
    assert how_it_ended(-signal.SIGABRT, UNKNOWN, UNKNOWN, said).endswith(": it ran out of memory")


@pytest.mark.parametrize(
    ("file", "text", "kills"),
    [
        ("mine/memory.events", "low 0\noom 5\noom_kill 2\noom_group_kill 0\n", 2),
        ("memory.events", "oom 0\noom_kill 0\n", 0),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7),
        ("elsewhere", "oom_kill 3\n", None),
    ],
)
def test_the_kernels_count(file: str, text: str, kills: int | None, tmp_path: Path) -> None:
    """The count is read from the process's own group, or the root, in either version; nowhere else."""
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    own = tmp_path / "cgroup"
    own.write_text("0::/mine\n")
    assert Memory.now(tmp_path, own) == Memory(kills)


def test_last_words() -> None:
    """The last lines that are not empty, without colours, none endless."""
    said = "\x1b[1mone\x1b[0m\n\n" + "\n".join(f"line {n}" for n in range(2, 8)) + "\n" + "x" * 999 + "\n\n"
    assert last_words(said)[0] == "line 3"
    assert len(last_words(said)) == 6
    assert last_words(said)[-1] == "x" * 300 + "..."
    assert last_words("\x1b[1mone\x1b[0m\n") == ("one",)


STACKS = """Thread 0x01 (most recent call first):
  File "/home/me/other.py", line 3 in wait

Current thread 0x02 (most recent call first):
  File "/env/lib/python3.11/site-packages/keras/layer.py", line 9 in __call__
  File "/home/me/net.py", line 12 in call
  File "/home/me/net.py", line 40 in build
"""


def test_the_users_line() -> None:
    """The innermost line of a file of the user's, in the thread that was running if there is one."""
    assert users_line(STACKS) == "/home/me/net.py, line 12, in call"
    assert users_line(STACKS.replace("/home/me/net.py", "/usr/lib/python3.11/net.py")) == (
        "/home/me/other.py, line 3, in wait"
    )
    assert users_line("") == ""
