"""Causes in activations, planted in small pairs: the slope, the function, one too few or one too many."""

from collections.abc import Callable
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
    right,
    set_weights,
    slugs,
    steps,
    torch,
)

from parity.axes import Axes


def bent(act: Any) -> Any:
    """A convolution, an activation, and another convolution."""
    return chain(first=nn.Conv2d(3, 5, 3, padding=1), act=act, second=nn.Conv2d(5, 2, 3, padding=1))


def bent_port(reference: Any, act: Any, built_in: str | None = None) -> Any:
    """Its port, with a function or a layer of the map for the activation."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", activation=built_in, name="first")(x)
        return layers.Conv2D(2, 3, padding="same", name="second")(x if act is None else act(x))

    return port_of(reference, (8, 6, 3), build)


def leaky(slope: float) -> Any:
    """Keras's leaky ReLU under the name of the reference's activation."""
    return layers.LeakyReLU(negative_slope=slope, name="act")


def as_layer(function: Callable[[Any], Any]) -> Any:
    """A function as a layer under the name of the reference's activation."""
    return layers.Lambda(function, name="act")


# -- activation-slope --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.3, 0.2, 0.1002])
def test_slopes(slope: float) -> None:
    """Another slope of a LeakyReLU, even 0.1002 for 0.1, is activation-slope, with both slopes."""
    reference = bent(nn.LeakyReLU(0.1))
    cause = proven(
        reference, bent_port(reference, leaky(slope)), "act", "activation-slope", change="LeakyReLU(negative_slope=0.1)"
    )
    assert cause.detail == f"the slope for negative values is {slope:g}; the reference's is 0.1"


def test_a_slope_in_one_dimension() -> None:
    """A slope is a slope over sequences too."""
    reference = chain(first=nn.Conv1d(3, 5, 3, padding=1), act=nn.LeakyReLU(0.01), last=nn.Conv1d(5, 2, 1))

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.3, name="act")(layers.Conv1D(5, 3, padding="same", name="first")(x))
        return layers.Conv1D(2, 1, name="last")(x)

    proven(
        reference, port_of(reference, (9, 3), build), "act", "activation-slope", steps(), says="the reference's is 0.01"
    )


def test_another_alpha_of_an_elu() -> None:
    """An ELU whose negative side is a multiple of the reference's is activation-slope."""
    reference = bent(nn.ELU(0.5))
    port = bent_port(reference, layers.ELU(1.0, name="act"))
    proven(reference, port, "act", "activation-slope", says="2 times", change="ELU(alpha=0.5)")


def test_prelu_with_slopes_along_the_width() -> None:
    """PReLU's slopes, one for each channel, laid along the width, which is as long, are activation-slope."""
    reference = chain(first=nn.Conv2d(3, 6, 3, padding=1), act=nn.PReLU(6), second=nn.Conv2d(6, 2, 1))

    def build(x: Any) -> Any:
        x = layers.PReLU(shared_axes=[1, 3], name="act")(layers.Conv2D(6, 3, padding="same", name="first")(x))
        return layers.Conv2D(2, 1, name="second")(x)

    port = port_of(reference, (8, 6, 3), build)
    set_weights(port, "act", reference.act.weight.detach().numpy().reshape(1, 6, 1))
    proven(reference, port, "act", "activation-slope", change="shared_axes=[1, 2]")


def test_prelu_with_other_slopes_is_a_fault_of_its_weights() -> None:
    """PReLU's slopes in reverse order are a fault of the weights, not of the layer's axes."""
    reference = chain(first=nn.Conv2d(3, 6, 3, padding=1), act=nn.PReLU(6), second=nn.Conv2d(6, 2, 1))

    def build(x: Any) -> Any:
        x = layers.PReLU(shared_axes=[1, 2], name="act")(layers.Conv2D(6, 3, padding="same", name="first")(x))
        return layers.Conv2D(2, 1, name="second")(x)

    port = port_of(reference, (8, 6, 3), build)
    right(reference, port)
    set_weights(port, "act", reference.act.weight.detach().numpy()[::-1].reshape(1, 1, 6))
    proven(reference, port, "act", "channel-permutation", says="alpha")


# -- activation-kind ---------------------------------------------------------------------------------------------------


def test_a_slope_of_zero_is_another_activation() -> None:
    """A ReLU for a LeakyReLU is activation-kind, with its slope of 0."""
    reference = bent(nn.LeakyReLU(0.1))
    for act in (layers.ReLU(name="act"), leaky(0.0)):
        proven(reference, bent_port(reference, act), "act", "activation-kind", says="0; the reference's is 0.1")


