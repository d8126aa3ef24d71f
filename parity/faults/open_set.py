"""Faults that no cause of the table describes: what the diagnosis should call `unknown`.

They are as real as the others, only that they have no name: a file damaged in part, a layer somebody rewrote.
"""

from typing import Any

import numpy as np

from parity.axes import Array
from parity.faults.planting import ACTIVATIONS, LINEAR, NORMS, Generator, Planted, Site, operator
from parity.faults.tensors import chosen, like, log_uniform
from parity.frameworks import keras

UNKNOWN = "unknown"


@operator(UNKNOWN)
def damaged_kernel(site: Site, generator: Generator) -> Planted | None:
    """Some elements of the kernel are others, drawn with the kernel's own spread."""
    if site.kind not in LINEAR or site.kernel is None:
        return None
    kernel = site.weights["kernel"].copy()
    share = log_uniform(generator, 0.02, 0.3)
    hit = generator.random(kernel.shape) < share
    if hit.sum() < 3:
        return None
    kernel[hit] += generator.normal(0, kernel.std(), int(hit.sum())).astype(np.float32)
    return site.reweighted(UNKNOWN, f"{int(hit.sum())} of {kernel.size} elements of the kernel", {"kernel": kernel})


@operator(UNKNOWN)
def lost_filters(site: Site, generator: Generator) -> Planted | None:
    """One filter or a few are zero."""
    if site.kind not in LINEAR or site.kernel is None or site.weights["kernel"].shape[-1] < 3:
        return None
    kernel = site.weights["kernel"].copy()
    count = int(generator.integers(1, max(2, kernel.shape[-1] // 4)))
    filters = generator.choice(kernel.shape[-1], count, replace=False)
    kernel[..., filters] = 0.0
    return site.reweighted(UNKNOWN, f"filters {sorted(map(int, filters))} are zero", {"kernel": kernel})


@operator(UNKNOWN)
def low_rank_change(site: Site, generator: Generator) -> Planted | None:
    """Something of rank one added to the kernel, as fine-tuning would."""
    if site.kind not in LINEAR or site.kernel is None:
        return None
    kernel = site.weights["kernel"]
    ends = [generator.normal(size=size) for size in (kernel.size // kernel.shape[-1], kernel.shape[-1])]
    size = log_uniform(generator, 0.01, 0.5) * float(kernel.std())
    changed = kernel + (size * np.outer(*ends)).reshape(kernel.shape).astype(np.float32)
    return site.reweighted(UNKNOWN, f"rank one of {size:.3g} added to the kernel", {"kernel": changed})


def _plain(site: Site) -> bool:
    return site.kind in LINEAR | NORMS | ACTIVATIONS | {"add"} and site.makes_value and not site.at_input


@operator(UNKNOWN)
def bent_values(site: Site, generator: Generator) -> Planted | None:
    """Values through a smooth curve that is no known function."""
    if not _plain(site):
        return None
    size, rate, phase = log_uniform(generator, 0.01, 0.3), generator.uniform(1.0, 4.0), generator.uniform(0.3, 2.8)
    rate, phase = float(rate), float(phase)
    detail = f"x + {size:.3g} sin({rate:.2f} x + {phase:.2f})"
    return site.appended(UNKNOWN, detail, lambda x: x + size * keras.ops.sin(rate * x + phase))


@operator(UNKNOWN)
def pixel_gain(site: Site, generator: Generator) -> Planted | None:
    """Each place has a gain of its own."""
    inner = [int(size) for size in site.shape[1:-1] if size]
    if not _plain(site) or int(np.prod(inner)) < 6:
        return None
    spread = log_uniform(generator, 0.01, 0.5)
    gain = 1.0 + spread * generator.normal(size=(1, *inner, 1))
    return site.appended(UNKNOWN, f"gains of deviation {spread:.3g}", lambda x: x * like(gain, x))


@operator(UNKNOWN)
def mixed_channels(site: Site, generator: Generator) -> Planted | None:
    """Each channel has a little of the others in it."""
    channels = int(site.shape[-1] or 0)
    if not _plain(site) or channels < 3:
        return None
    size = log_uniform(generator, 0.01, 0.3)
    matrix = np.eye(channels) + size * generator.normal(size=(channels, channels)) / channels**0.5
    return site.appended(UNKNOWN, f"mixed by {size:.3g}", lambda x: keras.ops.matmul(x, like(matrix, x)))


@operator(UNKNOWN)
def blurred(site: Site, generator: Generator) -> Planted | None:
    """Values averaged with their neighbours along one axis."""
    inner = [axis for axis in range(1, len(site.shape) - 1) if (site.shape[axis] or 0) > 3]
    if not _plain(site) or not inner:
        return None
    axis, share = chosen(generator, inner), float(generator.uniform(0.05, 0.4))
    return site.appended(UNKNOWN, f"blurred by {share:.2f} along {axis}", lambda x: _blur(x, axis, share))


def _blur(x: Any, axis: int, share: float) -> Any:
    around = keras.ops.roll(x, 1, axis=axis) + keras.ops.roll(x, -1, axis=axis)
    return (1 - share) * x + share / 2 * around


@operator(UNKNOWN)
def added_pattern(site: Site, generator: Generator) -> Planted | None:
    """A smooth pattern added, another one in each channel."""
    inner = [int(size) for size in site.shape[1:-1] if size]
    channels = int(site.shape[-1] or 0)
    if not _plain(site) or int(np.prod(inner)) < 6:
        return None
    size = log_uniform(generator, 0.01, 0.5)
    pattern = size * _waves(inner, channels, generator)
    return site.appended(UNKNOWN, f"waves of {size:.3g} added", lambda x: x + like(pattern[None], x))


def _waves(inner: list[int], channels: int, generator: Generator) -> Array:
    rates = generator.uniform(0.3, 1.5, (channels, len(inner)))
    places = np.stack(np.meshgrid(*(np.arange(n) for n in inner), indexing="ij"), axis=-1)
    wave: Array = np.sin(places @ rates.T + generator.uniform(0, 6, channels))
    return wave


@operator(UNKNOWN)
def norm_operations_swapped(site: Site, generator: Generator) -> Planted | None:
    """A norm that adds beta before it multiplies by gamma."""
    if site.kind not in NORMS or not {"gamma", "beta"} <= set(site.weights):
        return None
    swapped = site.weights["gamma"] * site.weights["beta"]
    return site.reweighted(UNKNOWN, "beta added before gamma is applied", {"beta": swapped})
