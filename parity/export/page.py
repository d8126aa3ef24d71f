"""What was exported, on a terminal."""

from collections.abc import Sequence

from parity.export.exporting import Exported, record_of
from parity.gate.checks import FAIL, LAYER, UNKNOWN
from parity.gate.facts import MEGABYTE
from parity.gate.page import STYLES
from parity.render.page import Page

SHOWN = 3
"""How many checks that failed are told of a file."""


def export_page(name: str, made: Sequence[Exported], *, width: int | None = None, colour: bool = False) -> str:
    """Every file: where it is, how large, what came of it, and of what failed the first layers."""
    page = Page(width, colour)
    page.line(f"parity export: {name}", style="bold")
    inputs = next((each.record.inputs for each in made if each.record), ())
    page.item("inputs", ", ".join(f"{given.name} {given.size}" for given in inputs) or "none was run")
    page.gap()
    for each in made:
        _told(page, each)
    page.gap()
    page.line(export_verdict(name, made), style=STYLES["pass" if all(not e.exit_code for e in made) else FAIL])
    return page.text()


def _told(page: Page, each: Exported) -> None:
    record = each.record
    if record is None:
        page.item(each.form.word, "not written:", each.why, style=STYLES[FAIL])
        return
    result = record.result
    size = f"{result.artifact.size / MEGABYTE:.1f} MB"
    where = str(each.place) if each.place else "not kept (--keep-failed keeps it)"
    layers = [check for check in result.checks if check.kind == LAYER]
    passed = sum(check.verdict == "pass" for check in layers)
    page.item(
        each.form.word, f"{result.verdict}  {where},", f"{size},", f"{passed} of {len(layers)} checks of layers pass"
    )
    if each.why:
        page.item(" ", each.why)
    for check in result.having(FAIL, UNKNOWN)[:SHOWN] if result.exit_code else ():
        place = f" on {check.input} ({check.mode})" if check.mode else ""
        page.item(" ", f"{check.title}{place}", style=STYLES[FAIL])
        for line in check.says.splitlines():
            page.item(" ", line.strip())
    if each.place:
        page.item(" ", f"record {record_of(each.place)}")


def export_verdict(name: str, made: Sequence[Exported]) -> str:
    """The whole run in one line."""
    passed = [each for each in made if each.exit_code == 0]
    count = f"{len(passed)} of {len(made)} files"
    if len(passed) == len(made):
        return f"PASS: {count} compute what the reference of {name} computes"
    first = next(each for each in made if each.exit_code)
    return f"FAIL: {count} compute what the reference of {name} computes; first {first.form.word} does not"
