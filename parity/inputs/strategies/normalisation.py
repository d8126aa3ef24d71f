"""Cases of normalisations: inputs whose mean is large beside their deviation, and epsilons of every size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import LAYOUTS, Case, case, cases_of
from parity.inputs.strategies.pooling import LONGEST
from parity.pairs import INPUT, Input

nn = torch.nn
EPSILONS = (1e-5, 1e-3, 1e-8, 0.5)
OFFSETS = (0.0, 1.0, -100.0, 1e4)
MAPS = {0: "NC", **LAYOUTS}


@cases_of(nn.BatchNorm1d, "batch_norm1d")
def batch_norm1d(draw: st.DrawFn) -> Case:
    """Vectors and sequences; with running statistics and without, with weights and without."""
    return _batch_norm(draw, nn.BatchNorm1d, draw(st.integers(0, 1)))


@cases_of(nn.BatchNorm2d, "batch_norm2d")
def batch_norm2d(draw: st.DrawFn) -> Case:
    """Images; with running statistics and without, with weights and without."""
    return _batch_norm(draw, nn.BatchNorm2d, 2)


@cases_of(nn.BatchNorm3d, "batch_norm3d")
def batch_norm3d(draw: st.DrawFn) -> Case:
    """Volumes; with running statistics and without, with weights and without."""
    return _batch_norm(draw, nn.BatchNorm3d, 3)


@cases_of(nn.InstanceNorm1d, "instance_norm1d")
def instance_norm1d(draw: st.DrawFn) -> Case:
    """Sequences; with running statistics and without, with weights and without."""
    return _instance_norm(draw, nn.InstanceNorm1d, 1)


@cases_of(nn.InstanceNorm2d, "instance_norm2d")
def instance_norm2d(draw: st.DrawFn) -> Case:
    """Images; with running statistics and without, with weights and without."""
    return _instance_norm(draw, nn.InstanceNorm2d, 2)


@cases_of(nn.InstanceNorm3d, "instance_norm3d")
def instance_norm3d(draw: st.DrawFn) -> Case:
    """Volumes; with running statistics and without, with weights and without."""
    return _instance_norm(draw, nn.InstanceNorm3d, 3)


@cases_of(nn.GroupNorm, "group_norm")
def group_norm(draw: st.DrawFn) -> Case:
    """Groups of any size, also of one value, in vectors, sequences, images and volumes."""
    groups, rank = draw(st.integers(1, 4)), draw(st.sampled_from((2, 1, 3, 0)))
    channels = groups * draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 3)), channels, *draw(_sides(rank)))
    if np.prod(shape) == groups:
        shape = (2, *shape[1:])
    module = nn.GroupNorm(groups, channels, eps=draw(_epsilons), affine=draw(st.booleans()))
    return _apart(draw, _moved(draw, case(draw, module, shape, MAPS[rank])), groups)


@cases_of(nn.LayerNorm, "layer_norm")
def layer_norm(draw: st.DrawFn) -> Case:
    """One to all of the axes after the batch, with weights, without, and without a bias; also axes of one value."""
    layout, shape, count = draw(_layers())
    affine, bias = draw(st.booleans()), draw(st.booleans())
    module = nn.LayerNorm(shape[-count:], eps=draw(_epsilons), elementwise_affine=affine, bias=bias)
    return _moved(draw, case(draw, module, shape, layout))


@cases_of(nn.RMSNorm, "rms_norm")
def rms_norm(draw: st.DrawFn) -> Case:
    """One to all of the axes after the batch; some with torch's own epsilon."""
    layout, shape, count = draw(_layers())
    module = nn.RMSNorm(shape[-count:], eps=draw(_epsilons | st.none()), elementwise_affine=draw(st.booleans()))
    return _moved(draw, case(draw, module, shape, layout))


