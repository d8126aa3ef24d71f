"""What networks take, read from the networks: the inputs a port declares, the names a reference's forward has.

Shapes are those of the port, in its layout, with None for an axis of any size.
"""

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOKS_THROUGH = frozenset({"Cast", "Dropout", "Identity", "Masking", "Reshape"})
"""Operations whose result are still the tokens that went in."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """An input as a port declares it; `vocabulary` is that of the Embedding that reads it, None where none does."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    vocabulary: int | None = None


def declared(port: Any) -> tuple[Declared, ...] | None:
    """The inputs of a port, in its own order; None where it does not say them.

    Functional and sequential models of Keras 3 and tf_keras declare them; a subclassed one knows the shapes that it was
    built with, where it was built; a file is read.
    """
    if isinstance(port, (str, Path)):
        port = _loaded(Path(port))
    tensors = getattr(port, "inputs", None)
    if tensors:
        operations = tuple(_operations(port))
        return tuple(
            Declared(
                name=str(tensor.name),
                shape=tuple(tensor.shape),
                dtype=str(getattr(tensor.dtype, "name", tensor.dtype)),
                vocabulary=_vocabulary(tensor, operations),
            )
            for tensor in tensors
        )
    return _built_with(port)


def smallest_vocabulary(*networks: Any) -> int | None:
    """The least number of tokens an Embedding of these networks knows; None where they have none."""
    sizes = [
        int(size)
        for network in networks
        for layer in _layers(network)
        if (size := getattr(layer, "num_embeddings", None) or _input_dim(layer)) is not None
    ]
    return min(sizes, default=None)


def has_channels_first(port: Any) -> bool:
    """Whether every layer of a port that says where an image has its channels says first; a file is read."""
    network = _loaded(Path(port)) if isinstance(port, (str, Path)) else port
    said = {
        getattr(layer, "data_format", None)
        for layer in _layers(network)
        if any(kind.__name__.endswith(("2D", "3D")) for kind in type(layer).__mro__)
    }
    return said - {None} == {"channels_first"}


def forward_names(reference: Any) -> list[str]:
    """The names of what a reference's forward takes by position; nothing where Python does not know."""
    try:
        parameters = inspect.signature(getattr(reference, "forward", reference)).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def _loaded(path: Path) -> Any:
    from parity.runners.model_file import loaded  # which brings the frameworks in

    return loaded(path)


def _built_with(port: Any) -> tuple[Declared, ...] | None:
    """The shapes that a subclassed model was built with, but for their batch."""
    shapes = getattr(port, "_build_shapes_dict", None)
    if not shapes or not all(_is_shape(shape) for shape in shapes.values()):
        return None
    return tuple(
        Declared(name=name.removesuffix("_shape"), shape=(None, *shape[1:]), dtype="float32")
        for name, shape in shapes.items()
    )


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, (tuple, list)) and all(size is None or isinstance(size, int) for size in shape)


def _operations(model: Any) -> Iterator[Any]:
    """The operations of a functional or sequential model, not those inside of others."""
    graph = getattr(model, "_functional", None) or model
    operations: Iterable[Any] = getattr(graph, "operations", None) or getattr(graph, "layers", None) or ()
    yield from operations


def _vocabulary(tensor: Any, operations: tuple[Any, ...]) -> int | None:
    """How many tokens the Embedding knows that reads a tensor, also one inside of a nested model."""
    for operation in operations:
        for node in getattr(operation, "_inbound_nodes", ()):
            read = [each is tensor or _same(each, tensor) for each in _inputs_of(node)]
            if any(read):
                found = _known_to(operation, node, read.index(True), operations)
                if found is not None:
                    return found
    return None


def _known_to(operation: Any, node: Any, index: int, operations: tuple[Any, ...]) -> int | None:
    if _input_dim(operation) is not None:
        return _input_dim(operation)
    if getattr(operation, "inputs", None) and index < len(operation.inputs):
        return _vocabulary(operation.inputs[index], tuple(_operations(operation)))
    if type(operation).__name__ in LOOKS_THROUGH:
        return next((_vocabulary(made, operations) for made in node.output_tensors), None)
    return None


def _inputs_of(node: Any) -> list[Any]:
    found = getattr(node, "input_tensors", None)
    if found is None:
        found = getattr(node, "keras_inputs", ())  # tf_keras
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _same(one: Any, other: Any) -> bool:
    """Whether two of tf_keras's tensors, which are made anew each time, are one."""
    history = getattr(one, "node", None)
    return history is not None and history is getattr(other, "node", None)


def _input_dim(layer: Any) -> int | None:
    return int(layer.input_dim) if type(layer).__name__ == "Embedding" and hasattr(layer, "input_dim") else None


def _layers(network: Any) -> Iterator[Any]:
    """Every layer or module of a network, however deep."""
    if hasattr(network, "modules") and hasattr(network, "named_modules"):
        yield from network.modules()
    elif hasattr(network, "_flatten_layers"):
        yield from network._flatten_layers()
