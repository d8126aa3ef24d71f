"""Makes a graph of what can only be watched: models of `tf_keras`, Keras models that call TensorFlow, plain functions.

The whole is traced by TensorFlow once, and the calls of single layers are watched meanwhile. Each becomes a firing of
that layer; what TensorFlow computes between them becomes firings of their own, cut out of the trace. So every layer and
all between can be run alone, although there is no graph of layers anywhere. A function without layers is one firing.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.frameworks import keras, tf
from parity.pairs import Input
from parity.runners.built_in import forms
from parity.runners.graphs import (
    Arguments,
    Call,
    Firing,
    Graph,
    Names,
    assembled,
    best_of,
    inferring,
    is_composite,
    snake,
    symbolic_leaves,
)
from parity.runners.taps import OUTPUT, Numbering
from parity.trees import leaves, rebuilt

FUSED = 1e-5
"""How far, of the RMS, a graph may be from the model: TensorFlow fuses and folds where it runs a graph."""

# fmt: off
NO_VALUE = frozenset({
    "Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "Shape", "StridedSlice", "Pack", "Range",
    "ExpandDims",
})
"""Operations that make sizes and constants; what is cut out has the name of the only other one."""
OTHER_NAMES = {
    "StridedSlice": "GetItem", "Pack": "Stack", "RealDiv": "Divide", "MirrorPad": "Pad", "ResizeBilinear": "Resize",
    "ResizeNearestNeighbor": "Resize", "ResizeBicubic": "Resize", "MaxPool": "MaxPool2d", "AvgPool": "AvgPool2d",
}
"""What TensorFlow's operations are called elsewhere, where that is something else."""
# fmt: on


def watched(model: Any, examples: Sequence[Input]) -> Graph | None:
    """The graph of anything that can be called with tensors, or None where TensorFlow cannot trace it.

    `examples` are what it will be called with, in its own layout and structure; axes are left open as in `opened`. What
    the model itself raises is not caught.
    """
    return best_of(lambda each, call: forms(_traced(each, call)), model, examples, _near)


