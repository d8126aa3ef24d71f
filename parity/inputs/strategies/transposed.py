"""Cases of transposed convolutions in one, two and three dimensions: of all crops, strides, dilations and groups."""

from typing import Any

from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import LAYOUTS, Case, case, cases_of
from parity.inputs.strategies.convolution import channels, each, filters


@cases_of(torch.nn.ConvTranspose1d, "conv_transpose1d")
def conv_transpose1d(draw: st.DrawFn) -> Case:
    """Lengths from 1, kernels of up to 5."""
    return _transposed(draw, torch.nn.ConvTranspose1d, 1, longest=5)


@cases_of(torch.nn.ConvTranspose2d, "conv_transpose2d")
def conv_transpose2d(draw: st.DrawFn) -> Case:
    """Sizes from 1, kernels of up to 4."""
    return _transposed(draw, torch.nn.ConvTranspose2d, 2, longest=4)


@cases_of(torch.nn.ConvTranspose3d, "conv_transpose3d")
def conv_transpose3d(draw: st.DrawFn) -> Case:
    """Sizes from 1, kernels of up to 3."""
    return _transposed(draw, torch.nn.ConvTranspose3d, 3, longest=3)


def _transposed(draw: st.DrawFn, kind: Any, rank: int, longest: int) -> Case:
    """A transposed convolution whose settings fit together, and an input of which something is left.

    A third are as decoders have them, `stride` times as large but for what is put after: a layer by itself in Keras.
    """
    i, groups = channels(draw)
    if draw(st.sampled_from((False, False, True))):
        i, groups, dilation, stride = draw(st.integers(1, 3)), 1, (1,) * rank, each(draw, rank, 2, 3)
        padding = draw(st.tuples(*[st.integers(0, 1)] * rank))
        kernel = tuple(s + 2 * p for s, p in zip(stride, padding, strict=True))
    else:
        kernel, dilation = draw(st.tuples(*[st.integers(1, longest)] * rank)), each(draw, rank, 1, 3)
        stride, padding = each(draw, rank, 1, 4), each(draw, rank, 0, 3)
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    sizes, results = [], []
    for k, d, s, p, q in zip(kernel, dilation, stride, padding, more, strict=True):
        least = max(1, 1 - (d * (k - 1) - 2 * p + q) // s)
        sizes.append(draw(st.integers(least, least + 4)))
        results.append((sizes[-1] - 1) * s - 2 * p + d * (k - 1) + q + 1)
    settings = {"stride": stride, "padding": padding, "output_padding": more, "dilation": dilation, "groups": groups}
    o = filters(draw, groups, results[-1])
    module = kind(i, o, kernel, **settings, bias=draw(st.booleans()))
    return case(draw, module, (draw(st.integers(1, 3)), i, *sizes), LAYOUTS[rank])
