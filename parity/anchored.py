"""Runs the port's segments on the reference's values, while the reference runs.

The reference is run once in float32. Each value a segment needs is brought to the port's layout the moment it is made
(an in-place activation may overwrite it next) and dropped when no later segment reads it; segments whose values are all
there are gathered into a chunk, and a chunk is run in every mode. So one pass over the reference serves all modes, and
memory holds a chunk, not the network.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from parity.axes import Array, Axes, move
from parity.frameworks import torch
from parity.pairs import Input
from parity.runners.keras_model import KerasModel
from parity.runners.reference import Reference, Value
from parity.runners.segments import Segment
from parity.runners.taps import Tap

CHUNK_BYTES = 64 << 20

Weigh = Callable[[Segment, str, Sequence[Array], Array, Array], None]
"""Takes a segment, a mode, the anchors, the expected and the actual value (all in the port's layout)."""


class Anchored:
    """One anchored pass. `judge` is called for every segment and mode, while its arrays are still there."""

    def __init__(
        self, port: KerasModel, segments: Sequence[Segment], modes: Sequence[str], axes: Axes, judge: Weigh
    ) -> None:
        self._port = port
        self._modes = modes
        self._axes = axes
        self._judge = judge
        self._lacking = {segment: _reads(segment) for segment in segments}
        """For each segment that waits, the values it reads that are not there."""
        self._readers: dict[str, list[Segment]] = {}
        for segment, reads in self._lacking.items():
            for name in reads:
                self._readers.setdefault(name, []).append(segment)
        self._uses = Counter(name for segment in segments for name in _reads(segment))
        self._held: dict[str, Array] = {}
        self._chunk: list[Segment] = []
        self._bytes = 0

    def put(self, name: str, value: Value) -> None:
        """Take a value the reference has made (its own layout); run the chunk once it is large enough."""
        if not self._uses[name]:
            return
        moved = move(value, *self._axes.of(name, value.ndim))
        self._held[name] = _own(moved)
        for segment in self._readers.pop(name, ()):
            self._lacking[segment].discard(name)
            if not self._lacking[segment]:
                self._chunk.append(segment)
                self._bytes += self._held[segment.layer].nbytes
        if self._bytes > CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Run the segments gathered so far and drop what no other segment reads."""
        for mode in self._modes if self._chunk else ():
            for segment, actual in self._port.introduce(self._chunk, self._held, mode):
                anchors = [self._held[name] for name in segment.anchors]
                self._judge(segment, mode, anchors, self._held[segment.layer], actual)
        for segment in self._chunk:
            self._uses.subtract(_reads(segment))
        self._chunk, self._bytes = [], 0
        self._held = {name: array for name, array in self._held.items() if self._uses[name] > 0}


def run_anchored(reference: Reference, given: Input, anchored: Anchored, see: Callable[[Tap, Value], bool]) -> None:
    """Run the reference on an input, feeding `anchored`; `see` is shown every tap's value first, and says whether to
    go on with the port."""
    goes_on = True
    for name, array in given.arrays.items():
        anchored.put(name, array)

    def sink(tap: Tap, value: Value) -> None:
        nonlocal goes_on
        goes_on = goes_on and see(tap, value)
        if goes_on:
            anchored.put(tap.name, value)

    reference.run(given, sink)
    if goes_on:
        anchored.flush()


def _own(value: Value) -> Array:
    """The values in an array of their own, C-contiguous. torch copies those that were moved faster than NumPy does."""
    if isinstance(value, np.ndarray):
        return np.array(value, order="C")
    return value.clone(memory_format=torch.contiguous_format).numpy()


def _reads(segment: Segment) -> set[str]:
    return {*segment.anchors, segment.layer}