def _near(actual: Any, expected: Any) -> bool:
    """Whether two values are the same but for rounding."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if actual.dtype.kind not in "fc":
        return bool(np.array_equal(actual, expected))
    size = float(np.sqrt(np.mean(np.square(expected[np.isfinite(expected)], dtype=np.float64)) or 0.0))
    return bool(np.allclose(actual, expected, rtol=FUSED, atol=FUSED * size, equal_nan=True))


def _traced(model: Any, call: Call) -> Graph | None:
    """The graph of one traced call."""
    symbols, watch = symbolic_leaves(call), Watch()
    made: dict[str, Any] = {}

    def whole(*tensors: Any) -> list[Any]:
        given = dict(zip(map(id, symbols), tensors, strict=True))
        args, kwargs = rebuilt(call, "", lambda _, leaf: given.get(id(leaf), leaf))
        with watch.watching():
            result = inferring(model)(*args, **kwargs)
        made.update(given=tensors, result=result)
        return [leaf for _, leaf in leaves(result, OUTPUT) if tf.is_tensor(leaf)]

    specs = [tf.TensorSpec(symbol.shape, symbol.dtype) for symbol in symbols]
    try:
        trace = _unguarded(tf.compat.v1.wrap_function(whole, specs))
        cut = _Cut(trace, dict(zip(map(id, made["given"]), symbols, strict=True)))
        for seen in watch.calls:
            cut.add(seen)
        result = rebuilt(made["result"], OUTPUT, lambda _, leaf: cut.symbol(leaf, "") if cut.has(leaf) else leaf)
    except Exception:  # a user's own code may raise anything on a tensor without values
        return None
    makes = {name: id(cut.symbol(tensor, "")) for name, tensor in watch.makes.items() if cut.has(tensor)}
    return assembled(model, call, result, cut.firings, makes)


def _unguarded(trace: Any) -> Any:
    """The trace, waiting for nothing but what each operation reads: an assertion on the model's inputs is no part of
    what comes after it, and cannot be cut out with it. Where variables are written the order is left as it is."""
    operations = trace.graph.get_operations()
    if not any(operation.type.startswith("Assign") for operation in operations):
        for operation in operations:
            operation._remove_all_control_inputs()
    return trace


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One call of a layer as it was seen: with what, and what it made; of a composite `layer` only what it made."""

    layer: Any
    name: str
    outputs: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class Watch:
    """Sees every call of a single layer, of either Keras, in order; calls inside of one are its own business."""

    def __init__(self) -> None:
        self.calls: list[Seen] = []
        self.makes: dict[str, Any] = {}
        """The tensor that a composite layer returns, by the layer's name."""
        self._names = Names()
        self._number = Numbering()
        self._inside = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs, calls are seen."""
        modules = [sys.modules[name] for name in ("keras", "tf_keras") if name in sys.modules]
        kinds = [module.layers.Layer for module in modules]
        calls = [kind.__call__ for kind in kinds]
        try:
            for kind, call in zip(kinds, calls, strict=True):
                kind.__call__ = self._instead_of(call)
            yield
        finally:
            for kind, call in zip(kinds, calls, strict=True):
                kind.__call__ = call

    def _instead_of(self, call: Callable[..., Any]) -> Callable[..., Any]:
        watch = self

        def __call__(layer: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            if watch._inside or type(layer).__name__ in ("InputLayer", "TFOpLambda", "SlicingOpLambda"):
                return call(layer, *args, **kwargs)
            if is_composite(layer):
                return watch._through(call, layer, args, kwargs)
            everything = {**_inherited(layer, args, kwargs), **kwargs}  # before the call, which may take masks off
            watch._inside = True
            try:
                outputs = call(layer, *args, **kwargs)
            finally:
                watch._inside = False
            name = watch._names.of(layer)
            watch.calls.append(Seen(layer=layer, name=name, args=args, kwargs=everything, outputs=outputs))
            return outputs

        return __call__

    def _through(self, call: Callable[..., Any], layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A composite layer: what it calls is seen."""
        path = self._names.enter(layer)
        try:
            outputs = call(layer, *args, **kwargs)
        finally:
            self._names.leave()
        self.calls.append(Seen(layer=None, name=f"{path}/" if path else "", outputs=outputs))
        if path and tf.is_tensor(outputs):
            self.makes[self._number(path)] = outputs
        return outputs


