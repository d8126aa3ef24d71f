"""Cases of poolings over windows."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import LAYOUTS, Case, arrays, case, cases_of, seeded
from parity.pairs import INPUT, Input

nn = torch.nn
LONGEST = {1: 12, 2: 8, 3: 5}
"""The longest side of a map that is drawn, by how many sides it has."""
POWERS = (2, 1, 3, 4, 1.5, 0.5, 2.5, float("inf"), float("-inf"))


@cases_of(nn.MaxPool1d, "max_pool1d")
def max_pool1d(draw: st.DrawFn) -> Case:
    """Windows of any stride, dilation and padding, or none, some wider than the map; with ceil_mode and without."""
    return _max_pool(draw, nn.MaxPool1d, 1)


@cases_of(nn.MaxPool2d, "max_pool2d")
def max_pool2d(draw: st.DrawFn) -> Case:
    """As those of one axis; each setting once for all axes or for each."""
    return _max_pool(draw, nn.MaxPool2d, 2)


@cases_of(nn.MaxPool3d, "max_pool3d")
def max_pool3d(draw: st.DrawFn) -> Case:
    """As those of two axes."""
    return _max_pool(draw, nn.MaxPool3d, 3)


@cases_of(nn.AvgPool1d, "avg_pool1d")
def avg_pool1d(draw: st.DrawFn) -> Case:
    """Windows of any stride and padding, which counts or does not."""
    return _avg_pool(draw, nn.AvgPool1d, 1)


@cases_of(nn.AvgPool2d, "avg_pool2d")
def avg_pool2d(draw: st.DrawFn) -> Case:
    """As those of one axis; some with a divisor of their own, which may be negative."""
    return _avg_pool(draw, nn.AvgPool2d, 2)


@cases_of(nn.AvgPool3d, "avg_pool3d")
def avg_pool3d(draw: st.DrawFn) -> Case:
    """As those of two axes, but that torch refuses windows wider than the map."""
    return _avg_pool(draw, nn.AvgPool3d, 3)


@cases_of(nn.LPPool1d, "lp_pool1d")
def lp_pool1d(draw: st.DrawFn) -> Case:
    """Even, odd and broken powers, and both infinities."""
    return _lp_pool(draw, nn.LPPool1d, 1)


@cases_of(nn.LPPool2d, "lp_pool2d")
def lp_pool2d(draw: st.DrawFn) -> Case:
    """As those of one axis."""
    return _lp_pool(draw, nn.LPPool2d, 2)


@cases_of(nn.LPPool3d, "lp_pool3d")
def lp_pool3d(draw: st.DrawFn) -> Case:
    """As those of one axis."""
    return _lp_pool(draw, nn.LPPool3d, 3)


@st.composite
def settings(
    draw: st.DrawFn, rank: int, *, padded: bool = False, dilated: bool = False, wider: bool = True
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Settings of windows by their names in torch, and a shape (N, C, ...) that has at least one along each axis.

    `wider` lets a window be wider than the map, where padding makes up for it.
    """
    kernel = draw(_each(rank, st.integers(1, 4)))
    given: dict[str, Any] = {"kernel_size": kernel, "stride": draw(st.none() | _each(rank, st.integers(1, 4)))}
    reach = kernel
    if dilated:
        given["dilation"] = draw(st.just(1) | _each(rank, st.integers(1, 3)))
        reach = tuple(
            d * (k - 1) + 1 for k, d in zip(_spread(kernel, rank), _spread(given["dilation"], rank), strict=True)
        )
    pads = (0,) * rank
    if padded:
        pads = draw(st.just(pads) | st.tuples(*(st.integers(0, each // 2) for each in _spread(kernel, rank))))
        given["padding"] = pads[0] if len(set(pads)) == 1 else pads
    unpadded = pads if wider else (0,) * rank
    least = (max(1, each - 2 * pad) for each, pad in zip(_spread(reach, rank), unpadded, strict=True))
    sides = tuple(draw(st.integers(each, max(each, LONGEST[rank]))) for each in least)
    given["ceil_mode"] = draw(st.booleans())
    return given, (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sides)


def _max_pool(draw: st.DrawFn, kind: Any, rank: int) -> Case:
    given, shape = draw(settings(rank, padded=True, dilated=True))
    return case(draw, kind(**given), shape, LAYOUTS[rank])


def _avg_pool(draw: st.DrawFn, kind: Any, rank: int) -> Case:
    given, shape = draw(settings(rank, padded=True, wider=rank < 3))
    given["count_include_pad"] = draw(st.booleans())
    if rank > 1:
        given["divisor_override"] = draw(st.integers(1, 9) | st.integers(-9, -1)) if draw(st.booleans()) else None
    return case(draw, kind(**given), shape, LAYOUTS[rank])


def _lp_pool(draw: st.DrawFn, kind: Any, rank: int) -> Case:
    """Where the power has a root of positive sums alone, values are positive.

    Values whose power is subnormal are zero: TensorFlow takes such powers for zero, as the builder says.
    """
    given, shape = draw(settings(rank))
    power = draw(st.sampled_from(POWERS))
    array, says = draw(arrays(shape))
    if power not in (2, 4, 1) and np.isfinite(power):
        array, says = np.abs(array), f"absolute values of {says}"
    if np.isfinite(power):
        array = np.where(np.abs(array) ** power < np.finfo(np.float32).tiny, np.float32(0), array)
    module = seeded(kind(power, **given), 0)
    return Case(module=module, given=Input(name=says, array=array, origin=says), layouts={INPUT: LAYOUTS[rank]})


def _each(rank: int, one: st.SearchStrategy[int]) -> st.SearchStrategy[Any]:
    """One for all axes, or one for each."""
    return one if rank == 1 else one | st.tuples(*[one] * rank)


def _spread(value: Any, rank: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * rank