@pytest.mark.parametrize(
    ("wanted", "present", "words"),
    [
        (nn.GELU(), as_layer(lambda x: ops.gelu(x, approximate=True)), "gelu (tanh)"),
        (nn.GELU(approximate="tanh"), as_layer(lambda x: ops.gelu(x, approximate=False)), "gelu (erf)"),
        (nn.GELU(), as_layer(lambda x: x * ops.sigmoid(1.702 * x)), "quick gelu (1.702)"),
        (nn.Hardsigmoid(), as_layer(lambda x: ops.clip(0.2 * x + 0.5, 0, 1)), "hard sigmoid (0.2 x + 0.5)"),
        (nn.Sigmoid(), layers.Activation("hard_sigmoid", name="act"), "hard sigmoid (x / 6 + 0.5)"),
        (nn.SiLU(), layers.Activation("gelu", name="act"), "gelu"),
        (nn.SiLU(), as_layer(lambda x: x * ops.hard_sigmoid(x)), "hard swish"),
        (nn.Tanh(), layers.Activation("sigmoid", name="act"), "sigmoid"),
        (nn.ReLU(), layers.Activation("elu", name="act"), "elu"),
        (nn.ReLU(), leaky(0.01), "LeakyReLU"),
        (nn.ReLU6(), layers.ReLU(name="act"), "relu"),
        (nn.ELU(), layers.Activation("selu", name="act"), "selu"),
        (nn.Softplus(), layers.Activation("relu", name="act"), "relu"),
        (nn.Softplus(beta=2.0), layers.Activation("softplus", name="act"), "softplus; the reference softplus(2 x) / 2"),
        (nn.Mish(), layers.Activation("silu", name="act"), "silu"),
        (nn.Hardswish(), layers.Activation("silu", name="act"), "silu"),
    ],
    ids=[
        *("gelu tanh", "gelu erf", "quick gelu", "hard sigmoid 0.2", "hard sigmoid", "gelu for silu", "hard swish"),
        *("sigmoid for tanh", "elu for relu", "leaky for relu", "relu for relu6", "selu for elu", "relu for softplus"),
        "beta of 1",
        *("silu for mish", "silu for hardswish"),
    ],
)
def test_kinds(wanted: Any, present: Any, words: str) -> None:
    """Another function of the same value is activation-kind, and what the port computes is named."""
    reference = bent(wanted)
    given = image(19, 17)
    with torch.no_grad():
        reference.first.weight.mul_(6)  # values beyond 6, where the functions that are cut off differ

    def build(x: Any) -> Any:
        x = present(layers.Conv2D(5, 3, padding="same", name="first")(x))
        return layers.Conv2D(2, 3, padding="same", name="second")(x)

    port = port_of(reference, (19, 17, 3), build)
    proven(reference, port, "act", "activation-kind", given, says=words, change="->")


@pytest.mark.parametrize(
    ("function", "layer", "says"),
    [
        (ops.sigmoid, "hardsigmoid", 'computes sigmoid; the reference Activation("hard_sigmoid")'),
        (lambda x: ops.clip(x * 0.2 + 0.5, 0, 1), "mul", "hard sigmoid (0.2 x + 0.5) before this layer; the reference"),
    ],
    ids=["an operation", "several"],
)
def test_a_gate_of_another_function(function: Callable[[Any], Any], layer: str, says: str) -> None:
    """Another function than the hard sigmoid by which a value is multiplied is activation-kind: where it is one
    operation there, else at the product."""
    reference = Reference(
        lambda m, x: m.last(m.left(x) * functional.hardsigmoid(m.right(x))),
        left=nn.Conv2d(3, 4, 1),
        right=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(4, 2, 1),
    )

    def build(x: Any) -> Any:
        gated = layers.Conv2D(4, 1, name="left")(x) * function(layers.Conv2D(4, 1, name="right")(x))
        return layers.Conv2D(2, 1, name="last")(gated)

    proven(reference, port_of(reference, (8, 6, 3), build), layer, "activation-kind", image(), says=says)


def test_the_gates_of_an_lstm_with_a_hard_sigmoid() -> None:
    """Keras 1's recurrent activation, a hard sigmoid, is activation-kind, in the layer's own words."""
    rnn = nn.LSTM(3, 5, batch_first=True)
    reference = Reference(lambda m, x: m.head(m.rnn(x.transpose(1, 2))[0]), rnn=rnn, head=nn.Linear(5, 2))

    def build(x: Any) -> Any:
        x = layers.LSTM(5, return_sequences=True, recurrent_activation="hard_sigmoid", name="rnn")(x)
        return layers.Dense(2, name="head")(x)

    layouts = dict.fromkeys(("rnn[0]", "transpose", "head"), ("NLC", "NLC"))
    proven(
        reference,
        port_of(reference, (9, 3), build),
        "rnn[0]",
        "activation-kind",
        steps(),
        layers={"rnn[0]": "rnn"},
        axes=Axes(by_name=layouts),
        change='recurrent_activation="sigmoid"',
    )


# -- activation-missing, activation-extra ------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.1)], ids=str)
def test_an_activation_that_was_left_out(act: Any) -> None:
    """A layer that reads the value before the reference's activation is activation-missing there."""
    reference = bent(act)
    port = bent_port(reference, None)
    proven(reference, port, "second", "activation-missing", says="the port does not", change='before Conv2D("second")')


