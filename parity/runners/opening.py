"""Makes one flat graph of a Keras 3 model of any form that can be traced: subclassed, nested, of custom layers.

A functional model shows what it computes; a subclassed one hides it in `call`, and a model in a model counts as one
layer. Here `call` is run once on symbolic tensors, and inside it that of every composite layer, so that what is left is
the firings of single layers and of `keras.ops`, with the user's own layers and weights. Keras is watched while it makes
nodes, and they are kept here instead of in the user's layers: nothing of the model is changed. A graph is given only if
it computes bit for bit what the model computes: a wrong graph would be worse than none.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.frameworks import keras, tf
from parity.pairs import Input
from parity.runners.built_in import activation_of, forms
from parity.runners.graphs import (
    Arguments,
    Call,
    Firing,
    Graph,
    Names,
    assembled,
    best_of,
    is_composite,
    same,
    symbolic_leaves,
    written_by_user,
)
from parity.runners.operators import as_tensors_do
from parity.runners.separable import is_separable
from parity.runners.taps import OUTPUT, Numbering
from parity.trees import leaves, rebuilt


def is_flat(model: Any) -> bool:
    """Whether the model is a functional or sequential one of single layers, none of which is two of the original's:
    then its own graph shows all it does."""
    graph = getattr(model, "_functional", None) or model
    if not isinstance(model, keras.Model) or not hasattr(graph, "_nodes_by_depth") or written_by_user(model):
        return False
    return not any(
        is_composite(each)
        or is_separable(each)
        or isinstance(each, keras.layers.TimeDistributed)
        or activation_of(each) is not None
        for each in graph.operations
    )


def opened(model: Any, examples: Sequence[Input]) -> Graph | None:
    """The graph of a Keras 3 model, or None where it cannot be traced to one that computes the same.

    `examples` are what the model will be called with, in its own layout and structure. Axes in which they differ are
    left open, and the batch too where the model allows it; all others are as in the examples. A model that was never
    called is built by it. What the model itself raises is not caught.
    """
    return best_of(lambda each, call: forms(_traced(each, call)), model, examples, same)


def _traced(model: Any, call: Call) -> Graph | None:
    """The graph that a symbolic call of the model makes; None where the model cannot be called like that."""
    trace = _Trace()
    args, kwargs = call
    try:
        with trace.recording(), as_tensors_do():
            result = trace.plain(model(*args, **kwargs, training=False))
    except Exception:  # a user's own code may raise anything on a tensor without values
        return None
    if any(firing.operation is model for firing in trace.firings):
        return None
    return assembled(model, call, result, trace.firings, trace.makes)


class _Trace:
    """What happens while Keras calls layers on symbolic tensors."""

    def __init__(self) -> None:
        self.firings: list[Firing] = []
        self.makes: dict[str, int] = {}
        """The id of the tensor that an opened layer returns, by the layer's name."""
        self._names = Names()
        self._number = Numbering()
        self._inlined: set[int] = set()
        self._same: dict[int, tuple[Any, Any]] = {}
        self._passed: dict[int, Mapping[str, Any]] = {}
        self._inside = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While the block runs, symbolic calls are kept here, and composite layers are opened."""
        homes = [vars(sys.modules[kind.__module__]) for kind in (keras.Operation, keras.layers.Layer)]
        nodes, closed, trace = [home["Node"] for home in homes], keras.layers.Layer.symbolic_call, self
        called = keras.layers.Layer.__call__

        def symbolic_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return trace._call(layer, closed, args, kwargs)

        def __call__(layer: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            return called(layer, *trace._without_values(layer, args), **kwargs)

        try:
            for home in homes:
                home["Node"] = self._keep
            keras.layers.Layer.symbolic_call = symbolic_call
            keras.layers.Layer.__call__ = __call__
            yield
        finally:
            for home, node in zip(homes, nodes, strict=True):
                home["Node"] = node
            keras.layers.Layer.symbolic_call = closed
            keras.layers.Layer.__call__ = called

    def _without_values(self, layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments of a layer's call; where it has weights and is given a constant, as an embedding of positions
        is, one without a value, so that the layer is seen and its weights stay its own."""
        if self._inside or is_composite(layer) or not args or not _is_value(args[0]) or not _may_have_weights(layer):
            return args
        symbol = keras.KerasTensor(tuple(args[0].shape), dtype=keras.backend.standardize_dtype(args[0].dtype))
        self._same[id(symbol)] = (symbol, args[0])
        return (symbol, *args[1:])

    def _call(self, layer: Any, closed: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a layer makes of symbolic tensors: a composite one by its own `call`, if that can be."""
        self._passed[id(layer)] = kwargs
        if is_composite(layer):
            before, path = len(self.firings), self._names.enter(layer)
            try:
                outputs = layer.call(*args, **kwargs)
                if not _symbolic_only(outputs):
                    raise TypeError("a call on symbolic tensors returned values")
                self._inlined.add(id(layer))
                self._note(path, outputs)
                return outputs
            except Exception:  # a user's own code may raise anything on a tensor without values
                del self.firings[before:]
            finally:
                self._names.leave()
        self._inside += 1
        try:
            return closed(layer, *args, **kwargs)
        finally:
            self._inside -= 1

    def _note(self, path: str, outputs: Any) -> None:
        made = symbolic_leaves(outputs)
        if path and len(made) == 1:
            self.makes[self._number(path)] = id(self.plain(made[0]))

    def _keep(
        self, operation: Any, call_args: Any = (), call_kwargs: Mapping[str, Any] | None = None, outputs: Any = None
    ) -> None:
        """What Keras calls where it would make a node."""
        passed = self._passed.pop(id(operation), {})
        if id(operation) in self._inlined:
            self._inlined.discard(id(operation))
            return
        # What the calls around it decide for this one: whether to train, and which masks its inputs have.
        given = {**{key: value for key, value in passed.items() if value is not None}, **(call_kwargs or {})}
        if "training" in given and "training" not in inspect.signature(operation.call).parameters:
            del given["training"]  # functional models say it to every layer
        args, kwargs = self.plain((tuple(call_args), given))
        made = keras.tree.flatten(outputs)
        if _is_identity(operation, args, made):
            self._same[id(made[0])] = (made[0], args[0])
            return
        name = self._names.of(operation)
        self.firings.append(Firing(operation=operation, arguments=Arguments(args, kwargs), outputs=made, name=name))

    def plain(self, tree: Any) -> Any:
        """The tree with what was converted to what it is already in place of its conversion."""
        return rebuilt(tree, "", lambda _, leaf: self._same.get(id(leaf), (leaf, leaf))[1])


def _is_identity(operation: Any, args: Sequence[Any], made: Sequence[Any]) -> bool:
    """Whether it makes a tensor of what is one of the same type, as every functional model does with its inputs."""
    return type(operation).__name__ == "ConvertToTensor" and args[0].dtype == made[0].dtype


def _is_value(leaf: Any) -> bool:
    """Whether it is an array or a tensor with a value."""
    return isinstance(leaf, np.ndarray) or (tf.is_tensor(leaf) and hasattr(leaf, "numpy"))


def _may_have_weights(layer: Any) -> bool:
    return bool(layer.weights) or not layer.built


def _symbolic_only(outputs: Any) -> bool:
    """Whether every array among the outputs is a symbolic tensor."""
    found = [leaf for _, leaf in leaves(outputs, OUTPUT) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
    return bool(found) and all(isinstance(leaf, keras.KerasTensor) for leaf in found)
