"""What other tools would have said of the same runs: fixed tolerances end to end, and the rule of CRADLE and LEMON.

Both see only the propagated errors, as those tools do; nothing is run again for them.

- *Fixed tolerance*: the first layer with a difference beyond atol + rtol * |expected| (rtol = atol) is blamed. It is
  looked at where the difference is greatest, which is all that a report keeps.
- *Rate of change* (CRADLE, ICSE 2019; LEMON, FSE 2020): the error of each layer against the greatest error of those it
  reads, R = (d - d_before) / (d_before + 1e-7); the layer of the greatest rate is blamed. Theirs is a mean absolute
  difference; here it is the RMSE. They call a model inconsistent by a distance to the labels (CRADLE: above 0.2);
  random weights have no labels, so it is the relative error of the output that must be above 0.2 here.
"""

import math
from collections.abc import Mapping

from parity.axes import Array
from parity.pairs import INPUT
from parity.report import Measure, Run

TOLERANCES = (1e-3, 1e-4, 1e-5)
THRESHOLD = 0.2
EPSILON = 1e-7
RATE = "rate of change"

Blamed = Mapping[str, str]
"""For each baseline that raises an alarm, the layer it blames; OUTPUT where only the output shows it."""
OUTPUT = "(output)"
Reads = Mapping[str, tuple[str, ...]]


def name_of(tolerance: float) -> str:
    """What a fixed tolerance is called in the tables."""
    return f"tolerance {tolerance:g}"


BASELINES = (*map(name_of, TOLERANCES), RATE)


def blamed(run: Run, values: Mapping[str, Array], reads: Reads) -> dict[str, str]:
    """The layer that each baseline blames for this run; RATE blames one always, and whether it raises an alarm is open.

    `values` are the reference's at each tap, for the input of the run; `reads` the taps that each layer reads.
    """
    found = {name_of(tolerance): _first_beyond(run, values, tolerance) for tolerance in TOLERANCES}
    return {name: layer for name, layer in found.items() if layer} | {RATE: _fastest(run, values, reads)}


def alarms(run: Run, blame: Blamed) -> tuple[str, ...]:
    """The baselines that call the run wrong."""
    fixed = [name for name in blame if name != RATE]
    return (*fixed, *([RATE] if not run.output.relative <= THRESHOLD else []))


def _first_beyond(run: Run, values: Mapping[str, Array], tolerance: float) -> str:
    for layer in run.layers:
        if layer.propagated is None or _beyond(layer.propagated, values[layer.layer], tolerance):
            return layer.layer
    last = run.layers[-1].layer
    return OUTPUT if _beyond(run.output, values[last], tolerance) else ""


def _beyond(measure: Measure, value: Array, tolerance: float) -> bool:
    fits = len(measure.max_index) == value.ndim and all(
        i < n for i, n in zip(measure.max_index, value.shape, strict=True)
    )
    expected = abs(float(value[measure.max_index])) if fits else 0.0
    return not measure.max_abs <= tolerance + tolerance * expected


def _fastest(run: Run, values: Mapping[str, Array], reads: Reads) -> str:
    """The layer at which the error grows fastest."""
    error = {INPUT: 0.0}
    for layer in run.layers:
        value = values[layer.layer]
        size = math.sqrt(float((value.astype("float64") ** 2).mean()))
        error[layer.layer] = layer.propagated.relative * size if layer.propagated else math.inf
    rates = {name: _rate(error, reads.get(name, ()), name) for name in error if name != INPUT}
    return max(rates, key=lambda name: rates[name])


def _rate(error: Mapping[str, float], before: tuple[str, ...], name: str) -> float:
    worst = max((error.get(each, 0.0) for each in before), default=0.0)
    rate = (error[name] - worst) / (worst + EPSILON)
    return -math.inf if math.isnan(rate) else rate