def test_an_activation_that_passes_its_values_on() -> None:
    """An Activation("linear") where the reference has a ReLU is activation-missing, at the activation."""
    reference = bent(nn.ReLU())
    port = bent_port(reference, layers.Activation("linear", name="act"))
    proven(reference, port, "act", "activation-missing", change='Activation("relu")')


def test_a_functional_activation_that_was_left_out() -> None:
    """An F.relu in the reference's forward, left out, is activation-missing too."""
    reference = Reference(
        lambda m, x: m.second(functional.relu(m.first(x))),
        first=nn.Conv2d(3, 5, 3, padding=1),
        second=nn.Conv2d(5, 2, 3, padding=1),
    )
    proven(reference, bent_port(reference, None), "second", "activation-missing")


@pytest.mark.xfail(strict=True, reason="only a layer that reads the activation, or one that answers to it, can lack it")
def test_an_activation_missing_at_the_end() -> None:
    """A network whose last sigmoid was left out ends with activation-missing."""
    reference = chain(first=nn.Conv2d(3, 5, 3, padding=1), act=nn.Sigmoid())
    port = port_of(reference, (8, 6, 3), lambda x: layers.Conv2D(5, 3, padding="same", name="first")(x))
    report = judged(reference, port, layers={"act": "first"}, unmapped={"first"}, waived={"first"})
    assert slugs(report) == {"act": "activation-missing"}


@pytest.mark.parametrize("built_in", ["relu", "tanh", "sigmoid"])
def test_an_activation_that_a_layer_has_built_in(built_in: str) -> None:
    """A convolution with an activation of its own, which the reference's has not, is activation-extra."""
    reference = bent(nn.Tanh())
    port = bent_port(reference, layers.Activation("tanh", name="act"), built_in)
    proven(reference, port, "first", "activation-extra", says=f"applies {built_in}", change='activation="linear"')


@pytest.mark.parametrize("function", [ops.tanh, ops.relu, ops.silu, lambda x: ops.leaky_relu(x, 0.2)])
def test_an_activation_after_the_last_layer(function: Callable[[Any], Any]) -> None:
    """An activation after the value that the reference ends with is activation-extra, at that layer."""
    reference = bent(nn.ReLU())

    def build(x: Any) -> Any:
        x = layers.ReLU(name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        return function(layers.Conv2D(2, 3, padding="same", name="inner")(x))

    port = port_of(reference, (8, 6, 3), build)
    weight, bias = reference.second.weight.detach().numpy(), reference.second.bias.detach().numpy()
    set_weights(port, "inner", weight.transpose(2, 3, 1, 0), bias)
    report = judged(reference, port, layers={"second": port.operations[-1].name}, waived={"inner"})
    assert slugs(report) == {"second": "activation-extra"}
    assert report.findings[0].cause.residual_after is not None


def test_an_activation_between_two_layers() -> None:
    """A second ReLU after a normalisation that the reference does not have is activation-extra."""
    reference = chain(first=nn.Conv2d(3, 5, 3, padding=1), norm=nn.BatchNorm2d(5), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        x = layers.BatchNormalization(epsilon=1e-5, name="norm")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        return layers.Conv2D(2, 1, name="second")(layers.ReLU(name="extra")(x))

    proven(
        reference, port_of(reference, (8, 6, 3), build), "second", "activation-extra", says="extra", change="leave out"
    )


# -- what is none of these ---------------------------------------------------------------------------------------------


def test_another_function_without_a_name_is_unknown() -> None:
    """A port that computes sin(x) for tanh(x) is found there, under no activation's name that it is not."""
    reference = bent(nn.Tanh())
    report = judged(reference, bent_port(reference, as_layer(ops.sin)))
    assert slugs(report) == {"act": "unknown"}


def test_a_slope_that_depends_on_the_value_is_no_slope() -> None:
    """0.1 x - 0.01 x^2 on the negative side is no other slope of a LeakyReLU."""
    reference = bent(nn.LeakyReLU(0.1))
    wrong = as_layer(lambda x: ops.where(x > 0, x, 0.1 * x - 0.01 * x * x))
    assert slugs(judged(reference, bent_port(reference, wrong))) == {"act": "unknown"}


def test_a_slope_and_one_wrong_value_is_no_slope() -> None:
    """A slope of 0.3 for 0.1 with a single value off besides is not called a slope."""
    reference = bent(nn.LeakyReLU(0.1))
    bump = np.zeros((8, 6, 5), np.float32)
    bump[3, 2, 1] = 0.5
    wrong = as_layer(lambda x: ops.leaky_relu(x, 0.3) + bump)
    assert slugs(judged(reference, bent_port(reference, wrong))) == {"act": "unknown"}


@pytest.mark.parametrize("built_in", ["relu", "tanh"])
def test_a_right_activation_inside_a_layer(built_in: str) -> None:
    """An activation built into the layer before it is right where the map says so, and given no cause."""
    reference = bent({"relu": nn.ReLU(), "tanh": nn.Tanh()}[built_in])
    port = bent_port(reference, None, built_in)
    report = judged(reference, port, layers={"act": "first"}, unmapped={"first"}, waived={"first"})
    assert report.findings == ()
    assert report.passed
