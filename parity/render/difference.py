"""What is other in a report than in an earlier one, for a terminal and in Markdown."""

from rich.table import Table
from rich.text import Text

from parity.differences import APPEARED, BETTER, ORDER, VANISHED, WORSE, Change, Difference
from parity.numbers import short, times
from parity.render.page import Page, clip, plain_table
from parity.render.sentences import SHOWN, in_place_of_a_number, some_of
from parity.render.terminal import NARROW, SHORTEST, STYLES
from parity.report import DIVERGED, INHERITS, PASS, Measure

OTHER_UNITS = "judged by other policies: only what is at fault in one and not in the other counts"
KINDS = {APPEARED: STYLES[DIVERGED], WORSE: STYLES[INHERITS], VANISHED: STYLES[PASS], BETTER: STYLES[PASS]}


def in_words(measure: Measure | None) -> str:
    """An error before or after, and how many floors it is."""
    if measure is None:
        return "-"
    if words := in_place_of_a_number(measure):
        return words
    return f"{short(measure.relative)} ({times(measure.ratio)})" if measure.relative else "exact"


def in_floors(measure: Measure | None) -> str:
    """The same in fewer letters: how many floors it is, which is what counts as a change."""
    words = in_words(measure)
    return words if measure is None or measure.note or not measure.relative else times(measure.ratio)


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
    page.gap()
    if found.changes:
        page.table(_changes_table(found, page.width))
        page.gap()
    for name, (old, new) in list(found.turned.items())[:SHOWN]:
        page.item("run", f"{name}: {old} -> {new}")
    if len(found.turned) > SHOWN:
        page.item("", f"and {len(found.turned) - SHOWN} runs more with another verdict")
    if found.only_before:
        page.item("gone", some_of(found.only_before, "runs"))
    if found.only_after:
        page.item("new", some_of(found.only_after, "runs"))
    if not found.common_unit:
        page.item("note", OTHER_UNITS, style=STYLES[INHERITS])
    for key, (old, new) in found.other.items():
        page.item(key, f"{old} -> {new}")
    if found.turned or found.other or found.only_before or found.only_after:
        page.gap()
    page.line(headline(found), style=STYLES[DIVERGED if found.regressed else PASS])
    return page.text()


def _changes_table(found: Difference, width: int) -> Table:
    wide = width >= NARROW
    errors = in_words if wide else in_floors
    cells = [(change.kind, errors(change.before), errors(change.after)) for change in found.changes]
    taken = sum(2 + max(map(len, column)) for column in zip(("", "before", "after"), *cells, strict=True))
    room = max(2 * SHORTEST, width - taken - 6)
    causes = max(len("cause"), *(len(change.cause or change.what) for change in found.changes))
    causes = max(SHORTEST, min(causes, room // 2))
    table = plain_table()
    for heading in ("", "layer", "before", "after", "cause"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("before", "after") else "left")
    for change, (kind, before, after) in zip(found.changes, cells, strict=True):
        table.add_row(
            Text(kind, style=KINDS[kind]),
            Text(clip(change.layer, room - causes)),
            Text(before),
            Text(after),
            Text(clip(change.cause or change.what, causes)),
        )
    return table


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
    for changed in (found.turned, found.other):
        lines += [f"- {_plain(key)}: {_plain(old)} → {_plain(new)}" for key, (old, new) in changed.items()]
    lines += [] if found.common_unit else [f"- {OTHER_UNITS}"]
    for heading, names in (("only before", found.only_before), ("only after", found.only_after)):
        lines += [f"- {heading}: {_plain(some_of(names, 'runs'))}"] if names else []
    return "\n".join(lines).rstrip() + "\n"


def _plain(text: str) -> str:
    """Text that stays text in Markdown: no markup, no end of a table's cell."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
