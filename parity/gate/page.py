"""A run of the gate on a terminal."""

from collections import Counter
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from parity.gate.checks import FAIL, PASS, UNKNOWN, WAIVED, Check, Result
from parity.gate.record import Difference, Record
from parity.gate.table import rows
from parity.render.annotations import MOST, command
from parity.render.page import Page, clip, plain_table

USUAL = 80
"""Below this width the table leaves out what it has nothing to say of."""
SHOWN = 8
"""How many checks of a kind are listed before "and N more"."""
STYLES = {PASS: "green", FAIL: "bold red", UNKNOWN: "bold red", WAIVED: "yellow"}


def gate_page(record: Record, *, width: int | None = None, colour: bool = False) -> str:
    """The whole run on one page: the artifact, what it was held to, the runs, what failed, the verdict."""
    result, page = record.result, Page(width, colour)
    page.line(f"parity gate: {result.pair}", style="bold")
    artifact = result.artifact
    page.item("artifact", artifact.path, f"{artifact.kind}, {artifact.weighs}")
    page.item("sha256", artifact.sha256)
    page.item("policy", result.policy)
    if result.baseline:
        page.item("baseline", result.baseline)
    page.item("inputs", ", ".join(f"{given.name} {given.size}" for given in record.inputs))
    page.item("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items()))
    page.gap()
    if result.places():
        page.table(_table(result, page.width))
        page.gap()
    for key, verdict in (("died", UNKNOWN), ("failed", FAIL)):
        groups = result.grouped(verdict)
        for group in groups[:SHOWN]:
            _told(page, key, *group)
        _more(page, len(groups) - SHOWN)
    for check in result.checks:
        if check.figures.get("fused"):
            page.item("fused", f"{check.figures['fused']}: compared together")
    for text in _waived(result):
        page.item("waived", text, style=STYLES[WAIVED])
    for note in result.notes[:SHOWN]:
        page.item("note", note)
    _more(page, len(result.notes) - SHOWN)
    if result.notes or len(result.having(PASS)) < len(result.checks):
        page.gap()
    page.line(gate_verdict(result), style=STYLES.get(result.verdict, STYLES[UNKNOWN]))
    return page.text()


def _table(result: Result, width: int) -> Table:
    narrow = width < USUAL
    names = max(10, (width - 58) // 2)
    found = rows(result)
    headings = ["input", "mode", "layers", "worst, in floors", "output", "end-point error"]
    if narrow and all(flow == "-" for *_, flow in found):
        headings.pop()
    table = plain_table()
    for heading in headings:
        table.add_column(heading.replace(", ", "\n") if narrow else heading, no_wrap=True, vertical="bottom")
    for given, mode, layers, worst, error, flow in found:
        cells = (clip(given, names), mode, layers.removesuffix(" pass"), clip(worst, names + 6), error, flow)
        shown = [Text(cell.replace(", max ", " / ").replace(" px", "px")) for cell in cells]
        table.add_row(*shown[: len(headings)])
    return table


def _told(page: Page, key: str, check: Check, *also: Check) -> None:
    """A check, and all that it says, line by line; where else the same thing came of it."""
    page.item(key, f"{check.title} on {check.place}" if check.place else check.title, style=STYLES[FAIL])
    for line in check.says.splitlines():
        page.item(" ", line.strip())
    if also:
        page.item(" ", f"also on {', '.join(other.place for other in also)}")


def _more(page: Page, count: int) -> None:
    if count > 0:
        page.item(" ", f"and {count} more (all of them in the record)")


def _waived(result: Result) -> Iterator[str]:
    """What was waived, and why; what only follows from it is counted."""
    waived = result.having(WAIVED)
    said = Counter((check.name, check.says) for check in waived if not check.says.startswith("what reaches it"))
    for name, says in list(said)[:SHOWN]:
        yield f"{name}: {says}"
    follows = sum(check.says.startswith("what reaches it") for check in waived)
    if follows:
        yield f"{follows} layers and outputs that follow from these"


def gate_verdict(result: Result) -> str:
    """The whole run in one line."""
    passed, failed = len(result.having(PASS)), len(result.having(FAIL))
    counts = f"{passed} of {len(result.checks)} checks pass"
    if result.verdict == PASS:
        waived = len(result.having(WAIVED))
        said = f"PASS: {result.artifact.path} may go out; {counts}" + (f", {waived} are waived" if waived else "")
        return f"{said}; CAUTION: {caution}" if (caution := result.caution) else said
    if result.verdict == FAIL:
        first = result.having(FAIL)[0]
        return (
            f"FAIL: {result.artifact.path} may not go out; {failed} of {len(result.checks)} fail, first {first.title}"
        )
    return f"NOT VERIFIED: {result.artifact.path} may not go out; {counts}"


def gate_annotations(result: Result) -> list[str]:
    """What GitHub's CI shows beside a change: each check that fails, or could not be made, then the verdict."""
    title = f"parity gate: {result.pair}"
    if result.verdict == PASS:
        return [command("notice", title, gate_verdict(result))]
    groups = [*result.grouped(FAIL), *result.grouped(UNKNOWN)]
    told = [command("error", f"{title} / {first.title}", _in_short(first, also)) for first, *also in groups]
    return [*told[:MOST], command("error", title, gate_verdict(result))]


def _in_short(check: Check, also: list[Check]) -> str:
    lines = [line.strip() for line in check.says.splitlines()]
    return "\n".join([*lines, *([f"also on {', '.join(other.place for other in also)}"] if also else [])])


def audit_page(record: Record, file: str, found: list[Difference], *, width: int | None = None) -> str:
    """What a record says, and what is no longer as it has it."""
    page, result = Page(width), record.result
    page.line(f"parity gate: record {file}", style="bold")
    page.item("pair", result.pair)
    page.item("made", record.made)
    page.item("artifact", result.artifact.path, f"sha256 {result.artifact.sha256}")
    page.item("policy", result.policy)
    page.item("verdict", result.verdict)
    page.item("seal", "intact")
    for each in found:
        page.item("changed" if each.fails else "differs", f"{each.what}:", f"was {each.then},", f"is {each.now}")
    page.gap()
    broken = any(each.fails for each in found)
    if broken:
        page.line("FAIL: the artifact is not the one that was verified")
    elif result.verdict != PASS:
        page.line(f"{result.verdict.upper()}: that is what the record says of the artifact")
    else:
        page.line("PASS: the artifact is the one that was verified, and it passed")
    return page.text()
