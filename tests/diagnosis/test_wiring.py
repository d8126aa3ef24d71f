"""Causes between layers, planted in small pairs: what is read, in which order, and what is done to it on the way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_pairs import (
    Reference,
    assert_proven,
    chain,
    fill,
    functional,
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
    torch,
)

from parity.axes import Axes
from parity.frameworks import keras, tf
from parity.pairs import Input, Pair
from parity.verification import verify


def conv(filters: int, name: str, size: int = 3) -> Any:
    """A Keras convolution that keeps the size of its map."""
    return layers.Conv2D(filters, size, padding="same", name=name)


# -- concat-order, concat-axis -----------------------------------------------------------------------------------------


def joined(first: int = 4, second: int = 4, dim: int = 1) -> Any:
    """Two convolutions of the input side by side, and one of both."""
    return Reference(
        lambda m, x: m.last(torch.cat([m.left(x), m.right(x)], dim)),
        left=nn.Conv2d(3, first, 3, padding=1),
        right=nn.Conv2d(3, second, 3, padding=1),
        last=nn.Conv2d(first + second if dim == 1 else first, 2, 1),
    )


def joined_port(reference: Any, join: Callable[[Any, Any], Any], size: tuple[int, int] = (8, 6)) -> Any:
    """Its port, joined by a function of the two."""

    def build(x: Any) -> Any:
        left = conv(reference.left.out_channels, "left")(x)
        right_map = conv(reference.right.out_channels, "right")(x)
        return conv(2, "last", 1)(join(left, right_map))

    return port_of(reference, (*size, 3), build)


JOIN = {"cat": "cat"}


def cat(axis: int = -1) -> Any:
    """A concatenation under the name that the maps use."""
    return layers.Concatenate(axis=axis, name="cat")


@pytest.mark.parametrize("sizes", [(4, 4), (4, 3)], ids=["as wide", "not as wide"])
def test_operands_in_another_order(sizes: tuple[int, int]) -> None:
    """A concatenation of the right maps in the other order is concat-order, with the order."""
    reference = joined(*sizes)
    right(reference, joined_port(reference, lambda a, b: cat()([a, b])), layers=JOIN)
    port = joined_port(reference, lambda a, b: cat()([b, a]))
    proven(reference, port, "cat", "concat-order", layers=JOIN, says="(1, 0)", change='Concatenate("cat")')


def test_three_operands_rotated() -> None:
    """Three maps in a rotated order are concat-order."""
    reference = Reference(
        lambda m, x: m.last(torch.cat([m.a(x), m.b(x), m.c(x)], 1)),
        a=nn.Conv2d(3, 2, 1),
        b=nn.Conv2d(3, 3, 1),
        c=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(9, 2, 1),
    )

    def build(x: Any) -> Any:
        a, b, c = (conv(width, name, 1)(x) for width, name in ((2, "a"), (3, "b"), (4, "c")))
        return conv(2, "last", 1)(cat()([b, c, a]))

    proven(reference, port_of(reference, (8, 6, 3), build), "cat", "concat-order", layers=JOIN)


def test_a_concatenation_along_the_wrong_axis() -> None:
    """A concatenation along the width of what torch joins along the height, made to fit, is concat-axis."""
    reference = Reference(
        lambda m, x: m.last(torch.cat([m.left(x), m.right(x)], 2)),
        left=nn.Conv2d(3, 4, 1),
        right=nn.Conv2d(3, 4, 1),
        last=nn.AdaptiveAvgPool2d(1),
    )

    def build(x: Any) -> Any:
        x = cat(2)([conv(4, "left", 1)(x), conv(4, "right", 1)(x)])
        return layers.GlobalAveragePooling2D(keepdims=True, name="last")(x)

    report = judged(reference, port_of(reference, (6, 6, 3), build), image(6, 6), layers=JOIN)
    assert slugs(report) == {"cat": "concat-axis"}
    assert report.findings[0].cause.detail == "axis=2; the reference's is 1"


def test_a_stack_along_the_wrong_axis_of_equal_sizes() -> None:
    """Two maps interleaved where the reference puts one after the other are concat-axis: the shape is the same."""
    reference = Reference(
        lambda m, x: m.last(torch.stack([m.left(x), m.right(x)], 1).flatten(1, 2)),
        left=nn.Conv2d(3, 4, 1),
        right=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(8, 2, 1),
    )

    def build(x: Any) -> Any:
        both = ops.stack([conv(4, "left", 1)(x), conv(4, "right", 1)(x)], axis=4)
        return conv(2, "last", 1)(layers.Reshape((8, 6, 8))(both))

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert set(slugs(report).values()) == {"concat-axis"}


def test_a_new_axis_does_not_hide_a_crop() -> None:
    """A slice behind a new axis is tried too: it begins at another place along its own axis."""

    class Net(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return torch.tanh(x[:, None, 1:4] * 2)

    value = keras.Input((7,))
    port = keras.Model(value, keras.ops.tanh(value[:, None, 2:5] * 2))
    given = Input(name="noise", array=np.random.default_rng(0).standard_normal((2, 7), dtype=np.float32))
    report = verify(Pair(name="new", reference=Net().eval(), port=port), inputs=[given], modes=("eager",))
    (found,) = report.findings
    assert "begins at another place" in found.cause.detail
    assert found.cause.residual_after is not None


# -- wrong-input -------------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A residual block with its norm before the layers: the shortcut is of what comes in, before the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Conv2d(4, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.two(torch.relu(self.one(self.norm(x))))
        return x + y


def residual_port(reference: Any, after_norm: bool) -> Any:
    """Its port; the shortcut from before the norm, or after it."""

    def build(x: Any) -> Any:
        x = conv(4, "stem")(x)
        normed = layers.BatchNormalization(epsilon=1e-5, name="norm")(x)
        y = conv(4, "two")(layers.ReLU(name="relu")(conv(4, "one")(normed)))
        return layers.Add(name="add")([normed if after_norm else x, y])

    return port_of(reference, (8, 6, 3), build)


def test_a_residual_read_after_the_norm() -> None:
    """A shortcut taken after the norm instead of before is wrong-input, and both tensors are named."""
    reference = fill(Residual(), 0)
    right(reference, residual_port(reference, after_norm=False), layers={"add": "add"})
    port = residual_port(reference, after_norm=True)
    cause = proven(
        reference, port, "add", "wrong-input", layers={"add": "add"}, says="it reads norm; the reference reads stem"
    )
    assert 'Conv2D("stem")' in cause.change


def test_a_skip_from_the_wrong_level() -> None:
    """A decoder that reads the second encoder's map for the first's, both of one shape, is wrong-input."""
    reference = Reference(
        lambda m, x: m.up(torch.cat([m.c(m.b(m.a(x))), m.a(x)], 1)),
        a=nn.Conv2d(3, 4, 3, padding=1),
        b=nn.Conv2d(4, 4, 3, padding=1),
        c=nn.Conv2d(4, 4, 3, padding=1),
        up=nn.Conv2d(8, 2, 1),
    )

    def build(x: Any) -> Any:
        a = conv(4, "a")(x)
        b = conv(4, "b")(a)
        return conv(2, "up", 1)(cat()([conv(4, "c")(b), b]))

    report = judged(reference, port_of(reference, (8, 6, 3), build), layers=JOIN)
    assert slugs(report) == {"cat": "wrong-input"}
    assert "it reads b" in report.findings[0].cause.detail


def test_a_layer_that_reads_past_another() -> None:
    """A convolution that reads what comes before the one it should read is wrong-input."""
    reference = Reference(
        lambda m, x: m.b(m.a(m.stem(x))) + m.a(m.stem(x)) * 0,
        stem=nn.Conv2d(3, 4, 1),
        a=nn.Conv2d(4, 4, 3, padding=1),
        b=nn.Conv2d(4, 4, 3, padding=1),
    )
    reference = chain(
        stem=nn.Conv2d(3, 4, 1), a=nn.Conv2d(4, 4, 3, padding=1), b=nn.Conv2d(4, 4, 3, padding=1), act=nn.Tanh()
    )

    def build(x: Any) -> Any:
        stem = conv(4, "stem", 1)(x)
        a = conv(4, "a")(stem)
        b = conv(4, "b")(stem)
        return layers.Activation("tanh", name="act")(b) + 0 * a

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert slugs(report).get("b") == "wrong-input"


def test_a_residual_forgotten() -> None:
    """A block without its shortcut is found at the sum, and is unknown: nothing that it has is wrong."""
    reference = fill(Residual(), 0)

    def build(x: Any) -> Any:
        x = conv(4, "stem")(x)
        normed = layers.BatchNormalization(epsilon=1e-5, name="norm")(x)
        y = conv(4, "two")(layers.ReLU(name="relu")(conv(4, "one")(normed)))
        return layers.Activation("linear", name="end")(y)

    report = judged(reference, port_of(reference, (8, 6, 3), build), layers={"add": "end"})
    assert slugs(report) == {"add": "unknown"}


def test_a_difference_the_other_way_round() -> None:
    """b - a for a - b, an operation that is not symmetric, is wrong-input by the order of its operands."""
    reference = Reference(
        lambda m, x: m.last(m.left(x) - m.right(x)),
        left=nn.Conv2d(3, 4, 1),
        right=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(4, 2, 1),
    )
    port = joined_port_1x1(reference, lambda a, b: layers.Subtract(name="sub")([b, a]))
    report = judged(reference, port, layers={"sub": "sub"})
    assert set(slugs(report)) == {"sub"}
    assert {"wrong-input", "scale"} >= set(slugs(report).values())


def joined_port_1x1(reference: Any, join: Callable[[Any, Any], Any]) -> Any:
    """As joined_port, of 1x1 convolutions."""

    def build(x: Any) -> Any:
        return conv(2, "last", 1)(join(conv(4, "left", 1)(x), conv(4, "right", 1)(x)))

    return port_of(reference, (8, 6, 3), build)


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


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """ShuffleNet's."""
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


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


