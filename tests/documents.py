"""Documents that are run: fenced blocks of Markdown, their commands and their Python, against the output they print.

In a `console` block the lines after `$ command` are its output, and `$ echo $?` prints its exit code; `$ make target`
is not run, but the Makefile must have the target. A `text` block right after a `python` block is that block's output.
A block with `file=NAME` is written to a file of that name. One with `not-run="the reason"` is left alone. Blocks may be
indented, as in a list.

What every machine measures or words differently is left out of the comparison: errors and their ratios, what
follows the verdict, or the number of layers, in a run's row, the versions.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


class BrokenReadmeError(AssertionError):
    """A document says what is not so."""


# --- reading it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, whether it is to be run, its text, and the line it starts on."""

    language: str
    marks: tuple[str, ...]
    text: str
    line: int
    output: str | None = None

    @property
    def file(self) -> str:
        """The file that the block is the text of; "" for a block that is run."""
        return next((mark.removeprefix("file=") for mark in self.marks if mark.startswith("file=")), "")

    @property
    def is_run(self) -> bool:
        """Whether the block is one to be run, or written."""
        return not any(mark.startswith("not-run") for mark in self.marks)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A `$ command` of a console block, the output printed below it, and the exit code if `$ echo $?` gives it."""

    words: str
    output: str
    code: int | None


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block; a `text` block is the output of the `python` block just before it."""
    found = list(re.finditer(r"^(?P<in> *)```(?P<info>\S[^\n]*)\n(?P<text>.*?)^(?P=in)```$", text, flags=re.M | re.S))
    for match, after in zip(found, [*found[1:], None][: len(found)], strict=True):
        language, *marks = shlex.split(match["info"])
        follows = after and after["info"] == "text" and not text[match.end() : after.start()].strip()
        if language == "text":
            continue
        yield Block(
            language=language,
            marks=tuple(marks),
            text=textwrap.dedent(match["text"]) if match["in"] else match["text"],
            line=text.count("\n", 0, match.start()) + 1,
            output=after["text"] if after and follows else None,
        )


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block."""
    parts = [part.partition("\n") for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]]
    for (words, _, output), after in zip(parts, [*parts[1:], None], strict=True):
        if words != "echo $?":
            code = int(after[2]) if after and after[0] == "echo $?" else None
            yield Command(words=words, output=output, code=code)


# --- running it ----------------------------------------------------------------------------------------------


Done = subprocess.CompletedProcess[str]
Run = Callable[[list[str], Path], Done]


def run(words: list[str], folder: Path) -> Done:
    """A process in `folder`, with a terminal's width of 80 and this environment's commands."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONWARNINGS": "default"}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )


def check(block: Block, folder: Path, run: Run = run) -> None:
    """Run a block in `folder`, or write its file. Raises BrokenReadmeError where it does not do what is shown."""
    if block.file:
        (folder / block.file).write_text(block.text, encoding="utf-8")
        return
    if block.language == "python":
        done = run([sys.executable, "-c", block.text], folder)
        _compare("the Python example", block.output or "", 0, done)
        return
    if block.language != "console":
        raise BrokenReadmeError(f"line {block.line}: nobody runs a {block.language} block; use console or python")
    for command in commands(block):
        program, *arguments = shlex.split(command.words)
        if program == "make":
            check_target(command.words)
        elif program in ("parity", "pytest"):
            done = run([str(BIN / program), *arguments], folder)
            _compare(command.words, command.output, command.code or 0, done)
        else:
            raise BrokenReadmeError(f"line {block.line}: {program} is not run by this test; mark the block not-run")


def check_target(words: str) -> None:
    """Raise BrokenReadmeError unless every target of a `make` line is in the Makefile."""
    for target in words.split()[1:]:
        if not re.search(rf"^{re.escape(target)}:", MAKEFILE, flags=re.M):
            raise BrokenReadmeError(f"`{words}`: the Makefile has no target {target}")


def _compare(what: str, output: str, code: int, done: Done) -> None:
    if done.returncode != code:
        raise BrokenReadmeError(f"{what}: exit code {done.returncode}, {code} is shown\n{done.stderr[-2000:]}")
    lines = iter(key_lines(done.stdout))
    for wanted in key_lines(output):
        if wanted not in lines:  # consumes what comes before it, so the order counts
            raise BrokenReadmeError(f"{what}: not printed, or not there: {wanted!r}\n{done.stdout[-4000:]}")


_MEASURED = re.compile(r"(?<![\w.])\d+(?:\.\d+)?e[-+]?\d+x?|(?<=, )[\d. ]+x(?=\))")
_RUN = re.compile(
    r"(\S+ (?:eager|graph|xla|pb|saved_model|tflite|onnx) (?:pass|diverged)"  # of `parity verify`
    r"|\S+ (?:pb|saved_model|keras|tflite|onnx) \d+ of \d+"  # of `parity gate`
    r"|\S+ \d+\.\d (?:pass|fail) \d+ of \d+) .*"  # of `parity export`
)


def key_lines(output: str) -> list[str]:
    """The lines of an output without what differs from machine to machine; spaces count as one."""
    kept, versions = [], False
    for line in output.splitlines():
        words = _MEASURED.sub("#", " ".join(line.split()))
        versions = words.startswith("versions ") or (versions and line.startswith(" " * 13))
        if words and not versions:
            ran = _RUN.fullmatch(words)
            kept.append(ran[1] if ran else words)
    return kept
