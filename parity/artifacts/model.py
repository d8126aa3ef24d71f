"""An artifact as a port: aligned and explained by what it was lifted to, every value from its own engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.artifacts.lifting import Lifted
from parity.artifacts.program import Engine
from parity.axes import Array
from parity.errors import PairError
from parity.runners.keras_model import REFUSED, KerasModel, Segment
from parity.runners.taps import Positions
from parity.watch import PORT, Step, tell


class ArtifactModel(KerasModel):
    """An artifact that can be run on inputs of one set of shapes; its only mode is its format.

    `lifted` has the program as a graph, and for each of its symbolic tensors the tensor of the file that it is.
    """

    def __init__(self, engine: Engine, lifted: Lifted) -> None:
        super().__init__(lifted.graph, named=lifted.graph.names)
        self.engine = engine
        self.lifted = lifted

    @property
    def modes(self) -> tuple[str, ...]:
        """The one way to run it."""
        return (self.engine.program.format,)

    def restore(self) -> None:
        """Nothing to undo: a file does not change."""

    def plain(self, arrays: Mapping[str, Array], mode: str) -> dict[str, Array]:
        """The outputs of the file as it ships, by name."""
        tell(Step(side=PORT, doing="running it whole, with nothing watched", mode=mode))
        made = self.engine.whole(self._given(arrays))
        return {name: self._seen(id(tensor), made[self._tensor(id(tensor))]) for name, tensor in self._outputs.items()}

    def every_value(self, arrays: Mapping[str, Array], mode: str) -> dict[str, Array]:
        """The whole value of every tap, by its name, in one run of the file."""
        tell(Step(side=PORT, doing="running it whole, reading every tap", mode=mode))
        wanted = {tap.name: tap.key for tap in self.taps}
        made = self.engine.watched(self._given(arrays), list(dict.fromkeys(map(self._tensor, wanted.values()))))
        return {name: self._seen(key, made[self._tensor(key)]) for name, key in wanted.items()}

    def propagate(
        self,
        arrays: Mapping[str, Array],
        segments: Sequence[Segment],
        wanted: Sequence[Positions],
        mode: str,
        show: Callable[[int], None] = lambda done: None,
    ) -> tuple[list[Array], dict[str, Array]]:
        """A sample of each segment's value at the `wanted` flat positions, and the outputs, all of one watched run."""
        tell(Step(side=PORT, doing="running it whole, reading every matched tap", mode=mode))
        keys = [segment.tap.key for segment in segments] + [id(tensor) for tensor in self._outputs.values()]
        made = self.engine.watched(self._given(arrays), list(dict.fromkeys(map(self._tensor, keys))))
        samples = []
        for done, (segment, places) in enumerate(zip(segments, wanted, strict=True)):
            show(done)
            flat = self._seen(segment.tap.key, made[self._tensor(segment.tap.key)]).reshape(-1)
            samples.append(flat[np.minimum(places, flat.size - 1)])
        outputs = {name: (id(tensor), made[self._tensor(id(tensor))]) for name, tensor in self._outputs.items()}
        return samples, {name: self._seen(*each) for name, each in outputs.items()}

    def introduce(
        self, segments: Sequence[Segment], anchors: Mapping[str, Array], mode: str
    ) -> Iterator[tuple[Segment, Array]]:
        """What the file's own kernels make of the reference's values, segment by segment; REFUSED where they refuse."""
        for segment in segments:
            tell(Step(side=PORT, doing=f"running {segment.tap.name!r} alone", mode=mode))
            values = [anchors[name] for name in segment.anchors]
            try:
                yield segment, self.part(segment, values)
            except PairError:
                yield segment, REFUSED

    def part(self, segment: Segment, values: Sequence[Array]) -> Array:
        """A segment's value by the file's own kernels, given its anchors' values. Raises PairError where refused."""
        known = {
            self._tensor(key): self._stored(key, value)
            for key, value in zip(segment.anchor_keys, values, strict=True)
        }
        return self._seen(segment.tap.key, self.engine.part(known, self._tensor(segment.tap.key)))

    def _given(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs by the file's tensors."""
        theirs = {ours: name for name, ours in self.feeds.items()}
        ends = {name: id(tensor) for name, tensor in self._inputs.items()}
        return {self._tensor(key): self._stored(key, arrays[theirs[name]]) for name, key in ends.items()}

    def _tensor(self, key: int) -> str:
        return self.lifted.tensors[key]

    def _seen(self, key: int, value: Array) -> Array:
        """A value of the file in the axes that the graph has it in."""
        order = self.lifted.orders.get(self._tensor(key))
        return np.ascontiguousarray(value if order is None else value.transpose(order))

    def _stored(self, key: int, value: Array) -> Array:
        """A value of the graph in the file's own axes."""
        order = self.lifted.orders.get(self._tensor(key))
        return np.ascontiguousarray(value if order is None else value.transpose(np.argsort(order)))
