"""Causes outside a layer's definition, planted in small pairs: training, chance, precision, mode, values not finite."""

from typing import Any

import numpy as np
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
    reweighted,
    right,
    set_weights,
    slugs,
    torch,
)

from parity.axes import CHANNELS_FIRST, Axes
from parity.converters import convert
from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.inputs import noise
from parity.report import PASS
from parity.switches import allow_channels_first


def network(norm: bool = False) -> Any:
    """Two convolutions around an activation, and a norm if it is wanted."""
    steps = {"first": nn.Conv2d(3, 5, 3, padding=1), **({"norm": nn.BatchNorm2d(5)} if norm else {})}
    return chain(**steps, act=nn.LeakyReLU(0.1), second=nn.Conv2d(5, 2, 3, padding=1))


def port(reference: Any, middle: Any = None, first: Any = None, end: Any = None) -> Any:
    """Its port: `middle` is done between the first convolution and the activation, `end` after all."""

    def build(x: Any) -> Any:
        x = (first or layers.Conv2D(5, 3, padding="same", name="first"))(x)
        x = x if middle is None else middle(x)
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(x)
        x = layers.Conv2D(2, 3, padding="same", name="second")(x)
        return x if end is None else end(x)

    return port_of(reference, (8, 6, 3), build)


# -- training-mode -----------------------------------------------------------------------------------------------------


def test_a_dropout_left_on() -> None:
    """A dropout called with training=True gives other values each time: training-mode, at the layer that reads it."""
    reference = network()
    model = port(reference, lambda x: layers.Dropout(0.4, seed=1, name="drop")(x, training=True))
    proven(reference, model, "act", "training-mode", says='Dropout("drop")', change="training=False")


def test_a_dropout_that_is_off_is_right() -> None:
    """The same dropout as Keras runs it by default is no fault."""
    reference = network()
    right(reference, port(reference, layers.Dropout(0.4, name="drop")))


@pytest.mark.parametrize(
    "noise",
    [layers.GaussianNoise(0.3, seed=1, name="noise"), layers.SpatialDropout2D(0.4, seed=1, name="noise")],
    ids=["GaussianNoise", "SpatialDropout2D"],
)
def test_noise_left_on(noise: Any) -> None:
    """Other layers that are random in training only are training-mode when they are left on."""
    reference = network()
    proven(
        reference, port(reference, lambda x: noise(x, training=True)), "act", "training-mode", change="training=False"
    )


def test_batch_statistics_left_on() -> None:
    """A BatchNorm called with training=True normalises by the batch: training-mode, and the port is left as it was."""
    reference = network(norm=True)
    norm = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="norm")
    model = port(reference, lambda x: norm(x, training=True))
    before = model.get_weights()
    proven(reference, model, "norm", "training-mode", image(batch=3), says="by the batch", change="training=False")
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(now, was)


def test_moving_statistics_are_right() -> None:
    """The same BatchNorm as Keras runs it by default is no fault."""
    reference = network(norm=True)
    right(reference, port(reference, layers.BatchNormalization(epsilon=1e-5, name="norm")), image(batch=3))


def test_batch_statistics_in_a_layer_of_ones_own() -> None:
    """A BatchNorm written by hand over the batch's statistics is training-mode: its values show it."""

    class ByHand(layers.BatchNormalization):
        def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
            mean = ops.mean(x, (0, 1, 2))
            variance = ops.var(x, (0, 1, 2))
            return (x - mean) / ops.sqrt(variance + self.epsilon) * self.gamma + self.beta

    reference = network(norm=True)
    model = port(reference, ByHand(epsilon=1e-5, name="norm"))
    proven(reference, model, "norm", "training-mode", image(batch=3))


# -- nondeterminism ----------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class Jitter(layers.Layer):
    """Adds a little noise, whatever it is called with."""

    def call(self, x: Any) -> Any:
        return x + tf.random.normal(tf.shape(x), stddev=0.01)


def test_a_layer_that_is_random() -> None:
    """A layer that is random without a training mode is nondeterminism, and it is named."""
    reference = network()
    proven(reference, port(reference, Jitter(name="jitter")), "act", "nondeterminism", says='Jitter("jitter")')


