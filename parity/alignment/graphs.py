"""A network's data flow as alignment sees it: a skeleton of layers with weights and of joins, and where each stands.

Two networks that compute the same differ in small steps (padding, casts, permutations) and agree in what carries
weights and where values meet. So operations with one source are passed through: a tap's *source* is the node of the
skeleton, or the input, whose value it is made of.

A node's *place* is the tree of all that it is made of and the tree of all that is made of it, each as one number. The
trees end at inputs, outputs and at nodes that are matched already: a difference is then seen only up to the next
match.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.runners.taps import MOVES_ONLY, Tap

COMMUTATIVE = frozenset({"add", "average", "maximum", "minimum", "scale"})
"""Joins whose arguments may come in any order."""

FOLDABLE = frozenset({"batchnorm"})
"""Layers that ports fold into the one before them: places are also compared without them."""

MOVES = (MOVES_ONLY - {"maxpool1d", "maxpool2d", "relu"}) | {
    "cropping1d", "cropping2d", "cropping3d", "dropout", "dropout1d", "dropout2d", "dropout3d", "identity", "slice",
}  # fmt: skip
"""Kinds that compute nothing: they move, cut or pass on values."""

Source = int | str | None
"""The index of a skeleton tap, the name of an input, or None for what is made of constants alone."""


class Graph:
    """Taps, each after what it reads, with their weights. Taps of which none says what it reads are a chain; what reads
    several of a `group` of taps, each after those before, has one source."""

    def __init__(self, taps: Sequence[Tap], groups: Sequence[Sequence[str]] = ()) -> None:
        self.taps = list(taps)
        self.index = {tap.name: i for i, tap in enumerate(self.taps)}
        self.first_of = {self.index[name]: self.index[group[0]] for group in groups for name in group}
        self.weights: list[list[Array]] = [[np.asarray(array) for array in tap.weights()] for tap in self.taps]
        chain = not any(tap.reads for tap in self.taps)
        self.reads: list[list[int | str]] = [
            ([i - 1] if i else [""]) if chain else [self.index.get(name, name) for name in tap.reads]
            for i, tap in enumerate(self.taps)
        ]
        self.source: list[Source] = []
        self.nodes: list[int] = []
        """Indices of the taps in the skeleton."""
        for i in range(len(self.taps)):
            self._place(i)

    def _place(self, i: int) -> None:
        sources = {source for source in self._sources_of(i) if source is not None}
        if self.carries(i) or len(sources) > 1:
            self.nodes.append(i)
            self.source.append(i)
        else:
            self.source.append(next(iter(sources), None))

    def _sources_of(self, i: int) -> list[Source]:
        """The source of each thing that a tap reads, in order; what comes later in the list is not known."""
        known = (read for read in self.reads[i] if isinstance(read, str) or read < i)
        found = (read if isinstance(read, str) else self.source[read] for read in known)
        return [self.first_of.get(source, source) if isinstance(source, int) else source for source in found]

    def carries(self, i: int) -> bool:
        """Whether a tap is computed with weights: parameters, or statistics alone."""
        return self.taps[i].weighted or bool(self.weights[i])

    def arguments(self, node: int, without: Collection[int] = ()) -> list[Source]:
        """The sources of a node's arguments, in order; nodes in `without` are passed through."""
        found = [source for source in self._sources_of(node) if source is not None]
        passed = [self.passed(source, without) for source in found]
        return [source for source in passed if source is not None]

    def passed(self, source: Source, without: Collection[int]) -> Source:
        """A source, or what it is made of where it is a node in `without`."""
        while isinstance(source, int) and source in without:
            source = next(iter(self.arguments(source)), None)
        return source

    @cached_property
    def consumers(self) -> list[list[int]]:
        """For each tap, those that read it."""
        found: list[list[int]] = [[] for _ in self.taps]
        for i, reads in enumerate(self.reads):
            for read in reads:
                if isinstance(read, int) and i not in found[read]:
                    found[read].append(i)
        return found

    @cached_property
    def sinks(self) -> list[frozenset[int]]:
        """For each tap, the skeleton nodes that its value reaches through operations alone."""
        found: list[frozenset[int]] = [frozenset()] * len(self.taps)
        skeleton = set(self.nodes)
        for i in reversed(range(len(self.taps))):
            reached = [frozenset({c}) if c in skeleton else found[c] for c in self.consumers[i]]
            found[i] = frozenset().union(*reached)
        return found

    @cached_property
    def foldable(self) -> frozenset[int]:
        """Nodes that may be part of the node before them."""
        return frozenset(
            i
            for i in self.nodes
            if self.taps[i].kind in FOLDABLE
            and self.carries(i)
            and isinstance(next(iter(self.arguments(i)), None), int)
        )

    def folded(self, node: int) -> int | None:
        """The foldable node that alone reads a node's value."""
        sinks = self.sinks[node]
        after = next(iter(sinks)) if len(sinks) == 1 else None
        return after if after in self.foldable and self.carries(node) else None

    @cached_property
    def before(self) -> npt.NDArray[np.bool_]:
        """(taps, taps): whether the value of the first is needed, at whatever distance, for the second."""
        found = np.zeros((len(self.taps), len(self.taps)), bool)
        for i, reads in enumerate(self.reads):
            for read in reads:
                if isinstance(read, int) and read < i:
                    found[:, i] |= found[:, read]
                    found[read, i] = True
        return found

    @cached_property
    def edges(self) -> npt.NDArray[np.float64]:
        """(nodes, nodes): 1 where the first is an argument of the second."""
        place = {node: k for k, node in enumerate(self.nodes)}
        found = np.zeros((len(self.nodes), len(self.nodes)))
        for node in self.nodes:
            for source in self.arguments(node):
                if isinstance(source, int):
                    found[place[source], place[node]] = 1.0
        return found

    def moves_after(self, node: int) -> list[int]:
        """The taps between which and the node before them nothing is computed, in order."""
        return [i for i, source in enumerate(self.source) if source == node != i and self.only_moves(node, i)]

    def only_moves(self, node: int, tap: int) -> bool:
        """Whether nothing is computed between a node and a tap that follows it."""
        while tap != node:
            before = [read for read in self.reads[tap] if isinstance(read, int) and self.source[read] == node]
            if self.taps[tap].kind not in MOVES or not before:
                return False
            tap = before[0]
        return True

    def size(self, i: int) -> int:
        """The number of values in the largest array of a tap's weights."""
        return max((array.size for array in self.weights[i]), default=0)


