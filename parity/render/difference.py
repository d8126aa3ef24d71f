"""What is other in a report than in an earlier one, for a terminal and in Markdown."""

from rich.text import Text

from parity.differences import APPEARED, BETTER, ORDER, VANISHED, WORSE, Change, Difference
from parity.numbers import short, times
from parity.render.page import Page, clip, plain_table
from parity.render.sentences import some_of
from parity.render.terminal import STYLES
from parity.report import DIVERGED, INHERITS, PASS, Measure

KINDS = {APPEARED: STYLES[DIVERGED], WORSE: STYLES[INHERITS], VANISHED: STYLES[PASS], BETTER: STYLES[PASS]}


def in_words(measure: Measure | None) -> str:
    """An error before or after, and how many floors it is."""
    if measure is None:
        return "-"
    if measure.note:
        return "not finite" if "not finite" in measure.note else "not comparable"
    return f"{short(measure.relative)} ({times(measure.ratio)})" if measure.relative else "exact"


def places(change: Change) -> str:
    """The run in which a change is greatest, and how many more."""
    (name, mode), *others = change.places
    return f"{name} ({mode})" + (f" and {len(others)} more" if others else "")


def counted(found: Difference) -> str:
    """All changes in one line."""
    numbers = ", ".join(f"{len(found.of(kind))} {kind}" for kind in ORDER)
    return f"{numbers}; {found.as_before} layers as before"


def headline(found: Difference) -> str:
    """The verdicts of both, and whether anything got worse."""
    verdicts = f"{found.before.verdict} -> {found.after.verdict}"
    return f"{'WORSE' if found.regressed else 'NOT WORSE'}: {found.after.pair}, {verdicts}; {counted(found)}"


def difference_text(found: Difference, *, width: int | None = None, colour: bool = False) -> str:
    """The differences for a terminal, what appeared first."""
    page = Page(width, colour)
    page.line(f"parity: {found.after.pair}, two runs", style="bold")
    for key, (old, new) in found.other.items():
        page.item(key, f"{old} -> {new}")
    if found.only_before:
        page.item("only before", some_of(found.only_before, "runs"))
    if found.only_after:
        page.item("only after", some_of(found.only_after, "runs"))
    if found.changes:
        page.gap()
        table = plain_table()
        for heading in ("", "layer", "before", "after", "cause"):
            table.add_column(heading, no_wrap=True)
        for change in found.changes:
            table.add_row(
                Text(change.kind, style=KINDS[change.kind]),
                Text(clip(change.layer, 24)),
                Text(in_words(change.before)),
                Text(in_words(change.after)),
                Text(clip(change.cause or change.what, 24)),
            )
        page.table(table)
    page.gap()
    page.line(headline(found), style=STYLES[DIVERGED if found.regressed else PASS])
    return page.text()


def difference_markdown(found: Difference) -> str:
    """The differences in Markdown, as a comment on a change has them."""
    lines = [f"**{_plain(headline(found))}**", ""]
    if found.changes:
        lines += ["| | layer | run | before | after | cause |", "|---|---|---|---|---|---|"]
        for change in found.changes:
            cells = (
                change.kind, change.layer, places(change), in_words(change.before), in_words(change.after),
                change.cause or change.what,
            )  # fmt: skip
            lines.append("| " + " | ".join(_plain(cell) for cell in cells) + " |")
        lines.append("")
    lines += [f"- {_plain(key)}: {_plain(old)} → {_plain(new)}" for key, (old, new) in found.other.items()]
    for heading, names in (("only before", found.only_before), ("only after", found.only_after)):
        lines += [f"- {heading}: {_plain(some_of(names, 'runs'))}"] if names else []
    return "\n".join(lines).rstrip() + "\n"


def _plain(text: str) -> str:
    """Text that stays text in Markdown: no markup, no end of a table's cell."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
