"""The kinds of layers there are to try: what each is of, how it is built, and in which data formats and modes.

The tests of `pytest --model layers` and the table of `parity layers` are both made of this, so that the table claims
nothing that no test tries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis.errors import NoSuchExample

from parity.axes import in_port
from parity.building import BUILDERS, Builder
from parity.building.registry import name_of
from parity.errors import UsageError
from parity.inputs.strategies import CASES, Case, cases
from parity.runners.taps import MODES

FORMATS = ("channels_last", "channels_first")
LOOKED_AT = 12
"""How many cases are drawn to see whether a kind has channels."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of layer, by its short name (`conv2d`), and what it is of: a module class, or a function of torch's.

    `formats` are the data formats in which it is another port: one where its cases have no channels to be moved.
    """

    name: str
    of: Any
    formats: tuple[str, ...]
    modes: tuple[str, ...] = MODES

    @property
    def torch_name(self) -> str:
        """What people call it: `torch.nn.Conv2d`."""
        return name_of(self.of)

    @property
    def builder(self) -> Builder | None:
        """What builds it; None where there is none, or the kind is put together of others."""
        return BUILDERS.get(self.of)


def every_kind() -> Iterator[Kind]:
    """Every kind that cases can be drawn of, in the order of their names."""
    for name in sorted(CASES):
        yield kind_called(name)


@cache
def kind_called(name: str) -> Kind:
    """The kind of that short name. Raises UsageError where there is none."""
    if name not in CASES:
        raise UsageError(f"no cases of {name!r}; add them with @parity.inputs.strategies.cases_of")
    return Kind(name=name, of=CASES[name][0], formats=FORMATS if _has_channels(name) else FORMATS[:1])


def has_channels(case: Case) -> bool:
    """Whether a data format says where something of a case's input is."""
    ways = ((in_port(layout), in_port(layout, channels_last=False)) for layout in case.layouts.values())
    return any(last != first for last, first in ways)


def _has_channels(name: str) -> bool:
    drawn_alike = settings(
        max_examples=LOOKED_AT,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        find(cases(name), has_channels, settings=drawn_alike)
    except NoSuchExample:
        return False
    return True
