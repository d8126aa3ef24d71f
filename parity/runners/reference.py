"""What the judge, the anchored pass and the diagnosis ask of a reference: a module that is run, or a recording."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, TypeAlias

from parity.axes import Array
from parity.frameworks import torch
from parity.pairs import Input
from parity.runners.calls import Call
from parity.runners.taps import Tap, Trace

Value: TypeAlias = torch.Tensor | Array
"""A tap's value, on the CPU: a tensor of a run, an array of a recording."""


class Reference(Protocol):
    """A reference. Names are those of `Tap` and `Input.arrays`, values are in the reference's layout."""

    @property
    def module(self) -> Any:
        """The network: its `named_modules` and `state_dict` have the weights."""

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of an engine that it ran with elsewhere; none of one that runs here."""

    def names_of(self, given: Input) -> dict[str, str]:
        """The names of an input's arrays, and for each the parameter of `forward` that it is passed as."""

    def taps(self, given: Input) -> Trace:
        """The taps a run on an input has, without samples."""

    def calls(self, given: Input) -> Mapping[str, Call]:
        """How each tap is made in a run on an input."""

    def run(self, given: Input, sink: Callable[[Tap, Any], None]) -> Any:
        """Run in float32, showing each tap's value to `sink`, in the order in which they are made."""

    def values(self, given: Input, names: Collection[str]) -> dict[str, Array]:
        """The whole values of some taps in a run on an input, or of the input's own arrays."""

    def sample(self, given: Input, *, float64: bool = False) -> Trace:
        """Run and keep a sample of each tap, at `taps.positions` of its shape, and the whole outputs."""
