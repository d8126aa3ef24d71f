"""Causes in a layer's numbers, planted in small pairs: weights rearranged."""

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
    nn,
    port_of,
    proven,
    reweighted,
    right,
    set_weights,
    steps,
    torch,
    torch_weights,
)
from weighted_pairs import (
    SEQUENCE,
    VECTOR,
    axes_of_sequences,
    convolutions,
    convolutions_port,
    dense,
    normalised,
    recurrent,
)

from parity.axes import Array
from parity.converters import convert

# -- networks, and their faithful ports --------------------------------------------------------------------------------


def depthwise() -> tuple[Any, Any]:
    """A depthwise convolution that makes two channels of each; with its port."""
    reference = chain(widen=nn.Conv2d(3, 5, 1), spread=nn.Conv2d(5, 10, 3, padding=1, groups=5))

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 1, name="widen")(x)
        return layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="spread")(x)

    return reference, port_of(reference, (8, 6, 3), build)


def grouped() -> tuple[Any, Any]:
    """A convolution in two groups of three filters; with its port."""
    reference = chain(widen=nn.Conv2d(3, 4, 1), grouped=nn.Conv2d(4, 6, 3, padding=1, groups=2))

    def build(x: Any) -> Any:
        x = layers.Conv2D(4, 1, name="widen")(x)
        return layers.Conv2D(6, 3, groups=2, padding="same", name="grouped")(x)

    return reference, port_of(reference, (8, 6, 3), build)


@pytest.mark.parametrize("make", [lambda: dense(), depthwise, grouped, normalised])
def test_the_faithful_ports_pass(make: Callable[[], tuple[Any, Any]]) -> None:
    """What the faults below are planted in is right, with no finding; so each of them is one."""
    reference, port = make()
    right(reference, port, VECTOR if len(port.input_shape) == 2 else image())


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_faithful_recurrent_ports_pass(kind: str) -> None:
    """A recurrent layer with the weights its converter gives is right over nine steps."""
    reference, port = recurrent(kind)
    right(reference, port, steps(), layers=SEQUENCE, axes=axes_of_sequences())


# -- kernel-axes, kernel-flip, kernel-reshape --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", [(1, 0, 2, 3), (0, 1, 3, 2), (1, 0, 3, 2)], ids=["height and width", "in and out", "both"]
)
def test_permuted_kernels(order: tuple[int, ...]) -> None:
    """A kernel whose axes were exchanged is kernel-axes, and the order that puts it right is given."""
    reference = convolutions(first=3)
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [k.transpose(order), b])
    proven(reference, port, "first", "kernel-axes", says=f"kh kw i o = its axes {order}", change='Conv2D("first")')


def test_a_linear_layer_that_was_not_transposed() -> None:
    """torch's (out, in) handed to Keras's (in, out) as it is, where both are six, is kernel-axes."""
    reference, port = dense()
    set_weights(port, "square", *torch_weights(reference.square))
    proven(reference, port, "square", "kernel-axes", VECTOR, says="i o = its axes (1, 0)", change='Dense("square")')


def test_a_transposed_convolution_with_in_and_out_exchanged() -> None:
    """A transposed convolution's kernel moved as a plain one's is kernel-axes."""
    reference = chain(widen=nn.Conv2d(3, 4, 1), up=nn.ConvTranspose2d(4, 4, 2, stride=2))

    def build(x: Any) -> Any:
        return layers.Conv2DTranspose(4, 2, strides=2, name="up")(layers.Conv2D(4, 1, name="widen")(x))

    port = port_of(reference, (8, 6, 3), build)
    right(reference, port)
    weight, bias = torch_weights(reference.up)
    set_weights(port, "up", weight.transpose(2, 3, 0, 1), bias)
    proven(reference, port, "up", "kernel-axes", says="kh kw o i", change="Conv2DTranspose")


def test_a_convolution_in_one_dimension_with_its_axes_exchanged() -> None:
    """torch's (o, i, k) moved to (k, o, i) instead of (k, i, o) is kernel-axes."""
    reference = chain(conv=nn.Conv1d(3, 3, 5, padding=2))
    port = port_of(reference, (9, 3), lambda x: layers.Conv1D(3, 5, padding="same", name="conv")(x))
    right(reference, port, steps())
    weight, bias = torch_weights(reference.conv)
    set_weights(port, "conv", weight.transpose(2, 0, 1), bias)
    proven(reference, port, "conv", "kernel-axes", steps(), says="k i o", change="Conv1D")