# -- scale between layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "words"), [(1 / 20, "0.05"), (4.0, "4")])
def test_a_factor_on_the_way(factor: float, words: str) -> None:
    """A factor between two layers that the reference does not have is scale, with its size."""
    reference = chain(first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "second", 1)(layers.Rescaling(factor)(conv(5, "first", 1)(x)))

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "scale", says=words, change="leave out")


def test_a_factor_that_was_lost() -> None:
    """A flow that the reference multiplies by 20, and the port does not, is scale."""
    reference = Reference(lambda m, x: m.last(m.first(x) * 20), first=nn.Conv2d(3, 5, 1), last=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "last", 1)(conv(5, "first", 1)(x))

    proven(reference, port_of(reference, (8, 6, 3), build), "last", "scale", says="20")


def test_another_factor() -> None:
    """A factor of 10 where the reference has 20 is scale, at the multiplication."""
    reference = Reference(lambda m, x: m.last(m.first(x) * 20), first=nn.Conv2d(3, 5, 1), last=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "last", 1)(layers.Rescaling(10.0, name="times")(conv(5, "first", 1)(x)))

    proven(reference, port_of(reference, (8, 6, 3), build), "mul", "scale", layers={"mul": "times"}, says="0.5")


@pytest.mark.parametrize("head", [5, 6])
def test_attention_without_its_root(head: int) -> None:
    """Attention scores that are not divided by the root of the head's width are scale."""
    reference = Reference(
        lambda m, x: m.out(
            torch.softmax(m.q(x.transpose(1, 2)) @ m.k(x.transpose(1, 2)).transpose(1, 2) / head**0.5, -1)
            @ m.v(x.transpose(1, 2))
        ),
        q=nn.Linear(3, head),
        k=nn.Linear(3, head),
        v=nn.Linear(3, head),
        out=nn.Linear(head, 3),
    )

    def port(root: bool) -> Any:
        def build(x: Any) -> Any:
            q, k, v = (layers.Dense(head, name=name)(x) for name in "qkv")
            scores = ops.matmul(q, ops.transpose(k, (0, 2, 1)))
            return layers.Dense(3, name="out")(ops.matmul(ops.softmax(scores / head**0.5 if root else scores, -1), v))

        return port_of(reference, (9, 3), build)

    names = (
        "q",
        "k",
        "v",
        "out",
        "transpose",
        "transpose#2",
        "transpose#3",
        "matmul",
        "matmul#2",
        "div",
        "softmax",
    )
    names += ("transpose#4",)
    axes = Axes(by_name=dict.fromkeys(names, ("NLC", "NLC")))
    right(reference, port(True), steps(), axes=axes)
    report = judged(reference, port(False), steps(), axes=axes)
    assert list(slugs(report).values()) == ["scale"]


