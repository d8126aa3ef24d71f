"""How a process ended, in words: what its exit status says, whether memory ran out, and what it said last."""

import re
import signal
from dataclasses import dataclass
from pathlib import Path

SIGNALS = {
    signal.SIGABRT: "SIGABRT (it called abort)",
    signal.SIGSEGV: "SIGSEGV (it touched memory that is not its own)",
    signal.SIGBUS: "SIGBUS (it touched memory that is not there)",
    signal.SIGILL: "SIGILL (an instruction that this CPU does not have)",
    signal.SIGFPE: "SIGFPE (a division of whole numbers by zero)",
    signal.SIGTRAP: "SIGTRAP (a check inside an engine failed)",
}
"""Signals with which engines end, and what each says."""

LAST_LINES, LAST_COLUMNS = 6, 300
NOT_THE_USERS = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen", "/parity/")
OUT_OF_MEMORY = ("bad_alloc", "MemoryError", "Cannot allocate memory", "ResourceExhausted", "OOM when allocating")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """How often the kernel ended a process of this group for its memory; None where it does not say."""

    kills: int | None

    @classmethod
    def now(cls, cgroup: Path = CGROUP, own: Path = Path("/proc/self/cgroup")) -> "Memory":
        """The count at this moment, of the control group (version 2, or 1) this process is in."""
        group = own.read_text().rpartition(":")[2].strip().lstrip("/") if own.is_file() else ""
        places = (cgroup / group / "memory.events", cgroup / "memory.events", cgroup / "memory" / "memory.oom_control")
        for place in places:
            found = re.search(r"^oom_kill (\d+)$", place.read_text(), re.MULTILINE) if place.is_file() else None
            if found:
                return cls(int(found[1]))
        return cls(None)


def how_it_ended(status: int, before: Memory, after: Memory, said: str = "") -> str:
    """What a process's exit status says (negative: the signal), in words that follow "the process".

    >>> how_it_ended(7, Memory(None), Memory(None))
    'ended itself with exit code 7'
    """
    if status >= 0:
        words = f"ended itself with exit code {status}"
    elif -status == signal.SIGKILL:
        return f"was killed (SIGKILL){_why_killed(before, after)}"
    else:
        words = f"was ended by {SIGNALS.get(signal.Signals(-status), signal.Signals(-status).name)}"
    return f"{words}: it ran out of memory" if any(sign in said for sign in OUT_OF_MEMORY) else words


def _why_killed(before: Memory, after: Memory) -> str:
    if before.kills is None or after.kills is None:
        return ", perhaps because memory ran out"
    if after.kills > before.kills:
        return ": memory ran out, and the kernel ended it"
    return ", not by the kernel for its memory: by somebody else"


def what_it_raised(error: str, message: str) -> str:
    """An exception, in words that follow "the process"; many say nothing but their name.

    >>> what_it_raised("ValueError", "no\\nsuch"), what_it_raised("KeyboardInterrupt", "")
    ('raised ValueError: no such', 'raised KeyboardInterrupt')
    """
    return ": ".join(filter(None, [f"raised {error}", " ".join(plain(message).split())]))


def plain(text: str) -> str:
    """Text without what colours it on a terminal.

    >>> plain("\x1b[1mno\x1b[0m")
    'no'
    """
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def last_words(said: str) -> tuple[str, ...]:
    """The last lines of what a process wrote to stderr, without empty ones."""
    lines = [line.rstrip() for line in plain(said).splitlines() if line.strip()]
    return tuple(line if len(line) <= LAST_COLUMNS else f"{line[:LAST_COLUMNS]}..." for line in lines[-LAST_LINES:])


def users_line(stacks: str) -> str:
    """The innermost line of a user's file in the stacks that faulthandler wrote, as "net.py, line 12, in call".

    The thread that was running comes first there ("Current thread"), and only if no line of the user's is in it do the
    others count. "" where there is none.
    """
    threads = re.split(r"^(?=Current thread|Thread )", stacks, flags=re.MULTILINE)
    for thread in sorted(threads, key=lambda text: not text.startswith("Current thread")):
        for file, line, function in re.findall(r'^  File "(.+)", line (\d+) in (\S+)', thread, re.MULTILINE):
            if not any(mark in file for mark in NOT_THE_USERS):
                return f"{file}, line {line}, in {function}"
    return ""
