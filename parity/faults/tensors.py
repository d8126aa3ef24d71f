"""Things done wrong to a tensor, as functions of Keras operations: they keep the precision of what they are given.

Tensors are in the port's layout, channels last.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import keras
from parity.runners.edits import Change

Pads = Sequence[tuple[int, int]]
"""(before, after) of each axis between the batch and the channels."""


def on_first(function: Callable[[Any], Any]) -> Change:
    """`function` of the first argument, in the place of an operation that takes more."""
    return lambda first, *args, **kwargs: function(first)


def like(array: Array, tensor: Any) -> Array:
    """`array` in the precision of `tensor`."""
    return np.asarray(array, keras.backend.standardize_dtype(tensor.dtype))


def padded(x: Any, pads: Pads, mode: str = "constant", value: float = 0.0) -> Any:
    """`x` with its inner axes padded: with a constant, or by "reflect", "symmetric" or "replicate"."""
    if mode == "replicate":
        for axis, (before, after) in enumerate(pads, start=1):
            first = _part(x, axis, slice(0, 1))
            last = _part(x, axis, slice(-1, None))
            x = keras.ops.concatenate([first] * before + [x] + [last] * after, axis=axis)
        return x
    width = ((0, 0), *pads, (0, 0))
    return keras.ops.pad(x, width, mode=mode, **({"constant_values": value} if mode == "constant" else {}))


def cropped(x: Any, crops: Pads) -> Any:
    """`x` with its inner axes cut."""
    for axis, (before, after) in enumerate(crops, start=1):
        x = _part(x, axis, slice(before, x.shape[axis] - after))
    return x


def shifted(x: Any, shifts: Sequence[int]) -> Any:
    """`x` moved along its inner axes, zeros moving in."""
    pads = [(max(shift, 0), max(-shift, 0)) for shift in shifts]
    return cropped(padded(x, pads), [(after, before) for before, after in pads])


def _part(x: Any, axis: int, part: slice) -> Any:
    return x[(slice(None),) * axis + (part,)]


def permuted(x: Any, order: Sequence[int], axis: int = -1) -> Any:
    """`x` with the entries along one axis in another order."""
    return keras.ops.take(x, np.asarray(order), axis=axis)


def resized(x: Any, height: Array, width: Array) -> Any:
    """`x` (N, H, W, C) with matrices (out, in) applied along height and width."""
    tall = keras.ops.einsum("ph,nhwc->npwc", like(height, x), x)
    return keras.ops.einsum("qw,npwc->npqc", like(width, x), tall)


def resize_matrix(size: int, out: int, *, grid: str, method: str, cubic: float = -0.75) -> Array:
    """(out, size): how each of `out` places is made of `size` values.

    `grid` says where the places lie: "half-pixel", "align-corners" or "asymmetric"; `method` is "nearest" (the lower
    one), "nearest-round", "bilinear" or "bicubic" with the coefficient `cubic`. Source: ONNX's Resize.
    """
    places = np.arange(out)
    at = {
        "half-pixel": (places + 0.5) * size / out - 0.5,
        "align-corners": places * (size - 1) / max(out - 1, 1),
        "asymmetric": places * size / out,
    }[grid]
    matrix = np.zeros((out, size))
    if method.startswith("nearest"):
        chosen = np.floor(at + (0.5 if method == "nearest-round" else 1e-9))
        matrix[places, np.clip(chosen.astype(int), 0, size - 1)] = 1.0
        return matrix
    reach = 2 if method == "bicubic" else 1
    for step in range(1 - reach, reach + 1):
        near = np.floor(at).astype(int) + step
        weight = _cubic(np.abs(at - near), cubic) if method == "bicubic" else 1 - np.abs(at - near)
        np.add.at(matrix, (places, np.clip(near, 0, size - 1)), weight)
    return matrix


def _cubic(distance: Array, a: float) -> Array:
    inner = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    outer = ((distance - 5) * distance + 8) * distance * a - 4 * a
    weight: Array = np.where(distance <= 1, inner, np.where(distance < 2, outer, 0.0))
    return weight


def rounded(array: Array, precision: str) -> Array:
    """`array` rounded to "float16", "bfloat16", "int8-tensor" or "int8-channel" (the last axis), as float32."""
    if precision.startswith("int8"):
        axes = tuple(range(array.ndim - 1)) if precision == "int8-channel" else None
        step = np.abs(array).max(axis=axes, keepdims=True) / 127.0
        safe = np.where(step == 0, 1.0, step)
        return np.asarray(np.round(array / safe) * safe, np.float32)
    if precision == "float16":
        return array.astype(np.float16).astype(np.float32)
    # To nearest, ties to even, at the 16th bit.
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    kept = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return kept.astype(np.uint32).view(np.float32)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: keras.ops.relu(x),
    "relu6": lambda x: keras.ops.relu6(x),
    "elu": lambda x: keras.ops.elu(x),
    "selu": lambda x: keras.ops.selu(x),
    "silu": lambda x: keras.ops.silu(x),
    "tanh": lambda x: keras.ops.tanh(x),
    "sigmoid": lambda x: keras.ops.sigmoid(x),
    "softplus": lambda x: keras.ops.softplus(x),
    "gelu": lambda x: keras.ops.gelu(x, approximate=False),
    "gelu of tanh": lambda x: keras.ops.gelu(x, approximate=True),
    "quick gelu": lambda x: x * keras.ops.sigmoid(1.702 * x),
    "hard sigmoid of 1/6": lambda x: keras.ops.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "hard sigmoid of 0.2": lambda x: keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0),
    "hard swish": lambda x: x * keras.ops.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "hard swish of 0.2": lambda x: x * keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0),
    "softmax": lambda x: keras.ops.softmax(x, axis=-1),
    "log of sigmoid": lambda x: keras.ops.log_sigmoid(x),
}
"""Activations by a name that says which variant it is."""


def order_of_groups(channels: int, groups: int) -> list[int]:
    """Channels as a shuffle of `groups` leaves them."""
    return [int(i) for i in np.arange(channels).reshape(groups, -1).T.ravel()]


def divisors(number: int) -> list[int]:
    """What divides it, but 1 and itself."""
    return [d for d in range(2, number) if number % d == 0]


def chosen(generator: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options."""
    return options[int(generator.integers(len(options)))]


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """A number between the two, all magnitudes alike likely."""
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))
