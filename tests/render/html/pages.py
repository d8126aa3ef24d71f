"""Hand-made reports for the page: passing, with three faults, not finite, of 500 layers, with hostile names."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from parity.portraits import ErrorPicture, Histogram, KeptArray, OutputPicture, Setup, WeightRelation
from parity.report import (
    DIVERGED,
    INHERITS,
    INTRODUCES,
    PASS,
    Cause,
    Coverage,
    Deviation,
    Finding,
    LayerResult,
    Measure,
    Report,
    Run,
    Trial,
    Watching,
)

FLOOR = 5e-7
HOSTILE = "<script>alert('x')</script> \"q\" & ünïcödé 層 </script><!-- "


def measure(relative: float, note: str = "") -> Measure:
    """An error; eight floors are allowed."""
    return Measure(
        relative=relative,
        allowed=8 * FLOOR,
        gain=0.0,
        ratio=relative / FLOOR,
        max_abs=4 * relative,
        max_allowed=32 * FLOOR,
        max_index=(0, 3, 2, 1),
        compared=800,
        total=1000,
        passed=relative <= 8 * FLOOR and not note,
        note=note,
    )


def error_picture(seed: int = 0) -> ErrorPicture:
    """An error on the right-hand side of a map, in the first of five channels."""
    space = np.zeros((9, 12), np.float32)
    space[:, 8:] = np.random.default_rng(seed).uniform(0.1, 0.9, (9, 4))
    return ErrorPicture(
        space=KeptArray.of(space),
        height=36,
        width=48,
        channels=KeptArray.of([0.8, 0.0, 1e-7, 0.0, 0.0]),
        channel_count=5,
        histogram=Histogram(low=-9.0, high=2.0, counts=(0, 3, 9, 4, 0, 0, 0, 2, 12, 30, 1), exact=70),
        limit=4e-6,
        words=("20% of the values are off by more than rounding", "only in 1 of 5 channels"),
    )


def flow_picture(error: float, *, truth: bool = False) -> OutputPicture:
    """A flow that turns around the middle, and a port that is off by `error` pixels to the right."""
    rows, columns = np.mgrid[-1:1:24j, -1:1:36j]
    flow = np.stack([-rows, columns]) * 8
    off = np.stack([np.full_like(rows, error), np.zeros_like(rows)])
    known = np.where(columns > 0.9, np.nan, flow * 1.1)
    return OutputPicture(
        height=96,
        width=144,
        flow=True,
        expected=KeptArray.of(flow),
        difference=KeptArray.of(off),
        error=KeptArray.of(np.hypot(*off)),
        truth=KeptArray.of(known) if truth else None,
        truth_epe=(0.61, 0.61 + error) if truth else None,
    )


def cause(slug: str, detail: str, change: str, before: float, after: float | None = 6e-7) -> Cause:
    """A cause that was proven, unless `after` is None."""
    trials = (Trial(slug=slug, detail=detail, residual=after, explains=True),) if after is not None else ()
    return Cause(slug=slug, detail=detail, change=change, residual_before=before, residual_after=after, tried=trials)


PERMUTED = cause(
    "kernel-axes",
    "the kernel's axes are permuted: it needs kh kw i o = its axes (1, 0, 2, 3)",
    'load the weights of Conv2D("conv3") as the reference has them: kernel',
    0.64,
)
SLOPE = cause(
    "activation-slope", "the slope for negative values is 0.2; the reference's is 0.1", "slope=0.1", 0.12, 0.0
)
SCALED = cause("scale", "the kernel is 1.001 times the reference's", 'load the weights of "up"', 9.6e-4)
THREE: Mapping[str, Cause] = {"act2": SLOPE, "conv3": PERMUTED, "up5": SCALED}
LAYERS = ("conv1", "act1", "conv2", "act2", "conv3", "act3", "conv4", "act4", "up5", "cat", "flow")


def reads_of(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each layer reads the one before; `cat` reads `act2` as well, and every tenth the one five before."""
    found = {}
    for index, name in enumerate(names):
        before = [names[index - 1] if index else "input"]
        if name == "cat":
            before.append("act2")
        if len(names) > 100 and index % 10 == 9:
            before.append(names[index - 5])
        found[name] = tuple(before)
    return found


