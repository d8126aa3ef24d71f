"""Which layers' weights are alike, whatever their layout, and even where they were loaded wrongly.

Two traits of an array survive what goes wrong in ports. *Which values* it holds, without their order and sign: equal
after any transposition, reshape or flip, and still mostly equal where a part of the array is wrong. And the *norms* of
its slices along each axis, relative to each other: equal after any scaling, and nearly so after rounding. Arrays that
hold one value throughout (zeros, ones: never trained) say nothing.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from parity.axes import Array

KEPT = 128
"""Values kept of an array, those with the least hashes: two arrays with equal values keep the same."""
CLOSE = 0.015
"""How far the norms of slices may be apart, in their standard deviations: rounding to 16 bits is at 0.002, to 8 bits at
0.013; other weights of the same distribution are at 0.03 or more for layers of up to 2000 channels."""
FEWEST = 8
"""Slices along an axis below which their norms say too little."""
ALIKE = 0.5
"""The share of a layer's weights that must be alike for it to be recognised by them."""
EQUAL = 0.97
"""The share from which they are called equal: sketches of equal arrays are equal, up to rare collisions."""

EPSILON = 1e-5
"""What torch adds to a variance by default."""

Matrix = npt.NDArray[np.float64]


class _Traits:
    """What is known of one array: how many values, the hashes kept, and the norms along its axes."""

    def __init__(self, array: Array) -> None:
        self.array = np.ascontiguousarray(array, np.float32)
        self.size = self.array.size
        self.dims = tuple(sorted(size for size in array.shape if size > 1))
        self.kept = _kept(self.array.reshape(-1).view(np.uint32))

    @cached_property
    def norms(self) -> npt.NDArray[np.float64]:
        """Standardised, sorted norms of its slices along each axis; taken only where its values are nobody else's."""
        return _norms(self.array)


def similarity(reference: Sequence[Sequence[Array]], port: Sequence[Sequence[Array]]) -> Matrix:
    """(layers, layers): the share of weights that two layers have alike, from 0 to 1.

    Each layer is given as its arrays. A layer that holds only some of another's arrays (half of a separable
    convolution) is wholly alike.
    """
    return np.maximum(*shares(reference, port))


def shares(reference: Sequence[Sequence[Array]], port: Sequence[Sequence[Array]]) -> tuple[Matrix, Matrix]:
    """(layers, layers), twice: how much of the reference's layer the port's holds, and how much of the port's the
    reference's does."""
    ours, theirs = (
        [[_Traits(a) for a in arrays if _says_something(a)] for arrays in side] for side in (reference, port)
    )
    alike = _alike([t for arrays in ours for t in arrays], [t for arrays in theirs for t in arrays])
    return _share(alike, ours, theirs), _share(alike.T, theirs, ours).T


def moved_alike(reference: Sequence[Array], port: Sequence[Array]) -> bool:
    """Whether the largest arrays are equal in the frameworks' usual layouts: (out, in, ...) against (..., in, out)."""
    ours, theirs = (max(arrays, key=lambda a: a.size, default=np.empty(0)) for arrays in (reference, port))
    if ours.size != theirs.size:
        return False
    axes = (*range(2, ours.ndim), *range(min(2, ours.ndim)))[: ours.ndim]
    usual = [ours, ours.transpose((*axes[:-2], *axes[:-3:-1]))] if ours.ndim > 1 else [ours]
    return any(np.array_equal(each.reshape(-1), theirs.reshape(-1)) for each in usual)


def folded(arrays: Sequence[Array], norm: Sequence[Array], transposed: bool) -> list[Array]:
    """The kernel of a layer of the reference with the scale of the BatchNorm after it multiplied in, as ports fold it;
    nothing where the arrays are not those of such layers.

    A kernel is (out, in, ...), or (in, out, ...) where the convolution is `transposed`; the norm's arrays are weight,
    bias, mean and variance. The bias is left out: it takes an epsilon to tell, which the kernel hardly shows.
    """
    kernel = max(arrays, key=lambda a: a.ndim, default=np.empty(0))
    axis = 1 if transposed else 0
    if len(norm) != 4 or kernel.ndim < 2 or any(a.shape != kernel.shape[axis : axis + 1] for a in norm):
        return []
    scale = norm[0] / np.sqrt(norm[3] + EPSILON)
    shape = [-1 if i == axis else 1 for i in range(kernel.ndim)]
    return [np.asarray(kernel * scale.reshape(shape), np.float32)]


