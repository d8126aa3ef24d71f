"""A whole torch module as a functional Keras model: of one kind that is known, or traced by torch.fx into such."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parity.axes import Axes, in_port
from parity.building.registry import build
from parity.building.values import Site, Value, each_value
from parity.frameworks import keras, torch
from parity.pairs import Input, Pair


@dataclass(frozen=True, kw_only=True)
class Built:
    """A Keras model built from a torch module, with its weights; `layers` maps paths of the module to its layers."""

    module: torch.nn.Module
    model: Any
    layers: Mapping[str, str]
    axes: Axes

    def pair(self, name: str) -> Pair:
        """Both, to be verified."""
        return Pair(name=name, reference=self.module, port=self.model, layers=self.layers, axes=self.axes)


def built(
    module: torch.nn.Module,
    given: Input,
    layouts: Mapping[str, str],
    data_format: str = "channels_last",
) -> Built:
    """The Keras model of a module for inputs of the shapes of `given`, whatever their batch.

    `layouts` says, by the inputs' names, which axes they have in torch (`{"input": "NCHW"}`).
    Raises ConversionError with all that cannot be built.
    """
    values: dict[str, Value] = {}
    tensors, declared = [], {}
    for name, array in given.arrays.items():
        layout = layouts[name]
        target = in_port(layout, channels_last=data_format == "channels_last")
        order = tuple(layout.index(letter) for letter in target)
        shape = [None if letter == "N" else array.shape[axis] for letter, axis in zip(target, order, strict=True)]
        tensors.append(keras.Input(batch_shape=shape, dtype=str(array.dtype), name=name))
        values[name] = Value(tensors[-1], order)
        declared[name] = (layout, target)
    site = Site(path="", data_format=data_format)
    args, kwargs = given.filled(lambda name, _: values[name])
    results = list(each_value(build(module, site, *args, **kwargs)))
    letters = "".join(letter for layout in layouts.values() for letter in layout)
    for i, value in enumerate(results):
        name = "output" if len(results) == 1 else f"output[{i}]"
        source = _letters(len(value.order), letters)
        declared[name] = (source, "".join(source[axis] for axis in value.order))
    outputs = [value.tensor for value in results]
    model = keras.Model(tensors, outputs[0] if len(outputs) == 1 else outputs)
    return Built(module=module, model=model, layers={}, axes=Axes(by_name=declared))


def _letters(rank: int, taken: str) -> str:
    """A letter for each axis of an output; only their order matters."""
    return "NCTHW"[:rank] if rank <= 5 else "NCTHWABDE"[:rank]
