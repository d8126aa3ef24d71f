"""A small network that is recorded once for all tests of golden traces."""

from pathlib import Path

import pytest
import wrong_ports as small

import parity
from parity.pairs import Input, Pair


@pytest.fixture(scope="session")
def reference() -> small.Net:
    """The network."""
    return small.net()


@pytest.fixture(scope="session")
def given() -> Input:
    """What it is recorded on."""
    return small.picture()


@pytest.fixture(scope="session")
def pair(reference: small.Net) -> Pair:
    """The network and its faithful port."""
    return small.pair(reference, small.port(reference))


@pytest.fixture(scope="session")
def golden(pair: Pair, given: Input, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of the network."""
    path = tmp_path_factory.mktemp("golden") / "golden.safetensors"
    parity.record(pair, [given], path)
    return path