def _inherited(layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What the calls around it decide for a layer: not to train, and which masks its inputs have."""
    try:
        signature = inspect.signature(layer.call)
        given = signature.bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return {}
    first = next(iter(given), "")
    found: dict[str, Any] = {"training": False} | {f"{name}_mask": _mask(value) for name, value in given.items()}
    found["mask"] = _mask(given.get(first))
    return {
        key: value
        for key, value in found.items()
        if key in signature.parameters and value is not None and given.get(key) is None
    }


def _mask(value: Any) -> Any:
    """The mask that a tensor carries, or those of several; None without any."""
    masks = [getattr(leaf, "_keras_mask", None) for _, leaf in leaves(value, "")]
    if all(mask is None for mask in masks):
        return None
    return masks[0] if tf.is_tensor(value) else masks


class _Cut:
    """Takes a trace apart: firings of the layers that were seen, and of what is computed between them."""

    def __init__(self, trace: Any, symbols: dict[int, Any]) -> None:
        self.firings: list[Firing] = []
        self._trace = trace
        self._symbols = symbols

    def has(self, leaf: Any) -> bool:
        """Whether it is a tensor of the trace, and not one of a loop inside, or a value."""
        return tf.is_tensor(leaf) and getattr(leaf, "graph", None) is self._trace.graph

    def add(self, seen: Seen) -> None:
        """The firing of a layer; none where it was called inside a loop or on what is no tensor of the trace."""
        path = seen.name.rpartition("/")[0]
        if seen.layer is None:
            for _, leaf in leaves(seen.outputs, OUTPUT):
                self.symbol(leaf, path) if self.has(leaf) else None
            return
        outputs = keras.tree.flatten(seen.outputs)
        if not outputs or not all(map(self.has, outputs)):
            return
        args, kwargs = keras.tree.map_structure(
            lambda leaf: self.symbol(leaf, path) if self.has(leaf) else leaf, (tuple(seen.args), dict(seen.kwargs))
        )
        made = [symbolic_of(tensor, seen.name) for tensor in outputs]
        self._symbols |= dict(zip(map(id, outputs), made, strict=True))
        arguments = Arguments(args, kwargs)
        self.firings.append(Firing(operation=seen.layer, arguments=arguments, outputs=made, name=seen.name))

    def symbol(self, tensor: Any, path: str) -> Any:
        """The symbolic tensor of a tensor of the trace; what computes it is cut out if no layer does."""
        while id(tensor) not in self._symbols and tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        if id(tensor) not in self._symbols:
            feeds, operations = self._way_to(tensor)
            between = _between(_pruned(self._trace, list(feeds.values()), tensor), operations)
            arguments = Arguments(tuple(self._symbols[key] for key in feeds), {})
            name = "/".join(filter(None, (path, snake(type(between).__name__))))
            made = [symbolic_of(tensor, name)]
            self._symbols[id(tensor)] = made[0]
            self.firings.append(Firing(operation=between, arguments=arguments, outputs=made, name=name))
        return self._symbols[id(tensor)]

    def _way_to(self, tensor: Any) -> tuple[dict[int, Any], list[Any]]:
        """The known tensors that a tensor is computed from, by their ids, and by which operations, the last first."""
        feeds: dict[int, Any] = {}
        operations: dict[Any, None] = {}
        waiting = [tensor]
        while waiting:
            current = waiting.pop()
            if id(current) in self._symbols:
                feeds[id(current)] = current
            elif current.op not in operations:
                operations[current.op] = None
                waiting += reversed(current.op.inputs)
        return feeds, list(operations)


def _pruned(trace: Any, feeds: Sequence[Any], tensor: Any) -> Any:
    """What computes a tensor of others, and nothing else: TensorFlow also takes along what an operation waited for,
    with inputs that nobody gives, which XLA refuses even where nothing reads them."""
    found = _unguarded(trace.prune(list(feeds), tensor))
    return found.prune(list(found.graph.inputs[: len(feeds)]), found.graph.outputs[0])


class Between:
    """What TensorFlow computes between two layers; its class has the name of its only operation."""

    def __init__(self, function: Callable[..., Any], *, reads_weights: bool) -> None:
        self._function = function
        self.reads_weights = reads_weights
        self.name = snake(type(self).__name__)

    def __call__(self, *tensors: Any) -> Any:
        """Its value, given those it reads."""
        return self._function(*tensors)


def _between(function: Callable[..., Any], operations: Sequence[Any]) -> Between:
    """What was cut out, as an operation named after what it does: Relu, Pad, Between where it does several things."""
    kinds = [operation.type for operation in operations]
    telling = [kind for kind in kinds if kind not in NO_VALUE] or [kinds[0]]
    name = OTHER_NAMES.get(telling[0], re.sub(r"V\d$", "", telling[0])) if len(telling) == 1 else "Between"
    reads_weights = any(output.dtype == tf.resource for operation in operations for output in operation.outputs)
    between: Between = type(name, (Between,), {})(function, reads_weights=reads_weights)
    return between


def symbolic_of(tensor: Any, name: str) -> Any:
    """A symbolic tensor for one of TensorFlow."""
    return keras.KerasTensor(tuple(tensor.shape), dtype=tensor.dtype.name, name=re.sub(r"\W", "_", name))
