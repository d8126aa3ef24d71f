"""Axis names, and moving an array from the reference's layout to the port's.

A layout is a string with one letter per axis, in memory order: N batch, C channels, T frames, H height, W width,
L length, O output channels, I input channels. Layouts are declared, or follow from the kinds of the layers (see
`parity.layouts`), or from a tensor's rank; parity never tries permutations until one fits.
"""

import re
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

BATCH, CHANNELS, SPACE = "NB", "CGDEF", "THWPQRSUVLM"
"""What a letter stands for: the batch, channels or what they are split into, places in space or time, or parts of
these. Any other letter is an axis of another kind, such as the heads of an attention."""


def pattern(source: str, target: str) -> str:
    """The einops pattern from one layout to another: `pattern("NCHW", "NHWC")` is `"N C H W -> N H W C"`."""
    if sorted(source) != sorted(target) or len(set(source)) != len(source):
        raise PairError(f"cannot move axes {source} to {target}: the letters must be the same, each once")
    return f"{' '.join(source)} -> {' '.join(target)}"


def move(array: Tensor, source: str, target: str) -> Tensor:
    """`array` (NumPy, torch or TensorFlow) with its axes in `target` order; a view where the library can give one."""
    moved: Tensor = rearrange(array, pattern(source, target))
    return moved


def in_order(array: Any, dtype: npt.DTypeLike | None = None) -> Array:
    """The values in the order of their axes in memory, copied where they are not; one value without axes stays so.

    >>> in_order(np.float32(2.0)).shape, in_order(np.ones((2, 3)).T).flags.c_contiguous
    ((), True)
    """
    ordered: Array = np.asarray(array, dtype, order="C")
    return ordered


def in_port(layout: str, *, channels_last: bool = True) -> str:
    """The port's layout of a tensor that the reference has in `layout`, where nothing else is declared.

    The batch comes before time. The channels of an image (two or more of T, H and W), and of a map that has channels
    before its one axis of space, come last in the port, or right after the batch where its data format is
    channels_first; a sequence that ends in its channels keeps them there in either, and so does an image of groups
    whose channels the reference has moved to the end. Every other axis, such as the heads of an attention, stays where
    the reference has it.

    >>> in_port("NCHW"), in_port("LNC"), in_port("NALC"), in_port("NGHWC"), in_port("NHWC", channels_last=False)
    ('NHWC', 'NLC', 'NALC', 'NGHWC', 'NCHW')
    """
    first = batch_first(layout)
    batch = "N" if first.startswith("N") else ""
    if "N" in first and not batch:
        return layout
    return batch + _channels_moved(first.removeprefix("N"), channels_last=channels_last)


def batch_first(layout: str) -> str:
    """A layout with the batch before the axes of space or time that precede it, as Keras has it: NLC for LNC."""
    before, batch, after = layout.partition("N")
    return batch + before + after if set(before) <= set(SPACE) else layout


def _channels_moved(layout: str, *, channels_last: bool) -> str:
    """A layout without its batch, with its channels where the port has them."""
    run = re.search(f"[{CHANNELS}]*C[{CHANNELS}]*", layout)
    if run is None:
        return layout
    before, channels, after = layout[: run.start()], run.group(), layout[run.end() :]
    is_image = sum(letter in "THW" for letter in layout) > 1
    if not channels_last:
        return channels + before + after if is_image else layout
    is_map = not before and bool(after) and set(after) <= set(SPACE)
    at_the_end = re.fullmatch(f"[{SPACE}]+[{CHANNELS}]+", after) is not None
    moves = is_map or (is_image and after[:1] in set(SPACE) and not at_the_end)
    return before + after + channels if moves else layout


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Which axes the tensors of a pair have on either side: by rank, and by name where a rank is not enough.

    `reference` and `port` map a rank to a layout; `by_name` maps a reference tap, an input (`input`, `input.mask`) or
    an output (`output.flow`) to its (reference, port) layouts, or to the reference's alone: the port's is then
    `in_port`'s. What is not declared is derived from the kinds of the layers (`parity.layouts`).
    Source: torch is channels-first in images; Keras follows `data_format`.
    """

    reference: Mapping[int, str] = field(default_factory=lambda: CHANNELS_FIRST)
    port: Mapping[int, str] = field(default_factory=lambda: CHANNELS_LAST)
    by_name: Mapping[str, str | tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse layouts that name an axis twice, and pairs of layouts with different axes."""
        for name, declared in self.by_name.items():
            for layout in (declared,) if isinstance(declared, str) else declared:
                if (layout and not layout.isalpha()) or len(set(layout)) != len(layout):
                    raise PairError(
                        f"layout {layout!r} of {name!r} does not have one letter for each axis, like 'NHWC'"
                    )
            if not isinstance(declared, str) and sorted(declared[0]) != sorted(declared[1]):
                raise PairError(f"layouts {declared[0]} and {declared[1]} of {name!r} do not have the same letters")

    @classmethod
    def given(cls, value: "Axes | Mapping[str, str | tuple[str, str]] | None") -> "Axes":
        """Axes as a pair is given them: whole, or by name alone. Raises PairError for anything else.

        >>> Axes.given({"input": "NLC"}).of("input", 3)
        ('NLC', 'NLC')
        """
        if value is None or isinstance(value, Axes):
            return value or cls()
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise PairError(f"axes are {value!r}; give Axes(...), or layouts by name such as {{'input': 'NLC'}}")
        return cls(by_name=dict(value))

    @property
    def channels_last(self) -> bool:
        """Whether the port has the channels of images last."""
        return not any(self.port.get(rank) == CHANNELS_FIRST[rank] for rank in (4, 5))

    def of(self, name: str, rank: int) -> tuple[str, str]:
        """(reference layout, port layout) of the tap `name` of `rank` axes.

        Raises PairError if they are undeclared, or declared for another number of axes.
        """
        if name in self.by_name:
            declared = self.by_name[name]
            if isinstance(declared, str):
                declared = declared, in_port(declared, channels_last=self.channels_last)
            self.check(name, declared[0], rank)
            return declared
        try:
            return self.reference[rank], self.port[rank]
        except KeyError:
            raise PairError(
                f"the axes of {name!r} (rank {rank}) are not declared; "
                f"give them in Axes(by_name={{{name!r}: (..., ...)}})"
            ) from None

    @staticmethod
    def check(name: str, layout: str, rank: int, shape: tuple[int, ...] | None = None) -> None:
        """Raise PairError if a layout declared for `name` has another number of axes than its tensor."""
        if len(layout) != rank:
            sizes = f": {shape}" if shape is not None else ""
            raise PairError(f"layout {layout!r} of {name!r} has {len(layout)} axes, the tensor has {rank}{sizes}")


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
