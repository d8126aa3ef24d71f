"""A residual classifier of RGB images in 0..255: BatchNorm, strides, shortcuts, and every kind of pooling."""

from typing import Any

import numpy as np

from parity.frameworks import keras, torch
from parity.models.small.building import convolution, named, padded
from parity.models.small.network import ImageNetwork

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Per channel, red first."""
EPSILON, MOMENTUM = 1e-5, 0.9
"""Torch's defaults, whose momentum of 0.1 is 1 - 0.9; Keras's are 1e-3 and 0.99."""


class Block(torch.nn.Module):
    """Two convolutions beside a shortcut: a 1x1 convolution where the shape changes, else nothing."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(outputs)
        self.relu1 = torch.nn.ReLU(inplace=True)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(outputs)
        self.shortcut: torch.nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = torch.nn.Conv2d(inputs, outputs, 1, stride=stride)
        self.relu2 = torch.nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        result: torch.Tensor = self.relu2(y + (x if self.shortcut is None else self.shortcut(x)))
        return result


class Reference(torch.nn.Module):
    """(B, 3, H, W) in 0..255 to (B, 7) scores."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.stem = torch.nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.bn = torch.nn.BatchNorm2d(6)
        self.pool = torch.nn.MaxPool2d(3, stride=2, padding=1)
        self.block1 = Block(6, 10, stride=2)
        self.block2 = Block(10, 10, stride=1)
        self.smooth = torch.nn.AvgPool2d(3, stride=2, padding=1)
        self.widen = torch.nn.Conv2d(10, 14, 1)
        self.globally = torch.nn.AdaptiveAvgPool2d(1)
        self.head = torch.nn.Linear(14, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The scores; the class says which shapes. No activation before the pooling: its inputs have both signs."""
        x = (image - self.mean) / self.std
        x = self.pool(self.bn(self.stem(x)))
        x = self.block2(self.block1(x))
        x = self.widen(self.smooth(x))
        scores: torch.Tensor = self.head(torch.flatten(self.globally(x), 1))
        return scores


def build_port(height: int, width: int) -> Any:
    """The port for images of that size: (B, H, W, 3) to (B, 7)."""
    image = keras.Input((height, width, 3), name="image")
    x = named("centred", image - np.array(MEAN, np.float32))
    x = named("normalised", x / np.array(STD, np.float32))
    x = _normalised("stem_bn", convolution("stem", x, 6, stride=2))
    # Torch pads a maximum with nothing at all: less than any value, not 0.
    x = named("pool_pad", keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.finfo(np.float32).min))
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool")(x)
    x = _block("block1", x, 10, stride=2)
    x = _block("block2", x, 10, stride=1)
    x = keras.layers.AveragePooling2D(3, strides=2, name="smooth")(padded("smooth", x, 1))
    x = keras.layers.Conv2D(14, 1, name="widen")(x)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="globally")(x)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(image, keras.layers.Dense(7, name="head")(x), name="residual")


def _block(name: str, x: Any, filters: int, *, stride: int) -> Any:
    y = _normalised(f"{name}_bn1", convolution(f"{name}_conv1", x, filters, stride=stride, use_bias=False))
    y = keras.layers.ReLU(name=f"{name}_relu1")(y)
    y = _normalised(f"{name}_bn2", convolution(f"{name}_conv2", y, filters, use_bias=False))
    if stride != 1:
        x = keras.layers.Conv2D(filters, 1, strides=stride, name=f"{name}_shortcut")(x)
    return keras.layers.ReLU(name=f"{name}_relu2")(keras.layers.Add(name=f"{name}_add")([y, x]))


def _normalised(name: str, x: Any) -> Any:
    return keras.layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM, name=name)(x)


_IN_BLOCKS = ("conv1", "bn1", "relu1", "conv2", "bn2", "shortcut", "add", "relu2")

LAYERS = {
    "sub": "centred",
    "div": "normalised",
    "stem": "stem",
    "bn": "stem_bn",
    "pool": "pool",
    **{f"block1.{part}": f"block1_{part}" for part in _IN_BLOCKS},
    **{f"block2.{part}": f"block2_{part}" for part in _IN_BLOCKS if part != "shortcut"},
    "smooth": "smooth",
    "widen": "widen",
    "globally": "globally",
    "flatten": "flat",
    "head": "head",
}
"""The reference's taps and the port layers that answer to them."""

NETWORK = ImageNetwork(
    name="residual",
    reference=lambda height, width: Reference(),
    port=build_port,
    layers=LAYERS,
    sizes=((46, 30), (31, 45), (64, 37)),
    batch=2,
    low=0.0,
    high=255.0,
    shifts={"bn": -1.5},  # so that at the border maxima of negative values are taken
)
pair = NETWORK.pair
build = NETWORK.build
