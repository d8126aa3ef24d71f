"""Small networks of each kind of layer with weights, and their faithful ports."""

from typing import Any

from small_pairs import (
    Reference,
    chain,
    layers,
    nn,
    port_of,
    torch,
)

from parity.axes import Axes
from parity.inputs import noise


def convolutions(first: int = 5, second: int = 2) -> Any:
    """Two convolutions around an activation."""
    return chain(
        first=nn.Conv2d(3, first, 3, padding=1), act=nn.LeakyReLU(0.1), second=nn.Conv2d(first, second, 3, padding=1)
    )


def convolutions_port(reference: Any) -> Any:
    """Its faithful port."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(reference.first.out_channels, 3, padding="same", name="first")(x)
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(x)
        return layers.Conv2D(reference.second.out_channels, 3, padding="same", name="second")(x)

    return port_of(reference, (8, 6, 3), build)


def dense(inputs: int = 6, outputs: int = 6) -> tuple[Any, Any]:
    """A fully connected layer, as wide as its input, between two others; with its port."""
    reference = chain(
        narrow=nn.Linear(7, inputs), act=nn.Tanh(), square=nn.Linear(inputs, outputs), head=nn.Linear(outputs, 3)
    )

    def build(x: Any) -> Any:
        x = layers.Activation("tanh", name="act")(layers.Dense(inputs, name="narrow")(x))
        return layers.Dense(3, name="head")(layers.Dense(outputs, name="square")(x))

    return reference, port_of(reference, (7,), build)


VECTOR = noise((5, 7), seed=3, low=-1, high=1)


def normalised() -> tuple[Any, Any]:
    """A convolution and its BatchNorm, all means positive; with its port."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1, bias=False), norm=nn.BatchNorm2d(5))
    with torch.no_grad():
        reference.norm.running_mean.abs_()
        reference.norm.bias.abs_()

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", use_bias=False, name="conv")(x)
        return layers.BatchNormalization(epsilon=1e-5, name="norm")(x)

    return reference, port_of(reference, (8, 6, 3), build)


def recurrent(kind: str, units: int = 5, **settings: Any) -> tuple[Any, Any]:
    """An LSTM or a GRU over a sequence and a layer on its last step; with its port."""
    made = {"LSTM": nn.LSTM, "GRU": nn.GRU}[kind](3, units, batch_first=True)
    reference = Reference(lambda m, x: m.head(m.rnn(x.transpose(1, 2))[0]), rnn=made, head=nn.Linear(units, 2))

    def build(x: Any) -> Any:
        x = getattr(layers, kind)(units, return_sequences=True, name="rnn", **settings)(x)
        return layers.Dense(2, name="head")(x)

    return reference, port_of(reference, (9, 3), build)


SEQUENCE = {"rnn[0]": "rnn"}
"""What the map calls a recurrent layer's sequence of outputs."""
LAYOUTS = {"rnn[0]": ("NLC", "NLC"), "transpose": ("NLC", "NLC"), "head": ("NLC", "NLC")}


def axes_of_sequences() -> Any:
    """The axes of the recurrent networks' taps: features last on both sides."""
    return Axes(by_name=LAYOUTS)


def twins() -> tuple[Any, Any]:
    """Two convolutions of one shape; with their port."""
    reference = chain(one=nn.Conv2d(3, 3, 3, padding=1), act=nn.Tanh(), two=nn.Conv2d(3, 3, 3, padding=1))

    def build(x: Any) -> Any:
        x = layers.Activation("tanh", name="act")(layers.Conv2D(3, 3, padding="same", name="one")(x))
        return layers.Conv2D(3, 3, padding="same", name="two")(x)

    return reference, port_of(reference, (8, 6, 3), build)
