"""Layers whose weights tell who they are: each has the other's, and nobody else has any like them.

Weights are not equal by chance, so such a pair is stronger evidence than its place. But where the place belongs to
another layer, something is wrong with the port, and it is asked what. If each side has a layer whose weights nobody
has, one is lacking and another is too many, and those between them have moved up. If no weights are lost, or none are
new, they were loaded into the wrong layers: exchanged, or one of them twice. That is no reason to match these.

The calls of a layer that is called again have its weights in common: all calls here are alike to all calls there, and
where they run one after the other their order tells the rest.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from parity.alignment.fingerprints import ALIKE

Table = npt.NDArray[np.bool_]
Pairs = Sequence[tuple[int, int]]


def of_one_another(alike: npt.NDArray[np.float64]) -> Table:
    """(layers, layers): where two have each other's weights: as many here as there, each alike to each of them, and to
    none but them."""
    shared = (alike >= ALIKE).astype(np.float64)
    many = shared.sum(1, keepdims=True)
    walks = shared @ shared.T @ shared
    return np.asarray((shared > 0) & (many == shared.sum(0)) & (walks == many**2))


def in_order(pairs: Table, before: Table, their_before: Table) -> Table:
    """The pairs of calls that all run one after the other on both sides: the first with the first, and so on.

    `before` says, for the layers of a side, whether the first is needed for the second.
    """
    (ranks, total), (their_ranks, their_total) = _ranks(pairs, before), _ranks(pairs.T, their_before)
    first_to_first = ranks[:, None] == their_ranks
    return np.asarray(pairs & (first_to_first | ~(total[:, None] & their_total)))


def _ranks(pairs: Table, before: Table) -> tuple[npt.NDArray[np.int64], Table]:
    """For each layer, how many of the calls of the same run before it, and whether all of them do or run after it."""
    calls = (pairs.astype(np.int64) @ pairs.T.astype(np.int64)) > 0
    unordered = calls & ~(before | before.T)
    loose = unordered.sum(1) > 1
    return (calls & before).sum(0), np.asarray((calls & loose[:, None]).sum(0) == 0)


def moved_up(pairs: Table, known: Table, places: Pairs) -> Table:
    """The pairs but for those whose weights were loaded into the wrong layers.

    `known` says whose weights are alike, `places` who answers to whom by all but weights. From a layer to the one with
    its weights, to the one in whose place that is, and on: this ends at a layer that the port lacks, and the other way
    at one that the reference lacks.
    """
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    weights = {int(i): int(j) for i, j in zip(rows, columns, strict=True) if pairs[i, j]}
    place = dict(places)
    holder, placed = ({j: i for i, j in each.items()} for each in (weights, place))
    lost, new = ({None, *np.flatnonzero(known.sum(axis) == 0).tolist()} for axis in (1, 0))
    kept = np.zeros_like(pairs)
    for first, partner in weights.items():
        end = _last(first, weights, placed)
        start = _last(partner, holder, place)
        if place.get(first) == partner or (end in lost and start in new):
            kept[first] = pairs[first]
    return kept


def _last(first: int, here: Mapping[int, int], there: Mapping[int, int]) -> int | None:
    """Where going by one mapping and then by the other ends; none where the second has no answer, and the first again
    where it comes back."""
    at: int | None = first
    while at is not None and at in here:
        at = there.get(here[at])
        if at == first:
            break
    return at


def beside(pairs: Table) -> Table:
    """(layers, layers): the matches that the pairs rule out, because a layer answers to one alone."""
    taken = np.logical_or(pairs.any(1, keepdims=True), pairs.any(0, keepdims=True))
    return np.asarray(taken & ~pairs)
