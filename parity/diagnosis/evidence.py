"""What is known of one failing layer, and how a hypothesis about it is put to the test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from parity import converters
from parity.axes import Array
from parity.comparison import Comparison, compare
from parity.errors import WeightError
from parity.runners.edits import Edit
from parity.runners.keras_model import Segment, as_array, as_tensor
from parity.tolerance import Limits


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One layer in one run: what went in, what should have come out, what came out. Arrays are in the port's layout.

    `module` is the torch layer (None for a functional operation). `channel_axis` is where channels are in `expected`.
    """

    segment: Segment
    mode: str
    module: Any
    anchors: Sequence[Array]
    expected: Array
    actual: Array
    limits: Limits
    channel_axis: int

    @cached_property
    def before(self) -> Comparison:
        """The error as found."""
        return compare(self.actual, self.expected, self.limits)

    @property
    def operation(self) -> Any:
        """The Keras operation that makes this layer's value."""
        return self.segment.tap.operation

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The Keras layer's configuration; empty for an operation without one."""
        get_config = getattr(self.operation, "get_config", None)
        return get_config() if get_config else {}

    @cached_property
    def port_weights(self) -> tuple[Array, ...]:
        """The port layer's weights, in Keras order."""
        return tuple(np.asarray(weight) for weight in getattr(self.operation, "weights", ()))

    @cached_property
    def source_weights(self) -> tuple[Array, ...]:
        """What the port layer's weights should be, by the converter of the torch layer; empty where there is none."""
        if self.module is None:
            return ()
        try:
            return tuple(converters.convert(self.module, self.segment.layer))
        except WeightError:
            return ()

    def replay(self, replaced: Mapping[Any, Callable[..., Any]] | None = None) -> Array:
        """The segment run again, eagerly and on the reference's values, with some operations replaced."""
        return as_array(self.segment.run([as_tensor(array) for array in self.anchors], Edit(replaced=replaced or {})))

    def with_layer(self, *, weights: Sequence[Array] | None = None, **changes: Any) -> Array:
        """The segment run again with this layer's configuration or weights changed."""
        return self.replay({self.operation: self.copy(weights=weights, **changes)})

    def copy(self, *, weights: Sequence[Array] | None = None, **changes: Any) -> Callable[..., Any]:
        """A copy of the Keras layer with changes; the original is not touched."""
        layer = type(self.operation).from_config({**self.config, **changes})
        values = self.port_weights if weights is None else weights

        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            if not layer.built:
                layer.build(x.shape)
                layer.set_weights([np.asarray(value) for value in values])
            return layer(x, *args, **kwargs)

        return call

    def along_channels(self, vector: Array) -> Array:
        """`vector` (one value per channel) shaped to be added to this layer's value."""
        shape = [1] * self.expected.ndim
        shape[self.channel_axis] = -1
        return vector.reshape(shape)


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A cause that may explain the error, and the layer's value with that cause undone."""

    slug: str
    detail: str
    undone: Callable[[], Array]