Interned = dict[Hashable, int]
"""Numbers for labels; two networks that share it have equal numbers for equal places."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where each tap of the skeleton stands, as numbers: what it is made of (`up`), what is made of it (`down`), and
    the same no further than its neighbours. -1 where a tap has no place."""

    up: npt.NDArray[np.int64]
    down: npt.NDArray[np.int64]
    near_up: npt.NDArray[np.int64]
    near_down: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What is known of one network's ends and nodes: numbers for inputs by name, for the taps that are outputs, and for
    nodes that are matched already, equal on both sides."""

    inputs: Mapping[str, int]
    outputs: Mapping[int, tuple[int, ...]]
    matched: Mapping[int, int] = field(default_factory=dict)


def places(graph: Graph, marks: Marks, interned: Interned, *, fold: bool) -> Places:
    """The places of a graph's skeleton; with `fold`, as if foldable layers were not there."""
    return _Placing(graph, marks, interned, graph.foldable if fold else frozenset()).all()


class _Placing:
    def __init__(self, graph: Graph, marks: Marks, interned: Interned, without: frozenset[int]) -> None:
        self.graph, self.marks, self.interned = graph, marks, interned
        self.nodes = [node for node in graph.nodes if node not in without]
        self.arguments = {node: graph.arguments(node, without) for node in self.nodes}
        self.own = {node: self._own(node) for node in self.nodes}
        self.readers: dict[int, list[tuple[int, int]]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for position, source in enumerate(self.arguments[node]):
                if isinstance(source, int):
                    self.readers[source].append((0 if self._commutes(node) else position, node))
        self.ends: dict[int, list[int]] = {}
        for tap, numbers in marks.outputs.items():
            source = graph.passed(graph.source[tap], without)
            if isinstance(source, int):
                self.ends.setdefault(source, []).extend(numbers)

    def all(self) -> Places:
        up: dict[int, int] = {}
        for node in self.nodes:
            up[node] = self._up(node, up)
        down: dict[int, int] = {}
        for node in reversed(self.nodes):
            down[node] = self._down(node, down)
        near = dict(self.own)
        return Places(
            up=self._table(up),
            down=self._table(down),
            near_up=self._table({node: self._up(node, near) for node in self.nodes}),
            near_down=self._table({node: self._down(node, near) for node in self.nodes}),
        )

    def _table(self, numbers: Mapping[int, int]) -> npt.NDArray[np.int64]:
        return np.array([numbers.get(node, -1) for node in self.graph.nodes], np.int64)

    def _own(self, node: int) -> int:
        """What a node is without its neighbours. The number of values tells layers apart, not the class's name: a
        dense layer may stand for a 1x1 convolution."""
        if self.graph.carries(node):
            return self._number("weights", self.graph.size(node))
        return self._number("join", self.graph.taps[node].kind)

    def _commutes(self, node: int) -> bool:
        return not self.graph.carries(node) and self.graph.taps[node].kind in COMMUTATIVE

    def _up(self, node: int, labels: Mapping[int, int]) -> int:
        read = [self._seen(source, labels) for source in self.arguments[node]]
        return self._number("up", self.own[node], tuple(sorted(read) if self._commutes(node) else read))

    def _down(self, node: int, labels: Mapping[int, int]) -> int:
        read = sorted((position, self._seen(reader, labels)) for position, reader in self.readers[node])
        return self._number("down", self.own[node], tuple(read), tuple(sorted(self.ends.get(node, ()))))

    def _seen(self, source: Source, labels: Mapping[int, int]) -> int:
        if isinstance(source, int):
            matched = self.marks.matched.get(source)
            return labels[source] if matched is None else self._number("matched", matched)
        return self._number("input", self.marks.inputs.get(source or "", 0))

    def _number(self, *label: Hashable) -> int:
        return self.interned.setdefault(label, len(self.interned))
