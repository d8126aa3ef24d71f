"""The runs of a result as rows of a table: what both pages show of them."""

import math

from parity.gate.checks import FAIL, FOLLOWS, LAYER, OUTPUT, PASS, WAIVED, Check, Result
from parity.gate.growth import number
from parity.numbers import short, times

NO_NUMBER = "no number"
"""What stands for an error of values that are not finite, or of shapes that differ."""
NOTHING = "not compared:"
"""What stands before the name of a layer that was not compared."""


def rows(result: Result) -> list[tuple[str, ...]]:
    """For each run: input, mode, layers that pass, the worst layer, the output's error, its end-point error."""
    return [_row(result, given, mode) for given, mode in result.places()]


def _row(result: Result, given: str, mode: str) -> tuple[str, ...]:
    here = [check for check in result.checks if (check.input, check.mode) == (given, mode)]
    layers = [check for check in here if check.kind == LAYER]
    outputs = [check for check in here if check.kind == OUTPUT and "error" in check.figures]
    passed = sum(check.verdict == PASS for check in layers)
    return given, mode, f"{passed} of {len(layers)} pass", _worst(layers), _errors(outputs), _flow(outputs)


def floors(check: Check) -> float:
    """How far a layer is off: what it introduces where it is at fault, else what it is off end to end."""
    figures = check.figures
    own = figures.get("introduced_floors", 0.0)
    whole = figures.get("propagated_floors", own)
    found = number(own if check.verdict in (FAIL, WAIVED) else whole)
    return math.inf if math.isnan(found) else found


def _worst(layers: list[Check]) -> str:
    guilty = [check for check in layers if check.verdict == FAIL]
    found = max(guilty or [check for check in layers if check.verdict != FOLLOWS], key=floors, default=None)
    if found is None:
        return "nothing compared"
    return f"{off_by(found)} {found.name}"


def off_by(check: Check) -> str:
    """How far a layer is off, in words."""
    if not {"introduced_floors", "propagated_floors"} & check.figures.keys():
        return NOTHING
    return times(floors(check)) if math.isfinite(floors(check)) else NO_NUMBER


def _errors(outputs: list[Check]) -> str:
    if not outputs:
        return "-"
    errors = [number(check.figures["error"]) for check in outputs]
    return short(max(errors)) if all(map(math.isfinite, errors)) else NO_NUMBER


def _flow(outputs: list[Check]) -> str:
    """The end-point error of the worst output that has one: its mean and its greatest, in pixels."""
    flows = [check for check in outputs if "epe_mean" in check.figures]
    if not flows:
        return "-"
    mean, greatest = (max(number(check.figures[name]) for check in flows) for name in ("epe_mean", "epe_max"))
    return f"{short(mean)}, max {short(greatest)} px"
