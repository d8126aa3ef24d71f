"""Causes in pooling, planted in small pairs: what is put around, windows beyond the end, what averages divide by."""

from typing import Any

import pytest
from small_pairs import (
    Reference,
    chain,
    functional,
    image,
    judged,
    layers,
    nn,
    ops,
    port_of,
    proven,
    right,
    slugs,
    steps,
    torch,
)


def pooled(pool: Any) -> Any:
    """A convolution, whose values have both signs, its pooling, and another convolution."""
    return chain(first=nn.Conv2d(3, 5, 3, padding=1), pool=pool, last=nn.Conv2d(5, 2, 1))


def pooled_port(reference: Any, pool: Any, size: tuple[int, int] = (8, 6)) -> Any:
    """Its port, pooled by a function of the map."""

    def build(x: Any) -> Any:
        return layers.Conv2D(2, 1, name="last")(pool(layers.Conv2D(5, 3, padding="same", name="first")(x)))

    return port_of(reference, (*size, 3), build)


@pytest.mark.parametrize(
    "offset",
    [
        1.0,
        pytest.param(
            0.0,
            marks=pytest.mark.xfail(
                strict=True, reason="a ReLU explains it on this input, and has no edit that a probe could refute"
            ),
        ),
    ],
    ids=["negative inside too", "negative in corners only"],
)
def test_zeros_around_a_maximum(offset: float) -> None:
    """Zeros put around before a maximum, where torch puts -inf, is pooling: all-negative corners become 0.

    Where they are negative there only, the port's value is also the ReLU of the reference's: a probe tells.
    """
    reference = pooled(nn.MaxPool2d(3, stride=2, padding=1))
    with torch.no_grad():
        reference.first.bias.sub_(offset)
    port = pooled_port(
        reference, lambda x: layers.MaxPooling2D(3, strides=2, name="pool")(layers.ZeroPadding2D(1, name="zeros")(x))
    )
    proven(reference, port, "pool", "pooling", says="padded with -inf", change='MaxPooling2D("pool")')


def test_minus_infinity_around_a_maximum_is_right() -> None:
    """What `same` leaves out on odd sizes is what torch pads with -inf: no fault, no finding."""
    reference = pooled(nn.MaxPool2d(3, stride=2, padding=1))
    port = pooled_port(reference, layers.MaxPooling2D(3, strides=2, padding="same", name="pool"), (9, 7))
    right(reference, port, image(9, 7))


def test_a_maximum_of_windows_that_begin_elsewhere() -> None:
    """`same` on an even size takes its windows one place later than torch: pooling."""
    reference = pooled(nn.MaxPool2d(3, stride=2, padding=1))
    port = pooled_port(reference, layers.MaxPooling2D(3, strides=2, padding="same", name="pool"))
    proven(reference, port, "pool", "pooling", says="padding=same")


@pytest.mark.parametrize("pool", [functional.max_pool2d, torch.max_pool2d], ids=["functional", "torch"])
def test_a_maximum_that_is_a_function(pool: Any) -> None:
    """A function of torch says its windows by the order of its arguments, and is compared like a module."""
    first, last = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 2, 1)
    reference = Reference(lambda m, x: m.last(pool(m.first(x), 3, 2, 1)), first=first, last=last)
    port = pooled_port(reference, layers.MaxPooling2D(3, strides=2, padding="same", name="max_pool2d"))
    proven(reference, port, "max_pool2d", "pooling", says="kernel_size=3, stride=2, padding=1")


@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_ceil_mode_makes_another_shape(kind: str) -> None:
    """A port without the last, cut window that ceil_mode adds has a smaller map: pooling, and ceil_mode is named."""
    reference = pooled({"Max": nn.MaxPool2d, "Average": nn.AvgPool2d}[kind](2, stride=2, ceil_mode=True))
    layer = getattr(layers, f"{kind}Pooling2D")(2, strides=2, name="pool")
    report = judged(reference, pooled_port(reference, layer, (9, 7)), image(9, 7))
    assert slugs(report)["pool"] == "pooling"
    assert "ceil_mode=True" in report.findings[0].cause.detail
    assert report.findings[0].cause.residual_after is not None


