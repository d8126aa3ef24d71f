"""What is said where several faults, several explanations, or none are there; right ports are given no cause."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from small_pairs import (
    Reference,
    assert_proven,
    chain,
    image,
    judged,
    keras,
    layers,
    limit_of,
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

from parity.converters import convert
from parity.inputs import noise
from parity.pairs import Input
from parity.report import INHERITS


def network() -> Any:
    """Two convolutions around an activation, the second at stride 2."""
    return chain(
        first=nn.Conv2d(3, 5, 3, padding=1), act=nn.LeakyReLU(0.1), second=nn.Conv2d(5, 2, 3, stride=2, padding=1)
    )


def port(reference: Any, slope: float = 0.1, same: bool = False) -> Any:
    """Its port; with another slope, or padded by `same`."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="first")(x)
        x = layers.LeakyReLU(negative_slope=slope, name="act")(x)
        x = x if same else layers.ZeroPadding2D(1)(x)
        return layers.Conv2D(2, 3, strides=2, padding="same" if same else "valid", name="second")(x)

    return port_of(reference, (8, 6, 3), build)


# -- right ports -------------------------------------------------------------------------------------------------------


def test_the_faithful_port_passes_in_every_mode() -> None:
    """What the faults below are planted in passes in every mode, with no finding; so each of them is one."""
    reference = network()
    report = right(reference, port(reference), modes=("eager", "graph", "xla"))
    assert report.first_divergence is None


@pytest.mark.parametrize("seed", range(6))
def test_faithful_pairs_are_never_given_a_cause(seed: int) -> None:
    """Random small networks, of kernels, strides, sizes and channels as they come, are within their limits."""
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    channels = [3, *generator.permutation([2, 3, 5, 7])]
    modules: list[nn.Module] = []
    for before, after in pairwise(channels):
        kernel, stride = int(generator.choice([1, 3, 5])), int(generator.integers(1, 3))
        modules += [nn.Conv2d(before, after, kernel, stride, kernel // 2), nn.LeakyReLU(0.2)]
    reference = nn.Sequential(*modules).eval()

    def build(x: Any) -> Any:
        for index, module in enumerate(modules):
            if isinstance(module, nn.Conv2d):
                x = layers.ZeroPadding2D(module.padding)(x)
                x = layers.Conv2D(module.out_channels, module.kernel_size, strides=module.stride, name=str(index))(x)
            else:
                x = layers.LeakyReLU(negative_slope=0.2)(x)
        return x

    height, width = (int(size) for size in generator.integers(9, 24, 2))
    right(reference, port_of(reference, (None, None, 3), build), image(height, width, batch=2))


def test_an_activation_inside_a_layer() -> None:
    """Mapped to the activation, with the convolution waived, a fused layer is right within the noise."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1), relu=nn.ReLU())
    model = port_of(
        reference, (8, 6, 3), lambda x: layers.Conv2D(5, 3, padding="same", activation="relu", name="conv")(x)
    )
    right(reference, model, layers={"relu": "conv"}, unmapped={"conv"}, waived={"conv"})


def test_a_map_may_end_before_the_ports_output() -> None:
    """A port whose output is one step after the mapped one (here by a factor of 1) is judged, and is right."""
    reference = network()

    def build(x: Any) -> Any:
        x = layers.LeakyReLU(negative_slope=0.1, name="act")(layers.Conv2D(5, 3, padding="same", name="first")(x))
        return layers.Rescaling(1.0)(layers.Conv2D(2, 3, strides=2, name="second")(layers.ZeroPadding2D(1)(x)))

    right(reference, port_of(reference, (8, 6, 3), build))


def test_batchnorm_folded_into_the_convolution_is_right() -> None:
    """A port whose convolution carries the BatchNorm's factors is right where the norm answers to that layer."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1, bias=False), norm=nn.BatchNorm2d(5), act=nn.Tanh())
    model = port_of(
        reference,
        (8, 6, 3),
        lambda x: layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, padding="same", name="folded")(x)),
    )
    norm = reference.norm
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    kernel = convert(reference.conv, "conv")[0]
    set_weights(model, "folded", kernel * gain, norm.bias.detach().numpy() - norm.running_mean.detach().numpy() * gain)
    report = judged(reference, model, layers={"norm": "folded"}, waived={"conv"})
    assert report.findings == ()
    assert report.passed


