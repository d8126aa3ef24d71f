"""Takes the activation out of layers that have one built in, such as `Conv2D(..., activation="relu")`.

The original has a layer and an activation; a port has often both in one layer. So that each can be held against its
own, such a layer counts as two firings: the layer without its activation, and the activation. The layer itself is not
changed, and no weight is copied.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from parity.frameworks import keras
from parity.runners.graphs import KERAS, Arguments, Firing, Graph, is_composite, is_layer, snake, written_by_user
from parity.runners.separable import in_parts, is_separable
from parity.runners.timewise import in_one_axis, is_timewise

LINEAR = "linear"
"""What Keras calls no activation."""


def activation_of(layer: Any) -> Any:
    """The activation that a layer with weights has built in: a function or a layer; None where it has none.

    Only layers of Keras and those that extend one are looked at: what another does with its activation is not known.
    Recurrent layers apply theirs at every step and have none in this sense.
    """
    activation = vars(layer).get("activation") if is_layer(layer) else None
    if not callable(activation) or name_of(activation) == LINEAR or is_composite(layer):
        return None
    kind = next((base for base in type(layer).__mro__ if str(base.__module__).partition(".")[0] in KERAS), object)
    takes = "activation" in inspect.signature(kind).parameters and not hasattr(layer, "recurrent_kernel")
    return activation if takes and layer.weights else None


def name_of(activation: Any) -> str:
    """What an activation is called: `relu`; that of a partial function is its function's, that of a layer its class's.

    Empty for a function without a name.
    """
    function = getattr(activation, "func", activation)
    name = type(function).__name__ if is_layer(function) else getattr(function, "__name__", "")
    return name if name.isidentifier() else ""


def forms(graph: Graph | None) -> Iterator[Graph]:
    """The graph with all in parts that is several layers of the original: first its separable convolutions, and then
    every built-in activation, those of layers whose `call` is Keras's own, and none.

    The first that computes the same is the one to use: a `call` of the port's may do more after the activation.
    """
    if graph is None:
        return
    if any(is_timewise(node) for node in graph.nodes):
        yield from forms(in_one_axis(graph))
    if any(is_separable(node.operation) for node in graph.nodes):
        yield from forms(in_parts(graph))
    layers = {id(node.operation): node.operation for node in graph.nodes if activation_of(node.operation) is not None}
    plain = {key: layer for key, layer in layers.items() if not written_by_user(layer)}
    if layers:
        yield _Separation(layers).of(graph)
    if plain and len(plain) < len(layers):
        yield _Separation(plain).of(graph)
    yield graph


@dataclass
class _Separation:
    """The two halves of each layer in `layers` (by its id), made once however often it is called."""

    layers: Mapping[int, Any]
    halves: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def of(self, graph: Graph) -> Graph:
        """The graph with these layers in two firings each."""
        ends = {
            node.name: _behind(node.name, node.operation)
            for node in graph.nodes
            if id(node.operation) in self.layers and len(node.outputs) == 1
        }
        nodes = [half for node in graph.nodes for half in (self._apart(node) if node.name in ends else (node,))]
        aliases = {name: ends.get(tap, tap) for name, tap in graph.aliases.items()}
        return replace(graph, nodes=tuple(nodes), aliases=aliases)

    def _apart(self, node: Firing) -> tuple[Firing, Firing]:
        if id(node.operation) not in self.halves:
            self.halves[id(node.operation)] = without_activation(node.operation), _as_operation(node.operation)
        layer, activation = self.halves[id(node.operation)]
        (made,) = node.outputs
        between = keras.KerasTensor(made.shape, dtype=made.dtype, name=made.name)
        return (
            replace(node, operation=layer, outputs=[between]),
            Firing(
                operation=activation,
                arguments=Arguments((between,), {}),
                outputs=node.outputs,
                name=_behind(node.name, node.operation),
            ),
        )


def _behind(name: str, layer: Any) -> str:
    """The name of the activation of a layer that is called by this name: `conv/relu`, `conv/relu#2`."""
    first, number, again = name.partition("#")
    own = snake(name_of(layer.activation)) or "activation"
    return f"{first}/{own}{number}{again}"


def without_activation(layer: Any) -> Any:
    """The layer as it would be without its activation, with the same weights."""
    found = object.__new__(type(layer))
    linear = sys.modules[_root(layer)].activations.linear
    vars(found).update(vars(layer), activation=linear, _inbound_nodes=[], _outbound_nodes=[])
    if is_layer(layer.activation) and hasattr(layer, "_layers"):
        vars(found)["_layers"] = [each for each in layer._layers if each is not layer.activation]
    return found


def _as_operation(layer: Any) -> Any:
    """The activation of a layer as an operation; it says of itself where it is built in."""
    activation = layer.activation
    if is_layer(activation):
        return activation
    name = name_of(activation)
    made = keras.layers.Activation(activation, name=f"{layer.name}.{name or 'activation'}", dtype=layer.compute_dtype)
    setting = f'"{name}"' if name else "..."
    made.built_into = f'{type(layer).__name__}("{layer.name}", activation={setting})'
    return made


def _root(layer: Any) -> str:
    """The Keras that a layer is of."""
    roots = (str(base.__module__).partition(".")[0] for base in type(layer).__mro__)
    return next(root for root in roots if root in KERAS)
