"""What networks take is read from the networks themselves."""

from typing import Any

import pytest

from parity.frameworks import keras, torch
from parity.runners.signature import Declared, declared, forward_names, smallest_vocabulary


class Subclassed(keras.Model):
    """A port that declares no input."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def build(self, input_shape: Any) -> None:
        self.dense.build(input_shape)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def test_a_functional_port_declares_its_inputs() -> None:
    """Names, shapes with None for any size, and types, in the port's order."""
    image, mask = keras.Input((None, 7, 3), name="image"), keras.Input((5,), dtype="bool", name="mask")
    found = declared(keras.Model([mask, image], [image, mask]))
    assert found == (
        Declared(name="mask", shape=(None, 5), dtype="bool"),
        Declared(name="image", shape=(None, None, 7, 3), dtype="float32"),
    )


@pytest.mark.parametrize("nested", [False, True])
def test_tokens_know_their_vocabulary(nested: bool) -> None:
    """An input that an Embedding reads has its vocabulary, also through a nested model and a cast."""
    embed = keras.layers.Embedding(11, 2)
    ids = keras.Input((5,), name="ids")
    reader = keras.Sequential([embed]) if nested else embed
    (found,) = declared(keras.Model(ids, reader(keras.ops.cast(ids, "int32")))) or ()
    assert found.vocabulary == 11


def test_a_sequential_port_declares_its_input() -> None:
    """Once it is built."""
    assert declared(keras.Sequential([keras.Input((5, 2)), keras.layers.Dense(3)]))[0].shape == (None, 5, 2)


def test_a_subclassed_port_says_what_it_was_built_with() -> None:
    """Nothing before that; the batch it was built with is not one of its sizes."""
    port = Subclassed()
    assert declared(port) is None
    port.build((2, 5))
    assert declared(port) == (Declared(name="input", shape=(None, 5), dtype="float32"),)
    assert declared(lambda x: x) is None


def test_a_file_is_read(tmp_path: Any) -> None:
    """The path of a .keras file declares what the model in it does."""
    model = keras.Sequential([keras.Input((5, 2), name="x"), keras.layers.Flatten()])
    model.save(tmp_path / "port.keras")
    assert declared(tmp_path / "port.keras") == declared(model)


def test_a_forward_names_what_it_takes() -> None:
    """By position; what can only be given by keyword, or any number of times, has no place in that order."""

    class Net(torch.nn.Module):
        def forward(self, ids: Any, mask: Any = None, *more: Any, scale: float = 1.0) -> Any:
            return ids

    assert forward_names(Net()) == ["ids", "mask"]


def test_the_smallest_vocabulary_is_safe_for_all() -> None:
    """Of all Embeddings on both sides, however deep."""
    reference = torch.nn.Sequential(torch.nn.Embedding(13, 2), torch.nn.Sequential(torch.nn.Embedding(7, 2)))
    port = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(11, 2)])
    assert smallest_vocabulary(port, reference) == 7
    assert smallest_vocabulary(port) == 11
    assert smallest_vocabulary(torch.nn.Linear(2, 3)) is None
