"""What a survivor computes on many more cases than it was tried on: the same, the same but for roundings, or another.

Two criteria, so that nobody decides which mutants count. Bit by bit: a digest of every output of the port as it is.
And in float64: a copy of the port, layer by layer with the weights widened, on the widened input. A difference of
roundings shrinks with the roundings, to nine digits less than in float32; any other stays as large as it was. What
cannot be copied, does not give float64, or is then no longer what the port is, counts as a difference.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mutants.cases import on_cases

CASES, CASES_OF_ONE = 800, 100
"""How many cases a survivor is compared with the original on in all, and of each kind at least."""
ROUNDING = 1e-12
"""How far two ports in float64 may be apart, relative to the output's greatest value, and differ by roundings only."""
FINER = 2.0**-29
"""A rounding of float64, in roundings of float32."""
MOVES = " moves"
"""Ends the name of how far an output of torch's float64 moves with the case's numbers moved by such a rounding."""

Values = Mapping[str, np.ndarray[Any, Any]]
"""By kind, case, data format and output: its values, or in words why there are none."""


def how_many(kinds: Sequence[str]) -> int:
    """How many cases of each of these kinds."""
    return max(CASES // len(kinds), CASES_OF_ONE)


def digests(kinds: Sequence[str], count: int) -> dict[str, list[str]]:
    """By kind, what the port gives on so many cases: a digest of every output's bytes, or what was raised."""
    from parity.layers import Trial

    found: dict[str, list[str]] = {}
    for name in kinds:
        lines = found[name] = []
        for case, data_format in _cases(name, count):
            try:
                outcomes = Trial(case, data_format).outcomes()
                whole = b"".join(each.actual.tobytes() for each in outcomes.values())
                lines.append(hashlib.sha256(whole).hexdigest()[:16])
            except Exception as error:
                lines.append(type(error).__name__)
    return found


def in_float64(kinds: Sequence[str], count: int) -> dict[str, np.ndarray[Any, Any]]:
    """What the ports of so many cases of each kind give in float64. What is refused is left out."""
    from parity.errors import ConversionError
    from parity.layers import Trial
    from parity.runners.edits import edited_copy, nodes_of

    found: dict[str, np.ndarray[Any, Any]] = {}
    for name in kinds:
        for number, (case, data_format) in enumerate(_cases(name, count)):
            key = f"{name}/{number}/{data_format}"
            try:
                port = Trial(case, data_format).port
            except ConversionError:
                continue
            except Exception as error:
                found[key] = np.array(f"{type(error).__name__} where it is built")
                continue
            try:
                wide = Trial(case, data_format, replace(port, model=edited_copy(port.model, dtype="float64")))
                if any(str(tensor.dtype) == "float32" for node in nodes_of(wide.port.model) for tensor in node.outputs):
                    found[key] = np.array("float32 in float64")
                    continue
                for output, outcome in _outcomes(wide).items():
                    found[f"{key}/{output}"] = _honest(outcome)
                    if outcome.actual.dtype.kind == "f":
                        moves = wide.conditioning[output].max_abs * FINER
                        found[f"{key}/{output}{MOVES}"] = np.array(moves if np.isfinite(moves) else 0.0)
            except Exception as error:
                found[key] = np.array(f"{type(error).__name__} in float64")
    return found


def _outcomes(trial: Any) -> Mapping[str, Any]:
    """Eagerly, or compiled where TensorFlow has no kernel for float64, as for poolings of volumes."""
    try:
        return trial.outcomes()  # type: ignore[no-any-return]
    except Exception:
        return trial.outcomes("xla")  # type: ignore[no-any-return]


def _honest(outcome: Any) -> np.ndarray[Any, Any]:
    """The values of a copy in float64 where they are that, and what the port itself could have given."""
    values: np.ndarray[Any, Any] = outcome.actual
    if values.dtype == np.float32:
        return np.array("float32 in float64")
    return values if outcome.passed else np.array("another port in float64")


def _cases(kind: str, count: int) -> Iterator[tuple[Any, str]]:
    from parity.layers import kind_called

    drawn: list[Any] = []
    on_cases(kind, drawn.append, count)
    for case in drawn:
        for data_format in kind_called(kind).formats:
            yield case, data_format


def write(path: Path, values: Values) -> None:
    """Keep values in a file."""
    np.savez(path, **dict(values))  # type: ignore[arg-type]


def read(path: Path) -> Values:
    """Values from a file."""
    with np.load(path) as file:
        return dict(file)


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far two ports in float64 are apart: the greatest difference, relative to the greatest value of its output;
    and the greatest share of what roundings explain, with the output that is off by it."""

    relative: float = 0.0
    share: float = 0.0
    where: str = ""

    @property
    def rounds(self) -> bool:
        """Whether it is roundings only."""
        return self.share <= 1

    def __str__(self) -> str:
        return f"in float64 by {self.relative:.1e} at most, {self.share:.2g} of what rounds ({self.where})"


def apart(mutated: Values, original: Values) -> Apart:
    """How far two ports in float64 are apart at most.

    Infinitely, where that cannot be said: not the same outputs, shapes, places of NaN, words instead of values.
    Explained by roundings is ROUNDING of the output's greatest value; and in a case that is ill-conditioned what the
    judge allows there in float32 (see parity.layers.trial), made as much smaller as float64's roundings are.
    """
    from parity.layers.trial import JUDGE

    keys = [key for key in original if not key.endswith(MOVES)]
    if not keys or mutated.keys() != original.keys():
        return Apart(relative=np.inf, share=np.inf, where=", ".join(sorted(mutated.keys() ^ original.keys())[:1]))
    relative, worst, where = 0.0, -1.0, ""
    for key in keys:
        far, size = _far(mutated[key], original[key])
        allowed = max(ROUNDING * size, JUDGE.max_ratio * float(original.get(key + MOVES, 0.0)))
        share = far / allowed if allowed else np.inf if far else 0.0
        relative = max(relative, far / size if size else far)
        if share > worst:
            words = [str(values[key]) for values in (mutated, original) if values[key].dtype.kind == "U"]
            worst, where = share, ": ".join([key, *words[:1]])
    return Apart(relative=relative, share=worst, where=where)


def _far(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The greatest difference, and the greatest value."""
    if "U" in (actual.dtype.kind, expected.dtype.kind):
        return np.inf, 1.0
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return np.inf, 1.0
    if expected.dtype.kind != "f":
        return (0.0 if np.array_equal(actual, expected) else np.inf), 1.0
    finite = np.isfinite(expected)
    if not np.array_equal(actual[~finite], expected[~finite], equal_nan=True) or not np.isfinite(actual[finite]).all():
        return np.inf, 1.0
    far = np.abs(actual[finite] - expected[finite]).max(initial=0.0)
    return float(far), float(np.abs(expected[finite]).max(initial=0.0))