# -- reduced-precision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_float16",
        pytest.param(
            "float16",
        ),
        pytest.param(
            "mixed_bfloat16",
        ),
    ],
)
def test_a_layer_in_half_precision(dtype: str) -> None:
    """A convolution that computes in fewer bits is reduced-precision, and its bits are named."""
    reference = network()
    first = layers.Conv2D(5, 3, padding="same", dtype=dtype, name="first")
    model = port(reference, lambda x: ops.cast(x, "float32"), first)
    report = judged(reference, model)
    assert slugs(report).get("first") == "reduced-precision"
    (finding,) = [finding for finding in report.findings if finding.layer == "first"]
    assert dtype.removeprefix("mixed_") in finding.cause.detail
    assert 'dtype="float32"' in finding.cause.change


def test_values_that_are_cast() -> None:
    """Values cast to float16 and back between two layers are reduced-precision."""
    reference = network()
    model = port(reference, lambda x: ops.cast(ops.cast(x, "float16"), "float32"))
    proven(reference, model, "act", "reduced-precision", says="float16")


# -- execution-mode ----------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class WrongInGraphs(layers.Layer):
    """Squares its values unless it runs eagerly."""

    def call(self, x: Any) -> Any:
        return x if tf.executing_eagerly() else x * x


def test_modes() -> None:
    """A layer that is right eagerly and wrong as a graph is execution-mode in those runs, and passes in the other."""
    reference = network()
    report = judged(
        reference,
        port(reference, end=WrongInGraphs(name="odd")),
        modes=("eager", "graph", "xla"),
        layers={"second": "odd"},
        waived={"second"},
    )
    assert [run.verdict == PASS for run in report.runs] == [True, False, False]
    assert {(finding.mode, finding.cause.slug) for finding in report.findings} == {
        ("graph", "execution-mode"),
        ("xla", "execution-mode"),
    }


def test_a_fault_in_every_mode_is_no_fault_of_the_mode() -> None:
    """A flipped kernel is kernel-flip in eager, graph and XLA alike."""
    reference = network()
    model = reweighted(port(reference), "first", lambda k, b: [k[::-1], b])
    report = judged(reference, model, modes=("eager", "graph", "xla"))
    assert {(finding.mode, finding.cause.slug) for finding in report.findings} == {
        (mode, "kernel-flip") for mode in ("eager", "graph", "xla")
    }


# -- bias-axis ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "wrong"), [(8, True), (9, False)])
def test_biases_along_the_width(width: int, wrong: bool) -> None:
    """In channels_first, where output width == filters, Keras adds the bias along the width: bias-axis.

    One pixel wider, the same port is right. Skipped once a version of Keras is right at both.
    """
    allow_channels_first()
    reference = chain(conv=nn.Conv2d(3, 8, 3, padding=1))

    def build(x: Any) -> Any:
        return layers.Conv2D(8, 3, padding="same", data_format="channels_first", name="conv")(x)

    model, axes = port_of(reference, (3, 5, width), build), Axes(port=CHANNELS_FIRST)
    if wrong and judged(reference, model, image(5, width), axes=axes).passed:
        pytest.skip(f"Keras {keras.__version__} adds the bias along the channels: the defect is gone")
    if not wrong:
        right(reference, model, image(5, width), axes=axes)
        return
    says = "along the width instead of the channels: output width == filters == 8"
    proven(reference, model, "conv", "bias-axis", image(5, width), axes=axes, says=says, change="use_bias=False")


def test_a_bias_that_a_port_adds_along_the_height() -> None:
    """A bias added by hand along the height, which is as long, is bias-axis in channels_last too."""
    reference = chain(conv=nn.Conv2d(3, 8, 3, padding=1), act=nn.Tanh())
    bias = reference.conv.bias.detach().numpy().reshape(1, 8, 1, 1)

    def build(x: Any) -> Any:
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="plain")(x)
        return layers.Activation("tanh", name="act")(layers.Lambda(lambda y: y + bias, name="conv")(x))

    model = port_of(reference, (8, 6, 3), build)
    set_weights(model, "plain", convert(reference.conv, "conv")[0])
    report = judged(reference, model)
    assert slugs(report) == {"conv": "bias-axis"}
    assert "along the height" in report.findings[0].cause.detail


