"""What a repair changed and what it left, as text for a terminal."""

from typing import TYPE_CHECKING

from parity.numbers import short
from parity.render.page import Page
from parity.render.terminal import STYLES, verdict
from parity.report import DIVERGED, INHERITS, PASS

if TYPE_CHECKING:
    from parity.repair import Repaired


def repaired(result: "Repaired", *, width: int | None = None, colour: bool = False) -> str:
    """Each layer that was changed with its cause and its error before and after; each that was left."""
    page = Page(width, colour)
    page.line(f"parity: {result.report.pair}, repaired in a copy", style="bold")
    for change in result.changes:
        cause = change.cause
        before, after = cause.residual_before, cause.residual_after
        errors = f"{_number(before)} before, {_number(after)} with that undone"
        page.item("changed", f"{change.layer} -> {change.port_layer}")
        page.item("  cause", f"{' and '.join([cause.slug, *cause.also])} ({cause.detail})")
        if cause.change:
            page.item("  change", cause.change)
        page.item("  error", errors)
    for finding in result.left:
        named = f"{finding.cause.slug} ({finding.cause.detail})"
        page.item("left", f"{finding.layer} -> {finding.port_layer}", named, style=STYLES[INHERITS])
    unmatched = result.report.coverage.unmatched_reference
    if unmatched:
        page.item("left", f"the port has nothing for {', '.join(unmatched)}", style=STYLES[INHERITS])
    if not result.changes:
        right = result.before.passed
        page.item("changed", f"nothing: {'no layer is at fault' if right else 'no fault with a proven remedy'}")
    page.gap()
    page.line(f"before  {verdict(result.before)}", style=STYLES[PASS if result.before.passed else DIVERGED])
    page.line(f"after   {verdict(result.report)}", style=STYLES[PASS if result.whole else DIVERGED])
    return page.text()


def _number(value: float | None) -> str:
    return "unknown" if value is None else short(value)
