"""What a network computes as a list of firings, however it was found out; and how its layers are called.

A functional Keras model has such a graph of its own. A model of another form is given one by `opening`, or by
`watched`; everything that reads the graph of a functional model can read these.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import keras
from parity.pairs import Input
from parity.runners.edits import evaluate
from parity.runners.taps import OUTPUT, Numbering
from parity.trees import leaves, rebuilt

KERAS = ("keras", "tf_keras")
"""The packages whose layers are taken as they are."""


Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What is called with what: by position and by name."""


@dataclass(frozen=True, eq=False)
class Arguments:
    """What an operation is called with: symbolic tensors and constants."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @cached_property
    def keras_tensors(self) -> list[Any]:
        """The symbolic tensors in order."""
        found = keras.tree.flatten((self.args, dict(self.kwargs)))
        return [leaf for leaf in found if isinstance(leaf, keras.KerasTensor)]

    def fill_in(self, known: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with values in place of the symbolic tensors, by their ids."""

        def fill(leaf: Any) -> Any:
            return known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

        args, kwargs = keras.tree.map_structure(fill, (tuple(self.args), dict(self.kwargs)))
        return args, kwargs


@dataclass(frozen=True, kw_only=True, eq=False)
class Firing:
    """One call of an operation on symbolic tensors; what Keras calls a node."""

    operation: Any
    arguments: Arguments
    outputs: Sequence[Any]
    name: str
    is_input: bool = False

    @property
    def input_tensors(self) -> Sequence[Any]:
        """The symbolic tensors among its arguments, in order."""
        return self.arguments.keras_tensors

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
    def only_ends(self) -> bool:
        """Whether no layer was seen, nor anything else but what a whole trace computes."""
        return all(hasattr(node.operation, "reads_weights") for node in self.nodes)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic tensors that the model is called with, in order."""
        return symbolic_leaves((self.args, dict(self.kwargs)))

    @property
    def outputs(self) -> list[Any]:
        """The symbolic tensors that the model returns, in order."""
        return symbolic_leaves(self.result)

    @property
    def _inputs_struct(self) -> Any:
        """The only argument's structure, or the arguments by name."""
        return dict(self.kwargs) if not self.args else self.args[0] if len(self.args) == 1 else self.args

    @property
    def _outputs_struct(self) -> Any:
        """The outputs in the structure in which the model returns them."""
        return self.result

    @property
    def _nodes_by_depth(self) -> Mapping[int, list[Firing]]:
        """The firings as a functional model has its nodes: those of the greatest depth run first."""
        return {-place: [node] for place, node in enumerate(self.nodes)}

    @property
    def non_trainable_weights(self) -> Sequence[Any]:
        """The weights that a run in training mode would change."""
        return tuple(getattr(self.model, "non_trainable_weights", ()))

    def run(self, arrays: Sequence[Any]) -> Any:
        """What the graph makes of values for its inputs, in the structure that the model returns."""
        known = {id(tensor): value for tensor, value in zip(self.inputs, arrays, strict=True)}
        for node in self.nodes:
            evaluate(node, known)
        return rebuilt(self.result, OUTPUT, lambda _, leaf: known.get(id(leaf), leaf))


def symbolic_leaves(tree: Any) -> list[Any]:
    """The symbolic tensors of a tree in order."""
    return [leaf for _, leaf in leaves(tree, "") if isinstance(leaf, keras.KerasTensor)]


def assembled(model: Any, call: Call, result: Any, firings: Sequence[Firing], makes: Mapping[str, int]) -> Graph | None:
    """The graph of the firings that the result needs, or None where something that is read is made by none.

    `makes` has for each opened layer the id of the symbolic tensor that it returns.
    """
    wanted = {id(end) for end in symbolic_leaves(result)}
    kept: list[Firing] = []
    for firing in reversed(firings):
        made = {id(tensor) for tensor in firing.outputs}
        if made & wanted:
            wanted = (wanted - made) | {id(tensor) for tensor in firing.input_tensors}
            kept.append(firing)
    if not kept or not wanted <= {id(tensor) for tensor in symbolic_leaves(call)}:
        return None
    number = Numbering()
    nodes = tuple(replace(node, name=number(node.name)) for node in reversed(kept))
    makers = {id(tensor): node.tap_name(place) for node in nodes for place, tensor in enumerate(node.outputs)}
    return Graph(
        model=model,
        args=call[0],
        kwargs=call[1],
        result=result,
        nodes=nodes,
        aliases={name: makers[key] for name, key in makes.items() if key in makers},
        closed=tuple(node.name for node in nodes if is_composite(node.operation)),
    )


def symbolic_calls(examples: Sequence[Input]) -> Iterator[Call]:
    """The call of the first example with a symbolic tensor for each array: first with any batch, then with that one.

    Axes in which the examples differ are open.
    """
    yield _symbolic_call(examples, any_batch=True)
    yield _symbolic_call(examples, any_batch=False)


def _symbolic_call(examples: Sequence[Input], *, any_batch: bool) -> Call:
    def symbolic(name: str, array: Array) -> Any:
        shapes = [example.arrays[name].shape for example in examples]
        sizes = [length[0] if len(set(length)) == 1 else None for length in zip(*shapes, strict=True)]
        if any_batch and sizes:
            sizes[0] = None
        return keras.KerasTensor(
            tuple(sizes), dtype=array.dtype.name, name=re.sub(r"\W+", "_", name.rpartition(".")[2]).strip("_")
        )

    return examples[0].filled(symbolic)