@pytest.mark.parametrize(
    ("axes", "words"), [((0, 1), "along kh and kw"), ((0,), "along kh"), ((1,), "along kw")], ids=["both", "kh", "kw"]
)
def test_flipped_kernels(axes: tuple[int, ...], words: str) -> None:
    """A kernel turned by 180 degrees, or mirrored along one axis, is kernel-flip, and the axes are named."""
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "second", lambda k, b: [np.flip(k, axes), b])
    proven(reference, port, "second", "kernel-flip", says=words)


def test_a_flipped_kernel_in_one_dimension() -> None:
    """A convolution taken for a correlation, in one dimension, is kernel-flip."""
    reference = chain(conv=nn.Conv1d(3, 2, 5, padding=2))
    port = port_of(reference, (9, 3), lambda x: layers.Conv1D(2, 5, padding="same", name="conv")(x))
    reweighted(port, "conv", lambda k, b: [k[::-1], b])
    proven(reference, port, "conv", "kernel-flip", steps(), says="along k")


def test_a_kernel_turned_by_90_degrees() -> None:
    """A quarter turn is an exchange and a flip: kernel-axes, with both in its words."""
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [np.rot90(k), b])
    proven(reference, port, "first", "kernel-axes", says="reversed along")


def test_symmetric_kernels_hide_a_flip() -> None:
    """A kernel that is its own mirror image is no fault when flipped."""
    reference = convolutions()
    with torch.no_grad():
        reference.first.weight.copy_(reference.first.weight + reference.first.weight.flip(2, 3))
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [np.flip(k, (0, 1)), b])
    right(reference, port)


def test_a_kernel_whose_flip_is_its_exchange_is_a_tie() -> None:
    """Where a flip along both axes and an exchange of both give one kernel, both are named, and neither is claimed.

    The kernel is antisymmetric about its other diagonal only: no input can tell the two apart.
    """
    reference = convolutions()
    with torch.no_grad():
        weight = reference.first.weight
        weight.copy_(weight + weight.transpose(2, 3).flip(2, 3))
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [k.transpose(1, 0, 2, 3), b])
    (finding,) = judged(reference, port).findings
    assert {finding.cause.slug, *finding.cause.tied} == {"kernel-axes", "kernel-flip"}
    assert finding.cause.residual_after is not None


@pytest.mark.parametrize("layer", ["first", "second"])
def test_kernels_that_were_reshaped(layer: str) -> None:
    """torch's (o, i, kh, kw) reshaped to Keras's (kh, kw, i, o) is kernel-reshape."""
    reference = convolutions()
    port = convolutions_port(reference)
    weight, bias = torch_weights(getattr(reference, layer))
    set_weights(port, layer, weight.reshape(port.get_layer(layer).kernel.shape), bias)
    proven(reference, port, layer, "kernel-reshape", says="reshaped to (3, 3")


def test_a_linear_kernel_that_was_reshaped() -> None:
    """torch's (out, in) reshaped to Keras's (in, out) is kernel-reshape."""
    reference, port = dense()
    weight, bias = torch_weights(reference.narrow)
    set_weights(port, "narrow", weight.reshape(7, 6), bias)
    proven(reference, port, "narrow", "kernel-reshape", VECTOR)


# -- kernel-layout -----------------------------------------------------------------------------------------------------


def test_a_depthwise_kernel_with_multiplier_and_channels_exchanged() -> None:
    """torch's 10 filters are 5 channels of 2; read as 2 of 5, they are kernel-layout."""
    reference, port = depthwise()
    weight, bias = torch_weights(reference.spread)
    set_weights(port, "spread", weight.reshape(2, 5, 3, 3).transpose(2, 3, 1, 0), bias)
    proven(reference, port, "spread", "kernel-layout", says="channels and multipliers", change="DepthwiseConv2D")


def test_a_grouped_kernel_with_groups_and_filters_exchanged() -> None:
    """Six filters that are two groups of three, gathered as three of two, are kernel-layout."""
    reference, port = grouped()
    weight, bias = torch_weights(reference.grouped)
    set_weights(
        port, "grouped", weight.reshape(2, 3, 2, 3, 3).swapaxes(0, 1).reshape(6, 2, 3, 3).transpose(2, 3, 1, 0), bias
    )
    proven(reference, port, "grouped", "kernel-layout", says="groups and filters")


