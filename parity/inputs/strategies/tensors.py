"""Arrays of any shape, kind of number and place in memory, layouts to move them between, and what to hold them to.

These are for tests of what compares, moves and judges values; `cases` has the inputs of networks.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as filled

from parity.axes import CHANNELS, SPACE, Array
from parity.tolerance import NoiseFloor, Policy, Tolerance

DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "bool", ">f4")
"""Kinds of numbers that networks take and return, simplest first; the last is of the other byte order."""
WIDTHS: Mapping[str, Literal[16, 32, 64]] = {"float16": 16, "float64": 64}
LETTERS = "N" + CHANNELS + SPACE + "ABKXYZOI"
"""What axes are called: every letter that means something to parity, and some that do not."""


def shapes(
    ranks: tuple[int, int] = (1, 4), sides: Sequence[int] = (1, 2, 3, 5, 7)
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of so many axes, the least and the most; of `sides` none is a multiple of another but one's."""
    return st.lists(st.sampled_from(sides), min_size=ranks[0], max_size=ranks[1]).map(tuple)


def values(dtype: str = "float32", *, finite: bool = True) -> st.SearchStrategy[float | int | bool]:
    """Single values of a kind of number: none whose square float32 cannot hold, but zero; or those, NaN and infinity
    as well, where they need not be `finite`."""
    if np.dtype(dtype).kind != "f":
        return st.integers(0, 1 if dtype == "bool" else 100)
    bits: Literal[16, 32, 64] = WIDTHS.get(dtype, 32)
    if not finite:
        return st.floats(width=bits)
    most, least = (2.0**7, 2.0**-7) if bits == 16 else (2.0**50, 2.0**-50)
    return st.floats(-most, most, width=bits, allow_subnormal=False).map(lambda x: x if abs(x) > least else 0.0)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Sequence[int] | None = None,
    dtypes: Sequence[str] = DTYPES,
    *,
    finite: bool = True,
) -> Array:
    """An array of that shape, or of any: contiguous, or a view whose values lie in another order or apart."""
    size = draw(shapes()) if shape is None else tuple(shape)
    dtype = draw(st.sampled_from(dtypes))
    return draw(placed(draw(filled(dtype, size, elements=values(dtype, finite=finite)))))


@st.composite
def placed(draw: st.DrawFn, array: Array) -> Array:
    """The same values somewhere else in memory: in another order of the axes, backwards, or with gaps between them."""
    order = draw(st.permutations(range(array.ndim)))
    steps = [draw(st.sampled_from([1, -1, 2, -3])) for _ in order]
    memory = np.empty([size * abs(step) for size, step in zip(array.shape, steps, strict=True)], array.dtype)
    memory = memory.transpose(order).copy().transpose(np.argsort(order))
    memory.fill(7)
    # One value of each step: of steps backwards the last, so that as many are left.
    view: Array = memory[tuple(slice(None, None, step) for step in steps)]
    view[...] = array
    return view


@st.composite
def layouts(draw: st.DrawFn, ranks: tuple[int, int] = (0, 6)) -> str:
    """A layout: letters of which none is there twice."""
    return "".join(draw(st.lists(st.sampled_from(LETTERS), min_size=ranks[0], max_size=ranks[1], unique=True)))


def tolerances() -> st.SearchStrategy[Policy]:
    """Policies of either kind: noise floors of any ratios, fixed tolerances with or without an absolute part."""
    parts = st.sampled_from([0.0, 1e-7, 1e-5, 1e-3, 0.5]) | st.floats(0, 1e6)
    ratios = st.floats(1, 1e6)
    return st.builds(NoiseFloor, rmse_ratio=ratios, max_ratio=ratios) | st.builds(
        Tolerance, rtol=parts, atol=st.none() | parts
    )