# -- spatial-shift -----------------------------------------------------------------------------------------------------


@pytest.mark.xfail(strict=True, reason="columns rotated are a permutation along the width, which has no name")
def test_a_map_that_is_rolled() -> None:
    """A map moved by one column on its way, what falls out coming in again, is spatial-shift."""
    reference = chain(first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "second", 1)(ops.roll(conv(5, "first", 1)(x), 1, axis=2))

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "spatial-shift", says="+1 along W")


@pytest.mark.xfail(
    strict=True, reason="the first transform that fits to a thousandth is said, and is not replayed itself"
)
def test_a_small_offset_is_no_factor() -> None:
    """1e-4 added to a map is told from a factor near 1, however well both fit."""
    reference = chain(first=nn.Conv2d(3, 5, 1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "second", 1)(conv(5, "first", 1)(x) + 1e-4)

    proven(reference, port_of(reference, (8, 6, 3), build), "second", "scale", says="0.0001 is added")


# -- what has no name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda x: x + 0.1 * ops.sin(40 * x), id="a ripple"),
        pytest.param(lambda x: ops.where(x > 1.5, 1.5, x), id="cut off"),
        pytest.param(lambda x: x + ops.mean(x, axis=(1, 2), keepdims=True), id="its mean added"),
        pytest.param(lambda x: x + 0.01 * x * x, id="a little square"),
        pytest.param(
            lambda x: (x - ops.mean(x, -1, keepdims=True)) / ops.std(x, -1, keepdims=True),
            id="normalised",
        ),
        pytest.param(
            lambda x: ops.round(x * 256) / 256,
            id="rounded",
        ),
        pytest.param(lambda x: ops.take(x, [0, 1, 2, 3, 3], axis=-1), id="a channel twice"),
        pytest.param(lambda x: ops.flip(x, 1), id="upside down"),
        pytest.param(lambda x: ops.softmax(x, -1), id="softmax"),
        pytest.param(lambda x: ops.average_pool(x, 3, strides=1, padding="same"), id="blurred"),
        pytest.param(lambda x: ops.cumsum(x, axis=1) / 3, id="summed up"),
        pytest.param(lambda x: x * np.linspace(0.5, 1.5, 8, dtype=np.float32).reshape(1, 8, 1, 1), id="vignetted"),
    ],
)
def test_damage_on_the_way_is_unknown(damage: Callable[[Any], Any]) -> None:
    """What is done to a map on its way and has no name is unknown, and the layer that suffers is the only finding."""
    reference = chain(first=nn.Conv2d(3, 5, 3, padding=1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return conv(2, "second", 1)(damage(conv(5, "first")(x)))

    assert slugs(judged(reference, port_of(reference, (8, 6, 3), build))) == {"second": "unknown"}


def test_a_sum_for_a_concatenation_is_no_order() -> None:
    """Maps added where they should be multiplied are in no other order; nothing names it."""
    reference = Reference(
        lambda m, x: m.last(m.left(x) * m.right(x)),
        left=nn.Conv2d(3, 4, 1),
        right=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(4, 2, 1),
    )
    port = joined_port_1x1(reference, lambda a, b: layers.Add(name="mul")([a, b]))
    assert slugs(judged(reference, port, layers={"mul": "mul"})) == {"mul": "unknown"}


def test_an_operation_under_another_name_in_a_branch() -> None:
    """An activation layer that answers to no tap is computed in the segment that reads it, within the noise."""
    reference = Reference(lambda m, x: torch.cat([torch.tanh(x), m.conv(x)], 1), conv=nn.Conv2d(3, 5, 3, padding=1))

    def build(x: Any) -> Any:
        return layers.Concatenate(name="cat")([layers.Activation("tanh")(x), conv(5, "conv")(x)])

    right(reference, port_of(reference, (None, None, 3), build), image(31, 37))


def test_a_dropout_that_was_left_out_changes_nothing() -> None:
    """A Dropout of the reference, idle when it is evaluated, needs no counterpart."""
    reference = Reference(
        lambda m, x: m.last(functional.dropout(m.first(x), 0.5, training=False)),
        first=nn.Conv2d(3, 5, 1),
        last=nn.Conv2d(5, 2, 1),
    )
    right(reference, port_of(reference, (8, 6, 3), lambda x: conv(2, "last", 1)(conv(5, "first", 1)(x))))
