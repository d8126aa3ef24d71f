"""Causes in normalisation and reduction, planted in small pairs: the epsilon, the statistics, the axes."""

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
    reweighted,
    right,
    set_weights,
    slugs,
    steps,
    torch,
)

from parity.axes import Axes
from parity.inputs import noise

LAST = ("NLC", "NLC")


def normalised(norm: Any, features: int = 5) -> Any:
    """A convolution, its normalisation, and another convolution."""
    return chain(first=nn.Conv2d(3, features, 3, padding=1), norm=norm, second=nn.Conv2d(features, 2, 1))


def normalised_port(reference: Any, norm: Any, features: int = 5) -> Any:
    """Its port, with a layer or a function for the normalisation."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(features, 3, padding="same", name="first")(x)
        return layers.Conv2D(2, 1, name="second")(norm(x))

    return port_of(reference, (8, 6, 3), build)


# -- norm-epsilon ------------------------------------------------------------------------------------------------------


def test_keras_own_epsilon() -> None:
    """A BatchNormalization left at Keras's 1e-3 where torch has 1e-5 is norm-epsilon, with both."""
    reference = normalised(nn.BatchNorm2d(5))
    port = normalised_port(reference, layers.BatchNormalization(name="norm"))
    cause = proven(reference, port, "norm", "norm-epsilon", change="epsilon=1e-05")
    assert cause.detail == "epsilon is 0.001; the reference's is 1e-05"


def test_the_epsilon_of_a_batchnorm_over_features() -> None:
    """A BatchNorm1d over features has an epsilon too."""
    reference = chain(first=nn.Linear(7, 5), norm=nn.BatchNorm1d(5, eps=1e-3), second=nn.Linear(5, 2))

    def build(x: Any) -> Any:
        x = layers.BatchNormalization(epsilon=1e-5, name="norm")(layers.Dense(5, name="first")(x))
        return layers.Dense(2, name="second")(x)

    given = noise((4, 7), seed=1, low=-1, high=1)
    proven(reference, port_of(reference, (7,), build), "norm", "norm-epsilon", given, says="the reference's is 0.001")


def test_the_epsilon_of_a_layernorm() -> None:
    """A LayerNormalization left at Keras's 1e-3 is norm-epsilon, over sequences."""
    reference, port = layernorm_pair(layers.LayerNormalization(name="norm"))
    proven(reference, port, "norm", "norm-epsilon", steps(), axes=AXES, says="1e-05")


def test_the_epsilon_of_a_groupnorm() -> None:
    """A GroupNormalization left at Keras's 1e-3 is norm-epsilon."""
    reference = normalised(nn.GroupNorm(3, 6), 6)
    port = normalised_port(reference, layers.GroupNormalization(3, name="norm"), 6)
    proven(reference, port, "norm", "norm-epsilon", says="1e-05")


class ChannelNorm(nn.LayerNorm):
    """A LayerNorm over the channels of a map, as model libraries write it."""

    def forward(self, x: Any) -> Any:
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def test_the_epsilon_of_a_norm_of_a_users_own() -> None:
    """A class of a user's own has an epsilon that is compared with the port's layer."""
    reference = normalised(ChannelNorm(5))
    weights = [reference.norm.weight.detach().numpy(), reference.norm.bias.detach().numpy()]
    port = normalised_port(reference, layers.LayerNormalization(epsilon=1e-3, name="norm"))
    port.get_layer("norm").set_weights(weights)
    proven(reference, port, "norm", "norm-epsilon", change="epsilon=1e-05")


@pytest.mark.parametrize("layer", ["norm", "relu"])
def test_the_epsilon_of_a_norm_by_hand(layer: str) -> None:
    """Where the port writes its norm by hand the reference's is run with other epsilons, with what comes after it."""

    def forward(m: Any, x: Any) -> Any:
        return m.second(functional.relu(m.norm(m.first(x))))

    made = {"first": nn.Conv2d(3, 5, 3, padding=1), "norm": nn.InstanceNorm2d(5), "second": nn.Conv2d(5, 2, 1)}
    reference = Reference(forward, **made)

    def norm(x: Any) -> Any:
        mean, variance = ops.moments(x, (1, 2), keepdims=True)
        x = (x - mean) / ops.sqrt(variance + 1e-3)
        return layers.ReLU(name="relu")(layers.Identity(name="norm")(x) if layer == "norm" else x)

    answers = {name: name for name in ("first", layer, "second")}
    says = "the port has the values of an epsilon of 0.001; the reference's is 1e-05 (norm)"
    proven(reference, normalised_port(reference, norm), layer, "norm-epsilon", layers=answers, says=says)


