"""The port's side of a layer as Keras code: its layers from their settings, its calls of `keras.ops`, in order."""

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.words import settings_of
from parity.errors import PairError
from parity.frameworks import keras
from parity.repro.code import RESERVED, Code
from parity.repro.expressions import UnwritableError, arguments, as_by_default, identifier, written
from parity.runners.edits import Edit, Node, copy_of

DULL = frozenset({"activity_regularizer", "batch_input_shape", "name", "quantization_config", "seed"})
"""Settings that change no value: names, what only training reads, and initial values, since the weights are set."""
_DULL_ENDINGS = ("_initializer", "_regularizer", "_constraint")


def port_code(evidence: Evidence) -> Code:
    """The Keras code of the segment, a function `port` of what it reads. Raises UnwritableError where there is none."""
    return _Port(evidence).code()


class _Port:
    """Writes the segment's nodes, each after those that it reads."""

    def __init__(self, evidence: Evidence) -> None:
        self._segment = evidence.segment
        keys = self._segment.anchor_keys
        self._values = {key: f"x{index}" if len(keys) > 1 else "x" for index, key in enumerate(keys)}
        self._setup: list[str] = []
        self._body: list[str] = []
        self._arrays: dict[str, Array] = {}
        self._layers: dict[int, str] = {}

    def code(self) -> Code:
        inputs = ", ".join(self._values.values())
        for node in self._segment.nodes:
            self._write(node)
        result = self._values[self._segment.tap.key]
        last = self._body[-1]
        body = self._body
        if last.startswith(f"{result} = "):
            body, result = body[:-1], last.removeprefix(f"{result} = ")
        return Code(
            setup=tuple(self._setup),
            body=(f"def port({inputs}):", *(f"    {line}" for line in body), f"    return {result}"),
            arrays=self._arrays,
        )

    def _write(self, node: Node) -> None:
        is_layer = isinstance(node.operation, keras.layers.Layer)
        made = self._layer_call(node) if is_layer else self._function_call(node)
        names = [f"y{len(self._values) + index}" for index in range(len(node.outputs))]
        self._values |= {id(tensor): name for tensor, name in zip(node.outputs, names, strict=True)}
        self._body.append(f"{', '.join(names)} = {made if len(names) == 1 else f'keras.tree.flatten({made})'}")

    def _layer_call(self, node: Node) -> str:
        kwargs = {
            key: value for key, value in node.arguments.kwargs.items() if value is not None and value is not False
        }
        return f"{self._layer(node.operation)}({arguments(node.arguments.args, kwargs, self._leaf)})"

    def _layer(self, layer: Any) -> str:
        """The variable that holds a layer with weights; the call that makes one without."""
        made = constructed(layer)
        if not layer.variables:
            return made
        if id(layer) not in self._layers:
            name = self._layers[id(layer)] = identifier(layer.name, (*RESERVED, *self._layers.values()))
            self._setup.append(f"{name} = {made}")
            self._setup.append(f"{name}.build({_built(layer)})")
            kept = {key: np.asarray(weight) for key, weight in zip(weight_keys(layer), layer.weights, strict=True)}
            self._arrays |= {f"keras.{layer.name}.{key}": value for key, value in kept.items()}
            if kept:
                self._setup.append(
                    f'{name}.set_weights([data["keras.{layer.name}." + k] for k in {written(list(kept))}])'
                )
        return self._layers[id(layer)]

    def _function_call(self, node: Node) -> str:
        name, function = _function(node.operation)
        settings = dict(_function_settings(node.operation, function))
        args, kwargs = node.arguments.args, {k: v for k, v in node.arguments.kwargs.items() if v is not None}
        if any(each.kind is each.VAR_POSITIONAL for each in inspect.signature(function).parameters.values()):
            args, settings = (*settings.values(), *args), {}
        return f"{name}({arguments(args, {**settings, **kwargs}, self._leaf)})"

    def _leaf(self, value: Any) -> str | None:
        if isinstance(value, keras.KerasTensor):
            return self._values[id(value)]
        if isinstance(value, np.ndarray) or keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
            key = f"constant of the port.{len(self._arrays)}"
            self._arrays[key] = keras.ops.convert_to_numpy(value)
            return f'data["{key}"]'
        return None


def weight_keys(layer: Any) -> list[str]:
    """A name for each of a layer's weights; with a number where two have the same."""
    names = [str(weight.name) for weight in layer.weights]
    return names if len(set(names)) == len(names) else [f"{index} {name}" for index, name in enumerate(names)]


def _built(layer: Any) -> str:
    """The arguments of `build`: the shapes that the layer was built for."""
    config = layer.get_build_config() or {}
    if not config:
        raise UnwritableError(f"the shape for which {layer.name!r} was built")
    if set(config) == {"input_shape"}:
        return written(config["input_shape"])
    return arguments((), config.get("shapes_dict", config))


# -- layers from their settings ---------------------------------------------------------------------------------------


