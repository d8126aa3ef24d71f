"""Causes in where a convolution reads and writes, planted in small pairs: padding, stride, dilation, output crop."""

from collections.abc import Callable
from typing import Any

import pytest
from small_pairs import Reference as Made
from small_pairs import chain, functional, image, judged, layers, nn, ops, port_of, proven, right, slugs, steps, torch

from parity.axes import CHANNELS_FIRST, Axes
from parity.converters import convert
from parity.switches import allow_channels_first


def strided(stride: int = 2, **settings: Any) -> Any:
    """A convolution, an activation, and a convolution at stride 2."""
    return chain(
        first=nn.Conv2d(3, 5, 3, padding=1),
        act=nn.LeakyReLU(0.1),
        second=nn.Conv2d(5, 2, 3, stride=stride, padding=1, **settings),
    )


def strided_port(reference: Any, size: tuple[int | None, int | None] = (8, 6), pad: Any = 1, **settings: Any) -> Any:
    """Its port, which pads by hand as `pad` says and convolves with the settings."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="first")(x)
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(x)
        x = x if pad is None else layers.ZeroPadding2D(pad, name="zeros")(x)
        return layers.Conv2D(2, 3, **{"strides": 2, "name": "second", **settings})(x)

    return port_of(reference, (*size, 3), build)


# -- padding: amount and side ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((8, 6), "same pads 0,1; reference pads 1,1"),
        ((8, 7), "same pads 0,1 and 1,1; reference pads 1,1"),
        ((9, 6), "same pads 1,1 and 0,1; reference pads 1,1"),
    ],
)
def test_same_at_stride_2(size: tuple[int, int], words: str) -> None:
    """`same` pads an even size on one side only; the sides of both are given, height first, and what to write."""
    reference = strided()
    port = strided_port(reference, size, pad=None, padding="same")
    cause = proven(reference, port, "second", "padding", image(*size), change='ZeroPadding2D(1) + padding="valid"')
    assert cause.detail == words


def test_same_at_stride_2_on_odd_sizes_is_right() -> None:
    """`same` pads odd sizes on both sides, as the reference does: no fault, no finding."""
    reference = strided()
    right(reference, strided_port(reference, (9, 7), pad=None, padding="same"), image(9, 7))


@pytest.mark.parametrize("pad", [((2, 0), (1, 1)), ((1, 1), (0, 2)), ((0, 2), (2, 0))])
def test_padding_on_the_wrong_sides(pad: Any) -> None:
    """Explicit zeros on other sides than the reference's give a value of the right shape, and are padding."""
    reference = strided()
    cause = proven(reference, strided_port(reference, pad=pad), "second", "padding")
    assert cause.detail.startswith("ZeroPadding2D + valid pads ")
    assert cause.detail.endswith("; reference pads 1,1")


@pytest.mark.parametrize(
    ("pad", "words"),
    [(((1, 1), (3, 1)), "1,1 and 3,1"), (None, "valid pads 0,0"), (2, "pads 2,2"), (((1, 1), (1, 3)), "1,1 and 1,3")],
)
def test_padding_that_makes_another_shape(pad: Any, words: str) -> None:
    """Too little or too much padding makes another shape, and is padding with the amounts of both sides."""
    reference = strided()
    cause = proven(
        reference, strided_port(reference, pad=pad), "second", "padding", says=words, change="ZeroPadding2D(1)"
    )
    assert cause.detail.endswith("reference pads 1,1")


def test_a_port_of_open_sizes_without_padding() -> None:
    """A port for any size whose padding is forgotten makes a smaller map: padding, where the map is first smaller."""
    reference = strided()

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, name="first")(x))
        return layers.Conv2D(2, 3, strides=2, name="second")(layers.ZeroPadding2D(1)(x))

    report = judged(reference, port_of(reference, (None, None, 3), build))
    assert slugs(report)["first"] == "padding"
    assert report.findings[0].cause.detail == "valid pads 0,0; reference pads 1,1"
    assert report.findings[0].cause.residual_after is not None


def test_padding_after_operations_that_have_no_counterpart() -> None:
    """An activation written out in the port lies in the convolution's segment, and its padding is found after it."""
    reference = chain(
        first=nn.Conv2d(3, 5, 3, padding=1), act=nn.Hardswish(), second=nn.Conv2d(5, 2, 3, stride=2, padding=1)
    )

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="first")(x)
        x = x * layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
        x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        return layers.Conv2D(2, 3, strides=2, name="second")(x)

    cause = proven(reference, port_of(reference, (8, 6, 3), build), "second", "padding", image(8, 6))
    assert cause.detail == "ZeroPadding2D + valid pads 0,1; reference pads 1,1"


