"""Causes in a layer's numbers, planted in small pairs: from elsewhere, never loaded, or rounded."""

import numpy as np
import pytest
from small_pairs import (
    judged,
    layers,
    proven,
    reweighted,
    set_weights,
    slugs,
    steps,
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
    twins,
)

from parity.axes import Array
from parity.diagnosis.rounding import grid
from parity.frameworks import tf

# -- wrong-tensor, not-loaded ------------------------------------------------------------------------------------------


def test_a_layer_with_the_weights_of_another() -> None:
    """A copied line that loads the first layer's weights into the second is wrong-tensor, and says whose they are."""
    reference, port = twins()
    set_weights(port, "two", *port.get_layer("one").get_weights())
    proven(reference, port, "two", "wrong-tensor", says="of the reference's one", change='Conv2D("two")')


def test_two_layers_with_each_others_weights() -> None:
    """Weights exchanged between two layers are wrong-tensor at both."""
    reference, port = twins()
    one, two = port.get_layer("one").get_weights(), port.get_layer("two").get_weights()
    set_weights(set_weights(port, "one", *two), "two", *one)
    report = judged(reference, port)
    assert slugs(report) == {"one": "wrong-tensor", "two": "wrong-tensor"}


def test_only_a_kernel_is_another_layers() -> None:
    """A kernel from elsewhere, the bias its own, is wrong-tensor too."""
    reference, port = twins()
    kernel = port.get_layer("one").get_weights()[0]
    reweighted(port, "two", lambda k, b: [kernel, b])
    proven(reference, port, "two", "wrong-tensor", says="the kernel is the kernel of the reference's one")


@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_convolution_that_was_never_loaded(layer: str) -> None:
    """A layer still at the values Keras drew for it is not-loaded."""
    reference = convolutions(first=16, second=8)
    port = convolutions_port(reference)
    fresh = layers.Conv2D(port.get_layer(layer).filters, 3)
    fresh.build(port.get_layer(layer).input.shape)
    set_weights(port, layer, *fresh.get_weights())
    proven(reference, port, layer, "not-loaded", change="load the weights")


def test_a_linear_layer_that_was_never_loaded() -> None:
    """A fully connected layer by name skipped in loading is not-loaded."""
    reference, port = dense(inputs=12, outputs=11)
    fresh = layers.Dense(11)
    fresh.build((None, 12))
    set_weights(port, "square", *fresh.get_weights())
    proven(reference, port, "square", "not-loaded", VECTOR)


def test_a_batchnorm_that_was_never_loaded() -> None:
    """A BatchNorm still at ones and zeros is not-loaded."""
    reference, port = normalised()
    set_weights(port, "norm", *(np.full(5, value) for value in (1, 0, 0, 1)))
    proven(reference, port, "norm", "not-loaded")


@pytest.mark.xfail(strict=True, reason="the bias, zeros with a forget block of ones, is not known to be an initial one")
def test_an_lstm_that_was_never_loaded() -> None:
    """A recurrent layer as Keras makes it, its forget bias at one, is not-loaded."""
    reference, port = recurrent("LSTM", units=12)
    fresh = layers.LSTM(12)
    fresh.build((None, 9, 3))
    set_weights(port, "rnn", *fresh.get_weights())
    proven(reference, port, "rnn[0]", "not-loaded", steps(), layers=SEQUENCE, axes=axes_of_sequences())


# -- weight-precision --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("which", ["kernel", "bias"])
def test_precisions(precision: str, which: str) -> None:
    """A weight rounded to fewer bits is weight-precision, and the bits are named."""

    def rounded(kernel: Array, bias: Array) -> list[Array]:
        change = [np.asarray(tf.cast(tf.cast(w, precision), "float32")) for w in (kernel, bias)]
        return [change[0], bias] if which == "kernel" else [kernel, change[1]]

    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", rounded)
    cause = proven(reference, port, "first", "weight-precision")
    assert cause.detail == f"the {which} is the reference's rounded to {precision}"


def test_a_whole_layer_in_half_precision() -> None:
    """Kernel and bias rounded together, as whole models are, is weight-precision."""
    reference = convolutions()
    half = reweighted(convolutions_port(reference), "first", lambda *weights: [w.astype(np.float16) for w in weights])
    proven(
        reference,
        half,
        "first",
        "weight-precision",
        says="each of kernel and bias is the reference's rounded to float16",
    )


@pytest.mark.parametrize("axis", [None, 3], ids=["per tensor", "per filter"])
def test_a_kernel_quantised_to_eight_bits(axis: int | None) -> None:
    """A kernel rounded to 255 steps, of the tensor or of each filter, is weight-precision, and says which."""
    others = None if axis is None else (0, 1, 2)

    def rounded(kernel: Array, bias: Array) -> list[Array]:
        scale = np.abs(kernel).max(axis=others, keepdims=axis is not None) / 127
        return [np.round(kernel / scale) * scale, bias]

    reference = convolutions()
    port = reweighted(convolutions_port(reference), "first", rounded)
    scope = "per tensor" if axis is None else "per slice of axis 3"
    proven(reference, port, "first", "weight-precision", says=f"int8 {scope}")


@pytest.mark.parametrize(
    "gamma",
    [np.eye(1, 11, 3)[0] * 1e-4 + 1, np.eye(1, 11, 3)[0] * 1e-5 + 1, np.r_[np.ones(5), 1 / 7, 1.0001 / 7, 1, 1, 1, 1]],
    ids=["by 1e-4", "by 1e-5", "of two sizes"],
)
def test_values_that_hardly_differ_are_not_rounded(gamma: Array) -> None:
    """Values nearly all alike lie on some grid of a few steps: they are no rounding of the reference's for that."""
    source = np.where(gamma > 0.5, 1, 1 / 7).astype(np.float32)
    assert grid(gamma.astype(np.float32), source) == ""
