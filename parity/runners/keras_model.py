"""Runs a Keras functional model, whole or segment by segment: eagerly, as a graph, or compiled by XLA.

Each segment is run on the port's own values, or on the reference's (`segments` says what one is).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError, UsageError
from parity.frameworks import keras, tf
from parity.pairs import INPUT
from parity.runners.edits import nodes_of
from parity.runners.model_file import loaded
from parity.runners.reading import Reader
from parity.runners.segments import REFUSED, TAIL, PortTap, Segment, segment_to, taps_of
from parity.runners.taps import MODES, OUTPUT, Numbering, Positions, sample
from parity.runners.tensors import as_array, as_tensor, refusals
from parity.trees import leaves, rebuilt
from parity.watch import PORT, Step, tell

Whole = Callable[[Mapping[str, Any]], Any]
"""Runs a model on the tensors of its inputs by name, and returns what it returns."""

MASK = "_keras_mask"
"""What Keras calls the mask of a tensor that it hands on from layer to layer."""

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
_COMPILE: Mapping[str, Wrap] = {
    "graph": lambda function: tf.function(function),
    "xla": lambda function: tf.function(function, jit_compile=True),
}


class KerasModel:
    """A port that can be run: a functional or sequential `keras.Model`, or the path of a `.keras` file.

    `inputs` names its inputs (INPUT, or `input[0]`, `input.left` by the structure that it takes), `output_taps` the tap
    of each output. Runs are given arrays by the reference's names of the inputs, and `feeds` says which of the port's
    each is; at first the names are taken to be the same. `named` has names for nodes of a graph that was made from a
    model of another form, and `whole` runs that model on its inputs by name. Raises PairError for a model of another
    form.
    """

    stands_for = False
    """Whether its operations only stand for what is run: those of a file, which another engine runs."""

    def __init__(self, model: Any, *, named: Mapping[int, str] | None = None, whole: Whole | None = None) -> None:
        if isinstance(model, (str, Path)):
            model = loaded(Path(model))
        graph = getattr(model, "_functional", None) or model
        if not hasattr(graph, "_nodes_by_depth"):
            raise PairError(f"the port is a {type(model).__name__}; a functional or sequential keras.Model is needed")
        self.model = model
        self._graph = graph
        self._named = named or {}
        self._whole = whole or self._call
        self._inputs = by_name(graph._inputs_struct, INPUT)
        self._outputs = by_name(graph._outputs_struct, OUTPUT)
        self.inputs = tuple(self._inputs)
        self.feeds: Mapping[str, str] = {name: name for name in self.inputs}
        self._producer: dict[int, Any] = {}
        self.taps = tuple(self._enumerate())
        self.output_taps = self._ends()
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._untrained = [(weight, np.asarray(weight)) for weight in model.non_trainable_weights]

    def other_names(self, name: str) -> tuple[str, ...]:
        """What else an input or output is called: the name of its InputLayer, or of the operation that makes it, and
        its key in the structure that the model takes or returns."""
        if name in self._inputs:
            structure, tensor = self._graph._inputs_struct, self._inputs[name]
            own = str(tensor.name)
        else:
            structure, tensor = self._graph._outputs_struct, self._outputs[name]
            own = str(self._producer[id(tensor)].operation.name)
        keys = (path.rpartition(".")[2] for path, leaf in leaves(structure, "") if leaf is tensor and "." in path)
        return (own, *keys)

    def _ends(self) -> Mapping[str, str]:
        taps = {tap.key: tap.name for tap in self.taps}
        for name, tensor in self._outputs.items():
            if id(tensor) not in taps:
                raise PairError(f"the port's {name} is its input; there is no operation to compare")
        return {name: taps[id(tensor)] for name, tensor in self._outputs.items()}

    def _call(self, values: Mapping[str, Any]) -> Any:
        return self.model(self._structure(values), training=False)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _structure(self, values: Mapping[str, Any]) -> Any:
        """The inputs as the model takes them."""
        by_path = dict(zip(dict(leaves(self._graph._inputs_struct, INPUT)), self.inputs, strict=True))
        return rebuilt(self._graph._inputs_struct, INPUT, lambda path, leaf: values[by_path[path]])

    def kept(self, layers: Mapping[str, Any]) -> Mapping[str, Any]:
        """The entries of a layer map that can be meant: all of them."""
        return layers

    def restore(self) -> None:
        """Undo what a run may do to weights: a BatchNorm in training mode moves its statistics."""
        for weight, value in self._untrained:
            if not np.array_equal(np.asarray(weight), value, equal_nan=True):
                weight.assign(value)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names of taps: a model or layer that was opened is called by its last operation's."""
        taps = {tap.name for tap in self.taps}
        return {name: tap for name, tap in getattr(self._graph, "aliases", {}).items() if name not in taps}

    @property
    def only_ends(self) -> bool:
        """Whether no layer of the port can be seen: it is a function, of which only the outputs can be compared."""
        return bool(getattr(self._graph, "only_ends", False))

    def taps_of(self, nodes: Sequence[Any]) -> list[str]:
        """The names of the values that these nodes make."""
        taps = self._by_key
        found = {id(tensor) for node in nodes for tensor in node.outputs} & taps.keys()
        return [self.taps[place].name for place in sorted(taps[key] for key in found)]

    @cached_property
    def _by_key(self) -> Mapping[int, int]:
        """The place of each tap, by its key."""
        return {tap.key: place for place, tap in enumerate(self.taps)}

    def symbolic(self, name: str) -> Any:
        """The symbolic tensor of a tap, or of what an input of the reference is given to."""
        return self._inputs[self.feeds[name]] if name in self.feeds else self._tap(name).tensor

    def operation(self, name: str) -> Any:
        """The Keras operation that makes a tap."""
        return self._tap(name).operation

    def maker(self, tensor: Any) -> Any:
        """The operation that makes a symbolic tensor, or None where it is an input."""
        node = self._producer.get(id(tensor))
        return None if node is None else node.operation

    def _tap(self, name: str) -> PortTap:
        return next(tap for tap in self.taps if tap.name == name)

    def segments(self, matched: Mapping[str, str]) -> tuple[Segment, ...]:
        """The port cut at the matched taps (`matched`: reference tap name -> port tap name), in the port's order."""
        by_name = {tap.name: tap for tap in self.taps}
        layer_of = {by_name[port].key: layer for layer, port in matched.items()}
        layer_of |= self._given_to()
        return tuple(segment_to(tap, layer_of, self._producer) for tap in self.taps if tap.key in layer_of)

    def _given_to(self) -> dict[int, str]:
        """The reference's names of the inputs, by the port's symbolic tensors."""
        return {id(self._inputs[ours]): theirs for theirs, ours in self.feeds.items()}

    def tails(self, segments: Sequence[Segment]) -> Mapping[str, Segment]:
        """For each output its segment: a matched tap's, or one from the matched taps to the output."""
        by_key = {segment.tap.key: segment for segment in segments}
        layer_of = {key: segment.layer for key, segment in by_key.items()} | self._given_to()
        taps = {tap.key: tap for tap in self.taps}
        tails = {}
        for name, tensor in self._outputs.items():
            key = id(tensor)
            tails[name] = by_key.get(key) or segment_to(taps[key], {**layer_of, key: TAIL.format(name)}, self._producer)
        return tails

    def plain(self, arrays: Mapping[str, Array], mode: str) -> dict[str, Array]:
        """The outputs of the model as its user runs it, by name: nothing in between, nothing watched."""

        def whole(values: dict[str, Any]) -> dict[str, Any]:
            return by_name(self._whole(values), OUTPUT)

        run = self._compile(("plain",), mode, whole)
        theirs = {ours: name for name, ours in self.feeds.items()}
        tell(Step(side=PORT, doing="running it whole, with nothing watched", mode=mode))
        with refusals("the port", mode):
            made = run({name: as_tensor(arrays[theirs[name]]) for name in self.inputs})
        return {name: as_array(value) for name, value in made.items()}

    def at_once(
        self,
        arrays: Mapping[str, Array],
        segments: Sequence[Segment],
        wanted: Sequence[Positions],
        show: Callable[[int], None] = lambda done: None,
    ) -> tuple[list[Array], dict[str, Array]] | None:
        """`propagate` and `plain` in one eager run: of the model as its user runs it, its values read as they are made.

        None where the model does not run its own graph, each of its operations once and in order.
        """
        graph = getattr(self, "_graph", None)
        if not hasattr(graph, "_run_through_graph") or self._whole != self._call:
            return None
        reader = Reader(graph, segments, wanted, show)
        with reader.reading():
            outputs = self.plain(arrays, "eager")
        return ([reader.samples[segment.layer] for segment in segments], outputs) if reader.saw_all else None

    @property
    def graph(self) -> Any:
        """The graph of its operations."""
        return self._graph

    @property
    def ends(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The symbolic tensors of its inputs, and of its outputs."""
        return self._inputs, self._outputs

    def every_value(self, arrays: Mapping[str, Array], mode: str) -> dict[str, Array]:
        """The whole value of every tap, by its name: each operation on the port's own values."""
        segments = self.segments({tap.name: tap.name for tap in self.taps})

        values = {name: as_tensor(array) for name, array in arrays.items() if name in self.feeds}
        with refusals("the port", mode):
            for segment in segments:
                values[segment.layer] = self._run(segment, values, mode)
        return {segment.layer: as_array(values[segment.layer]) for segment in segments}

    def propagate(
        self,
        arrays: Mapping[str, Array],
        segments: Sequence[Segment],
        wanted: Sequence[Positions],
        mode: str,
        show: Callable[[int], None] = lambda done: None,
    ) -> tuple[list[Array], dict[str, Array]]:
        """Each segment on the port's own values: a sample of each at the `wanted` flat positions, and the outputs.

        Each runs as a program of its own, which is also what runs it on the reference's values. A value is dropped as
        soon as no later segment reads it; `show` is told how many segments are done.
        """
        ends = self.tails(segments)
        tails = [segment for segment in ends.values() if segment not in segments]
        left = Counter(name for segment in (*segments, *tails) for name in segment.anchors)
        left.update(segment.layer for segment in ends.values())
        values = {name: as_tensor(array) for name, array in arrays.items() if name in self.feeds}
        samples = []
        with refusals("the port", mode):
            for done, segment in enumerate((*segments, *tails)):
                show(done)
                values[segment.layer] = self._run(segment, values, mode)
                if done < len(segments):
                    samples.append(sample(as_array(values[segment.layer]), wanted[done]))
                left.subtract(segment.anchors)
                for name in {*segment.anchors, segment.layer}:
                    if not left[name]:
                        del values[name]
        return samples, {name: as_array(values[segment.layer]) for name, segment in ends.items()}

    def introduce(
        self, segments: Sequence[Segment], anchors: Mapping[str, Array], mode: str
    ) -> Iterator[tuple[Segment, Array]]:
        """Each segment on the reference's values (port layout, C-contiguous): what it makes of them, one at a time.

        A segment that cannot take them gives REFUSED.
        """
        tensors = {name: as_tensor(anchors[name]) for segment in segments for name in segment.anchors}
        for segment in segments:
            yield segment, self._alone(segment, tensors, mode)

    def _alone(self, segment: Segment, tensors: Mapping[str, Any], mode: str) -> Array:
        """What a segment makes of these values; REFUSED where it does not take them. What a mode alone refuses is a
        PairError."""
        try:
            with refusals(f"{segment.tap.name} of the port, on the reference's values,", mode):
                return as_array(self._run(segment, tensors, mode))
        except PairError:
            if mode != "eager" and self._alone(segment, tensors, "eager") is not REFUSED:
                raise
            return REFUSED

    def _run(self, segment: Segment, values: Mapping[str, Any], mode: str) -> Any:
        """A segment's value, given those of its anchors; a mask that Keras hangs on a tensor goes along."""

        def run(given: Sequence[Any], masks: Sequence[Any]) -> tuple[Any, Any]:
            for value, mask in zip(given, masks, strict=True):
                _mask(value, mask)
            made = segment.run(given)
            return made, getattr(made, MASK, None)

        given = [values[name] for name in segment.anchors]
        tell(Step(side=PORT, doing=f"running {segment.tap.name!r}", mode=mode))
        compiled = self._compile((segment.tap.key, segment.anchor_keys), mode, run)
        return _mask(*compiled(given, [getattr(value, MASK, None) for value in given]))

    def _compile(self, key: tuple[Any, ...], mode: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if mode not in MODES:
            raise UsageError(f"mode {mode!r} is not known; the modes are {', '.join(MODES)}")
        if mode == "eager":
            return function
        if (key, mode) not in self._compiled:
            self._compiled[key, mode] = _COMPILE[mode](function)
        return self._compiled[key, mode]

    def _enumerate(self) -> Iterator[PortTap]:
        number, names = Numbering(), {id(tensor): name for name, tensor in self._inputs.items()}
        for node in nodes_of(self._graph):
            for tensor in node.outputs:
                self._producer[id(tensor)] = node
            if not node.is_input:
                taps = list(taps_of(node, number(self._named.get(id(node), node.operation.name)), names))
                names |= {tap.key: tap.name for tap in taps}
                yield from taps


def _mask(value: Any, mask: Any) -> Any:
    """The value, with the mask hung on it where there is one."""
    if mask is not None:
        setattr(value, MASK, mask)
    return value


def by_name(structure: Any, name: str) -> dict[str, Any]:
    """The tensors of what a model takes or returns by their names; the only one has the name alone."""
    found = {
        way: leaf for way, leaf in leaves(structure, name) if isinstance(leaf, keras.KerasTensor) or tf.is_tensor(leaf)
    }
    return dict(zip([name], found.values(), strict=True)) if len(found) == 1 else found
