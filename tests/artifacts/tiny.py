"""A network of two convolutions as a file of each kind, and what it computes, in NumPy.

`mypair` is a pair whose reference is in torch. Nothing here depends on parity's own engines: `computed` is the oracle
of the tests that ask whether a damaged file still computes the same.
"""

from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array
from parity.export import FORMATS, served, write
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Pair

SLOPE = 0.1
SHAPE = (1, 3, 7, 6)
"""Of the input, in torch's layout."""

WORDS = {"pb": "pb", "saved_model": "saved_model", "keras": "keras", "tflite": "tflite", "onnx": "onnx"}
"""Kinds of files, and the words that parity exports them by."""


def weights() -> list[Array]:
    """Kernels in torch's layout and biases, the same every time."""
    random = np.random.default_rng(20261126)
    shapes = ((5, 3, 3, 2), (5,), (2, 5, 1, 1), (2,))
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def reference() -> Any:
    """The network in torch."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, (3, 2)), torch.nn.LeakyReLU(SLOPE), torch.nn.Conv2d(5, 2, 1))
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), weights(), strict=True):
            parameter.copy_(torch.from_numpy(value))
    return net.eval()


def port() -> Any:
    """The same network in Keras, channels last."""
    image = keras.Input((7, 6, 3), batch_size=1, name="image")
    first = keras.layers.Conv2D(5, (3, 2), name="first")(image)
    second = keras.layers.Conv2D(2, 1, name="second")(keras.layers.LeakyReLU(SLOPE, name="leaky")(first))
    model = keras.Model(image, second, name="tiny")
    k1, b1, k2, b2 = weights()
    model.set_weights([k1.transpose(2, 3, 1, 0), b1, k2.transpose(2, 3, 1, 0), b2])  # torch's O I H W to H W I O
    return model


def image() -> Array:
    """An input, in torch's layout."""
    return next(iter(noise(SHAPE, seed=0, low=-1, high=1).arrays.values()))


def computed(given: Array) -> Array:
    """What the network makes of an input in torch's layout, in float64, in the port's layout."""
    k1, b1, k2, b2 = (each.astype(np.float64) for each in weights())
    windows = np.lib.stride_tricks.sliding_window_view(given.astype(np.float64), (3, 2), axis=(2, 3))
    first = np.einsum("nchwij,ocij->nohw", windows, k1) + b1[:, None, None]
    first = np.where(first > 0, first, SLOPE * first)
    second = np.einsum("nchw,oc->nohw", first, k2[:, :, 0, 0]) + b2[:, None, None]
    return second.transpose(0, 2, 3, 1)


def mypair(path: Path | None = None) -> Pair:
    """The pair, with a file in the place of its port."""
    return Pair(name="tiny", reference=reference(), port=path or port(), inputs=[noise(SHAPE, seed=0, low=-1, high=1)])


def written(kind: str, folder: Path) -> Path:
    """The network as a file of a kind, in a folder."""
    form = FORMATS[WORDS[kind]]
    path = folder / form.file_name("tiny")
    write(form, served(port()), path)
    return path


def inputless(path: Path | None = None) -> Pair:
    """The pair without inputs of its own: they are made from what the port takes."""
    return Pair(name="tiny", reference=reference(), port=path or port())
