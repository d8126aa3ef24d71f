"""The table of `parity layers`: what can be converted, exact in what, how it is built, and what is refused.

A kind is in it if cases of it can be drawn, and is exact where `pytest --model layers` tries it: nothing else is said.
"""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from parity.layers.kinds import FORMATS, Kind

NAME, MARK, HOW = 22, 6, 38
"""Widths of the columns: in all 80."""
HEADS = ("last", "first", "XLA")


def row(kind: Kind) -> dict[str, Any]:
    """What there is to say of a kind, for a program. Of one without channels every data format is alike."""
    builder = kind.builder
    alike = len(kind.formats) == 1
    return {
        "kind": kind.name,
        "torch": kind.torch_name,
        **{name: alike or name in kind.formats for name in FORMATS},
        "modes": list(kind.modes),
        "built": builder.how if builder else "",
        "limits": builder.limits if builder else "",
        "moves_only": builder is not None and builder.moves_only,
    }


def table(kinds: Iterable[Kind]) -> str:
    """Every kind on a line, and under it what it is in torch and what its limits are; 80 columns wide."""
    lines = [f"{'kind':<{NAME}}" + "".join(f"{head:<{MARK}}" for head in HEADS) + "built as"]
    rows = [row(kind) for kind in kinds]
    for each in rows:
        lines += _lines(each)
    lines += ["", *textwrap.wrap(f"{len(rows)} kind{'s' if len(rows) != 1 else ''}. {LEGEND}", 80)]
    return "\n".join(lines)


LEGEND = (
    "last, first, XLA: exact in channels_last, in channels_first (the same where a kind has no channels) and compiled "
    "by XLA. Exact means: as near to torch's float64 as torch's float32 is, on every case that "
    "`pytest --model layers` draws; what is refused is refused when it is built, with the reason."
)


def _lines(each: Mapping[str, Any]) -> list[str]:
    marks = ["yes" if each[name] else "no" for name in FORMATS] + ["yes" if "xla" in each["modes"] else "no"]
    left = f"{each['kind']:<{NAME}}" + "".join(f"{mark:<{MARK}}" for mark in marks)
    if len(each["kind"]) >= NAME:
        left = f"{each['kind']}\n{'':<{NAME}}" + "".join(f"{mark:<{MARK}}" for mark in marks)
    how = textwrap.wrap(each["built"], HOW) or [""]
    lines = [(left + how[0]).rstrip(), *(" " * (NAME + MARK * len(marks)) + more for more in how[1:])]
    below = [each["torch"], *([each["limits"]] if each["limits"] else [])]
    return [*"\n".join(lines).split("\n"), *(line for text in below for line in _below(text))]


def _below(text: str) -> list[str]:
    return textwrap.wrap(text, 80, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
