"""Comparing weights that may be rearranged: fingerprints and samples first, whole tensors only where these agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array

SAME = 2e-6
"""Relative difference below which two weights are the same one: a sum of two biases may round."""


def same(weight: Array, source: Array, slack: float = 0.0) -> bool:
    """Whether two weights are one: equal, or nearly all of it rounding, or within the `slack` of how one is stored."""
    return np.array_equal(weight, source) or distance(weight, source) <= max(slack, SAME * 1e-1)


def equal(weight: Array, source: Array, limit: float = SAME) -> bool:
    """Whether two weights are the same to rounding; a look at some of the values spares most comparisons."""
    if weight.shape != source.shape:
        return False
    some = places(source, 64)
    scale = float(np.abs(source[some]).max()) or float(np.abs(source).max()) or 1.0
    if float(np.abs(weight[some] - source[some]).max()) > max(1e-4, 4 * limit) * scale:
        return False
    return distance(weight, source) <= limit


def places(array: Array, most: int = 1 << 12) -> tuple[npt.NDArray[np.int64], ...]:
    """Indices of some of an array's values, the same each time; of all, where it has no more than `most`."""
    few = array.size <= most
    flat = np.arange(array.size) if few else np.random.default_rng(0).integers(array.size, size=most)
    return np.unravel_index(flat, array.shape)


def shares_values(weight: Array, source: Array) -> bool:
    """Whether many of a weight's values are in the source as well, wherever: then it was made from it.

    Of ten million float32 numbers some are in any such weight by chance, one in ten or so: that is not many.
    """
    sample = weight[places(weight, 32)]
    found = sum(bool(np.any(source == value)) for value in sample if value)
    return found >= 0.4 * len(sample)


def carries_other_values(sources: Sequence[Array], operation: Any, slacks: Sequence[float]) -> bool:
    """Whether a layer's weights hold numbers that the reference's do not, slot by slot and whatever their order; within
    the slack of how each is stored."""
    weights = [np.asarray(weight) for weight in getattr(operation, "weights", ())]
    if len(weights) != len(sources):
        return False
    triples = [each for each in zip(weights, sources, slacks, strict=True) if each[0].shape == each[1].shape]
    return any(not same(*each) and not same_values(*each) for each in triples)


def distance(weight: Array, source: Array) -> float:
    """The RMS difference over the RMS of the source."""
    size = norm(source)
    return norm(weight - source) / size if size else float(np.any(weight))


def norm(array: Array) -> float:
    """The root of the sum of squares, in whatever order the values lie in memory: a kernel whose axes were moved is not
    copied for it."""
    return float(np.linalg.norm(array.ravel(order="K")))


def same_values(weight: Array, source: Array, slack: float = 0.0) -> bool:
    """Whether both may hold the same numbers in some order: their ends, sums and sums of squares are equal.

    With a `slack` only the sums of squares are looked at: rounding moves the others too.
    """
    if slack:
        sizes = [norm(weight), norm(source)]
        return abs(sizes[0] - sizes[1]) <= slack * sizes[1]
    if weight.min() != source.min() or weight.max() != source.max():
        return False
    ours, theirs = (float(array.sum(dtype=np.float64)) for array in (weight, source))
    norms = [norm(weight), norm(source)]
    total = norms[1] * np.sqrt(source.size)
    return abs(ours - theirs) <= 1e-6 * total and abs(norms[0] - norms[1]) <= 1e-5 * norms[1]


def correlation(weight: Array, source: Array) -> float:
    """The correlation of a sample of both."""
    some = places(weight, 1 << 14)
    a, b = weight[some].astype(np.float64), source[some].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0
