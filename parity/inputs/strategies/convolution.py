"""Cases of convolutions in one, two and three dimensions: of all paddings, strides, dilations and groups."""

from typing import Any

from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import LAYOUTS, Case, case, cases_of

MODES = ("zeros", "replicate", "circular", "reflect")


@cases_of(torch.nn.Conv1d, "conv1d")
def conv1d(draw: st.DrawFn) -> Case:
    """Lengths from 1, kernels of up to 5."""
    return _convolution(draw, torch.nn.Conv1d, 1, longest=5)


@cases_of(torch.nn.Conv2d, "conv2d")
def conv2d(draw: st.DrawFn) -> Case:
    """Sizes from 1, kernels of up to 4."""
    return _convolution(draw, torch.nn.Conv2d, 2, longest=4)


@cases_of(torch.nn.Conv3d, "conv3d")
def conv3d(draw: st.DrawFn) -> Case:
    """Sizes from 1, kernels of up to 3."""
    return _convolution(draw, torch.nn.Conv3d, 3, longest=3)


def _convolution(draw: st.DrawFn, kind: Any, rank: int, longest: int) -> Case:
    """A convolution whose settings fit together, and an input that is large enough for it."""
    i, groups = channels(draw)
    kernel, dilation = draw(st.tuples(*[st.integers(1, longest)] * rank)), each(draw, rank, 1, 3)
    padding = draw(st.one_of(st.just("valid"), st.tuples(*[st.integers(0, 3)] * rank), st.just("same")))
    stride = (1,) * rank if padding == "same" else each(draw, rank, 1, 4)
    mode = draw(st.sampled_from(MODES))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes, results = [], []
    for axis, span in enumerate(spans):
        total = {"valid": 0, "same": span - 1}[padding] if isinstance(padding, str) else 2 * padding[axis]
        repeated = {"reflect": (total + 1) // 2 + 1, "circular": (total + 1) // 2}.get(mode, 1) if total else 1
        least = max(1, span - total, repeated)
        sizes.append(draw(st.integers(least, least + 5)))
        results.append((sizes[-1] + total - span) // stride[axis] + 1)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    o = filters(draw, groups, results[-1])
    module = kind(i, o, kernel, **settings, padding_mode=mode, bias=draw(st.booleans()))
    return case(draw, module, (draw(st.integers(1, 3)), i, *sizes), LAYOUTS[rank])


def channels(draw: st.DrawFn) -> tuple[int, int]:
    """How many channels go in, and in how many groups: one, some, or one for each channel."""
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    alone = draw(st.booleans())
    return groups * (1 if alone else draw(st.integers(1, 3))), groups


def filters(draw: st.DrawFn, groups: int, width: int) -> int:
    """How many channels come out; often as many as the result is wide, so that what takes one for the other shows."""
    several = groups * draw(st.integers(1, 3))
    return width if width % groups == 0 and width < 10 and draw(st.booleans()) else several


def each(draw: st.DrawFn, rank: int, least: int, most: int) -> tuple[int, ...]:
    """A number for each axis, often the least for all of them."""
    everywhere = st.just((least,) * rank)
    return draw(st.one_of(everywhere, st.tuples(*[st.integers(least, most)] * rank)))
