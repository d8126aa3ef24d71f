"""Differentiates a segment of the port, on the values its anchors are given: eagerly, as a graph, or compiled.

Nothing of the port is changed: what a step in training mode would write into statistics is kept beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.runners.edits import NOTHING, Edit
from parity.runners.segments import Segment
from parity.runners.tensors import as_tensor

WRAP: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}


CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What one cotangent at a segment's value becomes: gradients by anchor, and by weight of `weights_of`.

    None where no gradient comes through.
    """

    anchors: Mapping[str, Array | None]
    weights: Sequence[Array | None]


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A segment's value, what each cotangent at it becomes, and the weights after a step in training mode."""

    value: Array
    pulled: Sequence[Pulled]
    updated: Mapping[int, Array] = field(default_factory=dict)
    """By the id of the Keras variable."""


def weights_of(segment: Segment, edit: Edit = NOTHING) -> list[Any]:
    """The Keras variables that the segment computes with, each once."""
    found = {}
    for node in segment.nodes:
        operation = edit.replaced.get(node.operation, node.operation)
        for variable in getattr(operation, "weights", None) or ():
            found[id(variable)] = variable
    return list(found.values())


def layers_with_weights(segment: Segment) -> list[Any]:
    """The operations of the segment that have weights, each once, in their order."""
    return list({id(n.operation): n.operation for n in segment.nodes if getattr(n.operation, "weights", None)}.values())


def in_training(segment: Segment) -> Edit:
    """The segment as it runs in training, without what is random in it: what drops or adds noise lets all pass."""
    replaced: dict[Any, Any] = {}
    for node in segment.nodes:
        operation = node.operation
        if drops(operation):
            replaced[operation] = lambda x, *args, **kwargs: x
        elif getattr(operation, "_call_has_training_arg", False):
            replaced[operation] = Trained(operation)
    return Edit(replaced=replaced)


class Trained:
    """A layer called as a model calls it in training; where the port says `training` itself, that is kept to."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    @property
    def weights(self) -> Sequence[Any]:
        """The layer's."""
        return list(getattr(self.layer, "weights", ()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer makes of it."""
        said = kwargs.pop("training", None)
        return self.layer(*args, **kwargs, training=True if said is None else said)


def drops(operation: Any) -> bool:
    """Whether a layer changes values at random in training, and only then."""
    name = type(operation).__name__
    return isinstance(operation, keras.layers.Layer) and (name.endswith("Dropout") or name == "GaussianNoise")


def pull(
    segment: Segment,
    anchors: Sequence[Array],
    cotangents: Sequence[Array],
    *,
    mode: str = "eager",
    edit: Edit = NOTHING,
) -> Pull:
    """Run the segment on its anchors' values and pull each cotangent (both in the port's layout) back through it.

    Raises PairError where the segment cannot be run on them, or where its value has another shape than a cotangent.
    """
    edit = _guarded(segment, edit)
    weights = weights_of(segment, edit)
    variables = [weight for weight in weights if "float" in str(weight.dtype)]

    def run(anchors: Sequence[Any], cotangents: Sequence[Any]) -> Any:
        with keras.StatelessScope() as scope:
            value, found = _differentiated(segment, anchors, cotangents, variables, edit)
            updates = [scope.get_current_value(variable) for variable in weights]
        return value, found, updates

    try:
        made = WRAP[mode](run)([as_tensor(array) for array in anchors], [as_tensor(array) for array in cotangents])
    except (tf.errors.OpError, ValueError, TypeError, LookupError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PairError(f"{segment.tap.name} of the port cannot be differentiated in {mode}: {reason}") from error
    value, found, updates = made
    places = {id(variable): index for index, variable in enumerate(variables)}
    return Pull(
        value=np.asarray(value),
        pulled=[_named(segment, each, [places.get(id(weight)) for weight in weights]) for each in found],
        updated={id(weight): np.asarray(new) for weight, new in zip(weights, updates, strict=True) if new is not None},
    )


def _guarded(segment: Segment, edit: Edit) -> Edit:
    """The edit, and what a strided convolution never reads cut off before it.

    TensorFlow 2.21 with oneDNN reads and writes beyond its memory in the gradient of a kernel smaller than its stride
    where the input ends in rows or columns that no step reaches (a 1x1 kernel at stride 2 on 64x80), and may end the
    process. What is cut off has the gradient zero either way.
    """
    guards = {
        (node, 0): _Reached(node.operation)
        for node in segment.nodes
        if isinstance(node.operation, CONVOLUTIONS)
        and any(k < s for k, s in zip(node.operation.kernel_size, node.operation.strides, strict=True))
        and (node, 0) not in edit.inserted
    }
    return Edit(inserted=guards) | edit


class _Reached:
    """The part of a convolution's input that its kernel, smaller than the stride, reaches."""

    def __init__(self, layer: Any) -> None:
        self._sizes, self._strides = layer.kernel_size, layer.strides
        self._first = 1 if layer.data_format == "channels_last" else 2
        self._padded = layer.padding != "valid"

    def __call__(self, x: Any) -> Any:
        """That part; all of it where padding makes every step count."""
        ends = []
        for axis, (kernel, stride) in enumerate(zip(self._sizes, self._strides, strict=True), start=self._first):
            size = x.shape[axis]
            reachable = kernel < stride and not (self._padded and kernel > 1)
            ends.append(size - (size - kernel) % stride if reachable else size)
        return x[(*[slice(None)] * self._first, *[slice(0, end) for end in ends])]


def _differentiated(
    segment: Segment, anchors: Sequence[Any], cotangents: Sequence[Any], variables: Sequence[Any], edit: Edit
) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    held = [variable.value for variable in variables]
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch([anchor for anchor in anchors if anchor.dtype.is_floating])
        tape.watch(held)
        value = segment.run(anchors, edit)
    found = []
    for cotangent in cotangents:
        if tuple(value.shape) != tuple(cotangent.shape):
            raise ValueError(f"its value has shape {tuple(value.shape)}, but should have {tuple(cotangent.shape)}")
        gradients = tape.gradient(value, [list(anchors), held], output_gradients=tf.cast(cotangent, value.dtype))
        found.append(([_dense(each) for each in gradients[0]], [_dense(each) for each in gradients[1]]))
    return value, found


def _dense(gradient: Any) -> Any:
    return None if gradient is None else tf.convert_to_tensor(gradient)


def _named(segment: Segment, found: tuple[Sequence[Any], Sequence[Any]], places: Sequence[int | None]) -> Pulled:
    anchors, weights = ([None if each is None else np.asarray(each) for each in group] for group in found)
    return Pulled(
        anchors=dict(zip(segment.anchors, anchors, strict=True)),
        weights=[None if place is None else weights[place] for place in places],
    )
