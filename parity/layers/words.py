"""What is said of a case that fails: what, where, how far, how far allowed, why, the smallest case, what next."""

import math
import re
from collections.abc import Sequence

import numpy as np

from parity.errors import ParityError
from parity.layers.fire import Failed
from parity.layers.trial import Outcome
from parity.numbers import short
from parity.pairs import INPUT
from parity.render.page import columns, packed
from parity.render.sentences import badness, cause_in_words, change_in_words, what_is_left
from parity.report import Finding
from parity.verification import verify


def failure(failed: Failed, *, what: str = "case", next_line: str = "", width: int | None = None) -> str:
    """A failed case in the format of every failure of parity; `what` it is called, `next_line` how to have it again."""
    name, worst = _worst(failed.outcomes)
    lines: list[Sequence[str]] = [
        [f"layers / {failed.case.kind or _kind(failed)}[{failed.data_format}]  {_how_far(failed, name, worst)}"],
        *([text] for text in _why(failed)),
        [f"{what}: {_one_line(failed.case.module)}"],
        *([text] for text in _inputs(failed)),
        *([text] for text in ([] if worst is None else _outputs(name, worst))),
        [f"mode {failed.mode}", "judged by a float64 run of torch"],
    ]
    room = (width or columns()) - 2
    laid_out = [line for pieces in lines for line in packed(pieces, room)]
    # A command is never broken in two.
    return "\n  ".join([*laid_out, *([next_line] if next_line else [])])


def _kind(failed: Failed) -> str:
    return type(failed.case.module).__name__


def _one_line(module: object) -> str:
    return " ".join(repr(module).split())


def _worst(outcomes: dict[str, Outcome]) -> tuple[str, Outcome | None]:
    off = {name: outcome for name, outcome in outcomes.items() if not outcome.passed}
    if not off:
        return "", None

    def far(name: str) -> float:
        comparison = off[name].comparison
        return math.inf if comparison is None else comparison.relative

    name = max(off, key=far)
    return name, off[name]


def _how_far(failed: Failed, name: str, outcome: Outcome | None) -> str:
    if outcome is None:
        said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(failed.error)).split())
        return f"raises {type(failed.error).__name__}: {said[:500]}"
    comparison = outcome.comparison
    if comparison is None:
        return f"{name} cannot be compared: {outcome.note}"
    if comparison.nonfinite_actual or comparison.nonfinite_expected:
        return f"{name} is not finite in other places than torch's"
    if comparison.limits.rtol is not None:
        return f"{name} is not exact: {comparison.exceeding} of {comparison.count} values differ; it only moves values"
    if not comparison.expected_rms:
        return f"{name} is up to {short(comparison.max_abs)} where torch has zeros"
    allowed = comparison.limits.rmse / comparison.expected_rms
    if comparison.rmse > comparison.limits.rmse:
        return f"{name} differs by {short(comparison.relative)} (allowed {short(allowed)})"
    if abs(comparison.gain) > comparison.limits.gain:
        return f"{name} is off by the factor 1 {comparison.gain:+.1e} (allowed {short(comparison.limits.gain)})"
    allowed = comparison.limits.max_abs
    return f"{name} differs by {short(comparison.max_abs)} in one place (allowed {short(allowed)})"


def _why(failed: Failed) -> list[str]:
    """The cause, as a verification of the smallest case finds it."""
    if failed.trial is None or not failed.outcomes:
        return []
    try:
        found = _findings(failed)
    except ParityError as error:
        return [f"cause: unknown ({error})"]
    except Exception as error:
        return [f"cause: unknown (looking for it ended with {type(error).__name__}: {error})"]
    if not found:
        return ["cause: unknown (layer by layer nothing is off)"]
    worst = max(found, key=badness)
    return [text for text in (cause_in_words(worst), change_in_words(worst), what_is_left(worst)) if text]


def _findings(failed: Failed) -> tuple[Finding, ...]:
    assert failed.trial is not None
    pair = failed.trial.port.pair(failed.case.kind or _kind(failed))
    return verify(pair, [failed.case.given], (failed.mode,)).findings


def _inputs(failed: Failed) -> list[str]:
    """The inputs of the smallest case: their shapes, and their values where those are few."""
    return [
        f"{name} {array.dtype} {array.shape} {failed.case.layouts.get(name, '')}"
        f"{f' ({failed.case.given.origin})' if name == INPUT and failed.case.given.origin else ''}{_values(array)}"
        for name, array in failed.case.given.arrays.items()
    ]


def _outputs(name: str, outcome: Outcome) -> list[str]:
    lines = [f"{name} {outcome.expected.shape} of torch{_values(outcome.expected)}"]
    if outcome.actual.size:
        lines.append(f"{name} {outcome.actual.shape} of the port{_values(outcome.actual)}")
    comparison = outcome.comparison
    if comparison is not None and comparison.max_abs:
        index = tuple(int(place) for place in np.unravel_index(comparison.max_index, outcome.expected.shape))
        allowed = comparison.limits.max_abs
        up_to = f" (up to {short(allowed)} allowed)" if math.isfinite(allowed) else ""
        lines.append(f"greatest difference {short(comparison.max_abs)} at {index}{up_to}")
    return lines


def _values(array: np.ndarray) -> str:
    if array.size > 8:
        return ""
    return f": {np.array2string(array.reshape(-1), precision=6, separator=', ', max_line_width=1000)}"
