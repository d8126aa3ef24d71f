"""All that speaks for a match of two taps of the skeleton, as one table of scores.

Three witnesses are heard, and any two overrule the third: the weights, the names, and the place in the data flow. A
port whose weights were exchanged between two layers has names and places right; one that reads a wrong tensor has
weights and names right. Where names say nothing, the place overrules the weights, but for those that tell beyond doubt
that either side lacks a layer (see `telling`): a port is never declared right by taking its layers in an order in which
they do not run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from parity.alignment import fingerprints, names
from parity.alignment.graphs import Graph, Interned, Marks, places
from parity.axes import Array, Axes
from parity.errors import PairError
from parity.runners.taps import Tap

Matrix = npt.NDArray[np.float64]
Table = npt.NDArray[np.bool_]

WEIGHTS, NAME = 4.0, 3.5
PLACE, FOLDED_PLACE = 7.0, 6.0
"""What a place counts where all before and all after is alike; folded, where it is so without layers that fold."""
HALF_PLACE, FOLDED_HALF = 2.0, 1.5
"""What it counts where only what is before, or only what is after, is alike."""
NEAR = 0.5
KIND, SHAPE, SIZE = 1.0, 2.0, 1.0

NAMED = 0.5
"""How alike names must be to say something."""
LEAST = 1.0
"""The least evidence, beyond kind and shape, on which a match is made before all others are."""


def shapes_fit(reference: Sequence[Tap], port: Sequence[Tap], axes: Axes) -> Table:
    """(taps, taps): whether a tap of the port has the shape of the reference's in the port's layout. Sizes that the
    port leaves open fit any; a tap without a layout fits none."""
    expected = [_moved(tap, axes) for tap in reference]
    known: dict[tuple[object, object], bool] = {}
    found = np.zeros((len(reference), len(port)), bool)
    for i, shape in enumerate(expected):
        for j, candidate in enumerate(port):
            key = shape, candidate.shape
            if key not in known:
                known[key] = shape is not None and _same(shape, candidate.shape)
            found[i, j] = known[key]
    return found


def fit_once_moved(reference: Graph, port: Graph, axes: Axes) -> Table:
    """(reference nodes, port nodes): whether a crop or another move after one of the two gives it the other's shape."""
    sides = (reference, port)
    moves = [[(k, tap) for k, node in enumerate(g.nodes) for tap in g.moves_after(node)] for g in sides]
    nodes = [[graph.taps[i] for i in graph.nodes] for graph in sides]
    after = [[graph.taps[tap] for _, tap in side] for graph, side in zip(sides, moves, strict=True)]
    found = np.zeros((len(reference.nodes), len(port.nodes)), bool)
    here, there = shapes_fit(after[0], nodes[1], axes), shapes_fit(nodes[0], after[1], axes)
    for row, (k, _) in enumerate(moves[0]):
        found[k] |= here[row]
    for column, (k, _) in enumerate(moves[1]):
        found[:, k] |= there[:, column]
    return found


def _moved(tap: Tap, axes: Axes) -> tuple[int | None, ...] | None:
    try:
        source, target = axes.of(tap.name, len(tap.shape))
    except PairError:
        return None
    if len(source) != len(tap.shape):
        return None
    sizes = dict(zip(source, tap.shape, strict=True))
    return tuple(sizes[axis] for axis in target)


