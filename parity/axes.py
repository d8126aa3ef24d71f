"""Axis names, and moving an array from the reference's layout to the port's.

A layout is a string with one letter per axis, in memory order: N batch, C channels, T frames, H height, W width,
L length, O output channels, I input channels. Layouts are declared or follow from a tensor's rank; parity never tries
permutations until one fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from einops import rearrange

from parity.errors import PairError

Array = npt.NDArray[Any]
Tensor = TypeVar("Tensor")

CHANNELS_FIRST = {1: "N", 2: "NC", 3: "NCL", 4: "NCHW", 5: "NCTHW"}
CHANNELS_LAST = {1: "N", 2: "NC", 3: "NLC", 4: "NHWC", 5: "NTHWC"}


def pattern(source: str, target: str) -> str:
    """The einops pattern from one layout to another: `pattern("NCHW", "NHWC")` is `"N C H W -> N H W C"`."""
    if sorted(source) != sorted(target) or len(set(source)) != len(source):
        raise PairError(f"cannot move axes {source} to {target}: the letters must be the same, each once")
    return f"{' '.join(source)} -> {' '.join(target)}"


def move(array: Tensor, source: str, target: str) -> Tensor:
    """`array` (NumPy, torch or TensorFlow) with its axes in `target` order; a view where the library can give one."""
    moved: Tensor = rearrange(array, pattern(source, target))
    return moved


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Which axes the tensors of a pair have on either side: by rank, and by tap name where a rank is not enough.

    `reference` and `port` map a rank to a layout; `by_name` maps a reference tap name to (reference, port) layouts.
    Source: torch is channels-first everywhere; Keras follows `data_format`.
    """

    reference: Mapping[int, str] = field(default_factory=lambda: CHANNELS_FIRST)
    port: Mapping[int, str] = field(default_factory=lambda: CHANNELS_LAST)
    by_name: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def of(self, name: str, rank: int) -> tuple[str, str]:
        """(reference layout, port layout) of the tap `name` of `rank` axes. Raises PairError if they are undeclared."""
        if name in self.by_name:
            return self.by_name[name]
        try:
            return self.reference[rank], self.port[rank]
        except KeyError:
            raise PairError(
                f"the axes of {name!r} (rank {rank}) are not declared; "
                f"give them in Axes(by_name={{{name!r}: (..., ...)}})"
            ) from None


def flat_positions(
    positions: npt.NDArray[np.int64], shape: tuple[int, ...], source: str, target: str
) -> npt.NDArray[np.int64]:
    """Flat indices into a tensor of `shape` in `source` layout, turned into flat indices into its `target` layout."""
    if source == target:
        return positions
    unravelled = dict(zip(source, np.unravel_index(positions, shape), strict=True))
    sizes = dict(zip(source, shape, strict=True))
    flat: npt.NDArray[np.int64] = np.ravel_multi_index(
        tuple(unravelled[axis] for axis in target), tuple(sizes[axis] for axis in target)
    ).astype(np.int64)
    return flat


DATA_FORMATS: Mapping[str, Mapping[int, str]] = {"channels_first": CHANNELS_FIRST, "channels_last": CHANNELS_LAST}
