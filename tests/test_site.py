"""The site of docs/ is built as `make docs` builds it, and looked at: nothing missing, nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer.main
from documents import ROOT

import parity
from parity import cli, errors, report

CONFIG = ROOT / ".ci/mkdocs.yml"


def built(folder: Path, config: Path = CONFIG) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict` into a folder."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    folder = tmp_path_factory.mktemp("site")
    done = built(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Page(HTMLParser):
    """What a page loads by itself, and the ids that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given.get("href", ""))
        if tag != "a":
            self.loads += [given[name] for name in ("src", "srcset", "data") if name in given]


def pages(site: Path) -> dict[str, _Page]:
    """Every page of the site by its file's name."""
    return {path.name: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.glob("*.html"))}


@pytest.fixture(scope="module")
def entries(site: Path) -> set[str]:
    """What can be linked to on the page of the Python reference."""
    return _Page((site / "api.html").read_text(encoding="utf-8")).ids


def is_elsewhere(address: str) -> bool:
    """Whether something is fetched from another host."""
    return bool(re.match(r"([a-z]+:)?//", address))


def test_every_page_is_there(site: Path) -> None:
    """Each Markdown page became a page; the build is strict, so each is in the navigation and each link leads on."""
    wanted = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert wanted == {path.stem for path in site.glob("*.html")} - {"404"}


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """Scripts, styles, fonts and pictures are files of the site, so that it reads the same without a network."""
    loaded = [(name, address) for name, page in pages(site).items() for address in page.loads]
    assert len(loaded) > len(pages(site))
    assert [(name, address) for name, address in loaded if is_elsewhere(address)] == []
    sheets = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.css")}
    fetched = [(path.name, url) for path, text in sheets.items() for url in re.findall(r"url\(['\"]?([^)'\"]+)", text)]
    assert [each for each in fetched if is_elsewhere(each[1])] == []


def test_what_comes_from_elsewhere_would_be_seen() -> None:
    """A script, a font or a picture of another host is found; a link that a reader follows is not one."""
    text = '<script src="https://a/b.js"></script><link rel="stylesheet" href="//a/b.css"><a href="https://a/">a</a>'
    assert [is_elsewhere(address) for address in _Page(text + '<img src="c.png">').loads] == [True, True, False]


@pytest.mark.parametrize("name", parity.__all__)
def test_every_public_name_has_an_entry(entries: set[str], name: str) -> None:
    """What `parity` exports is in the Python reference, where a link to it leads."""
    assert {f"parity.{name}", f"{parity._HOMES.get(name, 'parity.models')}.{name}"} & entries


def test_every_record_and_error_has_an_entry(entries: set[str]) -> None:
    """What a report is made of, and what may be raised, is in the Python reference."""
    public = {
        f"{module.__name__}.{name}"
        for module in (errors, report)
        for name, found in vars(module).items()
        if isinstance(found, type) and found.__module__.startswith(module.__name__) and not name.startswith("_")
    }
    assert len(public) > 20
    assert {name for name in public if not {name, f"parity.{name.rpartition('.')[2]}"} & entries} == set()


def test_every_command_has_an_entry(site: Path) -> None:
    """Each command is on its page with all its options, in the program's own words."""
    text = (site / "commands.html").read_text(encoding="utf-8")
    sections = dict(
        zip(re.findall(r'<h3 id="parity-(\w+)"', text), re.split(r'<h3 id="parity-', text)[1:], strict=True)
    )
    program = typer.main.get_command(cli.app)
    assert list(sections) == list(program.commands)  # type: ignore[attr-defined]
    for name, command in program.commands.items():  # type: ignore[attr-defined]
        section = re.sub(r"<[^>]+>", " ", sections[name])
        for parameter in command.params:
            for word in parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]:
                assert re.search(rf"(^|\s){re.escape(word)}(?![\w-])", section), (name, word)


def test_marks_for_the_tests_are_not_shown(site: Path) -> None:
    """A block's file is its title, and no mark of a block that is not run reaches a reader."""
    text = (site / "tutorial.html").read_text(encoding="utf-8")
    assert '<span class="filename">original.py</span>' in text
    assert not [name for name in site.glob("*.html") if re.search(r"```|not-run=", name.read_text(encoding="utf-8"))]


def test_a_page_that_leads_nowhere_fails(tmp_path: Path) -> None:
    """The build is strict: a broken link ends it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# One\n\n[nowhere](two.md)\n", encoding="utf-8")
    config = tmp_path / "mkdocs.yml"
    config.write_text("site_name: one\n", encoding="utf-8")
    done = built(tmp_path / "site", config)
    assert done.returncode == 1
    assert "two.md" in done.stderr
