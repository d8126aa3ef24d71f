"""A small U-Net of images in [-1, 1]: transposed convolutions, skips to concatenate, three ways of enlarging."""

from typing import Any

from parity.frameworks import keras, torch
from parity.models.small.building import convolution, named
from parity.models.small.network import ImageNetwork

SLOPE = 0.1
SCALE = 20.0
"""The output is this many times what the last convolution gives."""


class Reference(torch.nn.Module):
    """(B, 3, H, W), H and W multiples of 4, to (B, 2, 2H, 2W)."""

    def __init__(self) -> None:
        super().__init__()
        self.enc0 = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.act0 = torch.nn.LeakyReLU(SLOPE, inplace=True)
        self.enc1 = torch.nn.Conv2d(6, 12, 3, stride=2, padding=1)
        self.act1 = torch.nn.ELU()
        self.enc1_1 = torch.nn.Conv2d(12, 12, 3, padding=1)
        self.act1_1 = torch.nn.PReLU(12)
        self.enc2 = torch.nn.Conv2d(12, 20, 3, stride=2, padding=1)
        self.act2 = torch.nn.LeakyReLU(SLOPE)
        self.coarse = torch.nn.Conv2d(20, 5, 1)
        self.repeat = torch.nn.Upsample(scale_factor=2, mode="nearest")
        self.up1 = torch.nn.ConvTranspose2d(20, 12, 4, stride=2, padding=1)
        self.act_up1 = torch.nn.LeakyReLU(SLOPE)
        self.dec1 = torch.nn.Conv2d(12 + 12 + 5, 10, 3, padding=1)
        self.act_dec1 = torch.nn.PReLU(10)
        self.up0 = torch.nn.ConvTranspose2d(10, 6, 3, stride=2, padding=1, output_padding=1)
        self.act_up0 = torch.nn.ELU()
        self.dec0 = torch.nn.Conv2d(6 + 6, 2, 3, padding=1)
        self.enlarge = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The class says which shapes. `early` and `skip1` have one shape, and only the latter is a skip."""
        skip0 = self.act0(self.enc0(image))
        early = self.act1(self.enc1(skip0))
        skip1 = self.act1_1(self.enc1_1(early))
        bottom = self.act2(self.enc2(skip1))
        coarse = self.repeat(self.coarse(bottom))
        level1 = torch.cat((skip1, self.act_up1(self.up1(bottom)), coarse), dim=1)
        level1 = self.act_dec1(self.dec1(level1))
        level0 = torch.cat((skip0, self.act_up0(self.up0(level1))), dim=1)
        enlarged: torch.Tensor = self.enlarge(self.dec0(level0) * SCALE)
        return enlarged


def build_port(height: int, width: int) -> Any:
    """The port for images of that size: (B, H, W, 3) to (B, 2H, 2W, 2)."""
    image = keras.Input((height, width, 3), name="image")
    skip0 = _leaky("act0", convolution("enc0", image, 6))
    early = keras.layers.ELU(name="act1")(convolution("enc1", skip0, 12, stride=2))
    skip1 = _prelu("act1_1", convolution("enc1_1", early, 12))
    bottom = _leaky("act2", convolution("enc2", skip1, 20, stride=2))
    coarse = keras.layers.Conv2D(5, 1, name="coarse")(bottom)
    coarse = keras.layers.UpSampling2D(2, interpolation="nearest", name="repeat")(coarse)
    up1 = keras.layers.Conv2DTranspose(12, 4, strides=2, padding="same", name="up1")(bottom)
    level1 = keras.layers.Concatenate(name="level1")([skip1, _leaky("act_up1", up1), coarse])
    level1 = _prelu("act_dec1", convolution("dec1", level1, 10))
    # Torch's padding=1 cuts a row at either end of the full result, its output_padding=1 gives the last one back.
    up0 = keras.layers.Conv2DTranspose(6, 3, strides=2, padding="valid", name="up0_uncut")(level1)
    up0 = keras.layers.Cropping2D(((1, 0), (1, 0)), name="up0")(up0)
    level0 = keras.layers.Concatenate(name="level0")([skip0, keras.layers.ELU(name="act_up0")(up0)])
    scaled = named("scaled", convolution("dec0", level0, 2) * SCALE)
    enlarged = keras.layers.UpSampling2D(2, interpolation="bilinear", name="enlarge")(scaled)
    return keras.Model(image, enlarged, name="unet")


def _leaky(name: str, x: Any) -> Any:
    return keras.layers.LeakyReLU(negative_slope=SLOPE, name=name)(x)


def _prelu(name: str, x: Any) -> Any:
    return keras.layers.PReLU(shared_axes=[1, 2], name=name)(x)


LAYERS = {
    **{name: name for name in ("enc0", "act0", "enc1", "act1", "enc1_1", "act1_1", "enc2", "act2")},
    **{name: name for name in ("coarse", "repeat", "up1", "act_up1")},
    "cat": "level1",
    **{name: name for name in ("dec1", "act_dec1", "up0", "act_up0")},
    "cat#2": "level0",
    "dec0": "dec0",
    "mul": "scaled",
    "enlarge": "enlarge",
}
"""The reference's taps and the port layers that answer to them."""

NETWORK = ImageNetwork(
    name="unet",
    reference=lambda height, width: Reference(),
    port=build_port,
    layers=LAYERS,
    sizes=((28, 20), (16, 36), (44, 24)),
    multiple=4,
    # What is cut away after the transposed convolution belongs to it; before the cut it has another shape than torch's.
    weights={"up0": "up0_uncut"},
    waived=frozenset({"up0_uncut"}),
)
pair = NETWORK.pair
build = NETWORK.build