# -- non-finite --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["port", "reference"])
def test_weights_that_are_not_finite(side: str, value: float) -> None:
    """One NaN or infinity in a weight is non-finite at its layer alone, and the weight and its side are named."""
    reference = network()
    model = port(reference)
    if side == "port":
        kernel, bias = model.get_layer("first").get_weights()
        kernel[0, 2, 1, 3] = value
        set_weights(model, "first", kernel, bias)
    else:
        with torch.no_grad():
            reference.first.bias[3] = value
    report = judged(reference, model)
    assert slugs(report) == {"first": "non-finite"}
    detail = report.findings[0].cause.detail
    weight = "kernel" if side == "port" else "bias"
    assert detail.startswith(f"the {side}'s {weight} holds 1 NaN or infinite value; NaN or infinity in ")
    assert detail.count("holds") == 1
    assert report.first_divergence == report.findings[0]
    assert not report.passed


def test_the_same_nan_on_both_sides_is_no_pass() -> None:
    """A faithful port of a broken reference is as broken: both sides are named."""
    reference = network()
    with torch.no_grad():
        reference.first.weight[3, 1, 0, 2] = torch.nan
    report = judged(reference, port(reference))
    assert slugs(report) == {"first": "non-finite"}
    assert "of the reference and " in report.findings[0].cause.detail


def test_a_logarithm_of_what_may_be_negative() -> None:
    """A logarithm without the reference's clamp makes NaN of negative values: non-finite where it is taken."""
    reference = Reference(
        lambda m, x: m.second(torch.log(m.first(x).clamp(min=1e-3))),
        first=nn.Conv2d(3, 5, 3, padding=1),
        second=nn.Conv2d(5, 2, 1),
    )

    def build(x: Any) -> Any:
        x = ops.log(layers.Conv2D(5, 3, padding="same", name="first")(x))
        return layers.Conv2D(2, 1, name="second")(x)

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert set(slugs(report).values()) == {"non-finite"}
    assert "from finite input" in report.findings[0].cause.detail


# -- references that cannot be trusted ---------------------------------------------------------------------------------


def test_a_reference_in_training_mode_is_refused() -> None:
    """Nothing is diagnosed against a reference that is not in evaluation mode; the layer is named."""
    reference = network(norm=True)
    model = port(reference, layers.BatchNormalization(epsilon=1e-5, name="norm"))
    reference.norm.train()
    with pytest.raises(PairError, match=r"training mode.*norm"):
        judged(reference, model)


def test_a_random_reference_hides_nothing() -> None:
    """Where two runs of the reference differ by more than rounding, nothing it is compared with can pass."""
    reference = Reference(lambda m, x: m.conv(functional.dropout(x, 0.5)), conv=nn.Conv2d(3, 5, 3, padding=1))
    model = port_of(reference, (8, 6, 3), lambda x: layers.Conv2D(5, 3, padding="same", name="conv")(x))
    reweighted(model, "conv", lambda k, b: [np.flip(k, (0, 1)), b * 0])
    try:
        assert not judged(reference, model).passed
    except PairError:
        return


@pytest.mark.parametrize(("factor", "passed"), [(1, True), (2, False)])
def test_a_few_large_values_hide_nothing(factor: int, passed: bool) -> None:
    """Beside values of -1e9, ordinary values that are twice what they should be are a fault."""
    reference = Reference(
        lambda m, x: m.conv(x).masked_fill(torch.arange(5).view(1, 5, 1, 1) == 1, -1e9),
        conv=nn.Conv2d(3, 5, 3, padding=1),
    )
    masked = np.array([False, True, False, False, False])

    def build(x: Any) -> Any:
        y = layers.Conv2D(5, 3, padding="same", name="conv")(x)
        return ops.where(masked, np.float32(-1e9), y * factor)

    model = port_of(reference, (8, 6, 3), build)
    report = judged(reference, model, unmapped={"conv"})
    assert report.passed == passed


@pytest.mark.parametrize("batch", [7, 11])
def test_a_fault_in_few_values_is_found_in_a_batch(batch: int) -> None:
    """A kernel a ten-thousandth too large is found where a layer has two values each of several pictures."""
    reference = chain(linear=nn.Linear(7, 2))
    model = port_of(reference, (7,), lambda x: layers.Dense(2, name="linear")(x))
    given = noise((batch, 7), seed=2, low=-1, high=1)
    right(reference, model, given)
    reweighted(model, "linear", lambda k, b: [k * np.float32(1.0001), b])
    proven(reference, model, "linear", "scale", given, says="1.0001")
