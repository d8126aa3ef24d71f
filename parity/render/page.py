"""Laying out text for a terminal of some width: lines, items under headings, tables; with colour only where asked."""

import io
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

COMMANDS = ("parity ", "from parity.")
"""What a line that is to be copied whole begins with."""
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but for tabs and ends of lines, and those that set the direction of writing."""


class Page:
    """Lines and tables of one width, collected as text; with `colour` in a terminal's escape sequences.

    `width` is in columns; None is the terminal's, 80 where there is none.
    """

    def __init__(self, width: int | None = None, colour: bool = False) -> None:
        self.width = width or columns()
        self._stream = io.StringIO()
        self._console = Console(
            file=self._stream,
            width=self.width,
            force_terminal=colour,
            color_system="standard" if colour else None,
            no_color=not colour,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def line(self, text: str, style: str = "") -> None:
        """A line on its own; longer than the page, it wraps at words."""
        for part in packed([text], self.width):
            self._console.print(Text(part, style=style), soft_wrap=True)

    def item(self, key: str, *pieces: str, style: str = "") -> None:
        """Pieces under a heading, beside or below each other as they fit; without one, they begin there."""
        indent = 12 if key else 2
        head = f"  {key:<{indent - 2}}"
        for line in packed(pieces, self.width - indent):
            self._console.print(Text.assemble((head, "dim"), (line, style)), soft_wrap=True)
            head = " " * indent

    def table(self, table: Table) -> None:
        """A table, indented like the items."""
        self._console.print(table)

    def block(self, lines: Sequence[str]) -> None:
        """Lines that are to stay as they are, indented like the items where there is room for it."""
        indent = max(0, min(12, self.width - max(map(len, lines))))
        for line in lines:
            self._console.print(Text(" " * indent + line), soft_wrap=True, no_wrap=True)

    def gap(self) -> None:
        """An empty line."""
        self._console.print()

    def text(self) -> str:
        """Everything written so far, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._stream.getvalue().splitlines())


def plain_table() -> Table:
    """A table without lines."""
    return Table(box=None, pad_edge=True, padding=(0, 0, 0, 2), header_style="dim")


def visible(text: str) -> str:
    """Text without the characters that would act instead of being seen, each written as in Python: what a terminal
    obeys, and what turns the direction of its surroundings.

    >>> visible("conv\\x1b[31m"), visible("a\\u202eb"), visible("\u5c64")
    ('conv\\\\x1b[31m', 'a\\\\u202eb', '\u5c64')
    """
    return ACTING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def clip(name: str, width: int) -> str:
    """A name cut in its middle to `width` columns: both ends tell more than the beginning alone."""
    name = visible(name)
    if cell_len(name) <= width:
        return name
    tail = (width - 2) * 2 // 3
    first, last = set_cell_size(name, width - 2 - tail), set_cell_size(name[::-1], tail)[::-1]
    return f"{first}..{last}"


def columns() -> int:
    """The terminal's width; 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def packed(pieces: Iterable[str], width: int) -> list[str]:
    """Pieces beside each other where they fit into `width`, else each on lines of its own."""
    pieces = [visible(piece) for piece in pieces if piece]
    whole = "  ".join(pieces)
    if cell_len(whole) <= width:
        return [whole] if whole else []
    return [line for piece in pieces for line in _wrapped(piece, width)]


def _wrapped(text: str, width: int) -> list[str]:
    """A piece as lines; a command stays whole, so that it can be copied."""
    if text.removeprefix("next: ").startswith(COMMANDS):
        return [text]
    whole_numbers = re.sub(r"(?<=\d) (?=\d{3}\D)", "\N{NO-BREAK SPACE}", text)
    lines = textwrap.wrap(
        whole_numbers,
        max(width, 20),
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
