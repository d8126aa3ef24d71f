"""A model of any form as one TensorFlow function of named tensors: what every exporter takes.

The function takes the model's inputs flat, by name, and returns its outputs in a dict. Everything that is called with
tensors and returns tensors can be served so: functional and subclassed models, tf_keras, plain functions.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import ExportError
from parity.frameworks import keras, tf
from parity.pairs import INPUT, Input
from parity.runners.graphs import inferring
from parity.runners.taps import OUTPUT
from parity.trees import leaves


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model, how it is called, and what its inputs are called.

    `example` is a call of it, with arrays in its own layout; `names` has for each array of the example the name of the
    input. Batches are free where `free` is true: the first axis of every input.
    """

    model: Any
    example: Input
    names: Mapping[str, str]
    free: bool = False

    @property
    def specs(self) -> list[Any]:
        """A tf.TensorSpec for each input, in order."""
        return [
            tf.TensorSpec(
                (None, *array.shape[1:]) if self.free and array.ndim else array.shape,
                dtype=array.dtype.name,
                name=self.names[name],
            )
            for name, array in self.example.arrays.items()
        ]

    @property
    def signature(self) -> list[Any]:
        """The specs in the structure of the call's arguments by position."""
        given = dict(zip(self.example.arrays, self.specs, strict=True))
        return list(self.example.filled(lambda name, _: given[name])[0])

    def call(self, *tensors: Any) -> dict[str, Any]:
        """The outputs by name, of tensors for the inputs in order."""
        given = dict(zip(self.example.arrays, tensors, strict=True))
        args, kwargs = self.example.filled(lambda name, _: given[name])
        return outputs_by_name(inferring(self.model)(*args, **kwargs))

    def feed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by the names of the inputs, of arrays by the example's names."""
        return {self.names[name]: np.ascontiguousarray(array) for name, array in arrays.items()}


def served(model: Any, example: Input | None = None, *, names: Sequence[str] = (), free: bool = False) -> Served:
    """A model as it is called in the example; a functional model is called on what it declares where there is none.

    `names` are what the model itself calls the example's arrays, in their order, "" where it has no name. Raises
    ExportError where a model of another form is given without an example.
    """
    if example is None:
        example, names = _declared(model)
    found = names or [""] * len(example.arrays)
    own = {name: _plain(other or name) for name, other in zip(example.arrays, found, strict=True)}
    if len(set(own.values())) < len(own):
        raise ExportError(f"two inputs of the port would have the same name: {', '.join(own.values())}")
    return Served(model=model, example=example, names=own, free=free)


def outputs_by_name(result: Any) -> dict[str, Any]:
    """What a model returns by name: `output_0`, `output_1`, or the keys of a mapping, as Keras exports them."""
    found = dict(leaves(result, OUTPUT))
    named: dict[str, Any] = {}
    for place, (way, value) in enumerate(found.items()):
        name = _plain(way.removeprefix(f"{OUTPUT}.")) if way.startswith(f"{OUTPUT}.") else f"{OUTPUT}_{place}"
        named[name] = tf.convert_to_tensor(value)
    return named


def _declared(model: Any) -> tuple[Input, list[str]]:
    """A call of a functional model on zeros of what it declares, one of each batch, and the names of its inputs."""
    graph = getattr(model, "_functional", None) or model
    structure = getattr(graph, "_inputs_struct", None)
    if structure is None:
        raise ExportError(f"what the port, a {type(model).__name__}, is called with is not known; give an example")
    arrays = keras.tree.map_structure(_zeros, structure)
    return Input(name="declared", args=(arrays,)), [str(tensor.name) for _, tensor in leaves(structure, INPUT)]


def _zeros(tensor: Any) -> Array:
    shape = tuple(tensor.shape)
    if None in shape[1:]:
        raise ExportError(f"input {tensor.name!r} of the port is declared {shape}; give an example with its sizes")
    return np.zeros((1, *shape[1:]), dtype=str(tensor.dtype))


def _plain(name: str) -> str:
    """A name that every format takes."""
    return re.sub(r"\W+", "_", name).strip("_") or INPUT
