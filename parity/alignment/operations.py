"""The operations between matched layers: those with one source, matched with those of the port with the same one.

Each such run of operations is matched like two texts in a diff: the order-preserving assignment of greatest total
score, where only operations of one kind and shape may meet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.alignment import names
from parity.alignment.evidence import NAMED, Matrix, shapes_fit
from parity.alignment.flow import contradicted
from parity.alignment.graphs import Graph, Source
from parity.axes import Axes

PINNED, SAME_KIND, SAME_SINK, SAME_NAME = 1000.0, 1.0, 1.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Between:
    """Two graphs with what is matched of their taps, of which the operations still are to be."""

    reference: Graph
    port: Graph
    axes: Axes
    inputs: tuple[Mapping[str, int], Mapping[str, int]]
    nodes: Mapping[int, int]
    """The skeleton's matches; `matched` has those of taps, which may be read behind the node."""
    matched: Mapping[int, int]
    without: tuple[frozenset[int], frozenset[int]]


def operations(between: Between) -> dict[int, int]:
    """The matches of operations: first where sources agree, then where only what reads them does."""
    found = _by(between, {}, lambda graph, side, tap: _source(between, graph, side, tap))
    return found | _by(between, found, lambda graph, side, tap: _sink(between, graph, side, tap))


Group = Callable[[Graph, int, int], object]


def _by(between: Between, found: Mapping[int, int], group: Group) -> dict[int, int]:
    """The matches within groups that both sides have."""
    pinned = {**between.matched, **found}
    sides = []
    for side, graph in enumerate((between.reference, between.port)):
        groups: dict[object, list[int]] = {}
        for tap in range(len(graph.taps)):
            plain = not graph.carries(tap) and tap not in between.without[side]
            key = group(graph, side, tap) if plain and graph.source[tap] != tap else None
            if key is not None:
                groups.setdefault(key, []).append(tap)
        sides.append(groups)
    matches: dict[int, int] = {}
    for key in sides[0]:
        if key in sides[1]:
            matches |= _monotone(between, pinned, sides[0][key], sides[1][key])
    return {ours: theirs for ours, theirs in matches.items() if ours not in pinned}


def _source(between: Between, graph: Graph, side: int, tap: int) -> object:
    return _common(between, side, graph.source[tap])


def _sink(between: Between, graph: Graph, side: int, tap: int) -> object:
    """What reads an operation, where that is one node."""
    sinks = graph.sinks[tap]
    return _common(between, side, next(iter(sinks))) if len(sinks) == 1 else None


def _common(between: Between, side: int, source: Source) -> object:
    """What both sides call a source, if they have it in common."""
    if isinstance(source, str):
        return "input", between.inputs[side].get(source, 0)
    if side == 0:
        return source if source in between.nodes else None
    return next((ours for ours, theirs in between.nodes.items() if theirs == source), None)


def _monotone(
    between: Between, pinned: Mapping[int, int], ours: Sequence[int], theirs: Sequence[int]
) -> dict[int, int]:
    """The order-preserving assignment of greatest total score, by dynamic programming over the two lists."""
    scores = _scores(between, pinned, ours, theirs)
    best = np.zeros((len(ours) + 1, len(theirs) + 1))
    for i in range(len(ours)):
        both = np.where(scores[i] > 0, best[i, :-1] + scores[i], 0.0)
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], both))
    matches: dict[int, int] = {}
    i, j = len(ours), len(theirs)
    while i and j:
        if scores[i - 1, j - 1] and best[i, j] == best[i - 1, j - 1] + scores[i - 1, j - 1]:
            i, j = i - 1, j - 1
            matches[ours[i]] = theirs[j]
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return matches


def _scores(between: Between, pinned: Mapping[int, int], ours: Sequence[int], theirs: Sequence[int]) -> Matrix:
    reference, port = [between.reference.taps[i] for i in ours], [between.port.taps[j] for j in theirs]
    alike = names.similarity(reference, port)
    kinds = np.array([[tap.kind == other.kind for other in port] for tap in reference], bool)
    sinks = np.array([[_same_sinks(between, i, j) for j in theirs] for i in ours], float)
    scores = SAME_KIND + SAME_SINK * sinks + SAME_NAME * np.where(alike >= NAMED, alike, 0.0)
    possible = kinds & shapes_fit(reference, port, between.axes)
    possible &= ~contradicted(between.reference, between.port, pinned, ours, theirs) if pinned else True
    scores = np.where(possible, scores, 0.0)
    taken = set(pinned.values())
    for row, i in enumerate(ours):
        for column, j in enumerate(theirs):
            if i in pinned or j in taken:
                scores[row, column] = PINNED if pinned.get(i) == j else 0.0
    return np.asarray(scores, np.float64)


def _same_sinks(between: Between, ours: int, theirs: int) -> bool:
    here = {between.nodes.get(sink) for sink in between.reference.sinks[ours]}
    return bool(here & between.port.sinks[theirs]) or not (here or between.port.sinks[theirs])
