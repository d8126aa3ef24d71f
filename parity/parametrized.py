"""Layers of torch whose weights are computed from others: weight norm, spectral norm, anything that parametrises.

Torch keeps what makes the weights in children of the layer, and makes a class of its own for it. To parity it is the
layer that it was: one layer, of torch's class, with the weights that it computes with.
"""

import copy
from collections.abc import Iterator

from parity.frameworks import torch

MAKERS = "parametrizations"
"""The child that holds what makes a layer's weights."""


def class_of(module: torch.nn.Module) -> type[torch.nn.Module]:
    """The layer's class, as it was before its weights were parametrised."""
    return type(module) if _makers(module) is None else type(module).__bases__[0]


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
