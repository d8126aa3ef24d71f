"""A network with every kind of thing that a frozen graph writes in its own way, in torch, in Keras and as a graph.

Unequal sizes everywhere: a wrong transpose must not pass by luck.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters import transfer
from parity.export import FORMATS, served, write
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.pairs import Input, Pair

HEIGHT, WIDTH = 14, 22
SHAPE = (2, 3, HEIGHT, WIDTH)
"""Of the input, in torch's layout."""

LAYERS = {
    "stem": "stem",
    "bn": "bn",
    "relu": "relu1",
    "down": "down",
    "leaky_relu": "leaky",
    "deep": "deep",
    "up": "up",
    "cat": "join",
    "head": "head",
    "mul": "times",
    "mean": "pool",
    "out": "out",
}
"""Which layer of the Keras model answers to which of the torch module."""

WEIGHTED = ("stem", "bn", "down", "deep", "up", "head", "out")

KERNEL = "net_1/{}_1/convolution/ReadVariableOp/resource"
BIAS = "net_1/{}_1/Reshape/ReadVariableOp/resource"


class Net(torch.nn.Module):
    """Convolutions of four kinds, a norm, activations, a join, a factor, a mean and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 5, (3, 5), padding=(1, 2))
        self.bn = torch.nn.BatchNorm2d(5)
        self.down = torch.nn.Conv2d(5, 7, 3, stride=2, padding=1)
        self.deep = torch.nn.Conv2d(7, 7, 3, padding=2, dilation=2, groups=7)
        self.up = torch.nn.ConvTranspose2d(7, 4, 4, stride=2, padding=1)
        self.head = torch.nn.Conv2d(9, 6, 3, padding=1, bias=False)
        self.out = torch.nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        """(B, 3, H, W) to (B, 3), H and W even."""
        functional = torch.nn.functional
        first = functional.relu(self.bn(self.stem(x)))
        second = functional.leaky_relu(self.down(first), 0.1)
        joined = torch.cat((first, self.up(self.deep(second))), dim=1)
        return self.out((self.head(joined) * 20.0).mean(dim=(2, 3)))


def reference() -> Any:
    """The network in torch, the same every time."""
    generator, net = torch.Generator().manual_seed(7), Net().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
        net.bn.running_mean.uniform_(-1, 1, generator=generator)
        net.bn.running_var.uniform_(0.5, 2, generator=generator)
    return net


def port() -> Any:
    """The same in Keras, with the same weights."""
    layers = keras.layers
    image = keras.Input((HEIGHT, WIDTH, 3), name="image")
    x = layers.Conv2D(5, (3, 5), padding="same", name="stem")(image)
    first = layers.ReLU(name="relu1")(layers.BatchNormalization(epsilon=1e-5, name="bn")(x))
    x = layers.Conv2D(7, 3, strides=2, name="down")(layers.ZeroPadding2D(1, name="pad")(first))
    x = layers.LeakyReLU(negative_slope=0.1, name="leaky")(x)
    x = layers.DepthwiseConv2D(3, padding="same", dilation_rate=2, name="deep")(x)
    x = layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="up")(x)
    x = layers.Concatenate(name="join")([first, x])
    x = layers.Rescaling(20.0, name="times")(layers.Conv2D(6, 3, padding="same", use_bias=False, name="head")(x))
    x = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D(name="pool")(x))
    model = keras.Model(image, x, name="net")
    transfer(reference(), model, {name: LAYERS[name] for name in WEIGHTED})
    return model


def given() -> Input:
    """An input, in torch's layout."""
    return noise(SHAPE, seed=0, low=-1, high=1)


def pair(path: Any, **changes: Any) -> Pair:
    """The pair, with a file in the place of its port and no layer map."""
    return Pair(**{"name": "net", "reference": reference(), "port": path, "inputs": [given()], **changes})


def frozen(model: Any, path: Path) -> Path:
    """A Keras model as a frozen graph that takes any batch."""
    write(FORMATS["pb"], served(model, free=True), path)
    return path


def graph_in(path: Path) -> Any:
    """The GraphDef in a file."""
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(path.read_bytes())
    return graph


def node_of(graph: Any, name: str) -> Any:
    """A node of a graph by its name."""
    (found,) = [node for node in graph.node if node.name == name]
    return found


def changed(source: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a frozen graph with something in it changed."""
    graph = graph_in(source)
    change(graph)
    target.write_bytes(graph.SerializeToString())
    return target


def constant(name: str, change: Callable[[Array], Array]) -> Callable[[Any], None]:
    """A change of a graph: another value for one of its constants."""

    def patch(graph: Any) -> None:
        tensor = node_of(graph, name).attr["value"].tensor
        value = tf.make_ndarray(tensor)
        tensor.CopyFrom(tf.make_tensor_proto(np.ascontiguousarray(change(value)), dtype=tensor.dtype))

    return patch


def attribute(name: str, key: str, **value: Any) -> Callable[[Any], None]:
    """A change of a graph: another value for an attribute of one of its nodes."""

    def patch(graph: Any) -> None:
        ((field, found),) = value.items()
        setattr(node_of(graph, name).attr[key], field, found)

    return patch


def rerouted(name: str, *inputs: str) -> Callable[[Any], None]:
    """A change of a graph: what one of its nodes reads."""

    def patch(graph: Any) -> None:
        node_of(graph, name).input[: len(inputs)] = inputs

    return patch
