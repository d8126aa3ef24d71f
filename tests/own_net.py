"""A small network and its port, as a user's files would have them, for tests that write them into a folder."""

from pathlib import Path

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = torch.nn.Conv2d(3, 7, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(7, 5, 3, stride=2, padding=1)

    def forward(self, image):
        return self.conv2(torch.tanh(self.conv1(image)))
"""

PORT = """
import tensorflow  # first, as users do who never heard of the trouble between the engines
import keras
import torch._dynamo

from parity.converters import transfer

from net import Net


def build():
    image = keras.Input((None, None, 3))
    value = keras.layers.Activation("tanh")(keras.layers.Conv2D(7, 3, padding="same", name="first")(image))
    value = keras.layers.Conv2D(5, 3, strides=2, name="second")(keras.layers.ZeroPadding2D(1)(value))
    port = keras.Model(image, value)
    transfer(Net(), port, {"conv1": "first", "conv2": "second"})
    return port


def wrong():
    port = build()
    port.get_layer("second").kernel.assign(port.get_layer("second").kernel * 1.5)
    return port


def broken():
    raise RuntimeError("no weights")
"""

TOKENS = """
import keras
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 5)

    def forward(self, ids, mask, bias):
        return self.embed(ids) * mask[..., None] + bias[:, None]


def build():
    bias = keras.Input((5,), name="bias")
    ids = keras.Input((None,), dtype="int32", name="ids")
    mask = keras.Input((None,), dtype="bool", name="mask")
    value = keras.layers.Embedding(11, 5)(ids) * keras.ops.cast(mask, "float32")[..., None]
    return keras.Model([bias, ids, mask], value + bias[:, None])
"""

PAIRS = """
import parity

{name} = parity.Pair(name="{name}", reference="net.py:Net", port="port.py:{port}")
"""


def write(folder: Path, *, name: str = "mine", port: str = "build") -> None:
    """net.py, port.py and pairs.py in a folder."""
    (folder / "net.py").write_text(NET)
    (folder / "port.py").write_text(PORT)
    (folder / "pairs.py").write_text(PAIRS.format(name=name, port=port))
