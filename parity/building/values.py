"""A tensor on its way through the port, and the place in the reference that something is built for.

In torch every tensor has its axes where torch puts them. In the port a map's channels may be elsewhere, and the batch
comes first. So a tensor of the port carries its `order`, and nothing is ever inferred from sizes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity.axes import CHANNELS_FIRST, DATA_FORMATS, Array
from parity.converters import convert
from parity.frameworks import keras, torch


@dataclass(frozen=True)
class Batch:
    """A size that is the network's batch, or `factor` times it."""

    factor: int = 1

    def __str__(self) -> str:
        return "N" if self.factor == 1 else f"{self.factor}N"


@dataclass(frozen=True)
class Value:
    """A tensor of the port (Keras's, symbolic or not): its axis i is axis `order[i]` of the tensor torch has there."""

    tensor: Any
    order: tuple[int, ...]

    @classmethod
    def plain(cls, tensor: Any) -> "Value":
        """A tensor whose axes are where torch has them."""
        return cls(tensor, tuple(range(len(tensor.shape))))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape torch would give it; None for a size that is not known, such as the batch."""
        return tuple(self.tensor.shape[self.order.index(axis)] for axis in range(len(self.order)))

    def moved(self, order: Sequence[int]) -> Any:
        """The tensor itself with its axes in that order; as it is where they are."""
        if tuple(order) == self.order:
            return self.tensor
        if isinstance(self.tensor, np.ndarray):  # a constant of the network
            return np.transpose(self.tensor, [self.order.index(axis) for axis in order])
        return keras.ops.transpose(self.tensor, [self.order.index(axis) for axis in order])


def without(order: Sequence[int], axis: int) -> tuple[int, ...]:
    """An order of axes, one of them taken out."""
    return tuple(each - (each > axis) for each in order if each != axis)


def channels_order(rank: int, data_format: str) -> tuple[int, ...]:
    """Where a map of that rank has torch's axes in a data format.

    >>> channels_order(4, "channels_last"), channels_order(3, "channels_first"), channels_order(2, "channels_last")
    ((0, 2, 3, 1), (0, 1, 2), (0, 1))
    """
    return tuple(CHANNELS_FIRST[rank].index(letter) for letter in DATA_FORMATS[data_format][rank])


@dataclass(frozen=True, kw_only=True)
class Site:
    """The place a module or a call has in the reference, and in what form the port is to have it.

    `path` is its name there (`conv3.0`, `add#2`); `order` that of the first tensor it is given, as the builder sees it;
    `made` are the Keras layers built for it so far. `build` builds a part of it: another module, in the same form.
    """

    path: str
    data_format: str = "channels_last"
    order: tuple[int, ...] = ()
    made: list[Any] = field(default_factory=list)
    earlier: Sequence[Any] = ()
    """The Keras layers that were made for the same module when it was called before: they are called again."""
    sizes: Mapping[int, Sequence[Any]] = field(default_factory=dict)
    """What torch makes there: the sizes of each tensor of the result, by its number; a size may be a Batch."""
    dtypes: Mapping[int, str] = field(default_factory=dict)
    """What kind of numbers each of these tensors has in torch, such as "float32"."""
    batch: "Value | None" = None
    """A tensor that has the batch of the network, for what has to be repeated as often."""

    @property
    def channels_last(self) -> bool:
        """Whether maps have their channels last."""
        return self.data_format == "channels_last"

    @property
    def channels(self) -> int:
        """The axis of the port's tensor that has the channels (torch's axis 1)."""
        return self.order.index(1)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The axes of the port's map that are space (torch's axes 2 and on), in torch's order."""
        return tuple(self.order.index(axis) for axis in range(2, len(self.order)))

    def axis(self, dim: int) -> int:
        """The axis of the port's tensor that is torch's `dim`, which may be negative."""
        return self.order.index(dim % len(self.order))

    def name(self, part: str = "") -> str:
        """The name of the Keras layer for it, or for a part of it."""
        return "/".join(filter(None, (self.path, part))).replace("/", "_") or "layer"

    def part(self, name: str) -> "Site":
        """The place of a module that the one here has: `self_attn` of `layers.0` is `layers.0.self_attn`."""
        return replace(self, path=".".join(filter(None, (self.path, name))))

    def layer(
        self, layer: Any, weights_of: torch.nn.Module | None = None, arrays: Sequence[Array] = ()
    ) -> Callable[..., Any]:
        """A call of a Keras layer that was made for this place; once it is built it is given the module's weights.

        `arrays` are its weights where a module is several layers in Keras, each with a part of what the module has.
        """
        place = len(self.made)
        if place < len(self.earlier) and _alike(layer, self.earlier[place]):
            layer = self.earlier[place]
        self.made.append(layer)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = layer(*args, **kwargs)
            if weights_of is not None:
                layer.set_weights(convert(weights_of, self.path, layer))
            elif arrays:
                layer.set_weights(arrays)
            return result

        return call


def _alike(layer: Any, other: Any) -> bool:
    """Whether two Keras layers are of one kind with the same settings, whatever they are called."""
    ours, theirs = ({**_unbuilt(each.get_config()), "name": ""} for each in (layer, other))
    return type(layer) is type(other) and ours == theirs


def _unbuilt(config: Any) -> Any:
    """The configuration of a layer as it was before it was built: layers within it say in theirs for which shapes."""
    if not isinstance(config, dict):
        return config
    return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}


def each_value(nested: Any) -> Iterator[Value]:
    """Every Value of a result, which may be a tuple of them."""
    if isinstance(nested, Value):
        yield nested
    elif isinstance(nested, (tuple, list)):
        for item in nested:
            yield from each_value(item)
