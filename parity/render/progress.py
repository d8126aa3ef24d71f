"""A progress bar on a terminal, and nothing at all anywhere else: logs and pipes stay free of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

Show = Callable[[str, float], None]
"""Takes what is being done, in a few words, and how much of the whole is done, 0 to 1."""


def silent(text: str, fraction: float) -> None:
    """Shows nothing."""


@contextmanager
def progress_bar(stream: TextIO) -> Iterator[Show]:
    """A bar on `stream` while the block runs, gone afterwards; nothing where `stream` is no terminal."""
    if not stream.isatty():
        yield silent
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(text: str, fraction: float) -> None:
            # No total lets the bar pulse: there is nothing to measure before the first step is done.
            bar.update(task, description=text, total=1.0 if fraction > 0 else None, completed=fraction)

        yield show


def part(show: Show, index: int, count: int) -> Show:
    """`show` for the part `index` of `count` equal ones: its own 0 to 1 becomes its share of the whole."""
    return lambda text, fraction: show(text, (index + fraction) / count)
