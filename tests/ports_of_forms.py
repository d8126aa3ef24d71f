"""A network and its ports in every form, and what is reported of one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from parity.converters.registry import convert
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.report import Report
from parity.verification import verify

tf_keras = pytest.importorskip("tf_keras")
nn, layers, ops = torch.nn, keras.layers, keras.ops


def image() -> Input:
    """Noise of both signs, of even height and width: there `same` pads another side than torch at stride 2."""
    return noise((2, 3, 20, 12), seed=3, low=-1, high=1)


class TorchBlock(nn.Module):
    """Convolution at stride 2, norm and activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


class TorchNet(nn.Module):
    """A stem, two blocks, and two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.blocks = nn.ModuleList([TorchBlock(5), TorchBlock(5)])
        self.head = nn.Linear(5, 4)
        for block in self.blocks:
            block.norm.running_mean.normal_()
            block.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return {"classes": self.head(x.mean((2, 3))), "map": x}


def loaded(port: Any, reference: nn.Module, pairs: Mapping[str, Any]) -> Any:
    """The port with the reference's weights; `pairs` has its layer for each module path."""
    for path, layer in pairs.items():
        layer.set_weights(convert(reference.get_submodule(path), path, layer))
    return port


PADS = [[0, 0], [1, 1], [1, 1], [0, 0]]


class Block(layers.Layer):
    """The port of the block: with `wrong`, padded by Keras; with `of`, by that library's functions."""

    def __init__(self, of: Any, wrong: bool) -> None:
        super().__init__()
        self.of, self.wrong = of, wrong
        self.conv = layers.Conv2D(5, 3, strides=2, padding="same" if wrong else "valid")
        self.norm = layers.BatchNormalization(epsilon=1e-5)

    def call(self, x: Any) -> Any:
        x = x if self.wrong else self.of.pad(x, PADS)
        return (ops if self.of is ops else tf.nn).relu(self.norm(self.conv(x)))


class Subclassed(keras.Model):
    """The port as a subclassed model of subclassed layers in a list."""

    def __init__(self, of: Any, wrong: bool) -> None:
        super().__init__()
        self.stem = layers.Conv2D(5, 3, padding="same")
        self.blocks = [Block(of, False), Block(of, wrong)]
        self.head = layers.Dense(4)

    def call(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return {"classes": self.head(ops.mean(x, (1, 2))), "map": x}


def subclassed(of: Any, wrong: bool) -> Any:
    """The subclassed port, loaded."""
    port, reference = Subclassed(of, wrong), TorchNet()
    port(np.zeros((1, 20, 12, 3), np.float32))
    pairs = {"stem": port.stem, "head": port.head}
    for n, block in enumerate(port.blocks):
        pairs |= {f"blocks.{n}.conv": block.conv, f"blocks.{n}.norm": block.norm}
    return loaded(port, reference, pairs)


def nested(of: Any, wrong: bool) -> Any:
    """The port as a functional model of `of`, either Keras; the blocks in it are models of their own."""
    known: dict[str, Any] = {}

    def block(name: str, wrong: bool) -> Any:
        start = of.layers.Input((None, None, 5))
        known[f"{name}.conv"] = of.layers.Conv2D(5, 3, strides=2, padding="same" if wrong else "valid", name="conv")
        known[f"{name}.norm"] = of.layers.BatchNormalization(epsilon=1e-5, name="norm")
        padded = start if wrong else of.layers.ZeroPadding2D(1, name="pad")(start)
        value = of.layers.ReLU(name="act")(known[f"{name}.norm"](known[f"{name}.conv"](padded)))
        return of.Model(start, value, name=name.replace(".", "_"))

    start = of.layers.Input((20, 12, 3))
    known["stem"] = of.layers.Conv2D(5, 3, padding="same", name="stem")
    value = block("blocks.1", wrong)(block("blocks.0", False)(known["stem"](start)))
    known["head"] = of.layers.Dense(4, name="head")
    classes = known["head"](of.layers.GlobalAveragePooling2D(name="mean")(value))
    return loaded(of.Model(start, {"classes": classes, "map": value}), TorchNet(), known)


def report_of(reference: Any, port: Any, given: Input, *modes: str, **of_pair: Any) -> Report:
    """What parity finds, without a map of the layers."""
    return verify(Pair(name="form", reference=reference, port=port, **of_pair), [given], modes or ("eager",))


def convolutional() -> nn.Module:
    """A chain of layers, two of them with weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    ).eval()


def sequential() -> Any:
    """Its port as a sequential model of tf_keras, with the activation built in."""
    conv = tf_keras.layers.Conv2D(5, 3, padding="same", activation="relu", input_shape=(20, 12, 3))
    port = tf_keras.Sequential([conv, tf_keras.layers.GlobalAveragePooling2D(), tf_keras.layers.Dense(4)])
    return loaded(port, convolutional(), {"0": port.layers[0], "4": port.layers[-1]})
