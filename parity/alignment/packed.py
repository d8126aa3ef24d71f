"""Finds layers that one side has in one and the port has in several: a projection packed of query, key and value.

Whoever unpacks one copies its columns, so every output's weights are found again bit for bit. That is asked of all
outputs of the packed layer, in whole slices; anything less is left to the user's map.
"""

from collections.abc import Collection, Sequence

import numpy as np

from parity.axes import Array
from parity.runners.taps import Tap


def unpacked(reference: Sequence[Tap], port: Sequence[Tap], taken: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each packed layer of the reference the port's layers that share its outputs, in the order of their slices.

    Layers that are `taken`, by the names of either side, are left out.
    """
    found: dict[str, tuple[str, ...]] = {}
    slices = [(tap.name, rows) for tap in port if tap.name not in taken and (rows := _rows(tap, last=True))]
    for tap in reference:
        packed = _rows(tap, last=False) if tap.name not in taken else []
        places = {row: index for index, row in enumerate(packed)}
        if len(places) != len(packed):
            continue  # outputs that are alike say nothing
        parts = sorted((places[rows[0]], name, rows) for name, rows in slices if rows[0] in places)
        if len(parts) > 1 and [row for _, _, rows in parts for row in rows] == packed:
            found[tap.name] = tuple(name for _, name, _ in parts)
    return found


def _rows(tap: Tap, *, last: bool) -> list[bytes]:
    """The weights of each output of a layer, the outputs on the kernel's last axis or on its first; none of others."""
    weights = tap.weights() if tap.weighted else ()
    if not len(weights) or weights[0].ndim < 2 or "#" in tap.name:
        return []
    kernel: Array = np.moveaxis(weights[0], -1, 0) if last else np.moveaxis(weights[0], 1, -1)
    return [np.ascontiguousarray(row).tobytes() for row in kernel]
