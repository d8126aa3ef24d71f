"""What a layer's weights should be in the port's own order, where that is not the converter's and both are right.

A port that flattens its maps channels last and orders the rows of the next layer for it computes the same. Held against
the converter's weights all its rows are moved; with these put in, it is wrong, and a second change of the port would
have to undo the first. So what explains with fewer weights changed comes first.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.fingerprints import correlation, same_values
from parity.diagnosis.weights import UNRELATED, differing_weights
from parity.diagnosis.wiring import FLATTENS

MOST = 6
"""Weights that differ up to which every smaller set of them is put right by itself."""


def by_flattening(evidence: Evidence) -> Iterator[Evidence]:
    """The evidence with the reference's kernel in the order of rows of each way to flatten a map on the way to it."""
    sources, weights = evidence.source_weights, evidence.port_weights
    if 0 not in differing_weights(evidence) or sources[0].ndim != 2:
        return
    for node in evidence.route:
        if type(node.operation).__name__ not in FLATTENS or len(node.input_tensors) != 1:
            continue
        shape = evidence.passing(node.input_tensors[0]).shape[1:]
        plain = tuple(range(len(shape)))
        for order in itertools.permutations(plain):
            kernel = _kernel(evidence, shape, order) if order != plain else None
            if kernel is not None:
                yield replace(evidence, own=(kernel, *sources[1 : len(weights)]))


def undone(evidence: Evidence) -> frozenset[str]:
    """The taps before the layer that are a map flattened in another order, which its own kernel's rows are in."""
    keys, found = list(evidence.segment.anchor_keys), set()
    if 0 not in differing_weights(evidence) or evidence.source_weights[0].ndim != 2:
        return frozenset()
    for (node, _), change in (each for proven in evidence.scene.proven for each in proven.edit.inserted.items()):
        if type(node.operation).__name__ not in FLATTENS or type(change).__name__ != "Permute":
            continue
        shape = tuple(int(size or 0) for size in node.input_tensors[0].shape[1:])
        order = tuple(axis - 1 for axis in change.dims)
        if id(node.outputs[0]) in keys and _kernel(evidence, shape, order) is not None:
            found.add(evidence.segment.anchors[keys.index(id(node.outputs[0]))])
    return frozenset(found)


def _kernel(evidence: Evidence, shape: tuple[int, ...], order: tuple[int, ...]) -> Array | None:
    """The reference's kernel for a map whose axes were to be put in that order before it is flattened; None where the
    port's is not made from that: of a kernel from elsewhere nobody can say what order it is in."""
    ours, theirs = evidence.port_weights[0], evidence.source_weights[0]
    rows = _rows(shape, order, len(theirs))
    if rows is None:
        return None
    moved = np.empty_like(theirs)
    moved[rows] = theirs
    alike = correlation(ours, moved)
    made = same_values(ours, theirs) or alike >= UNRELATED
    return moved if made and alike >= correlation(ours, theirs) else None


def _rows(shape: tuple[int, ...], order: tuple[int, ...], count: int) -> npt.NDArray[np.int64] | None:
    """The rows of the port's kernel that read what the reference's read in turn; None where these are not `count`."""
    places = np.arange(int(np.prod(shape))).reshape(shape).transpose(order)
    if not places.size or places.size % count:
        return None
    steps = places.reshape(-1, count)
    rows: npt.NDArray[np.int64] = steps[0]
    repeated = sorted(rows.tolist()) == list(range(count))
    return rows if repeated and np.array_equal(steps, rows + count * np.arange(len(steps))[:, None]) else None


def by_fewer(evidence: Evidence) -> Iterator[Evidence]:
    """The evidence with only some of the differing weights taken for wrong, fewest first; the others are the port's."""
    differing = differing_weights(evidence)
    if len(differing) > MOST:
        return
    for count in range(1, len(differing)):
        for wrong in itertools.combinations(differing, count):
            yield replace(evidence, own=_own(evidence, set(wrong)))


def _own(evidence: Evidence, wrong: set[int]) -> tuple[Array, ...]:
    pairs = enumerate(itertools.zip_longest(evidence.source_weights, evidence.port_weights))
    kept = set(differing_weights(evidence)) - wrong
    return tuple(ours if index in kept else theirs for index, (theirs, ours) in pairs if theirs is not None)
