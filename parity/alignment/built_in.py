"""Activations that layers of the port have built in: taps of their own, which the port's author has no name for.

A layer `conv` with one is followed by a tap `conv/relu` (in a flat copy of the port: `conv.relu`) that reads it alone.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from parity.alignment.graphs import MOVES, Graph
from parity.alignment.mapping import Entry
from parity.runners.taps import ACTIVATIONS, Tap


def built_in(port: Sequence[Tap]) -> dict[str, str]:
    """The tap of its built-in activation for each layer of the port that has one."""
    weighted = {tap.name for tap in port if tap.weighted}
    plain = (tap for tap in port if len(tap.reads) == 1 and tap.reads[0] in weighted and tap.kind not in MOVES)
    return {tap.reads[0]: tap.name for tap in plain if tap.name.startswith(_inside(tap.reads[0]))}


def _inside(name: str) -> tuple[str, str]:
    first = name.partition("#")[0]
    return f"{first}/", f"{first}."


def activation_after(graph: Graph, tap: int) -> int | None:
    """The activation without weights that alone reads a tap's value."""
    readers = graph.consumers[tap]
    only = readers[0] if len(readers) == 1 else None
    return only if only is not None and graph.taps[only].kind in ACTIVATIONS and not graph.carries(only) else None


def is_bare(graph: Graph, tap: int, matched: Collection[int]) -> bool:
    """Whether nothing is computed between a tap and what is matched after it."""
    waiting = list(graph.consumers[tap])
    while waiting:
        reader = waiting.pop()
        if reader in matched:
            continue
        if graph.taps[reader].kind not in MOVES:
            return False
        waiting += graph.consumers[reader]
    return True


def refined(entries: Sequence[Entry], reference: Sequence[Tap], port: Sequence[Tap]) -> list[Entry]:
    """The entries of a map, where what is sent to a layer with a built-in activation may be that activation.

    That is so for the last tap that is sent there, unless it has weights or is of the layer's own kind. What is sent
    there together with it, before it, answers to the layer without its activation.
    """
    activations, kinds = built_in(port), {tap.name: tap.kind for tap in port}
    taps = {tap.name: (place, tap) for place, tap in enumerate(reference)}
    last: dict[str, str] = {}
    for entry in entries:
        layer, name = entry.port[0] if len(entry.port) == 1 else "", entry.reference[-1]
        tap = taps[name][1]
        plain = layer in activations and tap.kind != kinds[layer] and not tap.weighted and not len(tap.weights())
        if plain and (layer not in last or taps[last[layer]][0] < taps[name][0]):
            last[layer] = name
    return [part for entry in entries for part in _parts(entry, last, activations)]


def _parts(entry: Entry, last: Mapping[str, str], activations: Mapping[str, str]) -> Iterator[Entry]:
    *before, name = entry.reference
    if len(entry.port) != 1 or last.get(entry.port[0]) != name:
        yield entry
        return
    if before:
        yield replace(entry, reference=tuple(before))
    yield replace(entry, given=name if before else entry.given, reference=(name,), port=(activations[entry.port[0]],))
