"""Hand-made records of a small network, for tests of what shows and judges reports. No network is run."""

from collections.abc import Iterable
from dataclasses import replace

from parity.report import (
    DIVERGED,
    INHERITS,
    INTRODUCES,
    PASS,
    Cause,
    Coverage,
    Finding,
    LayerResult,
    Measure,
    Report,
    Run,
    Watching,
)

FLOOR = 4e-7
WEIGHTED = ("conv0.0", "conv1.0", "predict_flow")
LAYERS = {
    "cat": "joined_frames",
    "conv0.0": "conv0",
    "conv0.1": "leaky_re_lu_1",
    "conv1.0": "conv1",
    "conv1.1": "leaky_re_lu_2",
    "predict_flow": "predict_flow",
    "mul": "flow_scale",
}
"""Reference taps in order of execution, and the port layers that answer."""


def measure(ratio: float = 2.0) -> Measure:
    """An error of `ratio` noise floors; eight are allowed."""
    return Measure(
        relative=ratio * FLOOR,
        allowed=8 * FLOOR,
        gain=0.0,
        ratio=ratio,
        max_abs=ratio * 3e-5,
        max_allowed=2.4e-4,
        max_index=(0, 1, 2, 3),
        compared=6,
        total=6,
        passed=ratio <= 8,
    )


def layer(name: str, *, propagated: float = 2.0, introduced: float = 1.0) -> LayerResult:
    """A layer of LAYERS that is so many floors off end to end, and by itself."""
    verdict = INTRODUCES if introduced > 8 else INHERITS if propagated > 8 else PASS
    return LayerResult(
        layer=name,
        port_layer=LAYERS[name],
        kind="conv2d" if name in WEIGHTED else "operation",
        floor=FLOOR,
        propagated=measure(propagated),
        introduced=measure(introduced),
        verdict=verdict,
        weighted=name in WEIGHTED,
    )


def run(
    input_name: str = "noise",
    mode: str = "eager",
    *,
    faulty: Iterable[str] = (),
    output: float = 2.0,
    warnings: tuple[str, ...] = (),
) -> Run:
    """One run; a faulty layer introduces 5000 floors, and all after it inherit them."""
    faulty = set(faulty)
    layers, inherited = [], False
    for name in LAYERS:
        inherited = inherited or name in faulty
        layers.append(layer(name, propagated=5000 if inherited else 2, introduced=5000 if name in faulty else 1))
    passed = not inherited and output <= 8
    return Run(
        input=input_name,
        origin="hand-made",
        mode=mode,
        verdict=PASS if passed else DIVERGED,
        layers=tuple(layers),
        output=measure(5000 if inherited else output),
        watching=Watching(same=True, relative=0.0, within=True),
        warnings=warnings,
    )


def finding(
    name: str,
    input_name: str = "noise",
    mode: str = "eager",
    *,
    slug: str = "padding",
    introduced: bool = True,
) -> Finding:
    """A finding of 5000 floors at a layer of LAYERS."""
    return Finding(
        layer=name,
        port_layer=LAYERS[name],
        input=input_name,
        mode=mode,
        error=5000 * FLOOR,
        floor=FLOOR,
        cause=Cause(
            slug=slug,
            detail="same pads 0,1; reference pads 1,1",
            residual_before=5000 * FLOOR,
            residual_after=None if slug == "unknown" else 3.9e-7,
        ),
        introduced=introduced,
    )


COVERAGE = Coverage(matched=LAYERS, weighted=len(WEIGHTED))


def report(
    inputs: Iterable[str] = ("noise",),
    modes: Iterable[str] = ("eager",),
    *,
    faulty: Iterable[str] = (),
    coverage: Coverage = COVERAGE,
    settings: dict[str, str] | None = None,
) -> Report:
    """A report over inputs and modes in which the layers of `faulty` are at fault everywhere."""
    faulty, modes = tuple(faulty), tuple(modes)
    places = [(name, mode) for name in inputs for mode in modes]
    findings = tuple(finding(bad, *place) for place in places for bad in LAYERS if bad in faulty)
    return Report(
        pair="small",
        coverage=coverage,
        runs=tuple(run(*place, faulty=faulty) for place in places),
        findings=findings,
        first_divergence=findings[0] if findings else None,
        environment={"torch": "2.13.0", "tensorflow": "2.21.0", "keras": "3.15.1"},
        settings=settings or {"policy": "noise floor of a float64 run (RMSE 8x, maximum 32x)"},
    )


def with_run(made: Report, index: int, **changes: object) -> Report:
    """The report with one of its runs changed; the verdict is derived anew."""
    runs = list(made.runs)
    runs[index] = replace(runs[index], **changes)
    return replace(made, runs=tuple(runs), verdict="")
