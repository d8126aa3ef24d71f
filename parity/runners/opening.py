"""Makes one flat graph of a Keras 3 model of any form that can be traced: subclassed, nested, of custom layers.

A functional model shows what it computes; a subclassed one hides it in `call`, and a model in a model counts as one
layer. Here `call` is run once on symbolic tensors, and inside it that of every composite layer, so that what is left is
the firings of single layers and of `keras.ops`, with the user's own layers and weights. Keras is watched while it makes
nodes, and they are kept here instead of in the user's layers: nothing of the model is changed. A graph is given only if
it computes bit for bit what the model computes: a wrong graph would be worse than none.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import keras
from parity.pair import Input
from parity.runners.edits import evaluate
from parity.runners.taps import Numbering
from parity.trees import leaves, rebuilt

OUTPUT = "output"
"""The name of a network's output; of several, each has its way out of the call behind it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Firing:
    """One call of an operation on symbolic tensors; what Keras calls a node."""

    operation: Any
    arguments: Any
    outputs: Sequence[Any]
    name: str
    is_input: bool = False

    @property
    def input_tensors(self) -> Sequence[Any]:
        """The symbolic tensors among its arguments, in order."""
        tensors: Sequence[Any] = self.arguments.keras_tensors
        return tensors

    def tap_name(self, place: int) -> str:
        """The name of one of its values: that of the firing where it is the only one."""
        return self.name if len(self.outputs) == 1 else f"{self.name}[{place}]"


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """What `model` computes, as firings in the order of execution, on symbolic tensors.

    `args` and `kwargs` are what the model is called with, `result` is what it returns, with symbolic tensors for
    arrays. `names` has the tap name of each firing by its id: the layer's name behind those of the models that it is
    in (`encoder/conv1`). `aliases` has for each opened model or layer the name of the firing that makes its value.
    `closed` names composite layers that could not be traced, and count as one operation each.
    """

    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    nodes: tuple[Firing, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    closed: tuple[str, ...] = ()

    @property
    def names(self) -> Mapping[int, str]:
        """The tap name of each firing, by its id."""
        return {id(node): node.name for node in self.nodes}

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors that the model is called with, in order."""
        return [leaf for _, leaf in leaves((self.args, dict(self.kwargs)), "") if isinstance(leaf, keras.KerasTensor)]

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors that the model returns, in order."""
        return [leaf for _, leaf in leaves(self.result, OUTPUT) if isinstance(leaf, keras.KerasTensor)]

    @property
    def _inputs_struct(self) -> Any:
        """The inputs in a structure that Keras knows."""
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs

    @property
    def _outputs_struct(self) -> Any:
        """The outputs in the structure in which the model returns them."""
        return self.result

    @property
    def _nodes_by_depth(self) -> Mapping[int, list[Firing]]:
        """The firings as a functional model has its nodes: those of the greatest depth run first."""
        return {-place: [node] for place, node in enumerate(self.nodes)}

    def run(self, arrays: Sequence[Any]) -> Any:
        """What the graph makes of values for its inputs, in the structure that the model returns."""
        known = {id(tensor): value for tensor, value in zip(self.inputs, arrays, strict=True)}
        for node in self.nodes:
            evaluate(node, known)
        return rebuilt(self.result, OUTPUT, lambda _, leaf: known.get(id(leaf), leaf))


def is_flat(model: Any) -> bool:
    """Whether the model is a functional or sequential one of single layers: then its own graph shows all it does."""
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth") or _written_by_user(model):
        return False
    return not any(_is_composite(operation) for operation in graph.operations)


def opened(model: Any, examples: Sequence[Input]) -> Graph | None:
    """The graph of a Keras 3 model, or None where it cannot be traced to one that computes the same.

    `examples` are what the model will be called with, in its own layout and structure. Axes in which they differ are
    left open, and the batch too where the model allows it; all others are as in the examples. A model that was never
    called is built by it. What the model itself raises is not caught.
    """
    expected = [_called(model, example) for example in examples]
    best: Graph | None = None
    for open_batch in (True, False):
        graph = _traced(model, *_symbolic(examples, open_batch))
        if graph is not None and all(map(_agrees, [graph] * len(examples), examples, expected)):
            if not graph.closed:
                return graph
            if best is None or len(graph.closed) < len(best.closed):
                best = graph
    return best


def _symbolic(examples: Sequence[Input], open_batch: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call of the first example with a symbolic tensor for each array."""

    def symbolic(name: str, array: Array) -> Any:
        shapes = [example.arrays[name].shape for example in examples]
        sizes = [length[0] if len(set(length)) == 1 else None for length in zip(*shapes, strict=True)]
        if open_batch and sizes:
            sizes[0] = None
        return keras.KerasTensor(tuple(sizes), dtype=array.dtype.name, name=re.sub(r"\W+", "_", name).strip("_"))

    return examples[0].filled(symbolic)


def _traced(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph | None:
    """The graph that a symbolic call of the model makes; None where the model cannot be called like that."""
    trace = _Trace()
    try:
        with trace.recording():
            result = trace.plain(model(*args, **kwargs, training=False))
    except Exception:  # a user's own code may raise anything on a tensor without values
        return None
    if any(firing.operation is model for firing in trace.firings):
        return None
    inputs = {id(leaf) for _, leaf in leaves((args, kwargs), "")}
    nodes, complete = _needed(trace.firings, [leaf for _, leaf in leaves(result, OUTPUT)], inputs)
    if not complete or not nodes:
        return None
    number = Numbering()
    nodes = tuple(replace(node, name=number(node.name)) for node in nodes)
    makers = {id(tensor): node.tap_name(place) for node in nodes for place, tensor in enumerate(node.outputs)}
    return Graph(
        model=model,
        args=args,
        kwargs=kwargs,
        result=result,
        nodes=nodes,
        aliases={name: makers[key] for name, key in trace.makes.items() if key in makers},
        closed=tuple(node.name for node in nodes if _is_composite(node.operation)),
    )


def _needed(firings: Sequence[Firing], ends: Sequence[Any], inputs: set[int]) -> tuple[tuple[Firing, ...], bool]:
    """The firings that the ends are made by, in order; and whether all that is read is made by one, or an input."""
    wanted = {id(end) for end in ends if isinstance(end, keras.KerasTensor)}
    kept: list[Firing] = []
    for firing in reversed(firings):
        made = {id(tensor) for tensor in firing.outputs}
        if made & wanted:
            wanted = (wanted - made) | {id(tensor) for tensor in firing.input_tensors}
            kept.append(firing)
    return tuple(reversed(kept)), wanted <= inputs


def _called(model: Any, example: Input) -> Any:
    """What the model itself makes of an example."""
    args, kwargs = example.filled(lambda _, array: array)
    return model(*args, **kwargs, training=False)


def _agrees(graph: Graph, example: Input, expected: Any) -> bool:
    """Whether the graph makes of the example what is expected, bit for bit."""
    try:
        actual = graph.run(list(example.arrays.values()))
    except Exception:  # what was traced may not run: a size that is known only with values
        return False
    pairs = zip(leaves(actual, OUTPUT), leaves(expected, OUTPUT), strict=True)
    return all(
        name == other and (one is two or np.array_equal(np.asarray(one), np.asarray(two), equal_nan=_has_nan(one)))
        for (name, one), (other, two) in pairs
    )


def _has_nan(value: Any) -> bool:
    """Whether the value is of a kind that knows NaN."""
    return np.asarray(value).dtype.kind in "fc"


class _Trace:
    """What happens while Keras calls layers on symbolic tensors."""

    def __init__(self) -> None:
        self.firings: list[Firing] = []
        self.makes: dict[str, int] = {}
        """The id of the tensor that an opened layer returns, by the layer's name."""
        self._scopes: list[tuple[Any, str]] = []
        self._number = Numbering()
        self._inlined: set[int] = set()
        self._same: dict[int, tuple[Any, Any]] = {}
        self._passed: dict[int, Mapping[str, Any]] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While the block runs, symbolic calls are kept here, and composite layers are opened."""
        homes = [sys.modules[kind.__module__] for kind in (keras.Operation, keras.layers.Layer)]
        nodes, call = [vars(home)["Node"] for home in homes], keras.layers.Layer.symbolic_call
        trace = self

        def symbolic_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return trace._call(layer, call, args, kwargs)

        try:
            for home, node in zip(homes, nodes, strict=True):
                vars(home)["Node"] = self._keeper(node)
            keras.layers.Layer.symbolic_call = symbolic_call
            yield
        finally:
            for home, node in zip(homes, nodes, strict=True):
                vars(home)["Node"] = node
            keras.layers.Layer.symbolic_call = call

    def _call(self, layer: Any, closed: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a layer makes of symbolic tensors: a composite one by its own `call`, if that can be."""
        self._passed[id(layer)] = kwargs
        if _is_composite(layer):
            before = len(self.firings)
            path = self._name(layer) if self._scopes else ""
            self._scopes.append((layer, path))
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
                self._scopes.pop()
        return closed(layer, *args, **kwargs)

    def _note(self, path: str, outputs: Any) -> None:
        made = [leaf for _, leaf in leaves(outputs, OUTPUT) if isinstance(leaf, keras.KerasTensor)]
        if path and len(made) == 1:
            self.makes[self._number(path)] = id(self.plain(made[0]))

    def _keeper(self, node: Any) -> Callable[..., None]:
        """What Keras calls where it would make a node."""
        arguments_of = vars(sys.modules[node.__module__])["SymbolicArguments"]

        def keep(operation: Any, call_args: Any = (), call_kwargs: Any = None, outputs: Any = None) -> None:
            passed = self._passed.pop(id(operation), {})
            if id(operation) in self._inlined:
                self._inlined.discard(id(operation))
                return
            # What the calls around it decide for this one: whether to train, and which masks its inputs have.
            inherited = {key: value for key, value in passed.items() if value is not None}
            args, kwargs = self.plain((tuple(call_args), {**inherited, **(call_kwargs or {})}))
            name, made = self._name(operation), keras.tree.flatten(outputs)
            if _is_identity(operation, args, made):
                self._same[id(made[0])] = (made[0], args[0])
                return
            arguments = arguments_of(*args, **kwargs)
            self.firings.append(Firing(operation=operation, arguments=arguments, outputs=made, name=name))

        return keep

    def plain(self, tree: Any) -> Any:
        """The tree with what was converted to what it is already in place of its conversion."""
        return rebuilt(tree, "", lambda _, leaf: self._same.get(id(leaf), (leaf, leaf))[1])

    def _name(self, operation: Any) -> str:
        """The operation's name behind those of what it is in."""
        parent, path = self._scopes[-1] if self._scopes else (None, "")
        own = operation.name
        if _is_auto_named(operation):
            # Keras numbers the names that it makes up; the next model would have others.
            own = _attribute(parent, operation) or (own if _belongs(operation) else re.sub(r"_\d+$", "", own))
        return f"{path}/{own}" if path else own


def _is_composite(operation: Any) -> bool:
    """Whether it is a model, or a layer made of others by a `call` that is not Keras's own."""
    if isinstance(operation, keras.Model):
        return True
    layered = isinstance(operation, keras.layers.Layer) and bool(operation._layers)
    return layered and _written_by_user(operation)


def _is_identity(operation: Any, args: Sequence[Any], made: Sequence[Any]) -> bool:
    """Whether it makes a tensor of what is one of the same type, as every functional model does with its inputs."""
    return type(operation).__name__ == "ConvertToTensor" and args[0].dtype == made[0].dtype


def _written_by_user(layer: Any) -> bool:
    """Whether the layer's `call` is not one of Keras."""
    return str(getattr(type(layer).call, "__module__", "")).partition(".")[0] != "keras"


def _belongs(operation: Any) -> bool:
    """Whether it existed before this call: a layer, or an operation of a functional model."""
    return isinstance(operation, keras.layers.Layer) or bool(operation._inbound_nodes)


def _is_auto_named(operation: Any) -> bool:
    """Whether Keras made up the operation's name from that of its class."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(operation).__name__))
    return re.fullmatch(rf"{re.escape(words.lower())}(_\d+)?", operation.name) is not None


def _attribute(parent: Any, child: Any) -> str:
    """The attribute of `parent` that holds `child`: `stem`, `blocks/0`; empty where none does."""
    for name, value in vars(parent).items() if parent is not None else ():
        if not name.startswith("_"):
            for path, leaf in leaves(value, name):
                if leaf is child:
                    return re.sub(r"[.\[]", "/", path).replace("]", "")
    return ""


def _symbolic_only(outputs: Any) -> bool:
    """Whether every array among the outputs is a symbolic tensor."""
    found = [leaf for _, leaf in leaves(outputs, OUTPUT) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
    return bool(found) and all(isinstance(leaf, keras.KerasTensor) for leaf in found)
