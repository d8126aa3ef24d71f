"""What a file may fold into the kernel before it: steps of the reference that only multiply and add."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters.registry import numpy
from parity.frameworks import keras, torch
from parity.parametrized import plain
from parity.runners.calls import Call

NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)


def factor_after(name: str, calls: Mapping[str, Call], ends: Collection[str]) -> Array:
    """What the values of a tap are multiplied by, for all or for each channel, before anything else is done with them:
    by steps that each are all that reads the one before, up to the end of the segment."""
    factor: Array = np.ones(())
    while name not in ends:
        readers = [other for other, call in calls.items() if name in call.reads]
        scaled = scaled_by(calls[readers[0]]) if len(readers) == 1 else None
        if scaled is None:
            break
        name, factor = readers[0], factor * scaled[0]
    return factor


def scaled_by(call: Call) -> tuple[Array, Array] | None:
    """The factor and the shift of a step that is nothing but these; None for another."""
    if isinstance(call.function, torch.nn.Module):
        module = plain(call.function)
        return _normalised_by(module) if getattr(module, "recorded_kind", type(module)) in NORMS else None
    numbers = [each for each in (*call.args, *call.kwargs.values()) if isinstance(each, (int, float))]
    name = str(getattr(call.function, "__name__", "")).strip("_")
    if len(numbers) != 1 or len(call.args) + len(call.kwargs) != 2:
        return None
    leads = isinstance((*call.args, *call.kwargs.values())[0], (int, float))
    if name in ("mul", "multiply", "rmul", "imul"):
        return np.asarray(float(numbers[0])), np.zeros(())
    if name in ("div", "divide", "true_divide", "truediv", "itruediv") and numbers[0] and not leads:
        return np.asarray(1.0 / float(numbers[0])), np.zeros(())
    return None


def scaled_by_layer(layer: Any) -> tuple[Array, Array] | None:
    """The factor and the shift of a Keras BatchNormalization; None for another layer. A file may have these two in
    place of four weights."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not layer.built:
        return None
    gamma, beta, mean, variance = (
        None if each is None else np.asarray(each, np.float64)
        for each in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    )
    factor = (1.0 if gamma is None else gamma) / np.sqrt(variance + layer.epsilon)
    return np.asarray(factor), np.asarray((0.0 if beta is None else beta) - mean * factor)


def _normalised_by(module: Any) -> tuple[Array, Array] | None:
    """What a BatchNorm multiplies by and adds in inference."""
    if module.running_mean is None or module.running_var is None:
        return None
    mean, variance, gamma, beta = (
        None if each is None else numpy(each).astype(np.float64)
        for each in (module.running_mean, module.running_var, module.weight, module.bias)
    )
    factor = (1.0 if gamma is None else gamma) / np.sqrt(variance + module.eps)
    return np.asarray(factor), np.asarray((0.0 if beta is None else beta) - mean * factor)
