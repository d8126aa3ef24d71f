"""Causes in a layer's numbers, planted in small pairs: scaled, missing, hardly wrong, or several at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from small_pairs import (
    Reference,
    chain,
    image,
    judged,
    layers,
    limit_of,
    nn,
    ops,
    port_of,
    proven,
    reweighted,
    right,
    slugs,
    torch,
)
from weighted_pairs import VECTOR, convolutions, convolutions_port, twins

from parity.axes import Array, Axes
from parity.pairs import Input

# -- scale, bias-missing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda k, b: [k * np.float32(1 + 1e-5), b], "the kernel is 1.0000"),
        (lambda k, b: [k * 4, b], "the kernel is 4 times"),
        (lambda k, b: [k, b * -2], "the bias is -2 times"),
        (lambda k, b: [k / 4, b / 4], "0.25 times"),
        (lambda k, b: [k * 20, b * 20], "20 times"),
        (lambda k, b: [k, b + 0.5], "plus 0.5"),
    ],
    ids=["a hundred-thousandth", "kernel", "bias", "a quarter", "twenty", "offset"],
)
def test_scales(change: Callable[[Array, Array], Sequence[Array]], words: str) -> None:
    """A constant factor on a layer's weights, or an offset, is scale, and its size is given."""
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "second", change)
    proven(reference, port, "second", "scale", says=words)


def test_an_embedding_without_its_factor() -> None:
    """A table multiplied by the root of its width in the reference, and not in the port, is scale."""
    reference = Reference(
        lambda m, tokens: m.head(m.table(tokens) * 8.0**0.5), table=nn.Embedding(11, 8), head=nn.Linear(8, 3)
    )

    def build(x: Any) -> Any:
        return layers.Dense(3, name="head")(layers.Embedding(11, 8, name="table")(x))

    given = Input(name="tokens", array=np.random.default_rng(0).integers(0, 11, (2, 7)))
    port = port_of(reference, (7,), build, dtype="int64")
    layouts = dict.fromkeys(("table", "mul", "head"), ("NLC", "NLC"))
    cause = proven(reference, port, "head", "scale", given, axes=Axes(by_name={**layouts, "input": ("NL", "NL")}))
    assert "0.3535" in cause.detail or "2.828" in cause.detail


@pytest.mark.parametrize(("biased", "words"), [(True, "the port adds zeros"), (False, "the port has no bias")])
def test_missing_biases(biased: bool, words: str) -> None:
    """A bias that was left out, or left at zero, is bias-missing, and which of the two is said."""
    reference = convolutions()

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", use_bias=biased, name="first")(x)
        return layers.Conv2D(2, 3, padding="same", name="second")(layers.LeakyReLU(negative_slope=0.1, name="act")(x))

    port = port_of(reference, (8, 6, 3), build)
    if biased:
        reweighted(port, "first", lambda k, b: [k, b * 0])
    proven(reference, port, "first", "bias-missing", says=words, change='Conv2D("first"')


@pytest.mark.parametrize("kind", ["linear", "transposed", "depthwise"])
def test_layers_of_other_kinds_without_their_bias(kind: str) -> None:
    """A missing bias is named whatever the layer: fully connected, transposed, depthwise."""
    if kind == "linear":
        reference = chain(layer=nn.Linear(7, 5), act=nn.Tanh())
        make = lambda: layers.Dense(5, use_bias=False, name="layer")  # noqa: E731
    elif kind == "transposed":
        reference = chain(layer=nn.ConvTranspose2d(3, 5, 2, stride=2), act=nn.Tanh())
        make = lambda: layers.Conv2DTranspose(5, 2, strides=2, use_bias=False, name="layer")  # noqa: E731
    else:
        reference = chain(layer=nn.Conv2d(3, 3, 3, padding=1, groups=3), act=nn.Tanh())
        make = lambda: layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="layer")  # noqa: E731
    shape = (7,) if kind == "linear" else (8, 6, 3)
    port = port_of(reference, shape, lambda x: layers.Activation("tanh", name="act")(make()(x)))
    given = VECTOR if kind == "linear" else image()
    proven(reference, port, "layer", "bias-missing", given, change="use_bias=True")


