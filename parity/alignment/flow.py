"""What the data flow says against matches: order that is reversed, and neighbours that are none on the other side."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from parity.alignment.graphs import Graph

Table = npt.NDArray[np.bool_]
Pairs = Sequence[tuple[int, int]]
"""Matches, as the indices of two taps."""


def contradicted(
    ours: Graph, theirs: Graph, matched: Mapping[int, int], rows: Sequence[int], columns: Sequence[int]
) -> Table:
    """(rows, columns): whether a match of these taps would run before one here that it runs after there."""
    here, there = list(matched), list(matched.values())
    before, after = ours.before[np.ix_(rows, here)], ours.before[np.ix_(here, rows)].T
    their_before = theirs.before[np.ix_(columns, there)]
    their_after = theirs.before[np.ix_(there, columns)].T
    with np.errstate(invalid="ignore"):  # BLAS may raise the flag although ones and zeros alone are summed
        crossed = _counted(before) @ _counted(their_after).T + _counted(after) @ _counted(their_before).T
    return np.asarray(crossed > 0)


def between(ours: Graph, theirs: Graph, matched: Mapping[int, int]) -> Table:
    """(nodes, nodes): whether two nodes of the skeletons stand between the same matches: the matched arguments and
    readers of either are before and after the other too."""
    here, there = (_places(graph, taps) for graph, taps in ((ours, matched), (theirs, matched.values())))
    reads, apart = _counted(ours.edges), _counted(~ours.before[np.ix_(ours.nodes, ours.nodes)])
    their_reads, their_apart = _counted(theirs.edges), _counted(~theirs.before[np.ix_(theirs.nodes, theirs.nodes)])
    with np.errstate(invalid="ignore"):
        elsewhere = reads[here].T @ their_apart[there] + apart[here].T @ their_reads[there]
        elsewhere += reads[:, here] @ their_apart[:, there].T + apart[:, here] @ their_reads[:, there].T
    return np.asarray(elsewhere == 0)


def crossed(ours: Graph, theirs: Graph, pairs: Pairs) -> Table:
    """(pairs, pairs): whether of two matches one runs first here, and the other there."""
    here, there = _among(ours.before, [i for i, _ in pairs]), _among(theirs.before, [j for _, j in pairs])
    return _both_ways(here & there.T)


def parted(ours: Graph, theirs: Graph, pairs: Pairs) -> Table:
    """(pairs, pairs): whether of two matches one is an argument of the other on one side, and not even before it on
    the other."""
    sides = []
    for graph, nodes in ((ours, [i for i, _ in pairs]), (theirs, [j for _, j in pairs])):
        edges = graph.edges[np.ix_(*[_places(graph, nodes)] * 2)] > 0
        sides.append((edges, _among(graph.before, nodes)))
    (here, before), (there, their_before) = sides
    return _both_ways((here & ~their_before) | (there & ~before))


def most_opposed(conflicts: Table) -> list[int]:
    """Those with the most conflicts, then those with the most of what are left, until none is left."""
    left = conflicts.copy()
    found: list[int] = []
    while left.any():
        counts = left.sum(1)
        worst = np.flatnonzero(counts == counts.max())
        left[worst], left[:, worst] = False, False
        found += map(int, worst)
    return found


def _places(graph: Graph, taps: Collection[int]) -> list[int]:
    """Where nodes of the skeleton are in the list of these."""
    place = {node: k for k, node in enumerate(graph.nodes)}
    return [place[tap] for tap in taps]


def _among(table: Table, taps: Sequence[int]) -> Table:
    return np.asarray(table[np.ix_(taps, taps)])


def _both_ways(table: Table) -> Table:
    return np.asarray(table | table.T)


def _counted(table: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return table.astype(np.float32)
