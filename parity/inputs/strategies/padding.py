"""Cases of pads: of all modes, different on every side, and negative where torch cuts off."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import LAYOUTS, Call, Case, case, cases_of

Fits = Callable[[int, int, int], bool]
"""Whether torch pads an axis of some size by so much before and after."""


def _something_is_left(size: int, before: int, after: int) -> bool:
    return size + min(before, 0) + min(after, 0) > 0


def _within(size: int, before: int, after: int) -> bool:
    """A mirror image has as many values as the axis, but for one."""
    return max(before, after) < size and size + before + after > 0


def _anything(size: int, before: int, after: int) -> bool:
    return size + before + after > 0


def _of_what_is_left(size: int, before: int, after: int) -> bool:
    """What comes again is what negative pads have left."""
    left = size + min(before, 0) + min(after, 0)
    return left > 0 and max(before, after) <= left


@cases_of(torch.nn.ZeroPad1d, "zero_pad1d")
def zero_pad1d(draw: st.DrawFn) -> Case:
    """Of sequences."""
    return _pad(draw, torch.nn.ZeroPad1d, 1, _something_is_left)


@cases_of(torch.nn.ZeroPad2d, "zero_pad2d")
def zero_pad2d(draw: st.DrawFn) -> Case:
    """Of images."""
    return _pad(draw, torch.nn.ZeroPad2d, 2, _something_is_left)


@cases_of(torch.nn.ZeroPad3d, "zero_pad3d")
def zero_pad3d(draw: st.DrawFn) -> Case:
    """Of volumes."""
    return _pad(draw, torch.nn.ZeroPad3d, 3, _something_is_left)


@cases_of(torch.nn.ConstantPad1d, "constant_pad1d")
def constant_pad1d(draw: st.DrawFn) -> Case:
    """Of sequences, by any value."""
    return _pad(draw, torch.nn.ConstantPad1d, 1, _something_is_left, _value(draw))


@cases_of(torch.nn.ConstantPad2d, "constant_pad2d")
def constant_pad2d(draw: st.DrawFn) -> Case:
    """Of images, by any value."""
    return _pad(draw, torch.nn.ConstantPad2d, 2, _something_is_left, _value(draw))


@cases_of(torch.nn.ConstantPad3d, "constant_pad3d")
def constant_pad3d(draw: st.DrawFn) -> Case:
    """Of volumes, by any value."""
    return _pad(draw, torch.nn.ConstantPad3d, 3, _something_is_left, _value(draw))


@cases_of(torch.nn.ReflectionPad1d, "reflection_pad1d")
def reflection_pad1d(draw: st.DrawFn) -> Case:
    """Of sequences."""
    return _pad(draw, torch.nn.ReflectionPad1d, 1, _within)


@cases_of(torch.nn.ReflectionPad2d, "reflection_pad2d")
def reflection_pad2d(draw: st.DrawFn) -> Case:
    """Of images."""
    return _pad(draw, torch.nn.ReflectionPad2d, 2, _within)


@cases_of(torch.nn.ReflectionPad3d, "reflection_pad3d")
def reflection_pad3d(draw: st.DrawFn) -> Case:
    """Of volumes."""
    return _pad(draw, torch.nn.ReflectionPad3d, 3, _within)


@cases_of(torch.nn.ReplicationPad1d, "replication_pad1d")
def replication_pad1d(draw: st.DrawFn) -> Case:
    """Of sequences."""
    return _pad(draw, torch.nn.ReplicationPad1d, 1, _anything)


@cases_of(torch.nn.ReplicationPad2d, "replication_pad2d")
def replication_pad2d(draw: st.DrawFn) -> Case:
    """Of images."""
    return _pad(draw, torch.nn.ReplicationPad2d, 2, _anything)


@cases_of(torch.nn.ReplicationPad3d, "replication_pad3d")
def replication_pad3d(draw: st.DrawFn) -> Case:
    """Of volumes."""
    return _pad(draw, torch.nn.ReplicationPad3d, 3, _anything)


@cases_of(torch.nn.CircularPad1d, "circular_pad1d")
def circular_pad1d(draw: st.DrawFn) -> Case:
    """Of sequences."""
    return _pad(draw, torch.nn.CircularPad1d, 1, _of_what_is_left)


@cases_of(torch.nn.CircularPad2d, "circular_pad2d")
def circular_pad2d(draw: st.DrawFn) -> Case:
    """Of images."""
    return _pad(draw, torch.nn.CircularPad2d, 2, _of_what_is_left)


@cases_of(torch.nn.CircularPad3d, "circular_pad3d")
def circular_pad3d(draw: st.DrawFn) -> Case:
    """Of volumes."""
    return _pad(draw, torch.nn.CircularPad3d, 3, _of_what_is_left)


@cases_of(torch.nn.functional.pad, "pad")
def pad(draw: st.DrawFn) -> Case:
    """Calls, in every mode; by a constant of as many of the last axes as there are, the batch's left alone."""
    mode = draw(st.sampled_from(("constant", "replicate", "circular", "reflect")))
    fits = {"constant": _something_is_left, "replicate": _anything, "circular": _of_what_is_left}.get(mode, _within)
    rank = draw(st.integers(1, 3))
    sizes = [draw(st.integers(1, 6)) for _ in range(rank + 1)]
    settings: dict[str, Any] = {"pad": _pads(draw, sizes[1:], fits), "mode": mode}
    if mode == "constant":
        settings = {"pad": _pads(draw, sizes[draw(st.integers(0, rank)) :], fits), "value": _value(draw)}
    assume(any(settings["pad"]))  # a call that does nothing is no network
    module = Call(torch.nn.functional.pad, **settings)
    return case(draw, module, (draw(st.integers(1, 3)), *sizes), LAYOUTS[rank])


def _fits(fits: Fits, size: int, both: tuple[int, int]) -> bool:
    return fits(size, *both)


def _value(draw: st.DrawFn) -> float:
    """What is put around: of float32, very large and very small too."""
    return draw(st.one_of(st.integers(-3, 3), st.floats(width=32, allow_nan=False, allow_infinity=False)))


def _pads(draw: st.DrawFn, sizes: Sequence[int], fits: Fits) -> tuple[int, ...]:
    """Pads before and after each axis of these sizes, the last one first."""
    pads: list[int] = []
    for size in reversed(sizes):
        both = st.tuples(st.integers(0, 4), st.integers(0, 4)) | st.tuples(st.integers(-4, 6), st.integers(-4, 6))
        pads += draw(both.filter(partial(_fits, fits, size)))
    return tuple(pads)


def _pad(draw: st.DrawFn, kind: Any, rank: int, fits: Fits, *settings: float) -> Case:
    """A pad that fits an input of sizes from 1, which is drawn first."""
    sizes = [draw(st.integers(1, 6)) for _ in range(rank)]
    pads = _pads(draw, sizes, fits)
    same = len(set(pads)) == 1 and draw(st.booleans())
    module = kind(pads[0] if same else pads, *settings)
    return case(draw, module, (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *sizes), LAYOUTS[rank])
