"""What the tests of the models share: the recorded facts, and one pair of networks, built once."""

import json
from pathlib import Path
from typing import Any

import pytest

from parity.models import Settings
from parity.models.flownet import FlowNet2SD, networks

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(scope="session")
def article_table() -> list[dict[str, Any]]:
    """The article's table of the Keras port, row by row, at 512x512 channels_first."""
    layers: list[dict[str, Any]] = json.loads((FIXTURES / "flownet2sd_keras_table.json").read_text())["layers"]
    return layers


@pytest.fixture(scope="session")
def article_tensors() -> dict[str, tuple[int, ...]]:
    """The reference's 60 state-dict keys in order, and their shapes."""
    tensors = json.loads((FIXTURES / "flownet2sd_state_dict.json").read_text())["tensors"]
    return {tensor["key"]: tuple(tensor["shape"]) for tensor in tensors}


@pytest.fixture(scope="session")
def pair_of_networks() -> tuple[FlowNet2SD, Any]:
    """The seeded reference and its port at 128x64 pixels; tests that change either put it back."""
    return networks(Settings(size=(128, 64)))
