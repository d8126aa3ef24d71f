"""A fault planted on request: the one that was asked for, and what cannot be planted is said."""

import numpy as np
import pytest

from parity.errors import UsageError
from parity.faults.by_hand import plant_by_hand
from parity.models.small import NETWORKS
from parity.pairs import Input, Pair


@pytest.fixture(scope="module")
def pair() -> tuple[Pair, Input]:
    """The small MLP, and its noise."""
    made, inputs = NETWORKS["mlp"].pair(0)
    return made, inputs[0]


@pytest.mark.parametrize("layer", ["hidden", "narrow"])
def test_it_is_at_the_layer_that_was_named(pair: tuple[Pair, Input], layer: str) -> None:
    """The copy's layer has other weights, the port's has its own."""
    made, planted = plant_by_hand(*pair, layer, "weight-precision")
    assert planted.layers == (layer,)
    port = pair[0].port.get_layer(layer).get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(made.get_layer(layer).get_weights(), port, strict=True))


def test_the_draw_decides(pair: tuple[Pair, Input]) -> None:
    """The same number plants the same, another one something else."""
    said = [plant_by_hand(*pair, "conv", "padding", draw)[1].detail for draw in (1, 1, 2, 3, 4)]
    assert said[0] == said[1]
    assert len(set(said)) > 1


@pytest.mark.parametrize(
    ("layer", "cause", "words"),
    [
        ("conv", "paddin", "did you mean 'padding'"),
        ("convv", "padding", "did you mean 'conv'"),
        ("hidden", "gate-order", "cannot be planted at hidden"),
        ("conv", "unknown", "no cause is called 'unknown'"),
    ],
)
def test_what_cannot_be_planted_is_said(pair: tuple[Pair, Input], layer: str, cause: str, words: str) -> None:
    """Misspelt names come with those near them, and a cause that makes no sense there is refused."""
    with pytest.raises(UsageError, match=words):
        plant_by_hand(*pair, layer, cause)