def _same(expected: tuple[int | None, ...], shape: tuple[int | None, ...]) -> bool:
    return len(expected) == len(shape) and all(
        there is None or here is None or here == there for here, there in zip(expected, shape, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Which places of the two skeletons are alike, as they are and without layers that fold."""

    whole: tuple[Table, Table]
    folded: tuple[Table, Table]
    near: Matrix

    @property
    def score(self) -> Matrix:
        """What the places count."""
        up, down = self.whole
        folded_up, folded_down = self.folded
        levels = [
            (up & down, PLACE),
            (folded_up & folded_down, FOLDED_PLACE),
            (up | down, HALF_PLACE),
            (folded_up | folded_down, FOLDED_HALF),
        ]
        score: Matrix = np.max([np.where(table, value, 0.0) for table, value in levels], axis=0) + self.near
        return score


class Evidence:
    """The tables over the nodes of two skeletons: (reference nodes, port nodes), in the order of `Graph.nodes`."""

    def __init__(
        self, reference: Graph, port: Graph, axes: Axes, weighed: tuple[Sequence[bool], Sequence[bool]]
    ) -> None:
        """`weighed` says, for the nodes of each side, whose weights are looked at: those that no map speaks of."""
        self.reference, self.port = reference, port
        taps, others = ([graph.taps[i] for i in graph.nodes] for graph in (reference, port))
        self.kind: Table = np.array([tap.kind for tap in taps])[:, None] == np.array([tap.kind for tap in others])
        self.fits = shapes_fit(taps, others, axes)
        self.fit_later = self.kind & fit_once_moved(reference, port, axes)
        self.names = names.similarity(taps, others)
        self.names[self.names < NAMED] = 0.0
        sizes = [np.array([graph.size(i) for i in graph.nodes]) for graph in (reference, port)]
        self.sizes: Table = (sizes[0][:, None] == sizes[1]) & (sizes[1] > 0)
        ours, theirs = (
            [graph.weights[i] if looked else [] for i, looked in zip(graph.nodes, side, strict=True)]
            for graph, side in zip((reference, port), weighed, strict=True)
        )
        self.folded = fingerprints.similarity(
            [self._folded(i, a) for i, a in zip(reference.nodes, ours, strict=True)], theirs
        )
        held = fingerprints.shares(ours, theirs)
        # A layer of another shape than the whole of the other's weights give is a part of it, or it of the layer.
        alike = np.where(self.fits | self.fit_later, np.maximum(*held), np.minimum(*held))
        self.trusted = np.maximum(alike, self.folded)
        """The weights that count; those that contradict the data flow do not."""
        self._interned: Interned = {}

    def _folded(self, node: int, arrays: Sequence[Array]) -> list[Array]:
        """The weights of a node that a port may have folded the next one into."""
        after = self.reference.folded(node)
        if after is None or not arrays:
            return []
        transposed = "transpose" in self.reference.taps[node].kind
        return fingerprints.folded(arrays, self.reference.weights[after], transposed)

    @cached_property
    def carry(self) -> Table:
        """Whether both have weights, or neither has."""
        ours, theirs = (
            np.array([graph.carries(i) for i in graph.nodes], bool) for graph in (self.reference, self.port)
        )
        return np.asarray(ours[:, None] == theirs)

    @property
    def possible(self) -> Table:
        """Which nodes may be matched: of one shape, perhaps once moved, and of one kind or as many weights; or with
        weights that are alike."""
        fits = (self.fits & (self.kind | self.sizes)) | (self.fit_later & self.sizes)
        return np.asarray(self.carry & (fits | (self.trusted >= fingerprints.ALIKE)))

    def distrust(self, rows: Sequence[int], columns: Sequence[int]) -> bool:
        """Let the weights of these nodes no longer count; whether any did."""
        counted = bool(self.trusted[rows].any() or self.trusted[:, columns].any())
        self.trusted[rows] = 0.0
        self.trusted[:, columns] = 0.0
        return counted

    def placed(self, reference: Marks, port: Marks) -> Placed:
        """Which places are alike, given what is matched."""
        tables = []
        near = np.zeros(self.kind.shape)
        for fold in (False, True):
            ours = places(self.reference, reference, self._interned, fold=fold)
            theirs = places(self.port, port, self._interned, fold=fold)
            tables.append((_equal(ours.up, theirs.up), _equal(ours.down, theirs.down)))
            if not fold:
                near = NEAR * (_equal(ours.near_up, theirs.near_up) + 1.0 * _equal(ours.near_down, theirs.near_down))
        return Placed(whole=tables[0], folded=tables[1], near=near)

    def special(self, placed: Placed) -> Matrix:
        """What speaks for two nodes in particular."""
        return WEIGHTS * self.trusted + NAME * self.names + placed.score

    @property
    def general(self) -> Matrix:
        """What speaks for two nodes and may speak for many."""
        return np.asarray(KIND * self.kind + SHAPE * self.fits + SIZE * self.sizes, np.float64)


def _equal(ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]) -> Table:
    return np.asarray((ours[:, None] == theirs) & (theirs >= 0))
