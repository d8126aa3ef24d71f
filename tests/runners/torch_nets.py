"""Small torch modules and an input for them, and how they are looked into."""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import torch
from parity.pairs import Input
from parity.runners.calls import Call
from parity.runners.taps import Trace
from parity.runners.torch_module import TorchModule

nn = torch.nn
functional = torch.nn.functional


class Network(nn.Module):
    """A convolution from 3 to 5 channels, and whatever `then` does with it and the input."""

    def __init__(self, then: Callable[[Any, Any], Any] = lambda y, x: y) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(self.conv(x), x)


def image(*shape: int) -> Array:
    """Noise of both signs: by default two pictures of 3 channels, 5 high and 7 wide."""
    return np.random.default_rng(1).standard_normal(shape or (2, 3, 5, 7), dtype=np.float32)


def given(array: Array | None = None) -> Input:
    """The picture, or another array, as an input."""
    return Input(name="given", array=image() if array is None else array)


def seen(module: nn.Module, array: Array | None = None, *, float64: bool = False) -> Trace:
    """A run of the module in evaluation mode."""
    return TorchModule(module.eval()).sample(given(array), float64=float64)


def names(module: nn.Module) -> list[str]:
    """The names of the taps, in order."""
    return [tap.name for tap in seen(module).taps]


def calls(module: nn.Module, array: Array | None = None) -> dict[str, Call]:
    """The calls of a run."""
    return dict(TorchModule(module.eval()).calls(given(array)))


def made_again(module: nn.Module, name: str, **given: Array) -> Array:
    """What a tap's call makes of other values of the taps that it reads."""
    values = {key.replace("__", "."): torch.from_numpy(value) for key, value in given.items()}
    return calls(module)[name].again(values).numpy()
