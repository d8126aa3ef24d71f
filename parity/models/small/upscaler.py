"""Doubles images in [-1, 1]: a pixel shuffle, added to the bilinearly enlarged image, and clamped."""

from typing import Any

from parity.frameworks import keras, torch
from parity.models.small.building import convolution, named
from parity.models.small.network import ImageNetwork

FACTOR = 2


class Reference(torch.nn.Module):
    """(B, 3, H, W) to (B, 3, 2H, 2W)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 10, 5, padding=2)
        self.act = torch.nn.PReLU()
        self.body = torch.nn.Conv2d(10, 8, 3, padding=1)
        self.act2 = torch.nn.PReLU(8)
        self.expand = torch.nn.Conv2d(8, 3 * FACTOR**2, 3, padding=1)
        self.shuffle = torch.nn.PixelShuffle(FACTOR)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The larger image; the class says which shapes."""
        x = self.act2(self.body(self.act(self.features(image))))
        details = self.shuffle(self.expand(x))
        enlarged = torch.nn.functional.interpolate(image, scale_factor=FACTOR, mode="bilinear", align_corners=False)
        return torch.clamp(enlarged + details, -1.0, 1.0)


def build_port(height: int, width: int) -> Any:
    """The port for images of that size: (B, H, W, 3) to (B, 2H, 2W, 3)."""
    image = keras.Input((height, width, 3), name="image")
    x = keras.layers.Conv2D(10, 5, padding="same", name="features")(image)
    x = keras.layers.PReLU(shared_axes=[1, 2, 3], name="act")(x)
    x = keras.layers.PReLU(shared_axes=[1, 2], name="act2")(convolution("body", x, 8))
    details = _shuffled(convolution("expand", x, 3 * FACTOR**2))
    enlarged = keras.layers.UpSampling2D(FACTOR, interpolation="bilinear", name="enlarged")(image)
    total = keras.layers.Add(name="total")([enlarged, details])
    return keras.Model(image, named("clamped", keras.ops.clip(total, -1.0, 1.0)), name="upscaler")


def _shuffled(x: Any) -> Any:
    """(B, H, W, c * f * f) to (B, f * H, f * W, c): torch counts channels first, then rows, then columns of a patch."""
    _, height, width, channels = x.shape
    x = keras.ops.reshape(x, (-1, height, width, channels // FACTOR**2, FACTOR, FACTOR))
    x = keras.ops.transpose(x, (0, 1, 4, 2, 5, 3))
    return named("shuffle", keras.ops.reshape(x, (-1, height * FACTOR, width * FACTOR, channels // FACTOR**2)))


LAYERS = {
    **{name: name for name in ("features", "act", "body", "act2", "expand", "shuffle")},
    "interpolate": "enlarged",
    "add": "total",
    "clamp": "clamped",
}
"""The reference's taps and the port layers that answer to them."""

NETWORK = ImageNetwork(
    name="upscaler",
    reference=lambda height, width: Reference(),
    port=build_port,
    layers=LAYERS,
    sizes=((24, 17), (13, 21), (40, 22)),
)
pair = NETWORK.pair
build = NETWORK.build
