"""Causes before the first layer, planted in small pairs: colours, frames, the mean, the deviation, the range."""

from typing import Any

import numpy as np
import pytest
from small_pairs import Reference, chain, image, judged, layers, nn, ops, port_of, proven, right, slugs, steps, torch

from parity.axes import CHANNELS_FIRST, CHANNELS_LAST, Axes
from parity.inputs import noise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plain() -> Any:
    """A convolution of an image and an activation."""
    return chain(conv=nn.Conv2d(3, 5, 3, padding=1), act=nn.Tanh())


def plain_port(reference: Any, prepare: Any) -> Any:
    """Its port, which prepares its input by a function."""

    def build(x: Any) -> Any:
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, padding="same", name="conv")(prepare(x)))

    return port_of(reference, (8, 6, 3), build)


def prepared() -> Any:
    """A convolution of an image that the forward normalises with ImageNet's statistics."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return Reference(
        lambda m, x: m.act(m.conv((x - mean.to(x.dtype)) / std.to(x.dtype))),
        conv=nn.Conv2d(3, 5, 3, padding=1),
        act=nn.Tanh(),
    )


# -- input-channels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "swap", [lambda x: x[..., ::-1], lambda x: ops.flip(x, -1), lambda x: ops.take(x, [2, 1, 0], axis=-1)]
)
def test_bgr_for_rgb(swap: Any) -> None:
    """A port that turns its colours round before a layer that wants them as they are is input-channels."""
    reference = plain()
    proven(reference, plain_port(reference, swap), "conv", "input-channels")


def test_colours_that_are_not_turned_round() -> None:
    """A reference that turns colours round, and a port that does not, is input-channels the other way."""
    reference = Reference(lambda m, x: m.act(m.conv(x.flip(1))), conv=nn.Conv2d(3, 5, 3, padding=1), act=nn.Tanh())
    proven(reference, plain_port(reference, lambda x: x), "conv", "input-channels")


@pytest.mark.xfail(strict=True, reason="a concatenation of the input's own parts is called another input")
def test_frames_exchanged() -> None:
    """Two frames stacked along the channels in the other order are input-channels."""
    reference = chain(conv=nn.Conv2d(6, 5, 3, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = ops.concatenate([x[..., 3:], x[..., :3]], axis=-1)
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, padding="same", name="conv")(x))

    proven(reference, port_of(reference, (8, 6, 6), build), "conv", "input-channels", image(channels=6))


def test_frames_along_an_axis_of_their_own_exchanged() -> None:
    """Frames with an axis of their own, read last first, are input-channels."""
    reference = Reference(
        lambda m, x: m.act(m.conv(torch.cat([x[:, :, 0], x[:, :, 1]], 1))),
        conv=nn.Conv2d(6, 5, 3, padding=1),
        act=nn.Tanh(),
    )

    def build(x: Any) -> Any:
        x = ops.concatenate([x[:, 1], x[:, 0]], axis=-1)
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, padding="same", name="conv")(x))

    given = noise((1, 3, 2, 8, 6), seed=4, low=-1, high=1)
    report = judged(reference, port_of(reference, (2, 8, 6, 3), build), given)
    assert report.findings
    assert set(slugs(report).values()) == {"input-channels"}


def test_features_of_a_sequence_in_another_order() -> None:
    """The features of a sequence rotated by one are input-channels."""
    reference = chain(conv=nn.Conv1d(3, 5, 3, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv1D(5, 3, padding="same", name="conv")(ops.roll(x, 1, axis=-1))
        return layers.Activation("tanh", name="act")(x)

    proven(reference, port_of(reference, (9, 3), build), "conv", "input-channels", steps())


# -- input-normalisation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prepare",
    [lambda x: x / 255, lambda x: x * 2 - 1, lambda x: x + 0.5, layers.Rescaling(1 / 127.5, offset=-1)],
    ids=["255", "minus one to one", "offset", "rescaling"],
)
def test_another_range(prepare: Any) -> None:
    """An input that a port brings to a range which the reference does not have is input-normalisation."""
    reference = plain()
    proven(reference, plain_port(reference, prepare), "conv", "input-normalisation")


def test_a_range_that_is_lost() -> None:
    """A division by 255 in the reference's forward, and none in the port, is scale: a constant factor that is lost."""
    reference = Reference(lambda m, x: m.act(m.conv(x / 255)), conv=nn.Conv2d(3, 5, 3, padding=1), act=nn.Tanh())
    proven(reference, plain_port(reference, lambda x: x), "conv", "scale", says="0.003921569")


