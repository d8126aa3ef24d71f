"""One layer explained, as text for a terminal: both sides, their weights, a picture of the error, what was tried."""

import math

from rich.text import Text

from parity.explanation import ErrorShape, Explanation
from parity.numbers import short, times
from parity.render.page import Page, plain_table
from parity.render.sentences import by_hand
from parity.render.terminal import STYLES
from parity.report import DIVERGED, PASS, Cause

SHADES = " .:=#"
"""From within the limit to the greatest error."""
SHOWN = 8


def explanation(
    explained: Explanation, *, width: int | None = None, colour: bool = False, every_trial: bool = False
) -> str:
    """Everything about one layer on a page; of what was tried the best, unless `every_trial` is wanted."""
    page = Page(width, colour)
    page.line(
        f"{explained.layer} -> {explained.port_layer}, input {explained.input}, mode {explained.mode}", style="bold"
    )
    page.item("reference", explained.reference)
    page.item("port", *explained.port)
    for weight in explained.weights:
        page.item(weight.name, f"{weight.shape}", _relation(weight.distance, weight.relation))
    _error(page, explained)
    if explained.shape is not None and not explained.introduced.passed:
        page.gap()
        _picture(page, explained.shape)
    if explained.cause is not None:
        _cause(page, explained.cause, None if every_trial else SHOWN)
    page.gap()
    page.line(explained_in_one_line(explained), style=STYLES[PASS if explained.cause is None else DIVERGED])
    return page.text()


def _relation(distance: float, relation: str) -> str:
    return relation if distance == 0 or distance != distance else f"differs by {short(distance)}: {relation}"


def _error(page: Page, explained: Explanation) -> None:
    measure = explained.introduced
    if measure.note:
        page.item("error", measure.note)
        return
    words = f"introduces {short(measure.relative)}", f"floor {short(explained.floor)}, {times(measure.ratio)}"
    page.item("error", *words, *(explained.shape.words if explained.shape and not measure.passed else ()))


def _picture(page: Page, shape: ErrorShape) -> None:
    """The grid of errors in shades, framed; what the greatest stands for is said below."""
    cells = [cell for row in shape.cells for cell in row]
    greatest = max((cell for cell in cells if math.isfinite(cell)), default=0.0)
    strange = not all(map(math.isfinite, cells))
    # What is not finite has the darkest shade for itself.
    shades = SHADES[:-1] if strange else SHADES
    frame = "+" + "-" * len(shape.cells[0]) + "+"
    rows = ["".join(_shade(cell, greatest, shape.limit, shades) for cell in row) for row in shape.cells]
    page.block([frame, *(f"|{row}|" for row in rows), frame])
    flat = len(shape.axes) == 1
    across = f"{shape.width} ({shape.axes})" if flat else f"{shape.height} x {shape.width} ({' x '.join(shape.axes)})"
    darkest = "is not finite" if strange else f"near {short(greatest)} of the values' RMS, the greatest"
    page.item("picture", f"the error over {across}", f"'{SHADES[-1]}' {darkest}")


def _shade(cell: float, greatest: float, limit: float, shades: str) -> str:
    if not math.isfinite(cell):
        return SHADES[-1]
    if cell <= limit or not greatest:
        return shades[0]
    return shades[1 + min(len(shades) - 2, int((len(shades) - 1) * cell / greatest * 0.999))]


def _cause(page: Page, cause: Cause, most: int | None) -> None:
    """Why, with its proof, and at `most` so many of the hypotheses; None is all of them."""
    page.gap()
    page.item("cause", cause.slug, cause.detail)
    if cause.residual_after is not None:
        page.item("proof", f"with that undone: {short(cause.residual_after)}, within the layer's limits")
    if cause.tied:
        page.item("tie", f"explained equally well by {', '.join(cause.tied)}; no probe could tell them apart")
    if cause.separated_by:
        page.item("probe", f"'{cause.separated_by}' told it from others that explained this input as well")
    if cause.change:
        page.item("change", cause.change, f"that is: {by_hand(cause)}" if by_hand(cause) else "")
    if not cause.tried:
        return
    page.gap()
    table = plain_table()
    for heading in ("tried", "leaves"):
        table.add_column(heading, no_wrap=True)
    table.add_column("")
    for trial in cause.tried[:most]:
        known = trial.explains and trial.detail == cause.detail
        said = "explains it" if known else f"explains it: {trial.detail}" if trial.explains else trial.detail
        table.add_row(Text(trial.slug), Text(short(trial.residual)), Text(said))
    page.table(table)
    if most is not None and len(cause.tried) > most:
        page.item("", f"and {len(cause.tried) - most} more that leave as much or more (-v lists them)")


def explained_in_one_line(explained: Explanation) -> str:
    """Whether the layer is at fault, and of what."""
    if explained.cause is None:
        return f"PASS: {explained.layer} introduces no more than rounding"
    return f"DIVERGED: {explained.layer} is at fault: {explained.cause.slug}"