# -- several faults ----------------------------------------------------------------------------------------------------


def test_three_faults_are_all_named() -> None:
    """A fault does not hide the ones after it: each is found on the reference's values, and proven."""
    reference = network()
    model = reweighted(port(reference, slope=0.3, same=True), "first", lambda k, b: [np.flip(k, (0, 1)), b])
    report = judged(reference, model)
    assert slugs(report) == {"first": "kernel-flip", "act": "activation-slope", "second": "padding"}
    assert report.first_divergence == report.findings[0]
    for finding in report.findings:
        assert_proven(report, finding)


def test_a_layer_after_a_fault_is_not_blamed() -> None:
    """What only inherits an error differs end to end, and is no finding."""
    reference = network()
    model = reweighted(port(reference), "first", lambda k, b: [np.flip(k, (0, 1)), b])
    (run,) = judged(reference, model).runs
    assert [layer.verdict for layer in run.layers][1:] == [INHERITS, INHERITS]


def test_a_masked_fault_is_found() -> None:
    """Two faults that cancel leave the output right, and are both found: it would break with the next change."""
    reference = network()
    model = reweighted(port(reference), "first", lambda k, b: [k * 4, b * 4])
    reweighted(model, "second", lambda k, b: [k / 4, b])
    report = judged(reference, model)
    assert report.runs[0].output.passed
    assert slugs(report) == {"first": "scale", "second": "scale"}
    assert not report.passed


def test_a_masked_fault_of_two_neighbours_is_found() -> None:
    """Weights four times too large, undone by the very next layer, are faults of both: weights are never apart."""
    reference = chain(first=nn.Conv2d(3, 5, 3, padding=1), second=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        return layers.Conv2D(2, 1, name="second")(layers.Conv2D(5, 3, padding="same", name="first")(x))

    model = reweighted(port_of(reference, (8, 6, 3), build), "first", lambda k, b: [k * 4, b * 4])
    reweighted(model, "second", lambda k, b: [k / 4, b])
    report = judged(reference, model)
    assert slugs(report) == {"first": "scale", "second": "scale"}
    assert not report.passed


def test_taps_that_do_not_correspond_are_no_faults() -> None:
    """An operation whose value has another form on either side, read rightly on both, is said to be apart.

    The port multiplies by 3 and then by 2, the reference by 2 and then by 3: what lies between is neither's fault.
    """
    reference = Reference(
        lambda m, x: m.last((m.first(x) * 2.0) * 3.0), first=nn.Conv2d(3, 5, 1), last=nn.Conv2d(5, 2, 1)
    )

    def build(x: Any) -> Any:
        x = layers.Rescaling(3.0, name="one")(layers.Conv2D(5, 1, name="first")(x))
        return layers.Conv2D(2, 1, name="last")(layers.Rescaling(2.0, name="two")(x))

    report = right(reference, port_of(reference, (8, 6, 3), build), layers={"mul": "one", "mul#2": "two"})
    assert report.coverage.apart == ("mul",)


def test_a_wrong_setting_and_a_lost_bias() -> None:
    """A layer that pads on one side and has lost its bias has both faults named."""
    reference = network()
    model = reweighted(port(reference, same=True), "second", lambda k, b: [k, b * 0])
    report = judged(reference, model)
    (finding,) = report.findings
    assert {finding.cause.slug, *finding.cause.also} == {"padding", "bias-missing"}
    assert_proven(report, finding)


@pytest.mark.xfail(strict=True, reason="two settings of one layer are undone one at a time")
def test_two_wrong_settings_of_one_layer() -> None:
    """A layer without its dilation, and declared without a bias, has both named."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=2, dilation=2), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", use_bias=False, name="conv")(x)
        return layers.Activation("tanh", name="act")(x)

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    (finding,) = report.findings
    assert {finding.cause.slug, *finding.cause.also} == {"stride-dilation", "bias-missing"}
    assert_proven(report, finding)


def test_a_wrong_epsilon_and_vectors_in_the_wrong_slots() -> None:
    """A BatchNorm at Keras's epsilon whose gamma and beta are exchanged besides has both named."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1), norm=nn.BatchNorm2d(5), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.BatchNormalization(name="norm")(layers.Conv2D(5, 3, padding="same", name="conv")(x))
        return layers.Activation("tanh", name="act")(x)

    model = reweighted(port_of(reference, (8, 6, 3), build), "norm", lambda g, b, m, v: [b, g, m, v])
    report = judged(reference, model)
    (finding,) = report.findings
    assert {finding.cause.slug, *finding.cause.also} == {"norm-epsilon", "weight-order"}
    assert_proven(report, finding)


def test_a_layer_with_an_activation_of_its_own_and_a_flipped_kernel() -> None:
    """A kernel flipped in a layer that also has a ReLU built in is both: activation-extra, and kernel-flip with it."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv")(x)
        return layers.Activation("tanh", name="act")(x)

    model = reweighted(port_of(reference, (8, 6, 3), build), "conv", lambda k, b: [k[::-1], b])
    cause = proven(reference, model, "conv", "activation-extra", says="kernel-flip")
    assert cause.also == ("kernel-flip",)


def test_a_right_activation_of_slightly_wrong_values() -> None:
    """A norm too many, never trained, is a factor of 0.999995 before the activation: scale, not another activation."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1), act=nn.ReLU(), last=nn.Conv2d(5, 2, 1))

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="conv")(x)
        x = layers.ReLU(name="act")(layers.BatchNormalization(epsilon=1e-5, name="extra")(x))
        return layers.Conv2D(2, 1, name="last")(x)

    report = judged(reference, port_of(reference, (8, 6, 3), build), waived={"extra"})
    assert slugs(report) == {"act": "scale"}
    assert report.findings[0].cause.tied == ()