def test_other_groups() -> None:
    """Channels in other groups are norm-statistics, although the weights can be converted for neither."""
    reference = normalised(nn.GroupNorm(3, 6), 6)
    port = normalised_port(reference, layers.GroupNormalization(2, epsilon=1e-5, name="norm"), 6)
    port.get_layer("norm").set_weights([weight.detach().numpy() for weight in reference.norm.parameters()])
    proven(reference, port, "norm", "norm-statistics", says="groups=2; the reference has 3", change="groups=3")


def test_a_right_groupnorm_passes() -> None:
    """With torch's epsilon the same port is right."""
    reference = normalised(nn.GroupNorm(3, 6), 6)
    right(reference, normalised_port(reference, layers.GroupNormalization(3, epsilon=1e-5, name="norm"), 6))


AXES = Axes(by_name=dict.fromkeys(("transpose", "first", "norm", "second"), LAST))


def layernorm_pair(norm: Any, features: int = 5, **settings: Any) -> tuple[Any, Any]:
    """A layer over each step of a sequence, its LayerNorm, and another layer; with a port around `norm`."""
    reference = Reference(
        lambda m, x: m.second(m.norm(m.first(x.transpose(1, 2)))),
        first=nn.Linear(3, features),
        norm=nn.LayerNorm(features, **settings),
        second=nn.Linear(features, 2),
    )

    def build(x: Any) -> Any:
        return layers.Dense(2, name="second")(norm(layers.Dense(features, name="first")(x)))

    return reference, port_of(reference, (9, 3), build)


# -- norm-statistics ---------------------------------------------------------------------------------------------------


def test_the_unbiased_variance_in_a_batchnorm() -> None:
    """Moving variances multiplied by n / (n - 1) are norm-statistics, and n is found."""
    reference = normalised(nn.BatchNorm2d(5))
    port = normalised_port(reference, layers.BatchNormalization(epsilon=1e-5, name="norm"))
    reweighted(port, "norm", lambda gamma, beta, mean, variance: [gamma, beta, mean, variance * (48 / 47)])
    proven(reference, port, "norm", "norm-statistics", says="48 samples")


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param(True, id="loaded as 1"),
        pytest.param(
            False,
            id="scale=False",
        ),
    ],
)
def test_a_gamma_that_is_ignored(declared: bool) -> None:
    """A BatchNorm without the reference's gamma is norm-statistics, whether it is 1 or not there."""
    reference = normalised(nn.BatchNorm2d(5))
    norm = layers.BatchNormalization(epsilon=1e-5, scale=declared, name="norm")
    port = normalised_port(reference, norm)
    module = reference.norm
    rest = [each.detach().numpy() for each in (module.bias, module.running_mean, module.running_var)]
    set_weights(port, "norm", *[np.ones(5)] * declared, *rest)
    proven(reference, port, "norm", "norm-statistics", says="gamma")


def test_statistics_of_other_images() -> None:
    """Moving statistics that are simply others, as after more training, have no cause with a name."""
    reference = normalised(nn.BatchNorm2d(5))
    port = normalised_port(reference, layers.BatchNormalization(epsilon=1e-5, name="norm"))
    drift = np.random.default_rng(0)
    reweighted(port, "norm", lambda g, b, m, v: [g, b, m + 0.1 * drift.standard_normal(5), v])
    assert slugs(judged(reference, port)) == {"norm": "unknown"}


def test_the_deviation_of_n_minus_1_in_a_layernorm() -> None:
    """A LayerNorm written by hand with the unbiased deviation is norm-statistics."""

    class ByHand(layers.Layer):
        def build(self, shape: Any) -> None:
            self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")
            self.beta = self.add_weight(shape=(shape[-1],), name="beta")

        def call(self, x: Any) -> Any:
            mean = ops.mean(x, -1, keepdims=True)
            variance = ops.sum((x - mean) ** 2, -1, keepdims=True) / (x.shape[-1] - 1)
            return (x - mean) / ops.sqrt(variance + 1e-5) * self.gamma + self.beta

    reference, port = layernorm_pair(ByHand(name="norm"))
    proven(reference, port, "norm", "norm-statistics", steps(), axes=AXES, says="over n - 1")


# -- reduction-axis ----------------------------------------------------------------------------------------------------


def test_a_layernorm_along_the_steps() -> None:
    """A LayerNorm over the steps instead of the features, as many of both, is reduction-axis."""
    reference, port = layernorm_pair(layers.LayerNormalization(axis=1, epsilon=1e-5, name="norm"), features=9)
    set_weights(port, "norm", reference.norm.weight.detach().numpy(), reference.norm.bias.detach().numpy())
    proven(reference, port, "norm", "reduction-axis", steps(), axes=AXES)


