"""A report as one page: a file that needs nothing else, for those who look before they read.

The page is made of the report alone. What a report says is text to it, never markup, whatever is in a name; its one
script is the one that is here (its digest is in the page's policy), and it loads nothing.
"""

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata, resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from parity.differences import Difference
from parity.history import Past, alike
from parity.numbers import short, times
from parity.render.deaths import again, how_it_died, what_was_found
from parity.render.difference import OTHER_UNITS, counted, in_words, places
from parity.render.gradients import worst_of
from parity.render.html import images
from parity.render.html.chart import chart
from parity.render.html.figures import outputs_of, pictures_of, pixels
from parity.render.html.view import ROW_HEIGHT, View, ratio_of
from parity.render.page import clip, visible
from parity.render.sentences import unmatched_in
from parity.report import INHERITS, INTRODUCES, PASS, Report

SHOWN = 6
"""How many findings have a card on top; the others are named."""

__all__ = ["cell", "difference_page", "page"]


def page(report: Report, history: Sequence[Past] = ()) -> str:
    """The report as an HTML page, with a chart of the pair's `history`, the oldest run first, where more than one of it
    is like the report's own."""
    view = View(report)
    like = alike(history, report)
    has_flow = any(shown.flow for run in report.runs for shown in run.shown.values())
    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            report=report,
            view=view,
            version=metadata.version("parity"),
            style=Markup(_asset("style.css")),
            script=Markup(_asset("page.js")),
            script_hash=_digest(_asset("page.js")),
            headline=(view.verdict.partition(": ")[2] or view.verdict).removeprefix(f"{report.pair} "),
            wheel=images.png(images.wheel()) if has_flow else "",
            shown=SHOWN,
            row_height=ROW_HEIGHT,
            short=short,
            how_it_died=how_it_died,
            what_was_found=what_was_found,
            again=lambda report, death: again(report, death).partition("  ("),
            unmatched=unmatched_in(report.coverage),
            facts_shown=list(_facts(view)),
            tainted=_tainted(view),
            outputs_shown=outputs_of(report),
            chart=chart(like, [node.name for node in view.nodes], len(history)) if len(like) > 1 else None,
            pictures_of=lambda layer: pictures_of(report, layer),
            warnings_shown=list(dict.fromkeys(f"{run.input}: {text}" for run in report.runs for text in run.warnings)),
            coverage_shown=list(_coverage(report)),
            clip=clip,
            worst_gradient=worst_of,
            data={"runs": view.for_script, "names": [visible(node.name) for node in view.nodes]},
        )
    )


def cell(report: Report) -> str:
    """The report as a cell of a notebook shows it: the verdict, what is wrong, and the runs."""
    return (
        _templates()
        .get_template("cell.html.jinja")
        .render(
            report=report,
            view=(view := View(report)),
            verdict=view.verdict,
            how_it_died=how_it_died,
            shown=SHOWN,
            short=short,
            unmatched=unmatched_in(report.coverage),
        )
    )


def difference_page(found: Difference) -> str:
    """What is other in a report than in an earlier one, as an HTML page."""
    return (
        _templates()
        .get_template("diff.html.jinja")
        .render(
            found=found,
            counted=counted(found),
            in_words=in_words,
            places=places,
            other_units=OTHER_UNITS[:1].upper() + OTHER_UNITS[1:],
            style=Markup(_asset("style.css")),
            version=metadata.version("parity"),
        )
    )


def _shown(value: Any) -> Any:
    """What an expression of a template puts into the page: no character of a name may turn what is around it."""
    return visible(value) if type(value) is str else value


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("parity.render.html"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _asset(name: str) -> str:
    return resources.files("parity.render.html").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What a Content-Security-Policy calls the script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _tainted(view: View) -> set[int]:
    """The nodes whose value is beyond its limits in some run: the way the error spreads is along what they make."""
    bad = (INTRODUCES, INHERITS)
    return {node.index for node in view.nodes if any(cell and cell.verdict in bad for cell in node.cells)}


def _facts(view: View) -> Iterator[tuple[str, str, str]]:
    """The run in figures: a label, a figure, and a note."""
    report = view.report
    if not report.runs:
        return
    agreeing = sum(run.verdict == PASS for run in report.runs)
    yield "runs agree", f"{agreeing} of {len(report.runs)}", ", ".join(dict.fromkeys(run.mode for run in report.runs))
    if report.gradients:
        differentiated = sum(run.verdict == PASS for run in report.gradients)
        yield "gradients agree", f"{differentiated} of {len(report.gradients)}", "and one step in training mode"
    compared = sum(not node.is_input for node in view.nodes)
    unmatched = len(report.coverage.unmatched_reference) + len(report.coverage.unmatched_port)
    label = "layer compared" if compared == 1 else "layers compared"
    yield label, str(compared), f"{report.coverage.weighted} with weights, {unmatched} unmatched"
    found = [(ratio_of(layer.introduced), layer.layer) for run in report.runs for layer in run.layers]
    ratio, name = max(found, key=lambda pair: pair[0], default=(-1.0, ""))
    if ratio >= 0:
        yield f"worst layer, in {view.unit}s", times(ratio) if math.isfinite(ratio) else "not a number", name
    outputs = [run.output for run in report.runs if run.verdict != "died"]
    if outputs:
        worst = max(outputs, key=lambda measure: (not measure.passed, ratio_of(measure)))
        words, _, floors = view.in_words(worst).partition(" · ")
        yield "output error, relative", words, f"{floors} the {view.unit}" if floors else worst.note
    lengths = [far.epe_mean for run in report.runs for far in run.deviations.values() if far.epe_mean is not None]
    if lengths:
        worst_length = max(lengths, key=lambda length: (length != length, length))
        yield "end-point error", f"{pixels(worst_length)} px", "mean, port against reference"


def _coverage(report: Report) -> Iterator[tuple[str, list[str]]]:
    coverage = report.coverage
    lists: Mapping[str, Any] = {
        "Waived by name": coverage.waived,
        "Compared together with the layer after them, since both sides hold other values there": coverage.apart,
        "Fused into another layer by what made the file, and compared with that": [
            f"{name} into {layer}" for name, layer in coverage.fused.items()
        ],
        "Compared end to end only: the port cannot run them alone": coverage.propagated_only,
        "Matches that nothing decided": [str(each) for each in coverage.ambiguous],
    }
    for title, names in lists.items():
        if names:
            yield title, list(names)