def test_another_layers_kernel_rearranged_is_not_called_new() -> None:
    """A kernel of another layer, its axes exchanged besides, was loaded: it is not not-loaded."""
    reference = chain(one=nn.Conv2d(3, 3, 3, padding=1), act=nn.Tanh(), two=nn.Conv2d(3, 3, 3, padding=1))

    def build(x: Any) -> Any:
        x = layers.Activation("tanh", name="act")(layers.Conv2D(3, 3, padding="same", name="one")(x))
        return layers.Conv2D(3, 3, padding="same", name="two")(x)

    model = port_of(reference, (8, 6, 3), build)
    other = model.get_layer("one").get_weights()[0]
    reweighted(model, "two", lambda k, b: [other.transpose(1, 0, 2, 3), b])
    (finding,) = judged(reference, model).findings
    assert "not-loaded" not in (finding.cause.slug, *finding.cause.also)


# -- ties and probes ---------------------------------------------------------------------------------------------------


def test_an_input_without_negative_values_hides_a_slope() -> None:
    """Where an activation only ever sees positive values, another slope is no difference: a pass, with a warning."""
    reference = chain(act=nn.LeakyReLU(0.1), conv=nn.Conv2d(3, 2, 1))

    def build(x: Any) -> Any:
        return layers.Conv2D(2, 1, name="conv")(layers.LeakyReLU(negative_slope=0.3, name="act")(x))

    model = port_of(reference, (8, 6, 3), build)
    report = judged(reference, model, noise((1, 3, 8, 6), seed=0, low=0.1, high=1))
    assert report.findings == ()
    assert any("act" in warning for warning in report.runs[0].warnings)


def test_a_constant_image_does_not_tell_a_shift_from_its_padding() -> None:
    """On an image of ones a flipped kernel differs at the border only, and is not called padding."""
    reference = chain(conv=nn.Conv2d(3, 5, 3, padding=1), act=nn.Tanh())
    model = port_of(
        reference,
        (8, 6, 3),
        lambda x: layers.Activation("tanh", name="act")(layers.Conv2D(5, 3, padding="same", name="conv")(x)),
    )
    reweighted(model, "conv", lambda k, b: [k[::-1], b])
    ones = Input(name="ones", array=np.ones((1, 3, 8, 6), np.float32))
    proven(reference, model, "conv", "kernel-flip", ones)


def test_equal_images_do_not_tell_two_operands_apart() -> None:
    """Two maps that are equal may be joined in any order: no difference, no finding."""
    reference = chain(conv=nn.Conv2d(6, 5, 1), act=nn.Tanh())

    def build(x: Any) -> Any:
        x = ops.concatenate([x[..., 3:], x[..., :3]], -1)
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 1, name="conv")(x))

    half = image().array
    twice = Input(name="twice", array=np.concatenate([half, half], 1))
    assert judged(reference, port_of(reference, (8, 6, 6), build), twice).findings == ()


