"""A functional Keras model with something done differently, tried in place or made into a copy.

One description serves three users: a diagnosis runs a segment under an edit to see whether the error goes, a repair
makes a copy of the port with the edits that were proven, and a planted fault is a copy with an edit that is wrong. The
model that is edited is never touched.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parity.errors import PairError
from parity.frameworks import keras

Operation = Any
"""A `keras.Operation`: a layer, or the object behind a call of `keras.ops`."""
Node = Any
"""One firing of an operation in a functional model; an operation that is shared has several."""
Change = Callable[..., Any]
"""Takes and returns tensors, symbolic ones too: a layer, or a function of `keras.ops` and layers made beforehand."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is done differently.

    `replaced` has a callable for an operation, called in its place with the same arguments wherever it fires.
    `rerouted` has for (node, n) the symbolic tensor of the model that the node's n-th tensor argument is read from
    instead. `inserted` has for (node, n) a callable through which that argument passes first, `appended` for a node one
    through which its value passes; `finishing` is one through which the model's output passes in the end.
    """

    replaced: Mapping[Operation, Change] = field(default_factory=dict)
    rerouted: Mapping[tuple[Node, int], Any] = field(default_factory=dict)
    inserted: Mapping[tuple[Node, int], Change] = field(default_factory=dict)
    appended: Mapping[Node, Change] = field(default_factory=dict)
    finishing: Change | None = None

    def __or__(self, other: "Edit") -> "Edit":
        """Both edits; where they speak of the same place, `other` counts."""
        return Edit(
            replaced={**self.replaced, **other.replaced},
            rerouted={**self.rerouted, **other.rerouted},
            inserted={**self.inserted, **other.inserted},
            appended={**self.appended, **other.appended},
            finishing=other.finishing or self.finishing,
        )

    def reads(self, node: Node) -> list[Any]:
        """The symbolic tensors that the node reads under this edit."""
        return [self.rerouted.get((node, n), tensor) for n, tensor in enumerate(node.input_tensors)]

    def touches(self, node: Node) -> bool:
        """Whether the node itself, or what it reads, is changed."""
        places = {place for place, _ in (*self.rerouted, *self.inserted)}
        return node in places or node in self.appended or node.operation in self.replaced


NOTHING = Edit()


def evaluate(node: Node, known: MutableMapping[int, Any], edit: Edit = NOTHING, operation: Change | None = None) -> Any:
    """Run one node on the `known` values (by the id of their symbolic tensor) under an edit, adding its own.

    `operation` stands for the node's own operation where the edit does not replace that.
    """
    args, kwargs = _arguments(node, known, edit)
    change = edit.replaced.get(node.operation, operation or node.operation)
    outputs = change(*args, **kwargs)
    if node in edit.appended:
        outputs = edit.appended[node](outputs)
    for symbolic, value in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
        known[id(symbolic)] = value
    return outputs


def _arguments(node: Node, known: Mapping[int, Any], edit: Edit) -> tuple[Any, Any]:
    """The node's arguments: what it reads, rerouted and passed through what is inserted."""
    places = [(node, n) for n in range(len(node.input_tensors))]
    if not any(place in edit.rerouted or place in edit.inserted for place in places):
        return node.arguments.fill_in(known)  # type: ignore[no-any-return]
    values = [known[id(tensor)] for tensor in edit.reads(node)]
    return _filled(
        node, [edit.inserted[p](v) if p in edit.inserted else v for p, v in zip(places, values, strict=True)]
    )


def _filled(node: Node, values: Sequence[Any]) -> tuple[Any, Any]:
    """The node's arguments with its tensors replaced, in their order: one tensor may be read twice, and differ."""
    left = list(values)

    def fill(leaf: Any) -> Any:
        return left.pop(0) if isinstance(leaf, keras.KerasTensor) else leaf

    args, kwargs = keras.tree.map_structure(fill, (tuple(node.arguments.args), dict(node.arguments.kwargs)))
    return args, kwargs


def edited_copy(model: Any, edit: Edit = NOTHING, *, dtype: str | None = None) -> Any:
    """A `keras.Model` that shares nothing with the functional or sequential `model` and differs by the edit.

    Whatever makes a node's value in the copy has the node's name, so that a layer map fits both. `dtype` gives the
    copy another precision, such as "float64". Raises PairError for a layer with weights that Keras cannot copy.
    """
    graph = getattr(model, "_functional", None) or model
    copies = _Copies(dtype)
    known = {id(tensor): copies.input(tensor) for tensor in graph.inputs}
    for node in _needed(graph, edit):
        operation = None if node.operation in edit.replaced else copies.of(node.operation)
        outputs = evaluate(node, known, edit, operation)
        copies.fill(node.operation)
        if node.operation in edit.replaced or node in edit.appended:
            _take_name(outputs, node.operation, operation)
    if edit.finishing is not None:
        for tensor in graph.outputs:
            known[id(tensor)] = edit.finishing(known[id(tensor)])
    _distinct([known[id(tensor)] for tensor in graph.outputs], {node.operation.name for node in nodes_of(graph)})
    ends = [
        keras.tree.map_structure(lambda tensor: known[id(tensor)], structure)
        for structure in (graph._inputs_struct, graph._outputs_struct)
    ]
    return keras.Model(*ends, name=model.name)


