"""Which tap of the port answers to which tap of the reference.

The user's map always wins. What it leaves open is filled by the best monotone assignment: the two lists of taps, each
in order of execution, are matched like two texts in a diff, where only taps of the same kind and shape may meet and
equal names weigh more. What has weights and no counterpart is unmatched; an operation without weights and without a
counterpart lies inside the segment of the next matched tap, and is compared as part of it.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from parity.axes import Axes
from parity.errors import MapError
from parity.report import Coverage
from parity.runners.taps import Tap

PINNED, SAME_KIND, SAME_NAME = 1000.0, 1.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """`matched` maps reference taps to port taps, in the reference's order; `inside` lists, for each matched reference
    tap, the reference operations without a counterpart that lead up to it."""

    matched: Mapping[str, str]
    inside: Mapping[str, tuple[str, ...]]
    coverage: Coverage


def align(
    reference: Sequence[Tap],
    port: Sequence[Tap],
    *,
    layers: Mapping[str, str] | None,
    axes: Axes,
    outputs: Mapping[str, str],
    aliases: Mapping[str, str] | None = None,
    waived: Iterable[str] = (),
) -> Alignment:
    """Match the reference's taps to the port's.

    `outputs` (reference tap: port tap) are matched with each other whatever their names. Raises MapError where `layers`
    names a reference tap that does not exist, or sends two taps to one port layer. A port layer that does not exist is
    no error: its reference tap is unmatched, and that is part of the verdict.
    """
    pinned = _pinned(reference, port, layers or {}, aliases or {})
    mapped = {(aliases or {}).get(name, name) for name in layers or {}}
    for theirs, ours in outputs.items():
        if theirs not in mapped and ours not in pinned.values():
            pinned[theirs] = ours
    matched = _best_monotone(reference, port, pinned, axes, refused=mapped)
    matched.update(pinned)
    matched = {tap.name: matched[tap.name] for tap in reference if tap.name in matched}
    inside = _inside(reference, matched)
    return Alignment(
        matched=matched, inside=inside, coverage=_coverage(reference, port, matched, inside, mapped, waived)
    )


def apart(alignment: Alignment, names: Collection[str], outputs: Mapping[str, str] = {}) -> Alignment:
    """The alignment without taps that turned out not to correspond: each becomes a part of the layer after it.

    Where an output of the port (`outputs`: reference tap: port tap) answered to one of them, it answers to the
    reference's.
    """
    for theirs, ours in outputs.items():
        ends = [name for name in names if alignment.matched.get(name) == ours]
        if ends and theirs not in alignment.matched:
            answered = {**alignment.matched, theirs: ours}
            alignment = replace(alignment, matched=answered, inside={**alignment.inside, theirs: ()})
    matched, inside = dict(alignment.matched), dict(alignment.inside)
    layers = list(matched)
    holders = {}
    for name in names:
        after = next((layer for layer in layers[layers.index(name) + 1 :] if layer not in names), "")
        if not after:
            continue
        del matched[name]
        inside[after] = (*inside.pop(name, ()), name, *inside[after])
        holders[name] = after
    coverage = replace(
        alignment.coverage,
        matched=matched,
        inside={**alignment.coverage.inside, **holders},
        unmatched_reference=tuple(name for name in alignment.coverage.unmatched_reference if name not in matched),
        apart=(*alignment.coverage.apart, *holders),
    )
    return Alignment(matched=matched, inside=inside, coverage=coverage)


def _pinned(
    reference: Sequence[Tap], port: Sequence[Tap], layers: Mapping[str, str], aliases: Mapping[str, str]
) -> dict[str, str]:
    names = {tap.name for tap in reference}
    known = {tap.name for tap in port}
    pinned: dict[str, str] = {}
    for given, port_name in layers.items():
        name = aliases.get(given, given)
        if name not in names:
            near = difflib.get_close_matches(given, [*names, *aliases], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise MapError(f"the layer map names {given!r}, which the reference never runs{hint}")
        if port_name in known:
            pinned[name] = port_name
    doubled = [name for name in set(pinned.values()) if list(pinned.values()).count(name) > 1]
    if doubled:
        both = [name for name, target in pinned.items() if target == doubled[0]]
        raise MapError(f"the layer map sends {' and '.join(map(repr, both))} to the same port layer {doubled[0]!r}")
    return pinned


def _best_monotone(
    reference: Sequence[Tap], port: Sequence[Tap], pinned: Mapping[str, str], axes: Axes, refused: set[str]
) -> dict[str, str]:
    """The order-preserving assignment of greatest total score, by dynamic programming over the two lists."""
    taken = set(pinned.values())
    scores = np.zeros((len(reference), len(port)))
    for i, tap in enumerate(reference):
        for j, candidate in enumerate(port):
            if tap.name in pinned or candidate.name in taken:
                scores[i, j] = PINNED if pinned.get(tap.name) == candidate.name else 0
            elif tap.name not in refused:
                scores[i, j] = _score(tap, candidate, axes)
    best = np.zeros((len(reference) + 1, len(port) + 1))
    for i in range(len(reference)):
        for j in range(len(port)):
            both = best[i, j] + scores[i, j] if scores[i, j] else 0
            best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], both)
    return _walk_back(reference, port, scores, best)


def _walk_back(
    reference: Sequence[Tap],
    port: Sequence[Tap],
    scores: npt.NDArray[np.float64],
    best: npt.NDArray[np.float64],
) -> dict[str, str]:
    matched: dict[str, str] = {}
    i, j = len(reference), len(port)
    while i and j:
        if scores[i - 1, j - 1] and best[i, j] == best[i - 1, j - 1] + scores[i - 1, j - 1]:
            i, j = i - 1, j - 1
            matched[reference[i].name] = port[j].name
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return matched


def _score(tap: Tap, candidate: Tap, axes: Axes) -> float:
    """How well two taps fit: 0 where kind, weights or shape differ."""
    if tap.kind != candidate.kind or tap.weighted != candidate.weighted or not _fits(tap, candidate, axes):
        return 0.0
    return SAME_KIND + (SAME_NAME if normalised(tap.name) == normalised(candidate.name) else 0.0)


def _fits(tap: Tap, candidate: Tap, axes: Axes) -> bool:
    if len(tap.shape) != len(candidate.shape) or (
        tap.name not in axes.by_name and len(tap.shape) not in axes.reference
    ):
        return False
    source, target = axes.of(tap.name, len(tap.shape))
    sizes = dict(zip(source, tap.shape, strict=True))
    return all(size in (None, sizes[axis]) for axis, size in zip(target, candidate.shape, strict=True))


def normalised(name: str) -> str:
    """A name without what differs by habit: `features.stage1.conv.0` and `features/stage1/conv` are equal."""
    return re.sub(r"(_0)+$", "", re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))


def _inside(reference: Sequence[Tap], matched: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    inside: dict[str, tuple[str, ...]] = {}
    waiting: list[str] = []
    for tap in reference:
        if tap.name in matched:
            inside[tap.name] = tuple(waiting)
            waiting = []
        elif not tap.weighted:
            waiting.append(tap.name)
    return inside


def _coverage(
    reference: Sequence[Tap],
    port: Sequence[Tap],
    matched: Mapping[str, str],
    inside: Mapping[str, tuple[str, ...]],
    mapped: set[str],
    waived: Iterable[str],
) -> Coverage:
    holder = {name: layer for layer, names in inside.items() for name in names}
    answered = set(matched.values())
    return Coverage(
        matched=matched,
        weighted=sum(tap.weighted and tap.name in matched for tap in reference),
        inside={name: layer for name, layer in holder.items() if name not in mapped},
        unmatched_reference=tuple(
            tap.name
            for tap in reference
            if tap.name not in matched and (tap.weighted or tap.name in mapped or tap.name not in holder)
        ),
        unmatched_port=tuple(tap.name for tap in port if tap.weighted and tap.name not in answered),
        waived=tuple(waived),
    )
