"""What is compared with what: a reference, a port, and how their tensors and layers correspond."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.axes import Array, Axes
from parity.errors import InputError
from parity.tolerance import Tolerance


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a network, in the reference's layout.

    `array` is float32 (or integer, for tokens), shaped as the reference takes it; `origin` says where it came from, in
    words a report can print. Non-finite values are allowed here: they are reported as a finding, not refused.
    """

    name: str
    array: Array
    origin: str = ""

    def __post_init__(self) -> None:
        """Refuse what no network can take."""
        if self.array.size == 0:
            raise InputError(f"input {self.name!r} is empty: shape {self.array.shape}")
        if self.array.dtype == np.float64:
            raise InputError(f"input {self.name!r} is float64; networks run in float32: use array.astype(np.float32)")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A torch module and its Keras port.

    `layers` maps reference tap names (module paths such as `conv0.0`, functional operations such as `cat#2`) to port
    layer names; None, or a partial map, leaves the rest to alignment. `axes` declares the layouts. `tolerances`
    overrides the policy for single layers, each with its why. `waived` names taps that may stay unmatched.
    `multiple` says that the reference takes any height and width that are multiples of it: the noise of a large input
    is then measured on its centre.
    """

    name: str
    reference: Any
    port: Any
    layers: Mapping[str, str] | None = None
    axes: Axes = field(default_factory=Axes)
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)
    waived: frozenset[str] = frozenset()
    multiple: int | None = None
