"""The progress bar: what is being done on a terminal, and not a byte anywhere else."""

import io
import re
import sys

import pytest

from parity.cli.program import in_colour
from parity.render.progress import Show, part, progress_bar


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Whether it is one."""
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 60 columns that has colours."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")


def shown(stream: io.StringIO, words: str = "layer by layer, conv3.0", *, quiet: bool = False) -> str:
    """What a bar that says `words` at its half leaves in `stream`."""
    with progress_bar(stream, quiet=quiet) as show:
        show(words, 0.5)
    return stream.getvalue()


def test_a_terminal_shows_what_is_done_and_is_left_clean() -> None:
    """The words are beside the bar, and the line is erased afterwards."""
    text = shown(Terminal())
    assert "layer by layer, conv3.0" in text
    assert text.endswith("\x1b[2K")


def test_without_colours_the_bar_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves the bar, and takes its colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(Terminal())
    assert "layer by layer" in text
    assert not re.search(r"\x1b\[[0-9;]+m", text)


@pytest.mark.parametrize("why", ["no terminal", "dumb", "quiet"])
def test_anywhere_else_there_is_nothing(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """A pipe, a terminal that cannot move its cursor, and who asked for quiet get not a byte."""
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    assert shown(io.StringIO() if why == "no terminal" else Terminal(), quiet=why == "quiet") == ""


def test_a_long_name_leaves_room_for_the_bar() -> None:
    """Words that are longer than the line are cut in their middle, and the bar stays on it."""
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(Terminal(), "layer by layer, " + "stage." * 60)).split("\r")
    assert max(map(len, lines)) <= 60
    assert any("0:00:00" in line and ".." in line for line in lines)


def test_of_several_inputs_the_one_that_runs_is_named() -> None:
    """With more than one the words begin with the input, and the bar goes on from where the one before ended."""
    said: list[tuple[str, float]] = []

    def show(text: str, fraction: float) -> None:
        said.append((text, fraction))

    for count in (1, 2):
        inner: Show = part(show, count - 1, count, "noise")
        inner("end to end, eager", 0.5)
    assert said == [("end to end, eager", 0.5), ("noise: end to end, eager", 0.75)]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: bool
) -> None:
    """NO_COLOR and a terminal without colours turn them off, an empty NO_COLOR does not; a pipe has none."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert in_colour() is wanted
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert not in_colour()
