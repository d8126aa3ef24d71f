"""The gradients of one run as a table: what arrives at each layer, and the worst of what is its own."""

from typing import Literal

from rich.text import Text

from parity.render.page import Page, clip, plain_table
from parity.render.sentences import unit_of
from parity.render.terminal import SHORTEST, STYLES, USUAL, shown_error
from parity.report import GradientRun, LayerGradients, Measure, Report

NUMBERS = 50
"""Columns that the errors and the verdict take, with what is between them; names have the rest."""
HEADINGS: dict[str, Literal["left", "right"]] = {
    "layer": "left",
    "arriving": "right",
    "worst of its own": "right",
    "which is": "left",
    "verdict": "left",
}
"""The columns of the table; the second and the fourth are left out where there is no room."""


def worst_of(layer: LayerGradients) -> tuple[str, Measure | None]:
    """The worst of what is a layer's own, differentiated or in training mode, and what it is."""
    found = [
        *((f"to {name}", measure) for name, measure in layer.to.items()),
        *((f"of {name}", measure) for name, measure in layer.weights.items()),
        *((f"training: {name}", measure) for name, measure in layer.training.items()),
    ]
    return max(found, key=lambda each: (not each[1].passed, each[1].floors), default=("", None))


def gradient_table(report: Report, run: GradientRun, *, width: int | None = None, colour: bool = False) -> str:
    """Every layer of one run, differentiated: relative errors, and how many floors they are."""
    page = Page(width, colour)
    page.line(f"{report.pair}: gradients on input {run.input}, mode {run.mode}", style="bold")
    narrow = page.width < USUAL
    names = max(SHORTEST, (page.width - (NUMBERS // 2 if narrow else NUMBERS)) // 2)
    table = plain_table()
    columns = ["layer", "worst of its own", "verdict"] if narrow else [*HEADINGS]
    for heading in columns:
        table.add_column(heading, no_wrap=True, justify=HEADINGS[heading])
    for layer in run.layers:
        what, worst = worst_of(layer)
        cells = {
            "layer": Text(clip(layer.layer, names)),
            "arriving": shown_error(layer.arriving),
            "worst of its own": shown_error(worst),
            "which is": Text(clip(what, names)),
            "verdict": Text(layer.verdict, style=STYLES.get(layer.verdict, "")),
        }
        table.add_row(*(cells[heading] for heading in columns))
    page.table(table)
    page.item("", f"each error is relative, followed by how many {unit_of(report)}s it is")
    return page.text()