def nodes_of(graph: Any) -> list[Node]:
    """The nodes of a functional model in the order in which they run."""
    depths = sorted(graph._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in graph._nodes_by_depth[depth]]


def _needed(graph: Any, edit: Edit) -> list[Node]:
    """The nodes that the outputs need under the edit, each after those it reads."""
    producer = {id(tensor): node for node in nodes_of(graph) for tensor in node.outputs if not node.is_input}
    order: dict[int, Node] = {}
    waiting = [(producer[id(tensor)], False) for tensor in graph.outputs if id(tensor) in producer]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            order.setdefault(id(node), node)
        elif id(node) not in order:
            waiting.append((node, True))
            waiting += [(producer[id(t)], False) for t in edit.reads(node) if id(t) in producer]
    return list(order.values())


class _Copies:
    """A copy of each operation, made when it is first needed and filled with the weights once it is built."""

    def __init__(self, dtype: str | None) -> None:
        self._dtype = dtype
        self._made: dict[int, Any] = {}
        self._filled: set[int] = set()

    def input(self, symbolic: Any) -> Any:
        """The copy's input for one of the original's: integers stay integers."""
        dtype = self._dtype if self._dtype and "float" in str(symbolic.dtype) else symbolic.dtype
        return keras.Input(batch_shape=symbolic.shape, dtype=dtype, name=symbolic.name)

    def of(self, operation: Operation) -> Operation:
        """The copy of an operation; the operation itself where it has no weights and Keras cannot copy it."""
        if id(operation) not in self._made:
            self._made[id(operation)] = copy_of(operation, dtype=self._dtype)
        return self._made[id(operation)]

    def fill(self, operation: Operation) -> None:
        """Give the copy, now built, the weights of the original; once."""
        copy: Any = self._made.get(id(operation), operation)
        if copy is not operation and id(operation) not in self._filled and getattr(operation, "weights", False):
            copy.set_weights(operation.get_weights())
        self._filled.add(id(operation))


def copy_of(operation: Operation, *, dtype: str | None = None, **changes: Any) -> Operation:
    """A new operation of the same configuration but for `changes`, without its weights, under the same name."""
    if isinstance(operation, keras.Model):
        copy = keras.models.clone_model(operation)
    elif isinstance(operation, keras.layers.Lambda):
        copy = keras.layers.Lambda(operation.function, arguments=operation.arguments, name=operation.name)
    else:
        try:
            config = {**operation.get_config(), **changes}
            if dtype and isinstance(operation, keras.layers.Layer):
                config["dtype"] = dtype
            copy = type(operation).from_config(config)
        except (NotImplementedError, TypeError, ValueError) as error:
            if getattr(operation, "weights", False) or changes:
                raise PairError(f"Keras cannot copy the layer {operation.name!r}: {error}") from error
            return operation
    if copy.name != operation.name:
        copy.name = operation.name
    for name in ("built_into", "bias_axis"):
        if hasattr(operation, name):
            setattr(copy, name, getattr(operation, name))
    return copy


def of_first_tensor(node: Node, change: Change) -> Change:
    """What stands in the node's place and changes the first tensor that it reads, wherever among its arguments."""
    leaves = keras.tree.flatten((tuple(node.arguments.args), dict(node.arguments.kwargs)))
    place = next(index for index, leaf in enumerate(leaves) if isinstance(leaf, keras.KerasTensor))

    def call(*args: Any, **kwargs: Any) -> Any:
        return change(keras.tree.flatten((args, kwargs))[place])

    return call


def passed_on(x: Any) -> Any:
    """The value as it is; in a model, as the value of an operation of its own, which can bear a name."""
    return x + 0 if isinstance(x, keras.KerasTensor) else x


def named(change: Change, name: str) -> Change:
    """The change, and in a model what makes its value bears this name, so that a layer map finds it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = change(*args, **kwargs)
        if isinstance(outputs, keras.KerasTensor):
            outputs._keras_history.operation.name = name
        return outputs

    return call


def _take_name(outputs: Any, original: Operation, inner: Operation | None) -> None:
    """Give what makes the node's value in the copy the name of the original, and the layer inside it another."""
    maker = keras.tree.flatten(outputs)[0]._keras_history.operation
    if maker is original or maker is inner:
        return
    if inner is not None and inner is not original:
        inner.name = f"{original.name}_inner"
    maker.name = original.name


def _distinct(outputs: Sequence[Any], taken: set[str]) -> None:
    """Rename operations that an edit brought in under a name that another one has: Keras allows each name once."""
    seen: dict[str, Operation] = {}
    operations = _operations(outputs)
    for operation in operations:
        kept = seen.setdefault(operation.name, operation)
        if kept is not operation:
            number = 2
            while f"{operation.name}_{number}" in taken | set(seen):
                number += 1
            operation.name = f"{operation.name}_{number}"
            seen[operation.name] = operation


def _operations(outputs: Sequence[Any]) -> list[Operation]:
    """Every operation that leads to these symbolic tensors, those of the original's order first."""
    found: dict[int, Operation] = {}
    waiting = [tensor._keras_history for tensor in outputs]
    visited: set[int] = set()
    while waiting:
        history = waiting.pop()
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in visited:
            continue
        visited.add(id(node))
        found.setdefault(id(history.operation), history.operation)
        waiting += [tensor._keras_history for tensor in node.input_tensors]
    return list(found.values())
