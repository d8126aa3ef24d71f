"""The README is run: its commands and its Python, against the output that it prints.

A fenced block is run unless its info string says `not-run`, and those are listed below. In a `console` block the
lines after `$ command` are its output, and `$ echo $?` prints its exit code; `$ make target` is not run, but the
Makefile must have the target. A `text` block right after a `python` block is that block's output.

What every machine measures or words differently is left out of the comparison: errors and their ratios, what
follows the verdict in a run's row, the versions.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import typer.main

from parity import cli, pytest_plugin

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

NOT_RUN = {
    "$ pytest --model flownet --parity-images left.png right.png"
    " --parity-checkpoint FlowNet2-SD_checkpoint.pth.tar": "needs the reader's files",
}
"""The first line of each block marked `not-run`, and why it is."""


class BrokenReadmeError(AssertionError):
    """The README says what is not so."""


# --- reading it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, whether it is to be run, its text, and the line it starts on."""

    language: str
    marks: tuple[str, ...]
    text: str
    line: int
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A `$ command` of a console block, the output printed below it, and the exit code if `$ echo $?` gives it."""

    words: str
    output: str
    code: int | None


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block; a `text` block is the output of the `python` block just before it."""
    found = list(re.finditer(r"^```(?P<info>\S[^\n]*)\n(?P<text>.*?)^```$", text, flags=re.M | re.S))
    for match, after in zip(found, [*found[1:], None][: len(found)], strict=True):
        language, *marks = match["info"].split()
        follows = after and after["info"] == "text" and not text[match.end() : after.start()].strip()
        if language == "text":
            continue
        yield Block(
            language=language,
            marks=tuple(marks),
            text=match["text"],
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


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A process in `folder`, with a terminal's width of 80 and this environment's commands."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONWARNINGS": "default"}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )


def check(block: Block, folder: Path) -> None:
    """Run a block in `folder`. Raises BrokenReadmeError where it does not do what the README shows."""
    if block.language == "python":
        done = run([sys.executable, "-c", block.text], folder)
        _compare("the Python example", block.output or "", 0, done)
        return
    if block.language != "console":
        raise BrokenReadmeError(f"line {block.line}: nobody runs a {block.language} block; use console or python")
    for command in commands(block):
        program, *arguments = command.words.split()
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


def _compare(what: str, output: str, code: int, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != code:
        raise BrokenReadmeError(f"{what}: exit code {done.returncode}, {code} in the README\n{done.stderr[-2000:]}")
    lines = iter(key_lines(done.stdout))
    for wanted in key_lines(output):
        if wanted not in lines:  # consumes what comes before it, so the order counts
            raise BrokenReadmeError(f"{what}: not printed, or not there: {wanted!r}\n{done.stdout[-4000:]}")


_MEASURED = re.compile(r"(?<![\w.])\d+(?:\.\d+)?e[-+]?\d+x?|(?<=, )[\d. ]+x(?=\))")
_RUN = re.compile(r"(\S+ (?:eager|graph|xla) (?:pass|diverged)) .*")


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


# --- the tests -----------------------------------------------------------------------------------------------

ALL = tuple(blocks(README))
RUN = [block for block in ALL if "not-run" not in block.marks]
DOCS = [
    pytest.param(block, id=f"{page.stem}-line{block.line}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for block in blocks(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("block", [*(pytest.param(block, id=f"line{block.line}") for block in RUN), *DOCS])
def test_a_block_does_what_the_readme_shows(block: Block, tmp_path: Path) -> None:
    """The block runs in an empty folder, ends with the exit code shown, and prints the lines shown."""
    try:
        check(block, tmp_path)
    except BrokenReadmeError:
        keras = metadata.version("keras")
        if "bias-axis" in block.text and f"keras {keras}," not in block.text:
            pytest.skip(f"Keras {keras} is another than the README's: it may add the bias along the channels")
        raise


def test_what_is_not_run_is_listed() -> None:
    """A block is left out only if it is marked so and listed here with a reason; no other mark exists."""
    assert {mark for block in ALL for mark in block.marks} <= {"not-run"}
    assert [block.text.splitlines()[0] for block in ALL if block not in RUN] == list(NOT_RUN)


def test_what_is_shown_is_run() -> None:
    """The README has a run that passes, one that fails, and the library's example, each with its output."""
    shown = [command for block in RUN if block.language == "console" for command in commands(block)]
    assert {command.code for command in shown if command.output} == {0, 1}
    assert [bool(block.output) for block in RUN if block.language == "python"] == [True]


def test_commands_not_run_have_options_that_exist() -> None:
    """Every option in a block that is not run is one of pytest's plugin or of `parity verify`."""
    for block in (block for block in ALL if block not in RUN):
        for command in commands(block):
            known = command_options() if command.words.startswith("parity") else plugin_options()
            assert set(re.findall(r"--[a-z-]+", command.words)) <= known


def test_the_table_of_options_is_complete() -> None:
    """The table lists every option of the plugin and no other, and the command has the same without the prefix."""
    rows = re.findall(r"^\| (`--.*?) \|", README, flags=re.M)
    listed = re.findall(r"`(--[a-z-]+)", " ".join(rows))
    assert sorted(listed) == sorted(plugin_options())
    unprefixed = {option.replace("--parity-", "--") for option in plugin_options()} - {"--model"}
    assert command_options() - unprefixed == {"--layers", "--quiet"}
    assert unprefixed <= command_options()


def plugin_options() -> set[str]:
    """The options of the pytest plugin."""
    return {"--model", *pytest_plugin._OPTIONS}


def command_options() -> set[str]:
    """The long options of `parity verify`."""
    verify = typer.main.get_command(cli.app).commands["verify"]  # type: ignore[attr-defined]
    return {option for parameter in verify.params for option in parameter.opts if option.startswith("--")}


def test_the_links_lead_somewhere() -> None:
    """Every relative link names a file of the repository."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


BROKEN = {
    "an exit code": "```console\n$ parity models\n$ echo $?\n1\n```\n",
    "an output": "```console\n$ parity models\nflownet3  another network\n```\n",
    "a command": "```console\n$ parity verfy flownet\n```\n",
    "an unknown program": "```console\n$ curl example\n```\n",
    "a target": "```console\n$ make verifi\n```\n",
    "an exception": '```python\nraise SystemExit("no")\n```\n',
    "a printed line": "```python\nprint(1)\n```\n\n```text\n2\n```\n",
    "an order": "```python\nprint('a'); print('b')\n```\n\n```text\nb\na\n```\n",
    "a language": "```bash\nls\n```\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_block_is_caught(text: str, tmp_path: Path) -> None:
    """A README with a wrong exit code, output, command, target or example fails the check above."""
    (block,) = blocks(text)
    with pytest.raises(BrokenReadmeError):
        check(block, tmp_path)


def test_what_is_compared() -> None:
    """Measured numbers are left out; layers, causes, counts, limits and verdicts are not."""
    assert key_lines("finding   conv0.0  introduces 1.7e-1 (floor 1.5e-7, 1.2e6x)") == [
        "finding conv0.0 introduces # (floor #, #)"
    ]
    assert key_lines("  noise  xla   diverged   1.2e6x conv0.1   1.3e-1  same") == ["noise xla diverged"]
    versions = "  versions  python 3.11.7\n              numpy 2.4.6\n\n  30 of 30 weighted layers"
    assert key_lines(versions) == ["30 of 30 weighted layers"]
    assert key_lines("policy noise floor (RMSE 8x, maximum 32x)") == ["policy noise floor (RMSE 8x, maximum 32x)"]
    assert key_lines("finding conv0.0") != key_lines("finding conv0.1")
