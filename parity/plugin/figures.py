"""The figures of a test for result files, such as JUnit's XML, from which a CI draws its own charts."""

from collections.abc import Iterator, Sequence

from parity.plugin.verdicts import module_of
from parity.report import LayerResult, Report


def figures_of(
    report: Report, layers: Sequence[str] | None, places: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, object]]:
    """Names and figures: of weighted `layers` their worst errors over `places`, without layers those of the output."""
    runs = [run for run in report.runs if (run.input, run.mode) in places]
    if layers is None:
        for run in runs:
            yield "parity.output.relative", run.output.relative
            yield "parity.output.floors", run.output.floors
            yield "parity.output.allowed", run.output.allowed
            yield from ((f"parity.{name}.epe", far.epe_mean) for name, far in run.deviations.items() if far.epe_mean)
        return
    mine = [result for run in runs for result in run.layers if module_of(result.layer) in layers]
    if not mine:
        return
    worst = max(mine, key=_floors)
    yield "parity.port_layer", worst.port_layer
    yield "parity.floor", worst.floor
    if worst.introduced is not None:
        yield "parity.introduced.relative", worst.introduced.relative
        yield "parity.introduced.floors", worst.introduced.floors
        yield "parity.introduced.allowed", worst.introduced.allowed
    propagated = [result.propagated for result in mine if result.propagated is not None]
    if propagated:
        yield "parity.propagated.floors", max(measure.floors for measure in propagated)
    causes = dict.fromkeys(found.cause.slug for found in report.findings if module_of(found.layer) in layers)
    if causes:
        yield "parity.cause", ", ".join(causes)


def _floors(result: LayerResult) -> float:
    measure = result.introduced or result.propagated
    return measure.floors if measure else -1.0
