"""How far the outputs are off in their own units: what a task is limited in, where a layer is judged by its noise."""

from collections.abc import Mapping

import numpy as np

from parity.axes import Array, Axes, move
from parity.judge import Judge
from parity.report import Deviation


def deviations(judge: Judge, axes: Axes, outputs: Mapping[str, Array]) -> dict[str, Deviation]:
    """The deviation of each of the port's `outputs` (its layout), by the reference's names of them.

    One of another shape than the reference's is infinitely far off.
    """
    found = {}
    for name, output in outputs.items():
        expected = judge.trace.outputs[name]
        source, target = axes.of(judge.trace.output_taps[name], expected.ndim)
        actual = move(output, target, source) if output.ndim == len(target) else output
        found[name] = deviation(actual, expected, source)
    return found


def deviation(actual: Array, expected: Array, layout: str) -> Deviation:
    """How far `actual` is from `expected`, both in `layout`, such as "NCHW"; in the units of the values.

    >>> flow = np.zeros((1, 2, 1, 1)); deviation(flow + [[[[3.0]], [[4.0]]]], flow, "NCHW").epe_max
    5.0
    """
    rms = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    if actual.shape != expected.shape:
        is_flow = _is_flow(expected, layout)
        far = np.inf if is_flow else None
        return Deviation(rmse=np.inf, max_abs=np.inf, rms=rms, epe_mean=far, epe_max=far)
    difference = actual.astype(np.float64) - expected
    squares = np.square(difference)
    lengths = np.sqrt(squares.sum(axis=layout.index("C"))) if _is_flow(expected, layout) else None
    return Deviation(
        rmse=float(np.sqrt(squares.mean())),
        max_abs=float(np.abs(difference).max()),
        rms=rms,
        epe_mean=None if lengths is None else float(lengths.mean()),
        epe_max=None if lengths is None else float(lengths.max()),
    )


def _is_flow(expected: Array, layout: str) -> bool:
    """Whether values are a map of vectors in a plane."""
    sizes = dict(zip(layout, expected.shape, strict=False))
    return {"H", "W"} <= sizes.keys() and sizes.get("C") == 2
