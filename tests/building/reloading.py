"""A built model saved and loaded again, as someone does who has Keras alone."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import move
from parity.building import built
from parity.frameworks import keras
from parity.inputs.strategies import Case


def same_when_loaded(case: Case, data_format: str, folder: Path) -> bool:
    """Whether what is loaded in safe mode gives the values of what was saved; nothing in the file is parity's.

    One input is given three times as large a batch, too, where the port takes any.
    """
    port = built(case.module, case.given, case.layouts, data_format)
    path = folder / f"{data_format}.keras"
    port.model.save(path)
    with zipfile.ZipFile(path) as file:
        foreign = {name for name in modules(json.loads(file.read("config.json"))) if not name.startswith("keras")}
    assert foreign <= {"builtins"}, foreign
    loaded = keras.saving.load_model(path, safe_mode=True)
    inputs = [move(array, *port.axes.of(name, array.ndim)) for name, array in case.given.arrays.items()]
    batches: list[Any] = [inputs if len(inputs) > 1 else inputs[0]]
    if len(inputs) == 1 and port.free:
        batches.append(np.concatenate([inputs[0]] * 3))
    return all(_alike(port.model(batch), loaded(batch)) for batch in batches)


def _alike(one: Any, other: Any) -> bool:
    pairs = zip(*map(keras.tree.flatten, (one, other)), strict=True)
    return all(np.array_equal(np.asarray(ours), np.asarray(theirs), equal_nan=True) for ours, theirs in pairs)


def modules(config: Any) -> Iterator[str]:
    """The Python modules that a saved configuration takes its classes from."""
    if isinstance(config, dict):
        if isinstance(config.get("module"), str):
            yield config["module"]
        for each in config.values():
            yield from modules(each)
    elif isinstance(config, list):
        for each in config:
            yield from modules(each)
