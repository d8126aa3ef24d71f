"""A mobile-style classifier of images in [-1, 1]: depthwise, grouped and dilated convolutions, a channel shuffle."""

from typing import Any

from parity.axes import Axes
from parity.frameworks import keras, torch
from parity.models.small.building import convolution, named, padded
from parity.models.small.network import ImageNetwork

EPSILON = 1e-5
"""Torch's default; Keras's is 1e-3."""
GROUPS = 3


class Reference(torch.nn.Module):
    """(B, 3, H, W) to (B, 5) scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 12, 3, stride=2, padding=1, padding_mode="reflect")
        self.norm = torch.nn.GroupNorm(4, 12, eps=EPSILON)
        self.act = torch.nn.Hardswish()
        self.spread = torch.nn.Conv2d(12, 24, 3, padding=1, groups=12)
        self.clip = torch.nn.ReLU6()
        self.point = torch.nn.Conv2d(24, 18, 1)
        self.grouped = torch.nn.Conv2d(18, 30, 3, padding=1, groups=GROUPS)
        self.silu = torch.nn.SiLU()
        self.dilated = torch.nn.Conv2d(30, 16, 3, padding=2, dilation=2)
        self.act2 = torch.nn.Hardswish()
        self.deep = torch.nn.Conv2d(16, 16, 5, stride=2, padding=2, groups=16)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The scores; the class says which shapes."""
        x = self.act(self.norm(self.stem(image)))
        x = self.point(self.clip(self.spread(x)))
        x = self.silu(self.grouped(_shuffled(x)))
        x = self.deep(self.act2(self.dilated(x)))
        scores: torch.Tensor = self.head(x.mean((2, 3)))
        return scores


def _shuffled(x: torch.Tensor) -> torch.Tensor:
    """(B, g * k, H, W) to (B, k * g, H, W): each group then has channels of all."""
    batch, channels, height, width = x.shape
    groups = x.view(batch, GROUPS, channels // GROUPS, height, width)
    return groups.transpose(1, 2).reshape(batch, channels, height, width)


def build_port(height: int, width: int) -> Any:
    """The port for images of that size: (B, H, W, 3) to (B, 5)."""
    image = keras.Input((height, width, 3), name="image")
    x = named("stem_pad", keras.ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"))
    x = keras.layers.Conv2D(12, 3, strides=2, name="stem")(x)
    x = keras.layers.GroupNormalization(4, epsilon=EPSILON, name="norm")(x)
    x = keras.layers.Activation("hard_swish", name="act")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="spread")(x)
    x = keras.layers.ReLU(max_value=6.0, name="clip")(x)
    x = keras.layers.Conv2D(18, 1, name="point")(x)
    x = convolution("grouped", _port_shuffled(x), 30, groups=GROUPS)
    x = keras.layers.Activation("silu", name="silu")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", dilation_rate=2, name="dilated")(x)
    x = keras.layers.Activation("hard_swish", name="act2")(x)
    x = keras.layers.DepthwiseConv2D(5, strides=2, name="deep")(padded("deep", x, 2))
    x = named("mean", keras.ops.mean(x, axis=(1, 2)))
    return keras.Model(image, keras.layers.Dense(5, name="head")(x), name="depthwise")


def _port_shuffled(x: Any) -> Any:
    _, height, width, channels = x.shape
    x = keras.layers.Reshape((height, width, GROUPS, channels // GROUPS), name="in_groups")(x)
    x = keras.layers.Permute((1, 2, 4, 3), name="across_groups")(x)
    return keras.layers.Reshape((height, width, channels), name="shuffled")(x)


LAYERS = {
    **{name: name for name in ("stem", "norm", "act", "spread", "clip", "point")},
    "view": "in_groups",
    "transpose": "across_groups",
    "reshape": "shuffled",
    **{name: name for name in ("grouped", "silu", "dilated", "act2", "deep", "mean", "head")},
}
"""The reference's taps and the port layers that answer to them."""

NETWORK = ImageNetwork(
    name="depthwise",
    reference=lambda height, width: Reference(),
    port=build_port,
    layers=LAYERS,
    sizes=((38, 26), (27, 41), (32, 19)),
    # C counts the groups and T the channels of a group: torch has them before the pixels, the port after.
    axes=Axes(by_name={"view": ("NCTHW", "NHWCT"), "transpose": ("NTCHW", "NHWTC")}),
    batch=2,
    gains={"spread": 3.0},  # so that some values are above 6
)
pair = NETWORK.pair
build = NETWORK.build
