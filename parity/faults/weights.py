"""Faults in the weights: moved, taken from elsewhere, lost, rounded.

An operator gives None where the change leaves the weights as they are, or where the table has two names for what comes
out: a kernel reshaped into one of its transposes is `kernel-axes`.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from einops import rearrange

from parity.axes import Array
from parity.faults.planting import CONVOLUTIONS, LINEAR, NORMS, RECURRENT, Generator, Planted, Site, operator
from parity.faults.tensors import chosen, like, order_of_groups, rounded
from parity.frameworks import keras
from parity.runners.edits import Change


def _transposes(array: Array) -> list[tuple[int, ...]]:
    """The orders of the axes, other than the present one, that leave the shape and change the values."""
    orders = [order for order in permutations(range(array.ndim)) if order != tuple(range(array.ndim))]
    fitting = [order for order in orders if array.transpose(order).shape == array.shape]
    return [order for order in fitting if not np.array_equal(array.transpose(order), array)]


@operator("kernel-axes")
def kernel_axes(site: Site, generator: Generator) -> Planted | None:
    """The kernel's axes in another order of the same shape: height and width, in and out, a square Dense kernel."""
    if site.kernel != "kernel" or site.kind not in LINEAR | RECURRENT:
        return None
    orders = _transposes(site.weights["kernel"])
    if site.kind == "depthwiseconv2d":
        orders = [order for order in orders if order[2:] == (2, 3)]  # the others are kernel-layout
    if not orders:
        return None
    order = chosen(generator, orders)
    return site.reweighted("kernel-axes", f"kernel axes {order}", {"kernel": site.weights["kernel"].transpose(order)})


@operator("kernel-flip")
def kernel_flip(site: Site, generator: Generator) -> Planted | None:
    """The kernel reversed along its height, its width, or both."""
    if site.kind not in LINEAR or site.kernel is None or site.weights["kernel"].ndim < 3:
        return None
    kernel = site.weights["kernel"]
    spatial = [axis for axis in range(kernel.ndim - 2) if kernel.shape[axis] > 1]
    if not spatial:
        return None
    flips = [(axis,) for axis in spatial] + ([tuple(spatial)] if len(spatial) > 1 else [])
    axes = chosen(generator, flips)
    return site.reweighted("kernel-flip", f"kernel reversed along {axes}", {"kernel": np.flip(kernel, axes)})


@operator("kernel-reshape")
def kernel_reshape(site: Site, generator: Generator) -> Planted | None:
    """Torch's kernel, whole or half-way transposed, reshaped to the shape that Keras asks for."""
    weight = getattr(site.module, "weight", None)
    if site.kind not in LINEAR or site.kernel is None or weight is None or site.kind == "depthwiseconv2d":
        return None
    kernel, source = site.weights["kernel"], weight.detach().numpy()
    half_way = (
        [source] if source.ndim == 2 else [source, np.moveaxis(source, (0, 1), (-2, -1)), np.moveaxis(source, 0, -1)]
    )
    reshaped = [array.reshape(kernel.shape) for array in half_way if array.size == kernel.size]
    known = [kernel, *(kernel.transpose(order) for order in _transposes(kernel))]
    wrong = [array for array in reshaped if not any(np.array_equal(array, other) for other in known)]
    if not wrong:
        return None
    return site.reweighted("kernel-reshape", f"reshaped to {kernel.shape}", {"kernel": chosen(generator, wrong)})


