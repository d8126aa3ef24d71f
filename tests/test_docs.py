"""The pages under docs/ are run, each as a whole, top to bottom in one folder that is empty at first.

Commands of parity and Python blocks run in this process, where the frameworks are loaded already; everything else is as
for the README.
"""

import contextlib
import importlib
import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from documents import ROOT, Block, BrokenReadmeError, Done, blocks, check
from documents import run as run_in_a_process
from typer.testing import CliRunner

from parity import cli, models
from parity.building.registry import _BUILDERS
from parity.frameworks import keras
from parity.inputs.strategies.cases import _CASES

PAGES = sorted((ROOT / "docs").glob("**/*.md"))


def run_here(words: list[str], folder: Path) -> Done:
    """A command of parity, or Python code, in this process; anything else in one of its own."""
    _forget(folder)
    if Path(words[0]).name == "parity":
        keras.utils.clear_session(free_memory=False)  # layers are numbered from the start, as in a new process
        done = CliRunner().invoke(cli.app, words[1:], prog_name="parity", catch_exceptions=False)
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)
    if words[:2] != [sys.executable, "-c"]:
        return run_in_a_process(words, folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(words[2], "the page", "exec"), {"__name__": "__main__"})
    return subprocess.CompletedProcess(words, 0, printed.getvalue(), "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in; modules imported from it, and what they registered, are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    registered = [(each, dict(each)) for each in (models._MODELS, _BUILDERS, _CASES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tmp_path
    for registry, before in registered:
        registry.clear()
        registry.update(before)
    _forget(tmp_path)


def _forget(folder: Path) -> None:
    """Have the page's files read anew: a page may change them."""
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_shows(page: Path, folder: Path) -> None:
    """Every block of the page, in order, ends with the exit code shown and prints the lines shown."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.is_run:
            _check(block, page, folder)


def _check(block: Block, page: Path, folder: Path) -> None:
    try:
        check(block, folder, run_here)
    except BrokenReadmeError as error:
        keras = metadata.version("keras")
        if "bias-axis" in block.text and f"keras {keras}," not in block.text:
            pytest.skip(f"Keras {keras} is another than the page's: it may add the bias along the channels")
        raise BrokenReadmeError(f"docs/{page.name}, line {block.line}: {error}") from None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_says_why(page: Path) -> None:
    """A block that is not run carries its reason; no other mark than that and a file's name exists."""
    for block in blocks(page.read_text(encoding="utf-8")):
        assert all(re.fullmatch(r"not-run=.{8,}|file=[\w./-]+", mark) for mark in block.marks), block.line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file of the repository."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_broken_page_is_caught(folder: Path) -> None:
    """A file is written, a command reads it here, and an output that is not printed fails."""
    text = "```python file=net.py\nvalue = 3\n```\n\n```python\nimport net; print(net.value)\n```\n\n```text\n3\n```\n"
    for block in blocks(text):
        check(block, folder, run_here)
    (wrong,) = (block for block in blocks(text.replace("\n3\n", "\n4\n")) if not block.file)
    with pytest.raises(BrokenReadmeError, match="not printed"):
        check(wrong, folder, run_here)
    with pytest.raises(BrokenReadmeError, match="exit code 2"):
        check(next(blocks("```console\n$ parity verify nothing\n```\n")), folder, run_here)
