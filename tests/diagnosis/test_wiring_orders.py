"""Causes between layers, planted in small pairs: maps flattened, transposed and shuffled on the way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_pairs import (
    Reference,
    assert_proven,
    chain,
    image,
    judged,
    layers,
    nn,
    ops,
    port_of,
    proven,
    right,
    set_weights,
    slugs,
    steps,
)
from wired_pairs import conv

from parity.frameworks import tf

# -- flatten-order, spurious-transpose ---------------------------------------------------------------------------------


def flat() -> Any:
    """A convolution, flattened, and a fully connected layer."""
    return Reference(
        lambda m, x: m.linear(m.conv(x).flatten(1)), conv=nn.Conv2d(3, 2, 3), linear=nn.Linear(2 * 6 * 4, 7)
    )


def flat_port(reference: Any, flatten: Callable[[Any], Any]) -> Any:
    """Its port, flattened by a function of the map."""

    def build(x: Any) -> Any:
        return layers.Dense(7, name="linear")(flatten(layers.Conv2D(2, 3, name="conv")(x)))

    return port_of(reference, (8, 6, 3), build)


def test_a_map_flattened_channels_last() -> None:
    """Flatten on a channels-last map, its Dense loaded as torch's, is flatten-order at the flattening."""
    reference = flat()
    right(reference, flat_port(reference, lambda x: layers.Flatten(name="flat")(layers.Permute((3, 1, 2))(x))))
    port = flat_port(reference, layers.Flatten(name="flat"))
    report = judged(reference, port)
    assert set(slugs(report).values()) == {"flatten-order"}
    assert len(report.findings) == 1
    assert "Permute((3, 1, 2)) before" in report.findings[0].cause.change


def test_columns_flattened_channels_last() -> None:
    """A map read column by column, as before a recurrent layer, whose columns are flattened in another order."""
    reference = Reference(
        lambda m, x: m.linear(m.conv(x).flatten(1, 2).transpose(1, 2)), conv=nn.Conv2d(3, 2, 3), linear=nn.Linear(12, 5)
    )

    def port(order: tuple[int, int, int]) -> Any:
        def build(x: Any) -> Any:
            x = layers.Permute(order)(layers.Conv2D(2, 3, name="conv")(x))
            return layers.Dense(5, name="linear")(layers.Reshape((4, 12), name="columns")(x))

        return port_of(reference, (8, 6, 3), build)

    right(reference, port((2, 3, 1)))
    assert set(slugs(judged(reference, port((2, 1, 3)))).values()) == {"flatten-order"}


def test_rows_in_the_order_of_another_layout() -> None:
    """A port that flattens channels last and reorders the rows for it is right: the two orders are no fault."""
    reference = flat()
    port = flat_port(reference, layers.Flatten(name="flat"))
    weight = reference.linear.weight.detach().numpy().reshape(7, 2, 6, 4)
    set_weights(port, "linear", np.moveaxis(weight, 1, -1).reshape(7, -1).T, reference.linear.bias.detach().numpy())
    right(reference, port)


def test_the_rows_of_a_dense_layer_for_the_other_flattening() -> None:
    """A map flattened as torch does, and a kernel for the other order, is flatten-order at the Dense layer."""
    reference = flat()
    port = flat_port(reference, lambda x: layers.Flatten(name="flat")(layers.Permute((3, 1, 2))(x)))
    weight = reference.linear.weight.detach().numpy().reshape(7, 2, 6, 4)
    set_weights(port, "linear", np.moveaxis(weight, 1, -1).reshape(7, -1).T, reference.linear.bias.detach().numpy())
    proven(reference, port, "linear", "flatten-order", says="2 channels, 24 places")


def channels_last(weight: Any) -> Any:
    """The kernel for a map that is flattened channels last, of torch's weight for one that is not."""
    return np.moveaxis(weight.detach().numpy().reshape(7, 2, 6, 4), 1, -1).reshape(7, -1).T.copy()