def _says_something(array: Array) -> bool:
    return array.size > 1 and array.dtype.kind == "f" and bool(array.min() != array.max())


def _kept(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The least KEPT hashes of values, given as their bits, without their sign; zeros are left out.

    Of many values only those that end in certain bits are hashed, unless these are few: values rounded to 16 bits all
    end in zeros.
    """
    spare = max(0, int(np.log2(max(1, bits.size) / (8 * KEPT))))
    ending = np.uint32(2 ** min(spare, 20) - 1)
    chosen = bits[(bits & ending) == (np.uint32(0x55555555) & ending)] if ending else bits
    if len(chosen) < 2 * KEPT:
        chosen = bits
    values = chosen & np.uint32(0x7FFFFFFF)
    hashes = values * np.uint32(0x9E3779B1)
    hashes ^= hashes >> np.uint32(15)
    hashes *= np.uint32(0x85EBCA77)
    likely = min(2**32 - 1, 4 * KEPT * 2**32 // max(1, len(chosen)))
    return np.unique(hashes[(hashes <= likely) & (values != 0)])[:KEPT]


def _norms(array: Array) -> npt.NDArray[np.float64]:
    """For each axis of at least FEWEST slices the sorted norms of these, standardised; shorter axes first."""
    array = array.reshape([size for size in array.shape if size > 1])
    squares = np.square(array)
    found = []
    for axis, size in enumerate(array.shape):
        if size >= FEWEST:
            others = tuple(i for i in range(array.ndim) if i != axis)
            norms = np.sort(np.sqrt(squares.sum(others, dtype=np.float64)))
            spread = norms.std()
            standard = (norms - norms.mean()) / spread if spread else np.zeros(size)
            found.append((size, float(standard[0]), standard))
    # Of axes of one size, as in a square kernel, none is the first: their norms are ordered by what they are.
    found.sort(key=lambda each: (each[0], each[1]))
    return np.concatenate([norms for _, _, norms in found]) if found else np.empty(0)


def _alike(ours: Sequence[_Traits], theirs: Sequence[_Traits]) -> Matrix:
    """(arrays, arrays): the share of values that two arrays have in common, or 1 where their norms are alike."""
    if not ours or not theirs:
        return np.zeros((len(ours), len(theirs)))
    columns, codes = np.unique(np.concatenate([t.kept for t in (*ours, *theirs)]), return_inverse=True)
    counts = [len(t.kept) for t in (*ours, *theirs)]
    starts = np.concatenate([[0], np.cumsum(counts)])
    table = csr_matrix((np.ones(len(codes)), codes, starts), shape=(len(counts), len(columns)))
    common = (table[: len(ours)] @ table[len(ours) :].T).toarray()
    alike = common / np.maximum(1, np.minimum.outer(counts[: len(ours)], counts[len(ours) :]))
    alike[alike < 0.1] = 0.0
    for i, j in _candidates(ours, theirs, alike >= EQUAL):
        if len(ours[i].norms) and np.sqrt(np.mean(np.square(ours[i].norms - theirs[j].norms))) < CLOSE:
            alike[i, j] = max(alike[i, j], 0.9)
    return np.asarray(alike, np.float64)


def _candidates(
    ours: Sequence[_Traits], theirs: Sequence[_Traits], equal: npt.NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Pairs of arrays of equal sizes of which neither has an equal."""
    by_dims: dict[tuple[int, ...], list[int]] = {}
    for j in map(int, np.flatnonzero(~equal.any(0))):
        by_dims.setdefault(theirs[j].dims, []).append(j)
    return [(i, j) for i in map(int, np.flatnonzero(~equal.any(1))) for j in by_dims.get(ours[i].dims, ())]


def _share(alike: Matrix, ours: Sequence[Sequence[_Traits]], theirs: Sequence[Sequence[_Traits]]) -> Matrix:
    """(layers, layers): how much of our layer's weights the other has too; larger arrays count more."""
    best = np.zeros((len(alike), len(theirs)))
    start = 0
    for j, arrays in enumerate(theirs):
        if arrays and len(alike):
            best[:, j] = alike[:, start : start + len(arrays)].max(1)
        start += len(arrays)
    found = np.zeros((len(ours), len(theirs)))
    start = 0
    for i, arrays in enumerate(ours):
        if arrays:
            weights = np.log2([1 + traits.size for traits in arrays])
            found[i] = weights @ best[start : start + len(arrays)] / weights.sum()
        start += len(arrays)
    return found
