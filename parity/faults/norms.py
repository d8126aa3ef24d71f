"""Faults in normalisations and reductions: their epsilon, their statistics, the axes they run over."""

from typing import Any

import numpy as np

from parity.faults.planting import NORMS, SOFTMAXES, Generator, Planted, Site, operator
from parity.faults.tensors import chosen, like, log_uniform, on_first
from parity.frameworks import keras
from parity.runners.edits import Change


@operator("norm-epsilon")
def norm_epsilon(site: Site, generator: Generator) -> Planted | None:
    """Another epsilon: Keras's or another framework's default, or one of any magnitude."""
    if site.kind not in NORMS:
        return None
    own = float(site.operation.epsilon)
    drawn = log_uniform(generator, 1e-6, 3e-2)
    epsilon = chosen(generator, [each for each in (1e-3, 1e-2, 1e-6, 1e-12, drawn, drawn) if each != own])
    return site.replaced("norm-epsilon", f"epsilon {epsilon:.4g} for {own:g}", site.remade(epsilon=epsilon))


@operator("norm-statistics")
def norm_statistics(site: Site, generator: Generator) -> Planted | None:
    """The unbiased variance for the biased one, or the other way round; or gamma ignored."""
    if site.kind not in NORMS or "gamma" not in site.weights:
        return None
    if generator.integers(3) == 0:
        return site.reweighted("norm-statistics", "gamma ignored", {"gamma": np.ones_like(site.weights["gamma"])})
    if site.kind == "batchnorm":
        count = int(generator.integers(4, 65))
        factor = chosen(generator, [count / (count - 1), (count - 1) / count])
        wrong = site.weights["moving_variance"] * np.float32(factor)
        return site.reweighted("norm-statistics", f"variance times {factor:.4f}", {"moving_variance": wrong})
    count = _normalised_over(site)
    # Dividing by n - 1 instead of n is the same as a smaller epsilon under a smaller gamma.
    share = (count - 1) / count
    values = [array * np.float32(share**0.5) if name == "gamma" else array for name, array in site.weights.items()]
    change = site.remade(values, epsilon=float(site.operation.epsilon) * share)
    return site.replaced("norm-statistics", f"variance over n - 1 = {count - 1}", change)


def _normalised_over(site: Site) -> int:
    sizes = [int(size) for size in site.shape[1:] if size]
    if site.kind == "layernorm":
        return sizes[-1]
    return int(np.prod(sizes)) // int(site.operation.groups)


@operator("reduction-axis")
def reduction_axis(site: Site, generator: Generator) -> Planted | None:
    """A softmax over another axis, the batch included."""
    if site.kind not in SOFTMAXES:
        return None
    own = site.operation.axis % len(site.shape)
    axis = chosen(generator, [axis for axis in range(len(site.shape)) if axis != own])
    function = {"softmax": keras.ops.softmax, "logsoftmax": keras.ops.log_softmax}[site.kind]
    return site.replaced("reduction-axis", f"axis {axis} for {own}", on_first(lambda x: function(x, axis=axis)))


@operator("reduction-axis")
def norm_axis(site: Site, generator: Generator) -> Planted | None:
    """A LayerNorm over another axis, or over more of them; gamma and beta still along the channels."""
    if site.kind != "layernorm" or len(site.shape) < 3:
        return None
    inner = tuple(range(1, len(site.shape)))
    axes = chosen(generator, [(axis,) for axis in inner[:-1]] + [inner])
    return site.replaced("reduction-axis", f"normalised over {axes}", on_first(_normalise(site, axes)))


def _normalise(site: Site, axes: tuple[int, ...]) -> Change:
    gamma, beta, epsilon = site.weights["gamma"], site.weights["beta"], float(site.operation.epsilon)

    def normalise(x: Any) -> Any:
        mean = keras.ops.mean(x, axis=axes, keepdims=True)
        spread = keras.ops.mean(keras.ops.square(x - mean), axis=axes, keepdims=True)
        return (x - mean) * keras.ops.rsqrt(spread + epsilon) * like(gamma, x) + like(beta, x)

    return normalise


@operator("reduction-axis")
def mean_axis(site: Site, generator: Generator) -> Planted | None:
    """A mean over other axes, where what is left has the same shape."""
    if site.kind not in ("mean", "globalaveragepooling1d", "globalaveragepooling2d"):
        return None
    inner, wanted = tuple(site.source.shape)[1:], tuple(site.shape)[1:]
    options = [axes for axes in _axes(len(inner)) if _left(inner, axes) == wanted and axes != tuple(range(len(axes)))]
    if not options:
        return None
    axes = tuple(axis + 1 for axis in chosen(generator, options))
    return site.replaced("reduction-axis", f"mean over {axes}", on_first(lambda x: keras.ops.mean(x, axis=axes)))


def _axes(rank: int) -> list[tuple[int, ...]]:
    return [(i,) for i in range(rank)] + [(i, j) for i in range(rank) for j in range(i + 1, rank)]


def _left(shape: tuple[Any, ...], axes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
