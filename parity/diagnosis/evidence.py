"""What is known of one failing layer, and how a hypothesis about it is put to the test."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from parity.axes import Array, in_order
from parity.comparison import Comparison, compare
from parity.diagnosis.fingerprints import SAME, equal
from parity.diagnosis.scene import Scene
from parity.diagnosis.words import names_of_weights, settings_of
from parity.frameworks import torch
from parity.runners.calls import Call
from parity.runners.edits import NOTHING, Change, Edit, Node, copy_of, named, of_first_tensor
from parity.runners.segments import Segment
from parity.runners.tensors import as_tensor
from parity.tolerance import Limits


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One layer in one run: what went in, what should have come out, what came out. Arrays are in the port's layout.

    `base` is an edit that every replay includes: what is known to be wrong already; `restored` are the layer's weights
    under it. `own` is what its weights should be where that is not what the converter gives: in the port's own order.
    A segment has its *layer*, the last operation with weights (or, where none has any, the last), the *route* to it and
    what comes after.
    """

    segment: Segment
    mode: str
    scene: Scene
    anchors: Sequence[Array]
    expected: Array
    actual: Array
    limits: Limits
    base: Edit = NOTHING
    restored: tuple[Array, ...] | None = None
    own: tuple[Array, ...] | None = None

    @cached_property
    def before(self) -> Comparison | None:
        """The error as found; None where the shapes differ."""
        return compare(self.actual, self.expected, self.limits) if self.shapes_agree else None

    @property
    def shapes_agree(self) -> bool:
        """Whether the port's value has the shape of the reference's."""
        return self.actual.shape == self.expected.shape

    # -- the port's side ------------------------------------------------------------------------------------------

    @cached_property
    def node(self) -> Node:
        """The firing of the segment's layer."""
        weighted = [node for node in self.segment.nodes if getattr(node.operation, "weights", ())]
        return weighted[-1] if weighted else self.segment.node

    @property
    def operation(self) -> Any:
        """The segment's layer."""
        return self.node.operation

    @cached_property
    def route(self) -> tuple[Node, ...]:
        """The nodes before the layer."""
        return self.segment.nodes[: self.segment.nodes.index(self.node)]

    @cached_property
    def after(self) -> tuple[Node, ...]:
        """The nodes after the layer."""
        return self.segment.nodes[self.segment.nodes.index(self.node) + 1 :]

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The layer's configuration; empty for an operation without one."""
        return settings_of(self.operation)

    @cached_property
    def port_weights(self) -> tuple[Array, ...]:
        """The layer's weights, in Keras order."""
        if self.restored is not None:
            return self.restored
        return tuple(np.asarray(weight) for weight in getattr(self.operation, "weights", ()))

    @cached_property
    def weight_names(self) -> tuple[str, ...]:
        """What Keras calls them: kernel, bias, gamma, moving_mean, ...; `tf_keras` puts the layer before it."""
        return names_of_weights(self.operation)

    @cached_property
    def walked(self) -> Mapping[int, Any]:
        """Every value on the way through the segment, run on the reference's, by the id of its symbolic tensor."""
        known = self.segment.walk([as_tensor(array) for array in self.anchors], self.base)
        self.scene.restore()
        return known

    @cached_property
    def arrivals(self) -> tuple[Array, ...]:
        """What the layer reads then."""
        return tuple(self.passing(tensor) for tensor in self.node.input_tensors)

    def passing(self, tensor: Any) -> Array:
        """The value of one of the segment's symbolic tensors then; a low precision is widened to float32."""
        value = np.asarray(self.walked[id(tensor)])
        return (
            value if value.dtype in (np.float32, np.float64) or value.dtype.kind in "iub" else value.astype(np.float32)
        )

    @property
    def ends_early(self) -> bool:
        """Whether this is the port's output held against the reference's, which has a step more."""
        return self.segment.layer not in self.scene.matched

    def finished(self, change: Change) -> Edit:
        """The port's output through a change, under the name that the layer map has for the reference's last step."""
        wanted = self.scene.name_in_port(self.segment.layer)
        return Edit(finishing=named(change, wanted) if wanted else change)

    @property
    def layout(self) -> str:
        """The axes of this layer's value: "NHWC"."""
        return self.scene.layout(self.segment.layer, self.expected.ndim)

    @property
    def channel_axis(self) -> int:
        """Where channels are in this layer's value."""
        return self.layout.find("C") if "C" in self.layout else self.expected.ndim - 1

    @cached_property
    def at_input(self) -> bool:
        """Whether all it reads lies before the first layer with weights: then what reaches it prepares the input."""
        return all(self.scene.prepares(name) for name in self.segment.anchors)

    @property
    def prepares(self) -> bool:
        """Whether the layer itself is a part of preparing the input."""
        return self.at_input and not self.port_weights and not self.scene.weighted(self.segment.layer)

    # -- the reference's side -------------------------------------------------------------------------------------

    @property
    def call(self) -> Call | None:
        """What makes this layer's value in the reference."""
        return self.scene.calls.get(self.segment.layer)

    @property
    def kind(self) -> str:
        """What the reference calls it, in parity's one vocabulary: "conv2d", "softmax"."""
        return self.scene.kind(self.segment.layer)

    @property
    def module(self) -> Any:
        """The torch layer; None for a functional operation."""
        function = self.call.function if self.call else None
        return function if isinstance(function, torch.nn.Module) else None

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The reference's settings by torch's names: a module's attributes, or a function's arguments."""
        return self.scene.settings(self.segment.layer)

    @cached_property
    def source_weights(self) -> tuple[Array, ...]:
        """What the layer's weights should be, by the converters of the torch layers; empty where there are none."""
        if self.own is not None:
            return self.own
        return self.scene.sources(self.segment.layer, self.operation) if self.port_weights else ()

    @cached_property
    def slacks(self) -> tuple[float, ...]:
        """How far each of the layer's weights may be from the reference's because of how the port stores it."""
        return self.scene.slacks(self.segment.layer, self.operation, self.source_weights)

    def alike(self, index: int) -> Callable[[Array, Array], bool]:
        """What says whether two weights are the same to rounding, in the slot of one of the layer's."""
        return lambda weight, source: equal(weight, source, max(SAME, self.slacks[index]))

    @cached_property
    def reads(self) -> tuple[Array, ...]:
        """What the reference's call reads."""
        return self.scene.values(self.call.reads if self.call else ())

    # -- trying things out ----------------------------------------------------------------------------------------

    def replay(self, edit: Edit = NOTHING, beside: Mapping[int, Array] | None = None) -> Array:
        """The segment run again, eagerly and on the reference's values, under an edit."""
        tensors = [as_tensor(array) for array in self.anchors]
        others = {key: as_tensor(array) for key, array in (beside or {}).items()}
        value = np.asarray(self.segment.run(tensors, self.base | edit, others))
        self.scene.restore()
        return value

    def over(self, base: Edit, restored: tuple[Array, ...]) -> "Evidence":
        """The same evidence once `base` is done, which restores the layer's weights: what is still wrong then."""
        with_base = replace(self, base=self.base | base, restored=restored)
        return replace(with_base, actual=in_order(with_base.replay()))

    def copy(self, *, weights: Sequence[Array] | None = None, **changes: Any) -> Change:
        """A copy of the layer with another configuration or other weights; the layer itself is not touched."""
        return filled(plain_copy(self.operation, **changes), self.port_weights if weights is None else weights)

    @property
    def anchor(self) -> Any:
        """The symbolic tensor of the segment's first anchor."""
        return self.anchor_tensor(0)

    def anchor_tensor(self, index: int) -> Any:
        """The symbolic tensor of one of the segment's anchors."""
        tensors = (tensor for node in self.segment.nodes for tensor in node.input_tensors)
        return next(tensor for tensor in tensors if id(tensor) == self.segment.anchor_keys[index])

    def instead(self, change: Change) -> Edit:
        """The whole segment replaced by a change of its first anchor."""
        last = self.segment.node
        return Edit(replaced={last.operation: of_first_tensor(last, change)}, rerouted={(last, 0): self.anchor})

    def along_channels(self, vector: Array) -> Array:
        """`vector` (one value per channel) shaped to be added to this layer's value."""
        return along(vector, self.channel_axis, self.expected.ndim)


