"""Which failure belongs to which test: a layer's to the layer's, everything else to the network's.

A weighted layer answers for itself and for the operations without weights that follow it inside the same parent
module (`conv2.1`, the activation after `conv2.0`). What no weighted layer answers for (concatenations, scalings,
resizes outside such a module) belongs to the test of the network on that input in that mode.
"""

import re
from collections.abc import Iterator, Sequence

from parity.render.failures import (
    arriving_failure,
    coverage_failure,
    died_failure,
    failures,
    output_failure,
    uncompared_failure,
    undifferentiated_failure,
    watching_failure,
)
from parity.render.sentences import NON_FINITE
from parity.report import (
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    VALUES,
    Cause,
    Finding,
    GradientRun,
    LayerResult,
    Report,
    Run,
)

ACCUMULATED = Cause(slug="unknown", detail="no single layer introduces it; it has accumulated on the way here")


def owners(report: Report, weighted: Sequence[str]) -> dict[str, str]:
    """For each tap that a weighted layer answers for, that layer."""
    layers = max((run.layers for run in report.runs), key=len, default=())
    # By parent module, the weighted layer that ran last; before any did, the one that was registered first.
    latest: dict[str, str] = {}
    for name in weighted:
        latest.setdefault(_parent(name), name)
    owner = {name: name for name in weighted}
    for tap in (name for layer in layers for name in (*layer.inside, layer.layer)):
        module = module_of(tap)
        parent = _parent(module)
        if module in weighted:
            owner[tap] = latest[parent] = module
        elif parent in latest and parent:
            owner[tap] = latest[parent]
    return owner


def module_of(tap: str) -> str:
    """A tap's name without the number of its firing or of its part.

    >>> module_of("stage.conv#2"), module_of("lstm[0]")
    ('stage.conv', 'lstm')
    """
    return re.sub(r"(#\d+|\[\d+\])+$", "", tap)


def _parent(module: str) -> str:
    return module.rpartition(".")[0]


def layer_failure(report: Report, weighted: Sequence[str], layer: str) -> str | None:
    """Why the test of a weighted layer fails over all runs, or None where it passes."""
    owner = owners(report, weighted)
    mine = [finding for finding in _all_findings(report) if owner.get(finding.layer) == layer]
    parts = [failures(report, mine)] if mine else []
    uncompared = [run for run in report.runs if not compared_in(run, owner, layer)]
    if uncompared or not report.runs:
        parts.append(uncompared_failure(report, layer, uncompared))
    return "\n\n".join(parts) or None


def is_waived(report: Report, layer: str) -> bool:
    """Whether a layer was left uncompared on purpose: waived by name, and compared in no run."""
    seen = {module_of(result.layer) for run in report.runs for result in run.layers}
    return layer in report.coverage.waived and layer not in seen


def network_failure(report: Report, weighted: Sequence[str], input_name: str, mode: str) -> str | None:
    """Why the test of the network on one input in one mode fails, or None where it passes."""
    run = next((run for run in report.runs if (run.input, run.mode) == (input_name, mode)), None)
    if run is None and report.deaths:
        return died_failure(report, input_name)
    if run is None:
        return f"{report.pair}  was not run on input {input_name} in mode {mode}"
    return "\n\n".join(_network_failures(report, run, owners(report, weighted))) or None


def _network_failures(report: Report, run: Run, owner: dict[str, str]) -> Iterator[str]:
    if not report.coverage.complete:
        yield coverage_failure(report)
    here = [finding for finding in _all_findings(report) if (finding.input, finding.mode) == (run.input, run.mode)]
    mine = [finding for finding in here if finding.layer not in owner or finding.cause.slug == NON_FINITE]
    if mine:
        yield failures(report, mine)
    if not run.output.passed:
        yield output_failure(report, run)
    if not run.watching.within:
        yield watching_failure(report, run)
    for layer in run.layers:
        if layer.verdict == NOT_COMPARED and layer.layer not in owner:
            yield uncompared_failure(report, layer.layer, [run])
    others = len(here) > len(mine) or any(layer.verdict == NOT_COMPARED for layer in run.layers)
    if run.verdict != PASS and not mine and not others and run.output.passed and run.watching.within:
        # No test may pass a run that the report calls diverged, whatever the reason.
        yield f"{report.pair}  diverged (input {run.input}, mode {run.mode}); the report says no more"


def _all_findings(report: Report) -> list[Finding]:
    """What layers introduce, and in each run the first layer that leaves its limits although none introduces."""
    values = [finding for finding in report.findings if finding.about == VALUES]
    return [*values, *(found for run in report.runs for found in _accumulated(run))]


def _accumulated(run: Run) -> Iterator[Finding]:
    for layer in run.layers:
        if layer.verdict in (INTRODUCES, NOT_COMPARED):
            return
        if layer.verdict == INHERITS and layer.propagated:
            yield _inherited(run, layer, layer.propagated.relative)
            return


def _inherited(run: Run, layer: LayerResult, error: float) -> Finding:
    return Finding(
        layer=layer.layer,
        port_layer=layer.port_layer,
        input=run.input,
        mode=run.mode,
        error=error,
        floor=layer.floor,
        cause=ACCUMULATED,
        introduced=False,
    )


def compared_in(run: Run, owner: dict[str, str], layer: str) -> bool:
    """Whether the layer was compared in that run, by itself or with another, and nothing of its own was left out."""
    mine = [result for result in run.layers if owner.get(result.layer) == layer]
    compared = [result for result in run.layers if result.verdict != NOT_COMPARED]
    itself = any(layer in map(module_of, (result.layer, *result.inside)) for result in [*mine, *compared])
    return itself and all(result.verdict != NOT_COMPARED for result in mine)


# --- gradients -----------------------------------------------------------------------------------------------


def gradient_failure(report: Report, weighted: Sequence[str], layer: str) -> str | None:
    """Why the test of a weighted layer's gradients fails over all runs, or None where it passes."""
    owner = owners(report, weighted)
    mine = [found for found in report.findings if found.about != VALUES and owner.get(found.layer) == layer]
    parts = [failures(report, mine)] if mine else []
    left = [run for run in report.gradients if not _differentiated(run, owner, layer)]
    if left or not report.gradients:
        parts.append(undifferentiated_failure(report, layer, left))
    return "\n\n".join(parts) or None


def _differentiated(run: GradientRun, owner: dict[str, str], layer: str) -> bool:
    mine = [result for result in run.layers if owner.get(result.layer) == layer]
    return any(module_of(result.layer) == layer for result in mine) and all(r.verdict != NOT_COMPARED for r in mine)


def input_gradient_failure(report: Report, weighted: Sequence[str], input_name: str) -> str | None:
    """Why the test of the gradients on one input fails, in whatever mode, or None where it passes."""
    owner, runs = owners(report, weighted), [run for run in report.gradients if run.input == input_name]
    found = [each for each in report.findings if each.about != VALUES and each.input == input_name]
    mine = [each for each in found if each.layer not in owner]
    parts = [failures(report, mine)] if mine else []
    if not runs:
        parts.append(undifferentiated_failure(report, input_name, []))
    for run in runs:
        off = [name for name, measure in run.inputs.items() if not measure.passed]
        parts += [arriving_failure(report, run, off)] if off else []
        unowned = any(r.verdict not in (PASS, INTRODUCES) and r.layer not in owner for r in run.layers)
        if run.verdict != PASS and not off and not mine and (unowned or not found):
            parts.append(arriving_failure(report, run, []))
    return "\n\n".join(parts) or None