# -- weight-order, gate-order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "slots",
    [(1, 0, 2, 3), (0, 1, 3, 2), (2, 1, 0, 3), (2, 3, 0, 1)],
    ids=["gamma beta", "mean variance", "gamma mean", "Caffe"],
)
def test_vectors_in_the_wrong_slots(slots: tuple[int, ...]) -> None:
    """A BatchNorm's four vectors in another order are weight-order, and what is where is said."""
    reference, port = normalised()
    reweighted(port, "norm", lambda *vectors: [vectors[slot] for slot in slots])
    proven(reference, port, "norm", "weight-order", says="in the wrong slot", change='BatchNormalization("norm")')


def test_a_negative_variance_is_a_vector_in_the_wrong_slot() -> None:
    """A mean in the variance's slot makes NaN of what is negative; the cause is still the order of the weights."""
    reference, port = normalised()
    with torch.no_grad():
        reference.norm.running_mean[2] = -0.7
    reweighted(port, "norm", lambda *vectors: [*vectors[:2], vectors[3], reference.norm.running_mean.numpy()])
    (finding,) = judged(reference, port).findings
    assert finding.layer == "norm"
    assert "weight-order" in (finding.cause.slug, *finding.cause.also)


def test_an_lstm_with_its_gates_in_the_order_of_tensorflow_1() -> None:
    """Kernels and bias in the order input, cell, forget, output are gate-order, all three named, and said once."""
    reference, port = recurrent("LSTM")
    reweighted(port, "rnn", lambda *weights: [_blocks(weight, 4, (0, 2, 1, 3)) for weight in weights])
    cause = proven(
        reference, port, "rnn[0]", "gate-order", steps(), says="i c f o", layers=SEQUENCE, axes=axes_of_sequences()
    )
    assert all(name in cause.change for name in ("kernel", "recurrent_kernel", "bias"))
    assert cause.detail.startswith("each of kernel, recurrent_kernel and bias has its gates in the order i c f o; ")
    assert cause.detail.count("gates") == 1


def test_a_gru_with_its_gates_in_torch_order() -> None:
    """torch's reset, update, new loaded as they come into Keras's update, reset, new are gate-order."""
    reference, port = recurrent("GRU")
    reweighted(port, "rnn", lambda *weights: [_blocks(weight, 3, (1, 0, 2)) for weight in weights])
    proven(reference, port, "rnn[0]", "gate-order", steps(), layers=SEQUENCE, axes=axes_of_sequences())


def test_the_gates_of_a_gru_whose_last_state_is_read() -> None:
    """The weights are those of the layer that a tap has a part of, or the values in another arrangement."""
    reference = Reference(
        lambda m, x: m.head(torch.tanh(m.rnn(x.permute(2, 0, 1))[1].squeeze(0))), rnn=nn.GRU(3, 5), head=nn.Linear(5, 2)
    )

    def build(x: Any) -> Any:
        return layers.Dense(2, name="head")(layers.Activation("tanh", name="tanh")(layers.GRU(5, name="rnn")(x)))

    port = port_of(reference, (9, 3), build)
    set_weights(port, "rnn", *(_blocks(weight, 3, (1, 0, 2)) for weight in _gru(reference.rnn)))
    proven(reference, port, "squeeze", "gate-order", steps(), layers={"squeeze": "rnn"})


def test_a_gru_that_resets_before() -> None:
    """Keras's older GRU, reset_after=False, is gate-order: its equation is another one."""
    reference, port = recurrent("GRU", reset_after=False)
    kernel, recurrent_kernel, bias = _gru(reference.rnn)
    set_weights(port, "rnn", kernel, recurrent_kernel, bias.sum(0))
    proven(
        reference, port, "rnn[0]", "gate-order", steps(), says="reset_after", layers=SEQUENCE, axes=axes_of_sequences()
    )


def _blocks(weight: Array, gates: int, order: Sequence[int]) -> Array:
    blocks = np.split(weight, gates, axis=-1)
    return np.concatenate([blocks[gate] for gate in order], axis=-1)


def _gru(module: Any) -> list[Array]:
    return convert(module, "rnn")


# -- slices in another order -------------------------------------------------------------------------------------------


def test_filters_in_another_order() -> None:
    """Filters and biases in reverse order are channel-permutation, and the order is given."""
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [k[..., ::-1], b[::-1]])
    proven(reference, port, "first", "channel-permutation", says="reverse")


def test_a_first_layer_for_the_other_order_of_colours() -> None:
    """A first kernel whose three input channels are reversed, as for BGR, is channel-permutation along them."""
    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", lambda k, b: [k[:, :, ::-1], b])
    proven(reference, port, "first", "channel-permutation", says="along i")
