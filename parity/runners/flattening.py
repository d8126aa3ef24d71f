"""Makes a flat functional model of one that was opened: a copy that Keras can save and that can be edited.

Keras wants each name once, and none with a slash: what was `encoder/conv1` is called `encoder.conv1` in the copy.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from parity.errors import PairError
from parity.frameworks import keras
from parity.runners.edits import copy_of
from parity.runners.graphs import Graph
from parity.trees import leaves


def flat_name(name: str) -> str:
    """What the copy calls a layer that is called `name` in the graph."""
    return name.replace("/", ".")


def flattened(graph: Graph) -> Any:
    """A functional `keras.Model` that computes what the graph does and shares nothing with it.

    A dataclass that the model returns becomes a dict of its fields. Raises PairError where something is no operation of
    Keras 3, or computes with weights that are no layer's.
    """
    known = {id(tensor): _input(tensor) for tensor in graph.inputs}
    copies: dict[int, Any] = {}
    for node in graph.nodes:
        _check(node)
        made = id(node.operation) not in copies
        if made:
            copies[id(node.operation)] = copy_of(node.operation)
            copies[id(node.operation)].name = flat_name(node.name)
        args, kwargs = node.arguments.fill_in(known)
        outputs = copies[id(node.operation)](*args, **kwargs)
        if made and getattr(node.operation, "weights", False):
            copies[id(node.operation)].set_weights(node.operation.get_weights())
        known |= zip(map(id, node.outputs), keras.tree.flatten(outputs), strict=True)
    ends = [_structure(each, known) for each in (graph._inputs_struct, graph._outputs_struct)]
    return keras.Model(*ends, name=getattr(graph.model, "name", "port"))


def _input(tensor: Any) -> Any:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _check(node: Any) -> None:
    if not isinstance(node.operation, keras.Operation):
        raise PairError(f"{node.name!r} is no operation of Keras 3, so no copy of the port can be made to repair it in")
    if any(isinstance(leaf, keras.Variable) for _, leaf in leaves((node.arguments.args, node.arguments.kwargs), "")):
        raise PairError(f"{node.name!r} computes with a weight that is no layer's; such a port cannot be copied")


def _structure(tree: Any, known: Mapping[int, Any]) -> Any:
    """The tree of the copy's tensors in what Keras knows: lists and dicts, without constants."""
    if isinstance(tree, keras.KerasTensor):
        return known[id(tree)]
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        tree = {each.name: getattr(tree, each.name) for each in dataclasses.fields(tree)}
    elif hasattr(tree, "_asdict"):
        tree = tree._asdict()
    if isinstance(tree, Mapping):
        found = {key: _structure(value, known) for key, value in tree.items()}
        return {key: value for key, value in found.items() if value is not None}
    if isinstance(tree, (list, tuple)):
        return [value for value in (_structure(each, known) for each in tree) if value is not None]
    return None
