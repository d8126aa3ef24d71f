"""Cases of adaptive poolings."""

from typing import Any

from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import LAYOUTS, Case, case, cases_of
from parity.inputs.strategies.pooling import LONGEST

nn = torch.nn


@cases_of(nn.AdaptiveAvgPool1d, "adaptive_avg_pool1d")
def adaptive_avg_pool1d(draw: st.DrawFn) -> Case:
    """Sizes that divide the map's and others, also larger ones."""
    return _adaptive(draw, nn.AdaptiveAvgPool1d, 1)


@cases_of(nn.AdaptiveAvgPool2d, "adaptive_avg_pool2d")
def adaptive_avg_pool2d(draw: st.DrawFn) -> Case:
    """As those of one axis; given once for all axes or for each, where None stands for the map's."""
    return _adaptive(draw, nn.AdaptiveAvgPool2d, 2)


@cases_of(nn.AdaptiveAvgPool3d, "adaptive_avg_pool3d")
def adaptive_avg_pool3d(draw: st.DrawFn) -> Case:
    """As those of two axes."""
    return _adaptive(draw, nn.AdaptiveAvgPool3d, 3)


@cases_of(nn.AdaptiveMaxPool1d, "adaptive_max_pool1d")
def adaptive_max_pool1d(draw: st.DrawFn) -> Case:
    """Sizes that divide the map's and others, also larger ones."""
    return _adaptive(draw, nn.AdaptiveMaxPool1d, 1)


@cases_of(nn.AdaptiveMaxPool2d, "adaptive_max_pool2d")
def adaptive_max_pool2d(draw: st.DrawFn) -> Case:
    """As those of one axis; given once for all axes or for each, where None stands for the map's."""
    return _adaptive(draw, nn.AdaptiveMaxPool2d, 2)


@cases_of(nn.AdaptiveMaxPool3d, "adaptive_max_pool3d")
def adaptive_max_pool3d(draw: st.DrawFn) -> Case:
    """As those of two axes."""
    return _adaptive(draw, nn.AdaptiveMaxPool3d, 3)


def _adaptive(draw: st.DrawFn, kind: Any, rank: int) -> Case:
    size = st.integers(1, LONGEST[rank] + 2)
    each = st.tuples(*[st.none() | size] * rank) if rank > 1 else st.tuples(size)
    wanted = draw(size | each)
    sides = (draw(st.integers(1, LONGEST[rank])) for _ in range(rank))
    return case(draw, kind(wanted), (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sides), LAYOUTS[rank])
