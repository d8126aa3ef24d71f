"""Pads: zero, constant, reflect, replicate and circular. They move values only, along axes in any order."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.building.registry import builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch

Pads = Mapping[int, tuple[int, int]]
"""By the port's axis, how many values come before it and after it; where it is negative, so many are cut off."""

MODES = ("constant", "reflect", "replicate", "circular")


@builds(torch.nn.ZeroPad1d, torch.nn.ZeroPad2d, torch.nn.ZeroPad3d, layout="any", how="ops.pad", moves_only=True)
def zero_pad(layer: torch.nn.ZeroPad2d, site: Site, x: Any) -> Any:
    """(..., h, w) to (..., top + h + bottom, left + w + right), zeros around; negative pads cut off."""
    return padded(x, by_axis(site, layer.padding), "constant", 0.0)


@builds(
    torch.nn.ConstantPad1d,
    torch.nn.ConstantPad2d,
    torch.nn.ConstantPad3d,
    layout="any",
    how="ops.pad",
    moves_only=True,
)
def constant_pad(layer: torch.nn.ConstantPad2d, site: Site, x: Any) -> Any:
    """(..., h, w) to (..., top + h + bottom, left + w + right), the value around; negative pads cut off."""
    return padded(x, by_axis(site, layer.padding), "constant", layer.value)


@builds(
    torch.nn.ReflectionPad1d,
    torch.nn.ReflectionPad2d,
    torch.nn.ReflectionPad3d,
    layout="any",
    how="ops.take along each axis",
    moves_only=True,
)
def reflection_pad(layer: torch.nn.ReflectionPad2d, site: Site, x: Any) -> Any:
    """(..., h, w) to (..., top + h + bottom, left + w + right), mirrored at the outermost values."""
    return padded(x, by_axis(site, layer.padding), "reflect")


@builds(
    torch.nn.ReplicationPad1d,
    torch.nn.ReplicationPad2d,
    torch.nn.ReplicationPad3d,
    layout="any",
    how="ops.take along each axis",
    moves_only=True,
)
def replication_pad(layer: torch.nn.ReplicationPad2d, site: Site, x: Any) -> Any:
    """(..., h, w) to (..., top + h + bottom, left + w + right), the outermost values repeated."""
    return padded(x, by_axis(site, layer.padding), "replicate")


@builds(
    torch.nn.CircularPad1d,
    torch.nn.CircularPad2d,
    torch.nn.CircularPad3d,
    layout="any",
    how="ops.take along each axis",
    limits="pads longer than what negative ones leave: torch gives what was in memory",
    moves_only=True,
)
def circular_pad(layer: torch.nn.CircularPad2d, site: Site, x: Any) -> Any:
    """(..., h, w) to (..., top + h + bottom, left + w + right), going on from the other end."""
    return padded(x, by_axis(site, layer.padding), "circular")


@builds(
    torch.nn.functional.pad,
    layout="any",
    how="ops.pad, or ops.take along each axis",
    limits="sizes that are not known are padded with constants only",
    moves_only=True,
)
def pad(site: Site, input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """(...) to (...): the last axes, from the last one on, each longer by its two pads."""
    if mode not in MODES:
        raise ConversionError(f"padding mode {mode!r} is none of torch's: {', '.join(MODES)}")
    return padded(input, by_axis(site, pad), mode, 0.0 if value is None else value)


def by_axis(site: Site, pads: Sequence[int]) -> Pads:
    """Torch's pads, two for each axis from the last one back, by the port's axes."""
    return {site.axis(-1 - i): (pads[2 * i], pads[2 * i + 1]) for i in range(len(pads) // 2)}


def padded(x: Any, pads: Pads, mode: str, value: float = 0.0) -> Any:
    """(...) to (...): each axis longer by its two pads, or shorter where they are negative."""
    pads = {axis: both for axis, both in pads.items() if any(both)}
    if mode == "constant":
        return _with_constants(x, pads, value)
    for axis, (before, after) in pads.items():
        x = keras.ops.take(x, _places(x.shape[axis], before, after, mode), axis=axis)
    return x


def _with_constants(x: Any, pads: Pads, value: float) -> Any:
    """Cut off first what negative pads do, then put the value around."""
    cuts = [slice(max(0, -before), min(0, after) or None) for before, after in _of_all(x, pads)]
    if any(cut != slice(0, None) for cut in cuts):
        x = x[tuple(cuts)]
    widths = [(max(0, before), max(0, after)) for before, after in _of_all(x, pads)]
    if not any(map(any, widths)):
        return x
    return keras.ops.pad(x, widths, mode="constant", constant_values=_as_in(x, value))


def _as_in(x: Any, value: float) -> float:
    """The value as torch writes it into a tensor of that kind of numbers."""
    kind = keras.backend.standardize_dtype(x.dtype)
    return bool(value) if kind == "bool" else int(value) if "int" in kind else float(value)


def _of_all(x: Any, pads: Pads) -> list[tuple[int, int]]:
    """The pads of every axis, none where there are none."""
    return [pads.get(axis, (0, 0)) for axis in range(len(x.shape))]


def _places(size: int | None, before: int, after: int, mode: str) -> list[int]:
    """Where along an axis of that size each value of the padded one comes from.

    >>> _places(4, 2, 1, "reflect"), _places(4, -1, 2, "replicate"), _places(4, -1, 2, "circular")
    ([2, 1, 0, 1, 2, 3, 2], [1, 2, 3, 3, 3], [1, 2, 3, 1, 2])
    """
    if size is None:
        raise ConversionError(f"padding by mode {mode!r} needs to know the size of the axis, and it is not known")
    places = np.arange(-before, size + after)
    if mode == "reflect":
        places = size - 1 - np.abs(size - 1 - np.abs(places))
    elif mode == "replicate":
        places = np.clip(places, 0, size - 1)
    else:
        first, left = max(0, -before), size - max(0, -before) - max(0, -after)
        if max(before, after) > left:
            raise ConversionError(f"circular padding by ({before}, {after}) of {size} values repeats more than it has")
        places = first + (places - first) % left
    return [int(place) for place in places]
