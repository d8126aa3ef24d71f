"""A classifier of images in [-1, 1] whose features are flattened: channels, height and width in torch's order."""

from typing import Any

from parity.frameworks import keras, torch
from parity.models.small.building import convolution, named
from parity.models.small.network import ImageNetwork

BINS = (3, 2)
"""Rows and columns that the adaptive pooling leaves, whatever the size of the image."""


class Reference(torch.nn.Module):
    """(B, 3, H, W) to the logarithms of (B, 7) probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.pool = torch.nn.MaxPool2d(2)
        self.bins = torch.nn.AdaptiveAvgPool2d(BINS)
        self.flatten = torch.nn.Flatten()
        self.hidden = torch.nn.Linear(8 * BINS[0] * BINS[1], 20)
        self.tanh = torch.nn.Tanh()
        self.narrow = torch.nn.Linear(20, 11)
        self.sigmoid = torch.nn.Sigmoid()
        self.head = torch.nn.Linear(11, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The logarithms; the class says which shapes."""
        x = self.flatten(self.bins(self.pool(self.conv(image))))
        x = self.sigmoid(self.narrow(self.tanh(self.hidden(x))))
        return torch.nn.functional.log_softmax(self.head(x), dim=1)


def build_port(height: int, width: int) -> Any:
    """The port for images of that size: (B, H, W, 3) to (B, 7)."""
    image = keras.Input((height, width, 3), name="image")
    x = keras.layers.MaxPooling2D(2, name="pool")(convolution("conv", image, 8))
    x = keras.layers.Permute((3, 1, 2), name="channels_before_pixels")(_bins(x))
    x = keras.layers.Flatten(name="flat")(x)
    x = keras.layers.Activation("tanh", name="tanh")(keras.layers.Dense(20, name="hidden")(x))
    x = keras.layers.Activation("sigmoid", name="sigmoid")(keras.layers.Dense(11, name="narrow")(x))
    x = keras.layers.Dense(7, name="head")(x)
    return keras.Model(image, named("log_probabilities", keras.ops.log_softmax(x, axis=-1)), name="mlp")


def _bins(x: Any) -> Any:
    """The mean of each bin, from floor(i * size / bins) to ceil((i + 1) * size / bins): neighbours may overlap."""
    rows, columns = (_edges(size, bins) for size, bins in zip(x.shape[1:3], BINS, strict=True))
    means = [
        keras.ops.mean(x[:, top:bottom, left:right], axis=(1, 2)) for top, bottom in rows for left, right in columns
    ]
    return keras.layers.Reshape((*BINS, x.shape[-1]), name="bins")(keras.ops.stack(means, axis=1))


def _edges(size: int, bins: int) -> list[tuple[int, int]]:
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


LAYERS = {
    "conv": "conv",
    "pool": "pool",
    "bins": "bins",
    "flatten": "flat",
    **{name: name for name in ("hidden", "tanh", "narrow", "sigmoid", "head")},
    "log_softmax": "log_probabilities",
}
"""The reference's taps and the port layers that answer to them."""

NETWORK = ImageNetwork(
    name="mlp",
    reference=lambda height, width: Reference(),
    port=build_port,
    layers=LAYERS,
    sizes=((22, 17), (15, 29), (40, 26)),
    batch=3,
    gains={"narrow": 3.0},  # so that sigmoids bend
)
pair = NETWORK.pair
build = NETWORK.build
