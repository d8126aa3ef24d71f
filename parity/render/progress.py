"""A progress bar on a terminal, and nothing at all anywhere else: logs and pipes stay free of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from parity.render.page import clip

Show = Callable[[str, float], None]
"""Takes what is being done, in a few words, and how much of the whole is done, 0 to 1."""


def silent(text: str, fraction: float) -> None:
    """Shows nothing."""


BESIDE = 36
"""So many columns the bar and the clock take beside the words."""


@contextmanager
def progress_bar(stream: TextIO, *, quiet: bool = False) -> Iterator[Show]:
    """A bar on `stream` while the block runs, gone afterwards; nothing where `stream` is no terminal that can move its
    cursor, nor where that is asked for."""
    if quiet or not stream.isatty() or os.environ.get("TERM") == "dumb":
        yield silent
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    console = Console(file=stream)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(text: str, fraction: float) -> None:
            # No total lets the bar pulse: there is nothing to measure before the first step is done.
            words = clip(text, max(12, console.width - BESIDE))
            bar.update(task, description=words, total=1.0 if fraction > 0 else None, completed=fraction)

        yield show


def part(show: Show, index: int, count: int, name: str = "") -> Show:
    """`show` for the part `index` of `count` equal ones: its own 0 to 1 becomes its share of the whole.

    Of several, the words begin with the `name` of the part.
    """
    head = f"{name}: " if name and count > 1 else ""
    return lambda text, fraction: show(head + text, (index + fraction) / count)
