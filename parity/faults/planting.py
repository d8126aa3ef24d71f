"""What a planted fault is, where it may be planted, and how: a faulty copy of a port, the port itself never touched.

An operator looks at a *site*, one firing of an operation inside one segment of the port, and plants its fault there
with parameters drawn from a generator; or it gives None, where the fault makes no sense. Which layers are then at fault
is not the operator's to say: it follows from what the edit touches (`layers_touched`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from parity.axes import Array, Axes
from parity.errors import UsageError
from parity.frameworks import keras
from parity.runners.edits import NOTHING, Change, Edit, Node, copy_of, edited_copy
from parity.runners.keras_model import KerasModel
from parity.runners.segments import Segment
from parity.runners.taps import kind_of

Generator = np.random.Generator

CONVOLUTIONS = frozenset({"conv1d", "conv2d", "depthwiseconv2d"})
TRANSPOSED = frozenset({"convtranspose1d", "convtranspose2d"})
LINEAR = CONVOLUTIONS | TRANSPOSED | {"linear"}
NORMS = frozenset({"batchnorm", "layernorm", "groupnormalization", "groupnorm"})
ACTIVATIONS = frozenset({
    "leakyrelu", "relu", "prelu", "elu", "selu", "gelu", "silu", "activation", "clip", "tanh", "sigmoid", "relu6",
    "hardswish", "hardsilu", "hardsigmoid", "softplus",
})  # fmt: skip
SOFTMAXES = frozenset({"softmax", "logsoftmax"})
RECURRENT = frozenset({"lstm", "gru"})
PADS = frozenset({"pad"})


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One fault, ready to be planted: its cause's slug, the reference taps at fault, and what is wrong, in words.

    `edit` and `weights` (new arrays by the name of the port's layer) make the faulty copy. The first of `layers` is the
    one the operator was aimed at.
    """

    slug: str
    layers: tuple[str, ...]
    detail: str
    edit: Edit = NOTHING
    weights: Mapping[str, Sequence[Array]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A faithful port, cut into segments, as operators see it: `modules` are the reference's, by path."""

    port: KerasModel
    segments: tuple[Segment, ...]
    modules: Mapping[str, Any]
    axes: Axes

    def sites(self) -> Iterator["Site"]:
        """Every firing of an operation, in the first segment that holds it, in the port's order."""
        seen: set[int] = set()
        for segment in self.segments:
            for node in segment.nodes:
                if id(node) not in seen:
                    seen.add(id(node))
                    yield Site(ground=self, segment=segment, node=node)

    @property
    def nodes(self) -> list[Node]:
        """Every firing that lies in a segment, in the port's order."""
        return [site.node for site in self.sites()]

    def maker(self, tensor: Any) -> Node | None:
        """The firing that makes a symbolic tensor of the port; None for the port's input."""
        return next((node for node in self.nodes if any(out is tensor for out in node.outputs)), None)

    def readers(self, tensor: Any) -> list[tuple[Node, int]]:
        """Each (firing, n) whose n-th tensor argument is this symbolic tensor."""
        pairs = ((node, n, read) for node in self.nodes for n, read in enumerate(node.input_tensors))
        return [(node, n) for node, n, read in pairs if read is tensor]

    def tensor(self, key: int) -> Any:
        """The symbolic tensor of that id."""
        nodes = self.nodes
        return next(t for node in nodes for t in (*node.input_tensors, *node.outputs) if id(t) == key)

    @property
    def input(self) -> Any:
        """The symbolic input of the port."""
        return self.port.model.inputs[0]

    def prepares(self, segment: Segment) -> bool:
        """Whether no layer with weights lies in the segment or before it: it prepares the input."""
        of = {each.layer: each for each in self.segments}
        return not any(getattr(node.operation, "weights", ()) for node in segment.nodes) and all(
            name not in of or self.prepares(of[name]) for name in segment.anchors
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One firing of an operation of the port, in the segment of the reference tap it belongs to."""

    ground: Ground
    segment: Segment
    node: Node

    @property
    def layer(self) -> str:
        """The reference tap whose segment this is."""
        return self.segment.layer

    @property
    def operation(self) -> Any:
        """The Keras operation."""
        return self.node.operation

    @property
    def name(self) -> str:
        """The port's name of the operation."""
        return str(self.operation.name)

    @property
    def kind(self) -> str:
        """The operation's kind, in parity's one vocabulary."""
        return kind_of(type(self.operation).__name__)

    @property
    def module(self) -> Any:
        """The torch layer of the segment's tap; None for a functional operation."""
        return self.ground.modules.get(self.layer.partition("#")[0].partition("[")[0])

    @property
    def at_input(self) -> bool:
        """Whether the segment is part of preparing the input."""
        return self.ground.prepares(self.segment)

    @property
    def makes_value(self) -> bool:
        """Whether this firing makes the value of its tap, rather than lying on the way to it."""
        return self.node is self.segment.node

    @property
    def weights(self) -> dict[str, Array]:
        """The operation's weights by Keras's names, in Keras's order."""
        return {str(weight.name): np.asarray(weight) for weight in getattr(self.operation, "weights", ())}

    @property
    def kernel(self) -> str | None:
        """The name of the main weight: the kernel, or an embedding's table."""
        return next((name for name in ("kernel", "embeddings") if name in self.weights), None)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape of the value, the batch None."""
        return tuple(self.node.outputs[0].shape)

    @property
    def source(self) -> Any:
        """The symbolic tensor that is the first argument."""
        return self.node.input_tensors[0]

    @property
    def before(self) -> Node | None:
        """The firing that makes the first argument, if it lies in this segment."""
        maker = self.ground.maker(self.source)
        return maker if maker in self.segment.nodes else None

    def replaced(self, slug: str, detail: str, change: Change) -> Planted:
        """A fault that puts `change` in the operation's place."""
        return self.edited(slug, detail, Edit(replaced={self.operation: change}))

    def appended(self, slug: str, detail: str, change: Change) -> Planted:
        """A fault that passes the value through `change`."""
        return self.edited(slug, detail, Edit(appended={self.node: change}))

    def edited(self, slug: str, detail: str, edit: Edit, also: Sequence[str] = ()) -> Planted:
        """A fault that is an edit; `also` names taps at fault that the edited port no longer has."""
        layers = dict.fromkeys((*also, *layers_touched(self.ground.segments, edit)))
        return Planted(slug=slug, layers=tuple(layers), detail=detail, edit=edit)

    def reweighted(self, slug: str, detail: str, changes: Mapping[str, Array]) -> Planted:
        """A fault in the operation's weights: `changes` by Keras's names, the others kept."""
        weights = {**self.weights, **changes}
        fitting = {name: np.asarray(value, self.weights[name].dtype) for name, value in weights.items()}
        touched = layers_touched(self.ground.segments, Edit(replaced={self.operation: self.operation}))
        return Planted(slug=slug, layers=touched, detail=detail, weights={self.name: list(fitting.values())})

    def remade(self, weights: Sequence[Array] | None = None, *, dtype: str | None = None, **changes: Any) -> Change:
        """The operation made anew with another configuration, or other weights, or a precision of its own."""
        values = list(self.weights.values()) if weights is None else weights
        return remade(self.operation, values, dtype=dtype, **changes)


def layers_touched(segments: Sequence[Segment], edit: Edit) -> tuple[str, ...]:
    """The reference taps whose segments hold something that the edit changes, or read it from elsewhere."""
    return tuple(segment.layer for segment in segments if any(edit.touches(node) for node in segment.nodes))


def remade(operation: Any, weights: Sequence[Array], *, dtype: str | None = None, **changes: Any) -> Change:
    """A layer like `operation` as a callable that makes it when called, in the precision of what it is given."""

    def call(*args: Any, **kwargs: Any) -> Any:
        given = keras.tree.flatten(args)[0]
        layer = copy_of(operation, dtype=dtype or _floating(given), **changes)
        if weights:
            layer.build(given.shape)
            layer.set_weights([np.asarray(value) for value in weights])
        return layer(*args, **kwargs)

    return call


def _floating(tensor: Any) -> str | None:
    dtype = str(keras.backend.standardize_dtype(tensor.dtype))
    return dtype if "float" in dtype else None


Operate = Callable[[Site, Generator], Planted | None]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A way to plant one cause: `slug` is what the diagnosis should call it."""

    name: str
    slug: str
    operate: Operate

    def __call__(self, site: Site, generator: Generator) -> Planted | None:
        """The fault at that site, its parameters drawn; None where it does not apply."""
        planted = self.operate(site, generator)
        if planted is None or not planted.layers:
            return None
        return replace(planted, layers=tuple(sorted(planted.layers, key=lambda layer: layer != site.layer)))


_OPERATORS: dict[str, Operator] = {}


def operator(slug: str) -> Callable[[Operate], Operate]:
    """Decorator: the function plants the cause `slug`; the operator is named after it. Raises UsageError if taken."""

    def decorate(operate: Operate) -> Operate:
        name = operate.__name__.strip("_").replace("_", "-")
        if name in _OPERATORS:
            raise UsageError(f"an operator is called {name!r} already")
        _OPERATORS[name] = Operator(name=name, slug=slug, operate=operate)
        return operate

    return decorate


def operators() -> Mapping[str, Operator]:
    """Every registered operator by name."""
    return dict(_OPERATORS)


def plant(model: Any, faults: Sequence[Planted], *, dtype: str | None = None) -> Any:
    """A copy of the functional `model` that has these faults; `dtype` gives it another precision.

    Raises what Keras raises (ValueError, TypeError) where the faulty model cannot be built.
    """
    copy = edited_copy(model, reduce(or_, (fault.edit for fault in faults), NOTHING), dtype=dtype)
    for fault in faults:
        for name, weights in fault.weights.items():
            copy.get_layer(name).set_weights(list(weights))
    return copy