def plain_copy(operation: Any, **changes: Any) -> Any:
    """A copy of a layer as Keras has it: where the port has a class of its own, of the Keras class it is made from."""
    engines = ("keras.", "tf_keras.")
    kind: Any = next((base for base in type(operation).__mro__ if base.__module__.startswith(engines)), None)
    if kind is None or kind is type(operation) or kind.__name__ == "Layer" or hasattr(operation, "bias_axis"):
        return copy_of(operation, **changes)
    known = inspect.signature(kind).parameters
    config = {key: value for key, value in {**operation.get_config(), **changes}.items() if key in known}
    copy = kind.from_config({**config, "name": operation.name})
    return copy


def filled(layer: Any, weights: Sequence[Array]) -> Change:
    """A new layer as a callable that gives it its weights when it is first called; training is always off."""

    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("training", None)
        if weights and not layer.built:
            layer(*args, **kwargs)
            layer.set_weights([np.asarray(value) for value in weights])
        return layer(*args, **kwargs)

    return call


def along(vector: Array, axis: int, rank: int) -> Array:
    """A vector shaped to lie along one axis of a tensor of `rank` axes."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


INFERRED, REORDERED, PRESENT, SEEN = range(4)


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A cause that may explain the error, and how to see whether it does: exactly one of three ways.

    `edit` undoes it in the port: the segment is run again under it (`beside`: values it reroutes to, by the id of their
    symbolic tensor), and it can repair the port. `undone` gives the layer's value without the fault. `predicted` gives
    the value that the port must have if this is the fault. `standing` says how open the difference lies: SEEN in the
    weights or the configuration, PRESENT as an operation that the port has and can do without, REORDERED where only the
    order of what it reads changes, or INFERRED from values.
    `change` says what to change, in the port's words.
    `mend` is an edit that repairs what is tried out in another way, `also` names causes that are undone with this one.
    """

    slug: str
    detail: str
    also: tuple[str, ...] = ()
    change: str = ""
    edit: Edit | None = None
    beside: Mapping[int, Array] = field(default_factory=dict)
    undone: Callable[[], Array] | None = None
    predicted: Callable[[], Array] | None = None
    mend: Edit | None = None
    standing: int = INFERRED

    @property
    def repair(self) -> Edit | None:
        """The edit that repairs the port, if there is one."""
        return self.edit or self.mend


Family = Callable[[Evidence], Iterable[Hypothesis]]
"""A cause: looks at the evidence and gives the hypotheses that it speaks for, or none."""
