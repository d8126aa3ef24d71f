"""Modules of torch tried on noise, and what is built of them."""

from typing import Any

import numpy as np

from parity.axes import Array
from parity.building import Built, built
from parity.frameworks import torch
from parity.inputs.strategies import Case, seeded
from parity.layers import tried
from parity.pairs import INPUT, Input

LAYOUTS = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCTHW"}


def noise(*shape: int, seed: int = 0, offset: float = 0.0) -> Array:
    """Values of that shape around `offset`."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) + offset, np.float32)


def on_noise(module: torch.nn.Module, shape: tuple[int, ...], *, offset: float = 0.0, seed: int = 1) -> Case:
    """A case of the module with drawn weights, on noise of that shape around `offset`."""
    array = noise(*shape, seed=seed, offset=offset)
    return Case(
        module=seeded(module, seed), given=Input(name="noise", array=array), layouts={INPUT: LAYOUTS[len(shape)]}
    )


def outcome(case: Case, data_format: str = "channels_last", mode: str = "eager") -> Any:
    """What came of the one output of a case."""
    (found,) = tried(case, data_format, mode).values()
    return found


def build(case: Case, data_format: str = "channels_last") -> Built:
    """The model of a case."""
    return built(case.module, case.given, case.layouts, data_format)


def kinds(port: Built) -> list[str]:
    """The classes of its layers and operations, in order, without its input."""
    return [type(each).__name__ for each in port.model.operations][1:]


def weighted(case: Case, data_format: str = "channels_last") -> list[Any]:
    """The Keras layers with weights that a case becomes."""
    return [layer for layer in build(case, data_format).model.layers if layer.weights]
