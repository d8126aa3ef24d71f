"""Made-up inputs: noise that reaches every code path, and probes that each expose one kind of mistake.

Noise alone is a poor witness for some faults: it has no direction, so a flip or a swapped axis changes every
value a little and none in a telling way; and it is never negative or constant. Each probe has one of these.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from parity.axes import Array
from parity.errors import InputError
from parity.pairs import Input


def noise(shape: Sequence[int], *, seed: int = 0, low: float = 0.0, high: float = 255.0, name: str = "noise") -> Input:
    """Uniform float32 noise in [low, high] of `shape`, bit-identical for the same seed.

    Source: NumPy's PCG64, whose stream is fixed by `seed`. Raises InputError for an empty shape, a negative
    seed or low >= high.
    """
    _check(shape, low, high)
    if seed < 0:
        raise InputError(f"seed={seed}: a seed must be 0 or more")
    values = np.float32(low) + np.float32(high - low) * _unit_noise(shape, seed)
    return Input(name=name, array=values, origin=f"uniform noise in [{low:g}, {high:g}], PCG64 seed {seed}")


def probe(kind: str, shape: Sequence[int], *, low: float = 0.0, high: float = 255.0) -> Input:
    """One of PROBES as float32 of `shape`, in the value range the network expects; named after its kind.

    - "impulse": `low` everywhere but for one `high` value in each plane (each channel and frame), off the
      centre lines and elsewhere in every plane: flips, swapped channels and swapped height and width show.
    - "ramp": from `low` at the first index to `high` at the last, with a different slope along every axis,
      steeper from plane to plane: any transpose shows, also after a per-channel mean is subtracted.
    - "negative": noise strictly below zero, down to minus the larger of |low| and |high|: shows what an
      activation does left of zero.
    - "constant": halfway between `low` and `high` everywhere: only borders and biases make a difference.

    Raises InputError for an unknown kind, an empty shape or low >= high.
    """
    if kind not in _MAKERS:
        raise InputError(f"unknown probe {kind!r}; the probes are {', '.join(PROBES)}")
    _check(shape, low, high)
    make, description = _MAKERS[kind]
    return Input(name=kind, array=make(shape, low, high), origin=description.format(low=low, high=high))


def _impulse(shape: Sequence[int], low: float, high: float) -> Array:
    # Axes as in axes.CHANNELS_FIRST: batch, channels and frames count planes, the others span one.
    leading = len(shape) - 2 if len(shape) > 3 else len(shape) - 1
    spatial = tuple(shape[leading:])
    planes = np.full((math.prod(shape[:leading]), math.prod(spatial)), low, dtype=np.float32)
    allowed = np.flatnonzero(_telling(spatial))
    # A step coprime to the number of positions visits each once before it repeats any.
    step = round(0.382 * len(allowed))
    while math.gcd(step, len(allowed)) > 1:
        step += 1
    plane = np.arange(len(planes))
    planes[plane, allowed[(len(allowed) // 3 + plane * step) % len(allowed)]] = high
    return planes.reshape(shape)


def _telling(spatial: tuple[int, ...]) -> Array:
    """True at the positions that a flip along any axis, or a swap of height and width, moves elsewhere."""
    index = np.indices(spatial)
    telling = np.ones(spatial, dtype=bool)
    for positions, size in zip(index, spatial, strict=True):
        if size > 1:
            telling &= 2 * positions != size - 1
    if len(spatial) == 2 and min(spatial) > 1:
        telling &= index[0] != index[1]
    return telling


def _ramp(shape: Sequence[int], low: float, high: float) -> Array:
    rank = len(shape)
    # A product, not a sum: in a sum all channels are alike once their means are gone.
    values = np.ones(tuple(shape))
    for axis, size in enumerate(shape):
        along = np.ones(rank, dtype=int)
        along[axis] = size
        values *= np.linspace(1.0, 1.0 + (axis + 1) / rank, size).reshape(along)
    span = float(values.max()) - 1.0
    return (low + (high - low) * (values - 1.0) / (span or 1.0)).astype(np.float32)


def _negative(shape: Sequence[int], low: float, high: float) -> Array:
    return (_unit_noise(shape, seed=0) - np.float32(1.0)) * np.float32(max(abs(low), abs(high)))


def _constant(shape: Sequence[int], low: float, high: float) -> Array:
    return np.full(tuple(shape), (low + high) / 2, dtype=np.float32)


_MAKERS: Mapping[str, tuple[Callable[[Sequence[int], float, float], Array], str]] = {
    "impulse": (_impulse, "probe: one {high:g} in each plane of {low:g}, elsewhere in every plane"),
    "ramp": (_ramp, "probe: from {low:g} to {high:g}, a different slope along every axis"),
    "negative": (_negative, "probe: noise below zero, PCG64 seed 0"),
    "constant": (_constant, "probe: the same value everywhere, halfway between {low:g} and {high:g}"),
}

PROBES = tuple(_MAKERS)
"""The kinds of probe, in the order they are listed to users."""


def _unit_noise(shape: Sequence[int], seed: int) -> Array:
    # Drawn as float32: multiples of 2**-24 in [0, 1), so scaling them rounds the same way on every machine.
    return np.random.Generator(np.random.PCG64(seed)).random(tuple(shape), dtype=np.float32)


def _check(shape: Sequence[int], low: float, high: float) -> None:
    if not shape or min(shape) < 1:
        raise InputError(f"shape {tuple(shape)}: an input needs at least one axis, and every axis at least 1")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"low={low:g}, high={high:g}: low must be less than high, and both finite")
