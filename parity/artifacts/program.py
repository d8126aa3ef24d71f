"""What an artifact computes, whatever its format: steps on named tensors; and what the engine that runs it can do.

Values that go in and come out of an engine are real numbers everywhere: where a tensor is stored on a grid (int8), the
engine rounds what it is given to that grid, and gives back what the stored numbers stand for.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError

FLOAT32, FLOAT16, INT8, DYNAMIC = "float32", "float16", "int8", "dynamic-range"
"""Precisions of an artifact: of its arithmetic, of its stored weights, of both, of weights with activations rounded as
they come."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The numbers that a tensor can hold: `scale * (q - zero)` for whole `q` from `low` to `high`.

    `scale` and `zero` have one value, or one for each place along `axis`.
    """

    scale: Array
    zero: Array
    low: int
    high: int
    axis: int = 0

    def _along(self, values: Array, rank: int) -> Array:
        shape = [1] * rank
        if values.size > 1:
            shape[self.axis] = -1
        return values.reshape(shape)

    def real(self, stored: Array) -> Array:
        """The float32 numbers that stored ones stand for."""
        zero, scale = (self._along(each, stored.ndim) for each in (self.zero, self.scale))
        exact = stored.dtype.itemsize < 3 and np.array_equal(scale, scale.astype(np.float32))
        wide = np.float32 if exact else np.float64
        return np.asarray((stored.astype(wide) - zero.astype(wide)) * scale.astype(wide), np.float32)

    def stored(self, real: Array, dtype: Any) -> Array:
        """The stored numbers nearest to real ones; beyond the ends of the grid, its ends."""
        zero, scale = (self._along(each, real.ndim) for each in (self.zero, self.scale))
        return np.asarray(np.clip(np.rint(real.astype(np.float64) / scale) + zero, self.low, self.high), dtype)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation of a program: what its format calls it, the tensors it reads (constants too) and those it makes."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a file computes: `steps` in an order in which they can run.

    `inputs` and `outputs` have the tensor of each by the name that the file's user gives it. `constants` has the real
    values of constant tensors by name (it may load them when they are asked for), `shapes` and `dtypes` every tensor's
    (dtypes as NumPy stores them), `grids` those that are stored on one. `precision` is what its numbers are. `folded`
    has steps that depend on nothing but constants: what they make is among the constants, and they are none of `steps`.
    `orders` has for a tensor that the file keeps in other axes than its inputs the permutation to those.
    """

    format: str
    steps: tuple[Step, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int | None, ...]]
    dtypes: Mapping[str, str]
    grids: Mapping[str, Grid] = field(default_factory=dict)
    precision: str = FLOAT32
    folded: tuple[Step, ...] = ()
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Engine(ABC):
    """Runs one artifact. Tensors are named as in its `program`; values are real numbers in the file's own layout.

    Each method raises PairError of one sentence for what the engine refuses to run.
    """

    @property
    @abstractmethod
    def program(self) -> Program:
        """What the file computes; sizes that the file leaves open are None."""

    @property
    @abstractmethod
    def versions(self) -> Mapping[str, str]:
        """The version of what runs it, by name."""

    @property
    def rules(self) -> Mapping[str, Any]:
        """What the format's operations are lifted to, as in `lifting`: a rule for the operation it begins with."""
        return {}

    @property
    def notes(self) -> Sequence[str]:
        """What a report must say of how the file is seen: where taps come from, if not from the file as it ships."""
        return ()

    def shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The program for inputs of these shapes, by their tensors: every size known, and what follows from sizes
        alone among the constants. Raises PairError where the file does not take them."""
        return self.program

    @abstractmethod
    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run the file as it ships, unchanged and unwatched: each output by its tensor, given each input by its."""

    @abstractmethod
    def watched(self, arrays: Mapping[str, Array], tensors: Sequence[str]) -> dict[str, Array]:
        """Run it and read these tensors, inner ones too."""

    @abstractmethod
    def part(self, known: Mapping[str, Array], tensor: str, constants: Mapping[str, Array] | None = None) -> Array:
        """A tensor's value where others are `known`: only the steps between run, by the file's own kernels.

        `constants` has values that stand for the file's own constants.
        """

    def parts(
        self, known: Mapping[str, Array], segments: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[str, Array | None]]:
        """Each tensor of `segments`, made of those among the `known` ones that are listed for it; None where the engine
        refuses. A tensor may be known itself: its own value is what the others are made of."""
        for tensor, anchors in segments.items():
            try:
                yield tensor, self.part({name: known[name] for name in anchors}, tensor)
            except PairError:
                yield tensor, None
