"""The assignment of layers with weights and of joins: by all evidence at once, and never against the data flow.

The assignment of greatest total score is found, what is sure of it is kept, and the places of the rest are looked at
again, now relative to what is kept. Where nothing is sure, the best of what is open is taken, and what would have been
as good is noted down. So an undecided pair of branches is decided once, and everything inside them follows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from parity.alignment.evidence import LEAST, NAME, WEIGHTS, Evidence, Matrix, Placed, Table
from parity.alignment.fingerprints import ALIKE
from parity.alignment.flow import Pairs, between, contradicted, crossed, most_opposed, parted
from parity.alignment.graphs import Graph, Marks
from parity.alignment.telling import beside, in_order, moved_up, of_one_another

MARGIN = 0.25
"""By how much a match must be better than any other of either tap to be sure."""
HOPS = 3
"""How far the weights of neighbours support a match."""
ORDER = 0.001
"""What order counts: it decides between equals alone."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One match of two nodes: its score, the evidence, and the nodes that would have done as well for either."""

    reference: int
    port: int
    score: float
    likeness: float = 0.0
    """The share of weights that are alike."""
    folded: bool = False
    """Whether they are so once the next layer is folded in."""
    witnesses: tuple[str, ...] = ()
    alternatives: tuple[int, ...] = ()
    rivals: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known beforehand, by indices of taps: nodes that are matched, and all taps that are, nodes or not; those
    on either side that have no counterpart, or none that is still to be found; the numbers of inputs (by name) and of
    outputs on each side, and of taps that several on the other side answer to together."""

    matched: Mapping[int, int]
    taps: Mapping[int, int]
    together: tuple[Mapping[int, int], Mapping[int, int]]
    without: tuple[Collection[int], Collection[int]]
    inputs: tuple[Mapping[str, int], Mapping[str, int]]
    outputs: tuple[Mapping[int, tuple[int, ...]], Mapping[int, tuple[int, ...]]]


def assigned(evidence: Evidence, known: Known) -> list[Choice]:
    """The matches of the skeleton's nodes, but for those known beforehand."""
    return _Assignment(evidence, known).run()