def with_one(array: Any, place: Any, value: Any) -> Any:
    """A copy with another value in a place."""
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("kernel", "bias", "slug", "says"),
    [
        (lambda k: k, lambda b: 0 * b, "bias-missing", "the bias is zero"),
        (lambda k: k, lambda b: b[::-1], "channel-permutation", "the bias"),
        (lambda k: k, lambda b: with_one(b, 2, 0), "unknown", "the bias differs from the reference's in 1 of 7"),
        (lambda k: with_one(k, (5, 2), 0), lambda b: b, "unknown", "the kernel differs from the reference's in 1 of"),
        (lambda k: with_one(k, [3, 20], k[[20, 3]]), lambda b: b, "channel-permutation", "the kernel"),
        (lambda k: 1.5 * k, lambda b: b, "scale", "the kernel is 1.5 times"),
        (lambda k: k.reshape(6, 4, 2, 7).swapaxes(0, 1).reshape(48, 7), lambda b: b, "flatten-order", "against HWC"),
    ],
    ids=["bias zero", "bias reversed", "one of the bias", "one of the kernel", "two rows", "scaled", "another order"],
)
def test_weights_in_the_order_of_another_layout_and_wrong(
    kernel: Callable[[Any], Any], bias: Callable[[Any], Any], slug: str, says: str
) -> None:
    """Of weights that are right for the port's own flattening, the one that is wrong is the only cause."""
    reference = flat()
    port = flat_port(reference, layers.Flatten(name="flat"))
    own = channels_last(reference.linear.weight)
    set_weights(port, "linear", kernel(own), bias(reference.linear.bias.detach().numpy()))
    report = judged(reference, port)
    (finding,) = report.findings
    cause = finding.cause
    assert (finding.layer, cause.slug, cause.also) == ("linear", slug, ()), cause
    assert says in cause.detail
    assert "Permute" not in cause.change
    assert ("rows in the order of the port's flattening" in cause.change) == ("bias" not in says)
    assert_proven(report, finding)


def test_an_activation_too_many_after_weights_in_the_order_of_another_layout() -> None:
    """Weights that are right for the port's own flattening are left as they are where something else is wrong."""
    reference = flat()

    def build(x: Any) -> Any:
        x = layers.Flatten(name="flat")(layers.Conv2D(2, 3, name="conv")(x))
        return layers.Dense(7, activation="tanh", name="linear")(x)

    port = port_of(reference, (8, 6, 3), build)
    bias = reference.linear.bias.detach().numpy()
    set_weights(port, "linear", channels_last(reference.linear.weight), bias)
    cause = proven(reference, port, "linear", "activation-extra")
    assert cause.also == ()


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        (lambda k, b: [k, 0 * b], "bias-missing"),
        (lambda k, b: [with_one(k, (5, 2), 0), b], "unknown"),
        (lambda k, b: [np.random.default_rng(5).standard_normal(k.shape) / 7, b], "not-loaded"),
    ],
    ids=["bias zero", "one of the kernel", "foreign kernel"],
)
def test_a_map_flattened_channels_last_and_wrong_weights(change: Callable[[Any, Any], Any], slug: str) -> None:
    """Where the kernel does not follow the port's flattening, that is a fault beside what is wrong with the weights."""
    reference = flat()
    port = flat_port(reference, layers.Flatten(name="flat"))
    set_weights(port, "linear", *change(*port.get_layer("linear").get_weights()))
    assert slugs(judged(reference, port)) == {"flatten": "flatten-order", "linear": slug}


def test_a_sequence_flattened_the_other_way() -> None:
    """A sequence flattened features last is flatten-order."""
    reference = Reference(lambda m, x: m.linear(m.conv(x).flatten(1)), conv=nn.Conv1d(3, 2, 3), linear=nn.Linear(14, 5))

    def build(x: Any) -> Any:
        return layers.Dense(5, name="linear")(layers.Flatten(name="flat")(layers.Conv1D(2, 3, name="conv")(x)))

    report = judged(reference, port_of(reference, (9, 3), build), steps())
    assert list(slugs(report).values()) == ["flatten-order"]