def normalise(mean: Any, std: Any) -> Any:
    """Keras's normalisation with these statistics by channel."""
    return lambda x: (x - np.array(mean, np.float32)) / np.array(std, np.float32)


def test_a_right_normalisation_passes() -> None:
    """With ImageNet's mean and deviation the port is right."""
    reference = prepared()
    right(reference, plain_port(reference, normalise(MEAN, STD)))


@pytest.mark.parametrize(
    ("mean", "std"),
    [(MEAN[::-1], STD), (MEAN, STD[::-1]), ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3), (MEAN, (1.0,) * 3)],
    ids=["mean of bgr", "deviation of bgr", "halves", "none", "no deviation"],
)
def test_other_statistics(mean: Any, std: Any) -> None:
    """Another mean or deviation by channel is input-normalisation, wherever the difference is seen first."""
    reference = prepared()
    report = judged(reference, plain_port(reference, normalise(mean, std)))
    assert report.findings
    assert set(slugs(report).values()) == {"input-normalisation"}
    assert all(finding.cause.tied == () for finding in report.findings)


def test_a_normalisation_that_is_left_out() -> None:
    """A forward that normalises, and a port that does not, is input-normalisation at the first layer."""
    reference = prepared()
    report = judged(reference, plain_port(reference, lambda x: x))
    assert set(slugs(report).values()) == {"input-normalisation"}


def centred(dims: tuple[int, ...]) -> Any:
    """A convolution of an image less its own mean over some axes."""
    return Reference(
        lambda m, x: m.act(m.conv(x - x.mean(dims, keepdim=True))),
        conv=nn.Conv2d(3, 5, 3, padding=1),
        act=nn.Tanh(),
    )


def test_a_mean_over_the_wrong_axes() -> None:
    """The mean of each pixel's colours, where the reference takes that of each colour, is input-normalisation."""
    reference = centred((2, 3))
    right(reference, plain_port(reference, lambda x: x - ops.mean(x, (1, 2), keepdims=True)))
    port = plain_port(reference, lambda x: x - ops.mean(x, 3, keepdims=True))
    report = judged(reference, port)
    assert report.findings
    assert report.findings[0].cause.slug == "input-normalisation"


@pytest.mark.xfail(
    strict=True, reason="fewer axes than the port's are tried only where the reduction is itself the layer"
)
def test_a_mean_over_the_batch_too() -> None:
    """A mean over batch and space, where the reference takes that of each picture, is input-normalisation."""
    reference = centred((2, 3))
    port = plain_port(reference, lambda x: x - ops.mean(x, (0, 1, 2), keepdims=True))
    report = judged(reference, port, image(batch=3))
    assert report.findings
    assert report.findings[0].cause.slug == "input-normalisation"


# -- what is none of these ---------------------------------------------------------------------------------------------


def test_a_factor_between_layers_is_no_input_normalisation() -> None:
    """A factor after the first layer with weights is scale."""
    reference = chain(first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return layers.Conv2D(2, 1, name="second")(layers.Conv2D(5, 1, name="first")(x) / 4)

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "scale", says="0.25")


def test_gamma_correction_is_unknown() -> None:
    """An input raised to a power has no cause with a name."""
    reference = plain()
    report = judged(reference, plain_port(reference, lambda x: ops.sign(x) * ops.abs(x) ** 2.2))
    assert slugs(report) == {"conv": "unknown"}


def test_the_axes_of_the_input_are_declared() -> None:
    """A port that takes channels first, declared so, is right."""
    reference = plain()
    port = port_of(
        reference,
        (3, 8, 6),
        lambda x: layers.Activation("tanh", name="act")(
            layers.Conv2D(5, 3, padding="same", name="conv")(ops.transpose(x, (0, 2, 3, 1)))
        ),
    )
    axes = Axes(port=CHANNELS_LAST, by_name={"input": (CHANNELS_FIRST[4], CHANNELS_FIRST[4])})
    right(reference, port, axes=axes)
