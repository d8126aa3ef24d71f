"""FlowNet2-SD and its port at a small size, built once; each test plants its fault in a copy or undoes it."""

from collections.abc import Callable, Iterator

import pytest

from parity.frameworks import keras
from parity.inputs import noise
from parity.models import Settings
from parity.models.flownet.pair import networks, pair_from
from parity.pairs import Input, Pair

WIDTH, HEIGHT = 128, 64


@pytest.fixture(scope="session")
def flownet() -> Pair:
    """The faithful pair at 128x64."""
    reference, port = networks(Settings(size=(WIDTH, HEIGHT)))
    return pair_from(reference, port)


@pytest.fixture
def port(flownet: Pair) -> Iterator[keras.Model]:
    """The port, its weights put back after the test."""
    weights = [weight.copy() for weight in flownet.port.get_weights()]
    yield flownet.port
    flownet.port.set_weights(weights)


@pytest.fixture(scope="session")
def picture() -> Input:
    """Noise of the network's size, 0 to 255."""
    return noise((1, 3, 2, HEIGHT, WIDTH), seed=3)


@pytest.fixture
def rebuilt(flownet: Pair) -> Callable[..., Pair]:
    """The pair with some layers of the port rebuilt from a changed configuration."""

    def rebuild(**changes: dict[str, object]) -> Pair:
        def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
            return type(layer).from_config({**layer.get_config(), **changes.get(layer.name, {})})

        port = keras.models.clone_model(flownet.port, clone_function=clone)
        port.set_weights(flownet.port.get_weights())
        return pair_from(flownet.reference, port)

    return rebuild
