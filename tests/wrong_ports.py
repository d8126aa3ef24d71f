"""A small network in torch and the Keras port somebody wrote of it, right but for what a test has differently."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity import models
from parity.axes import Array
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Input, Pair

HEIGHT, WIDTH = 12, 14
layers = keras.layers


class Net(torch.nn.Module):
    """Three convolutions, an activation after the first, a skip around the second, and a factor at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.slope = torch.nn.LeakyReLU(0.1)
        self.second = torch.nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.pool = torch.nn.AvgPool2d(2)
        self.third = torch.nn.Conv2d(9, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.slope(self.first(x))
        return self.third(torch.cat((self.second(x), self.pool(x)), 1)) * 20


def net() -> Net:
    """The network with weights of both signs, in evaluation mode."""
    made, generator = Net(), torch.Generator().manual_seed(0)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return made.eval()


def port(
    reference: Net,
    *,
    activation: Callable[[], Any] = lambda: layers.LeakyReLU(negative_slope=0.1, name="slope"),
    second: Callable[[Any], Any] = lambda x: layers.Conv2D(5, 3, strides=2, name="second")(layers.ZeroPadding2D(1)(x)),
    join: Callable[[Any, Any], Any] = lambda a, b: layers.Concatenate(name="join")([a, b]),
    scale: float = 20.0,
    kernel: Callable[[Array], Array] = lambda kernel: kernel,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Any:
    """The port, with its weights; a keyword is a part of it as somebody wrote it. `kernel` changes the third's."""
    image = keras.Input((*size, 3), name="image")
    x = activation()(layers.Conv2D(4, 3, padding="same", name="first")(image))
    x = join(second(x), layers.AveragePooling2D(2, name="pool")(x))
    x = layers.Conv2D(2, 3, padding="same", name="third")(x)
    made = keras.Model(image, layers.Rescaling(scale, name="scale")(x), name="port")
    for name in ("first", "second", "third"):
        weight, bias = (value.detach().numpy() for value in getattr(reference, name).parameters())
        weight = np.transpose(weight, (2, 3, 1, 0))  # o i kh kw -> kh kw i o
        made.get_layer(name).set_weights([kernel(weight) if name == "third" else weight, bias])
    return made


LAYERS = {"first": "first", "slope": "slope", "second": "second", "pool": "pool", "cat": "join", "third": "third"}


def pair(reference: Any, model: Any, **more: Any) -> Pair:
    """The two as a pair."""
    return Pair(name="small", reference=reference, port=model, layers={**LAYERS, "mul": "scale"}, **more)


def picture(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH), name: str = "noise") -> Input:
    """Noise of both signs, in torch's layout."""
    made = noise((1, 3, *size), seed=seed, low=-1, high=1)
    return Input(name=name, array=made.array)


def same_padding(x: Any) -> Any:
    """The second convolution as it is often written: `same` pads the other side at stride 2."""
    return layers.Conv2D(5, 3, strides=2, padding="same", name="second")(x)


def steep() -> Any:
    """LeakyReLU with Keras's own slope of 0.3."""
    return layers.LeakyReLU(name="slope")


@keras.saving.register_keras_serializable("wrong_ports")
class Uneven(layers.Layer):
    """An activation that no cause describes: it grows along the width."""

    def call(self, x: Any) -> Any:
        ramp = keras.ops.reshape(keras.ops.linspace(1.0, 1.5, x.shape[2]), (1, 1, -1, 1))
        return keras.ops.where(x < 0, 0.1 * x, x) * ramp * ramp


def unheard_of(a: Any, b: Any) -> Any:
    """A concatenation that no cause describes: it also grows along the width."""
    return Growing(name="join")([a, b])


@keras.saving.register_keras_serializable("wrong_ports")
class Growing(layers.Layer):
    """Joins two maps and multiplies them by a ramp."""

    def call(self, pair: Any) -> Any:
        ramp = keras.ops.reshape(keras.ops.linspace(1.0, 1.5, pair[0].shape[2]), (1, 1, -1, 1))
        return keras.ops.concatenate(pair, axis=-1) * ramp * ramp


def register(monkeypatch: pytest.MonkeyPatch, build: Callable[[models.Settings], Pair], name: str = "small") -> None:
    """Make a pair known by name for one test; its inputs are two of noise, or those of them that are asked for."""

    def built(settings: models.Settings) -> tuple[Pair, list[Input]]:
        inputs = {each: picture(seed, name=each) for seed, each in enumerate(("noise", "other"))}
        return build(settings), [inputs[each] for each in settings.inputs or inputs]

    home = types.ModuleType("parity_wrong_ports")
    home.build = built  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, home.__name__, home)
    entry = models.ModelEntry(description="a small network", builder="parity_wrong_ports:build")
    monkeypatch.setitem(models._MODELS, name, entry)


def left_in(folder: Path) -> list[str]:
    """The files in a folder and below it, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
