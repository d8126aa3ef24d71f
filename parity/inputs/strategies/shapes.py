"""Cases of what moves values: shuffles, axes joined and split, patches."""

from typing import Any

from hypothesis import strategies as st

from parity.axes import CHANNELS_FIRST
from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, case, cases_of


def sizes(most: int = 4) -> st.SearchStrategy[int]:
    """The size of an axis."""
    return st.integers(1, most)


@cases_of(torch.nn.PixelShuffle, "pixel_shuffle")
def pixel_shuffle(draw: st.DrawFn) -> Case:
    """Images of whole channels, odd sizes."""
    factor = draw(sizes(3))
    shape = (draw(sizes(2)), draw(sizes(3)) * factor**2, draw(sizes()), draw(sizes()))
    return case(draw, torch.nn.PixelShuffle(factor), shape, "NCHW")


@cases_of(torch.nn.PixelUnshuffle, "pixel_unshuffle")
def pixel_unshuffle(draw: st.DrawFn) -> Case:
    """Images of a multiple of the factor."""
    factor = draw(sizes(3))
    shape = (draw(sizes(2)), draw(sizes(3)), draw(sizes()) * factor, draw(sizes()) * factor)
    return case(draw, torch.nn.PixelUnshuffle(factor), shape, "NCHW")


@cases_of(torch.nn.ChannelShuffle, "channel_shuffle")
def channel_shuffle(draw: st.DrawFn) -> Case:
    """Maps of one, two and three axes of space."""
    groups, rank = draw(sizes(3)), draw(st.integers(3, 5))
    shape = (draw(sizes(2)), groups * draw(sizes(3)), *(draw(sizes(3)) for _ in range(rank - 2)))
    return case(draw, torch.nn.ChannelShuffle(groups), shape, CHANNELS_FIRST[rank])


@cases_of(torch.nn.Flatten, "flatten")
def flatten(draw: st.DrawFn) -> Case:
    """Any run of axes, counted from either end; the batch too."""
    rank = draw(st.integers(2, 5))
    first = draw(st.sampled_from([1, *range(rank)]))
    last = draw(st.sampled_from([rank - 1, *range(first, rank)]))
    from_the_end = draw(st.booleans())
    module = torch.nn.Flatten(first, last - rank if from_the_end else last)
    return case(draw, module, tuple(draw(sizes()) for _ in range(rank)), CHANNELS_FIRST[rank])


@cases_of(torch.nn.Unflatten, "unflatten")
def unflatten(draw: st.DrawFn) -> Case:
    """Any axis but the batch, into up to three, of which one may be left to be computed."""
    rank = draw(st.integers(2, 4))
    axis = draw(st.integers(1, rank - 1))
    parts = draw(st.lists(sizes(3), min_size=1, max_size=3))
    shape = [draw(sizes()) for _ in range(rank)]
    shape[axis] = 1
    for part in parts:
        shape[axis] *= part
    if draw(st.booleans()):
        parts[draw(st.integers(0, len(parts) - 1))] = -1
    module = torch.nn.Unflatten(axis - rank if draw(st.booleans()) else axis, tuple(parts))
    return case(draw, module, tuple(shape), CHANNELS_FIRST[rank])


@st.composite
def patches(draw: st.DrawFn) -> tuple[dict[str, Any], list[int], list[int]]:
    """Kernels that fit an image: their settings, the image's sizes, and at how many places they stop."""
    found: dict[str, list[int]] = {"kernel_size": [], "dilation": [], "padding": [], "stride": []}
    image, stops = [], []
    for _ in range(2):
        kernel, dilation, padding, stride = draw(sizes(3)), draw(sizes(2)), draw(st.integers(0, 2)), draw(sizes(3))
        reach = dilation * (kernel - 1) + 1
        side = draw(st.integers(max(1, reach - 2 * padding), 7))
        for key, value in zip(found, (kernel, dilation, padding, stride), strict=True):
            found[key].append(value)
        image.append(side)
        stops.append((side + 2 * padding - reach) // stride + 1)
    return {key: tuple(value) for key, value in found.items()}, image, stops


@cases_of(torch.nn.Unfold, "unfold")
def unfold(draw: st.DrawFn) -> Case:
    """Kernels that overlap, leave gaps, and reach into the padding."""
    settings, image, _ = draw(patches())
    return case(draw, torch.nn.Unfold(**settings), (draw(sizes(2)), draw(sizes(3)), *image), "NCHW")


@cases_of(torch.nn.Fold, "fold")
def fold(draw: st.DrawFn) -> Case:
    """The same, back to the image."""
    settings, image, stops = draw(patches())
    channels = draw(sizes(3)) * settings["kernel_size"][0] * settings["kernel_size"][1]
    shape = (draw(sizes(2)), channels, stops[0] * stops[1])
    return case(draw, torch.nn.Fold(tuple(image), **settings), shape, "NCL")