@dataclass
class _Assignment:
    evidence: Evidence
    known: Known
    choices: list[Choice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ours, self.theirs = self.evidence.reference, self.evidence.port
        self.matched = dict(self.known.matched)
        self.possible_order = -ORDER * np.abs(_ranks(self.ours)[:, None] - _ranks(self.theirs))

    def run(self) -> list[Choice]:
        """Keep what is sure, until nothing is left that can be matched."""
        self._doubt_names()
        while True:
            placed = self.evidence.placed(*self._marks())
            open_ = self._open()
            special = self.evidence.special(placed)
            scores = np.where(open_, special + self.evidence.general, 0.0)
            scores[self._ruled_out(scores, open_)] = 0.0
            telling = np.where(special >= LEAST, scores, 0.0)
            if not telling.any():
                telling = np.where(self.evidence.kind & self.evidence.fits, scores, 0.0)
            if not telling.any():
                return self.choices
            self._decide(telling, placed)

    def _ruled_out(self, scores: Matrix, open_: Table) -> Table:
        """The matches that contradict pairs which the weights tell beyond doubt, and those of layers without a weight
        or a name in common that do not stand between the same matches."""
        told = self._told(scores, open_)
        one_to_one = told & (told.sum(1, keepdims=True) == 1)
        pairs = {self.ours.nodes[i]: self.theirs.nodes[j] for i, j in np.argwhere(one_to_one)}
        elsewhere = self._unlike() & ~between(self.ours, self.theirs, {**self.matched, **pairs})
        return beside(told) | self._contradicted(pairs) | elsewhere

    def _doubt_names(self) -> None:
        """Let names no longer count where most contradict what weights and places agree on: the numbers of the port's
        layers may begin with another one."""
        open_, named = self._open(), self.evidence.names
        scores = np.where(open_, self.evidence.placed(*self._marks()).score + self.evidence.general, 0.0)
        weights = self._of_one_another(open_)
        agreed = [pair for pair in self._places(scores) if weights[pair]]
        others = [max(named[i].max(), named[:, j].max()) > named[i, j] for i, j in agreed]
        if sum(others) > len(others) / 2:
            named[:] = 0.0

    def _of_one_another(self, open_: Table) -> Table:
        """The pairs whose weights are each other's and nobody else's."""
        pairs = of_one_another(self.evidence.trusted) & self.evidence.sizes & open_
        return in_order(pairs, *(graph.before[np.ix_(graph.nodes, graph.nodes)] for graph in (self.ours, self.theirs)))

    def _places(self, scores: Matrix) -> Pairs:
        """Who answers to whom by these scores, but for what contradicts most of the rest; of equals those with equal
        weights."""
        places = self._best(scores + ORDER * self.evidence.trusted * (scores > 0))
        opposed = self._opposed(places, crossed)
        return [pair for pair in places if pair not in opposed]

    def _told(self, scores: Matrix, open_: Table) -> Table:
        """The pairs that the weights tell beyond doubt, where names and places together do not give the layers to
        others."""
        alike, named = self.evidence.trusted, self.evidence.names
        pairs = self._of_one_another(open_)
        single = [(int(i), int(j)) for i, j in np.argwhere(pairs & (pairs.sum(1, keepdims=True) == 1))]
        for i, _ in self._opposed(single, crossed, parted):
            pairs[i] = False
        places = self._places(np.where(open_, scores - WEIGHTS * alike - NAME * named, 0.0))
        pairs = moved_up(pairs, alike >= ALIKE, places)
        for i, j in places:
            pairs[i] &= named[i] >= named[i, j]
            pairs[:, j] &= named[:, j] >= named[i, j]
        return pairs

    def _unlike(self) -> Table:
        """The pairs of layers with weights that have neither a weight nor a name in common."""
        weighted = np.array([self.ours.carries(node) for node in self.ours.nodes], bool)[:, None]
        return np.asarray(weighted & (self.evidence.trusted == 0) & (self.evidence.names == 0))

    def _decide(self, scores: Matrix, placed: Placed) -> None:
        pairs = self._best(scores)
        sure = [(i, j) for i, j in pairs if _is_sure(scores, i, j)]
        opposed = self._opposed(sure, crossed)
        if opposed and self.evidence.distrust([i for i, _ in opposed], [j for _, j in opposed]):
            return
        sure = [pair for pair in sure if pair not in opposed]
        others = scores - WEIGHTS * self.evidence.trusted * (scores > 0)
        told = [(i, j) for i, j in sure if _is_sure(others, i, j)]
        unlike = self._unlike()
        chosen = [pair for pair in told if not unlike[pair]] or self._seeds([pair for pair in sure if not unlike[pair]])
        best = max(pairs, key=lambda pair: (not unlike[pair], scores[pair], -pair[0]))
        for i, j in chosen or told or [best]:
            self._keep(i, j, scores, placed)

    def _seeds(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Of pairs that weights alone tell apart, in each connected part of the reference the one that the weights of
        its neighbourhood support most. The rest of that part then follows from its place: branches of one form whose
        weights are mixed up are matched as wholes."""
        if not pairs:
            return []
        edges = self.ours.edges
        support = self.evidence.trusted
        for _ in range(HOPS):
            around = edges @ support @ self.theirs.edges.T + edges.T @ support @ self.theirs.edges
            support = self.evidence.trusted + 0.5 * around
        rows = [i for i, _ in pairs]
        parts = connected_components(csr_matrix(edges[np.ix_(rows, rows)]), directed=False)[1]
        best: dict[int, tuple[int, int]] = {}
        for part, pair in zip(parts, pairs, strict=True):
            if part not in best or support[pair] > support[best[part]]:
                best[part] = pair
        return list(best.values())

    def _best(self, scores: Matrix) -> list[tuple[int, int]]:
        """The assignment of greatest total score, in the reference's order."""
        rows, columns = linear_sum_assignment(np.where(scores > 0, scores + self.possible_order, 0.0), maximize=True)
        return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if scores[i, j] > 0]

    def _opposed(self, pairs: Pairs, *contradictions: Callable[[Graph, Graph, Pairs], Table]) -> set[tuple[int, int]]:
        """Of pairs that contradict each other, those that contradict most of the others."""
        taps = [(self.ours.nodes[i], self.theirs.nodes[j]) for i, j in pairs]
        tables = [contradiction(self.ours, self.theirs, taps) for contradiction in contradictions]
        return {pairs[k] for k in most_opposed(np.logical_or.reduce(tables))}

    def _keep(self, i: int, j: int, scores: Matrix, placed: Placed) -> None:
        level = scores[i, j] - MARGIN
        sure = _is_sure(scores, i, j)
        alternatives = [self.theirs.nodes[k] for k in np.flatnonzero(scores[i] > level) if k != j]
        rivals = [self.ours.nodes[k] for k in np.flatnonzero(scores[:, j] > level) if k != i]
        self.matched[self.ours.nodes[i]] = self.theirs.nodes[j]
        self.choices.append(
            Choice(
                reference=self.ours.nodes[i],
                port=self.theirs.nodes[j],
                score=round(float(scores[i, j]), 2),
                likeness=float(self.evidence.trusted[i, j]),
                folded=bool(self.evidence.folded[i, j] >= max(0.5, self.evidence.trusted[i, j])),
                witnesses=self._witnesses(i, j, placed),
                alternatives=() if sure else tuple(alternatives),
                rivals=() if sure else tuple(rivals),
            )
        )

    def _witnesses(self, i: int, j: int, placed: Placed) -> tuple[str, ...]:
        evidence = self.evidence
        both = [bool((up & down)[i, j]) for up, down in (placed.whole, placed.folded)]
        heard = {
            "weights": evidence.trusted[i, j] > 0,
            "name": evidence.names[i, j] > 0,
            "data flow": any(both),
        }
        return tuple(name for name, speaks in heard.items() if speaks)

    def _open(self) -> Table:
        """Which pairs can still be matched: both free, and no match contradicted."""
        free = np.array([node not in self.matched and node not in self.known.without[0] for node in self.ours.nodes])
        taken = {*self.matched.values(), *self.known.without[1]}
        theirs = np.array([node not in taken for node in self.theirs.nodes])
        open_: Table = self.evidence.possible & free[:, None].astype(bool) & theirs.astype(bool)
        for matched in (self.matched, self.known.taps):
            open_ &= ~self._contradicted(matched)
        return open_

    def _contradicted(self, matched: Mapping[int, int]) -> Table:
        """The pairs of nodes that run before one of these matches here, and after it there."""
        if not matched:
            return np.zeros(self.evidence.kind.shape, bool)
        return contradicted(self.ours, self.theirs, matched, self.ours.nodes, self.theirs.nodes)

    def _marks(self) -> tuple[Marks, Marks]:
        numbers = {pair: number for number, pair in enumerate(self.matched.items(), 1)}
        sides = ({a: n for (a, _), n in numbers.items()}, {b: n for (_, b), n in numbers.items()})
        known = self.known
        ours, theirs = (
            Marks(inputs=inputs, outputs=outputs, matched={**matched, **together})
            for inputs, outputs, matched, together in zip(
                known.inputs, known.outputs, sides, known.together, strict=True
            )
        )
        return ours, theirs


def _ranks(graph: Graph) -> Matrix:
    """Where the nodes come in the list, from 0 to 1."""
    return np.linspace(0.0, 1.0, max(1, len(graph.nodes)))[: len(graph.nodes)]


def _is_sure(scores: Matrix, i: int, j: int) -> bool:
    """Whether no other match of either is nearly as good."""
    level = scores[i, j] - MARGIN
    return bool((scores[i] > level).sum() == 1 and (scores[:, j] > level).sum() == 1)
