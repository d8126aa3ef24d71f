"""Finds layers that one side has in one and the other has in several: a projection packed of query, key and value.

Whoever unpacks one copies its columns, so every output's weights are found again bit for bit. That is asked of all
outputs of the packed layer, in whole slices; anything less is left to the user's map. What a slice of the weights
computes is found among the numbered outputs of a split of the packed layer's value.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from parity.axes import Array
from parity.runners.taps import Tap

PARTS = "weights equal, in parts"
"""Why a match was made that is found here."""

NUMBERED = re.compile(r"(.*)\[(\d+)\](#\d+)?")
"""`chunk[0]`, and `chunk[0]#2` where it is called again."""


def unpacked(reference: Sequence[Tap], port: Sequence[Tap], taken: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each packed layer of the reference the port's layers that share its outputs, in the order of their slices.

    Layers that are `taken`, by the names of either side, are left out.
    """
    return _parts(_outputs(reference, taken, last=False), _outputs(port, taken, last=True))


def repacked(reference: Sequence[Tap], port: Sequence[Tap], taken: Collection[str]) -> dict[str, str]:
    """For the reference's layers that share the outputs of a packed layer of the port, what the port has of each: an
    output of a split."""
    ours, layers = _outputs(reference, taken, last=False), {tap.name: tap for tap in port}
    found: dict[str, str] = {}
    for packed, parts in _parts(_outputs(port, taken, last=True), ours).items():
        pieces = split_of(layers[packed], port, last=True)
        slices = pairwise(accumulate((len(ours[part]) for part in parts), initial=0))
        names = [pieces.get(each, "") for each in slices]
        found |= dict(zip(parts, names, strict=True)) if all(names) else {}
    return found


def slice_of(packed: Tap, part: Tap, *, last: bool) -> tuple[int, int] | None:
    """Which outputs of a packed layer a layer of the other side has, from the first to the one after the last; none if
    these are not in one piece. The packed layer is the port's if its kernel has the outputs `last`."""
    rows, own = _rows(packed, last=last), _rows(part, last=not last)
    if not own or own[0] not in rows:
        return None
    start = rows.index(own[0])
    return (start, start + len(own)) if rows[start : start + len(own)] == own and len(set(rows)) == len(rows) else None


def split_of(packed: Tap, taps: Sequence[Tap], *, last: bool) -> dict[tuple[int, int], str]:
    """The outputs of a split of a layer's features, by those that they have: from the first to the one after the last.

    Features are the last axis of what the port computes (`last`) and of a product with a matrix, or else torch's first
    after the batch.
    """
    axis = -1 if last or packed.weights()[0].ndim == 2 else 1
    splits: dict[str, dict[int, Tap]] = {}
    for tap in taps:
        name = NUMBERED.fullmatch(tap.name)
        if name and tuple(tap.reads) == (packed.name,) and len(tap.shape) == len(packed.shape):
            splits.setdefault(f"{name[1]}{name[3]}", {})[int(name[2])] = tap
    found: dict[tuple[int, int], str] = {}
    for outputs in splits.values():
        pieces = [outputs[number] for number in sorted(outputs)]
        stops = list(accumulate((piece.shape[axis] or 0 for piece in pieces), initial=0))
        if stops[-1] == packed.shape[axis]:
            found |= {between: piece.name for between, piece in zip(pairwise(stops), pieces, strict=True)}
    return found


def _parts(whole: Mapping[str, list[bytes]], slices: Mapping[str, list[bytes]]) -> dict[str, tuple[str, ...]]:
    """For each layer whose outputs are those of others, in whole slices, these in the order of the slices."""
    found: dict[str, tuple[str, ...]] = {}
    for packed, outputs in whole.items():
        places = {row: index for index, row in enumerate(outputs)}
        if len(places) != len(outputs):
            continue  # outputs that are alike say nothing
        parts = sorted((places[rows[0]], name) for name, rows in slices.items() if rows[0] in places)
        if len(parts) > 1 and [row for _, name in parts for row in slices[name]] == outputs:
            found[packed] = tuple(name for _, name in parts)
    return found


def _outputs(taps: Sequence[Tap], taken: Collection[str], *, last: bool) -> dict[str, list[bytes]]:
    """The weights of each output of the layers that are not `taken`, by name."""
    found = {tap.name: _rows(tap, last=last) for tap in taps if tap.name not in taken}
    return {name: rows for name, rows in found.items() if rows}


def _rows(tap: Tap, *, last: bool) -> list[bytes]:
    """The weights of each output of a layer, the outputs on the kernel's last axis or on its first; none of others."""
    weights = tap.weights() if tap.weighted else ()
    if not len(weights) or weights[0].ndim < 2 or "#" in tap.name:
        return []
    kernel: Array = np.moveaxis(weights[0], -1, 0) if last else np.moveaxis(weights[0], 1, -1)
    return [np.ascontiguousarray(row).tobytes() for row in kernel]