def reduced(function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A convolution to six channels and a reduction of its map."""
    return Reference(
        lambda m, x: m.last(function(m.first(x))), first=nn.Conv2d(3, 6, 3, padding=1), last=nn.Conv2d(6, 2, 1)
    )


def reduced_port(reference: Any, function: Callable[[Any], Any]) -> Any:
    """Its port."""

    def build(x: Any) -> Any:
        return layers.Conv2D(2, 1, name="last")(function(layers.Conv2D(6, 3, padding="same", name="first")(x)))

    return port_of(reference, (8, 6, 3), build)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_softmax_along_the_wrong_axis(axis: int) -> None:
    """A softmax over rows or columns where the reference's is over channels is reduction-axis."""
    reference = reduced(lambda x: torch.softmax(x, 1))
    port = reduced_port(reference, layers.Softmax(axis=axis, name="soft"))
    proven(reference, port, "softmax", "reduction-axis", layers={"softmax": "soft"}, says="the softmax over")


def test_a_softmax_module_along_the_wrong_axis() -> None:
    """A module's softmax over the columns of a channels-last map, its dim taken as it is, is reduction-axis."""
    reference = chain(first=nn.Conv2d(3, 6, 3, padding=1), soft=nn.Softmax(dim=1))

    def build(x: Any) -> Any:
        return layers.Softmax(axis=1, name="soft")(layers.Conv2D(6, 3, padding="same", name="first")(x))

    proven(reference, port_of(reference, (8, 6, 3), build), "soft", "reduction-axis")


@pytest.mark.parametrize(
    ("theirs", "ours", "kind"),
    [
        (lambda x: x.mean(1, keepdim=True).expand(-1, 6, -1, -1), lambda x: ops.mean(x, 1, keepdims=True), "mean"),
        (lambda x: x.sum(1, keepdim=True).expand(-1, 6, -1, -1), lambda x: ops.sum(x, 2, keepdims=True), "sum"),
        (lambda x: x.amax(1, keepdim=True).expand(-1, 6, -1, -1), lambda x: ops.max(x, 1, keepdims=True), "amax"),
    ],
    ids=["mean", "sum", "maximum"],
)
def test_reductions_along_the_wrong_axis(theirs: Any, ours: Any, kind: str) -> None:
    """A mean, sum or maximum over rows or columns where the reference's is over channels is reduction-axis.

    What is left has another shape, and is repeated on both sides to the map's.
    """
    reference = reduced(theirs)
    port = reduced_port(reference, lambda x: ours(x) + ops.zeros_like(x))
    assert "reduction-axis" in slugs(judged(reference, port)).values()


def test_a_mean_over_space_with_square_maps() -> None:
    """A mean over (height, channels) where the reference's is over (height, width), six of each: reduction-axis."""
    reference = Reference(
        lambda m, x: m.last(m.first(x).mean((2, 3))), first=nn.Conv2d(3, 6, 3, padding=1), last=nn.Linear(6, 2)
    )

    def build(x: Any) -> Any:
        x = layers.Conv2D(6, 3, padding="same", name="first")(x)
        return layers.Dense(2, name="last")(ops.mean(x, (1, 3)))

    port = port_of(reference, (8, 6, 3), build)
    proven(reference, port, "mean", "reduction-axis", says="mean over", layers={"mean": port.operations[-2].name})


def test_a_normalisation_along_the_wrong_axis() -> None:
    """Vectors made unit along the columns instead of the channels are reduction-axis."""
    reference = reduced(lambda x: functional.normalize(x, dim=1))
    port = reduced_port(reference, layers.UnitNormalization(axis=2, name="unit"))
    report = judged(reference, port)
    assert "reduction-axis" in slugs(report).values()


def test_a_right_softmax_over_channels_passes() -> None:
    """A softmax over the last axis answers to one over torch's channels."""
    reference = reduced(lambda x: torch.softmax(x, 1))
    right(reference, reduced_port(reference, layers.Softmax(axis=-1, name="soft")))


def test_a_softmax_of_another_temperature_is_no_axis() -> None:
    """A softmax of twice the values is not along another axis; the factor is named, or nothing is."""
    reference = reduced(lambda x: torch.softmax(x, 1))
    port = reduced_port(reference, lambda x: layers.Softmax(name="soft")(x * 2))
    assert slugs(judged(reference, port, layers={"softmax": "soft"})) == {"softmax": "scale"}


def test_a_batchnorm_on_several_images() -> None:
    """A right BatchNorm is right on any input."""
    reference = normalised(nn.BatchNorm2d(5))
    port = normalised_port(reference, layers.BatchNormalization(epsilon=1e-5, name="norm"))
    right(reference, port, image(batch=3))
