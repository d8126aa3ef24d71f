"""An artifact as a port: aligned and explained by what it was lifted to, every value from its own engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from parity.alignment.mapping import TOGETHER
from parity.artifacts.lifting import Lifted
from parity.artifacts.program import Engine
from parity.axes import Array
from parity.runners.built_in import LINEAR, name_of
from parity.runners.keras_model import KerasModel
from parity.runners.segments import REFUSED, PortTap, Segment
from parity.runners.taps import Positions, kind_of, sample
from parity.watch import PORT, Step, tell


class ArtifactModel(KerasModel):
    """An artifact that can be run on inputs of one set of shapes; its only mode is its format.

    `lifted` has the program as a graph, and for each of its symbolic tensors the tensor of the file that it is.
    """

    stands_for = True

    def __init__(self, engine: Engine, lifted: Lifted) -> None:
        super().__init__(lifted.graph, named=lifted.graph.names)
        self.engine = engine
        self.lifted = lifted

    @property
    def modes(self) -> tuple[str, ...]:
        """The one way to run it."""
        return (self.engine.program.format,)

    def kept(self, layers: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of a layer map whose names the file still has; those of what it holds fused in another tap go to
        that one."""
        taps = {tap.name for tap in self.taps} | set(self.aliases)

        def found(name: str) -> str:
            return self.lifted.fused.get(name, name)

        named = {
            key: found(value) if isinstance(value, str) else [found(each) for each in value]
            for key, value in layers.items()
        }
        known = {
            key: value
            for key, value in named.items()
            if (value in taps if isinstance(value, str) else all(each in taps for each in value))
        }
        return self._together(known)

    def _together(self, layers: Mapping[Any, Any]) -> dict[Any, Any]:
        """The entries of a layer map, as one where they go to one tap in which the file holds several layers."""
        joined = {tap.name for tap in self.taps if tap.applies} | set(self.lifted.fused.values())
        found: dict[Any, Any] = {}
        for tap in joined & {value for value in layers.values() if isinstance(value, str)}:
            keys = [key for key, value in layers.items() if value == tap]
            found[keys[0] if len(keys) == 1 else tuple(name for key in keys for name in _names(key))] = tap
        return {**{key: value for key, value in layers.items() if value not in found.values()}, **found}

    def _enumerate(self) -> Iterator[PortTap]:
        """Its taps; of each, the activation that the file has made a part of it."""
        for tap in super()._enumerate():
            yield replace(tap, applies=_applied(tap.operation))

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
            samples.append(sample(self._seen(segment.tap.key, made[self._tensor(segment.tap.key)]), places))
        outputs = {name: (id(tensor), made[self._tensor(id(tensor))]) for name, tensor in self._outputs.items()}
        return samples, {name: self._seen(*each) for name, each in outputs.items()}

    def introduce(
        self, segments: Sequence[Segment], anchors: Mapping[str, Array], mode: str
    ) -> Iterator[tuple[Segment, Array]]:
        """What the file's own kernels make of the reference's values, segment by segment; REFUSED where they refuse."""
        first, last = segments[0].tap.name, segments[-1].tap.name
        what = f"{first!r} alone" if len(segments) == 1 else f"{first!r} to {last!r}, each alone"
        tell(Step(side=PORT, doing=f"running {what}", mode=mode))
        known = {
            self._tensor(key): self._stored(key, anchors[name])
            for segment in segments
            for key, name in zip(segment.anchor_keys, segment.anchors, strict=True)
        }
        of = {self._tensor(segment.tap.key): segment for segment in segments}
        wanted = {tensor: tuple(map(self._tensor, segment.anchor_keys)) for tensor, segment in of.items()}
        for tensor, value in self.engine.parts(known, wanted):
            segment = of[tensor]
            yield segment, REFUSED if value is None else self._seen(segment.tap.key, value)

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


def _names(key: Any) -> tuple[str, ...]:
    """The names in a key of a layer map."""
    return tuple(name.strip() for name in key.split(TOGETHER)) if isinstance(key, str) else tuple(key)


def _applied(operation: Any) -> str:
    """The kind of the activation that an operation ends with; none of what is an activation itself."""
    activation = vars(operation).get("activation")
    if not callable(activation) or type(operation).__name__ == "Activation" or name_of(activation) == LINEAR:
        return ""
    return kind_of(name_of(activation))