def made(
    names: Sequence[str] = LAYERS,
    faults: Mapping[str, Cause] | None = None,
    *,
    inputs: Sequence[str] = ("noise", "motorcycle"),
    modes: Sequence[str] = ("eager", "xla"),
    not_finite: bool = False,
    settings: Mapping[str, str] | None = None,
    pair: str = "net",
) -> Report:
    """A report of a network of such layers, in which those of `faults` introduce an error, everywhere."""
    faults = faults or {}
    reads = reads_of(names)
    places = [(given, mode) for given in inputs for mode in modes]
    runs = tuple(_run(names, faults, reads, *place, not_finite=not_finite) for place in places)
    findings = tuple(
        Finding(
            layer=name,
            port_layer=f"k_{name}",
            input=given,
            mode=mode,
            error=math.inf if not_finite else why.residual_before or 1.0,
            floor=FLOOR,
            cause=why,
        )
        for given, mode in places
        for name, why in faults.items()
    )
    return Report(
        pair=pair,
        coverage=Coverage(matched={name: f"k_{name}" for name in names}, weighted=len(names) // 2),
        runs=runs,
        findings=findings,
        first_divergence=findings[0] if findings else None,
        environment={"torch": "2.13.0", "keras": "3.15.1"},
        settings={"policy": "noise floor", "command": "parity verify net", **(settings or {})},
        setups={
            name: Setup(
                reference=f"Conv2d({index}, 8)",
                port=(f'Conv2D("k_{name}")',),
                weights=(WeightRelation(name="kernel", shape=(3, 3, 2, 8), distance=0.0, relation="equal"),),
            )
            for index, name in enumerate(names)
        },
    )


def _run(
    names: Sequence[str],
    faults: Mapping[str, Cause],
    reads: Mapping[str, Sequence[str]],
    given: str,
    mode: str,
    *,
    not_finite: bool,
) -> Run:
    layers, wrong = [], set[str]()
    for index, name in enumerate(names):
        faulty = name in faults
        if faulty or wrong & set(reads[name]):
            wrong.add(name)
        note = "64 values of the port are not finite" if not_finite else ""
        layers.append(
            LayerResult(
                layer=name,
                port_layer=f"k_{name}",
                kind="conv2d" if name.startswith(("conv", "up")) else "operation",
                floor=FLOOR,
                propagated=measure(0.3, note) if name in wrong else measure(9e-7),
                introduced=measure(faults[name].residual_before or 1.0, note) if faulty else measure(index % 3 * 3e-7),
                verdict=INTRODUCES if faulty else INHERITS if name in wrong else PASS,
                weighted=name.startswith(("conv", "up")),
                reads=tuple(reads[name]),
            )
        )
    output = measure(0.28, "64 values of the port are not finite" if not_finite else "") if faults else measure(9e-7)
    off = 2.5 if faults else 1e-5
    return Run(
        input=given,
        origin="made by hand",
        mode=mode,
        verdict=DIVERGED if faults else PASS,
        layers=tuple(layers),
        output=output,
        watching=Watching(same=True, relative=0.0, within=True),
        deviations={"output": Deviation(rmse=off, max_abs=off, rms=8.0, epe_mean=off, epe_max=2 * off)},
        pictures={name: error_picture() for name in faults},
        shown={"output": flow_picture(off, truth=given == "motorcycle")},
    )


def passing() -> Report:
    """A port that agrees."""
    return made()


def failing() -> Report:
    """A port with three faults."""
    return made(faults=THREE)


def strange() -> Report:
    """A port with a NaN in a kernel."""
    why = Cause(slug="non-finite", detail="the kernel holds 1 NaN", change="load it again", residual_after=1e-6)
    return made(faults={"conv3": why}, not_finite=True)


def large(count: int = 500) -> Report:
    """A port of many layers in six runs, of which the one in the middle is at fault."""
    names = [f"{'conv' if index % 2 else 'act'}{index}" for index in range(count)]
    return made(names, {names[count // 2]: PERMUTED}, modes=("eager", "graph", "xla"))


def hostile() -> Report:
    """A port whose names, messages and files are all meant to break out of a page."""
    names = [f"{name} {HOSTILE}" for name in ("conv1", "conv2", "cat")]
    why = cause(HOSTILE, HOSTILE, HOSTILE, 0.5)
    return made(
        names,
        {names[1]: why},
        inputs=[f"in {HOSTILE}"],
        settings={"port": HOSTILE, "command": f"parity verify {HOSTILE}", "items": HOSTILE, "unfinished": HOSTILE},
        pair=f"pair {HOSTILE}",
    )