def test_what_was_tried_is_listed_best_first() -> None:
    """Every hypothesis put to the test is in the cause, those that explain first, the cause's own among them."""
    reference = network()
    (finding,) = judged(reference, port(reference, same=True)).findings
    tried = finding.cause.tried
    assert tried
    assert (tried[0].slug, tried[0].explains) == ("padding", True)
    assert [trial.explains for trial in tried] == sorted((trial.explains for trial in tried), reverse=True)
    assert finding.cause.ranked[0] == "padding"


def test_unknown_says_where_and_what_was_tried() -> None:
    """Where nothing explains the error the cause is unknown, with the place of the greatest difference."""
    reference = network()

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="first")(x)
        x = layers.Lambda(lambda y: 0.1 * ops.sin(y), name="act")(x)
        return layers.Conv2D(2, 3, strides=2, name="second")(layers.ZeroPadding2D(1)(x))

    report = judged(reference, port_of(reference, (8, 6, 3), build))
    assert slugs(report) == {"act": "unknown"}
    cause = report.findings[0].cause
    assert "greatest difference" in cause.detail
    assert "tried: " in cause.detail
    assert cause.residual_after is None
    assert cause.tied == ()


def test_unknown_weights_are_put_right() -> None:
    """Weights that differ for no known reason are unknown, and putting the reference's in is shown to be enough."""
    reference = network()
    drift = np.random.default_rng(0)
    model = reweighted(port(reference), "first", lambda k, b: [k + 0.1 * drift.standard_normal(k.shape), b])
    report = judged(reference, model)
    assert slugs(report) == {"first": "unknown"}
    (finding,) = report.findings
    assert finding.cause.residual_after is not None
    assert finding.cause.residual_after <= limit_of(report, finding)
    assert "135 of 135 values" in finding.cause.detail


def test_a_port_without_a_converter_says_what_it_could_not_look_at() -> None:
    """Where the reference's layer has no converter, its weights are not compared, and the cause says so."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 15).reshape(5, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("oi,nihw->nohw", self.weight, x)

    reference = chain(own=Own(), act=nn.Tanh())

    def build(x: Any) -> Any:
        return layers.Activation("tanh", name="act")(layers.Conv2D(5, 1, use_bias=False, name="own")(x))

    reference.own.weight.data = torch.linspace(-1, 1, 15).reshape(5, 3)
    start_port = _without_loading(build)
    wrong = np.random.default_rng(0).standard_normal((1, 1, 3, 5))
    set_weights(start_port, "own", wrong)
    report = judged(reference, start_port)
    assert slugs(report) == {"own": "unknown"}
    assert "No converter for" in report.findings[0].cause.detail


def _without_loading(build: Any) -> Any:
    start = keras.Input((8, 6, 3))
    return keras.Model(start, build(start))


# -- open sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_to_a_kernel_is_unknown(seed: int) -> None:
    """A kernel with some of its values redrawn, as a broken file would have, is unknown whatever they are."""
    reference = network()
    generator = np.random.default_rng(seed)

    def damaged(kernel: Any, bias: Any) -> list[Any]:
        chosen = generator.random(kernel.shape) < 0.2
        return [np.where(chosen, generator.standard_normal(kernel.shape) * kernel.std(), kernel), bias]

    report = judged(reference, reweighted(port(reference), "first", damaged))
    assert slugs(report) == {"first": "unknown"}


@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_filters_permuted_is_not_more_than_that(seed: int) -> None:
    """Filters in a random order are channel-permutation only where every one of them is still there."""
    reference = network()
    order = np.random.default_rng(seed).permutation(5)
    if np.array_equal(order, np.arange(5)):
        order = order[::-1]
    model = reweighted(port(reference), "first", lambda k, b: [k[..., order], b[order]])
    proven(reference, model, "first", "channel-permutation")
    lost = np.where(np.arange(5) == 2, 0, order)
    if len(set(lost)) < 5:
        model = reweighted(port(reference), "first", lambda k, b: [k[..., lost], b[lost]])
        assert slugs(judged(reference, model)) == {"first": "unknown"}
