"""The port end to end, in each mode: sampled at every tap, and run unwatched for its output.

Where the port can be looked into without a change, that is one run.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from parity.axes import Array
from parity.comparison import compare, fits_repeated
from parity.examination.known import Known
from parity.report import Measure, Watching
from parity.runners.segments import Segment
from parity.runners.taps import positions_in
from parity.watch import Ended, tell


@dataclass(frozen=True, kw_only=True)
class End:
    """The port on one input in one mode: the error of each segment's value, the watched outputs, and the plain ones;
    whether both are of one run."""

    measures: Mapping[str, Measure]
    watched: Mapping[str, Array]
    plain: Mapping[str, Array]
    once: bool = False


class EndToEnd:
    """Runs the port on the input that is `known`, in each of its modes."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def each(self) -> Iterator[tuple[str, End]]:
        """Every mode, with what came of it."""
        for index, mode in enumerate(self._known.modes):
            end = self._end_to_end(mode, index)
            tell(Ended(mode=mode, propagated=end.measures))
            yield mode, end

    def _end_to_end(self, mode: str, index: int) -> End:
        port, arrays = self._known.subject.port, self._known.inputs_of_port()

        def show(done: int) -> None:
            share = (index + 0.5 * done / len(self._known.segments)) / len(self._known.modes)
            self._known.progress(f"end to end, {mode}", 0.6 + 0.4 * share)

        show(0)
        places = [self._places(segment) for segment in self._known.segments]
        once = port.at_once(arrays, self._known.segments, places, show) if mode == "eager" else None
        samples, watched = once or port.propagate(arrays, self._known.segments, places, mode, show)
        layers = [segment.layer for segment in self._known.segments]
        measures = {
            layer: self._known.judge.of_sample(layer, sample) for layer, sample in zip(layers, samples, strict=True)
        }
        show(len(self._known.segments))
        plain = watched if once else port.plain(arrays, mode)
        return End(measures=measures, watched=watched, plain=plain, once=once is not None)

    def _places(self, segment: Segment) -> Array:
        """The reference's sample positions in the port's flat value; none if the port's shape does not fit."""
        shape, moved = self._known.judge.shape(segment.layer), self._known.judge.moved_shape(segment.layer)
        own = segment.tap.shape
        last = moved[max(0, len(moved) - len(own)) :]
        known = tuple(here if there is None else there for here, there in zip(last, own, strict=False))
        if len(known) != len(own) or not fits_repeated(known, moved):
            return np.empty(0, np.int64)
        source, target = self._known.subject.pair.axes.of(segment.layer, len(shape))
        return np.asarray(positions_in(shape, source, target) % math.prod(known))

    def watching(self, end: End) -> Watching:
        """The watched port's outputs against the plain one's: the same values, or as near as the limits ask."""
        if end.once:
            return Watching(same=True, relative=0.0, within=True, once=True)
        each = [
            self._watched(name, end.watched[ours], end.plain[ours])
            for name, ours in self._known.matching.outputs.items()
        ]
        return max(each, key=lambda watching: (not watching.within, not watching.same, watching.relative))

    def _watched(self, name: str, watched: Array, plain: Array) -> Watching:
        if watched.shape != plain.shape:
            return Watching(same=False, relative=float("inf"), within=False)
        difference = compare(watched, plain, self._known.judge.limits(self._known.judge.trace.output_taps[name]))
        same = bool(np.array_equal(watched, plain, equal_nan=True))
        return Watching(same=same, relative=difference.relative, within=same or difference.passed)