def test_same_in_one_dimension() -> None:
    """`same` at stride 2 in one dimension pads on one side only, and is padding."""
    reference = chain(conv=nn.Conv1d(3, 5, 5, stride=2, padding=2), act=nn.Tanh())

    def build(x: Any) -> Any:
        return layers.Activation("tanh", name="act")(layers.Conv1D(5, 5, strides=2, padding="same", name="conv")(x))

    cause = proven(reference, port_of(reference, (8, 3), build), "conv", "padding", steps(8), change="ZeroPadding1D(2)")
    assert cause.detail == "same pads 1,2; reference pads 2,2"


def test_a_causal_convolution_for_a_centred_one() -> None:
    """`causal` puts all zeros before the sequence; the reference puts as many on both sides."""
    reference = chain(conv=nn.Conv1d(3, 5, 3, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        return layers.Activation("tanh", name="act")(layers.Conv1D(5, 3, padding="causal", name="conv")(x))

    proven(reference, port_of(reference, (9, 3), build), "conv", "padding", steps())


def test_same_of_a_depthwise_convolution() -> None:
    """A depthwise convolution at stride 2 has the same fault, by the same name."""
    reference = chain(conv=nn.Conv2d(3, 3, 3, stride=2, padding=1, groups=3), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", name="conv")(x)
        return layers.Activation("tanh", name="act")(x)

    proven(reference, port_of(reference, (8, 6, 3), build), "conv", "padding", says="same pads 0,1")


def test_same_in_channels_first() -> None:
    """The same fault in a channels_first port; skipped where that cannot run."""
    allow_channels_first()
    reference = chain(conv=nn.Conv2d(3, 5, 3, stride=2, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        conv = layers.Conv2D(5, 3, strides=2, padding="same", data_format="channels_first", name="conv")
        return layers.Activation("tanh", name="act")(conv(x))

    port = port_of(reference, (3, 8, 6), build)
    proven(reference, port, "conv", "padding", says="same pads 0,1", axes=Axes(port=CHANNELS_FIRST))


def test_ones_for_zeros() -> None:
    """As much padding on the same sides, of ones, is padding, and the ones are said."""
    reference = strided(stride=1)

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=1.0)
        return layers.Conv2D(2, 3, name="second")(x)

    cause = proven(reference, port_of(reference, (8, 6, 3), build), "second", "padding")
    before, _, after = cause.detail.partition("; reference pads ")
    assert not before.endswith(f"pads {after}")


# -- padding: mode -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_zeros_for_another_padding(mode: str) -> None:
    """Zeros where the reference continues the image is padding, and the reference's way is named."""
    reference = strided(stride=1, padding_mode=mode)
    port = strided_port(reference, pad=None, padding="same", strides=1)
    proven(reference, port, "second", "padding", says=f"reference pads 1,1 ({mode})", change=mode)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
def test_another_padding_for_zeros(mode: str) -> None:
    """A continued image where the reference pads with zeros is padding, and the port's way is named."""
    reference = strided(stride=1)

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode=mode)
        return layers.Conv2D(2, 3, name="second")(x)

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "padding", says=f"1,1 ({mode})")


def test_symmetric_for_reflect() -> None:
    """Symmetric padding, which repeats the edge, for reflection, which does not, is padding, both named."""
    reference = strided(stride=1, padding_mode="reflect")

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        x = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
        return layers.Conv2D(2, 3, name="second")(x)

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "padding", says="1,1 (symmetric); reference pads")


def test_zeros_for_a_reflection_that_is_a_layer_of_its_own() -> None:
    """A ReflectionPad2d before the convolution, ported as `same`, is padding, at the convolution that answers."""
    reference = chain(first=nn.Conv2d(3, 5, 1), mirror=nn.ReflectionPad2d(1), second=nn.Conv2d(5, 2, 3), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv2D(2, 3, padding="same", name="second")(layers.Conv2D(5, 1, name="first")(x))
        return layers.Activation("tanh", name="act")(x)

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "padding", says="reflect")


@pytest.mark.parametrize(
    ("pad", "says", "layer"),
    [
        (nn.ReflectionPad2d((1, 2, 0, 3)), "0,3 and 1,2 (reflect)", "mirror"),
        (nn.ReflectionPad2d((1, 2, 0, 3)), "0,3 and 1,2 (reflect)", "second"),
        (nn.ConstantPad2d((1, 2, 0, 3), 2.0), "0,3 and 1,2 (2)", "mirror"),
        (nn.ConstantPad2d((1, 2, 0, 3), 2.0), "0,3 and 1,2 (2)", "second"),
        (None, "0,3 and 1,2 (replicate)", "pad"),
    ],
)
def test_zeros_by_hand_for_a_padding_that_is_a_layer_of_its_own(pad: Any, says: str, layer: str) -> None:
    """A ZeroPadding2D is padding in itself where it answers to a padding, in the convolution where none answers."""

    def forward(m: Any, x: Any) -> Any:
        x = m.first(x)
        return m.second(functional.pad(x, (1, 2, 0, 3), mode="replicate") if pad is None else m.mirror(x))

    reference = Made(forward, first=nn.Conv2d(3, 5, 1), mirror=pad or nn.Identity(), second=nn.Conv2d(5, 2, 3))

    def build(x: Any) -> Any:
        x = layers.ZeroPadding2D(((0, 3), (1, 2)), name="zeros")(layers.Conv2D(5, 1, name="first")(x))
        return layers.Conv2D(2, 3, name="second")(x)

    named = {"second": "second", **({} if layer == "second" else {layer: "zeros"})}
    proven(reference, port_of(reference, (8, 6, 3), build), layer, "padding", layers=named, says=says)


# -- stride and dilation -----------------------------------------------------------------------------------------------


def test_a_forgotten_dilation() -> None:
    """A dilated convolution ported without is stride-dilation, with both values."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=2, dilation=2), act=nn.Tanh())

    def build(x: Any) -> Any:
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, padding="same", name="conv")(x))

    port = port_of(reference, (8, 6, 3), build)
    proven(
        reference, port, "conv", "stride-dilation", says="dilation=1; the reference's is 2", change="dilation_rate=2"
    )


def test_a_forgotten_stride_makes_another_shape() -> None:
    """A convolution at stride 1 for one at stride 2 makes a larger map: stride-dilation."""
    reference = strided()
    report = judged(reference, strided_port(reference, pad=1, strides=1))
    assert slugs(report) == {"second": "stride-dilation"}
    assert report.findings[0].cause.detail == "stride=1; the reference's is 2"


def test_strides_along_the_other_axis() -> None:
    """Strides (2, 1) given as (1, 2), where the sizes hide it, are stride-dilation."""
    reference = chain(conv=nn.Conv2d(3, 5, 1, stride=(2, 1)), pool=nn.AdaptiveAvgPool2d(1))

    def build(x: Any) -> Any:
        return layers.GlobalAveragePooling2D(keepdims=True, name="pool")(
            layers.Conv2D(5, 1, strides=(1, 2), name="conv")(x)
        )

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert slugs(report)["conv"] == "stride-dilation"


def test_a_dilation_in_one_dimension() -> None:
    """A dilation of 3 for 2 in one dimension is stride-dilation."""
    reference = chain(conv=nn.Conv1d(3, 5, 3, padding=2, dilation=2), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv1D(5, 3, padding="same", dilation_rate=3, name="conv")(x)
        return layers.Activation("tanh", name="act")(x)

    proven(reference, port_of(reference, (11, 3), build), "conv", "stride-dilation", steps(11), says="dilation=3")


# -- output-crop -------------------------------------------------------------------------------------------------------


def up(**settings: Any) -> Any:
    """A transposed convolution between two others."""
    return chain(first=nn.Conv2d(3, 5, 1), up=nn.ConvTranspose2d(5, 4, 3, **settings), last=nn.Conv2d(4, 2, 1))


def up_port(reference: Any, crop: Any = None, **settings: Any) -> Any:
    """Its port, cropped as given."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 1, name="first")(x)
        if crop is None:
            x = layers.Conv2DTranspose(4, 3, name="up", **settings)(x)
        else:
            x = layers.Cropping2D(crop, name="crop")(layers.Conv2DTranspose(4, 3, name="up_whole", **settings)(x))
        return layers.Conv2D(2, 1, name="last")(x)

    port = port_of(reference, (5, 4, 3), build)
    if crop is not None:
        port.get_layer("up_whole").set_weights(convert(reference.up, "up"))
    return port


def test_same_for_a_transposed_convolution() -> None:
    """`same` at stride 2 crops at the end what torch crops at the start: output-crop, at the layer itself."""
    reference = up(stride=2, padding=1, output_padding=1)
    port = up_port(reference, strides=2, padding="same")
    proven(
        reference, port, "up", "output-crop", image(5, 4), says="crops its output by 1", change='Conv2DTranspose("up"'
    )


@pytest.mark.parametrize("crop", [((0, 1), (0, 1)), ((0, 1), (1, 0)), ((1, 0), (0, 1))])
def test_crops_on_the_wrong_side(crop: Any) -> None:
    """The whole output cropped by hand on another side than torch crops is output-crop."""
    reference = up(stride=2, padding=1, output_padding=1)
    port = up_port(reference, crop, strides=2)
    right(reference, up_port(reference, ((1, 0), (1, 0)), strides=2), image(5, 4), layers={"up": "crop"})
    proven(reference, port, "up", "output-crop", image(5, 4), layers={"up": "crop"})


def test_output_padding_cropped_on_both_sides() -> None:
    """output_padding taken off makes a smaller map: output-crop, though the shapes differ."""
    reference = up(stride=2, padding=1, output_padding=1)
    port = up_port(reference, ((1, 1), (1, 1)), strides=2)
    report = judged(reference, port, image(5, 4), layers={"up": "crop"})
    assert slugs(report)["up"] == "output-crop"


def test_a_transposed_convolution_in_one_dimension() -> None:
    """`same` for a transposed convolution in one dimension is output-crop."""
    reference = chain(up=nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv1DTranspose(4, 3, strides=2, padding="same", name="up")(x)
        return layers.Activation("tanh", name="act")(x)

    proven(reference, port_of(reference, (9, 3), build), "up", "output-crop", steps())


def test_an_even_kernel_is_cropped_right_by_same() -> None:
    """A kernel of 4 at stride 2 with padding 1 is what `same` crops: no fault, no finding."""
    reference = chain(up=nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="up")(x)
        return layers.Activation("tanh", name="act")(x)

    right(reference, port_of(reference, (5, 4, 3), build), image(5, 4))


# -- spatial-shift -----------------------------------------------------------------------------------------------------


def cropping() -> Any:
    """A convolution, its middle cut out, and another convolution."""

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return m.last(m.first(x)[:, :, 1:7, 2:5])

    return Made(forward, first=nn.Conv2d(3, 5, 3, padding=1), last=nn.Conv2d(5, 2, 1))


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x[:, 2:8, 2:5],
        lambda x: x[:, 1:7, 1:4],
        lambda x: layers.Cropping2D(((2, 0), (2, 1)))(x),
        lambda x: layers.Cropping2D(((1, 1), (3, 0)))(x),
    ],
    ids=["a row late", "a column early", "cropping rows", "cropping columns"],
)
def test_a_crop_that_begins_elsewhere(cut: Callable[[Any], Any]) -> None:
    """A slice or a crop that is off by one is spatial-shift."""
    reference = cropping()

    def build(x: Any) -> Any:
        return layers.Conv2D(2, 1, name="last")(cut(layers.Conv2D(5, 3, padding="same", name="first")(x)))

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert set(slugs(report).values()) == {"spatial-shift"}
    assert len(report.findings) == 1
    assert report.findings[0].cause.tied == ()


