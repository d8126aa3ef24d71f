"""Which function converts which kind of torch layer."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from parity.axes import Array
from parity.errors import WeightError
from parity.frameworks import torch

Converter: TypeAlias = Callable[[Any], list[Array]]
"""Takes the torch module, returns the Keras layer's weights in its order; WeightError for what it cannot."""

Function = TypeVar("Function", bound=Converter)

_CONVERTERS: dict[type[torch.nn.Module], Converter] = {}


def register(kind: type[torch.nn.Module]) -> Callable[[Function], Function]:
    """Decorator: the function converts layers of exactly this kind. A second one is a WeightError."""

    def decorate(function: Function) -> Function:
        if kind in _CONVERTERS:
            raise WeightError(f"{kind_name(kind)} already has a converter: {_CONVERTERS[kind].__name__}")
        _CONVERTERS[kind] = function
        return function

    return decorate


def convert(layer: torch.nn.Module, path: str) -> list[Array]:
    """The arrays of `layer`, which the reference holds at `path`, in the order of its Keras layer's weights.

    A subclass may compute something else, so only the registered kind itself is converted. Raises WeightError
    for a kind without a converter and for settings that the converter refuses.
    """
    converter = _CONVERTERS.get(type(layer))
    if converter is None:
        raise WeightError(f"No converter for {kind_name(type(layer))} (layer {path!r}). Add one in parity/converters/.")
    try:
        return converter(layer)
    except WeightError as problem:
        raise WeightError(f"layer {path!r}: {problem}") from None


def kind_name(kind: type[torch.nn.Module]) -> str:
    """The name people import a layer kind by: `torch.nn.PReLU`, not `torch.nn.modules.activation.PReLU`."""
    public = getattr(torch.nn, kind.__name__, None) is kind
    return f"torch.nn.{kind.__name__}" if public else f"{kind.__module__}.{kind.__qualname__}"


def numpy(tensor: torch.Tensor) -> Array:
    """The tensor's values as NumPy sees them."""
    array: Array = tensor.detach().cpu().numpy()
    return array
