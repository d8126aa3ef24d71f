"""Norms that a file has in parts: of a batch norm a factor and a shift for each channel, of a layer norm the mean, the
variance, and what x is multiplied by and added to.

    x ─► mean ─► (x - mean)² ─► mean ─► + epsilon ─► 1/√ [─► · scale] = factor
    x · factor + (-mean · factor [+ shift])      Keras;   x · factor + (shift - mean · factor)   TensorFlow's own
    (x - mean) / √ [· scale] [+ shift]           as torch writes it

The same for every format: operations go by their names without capitals and lines, and what only stores a value
otherwise (QUANTIZE, DEQUANTIZE) is passed over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from parity.artifacts.lifting import View
from parity.artifacts.program import Step
from parity.axes import Array
from parity.frameworks import keras

_STORING = frozenset({"quantize", "dequantize"})
_ADDITION = ("add", "addv2")
_MEANS = ("mean", "reducemean", "globalaveragepool")
_AWAY = ("squareddifference", "sub")

T = TypeVar("T")

Axes = Callable[[Step], Sequence[int] | None]
"""Over which axes a step takes the mean, keeping them; None where it is no such mean."""


@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """A layer norm in parts: what it reads, over which axes, its constants as the file has them, the tensor that it
    makes and its steps."""

    read: str
    axes: tuple[int, ...]
    epsilon: float
    scale: Array | None
    shift: Array | None
    tensor: str
    steps: tuple[Step, ...]


def layer_norm(view: View, step: Step, axes: Axes) -> LayerNorm | None:
    """The layer norm that begins with a mean; None where what follows is another thing."""
    over = axes(step)
    return None if over is None else _Parts(view, step, axes, tuple(over)).found()


def layer_of(norm: LayerNorm, shape: Sequence[int], axes: Sequence[int]) -> tuple[Any, tuple[Array, ...]]:
    """Keras's layer for a norm over `axes` of a shape, and its weights. Raises ValueError for constants that no such
    layer has."""
    weights = tuple(_along(value, shape, axes) for value in (norm.scale, norm.shift) if value is not None)
    layer = keras.layers.LayerNormalization(
        axis=list(axes) if len(axes) > 1 else axes[0],
        epsilon=norm.epsilon,
        scale=norm.scale is not None,
        center=norm.shift is not None,
    )
    return layer, weights


def _along(value: Array, shape: Sequence[int], axes: Sequence[int]) -> Array:
    """A constant as a weight: one number for each place along the axes of a norm."""
    own = value.reshape([1] * (len(shape) - value.ndim) + list(value.shape))
    wide = np.broadcast_to(own, [size if axis in axes else 1 for axis, size in enumerate(shape)])
    return wide.reshape([shape[axis] for axis in axes])


def is_per_channel(value: Array, shape: Sequence[int], axis: int) -> bool:
    """Whether a constant has one number for each place along an axis of a shape, of several."""
    own = [1] * (len(shape) - value.ndim) + list(value.shape)
    return value.size == shape[axis] > 1 and len(own) == len(shape) and own[axis] == shape[axis]


def _kind(step: Step) -> str:
    return step.op.replace("_", "").lower()


class _Parts:
    """The steps from a mean on, as they are found to be those of a layer norm."""

    def __init__(self, view: View, mean: Step, axes: Axes, over: tuple[int, ...]) -> None:
        self._view, self._mean, self._axes, self._over = view, mean, axes, over
        self._x = self._source(mean.inputs[0])
        self._steps: dict[str, Step] = {mean.name: mean}

    def found(self) -> LayerNorm | None:
        """The norm; None where a part is missing, or somebody else sees what lies inside."""
        try:
            scale, shift, epsilon, last = self._whole()
        except _OtherwiseError:
            return None
        inside = {tensor for step in self._steps.values() if step is not last for tensor in step.outputs}
        seen = {step.name for tensor in inside for step in self._view.readers(tensor)}
        if seen - self._steps.keys() or inside & set(self._view.program.outputs.values()):
            return None
        if any(step.attributes.get("fusedActivationFunction", "NONE") != "NONE" for step in self._steps.values()):
            return None
        return LayerNorm(
            read=self._mean.inputs[0],
            axes=self._over,
            epsilon=epsilon,
            scale=scale,
            shift=shift,
            tensor=last.outputs[0],
            steps=tuple(self._steps.values()),
        )

    def _whole(self) -> tuple[Array | None, Array | None, float, Step]:
        away = self._take(_one([each for each in self._readers(self._mean) if _kind(each) in _AWAY]))
        if self._sources(away) != [self._x, self._mean.outputs[0]]:
            raise _OtherwiseError
        squared = away if _kind(away) == "squareddifference" else self._squared(away)
        variance = self._take(self._only(squared, *_MEANS))
        if tuple(self._axes(variance) or ()) != self._over:
            raise _OtherwiseError
        added = self._take(self._only(variance, *_ADDITION))
        number = self._needed_constant(added)
        if number.size != 1:
            raise _OtherwiseError
        epsilon = float(str(np.float32(number.reshape(-1)[0])))
        root = self._take(self._only(added, "rsqrt", "sqrt"))
        others = [each for each in self._readers(away) if squared is not away and each is not squared]
        if _kind(root) == "sqrt" and others:
            scale, shift, last = self._divided(away, root, _one(others))
        else:
            root = root if _kind(root) == "rsqrt" else self._take(self._only(root, "reciprocal"))
            scale, shift, last = self._multiplied(root)
        return scale, shift, epsilon, last

    def _multiplied(self, root: Step) -> tuple[Array | None, Array | None, Step]:
        """`x * factor` and what is added to it: the scale, the shift and the last step."""
        scale, factor = None, root
        if len(self._readers(root)) == 1:
            factor = self._take(self._only(root, "mul"))
            scale = self._needed_constant(factor)
        value = factor.outputs[0]
        ends = [each for each in self._readers(factor) if _kind(each) == "mul"]
        scaled = self._take(_one([each for each in ends if sorted(self._sources(each)) == sorted([self._x, value])]))
        lowered = self._take(_one([each for each in ends if each is not scaled]))
        turned = self._view.maker(_one([source for source in self._sources(lowered) if source != value]))
        if turned is not None and _kind(turned) == "neg" and self._sources(turned) == [self._mean.outputs[0]]:
            self._readers(self._take(turned))
        elif turned is not self._mean:
            raise _OtherwiseError
        low = self._only(lowered, "sub", *_ADDITION)
        shift = self._constant(low)
        away = (_kind(low) == "sub", turned is self._mean)
        if shift is None and not any(away):
            low = lowered
        elif shift is None or away[0] != away[1] or (away[0] and self._sources(low)[1] != lowered.outputs[0]):
            raise _OtherwiseError
        last = self._take(self._only(self._take(low), *_ADDITION))
        if sorted(self._sources(last)) != sorted([scaled.outputs[0], low.outputs[0]]):
            raise _OtherwiseError
        return scale, shift, last

    def _divided(self, away: Step, root: Step, last: Step) -> tuple[Array | None, Array | None, Step]:
        """`(x - mean) / root`, and the scale and the shift after it."""
        if _kind(last) != "div" or self._sources(last) != [away.outputs[0], root.outputs[0]]:
            raise _OtherwiseError
        last, scale = self._and_constant(self._take(last), "mul")
        last, shift = self._and_constant(last, *_ADDITION)
        return scale, shift, last

    def _and_constant(self, last: Step, *kinds: str) -> tuple[Step, Array | None]:
        """The step that combines a step's value with a weight, and that weight; the step itself where none does."""
        readers = self._view.readers(last.outputs[0])
        after = self._view.next(last, readers[0].op) if readers and _kind(readers[0]) in kinds else None
        value = self._constant(after) if after is not None else None
        if after is None or value is None or not self._fits(value):
            return last, None
        return self._take(after), value

    def _squared(self, away: Step) -> Step:
        """The square of a difference: its product with itself, or a power of 2."""
        for each in self._readers(away):
            power = self._view.constant(each.inputs[1]) if _kind(each) == "pow" else None
            twice = _kind(each) == "mul" and self._sources(each) == [away.outputs[0]] * 2
            if twice or _kind(each) == "square" or (power is not None and power.size == 1 and float(power) == 2):
                return self._take(each)
        raise _OtherwiseError

    # -- where a value goes, and where it is from ----------------------------------------------------------------------

    def _take(self, step: Step) -> Step:
        self._steps[step.name] = step
        return step

    def _readers(self, step: Step) -> list[Step]:
        """The steps that read a step's value, however it is stored for them; what stores it is one of the parts."""
        found: list[Step] = []
        for each in self._view.readers(step.outputs[0]):
            found += self._readers(self._take(each)) if _kind(each) in _STORING else [each]
        return found

    def _only(self, step: Step, *kinds: str) -> Step:
        found = _one(self._readers(step))
        if _kind(found) not in kinds:
            raise _OtherwiseError
        return found

    def _source(self, tensor: str) -> str:
        maker = self._view.maker(tensor)
        return self._source(maker.inputs[0]) if maker is not None and _kind(maker) in _STORING else tensor

    def _sources(self, step: Step) -> list[str]:
        return [self._source(tensor) for tensor in step.inputs]

    def _constant(self, step: Step) -> Array | None:
        found = [value for tensor in step.inputs if (value := self._view.constant(tensor)) is not None]
        return found[0] if len(found) == 1 and len(step.inputs) == 2 else None

    def _needed_constant(self, step: Step) -> Array:
        value = self._constant(step)
        if value is None:
            raise _OtherwiseError
        return value

    def _fits(self, value: Array) -> bool:
        """Whether a constant has the sizes of a weight of this norm."""
        shape = self._view.shape(self._mean.inputs[0])
        try:
            _along(value, shape, self._over)
        except ValueError:
            return False
        return value.size > 1


class _OtherwiseError(Exception):
    """What is looked at is no layer norm."""


def _one(found: Sequence[T]) -> T:
    if len(found) != 1:
        raise _OtherwiseError
    return found[0]