def test_a_sequence_that_is_a_step_late() -> None:
    """A sequence cut a step too late is spatial-shift, in one dimension."""
    reference = Made(
        lambda m, x: m.last(m.first(x)[..., :-2]), first=nn.Conv1d(3, 5, 3, padding=1), last=nn.Conv1d(5, 2, 1)
    )

    def build(x: Any) -> Any:
        return layers.Conv1D(2, 1, name="last")(layers.Conv1D(5, 3, padding="same", name="first")(x)[:, 1:-1])

    report = judged(reference, port_of(reference, (9, 3), build), steps())
    assert list(slugs(report).values()) == ["spatial-shift"]


# -- what is no geometry -----------------------------------------------------------------------------------------------


def test_another_kernel_size_is_unknown() -> None:
    """A kernel of 5 whose rim is not zero is no convolution of 3 padded otherwise: nothing names it."""
    reference = strided(stride=1)

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        return layers.Conv2D(2, 5, padding="same", name="second")(x)

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert slugs(report) == {"second": "unknown"}


def test_a_fault_at_the_border_that_is_no_padding_is_unknown() -> None:
    """A rim of one pixel set to zero after the convolution is at the border, and is not the padding's fault."""
    reference = strided(stride=1)

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        x = layers.Conv2D(2, 3, padding="same", name="second_whole")(x)
        return layers.ZeroPadding2D(1, name="second")(layers.Cropping2D(1)(x))

    port = port_of(reference, (8, 6, 3), build)
    port.get_layer("second_whole").set_weights(convert(reference.second, "second"))
    report = judged(reference, port)
    assert slugs(report) == {"second": "unknown"}


def test_a_functional_convolution_is_padded_otherwise() -> None:
    """A convolution that is a function, with a weight of its own, has no converter; its padding is still compared."""
    weight = torch.linspace(-1, 1, 5 * 5 * 9).reshape(5, 5, 3, 3)
    reference = Made(
        lambda m, x: functional.conv2d(m.first(x), weight.to(x.dtype), stride=2, padding=1),
        first=nn.Conv2d(3, 5, 3, padding=1),
    )

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="first")(x)
        return layers.Conv2D(5, 3, strides=2, padding="same", use_bias=False, name="again")(x)

    port = port_of(reference, (8, 6, 3), build)
    port.get_layer("again").set_weights([weight.permute(2, 3, 1, 0).numpy()])
    proven(reference, port, "conv2d", "padding", layers={"conv2d": "again"}, says="same pads 0,1")
