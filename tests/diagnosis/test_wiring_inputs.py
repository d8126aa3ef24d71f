"""Causes between layers, planted in small pairs: what is read, and in which order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_pairs import (
    Reference,
    chain,
    fill,
    image,
    judged,
    layers,
    nn,
    ops,
    port_of,
    proven,
    right,
    slugs,
    torch,
)
from wired_pairs import conv, joined_port_1x1

from parity.frameworks import keras
from parity.pairs import Input, Pair
from parity.verification import verify

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
