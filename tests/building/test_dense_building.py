"""Fully connected layers and tables of torch as Keras layers, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layers_on_trial import noise
from reloading import same_when_loaded

from parity.building import Site, Value, build
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case, seeded
from parity.layers import tried
from parity.pairs import Input

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves
LAYOUTS = {2: "NC", 3: "NLC", 4: "NHWC"}


def on(module: torch.nn.Module, *args: Any) -> Case:
    """A case of the module, its weights drawn, on arrays that have their features last."""
    given = Input(name="noise", args=args)
    layouts = {name: LAYOUTS[array.ndim] for name, array in given.arrays.items()}
    return Case(module=seeded(module, 1), given=given, layouts=layouts)


CASES = {
    "linear": lambda: on(torch.nn.Linear(3, 5), noise(2, 3)),
    "linear along the last of four axes": lambda: on(torch.nn.Linear(7, 5), noise(2, 3, 5, 7)),
    "linear without bias": lambda: on(torch.nn.Linear(3, 5, bias=False), noise(2, 7, 3)),
    "bilinear": lambda: on(torch.nn.Bilinear(3, 4, 5), noise(2, 3), noise(2, 4, seed=1)),
    "bilinear of sequences": lambda: on(torch.nn.Bilinear(3, 1, 2, bias=False), noise(2, 5, 3), noise(2, 5, 1, seed=1)),
    "embedding": lambda: on(torch.nn.Embedding(7, 3), np.array([[0, 6], [5, 5]])),
    "embedding with a row for padding": lambda: on(
        torch.nn.Embedding(7, 3, padding_idx=-2), np.array([[0, 5], [1, 6]])
    ),
}


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("name", CASES)
def test_a_setting_is_torchs(name: str, mode: str) -> None:
    """In every mode; the row for padding is as it is in the table."""
    assert all(each.passed for each in tried(CASES[name](), mode=mode).values())


@pytest.mark.parametrize("name", ["linear along the last of four axes", "bilinear", "embedding"])
def test_what_is_built_is_keras_alone(name: str, tmp_path: Path) -> None:
    """It is saved, loaded in safe mode, and gives the same values."""
    assert same_when_loaded(CASES[name](), "channels_last", tmp_path)


def test_a_table_that_is_rewritten_is_refused() -> None:
    """max_norm makes torch scale rows down in place whenever they are looked up."""
    x = Value.plain(keras.Input((5,), dtype="int64"))
    with pytest.raises(ConversionError, match=r"max_norm=1.5 rewrites its table while it runs"):
        build(torch.nn.Embedding(7, 3, max_norm=1.5), Site(path="words"), x)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("features", [(0, 3), (3, 0)])
def test_layers_without_features_are_refused(features: tuple[int, int]) -> None:
    """Keras has none."""
    with pytest.raises(ConversionError, match="has no weights, and Keras has no layer without features"):
        build(torch.nn.Linear(*features), Site(path="head"), Value.plain(keras.Input((features[0],))))
