"""Layers of torch that go by another class, and compute what they always did.

The weights of some are computed from others (weight norm, spectral norm, anything that parametrises): torch keeps what
makes them in children of the layer, and makes a class of its own for it. To parity it is the layer that it was: one
layer, of torch's class, with the weights that it computes with. So is one of a user's class that says how the layer is
made, and nothing of what it computes.
"""

import copy
from collections.abc import Iterator

from parity.frameworks import torch

MAKERS = "parametrizations"
"""The child that holds what makes a layer's weights."""
MAKING = frozenset({
    "__init__", "__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__repr__", "__constants__",
    "__static_attributes__", "__firstlineno__", "_version", "extra_repr", "reset_parameters",
})  # fmt: skip
"""What a class may say anew without another thing being computed."""


def class_of(module: torch.nn.Module) -> type[torch.nn.Module]:
    """The layer's class, as it was before its weights were parametrised; torch's, where a user's only makes it so."""
    kind = type(module) if _makers(module) is None else type(module).__bases__[0]
    return kind if "forward" in vars(module) else _computing(kind)


def _computing(kind: type[torch.nn.Module]) -> type[torch.nn.Module]:
    """The layer of torch that a class derives from without a change to what is computed; else the class itself."""
    base: type = kind
    while not base.__module__.startswith("torch."):
        if len(base.__bases__) != 1 or any(hasattr(base.__bases__[0], name) for name in vars(base).keys() - MAKING):
            return kind
        base = base.__bases__[0]
    return kind if base is torch.nn.Module or base.__module__ == "torch.nn.modules.container" else base


def layers_in(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The children that are layers; not those that make the module's weights."""
    return [child for child in module.children() if child is not _makers(module)]


def in_layers(module: torch.nn.Module, name: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """`module.named_modules()` without what makes weights: what this does is done within the layer."""
    makers = {id(each) for owner in module.modules() if (made := _makers(owner)) for each in made.modules()}
    yield from ((path, each) for path, each in module.named_modules(prefix=name) if id(each) not in makers)


def holds_weights(module: torch.nn.Module) -> bool:
    """Whether the module has parameters of its own, as they are or as what its weights are made of."""
    return _makers(module) is not None or next(module.parameters(recurse=False), None) is not None


def plain(module: torch.nn.Module) -> torch.nn.Module:
    """The layer with the weights that it computes with: itself, or a copy where these are made of others."""
    makers = _makers(module)
    if makers is None:
        return module
    found = copy.deepcopy(module)
    found.__class__ = class_of(module)
    del found._modules[MAKERS]
    for name, _ in makers.named_children():
        found.register_parameter(name, torch.nn.Parameter(getattr(module, name).detach().clone()))
    return found


def _makers(module: torch.nn.Module) -> torch.nn.Module | None:
    """The child that holds what makes the module's weights, if any."""
    made_by_torch = type(module).__module__ == "torch.nn.utils.parametrize" and hasattr(module, MAKERS)
    return getattr(module, MAKERS) if made_by_torch else None