def test_height_and_width_exchanged() -> None:
    """A map whose height and width, of one size, are exchanged before a layer is spurious-transpose."""
    reference = chain(first=nn.Conv2d(3, 5, 3, padding=1), second=nn.Conv2d(5, 2, 3, padding=1))

    def build(x: Any) -> Any:
        return conv(2, "second")(ops.transpose(conv(5, "first")(x), (0, 2, 1, 3)))

    port = port_of(reference, (7, 7, 3), build)
    proven(reference, port, "second", "spurious-transpose", image(7, 7), says="H and W", change="leave out")


def test_steps_and_features_exchanged() -> None:
    """A sequence as long as it is wide, permuted once too often, is spurious-transpose."""
    reference = chain(first=nn.Conv1d(3, 9, 3, padding=1), second=nn.Conv1d(9, 2, 1))

    def build(x: Any) -> Any:
        x = layers.Conv1D(9, 3, padding="same", name="first")(x)
        return layers.Conv1D(2, 1, name="second")(layers.Permute((2, 1))(x))

    proven(reference, port_of(reference, (9, 3), build), "second", "spurious-transpose", steps())


# -- channel-permutation -----------------------------------------------------------------------------------------------


def shuffled(filters: int = 12) -> Any:
    """A convolution, its pixel shuffle, and another convolution."""
    return chain(
        first=nn.Conv2d(3, filters, 3, padding=1), shuffle=nn.PixelShuffle(2), last=nn.Conv2d(filters // 4, 2, 1)
    )


def pixel_shuffle(x: Any) -> Any:
    """torch's pixel shuffle on a channels-last map."""
    _, height, width, channels = x.shape
    x = ops.reshape(x, (-1, height, width, channels // 4, 2, 2))
    return ops.reshape(ops.transpose(x, (0, 1, 4, 2, 5, 3)), (-1, 2 * height, 2 * width, channels // 4))


def test_a_pixel_shuffle_in_the_order_of_tensorflow() -> None:
    """tf.nn.depth_to_space gathers channels in another order than torch's PixelShuffle: channel-permutation."""
    reference = shuffled()

    def port(shuffle: Any) -> Any:
        def build(x: Any) -> Any:
            x = conv(12, "first")(x)
            return conv(2, "last", 1)(layers.Lambda(shuffle, name="shuffle")(x))

        return port_of(reference, (8, 6, 3), build)

    right(reference, port(pixel_shuffle))
    proven(reference, port(lambda x: tf.nn.depth_to_space(x, 2)), "shuffle", "channel-permutation", says="channels")


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([0, 1, 2, 3, 4, 5], id="left out"),
        pytest.param([0, 2, 4, 1, 3, 5], id="the other groups"),
    ],
)
def test_a_channel_shuffle(wrong: list[int]) -> None:
    """ShuffleNet's shuffle left out, or of the other number of groups, is channel-permutation."""
    reference = Reference(
        lambda m, x: m.last(nn.functional.channel_shuffle(m.first(x), 2)),
        first=nn.Conv2d(3, 6, 3, padding=1),
        last=nn.Conv2d(6, 2, 1),
    )

    def port(order: list[int]) -> Any:
        def build(x: Any) -> Any:
            return conv(2, "last", 1)(ops.take(conv(6, "first")(x), order, axis=-1))

        return port_of(reference, (8, 6, 3), build)

    right(reference, port([0, 3, 1, 4, 2, 5]))
    report = judged(reference, port(wrong))
    assert list(slugs(report).values()) == ["channel-permutation"]


def test_channels_reversed_between_layers() -> None:
    """Channels turned round between two layers are channel-permutation, for they are not the input's."""
    reference = chain(first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "second", 1)(ops.flip(conv(5, "first", 1)(x), -1))

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "channel-permutation", says="reverse")
