"""Whether an input can show a fault at all: where a layer's values are constant or of one sign, faults hide.

A blank image makes flipped kernels and wrong transposes invisible; values that are all positive hide an activation's
slope. Such an input still counts, but the report says what it cannot see.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.axes import Array, Axes
from parity.runners.taps import SIGN_MATTERS, Positions, Tap, positions

SHOWN = 4
RECTIFIERS = frozenset({"relu", "relu6"})
"""Activations that give 0 for everything negative."""
FEW = 1 << 10
"""Values looked at first: they settle nearly every layer."""


def blind_spots(taps: Sequence[Tap], samples: Mapping[str, Array], axes: Axes) -> tuple[str, ...]:
    """One sentence for each way in which some layers are left blind by the values seen at their taps."""
    constant = [tap.name for tap in taps if tap.weighted and _constant_in_channels(tap, samples[tap.name], axes)]
    one_sign = [tap.name for tap in taps if tap.kind in SIGN_MATTERS and _one_sign(tap.kind, samples[tap.name])]
    return tuple(
        _sentences(
            ("every channel is constant, so flips, transposes and shifts do not show, at", constant),
            ("all values are of one sign, so the slope of the other side does not show, at", one_sign),
        )
    )


def _sentences(*spots: tuple[str, Sequence[str]]) -> Iterator[str]:
    for what, names in spots:
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield f"{what} {', '.join(names[:SHOWN])}{more}"


def _one_sign(kind: str, values: Array) -> bool:
    """Whether what an activation was given is of one sign, as its value tells: where that is 0, a ReLU cut it off."""
    if kind in RECTIFIERS:
        return values.size > 1 and bool((values > 0).all() or (values <= 0).all())
    return values.size > 1 and bool((values >= 0).all() or (values <= 0).all())


def _constant_in_channels(tap: Tap, values: Array, axes: Axes) -> bool:
    """Whether each channel of a map holds a single value; False for tensors without channels or without pixels."""
    shape = tuple(int(size or 0) for size in tap.shape)
    layout = axes.of(tap.name, len(shape))[0]
    if layout.find("C") < 0 or len(shape) < 3 or values.size < 2:
        return False
    if not _constant(values[:FEW], positions(shape)[:FEW], shape, layout):
        return False
    return _constant(values, positions(shape), shape, layout)


def _constant(values: Array, places: Positions, shape: tuple[int, ...], layout: str) -> bool:
    """Whether the values at these flat places of a tensor of `shape` are the same wherever they share a channel."""
    channel = np.unravel_index(places, shape)[layout.index("C")]
    if len(np.unique(channel)) == channel.size:
        return False
    order = np.argsort(channel, kind="stable")
    starts = np.flatnonzero(np.diff(channel[order], prepend=-1))
    ordered = values[order]
    return bool((np.maximum.reduceat(ordered, starts) == np.minimum.reduceat(ordered, starts)).all())
