"""Modules of torch and what is built of them: tried on noise, and saved and loaded without parity's help."""

from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array, move
from parity.building import Built, built
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case, seeded
from parity.layers import tried
from parity.pairs import INPUT, Input

LAYOUTS = {2: "NC", 3: "NCL", 4: "NCHW", 5: "NCTHW"}


def on_noise(module: torch.nn.Module, shape: tuple[int, ...], *, offset: float = 0.0, seed: int = 1) -> Case:
    """A case of the module with drawn weights, on noise of that shape around `offset`."""
    array = np.asarray(np.random.default_rng(seed).standard_normal(shape) + offset, np.float32)
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


def is_the_same_from_a_file(case: Case, folder: Path, data_format: str = "channels_last") -> bool:
    """Whether its model computes the very same after it was saved and loaded in safe mode, on batches of 1 and 3."""
    port = build(case, data_format)
    port.model.save(folder / "saved.keras")
    loaded = keras.saving.load_model(folder / "saved.keras", safe_mode=True)
    source, target = port.axes.of(INPUT, case.given.arrays[INPUT].ndim)
    given: Array = move(case.given.arrays[INPUT], source, target)
    batches = (given[:1], np.concatenate([given[:1]] * 3))
    return all(np.array_equal(port.model(batch), loaded(batch), equal_nan=True) for batch in batches)