def test_a_bias_that_is_zero_is_not_missed() -> None:
    """Where the reference's own bias is zero, a port without one is right."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1))
    nn.init.zeros_(reference.conv.bias)
    right(
        reference,
        port_of(reference, (8, 6, 3), lambda x: layers.Conv2D(5, 3, padding="same", use_bias=False, name="conv")(x)),
    )


def test_a_single_missing_bias_is_named_before_an_offset() -> None:
    """For one filter a missing bias is an offset; the bias, which nothing was fitted to, is the cause that is named."""
    for seed in range(6):
        reference = chain(seed, conv=nn.Conv2d(3, 1, 3, padding=1))
        port = port_of(
            reference, (8, 6, 3), lambda x: layers.Conv2D(1, 3, padding="same", use_bias=False, name="conv")(x)
        )
        assert slugs(judged(reference, port)) == {"conv": "bias-missing"}


# -- near misses, and what has no name ---------------------------------------------------------------------------------


def _one_off(change: Callable[[Array], Array]) -> Callable[[Array, Array], Sequence[Array]]:
    def spoil(kernel: Array, bias: Array) -> list[Array]:
        moved = np.array(change(kernel))
        moved[1, 2, 0, 1] += 0.25
        return [moved, bias]

    return spoil


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda k: k.transpose(1, 0, 2, 3), id="permuted"),
        pytest.param(lambda k: k[::-1], id="flipped"),
        pytest.param(lambda k: k * 3, id="scaled"),
        pytest.param(lambda k: k.astype(np.float16).astype(np.float32), id="rounded"),
        pytest.param(lambda k: k[..., ::-1], id="filters"),
        pytest.param(lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape), id="reshaped"),
        pytest.param(lambda k: k, id="only that"),
    ],
)
def test_a_near_miss_is_not_given_the_near_cause(change: Callable[[Array], Array]) -> None:
    """A kernel that is rearranged, and one of whose values is wrong besides, has no cause with a name.

    Its weights are still known to differ, and in how many values; with the reference's in place the error is gone.
    """
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", _one_off(change))
    report = judged(reference, port)
    assert slugs(report) == {"first": "unknown"}
    (finding,) = report.findings
    assert "the kernel differs from the reference's in" in finding.cause.detail
    assert finding.cause.residual_after is not None
    assert finding.cause.residual_after <= limit_of(report, finding)


@pytest.mark.parametrize("index", [(0, 0, 0, 0), (2, 1, 2, 4)])
def test_one_wrong_weight_is_unknown_and_found(index: tuple[int, ...]) -> None:
    """A single weight that is off by a thousandth is found at its layer, counted, and under no cause's name."""

    def off(kernel: Array, bias: Array) -> list[Array]:
        kernel[index] += 1e-3
        return [kernel, bias]

    reference = convolutions()
    (finding,) = judged(reference, reweighted(convolutions_port(reference), "first", off)).findings
    assert (finding.layer, finding.cause.slug) == ("first", "unknown")
    assert "differs from the reference's in 1 of 135 values" in finding.cause.detail


def test_a_kernel_partly_another_layers_is_no_wrong_tensor() -> None:
    """Two of three filters from another layer are not that layer's tensor."""
    reference, port = twins()
    other = port.get_layer("one").get_weights()[0]
    reweighted(port, "two", lambda k, b: [np.concatenate([other[..., :2], k[..., 2:]], -1), b])
    assert slugs(judged(reference, port)) == {"two": "unknown"}


def test_a_kernel_of_another_training_run_is_not_called_unloaded() -> None:
    """Weights a little further along in training are close to the reference's, and so not new ones."""
    reference = convolutions(first=16, second=8)
    drift = np.random.default_rng(0)
    port = reweighted(
        convolutions_port(reference), "first", lambda k, b: [k + 0.02 * drift.standard_normal(k.shape), b]
    )
    assert slugs(judged(reference, port)) == {"first": "unknown"}


# -- several at once, and shared weights -------------------------------------------------------------------------------


def test_two_faults_in_one_layer_are_both_named() -> None:
    """A flipped kernel and a lost bias in one layer are two causes, and the replay that undoes both proves them."""
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [np.flip(k, (0, 1)), b * 0])
    cause = proven(reference, port, "first", "kernel-flip", says="bias-missing")
    assert cause.also == ("bias-missing",)
    assert cause.ranked[:2] == ("kernel-flip", "bias-missing")


def test_wrong_weights_and_a_wrong_setting_in_one_layer() -> None:
    """A flipped kernel in a layer that also pads on the wrong side is both: padding, and kernel-flip with it."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, stride=2, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, strides=2, padding="same", name="conv")(x))

    port = reweighted(port_of(reference, (8, 6, 3), build), "conv", lambda k, b: [np.flip(k, (0, 1)), b])
    cause = proven(reference, port, "conv", "padding", says="kernel-flip")
    assert cause.also == ("kernel-flip",)


def test_a_layer_that_fires_twice_with_wrong_weights() -> None:
    """A shared layer whose kernel is flipped is at fault wherever it fires, and each time for that reason."""
    reference = Reference(lambda m, x: m.conv(torch.tanh(m.conv(x))), conv=nn.Conv2d(3, 3, 3, padding=1))

    def build(x: Any) -> Any:
        conv = layers.Conv2D(3, 3, padding="same", name="conv")
        return conv(ops.tanh(conv(x)))

    port = port_of(reference, (8, 6, 3), build)
    right(reference, port)
    reweighted(port, "conv", lambda k, b: [k[::-1], b])
    assert slugs(judged(reference, port)) == {"conv": "kernel-flip", "conv#2": "kernel-flip"}
