"""FlowNet2-SD in Keras, written by hand as in the article: the same layers under the same names.

The article's table (`fixtures/flownet2sd_keras_table.json`) begins at a 6-channel input and ends with the
unscaled flow. A whole port also subtracts the mean, divides by 255, joins the frames, and multiplies the flow
by 20.
"""

from collections import Counter
from typing import Any

from parity.axes import DATA_FORMATS
from parity.errors import PairError
from parity.frameworks import keras

SLOPE = 0.1
RGB_MAX = 255.0
DIV_FLOW = 20.0
MULTIPLE = 64
"""Height and width must be multiples of this: the encoder halves them six times."""


def build_port(height: int, width: int, data_format: str = "channels_last", *, whole: bool = True) -> Any:
    """The port for frames of `height` x `width` pixels: a functional `keras.Model` with initial weights.

    `whole=True` takes `frames`, RGB in 0-255, (B, 2, H, W, 3) channels_last or (B, 3, 2, H, W)
    channels_first, and returns the flow in pixels. `whole=False` is the article's table line by line:
    `input_1` of 6 channels in, unscaled flow out. Either returns (B, H, W, 2) or (B, 2, H, W). Raises
    PairError for a size that is no multiple of 64, or another format.
    """
    if data_format not in DATA_FORMATS:
        raise PairError(f"data_format={data_format!r}; give one of {', '.join(sorted(DATA_FORMATS))}")
    if height % MULTIPLE or width % MULTIPLE or min(height, width) <= 0:
        raise PairError(f"height={height}, width={width}: both must be positive multiples of {MULTIPLE}")
    layers = _Layers(data_format)
    if whole:
        start = keras.Input(layers.shape(channels=3, frames=2, height=height, width=width), name="frames")
        flow2 = _network(layers, _joined_frames(layers, start))
        flow2 = keras.layers.Rescaling(DIV_FLOW, name="flow_scale")(flow2)
    else:
        start = keras.Input(layers.shape(channels=6, height=height, width=width), name="input_1")
        flow2 = _network(layers, start)
    return keras.Model(start, layers.upsample(flow2), name="flownet2sd")


def _joined_frames(layers: "_Layers", frames: Any) -> Any:
    """The six channels the network reads: both frames, centred and normalised, first before second."""
    centred = keras.layers.Subtract(name="centred")([frames, _mean(layers, frames)])
    normalised = _named("normalised", centred / RGB_MAX)
    if layers.channels_last:
        first, second = normalised[:, 0], normalised[:, 1]
    else:
        first, second = normalised[:, :, 0], normalised[:, :, 1]
    both = [_named("first_frame", first), _named("second_frame", second)]
    return keras.layers.Concatenate(axis=layers.channel_axis, name="joined_frames")(both)


def _mean(layers: "_Layers", frames: Any) -> Any:
    """The mean of each channel over both frames and all pixels: a whole number near it, and the mean of the rest.

    TensorFlow (channels_last) and XLA (both formats) add 630 000 values one after the other in float32: 200 ulps
    off for noise, 70 000 for a constant 127.3, which would drown everything after it. Less a whole number, pixels
    stay whole and their sums small, and each axis by itself is short: within 2 ulps on every way to run it.
    """
    pool = keras.layers.GlobalAveragePooling3D(data_format=layers.format, keepdims=True, name="rough_mean")
    nearby = _named("whole_mean", keras.ops.round(pool(frames)))
    rest = keras.layers.Subtract(name="rest")([frames, nearby])
    for name, axis in zip(("rows", "columns", "frames"), layers.axes_of_pixels, strict=True):
        rest = _named(f"mean_of_{name}", keras.ops.mean(rest, axis=axis, keepdims=True))
    return keras.layers.Add(name="mean")([nearby, rest])


