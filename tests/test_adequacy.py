"""Blind spots: an input on which a fault could not show is said to be one, and a telling input is not."""

import numpy as np
import pytest

import parity
from parity.adequacy import blind_spots
from parity.axes import Array, Axes
from parity.frameworks import keras, torch
from parity.runners.taps import SAMPLE, SIGN_MATTERS, Tap, positions

SHAPE = (2, 3, 5, 7)


def conv(name: str = "conv", shape: tuple[int, ...] = SHAPE) -> Tap:
    """A convolution's tap."""
    return Tap(name=name, kind="conv2d", shape=shape, weighted=True)


def spots(*seen: tuple[Tap, Array], axes: Axes | None = None) -> tuple[str, ...]:
    """The sentences for taps and the values seen there, whole or sampled."""
    samples = {tap.name: values.reshape(-1)[positions(values.shape)] for tap, values in seen}
    return blind_spots([tap for tap, _ in seen], samples, axes or Axes())


def noise(shape: tuple[int, ...] = SHAPE) -> Array:
    """Values of both signs, no two alike."""
    return np.random.default_rng(3).standard_normal(shape)


def per_channel(shape: tuple[int, ...] = SHAPE) -> Array:
    """A map that is constant in each channel, with another value in each."""
    values = np.arange(1.0, shape[1] + 1).reshape(1, -1, *[1] * (len(shape) - 2))
    return np.broadcast_to(values, shape).copy()


def test_a_telling_input_has_no_blind_spots() -> None:
    """Noise of both signs at a convolution and at an activation leaves nothing to say."""
    assert spots((conv(), noise()), (Tap(name="act", kind="leakyrelu", shape=SHAPE), noise())) == ()


def test_constant_channels_are_said() -> None:
    """A map that is constant in each channel hides flips and shifts, although the channels differ."""
    (sentence,) = spots((conv(), per_channel()))
    assert sentence.startswith("every channel is constant")
    assert sentence.endswith(" at conv")


@pytest.mark.parametrize("place", [(0, 0, 0, 1), (1, 2, 4, 6)])
def test_a_single_other_pixel_is_enough(place: tuple[int, ...]) -> None:
    """One pixel that differs in one channel, the last one too, shows a flip."""
    values = per_channel()
    values[place] += 1
    assert spots((conv(), values)) == ()


def test_constancy_is_judged_along_the_declared_layout() -> None:
    """Values constant in each channel of NCHW are not in each "channel" of another layout."""
    elsewhere = Axes(by_name={"conv": ("NHWC", "NHWC")})
    assert spots((conv(), per_channel()), axes=elsewhere) == ()
    values = np.moveaxis(per_channel(), 1, -1)
    assert len(spots((conv(shape=values.shape), values), axes=elsewhere)) == 1


def test_batches_do_not_hide_constant_channels() -> None:
    """A channel has to hold one value over the whole batch; two constant pictures do show something."""
    values = per_channel()
    values[1] += 1
    assert spots((conv(), values)) == ()


@pytest.mark.parametrize("shape", [(2, 3), (2,), (1, 3, 1, 1), (1, 3, 1)])
def test_what_has_no_pixels_cannot_be_constant(shape: tuple[int, ...]) -> None:
    """Vectors and 1x1 maps have one value per channel by nature."""
    values = np.ones(shape)
    assert spots((conv(shape=shape), values)) == ()


def test_operations_without_weights_may_be_constant() -> None:
    """Only layers with weights can hide a fault of weights."""
    assert spots((Tap(name="mean", kind="mean", shape=SHAPE), per_channel())) == ()


def test_sampled_maps_are_judged_by_their_channels() -> None:
    """Where a map is larger than the sample, each value is still judged in its own channel."""
    shape = (1, 3, 256, 257)
    assert np.prod(shape) > SAMPLE
    assert len(spots((conv(shape=shape), per_channel(shape)))) == 1
    assert spots((conv(shape=shape), noise(shape))) == ()


@pytest.mark.parametrize("kind", sorted(SIGN_MATTERS - {"relu", "relu6"}))
@pytest.mark.parametrize("sign", [1, -1])
def test_values_of_one_sign_are_said(kind: str, sign: int) -> None:
    """At an activation with two slopes, values of one sign, zero included, leave the other slope unseen."""
    values = sign * np.abs(noise())
    values[0, 0, 0, 0] = 0
    (sentence,) = spots((Tap(name="act", kind=kind, shape=SHAPE), values))
    assert sentence.startswith("all values are of one sign")
    assert sentence.endswith(" at act")
    values[0, 0, 0, 0] = -sign
    assert spots((Tap(name="act", kind=kind, shape=SHAPE), values)) == ()


@pytest.mark.parametrize("kind", ["relu", "relu6"])
def test_a_relu_is_not_blind_because_it_is_a_relu(kind: str) -> None:
    """Where a ReLU has set something to zero, its input had both signs, and there is nothing to say."""
    assert spots((Tap(name="act", kind=kind, shape=SHAPE), np.maximum(noise(), 0))) == ()


def test_other_kinds_may_have_one_sign() -> None:
    """A sigmoid is always positive; that hides nothing."""
    assert spots((Tap(name="gate", kind="sigmoid", shape=SHAPE), np.abs(noise()))) == ()


def test_long_lists_are_counted() -> None:
    """Four names are given, in order, and the rest is counted; both kinds of blindness have a sentence of their own."""
    seen = [(conv(f"conv{i}"), per_channel()) for i in range(7)]
    act = (Tap(name="act", kind="leakyrelu", shape=SHAPE), np.abs(noise()))
    first, second = spots(*seen, act)
    assert first.endswith(" at conv0, conv1, conv2, conv3 and 3 more")
    assert second.endswith(" at act")
    assert spots(*seen[:4])[0].endswith(" at conv0, conv1, conv2, conv3")


@pytest.mark.parametrize(("bound", "warned"), [(6.0, False), (None, True)])
def test_a_bound_that_no_value_reaches_is_said(bound: float | None, warned: bool) -> None:
    """A ReLU6 and a ReLU are the same on usual noise; that nothing told them apart is in the report."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU6()).eval()
    start = keras.Input((3,))
    port = keras.Model(
        start, keras.layers.ReLU(max_value=bound, name="act")(keras.layers.Dense(3, name="dense")(start))
    )
    pair = parity.Pair(name="bounded", reference=net, port=port, transfer=True)
    low = parity.verify(pair, [parity.inputs.noise((8, 3), low=-1, high=1)], ["eager"])
    said = ("no value is above 6, so a bound there does not show, at 1 (relu6, the port's a relu)",)
    assert (low.passed, low.runs[0].warnings) == (True, said if warned else ())
    high = parity.verify(pair, [parity.inputs.noise((8, 3), low=-90, high=90)], ["eager"])
    assert high.passed != warned
