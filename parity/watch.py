"""Tells what a run is about to do, and what it has judged, at that moment: to nobody, unless somebody listens.

A process that an engine takes down cannot be asked afterwards: what it told before each step is all that is known.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ConfigDict

from parity.report import Coverage, Finding, LayerResult, Measure

PORT, REFERENCE = "port", "reference"
"""The sides of a pair, by the name that a step has for them."""


class _Event:
    """What all events share: infinities and NaN are written as strings, since JSON has no numbers for them."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")


@dataclass(frozen=True, kw_only=True)
class Step(_Event):
    """What begins now: the side at work, in words what it does, and in which mode; "" leaves the mode as it was."""

    side: str
    doing: str
    mode: str = ""


@dataclass(frozen=True, kw_only=True)
class Begun(_Event):
    """An examination begins: what it will compare, and the compared layers in the reference's order.

    What was judged on the same input before is judged again.
    """

    coverage: Coverage
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Judged(_Event):
    """A layer was judged on the reference's values, in a mode; where it is at fault, the finding."""

    mode: str
    result: LayerResult
    finding: Finding | None = None


@dataclass(frozen=True, kw_only=True)
class Ended(_Event):
    """A mode was run end to end: the error of each layer."""

    mode: str
    propagated: Mapping[str, Measure]


Event = Step | Begun | Judged | Ended

_listeners: list[Callable[[Event], None]] = []


def tell(event: Event) -> None:
    """Tell whoever listens. It is written down before this returns."""
    for listener in _listeners:
        listener(event)


@contextmanager
def listening(listener: Callable[[Event], None]) -> Iterator[None]:
    """Within it `listener` is told."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