def best_of(
    traces: Callable[[Any, Call], Iterable[Graph]],
    model: Any,
    examples: Sequence[Input],
    agrees: Callable[[Any, Any], bool],
) -> Graph | None:
    """The first graph without a closed layer that computes what the model does, or the one with the fewest.

    `traces` gives the graphs of a call in order of preference. The model is called first, so that one that never was
    has its weights.
    """
    best: Graph | None = None
    expected = [called(model, example) for example in examples]
    for graph in (graph for call in symbolic_calls(examples) for graph in traces(model, call)):
        if best is not None and len(graph.closed) >= len(best.closed):
            continue
        if all(_makes(graph, *each, agrees) for each in zip(examples, expected, strict=True)):
            best = graph
            if not graph.closed:
                break
    return best


def _makes(graph: Graph, example: Input, expected: Any, agrees: Callable[[Any, Any], bool]) -> bool:
    """Whether the graph makes of the example what is expected."""
    try:
        actual = graph.run([keras.ops.convert_to_tensor(array) for array in example.arrays.values()])
    except Exception:  # what was traced may not run: a size that is known only with values
        return False
    pairs = zip(leaves(actual, OUTPUT), leaves(expected, OUTPUT), strict=True)
    return all(name == other and (one is two or agrees(one, two)) for (name, one), (other, two) in pairs)


def same(actual: Any, expected: Any) -> bool:
    """Whether two values are the same, bit for bit; NaN is like NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return bool(np.array_equal(actual, expected, equal_nan=actual.dtype.kind in "fc"))


def called(model: Any, example: Input) -> Any:
    """What the model itself makes of an example, in inference."""
    args, kwargs = example.filled(lambda _, array: keras.ops.convert_to_tensor(array))
    return inferring(model)(*args, **kwargs)


def inferring(model: Any) -> Callable[..., Any]:
    """The model as a function that never trains."""
    takes = is_layer(model) or "training" in inspect.signature(model).parameters
    return (lambda *args, **kwargs: model(*args, **kwargs, training=False)) if takes else model


# -- layers ------------------------------------------------------------------------------------------------------------


def is_layer(thing: Any) -> bool:
    """Whether it is a layer of either Keras."""
    return _is_a(thing, "Layer")


def is_model(thing: Any) -> bool:
    """Whether it is a model of either Keras."""
    return _is_a(thing, "Model")


def is_composite(thing: Any) -> bool:
    """Whether it is a model, or a layer made of others by a `call` that is not Keras's own."""
    if is_model(thing):
        return True
    if not is_layer(thing) or not written_by_user(thing):
        return False
    return next(iter(thing._flatten_layers(recursive=False, include_self=False)), None) is not None


def written_by_user(layer: Any) -> bool:
    """Whether the layer's `call` is not one of Keras."""
    return _root(type(layer).call) not in KERAS


def _is_a(thing: Any, kind: str) -> bool:
    return any(base.__name__ == kind and _root(base) in KERAS for base in type(thing).__mro__)


def _root(thing: Any) -> str:
    return str(getattr(thing, "__module__", "")).partition(".")[0]


class Names:
    """What the layers of a model are called: by their own name, behind the names of what they are in."""

    def __init__(self) -> None:
        self._scopes: list[tuple[Any, str]] = []

    def enter(self, layer: Any) -> str:
        """Go into a layer; its path, empty for the outermost."""
        path = self.of(layer) if self._scopes else ""
        self._scopes.append((layer, path))
        return path

    def leave(self) -> None:
        """Out of the layer that was entered last."""
        self._scopes.pop()

    def here(self, name: str) -> str:
        """A name in the layer that is entered."""
        path = self._scopes[-1][1] if self._scopes else ""
        return f"{path}/{name}" if path else name

    def of(self, operation: Any) -> str:
        """The path of an operation that the entered layer calls.

        Keras numbers the names that it makes up, and in another process it numbers them otherwise: then the attribute
        that holds the layer is its name, and an operation made on the spot has its name without the number.
        """
        name = str(operation.name)
        if _is_made_up(operation):
            held = _attribute(self._scopes[-1][0], operation) if self._scopes else ""
            lasting = is_layer(operation) or bool(operation._inbound_nodes)
            name = held or (name if lasting else re.sub(r"_\d+$", "", name))
        return self.here(name)


def snake(name: str) -> str:
    """A class name as Keras makes a layer's name of it."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _is_made_up(operation: Any) -> bool:
    kind = "model|functional" if type(operation).__name__ == "Functional" else snake(type(operation).__name__)
    return re.fullmatch(rf"({kind})(_\d+)?", operation.name) is not None


def _attribute(parent: Any, child: Any) -> str:
    """The attribute of `parent` that holds `child`: `stem`, `blocks/0`; empty where none does."""
    for name, value in vars(parent).items():
        if not name.startswith("_"):
            for path, leaf in leaves(value, name):
                if leaf is child:
                    return re.sub(r"[.\[]", "/", path).replace("]", "")
    return ""
