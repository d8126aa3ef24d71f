"""Taps that are compared together: what lies inside a segment, folded layers, shapes that a crop gives.

Where one layer of the port does what several taps of the reference do, the comparison is at the last of them; where
the port needs several, it is at the last of those.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from parity.alignment import fingerprints
from parity.alignment.evidence import shapes_fit
from parity.alignment.graphs import Graph
from parity.alignment.packed import slice_of, split_of
from parity.axes import Axes
from parity.runners.taps import Tap

SCALED = 0.05
"""By how much the size of weights must differ to be multiplied by something: roundings leave less."""


def nodes_of(reference: Graph, port: Graph, matched: Mapping[int, int], without: Collection[int]) -> dict[int, int]:
    """The matches of taps as matches of the two skeletons: of a tap that only follows a node, that node's.

    Two operations may have sources that do not answer to each other, so these say nothing; nor does a match behind a
    node that is known to have no counterpart.
    """
    found: dict[int, int] = {}
    for ours, theirs in matched.items():
        node, other = reference.source[ours], port.source[theirs]
        tells = node not in without and (node == ours or other == theirs)
        if isinstance(node, int) and isinstance(other, int) and tells:
            taken = node in found or other in found.values()
            if not taken or (node == ours and other == theirs):
                found = {a: b for a, b in found.items() if a != node and b != other} | {node: other}
    return found


def moved_into_shape(reference: Graph, port: Graph, ours: int, theirs: int, axes: Axes) -> list[tuple[int, int]]:
    """Where a match of two shapes can be compared: at the first move after either node that gives it the other's.

    Where one layer is a part of the other, that is the move that has the features of which the part has the weights;
    several, if it is not known which.
    """
    one, other = reference.taps[ours], port.taps[theirs]
    moves = [after for after in port.moves_after(theirs) if shapes_fit([one], [port.taps[after]], axes)[0, 0]]
    part = reference.size(ours) != port.size(theirs)
    if moves:
        return [(ours, after) for after in (_pieces(port, theirs, one, moves, last=True) if part else moves[:1])]
    moves = [after for after in reference.moves_after(ours) if shapes_fit([reference.taps[after]], [other], axes)[0, 0]]
    return [(after, theirs) for after in (_pieces(reference, ours, other, moves, last=False) if part else moves[:1])]


def _pieces(graph: Graph, packed: int, part: Tap, moves: Sequence[int], *, last: bool) -> list[int]:
    """Of moves after a packed layer the one that has the features of `part`, a layer of the other side; or those that
    may have."""
    features = slice_of(graph.taps[packed], part, last=last)
    name = split_of(graph.taps[packed], graph.taps, last=last).get(features) if features else None
    if name is not None and graph.index[name] in moves:
        return [graph.index[name]]
    return [tap for tap in moves if not any(graph.before[other, tap] for other in moves)]


def folded_into(reference: Graph, port: Graph, tap: int, nodes: Mapping[int, int], axes: Axes) -> int | None:
    """The node that the port computes together with the foldable `tap` after it: nothing else reads it, and its
    counterpart has other weights, and a bias that the fold leaves. None where the tap is simply lacking."""
    before = next(iter(reference.arguments(tap)), None)
    if not isinstance(before, int) or before not in nodes or reference.sinks[before] != {tap}:
        return None
    theirs = nodes[before]
    same = fingerprints.similarity([reference.weights[before]], [port.weights[theirs]])[0, 0] >= fingerprints.EQUAL
    followed = any(port.taps[sink].kind == reference.taps[tap].kind for sink in port.sinks[theirs])
    fits = bool(shapes_fit([reference.taps[tap]], [port.taps[theirs]], axes)[0, 0])
    return before if fits and not same and not followed and len(port.weights[theirs]) > 1 else None


def scaled_into(reference: Graph, port: Graph, tap: int, matched: Mapping[int, int], axes: Axes) -> int | None:
    """The matched layer whose weights the port has multiplied by the constant that `tap` multiplies its value by.

    That they are scaled at all is what is asked for: by what, the comparison shows.
    """
    before = reference.reads[tap][0] if len(reference.reads[tap]) == 1 else None
    if not isinstance(before, int) or before not in matched or reference.consumers[before] != [tap]:
        return None
    ours, theirs = reference.weights[before], port.weights[matched[before]]
    if reference.taps[tap].kind != "scale" or reference.carries(tap) or len(ours) != len(theirs) or not ours:
        return None
    sizes = [float(np.linalg.norm(max(arrays, key=lambda array: array.size))) for arrays in (ours, theirs)]
    fits = shapes_fit([reference.taps[tap]], [port.taps[matched[before]]], axes)[0, 0]
    return before if fits and abs(sizes[1] - sizes[0]) > SCALED * sizes[0] else None


def contained_in(reference: Graph, port: Graph, tap: int, matched: Mapping[int, int]) -> int | None:
    """The matched tap that alone reads a layer and whose counterpart holds all of its weights."""
    sinks = reference.sinks[tap]
    after = next(iter(sinks)) if len(sinks) == 1 else None
    if after is None or after not in matched or not reference.carries(tap):
        return None
    theirs = port.weights[matched[after]]
    alike = fingerprints.similarity([reference.weights[tap]], [theirs])[0, 0]
    return after if alike >= fingerprints.EQUAL and len(theirs) > len(reference.weights[after]) else None


def inside(graph: Graph, matched: Collection[int], covered: Collection[int]) -> dict[int, tuple[int, ...]]:
    """For each matched tap, the taps without a counterpart that lead up to it: operations, and layers in `covered`.

    What leads nowhere, as far as is known, is held by the next matched tap in the list.
    """
    found: dict[int, list[int]] = {i: [] for i in sorted(matched)}
    holders: list[set[int]] = [set() for _ in graph.taps]
    for i in reversed(range(len(graph.taps))):
        for reader in graph.consumers[i]:
            holders[i] |= {reader} if reader in found else holders[reader]
        if i in found or (graph.taps[i].weighted and i not in covered):
            continue
        later = next((j for j in found if j > i), None)
        for holder in holders[i] or ({later} if later is not None else set()):
            found[holder].insert(0, i)
    return {holder: tuple(taps) for holder, taps in found.items()}