def test_an_average_that_counts_its_padding() -> None:
    """Zeros counted in, where the reference leaves them out (count_include_pad=False), is pooling."""
    reference = pooled(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False))
    port = pooled_port(
        reference, lambda x: layers.AveragePooling2D(3, strides=1, name="pool")(layers.ZeroPadding2D(1)(x))
    )
    proven(reference, port, "pool", "pooling", change="AveragePooling2D")


def test_an_average_that_does_not_count_its_padding() -> None:
    """`same` divides by the places inside; torch by all of the window: pooling."""
    reference = pooled(nn.AvgPool2d(3, stride=1, padding=1))
    port = pooled_port(reference, layers.AveragePooling2D(3, strides=1, padding="same", name="pool"))
    proven(reference, port, "pool", "pooling", says="count_include_pad=True")


def test_a_maximum_for_an_average() -> None:
    """A maximum where the reference averages is pooling."""
    reference = pooled(nn.AvgPool2d(2))
    port = pooled_port(reference, layers.MaxPooling2D(2, name="pool"))
    proven(reference, port, "pool", "pooling", layers={"pool": "pool"}, says="MaxPooling2D")


def test_another_window() -> None:
    """A window of 3 for one of 2, at the same stride, is pooling."""
    reference = pooled(nn.AvgPool2d(2, stride=2))
    port = pooled_port(reference, layers.AveragePooling2D(3, strides=2, padding="same", name="pool"))
    proven(reference, port, "pool", "pooling", says="pool_size=(3, 3)")


def test_adaptive_bins_of_one_size() -> None:
    """Adaptive pooling of 7 columns into 3 by windows of 2 is pooling: torch's bins overlap."""
    reference = pooled(nn.AdaptiveAvgPool2d((2, 3)))

    def build(x: Any) -> Any:
        return layers.AveragePooling2D((4, 2), strides=(4, 2), name="pool")(x)

    port = pooled_port(reference, build, (8, 7))
    proven(reference, port, "pool", "pooling", image(8, 7), says="output_size=(2, 3)")


def test_pooling_in_one_dimension() -> None:
    """Zeros around a maximum in one dimension are pooling."""
    reference = chain(
        first=nn.Conv1d(3, 5, 3, padding=1), pool=nn.MaxPool1d(3, stride=2, padding=1), last=nn.Conv1d(5, 2, 1)
    )

    def build(x: Any) -> Any:
        x = layers.ZeroPadding1D(1)(layers.Conv1D(5, 3, padding="same", name="first")(x))
        return layers.Conv1D(2, 1, name="last")(layers.MaxPooling1D(3, strides=2, name="pool")(x))

    proven(reference, port_of(reference, (9, 3), build), "pool", "pooling", steps())


def test_an_average_in_one_dimension_that_does_not_count_its_padding() -> None:
    """`same` in one dimension divides by the places inside; torch by all of the window: pooling."""
    reference = chain(
        first=nn.Conv1d(3, 5, 3, padding=1), pool=nn.AvgPool1d(3, stride=1, padding=1), last=nn.Conv1d(5, 2, 1)
    )

    def build(x: Any) -> Any:
        x = layers.AveragePooling1D(3, strides=1, padding="same", name="pool")(
            layers.Conv1D(5, 3, padding="same", name="first")(x)
        )
        return layers.Conv1D(2, 1, name="last")(x)

    proven(reference, port_of(reference, (9, 3), build), "pool", "pooling", steps())


def test_a_global_maximum_for_a_global_average() -> None:
    """A global maximum where the reference averages over all places is pooling."""
    reference = pooled(nn.AdaptiveAvgPool2d(1))
    port = pooled_port(reference, layers.GlobalMaxPooling2D(keepdims=True, name="pool"))
    proven(reference, port, "pool", "pooling")


def test_what_is_done_after_a_pooling_is_not_the_poolings_fault() -> None:
    """A right pooling whose square is taken is not pooled otherwise: the square is named, or nothing is."""
    reference = pooled(nn.AvgPool2d(2))
    port = pooled_port(reference, lambda x: ops.square(layers.AveragePooling2D(2, name="inner")(x)))
    report = judged(reference, port, layers={"pool": port.layers[-2].name})
    assert set(slugs(report).values()) <= {"activation-extra", "unknown"}