@cases_of(nn.LocalResponseNorm, "local_response_norm")
def local_response_norm(draw: st.DrawFn) -> Case:
    """Of more channels than there are, too; with a power that is negative, and no effect of the channels at all."""
    rank = draw(st.sampled_from((2, 1, 3)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 7)), *draw(_sides(rank)))
    alpha, beta = (
        draw(st.sampled_from((1e-4, 1.0, 20.0, 1.0, 20.0, 0.0))),
        draw(st.sampled_from((0.75, 0.5, 1.0, -0.5))),
    )
    module = nn.LocalResponseNorm(draw(st.integers(1, 9)), alpha, beta, k=draw(st.sampled_from((1.0, 2.0, 0.1))))
    return case(draw, module, shape, MAPS[rank])


_epsilons = st.sampled_from(EPSILONS)


@st.composite
def _layers(draw: st.DrawFn) -> tuple[str, tuple[int, ...], int]:
    """A layout, a shape in it, and over how many of its last axes."""
    layout = draw(st.sampled_from(("NC", "NLC", "NCL", "NCHW", "NHWC", "NCTHW")))
    shape = draw(st.tuples(*[st.integers(1, 6 if len(layout) < 5 else 4)] * len(layout)))
    return layout, shape, draw(st.integers(1, len(layout) - 1))


def _sides(rank: int) -> st.SearchStrategy[Sequence[int]]:
    return st.tuples(*[st.integers(1, max(3, LONGEST[rank] - 3))] * rank) if rank else st.just(())


def _batch_norm(draw: st.DrawFn, kind: Any, rank: int) -> Case:
    channels = draw(st.integers(1, 6))
    module = draw(_with_statistics(kind, channels, tracks=True))
    shape = (draw(st.integers(1, 3)), channels, *draw(_sides(rank)))
    if module.running_mean is None and np.prod(shape) == channels:
        shape = (2, *shape[1:])
    return _moved(draw, case(draw, module, shape, MAPS[rank]))


def _instance_norm(draw: st.DrawFn, kind: Any, rank: int) -> Case:
    channels = draw(st.integers(1, 6))
    module = draw(_with_statistics(kind, channels, tracks=False))
    sides = draw(_sides(rank))
    if np.prod(sides) == 1 and not module.track_running_stats:
        sides = (*sides[:-1], 2)
    return _moved(draw, case(draw, module, (draw(st.integers(1, 3)), channels, *sides), MAPS[rank]))


@st.composite
def _with_statistics(draw: st.DrawFn, kind: Any, channels: int, *, tracks: bool) -> Any:
    """A normalisation that can have running statistics; `tracks` is whether the simplest has."""
    affine, statistics = draw(st.booleans()), draw(st.sampled_from((tracks, not tracks)))
    module = kind(channels, eps=draw(_epsilons), affine=affine, track_running_stats=statistics)
    if affine and draw(st.booleans()):
        module.register_parameter("bias", None)
    return module


def _apart(draw: st.DrawFn, drawn: Case, groups: int) -> Case:
    """The case with another offset for each of the groups that its channels are in."""
    step = draw(st.sampled_from(OFFSETS))
    if not step or groups == 1:
        return drawn
    array = drawn.given.arrays[INPUT]
    of_channels = np.repeat(np.arange(groups) * step, array.shape[1] // groups)
    array = np.asarray(array + of_channels.reshape(1, -1, *[1] * (array.ndim - 2)), np.float32)
    says = f"{drawn.given.origin}, groups {step:g} apart"
    return replace(drawn, given=Input(name=says, array=array, origin=says))


def _moved(draw: st.DrawFn, drawn: Case) -> Case:
    """The case with an offset added to its input."""
    offset = draw(st.sampled_from(OFFSETS))
    if not offset:
        return drawn
    array = np.asarray(drawn.given.arrays[INPUT] + np.float32(offset), np.float32)
    says = f"{drawn.given.origin}, plus {offset:g}"
    return replace(drawn, given=Input(name=says, array=array, origin=says))