def _network(layers: "_Layers", x: Any) -> Any:
    """From six channels to flow2, at a quarter of the size: the article's table between its ends."""
    x = layers.conv("conv0", 64, x)
    x = layers.conv("conv1", 64, x, strides=2)
    x = layers.conv("conv1_1", 128, x)
    skip2 = layers.conv("conv2_1", 128, layers.conv("conv2", 128, x, strides=2))
    skip3 = layers.conv("conv3_1", 256, layers.conv("conv3", 256, skip2, strides=2))
    skip4 = layers.conv("conv4_1", 512, layers.conv("conv4", 512, skip3, strides=2))
    skip5 = layers.conv("conv5_1", 512, layers.conv("conv5", 512, skip4, strides=2))
    skip6 = layers.conv("conv6_1", 1024, layers.conv("conv6", 1024, skip5, strides=2))

    up5 = layers.deconv("deconv5", 512, skip6)
    flow5 = layers.upsampled_flow("upsampled_flow6_to_5", layers.predict_flow("predict_flow6", skip6))
    level5 = layers.concatenate(skip5, up5, flow5)

    inter5 = layers.linear("inter_conv5", 512, level5)
    up4 = layers.deconv("deconv4", 256, level5)
    flow4 = layers.upsampled_flow("upsampled_flow5_to4", layers.predict_flow("predict_flow5", inter5))
    level4 = layers.concatenate(skip4, up4, flow4)

    inter4 = layers.linear("inter_conv4", 256, level4)
    up3 = layers.deconv("deconv3", 128, level4)
    flow3 = layers.upsampled_flow("upsampled_flow4_to3", layers.predict_flow("predict_flow4", inter4))
    level3 = layers.concatenate(skip3, up3, flow3)

    inter3 = layers.linear("inter_conv3", 128, level3)
    up2 = layers.deconv("deconv2", 64, level3)
    flow2 = layers.upsampled_flow("upsampled_flow3_to2", layers.predict_flow("predict_flow3", inter3))
    level2 = layers.concatenate(skip2, up2, flow2)

    return layers.predict_flow("predict_flow2", layers.linear("inter_conv2", 64, level2))


def _named(name: str, tensor: Any) -> Any:
    """`tensor`, its operation renamed: Keras numbers them per process, a layer map needs names that stay."""
    tensor._keras_history.operation.name = name
    return tensor


class _Layers:
    """Makes layers in one data format, and numbers the unnamed kinds from 1 as the article's Keras did."""

    def __init__(self, data_format: str) -> None:
        self.format = data_format
        self.channels_last = data_format == "channels_last"
        self.channel_axis = -1 if self.channels_last else 1
        self.axes_of_pixels = (3, 2, 1) if self.channels_last else (4, 3, 2)
        self.made: Counter[str] = Counter()

    def shape(self, *, channels: int, height: int, width: int, frames: int | None = None) -> tuple[int, ...]:
        """An input's shape without the batch."""
        pixels = (height, width) if frames is None else (frames, height, width)
        return (*pixels, channels) if self.channels_last else (channels, *pixels)

    def numbered(self, kind: str) -> str:
        """The next name of its kind: leaky_re_lu_1, leaky_re_lu_2, ..."""
        self.made[kind] += 1
        return f"{kind}_{self.made[kind]}"

    def conv(self, name: str, filters: int, x: Any, strides: int = 1) -> Any:
        """A 3x3 convolution and its activation; at stride 2 padded by hand, for `same` pads one side only."""
        if strides == 1:
            return self.activation(self.linear(name, filters, x))
        x = keras.layers.ZeroPadding2D(1, data_format=self.format, name=self.numbered("zero_padding2d"))(x)
        layer = keras.layers.Conv2D(filters, 3, strides=strides, data_format=self.format, name=name)
        return self.activation(layer(x))

    def linear(self, name: str, filters: int, x: Any) -> Any:
        """A 3x3 convolution without an activation."""
        return keras.layers.Conv2D(filters, 3, padding="same", data_format=self.format, name=name)(x)

    def deconv(self, name: str, filters: int, x: Any) -> Any:
        """A transposed convolution that doubles height and width, and its activation."""
        return self.activation(self.transposed(name, filters, x))

    def transposed(self, name: str, filters: int, x: Any) -> Any:
        """A transposed convolution that doubles height and width."""
        layer = keras.layers.Conv2DTranspose(filters, 4, strides=2, padding="same", data_format=self.format, name=name)
        return layer(x)

    def predict_flow(self, name: str, x: Any) -> Any:
        """A 3x3 convolution to the two components of the flow."""
        return self.linear(name, 2, x)

    def upsampled_flow(self, name: str, x: Any) -> Any:
        """A learned doubling of a flow's height and width."""
        return self.transposed(name, 2, x)

    def activation(self, x: Any) -> Any:
        """LeakyReLU with the network's slope (Keras's own default is 0.3)."""
        return keras.layers.LeakyReLU(negative_slope=SLOPE, name=self.numbered("leaky_re_lu"))(x)

    def concatenate(self, skip: Any, deconvolved: Any, flow: Any) -> Any:
        """A level's channels, in the order the next layers' kernels expect."""
        layer = keras.layers.Concatenate(axis=self.channel_axis, name=self.numbered("concatenate"))
        return layer([skip, deconvolved, flow])

    def upsample(self, flow: Any) -> Any:
        """The flow four times as large, between pixel centres: torch's `align_corners=False`."""
        return keras.layers.UpSampling2D(
            4, interpolation="bilinear", data_format=self.format, name=self.numbered("up_sampling2d")
        )(flow)
