"""The piece of a script for one side of a layer: what sets it up, what runs it, and the arrays that both need."""

import builtins
import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.axes import Array

RESERVED = (
    *keyword.kwlist, *dir(builtins), "actual", "data", "error", "expected", "keras", "model", "np", "os", "port",
    "recorded", "right", "rms", "rmse", "sys", "tf", "torch", "verdict",
    *(f"{letter}{number}" for letter in "xy" for number in ("", *range(99))),
)  # fmt: skip
"""Names that the script has for something else."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """`setup` are statements, `body` those of the run, `result` the expression of the value that it makes.

    `arrays` are read as `data[name]`. `note` is a comment: why it is written in the way it is.
    """

    setup: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    result: str = ""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    note: str = ""


def value_key(tap: str) -> str:
    """Under which name the value of one of the reference's taps is kept."""
    return f"value.{tap}"
