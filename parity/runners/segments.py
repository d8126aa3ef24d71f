"""The parts of a port between the values that its reference also has, and how one is run.

A *segment* leads from such values to one more. Run on the port's own values, segment after segment, they give the
propagated error; run on the reference's values, the introduced one. Both use the same operations, and the model is
never rebuilt.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import tf
from parity.runners.edits import NOTHING, Edit, evaluate
from parity.runners.taps import MOVES_ONLY, Tap, kind_of
from parity.watch import PORT, Step, tell

TAIL = "the port's {}"
"""The name of a segment that ends in an output of the port to which no tap of the reference answers."""

REFUSED: Array = np.empty(0, np.float32)
"""What stands for the value of a segment that does not take the reference's values."""

tell_untraced = tf.autograph.experimental.do_not_convert(tell)
"""`tell`, which TensorFlow is to call and not to translate."""


@dataclass(frozen=True, kw_only=True)
class PortTap(Tap):
    """A tap of the port: the Keras operation that makes it, and its symbolic tensor."""

    operation: Any
    tensor: Any

    @property
    def key(self) -> int:
        """What finds its value in a run."""
        return id(self.tensor)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """The operations from `anchors` (names of the reference's taps and inputs) to the value answering to `layer`."""

    layer: str
    tap: PortTap
    anchors: tuple[str, ...]
    anchor_keys: tuple[int, ...]
    nodes: tuple[Any, ...]

    @property
    def moves_only(self) -> bool:
        """Whether none of its operations computes anything."""
        return all(_kind(node.operation) in MOVES_ONLY for node in self.nodes)

    @property
    def is_alone(self) -> bool:
        """Whether it can be run by itself, on the reference's values."""
        return not any(getattr(node.operation, "is_lost", False) for node in self.nodes)

    @cached_property
    def _float64(self) -> frozenset[int]:
        """Which of the values that it reads the port has in float64."""
        tensors = [tensor for node in self.nodes for tensor in node.input_tensors]
        return frozenset(id(each) for each in tensors if getattr(each.dtype, "name", each.dtype) == "float64")

    @property
    def reads_weights(self) -> bool:
        """Whether something in it that is no layer computes with weights."""
        return any(getattr(node.operation, "reads_weights", False) for node in self.nodes)

    @property
    def node(self) -> Any:
        """The firing that makes the segment's value; the nodes before it are the way to it."""
        return self.nodes[-1]

    def run(self, values: Sequence[Any], edit: Edit = NOTHING, beside: Mapping[int, Any] | None = None) -> Any:
        """The segment's value, given its anchors' values (port layout, in the order of `anchors`).

        `edit` lets a replay do something differently; `beside` has the values it may reroute to that the segment does
        not read itself, by the id of their symbolic tensor.
        """
        value = self.walk(values, edit, beside)[self.tap.key]
        return value if edit.finishing is None else edit.finishing(value)

    def walk(
        self, values: Sequence[Any], edit: Edit = NOTHING, beside: Mapping[int, Any] | None = None
    ) -> dict[int, Any]:
        """Every value on the way through the segment, by the id of its symbolic tensor."""
        given = zip(self.anchor_keys, values, strict=True)
        widened = {key: _widened(value) if key in self._float64 else value for key, value in given}
        known = {**(beside or {}), **widened}
        verb = "running" if tf.executing_eagerly() else "tracing"
        changed = "" if edit is NOTHING else ", with a change, to find a cause"
        for node in self.nodes:
            name = self.tap.name if node is self.node else node.operation.name
            tell_untraced(Step(side=PORT, doing=f"{verb} {name!r}{changed}"))
            evaluate(node, known, edit)
        return known


def segment_to(tap: PortTap, layer_of: Mapping[int, str], producer: Mapping[int, Any]) -> Segment:
    """The segment that ends in a tap. `layer_of` has the reference's names of the values at which the port is cut, by
    the keys of theirs; `producer` the node that makes each value."""
    nodes: list[Any] = []
    anchors: dict[int, str] = {}

    def visit(key: int) -> None:
        if key in layer_of and key != tap.key:
            anchors.setdefault(key, layer_of[key])
            return
        node = producer[key]
        if node in nodes:
            return
        for tensor in node.input_tensors:
            visit(id(tensor))
        nodes.append(node)

    visit(tap.key)
    return Segment(
        layer=layer_of[tap.key],
        tap=tap,
        anchors=tuple(anchors.values()),
        anchor_keys=tuple(anchors),
        nodes=tuple(nodes),
    )


def _widened(value: Any) -> Any:
    """A value of the reference, which is float32, where the port computes in float64."""
    return tf.cast(value, tf.float64) if value.dtype == tf.float32 else value


def _kind(operation: Any) -> str:
    """The kind of an operation; of a layer that only applies an activation, that one's; a ReLU up to 6 is a relu6."""
    name = type(operation).__name__
    activation = getattr(operation, "activation", None) if name == "Activation" else None
    if name == "ReLU" and not getattr(operation, "threshold", 0):
        slope, most = getattr(operation, "negative_slope", 0), getattr(operation, "max_value", None)
        return "relu6" if most == 6 and not slope else "leakyrelu" if slope and most is None else "relu"
    return kind_of(getattr(getattr(activation, "func", activation), "__name__", name))


def taps_of(node: Any, name: str, names: Mapping[int, str]) -> Iterator[PortTap]:
    """The taps of what a node makes; `names` has those that are known already."""
    operation = node.operation
    weighted = bool(getattr(operation, "weights", ()))
    for index, tensor in enumerate(node.outputs):
        yield PortTap(
            name=name if len(node.outputs) == 1 else f"{name}[{index}]",
            kind=_kind(operation),
            shape=tuple(tensor.shape),
            weighted=weighted,
            reads=tuple(names[id(read)] for read in node.input_tensors if id(read) in names),
            weights=lambda: [np.asarray(weight) for weight in getattr(operation, "weights", ())],
            operation=operation,
            tensor=tensor,
        )
