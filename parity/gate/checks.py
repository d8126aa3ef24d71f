"""One thing that a gate looks at, and what came of it; the result of all of them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from parity.gate.facts import Facts

PASS, FAIL, WAIVED, FOLLOWS, UNKNOWN = "pass", "fail", "waived", "follows", "unknown"
"""Verdicts of a check. What "follows" is not at fault itself: only what another layer introduces reaches it. What is
"unknown" was not finished."""
LAYER, OUTPUT, LIMIT, GROWTH, WATCHING = "layer", "output", "limit", "growth", "watching"
"""Kinds of checks, of one input in one mode each."""
ARTIFACT, COVERAGE, WAIVER, PROCESS = "artifact", "coverage", "waiver", "process"
"""Kinds of checks of the whole run."""
ENGINE = "engine"
"""The check of an artifact whether it runs as its engine is started by default."""
NOT_VERIFIED = "not verified"
"""The verdict of a result that is neither "pass" nor "fail"."""

Figure = float | int | str | None


NO_NUMBERS = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
"""What floats that JSON has no numbers for are called in it."""


def for_json(says: Any) -> Any:
    """The same, at any depth, with words in place of infinities and NaN. pydantic writes them so as well, but not where
    a value may also be of another type."""
    if isinstance(says, Mapping):
        return {name: for_json(value) for name, value in says.items()}
    if isinstance(says, list):
        return [for_json(value) for value in says]
    return NO_NUMBERS.get(str(says), says) if isinstance(says, float) else says


def _read(figure: Figure) -> Figure:
    """A figure as it was before it was written."""
    return float(figure) if isinstance(figure, str) and figure in NO_NUMBERS.values() else figure


class _Record:
    """What all records share: infinities and NaN are written as strings, since JSON has no numbers for them."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")


@dataclass(frozen=True, kw_only=True)
class Check(_Record):
    """What came of one thing: `says` has it in words where it is not a plain pass, `figures` in numbers.

    `input` and `mode` are "" for what is of the whole run.
    """

    kind: str
    name: str
    verdict: str
    input: str = ""
    mode: str = ""
    says: str = ""
    figures: Mapping[str, Annotated[Figure, BeforeValidator(_read)]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called in lists: "layer[conv3_1.0]"."""
        return f"{self.kind}[{self.name}]"

    @property
    def place(self) -> str:
        """Where it was looked at: "noise (pb)"; "" for what is of the whole run."""
        return f"{self.input} ({self.mode})" if self.mode else ""

    @property
    def is_wide(self) -> bool:
        """Whether a layer may be as far off as its values are large: any value would do."""
        limits = [self.figures.get(name) for name in ("introduced_allowed", "propagated_allowed")]
        known = [limit for limit in limits if isinstance(limit, (int, float)) and math.isfinite(limit)]
        return bool(known) and min(known) >= 1

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is of: the same thing in another run of the gate has the same key."""
        return self.kind, self.name, self.input, self.mode


@dataclass(frozen=True, kw_only=True)
class Result(_Record):
    """A run of the gate. `notes` say what is worth knowing and fails nothing; `policy` what it was held to, in words.

    `verdict` is "pass", "fail", or "not verified" where something was not finished: then nothing else decides.
    """

    pair: str
    verdict: str
    artifact: Facts
    policy: str
    baseline: str = ""
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 not verified."""
        return {PASS: 0, FAIL: 1, NOT_VERIFIED: 3}[self.verdict]

    @property
    def caution(self) -> str:
        """What must be said of a pass where at least half of the layers were held to nothing; else ""."""
        layers = [check for check in self.checks if check.kind == LAYER]
        waived = sum(check.verdict == WAIVED for check in layers)
        wide = sum(check.verdict == PASS and check.is_wide for check in layers)
        if self.verdict != PASS or 2 * (waived + wide) < len(layers):
            return ""
        counts = {"waived": waived, "have limits wider than their signal": wide}
        told = " and ".join(f"{count} of {len(layers)} layers {what}" for what, count in counts.items() if count)
        return told.replace("layers waived", "layers are waived") + ": this policy holds them to nothing"

    def having(self, *verdicts: str) -> list[Check]:
        """The checks with these verdicts."""
        return [check for check in self.checks if check.verdict in verdicts]

    def grouped(self, *verdicts: str) -> list[list[Check]]:
        """The checks with these verdicts: of each thing those of all inputs and modes, in the order of the first."""
        groups: dict[str, list[Check]] = {}
        for check in self.having(*verdicts):
            groups.setdefault(check.title, []).append(check)
        return list(groups.values())

    def places(self) -> list[tuple[str, str]]:
        """Every (input, mode), in order."""
        return list(dict.fromkeys((check.input, check.mode) for check in self.checks if check.mode))


def verdict_of(checks: Iterable[Check]) -> str:
    """The verdict of a result with these checks; nothing looked at is not a pass."""
    checks = list(checks)
    verdicts = {check.verdict for check in checks}
    if UNKNOWN in verdicts or not any(check.kind == LAYER for check in checks):
        return NOT_VERIFIED
    return FAIL if FAIL in verdicts else PASS