def constructed(layer: Any) -> str:
    """The call that makes a layer of Keras with these settings; for a class of the port's own, of the one it extends.

    Raises UnwritableError for a layer that is none, or has a function among its settings.

    >>> constructed(keras.layers.Conv2D(5, 3, strides=2))
    'keras.layers.Conv2D(5, (3, 3), strides=(2, 2))'
    """
    kind = next((kind for kind in type(layer).__mro__ if kind.__module__.startswith("keras.")), keras.layers.Layer)
    if getattr(keras.layers, kind.__name__, None) is not kind or kind is keras.layers.Layer:
        raise UnwritableError(f"{layer.name!r}, a {type(layer).__name__}, which is no layer of Keras")
    return _call_of(kind, settings_of(layer))


def _call_of(kind: Any, config: Mapping[str, Any]) -> str:
    return f"keras.layers.{kind.__name__}({', '.join(_settings(kind, config))})"


def _settings(kind: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """The settings that are not as by default; those without a default, which come first, without their names."""
    parameters = inspect.signature(kind).parameters
    required = [key for key, each in parameters.items() if each.default is each.empty and key in config]
    for key in required:
        yield _setting(config[key])
    if policy := _policy(config.get("dtype")):
        yield f'dtype="{policy}"'
    if config.get("trainable") is False:
        yield "trainable=False"
    for key, value in config.items():
        dull = key in DULL or key.endswith(_DULL_ENDINGS) or key in ("dtype", "trainable", *required)
        if not dull and key in parameters and not _as_by_default(key, value, parameters[key].default):
            yield f"{key}={_setting(value)}"


def _as_by_default(key: str, value: Any, default: Any) -> bool:
    no_activation = value == "linear" and default is None
    return no_activation or (key == "data_format" and value == "channels_last") or as_by_default(value, default)


def _policy(dtype: Any) -> str:
    """The name of a precision other than Keras's usual one."""
    name = dtype["config"]["name"] if isinstance(dtype, Mapping) else str(dtype or "float32")
    return "" if name == "float32" else str(name)


def _setting(value: Any) -> str:
    """A setting; a layer within it as the call that makes that."""
    if isinstance(value, Mapping) and "class_name" in value:
        kind = getattr(keras.layers, str(value["class_name"]), None)
        if kind is None or value.get("module") != "keras.layers":
            raise UnwritableError(f"a setting that is a {value['class_name']}")
        return _call_of(kind, value["config"])
    return written(value)


# -- calls of keras.ops -----------------------------------------------------------------------------------------------


def _function(operation: Any) -> tuple[str, Any]:
    """The function of `keras.ops` behind an operation: `keras.ops.get_item` for a GetItem."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(operation).__name__).lower()
    for place, module in (("keras.ops", keras.ops), ("keras.ops.image", keras.ops.image)):
        if type(operation).__module__.startswith("keras.") and hasattr(module, name):
            return f"{place}.{name}", getattr(module, name)
    raise UnwritableError(f"{operation.name!r}, a {type(operation).__name__}, which is no function of keras.ops")


def _function_settings(operation: Any, function: Any) -> Iterator[tuple[str, Any]]:
    """The settings of an operation that are not the function's defaults."""
    parameters = inspect.signature(function).parameters
    for key, value in getattr(getattr(operation, "_auto_config", None), "config", {}).items():
        if key not in parameters:
            raise UnwritableError(f"{operation.name!r} with its setting {key}")
        default = parameters[key].default
        if value is not default and not (type(value) is type(default) and value == default):
            yield key, value


# -- a segment as a model ---------------------------------------------------------------------------------------------


def segment_model(evidence: Evidence) -> Any:
    """The segment as a `keras.Model` of its own, with copies of its layers.

    Raises PairError for a layer that a Keras without the port's code cannot load.
    """
    segment = evidence.segment
    for node in segment.nodes:
        own = foreign(node.operation)
        if own is not None:
            raise PairError(
                f"no script for {segment.layer!r} can do without your code: the port has {own.name!r} there, "
                f"a {type(own).__name__}; put a layer of Keras in its place, or send the model itself"
            )
    copies = {node.operation: copy_of(node.operation) for node in segment.nodes}
    symbolic = {id(tensor): tensor for node in segment.nodes for tensor in node.input_tensors}
    inputs = [
        keras.Input(batch_shape=array.shape, dtype=symbolic[key].dtype)
        for key, array in zip(segment.anchor_keys, evidence.anchors, strict=True)
    ]
    model = keras.Model(inputs, segment.run(inputs, Edit(replaced=copies)))
    for operation, copy in copies.items():
        if copy is not operation and getattr(operation, "weights", []):
            copy.set_weights(operation.get_weights())
    return model


def foreign(operation: Any) -> Any:
    """An operation, or one inside it, that is none of Keras's own or holds a function; None where there is none."""
    inner = operation._flatten_layers() if isinstance(operation, keras.layers.Layer) else [operation]
    for each in inner:
        if not type(each).__module__.startswith("keras.") or isinstance(each, keras.layers.Lambda):
            return each
    return None
