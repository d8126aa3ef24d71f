"""Which function converts which kind of torch layer, and for which kind of Keras layer."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np

from parity.axes import Array
from parity.errors import WeightError
from parity.frameworks import torch
from parity.parametrized import class_of, plain

Converter: TypeAlias = Callable[[Any, Any], list[Array]]
"""Takes the torch module and the Keras layer to be filled, or None where that is not known; returns the Keras layer's
weights in its order. Raises WeightError for what it cannot convert."""

Function = TypeVar("Function", bound=Converter)

_CONVERTERS: dict[tuple[type[torch.nn.Module], str | None], Converter] = {}


def register(kind: type[torch.nn.Module], *, to: str | None = None) -> Callable[[Function], Function]:
    """Decorator: the function converts layers of exactly this kind. A second one for the same is a WeightError.

    `to` names the class of Keras layers it is for (`"DepthwiseConv2D"`); without it, it is for all that have none of
    their own.
    """

    def decorate(function: Function) -> Function:
        if (kind, to) in _CONVERTERS:
            taken = f"{kind_name(kind)}{f' to {to}' if to else ''}"
            raise WeightError(f"{taken} already has a converter: {_CONVERTERS[kind, to].__name__}")
        _CONVERTERS[kind, to] = function
        return function

    return decorate


def convert(layer: torch.nn.Module, path: str, target: Any = None) -> list[Array]:
    """The arrays of `layer`, which the reference holds at `path`, in the order of its Keras layer's weights.

    `target` is that Keras layer, built; None stands for the layer of the same name as torch's. A subclass of a torch
    layer that may compute something else is not converted as that layer. Raises WeightError for a kind
    without a converter and for settings that the converter refuses.
    """
    layer = plain(layer)
    kind = class_of(layer) if isinstance(layer, torch.nn.Module) else type(layer)
    kind = getattr(layer, "recorded_kind", kind)
    converter = _converter(kind, target)
    if converter is None:
        raise WeightError(f"No converter for {kind_name(kind)} (layer {path!r}). Add one in parity/converters/.")
    try:
        return converter(layer, target)
    except WeightError as problem:
        raise WeightError(f"layer {path!r}: {problem}") from None


def _converter(kind: type[torch.nn.Module], target: Any) -> Converter | None:
    """The converter for that kind of target or for what the target derives from; failing that, the kind's default."""
    for base in () if target is None else type(target).__mro__:
        if (kind, base.__name__) in _CONVERTERS:
            return _CONVERTERS[kind, base.__name__]
    return _CONVERTERS.get((kind, None))


def kind_name(kind: type[torch.nn.Module]) -> str:
    """The name people import a layer kind by: `torch.nn.PReLU`, not `torch.nn.modules.activation.PReLU`."""
    public = getattr(torch.nn, kind.__name__, None) is kind
    return f"torch.nn.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"


def numpy(tensor: torch.Tensor | Array) -> Array:
    """The tensor's values as NumPy sees them; a recorded weight is an array already."""
    return tensor if isinstance(tensor, np.ndarray) else np.asarray(tensor.detach().cpu())


def optional(tensor: torch.Tensor | Array | None) -> list[Array]:
    """The values of a weight that a layer may lack, or nothing: the Keras layer must then lack it too."""
    return [] if tensor is None else [numpy(tensor)]
