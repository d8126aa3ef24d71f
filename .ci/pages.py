"""What mkdocs cannot do with the pages as they are: the marks of blocks that the tests run, and the commands' help.

A hook of mkdocs (.ci/mkdocs.yml names it). The page of commands is written from the program itself by typer, so that
it cannot say anything else than `--help` does.
"""

import re
from typing import Any

import typer
import typer.main
from typer.cli import get_docs_for_click

from parity import cli

HERE = "<!-- the commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page, with its commands filled in, and with the marks of its blocks as mkdocs has them."""
    return with_titles(markdown.replace(HERE, commands()) if HERE in markdown else markdown)


def with_titles(markdown: str) -> str:
    """Fenced blocks whose file is their title; why one is not run is between this repository and its tests."""
    titled = re.sub(r"^(```\w+)(.*?) file=(\S+)", r'\1\2 title="\3"', markdown, flags=re.M)
    return re.sub(r'^(```\w+)(.*?) not-run(="[^"]*")?', r"\1\2", titled, flags=re.M)


def commands() -> str:
    """Every command with its arguments and options, as Markdown."""
    program = typer.main.get_command(cli.app)
    text = get_docs_for_click(obj=program, ctx=typer.Context(program, info_name="parity"), name="parity", indent=1)
    text = re.sub(r"^\*\*Commands\*\*:\n\n(\* .*\n)+", lambda _: _summaries(program), text, flags=re.M)
    text = re.sub(r"^[\b]?Examples:\n((?:  .*\n)+)", _fenced, text, flags=re.M)
    return re.sub(r"^\* ", "- ", text.replace("\b", ""), flags=re.M)


def _summaries(program: Any) -> str:
    """The list of commands with whole first sentences: typer cuts them off to fit a terminal."""
    rows = (
        f"- [`{name}`](#parity-{name}): {each.get_short_help_str(limit=999)}" for name, each in program.commands.items()
    )
    return "\n".join(["**Commands**:", "", *rows, ""])


def _fenced(examples: re.Match[str]) -> str:
    """Examples as a block: their lines are set one below the other."""
    lines = [line.removeprefix("  ") for line in examples[1].splitlines()]
    return "\n".join(["**Examples**:", "", "```text", *lines, "```", ""])
