"""What was exported, on a terminal."""

from collections.abc import Sequence

from rich.text import Text

from parity.export.exporting import Exported
from parity.gate.checks import FAIL, LAYER, OUTPUT, UNKNOWN, Check, Result
from parity.gate.facts import MEGABYTE
from parity.gate.growth import number
from parity.gate.page import STYLES
from parity.gate.table import floors, off_by
from parity.numbers import short
from parity.render.page import Page, clip, plain_table

SHOWN = 3
"""How many checks that failed are told of a file."""

HEADINGS = ("file", "MB", "verdict", "layers", "worst, in floors", "output")


def export_page(name: str, made: Sequence[Exported], *, width: int | None = None, colour: bool = False) -> str:
    """Every file: where it is, how large, what came of it; of what failed the first checks that did."""
    page = Page(width, colour)
    page.line(f"parity export: {name}", style="bold")
    records = [each.record for each in made if each.record]
    page.item("inputs", ", ".join(f"{given.name} {given.size}" for given in records[0].inputs) if records else "none")
    page.item("folder", *dict.fromkeys(str(each.place.parent) for each in made if each.place))
    page.gap()
    table = plain_table()
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=True)
    for each in made:
        table.add_row(*(Text(cell) for cell in _row(each, (page.width - 44) // 2)))
    page.table(table)
    page.gap()
    for each in made:
        _told(page, each)
    page.line(export_verdict(name, made), style=STYLES[FAIL if any(each.exit_code for each in made) else "pass"])
    return page.text()


def _row(each: Exported, most: int) -> tuple[str, ...]:
    if each.record is None:
        return f"no {each.form.word}", "-", "failed", "-", "-", "-"
    result = each.record.result
    layers = [check for check in result.checks if check.kind == LAYER]
    passed = f"{sum(check.verdict == 'pass' for check in layers)} of {len(layers)}"
    file = clip(each.place.name, most) if each.place else f"no {each.form.word}"
    size = f"{result.artifact.size / MEGABYTE:.1f}"
    return file, size, result.verdict, passed, clip(_worst(layers), most), _error(result)


def _worst(layers: Sequence[Check]) -> str:
    guilty = [check for check in layers if check.verdict == FAIL] or layers
    found = max(guilty, key=floors, default=None)
    return f"{off_by(found)} {found.name}" if found else "nothing compared"


def _error(result: Result) -> str:
    found = [
        number(check.figures["error"]) for check in result.checks if check.kind == OUTPUT and "error" in check.figures
    ]
    return short(max(found)) if found else "-"


def _told(page: Page, each: Exported) -> None:
    """What has to be said of a file beyond its row."""
    if each.why:
        page.item("note" if each.record else "failed", f"{each.form.word}: {each.why}")
    if each.exit_code and each.record is not None:
        page.item("failed", f"{each.form.word}: {each.place or 'not kept; --keep-failed keeps it'}", style=STYLES[FAIL])
        for check in each.record.result.having(FAIL, UNKNOWN)[:SHOWN]:
            place = f" on {check.input} ({check.mode})" if check.mode else ""
            page.item(" ", f"{check.title}{place}")
            for line in check.says.splitlines():
                if each.place or not line.strip().startswith("next: "):  # which would name a file that is not there
                    page.item(" ", line.strip())
    if each.why or each.exit_code:
        page.gap()


def export_verdict(name: str, made: Sequence[Exported]) -> str:
    """The whole run in one line."""
    passed = [each for each in made if each.exit_code == 0]
    count = f"{len(passed)} of {len(made)} files"
    if len(passed) == len(made):
        return f"PASS: {count} compute what the reference of {name} computes; each has its record, FILE.record.json"
    first = next(each for each in made if each.exit_code)
    return f"FAIL: {count} compute what the reference of {name} computes; first {first.form.word} does not"