@operator("kernel-layout")
def kernel_layout(site: Site, generator: Generator) -> Planted | None:
    """Channels and multiplier of a depthwise kernel exchanged, or the filters of a grouped one dealt out in turn."""
    if site.kind == "depthwiseconv2d":
        kernel = site.weights["kernel"]
        channels, multiplier = kernel.shape[2:]
        if multiplier == 1:
            return None
        wrong = rearrange(kernel, "h w c m -> h w (c m)").reshape(*kernel.shape[:2], multiplier, channels)
        return site.reweighted("kernel-layout", "multiplier before channels", {"kernel": wrong.swapaxes(2, 3)})
    groups = getattr(site.operation, "groups", 1)
    if site.kind not in CONVOLUTIONS or groups == 1:
        return None
    kernel = site.weights["kernel"]
    parts = chosen(generator, [groups, kernel.shape[-1] // groups])
    order = order_of_groups(kernel.shape[-1], parts)
    return site.reweighted("kernel-layout", f"filters dealt out over {parts}", {"kernel": kernel[..., order]})


@operator("weight-order")
def weight_order(site: Site, generator: Generator) -> Planted | None:
    """A norm's vectors in each other's slots, but for orders with a variance below zero: those are non-finite too."""
    names = list(site.weights)
    if site.kind not in NORMS or len(names) < 2:
        return None
    values = list(site.weights.values())
    orders = [
        order
        for order in permutations(range(len(names)))
        if order != tuple(range(len(names)))
        and all(name != "moving_variance" or values[i].min() > 0 for name, i in zip(names, order, strict=True))
    ]
    if not orders:
        return None
    order = chosen(generator, orders)
    said = ", ".join(f"{name} is {names[i]}" for name, i in zip(names, order, strict=True) if names[i] != name)
    moved = {name: values[i] for name, i in zip(names, order, strict=True)}
    return site.reweighted("weight-order", said, moved)


@operator("gate-order")
def gate_order(site: Site, generator: Generator) -> Planted | None:
    """The gates of an LSTM or GRU in another order, in all weights or in the kernels alone."""
    if site.kind not in RECURRENT:
        return None
    gates = 4 if site.kind == "lstm" else 3
    order = chosen(generator, [each for each in permutations(range(gates)) if each != tuple(range(gates))])
    everywhere = bool(generator.integers(2))
    names = [name for name in site.weights if everywhere or "kernel" in name]
    moved = {name: _gates_moved(site.weights[name], order) for name in names}
    return site.reweighted("gate-order", f"gates {order} in {', '.join(names)}", moved)


def _gates_moved(array: Array, order: Sequence[int]) -> Array:
    blocks = np.split(array, len(order), axis=-1)
    return np.concatenate([blocks[i] for i in order], axis=-1)


@operator("gate-order")
def gate_equations(site: Site, generator: Generator) -> Planted | None:
    """A GRU that resets before the recurrent product, its two biases added as such ports do; or one of them dropped."""
    if site.kind != "gru" or not site.operation.reset_after:
        return None
    kernel, recurrent, bias = site.weights.values()
    summed, said = chosen(generator, [(bias.sum(0), "biases added"), (bias[0], "the input's bias alone")])
    change = site.remade([kernel, recurrent, summed], reset_after=False)
    return site.replaced("gate-order", f"reset_after=False, {said}", change)


@operator("wrong-tensor")
def wrong_tensor(site: Site, generator: Generator) -> Planted | None:
    """One weight is a copy of another layer's of its shape. (Another slot of the same layer is `weight-order`.)"""
    options = []
    for name, array in site.weights.items():
        for other in _operations_of(site):
            for weight in other.weights:
                if other is not site.operation and tuple(weight.shape) == array.shape:
                    options.append((name, other.name, weight))
    if not options:
        return None
    name, other, weight = chosen(generator, options)
    value = np.asarray(weight)
    # A spread below zero has no root: that would be non-finite as well.
    if np.array_equal(value, site.weights[name]) or (name == "moving_variance" and value.min() <= 0):
        return None
    return site.reweighted("wrong-tensor", f"{name} is the {weight.name} of {other}", {name: value})


def _operations_of(site: Site) -> list[Any]:
    weighted = [node.operation for node in site.ground.nodes if getattr(node.operation, "weights", ())]
    return list(dict.fromkeys(weighted))


@operator("not-loaded")
def not_loaded(site: Site, generator: Generator) -> Planted | None:
    """The layer still has what an initialiser gave it: the kernel alone, or all of it."""
    weights = site.weights
    if not weights or site.kind == "prelu":  # a PReLU at its initial 0 is a slope
        return None
    whole = site.kernel is None or bool(generator.integers(2))
    names = list(weights) if whole else [str(site.kernel)]
    if site.kind in NORMS and "moving_mean" in weights and generator.integers(2):
        names = ["moving_mean", "moving_variance"]
    kind = chosen(generator, ["GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunNormal"])
    initialiser = getattr(keras.initializers, kind)(seed=int(generator.integers(1 << 31)))
    fresh = {name: _fresh(name, weights[name], initialiser) for name in names}
    return site.reweighted("not-loaded", f"{', '.join(names)} as {kind} and the defaults leave them", fresh)


def _fresh(name: str, array: Array, initialiser: Any) -> Array:
    if "kernel" in name or name == "embeddings":
        return np.asarray(initialiser(array.shape))
    return np.ones_like(array) if name in ("gamma", "moving_variance") else np.zeros_like(array)


@operator("weight-precision")
def weight_precision(site: Site, generator: Generator) -> Planted | None:
    """The kernel, or every weight, rounded to fp16 or bf16, or the kernel to int8 per tensor or per channel."""
    if site.kernel is None:
        return None
    precision = chosen(generator, ["float16", "bfloat16", "int8-tensor", "int8-channel"])
    whole = not precision.startswith("int8") and bool(generator.integers(2))
    names = list(site.weights) if whole else [site.kernel]
    changes = {name: rounded(site.weights[name], precision) for name in names}
    return site.reweighted("weight-precision", f"{', '.join(names)} rounded to {precision}", changes)


@operator("bias-missing")
def bias_missing(site: Site, generator: Generator) -> Planted | None:
    """The bias is zero, or the layer was made without one."""
    if site.kind not in LINEAR | RECURRENT or "bias" not in site.weights:
        return None
    if site.kind in RECURRENT or generator.integers(2):
        return site.reweighted("bias-missing", "bias is zero", {"bias": np.zeros_like(site.weights["bias"])})
    without = [array for name, array in site.weights.items() if name != "bias"]
    return site.replaced("bias-missing", "use_bias=False", site.remade(without, use_bias=False))


@operator("bias-axis")
def bias_axis(site: Site, generator: Generator) -> Planted | None:
    """A layer without bias, and the bias added along another axis of the same length."""
    if site.kind not in LINEAR or "bias" not in site.weights:
        return None
    bias = site.weights["bias"]
    axes = [axis for axis, size in enumerate(site.shape[:-1]) if axis and size == len(bias)]
    if not axes:
        return None
    axis = chosen(generator, axes)
    without = [array for name, array in site.weights.items() if name != "bias"]
    inner = site.remade(without, use_bias=False)
    return site.replaced("bias-axis", f"bias added along axis {axis}", _plus(inner, bias, axis, len(site.shape)))


def _plus(inner: Change, bias: Array, axis: int, rank: int) -> Change:
    shape = [1] * rank
    shape[axis] = -1

    def call(*args: Any, **kwargs: Any) -> Any:
        value = inner(*args, **kwargs)
        # Not `+`: Keras takes a sum with what looks like a bias for one, and adds it along the channels.
        return keras.ops.subtract(value, like(-bias.reshape(shape), value))

    return call


@operator("non-finite")
def non_finite(site: Site, generator: Generator) -> Planted | None:
    """NaN or infinity somewhere in a weight."""
    if not site.weights or site.kind == "embedding":  # a row of the table that no token asks for would hide it
        return None
    name = chosen(generator, [name for name in site.weights if name != "moving_variance"])
    array = site.weights[name].copy()
    value = chosen(generator, [np.nan, np.inf, -np.inf])
    place = int(generator.integers(array.size))
    array.reshape(-1)[place] = value
    return site.reweighted("non-finite", f"{name} holds {value} at flat position {place}", {name: array})
