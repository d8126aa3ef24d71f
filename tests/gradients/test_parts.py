"""The parts by themselves: whose gradient is whose, what a strided convolution reads, kinks, runs that are cut."""

import numpy as np
import pytest
from learners import differentiated, image, pair_of

from parity.errors import PairError, WeightError
from parity.frameworks import keras, tf, torch
from parity.gradients.port import _Reached
from parity.gradients.sides import Expected
from parity.gradients.weights import origins
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.runners.differentiable import Differentiable

layers = keras.layers


def built(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> keras.layers.Layer:
    """The layer, with weights."""
    layer.build(shape)
    return layer


def test_both_biases_of_an_lstm_have_the_gradient_of_the_one_in_keras() -> None:
    """Keras adds them, so each has what their sum has; a kernel's gradient is moved as the kernel is."""
    found = origins(torch.nn.LSTM(3, 2), "lstm", built(layers.LSTM(2), (None, 5, 3)))
    gradients = [np.arange(24.0).reshape(3, 8), np.arange(16.0).reshape(2, 8), np.arange(8.0)]
    for name in ("bias_ih_l0", "bias_hh_l0"):
        assert np.array_equal(found[name].brought_back(gradients), np.arange(8.0))
    assert np.array_equal(found["weight_ih_l0"].brought_back(gradients), gradients[0].T)


def test_a_shared_slope_has_the_sum() -> None:
    """One slope of torch's PReLU goes to every channel of Keras's, so its gradient is the sum of theirs."""
    layer = built(layers.PReLU(shared_axes=[1, 2]), (None, 7, 5, 3))
    found = origins(torch.nn.PReLU(), "act", layer)
    assert found["weight"].brought_back([np.array([1.0, 2.0, 4.0]).reshape(1, 1, 3)]) == pytest.approx([7.0])
    assert found["weight"].brought_back([None]) is None


def test_what_no_converter_knows_is_refused() -> None:
    """Shapes do not decide: a layer without a converter, or of other shapes, has no origins."""
    with pytest.raises(WeightError, match="No converter"):
        origins(torch.nn.EmbeddingBag(2, 5), "bag", built(layers.Dense(5), (None, 3)))
    with pytest.raises(WeightError, match="shapes"):
        origins(torch.nn.Linear(2, 3), "out", built(layers.Dense(5), (None, 3)))


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [((8, 6), 1, 2), ((7, 5), 1, 2), ((11, 7), 2, 3), ((9, 5), 3, 2)]
)
def test_only_what_no_step_reaches_is_cut_off(padding: str, size: tuple[int, int], kernel: int, stride: int) -> None:
    """The convolution's value is the same, bit for bit or to rounding, whatever is cut."""
    layer = layers.Conv2D(4, kernel, strides=stride, padding=padding)
    x = tf.constant(np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32))
    whole, cut = layer(x), _Reached(layer)(x)
    assert np.allclose(layer(cut), whole, atol=1e-6)
    wanted = size if kernel >= stride or (padding == "same" and kernel > 1) else None
    if wanted is None:
        assert all(
            length == (old - kernel) // stride * stride + kernel
            for length, old in zip(cut.shape[1:3], size, strict=True)
        )
    else:
        assert tuple(cut.shape[1:3]) == wanted


def test_a_sum_of_many_terms_may_be_rounded_in_another_order() -> None:
    """Its noise is at least the root of their number, in roundings of what does not cancel."""
    expected = Expected(rounded=np.full(7, 2.0, np.float32), exact=np.full(7, 2.0))
    assert expected.noise.rmse == 0
    assert expected.summed(100).noise.rmse == pytest.approx(2 * 10 * 2.0**-24)
    assert expected.summed(100, uncancelled=np.full(7, 6.0)).noise.max_abs == pytest.approx(6 * 10 * 2.0**-24)


class Fused(torch.nn.Module):
    """A convolution and an activation in one layer, of which a value of each of two channels is on the kink."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.randn(2, 3, 3, 3, generator=generator))
        before = torch.nn.functional.conv2d(torch.from_numpy(image(1).array), self.weight)
        self.bias = torch.nn.Parameter(-before[0, :, 1, 1].detach())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.relu(torch.nn.functional.conv2d(x, self.weight, self.bias))


def on_a_kink(seed: int) -> str:
    """The verdict on the gradients of a faithful port of Fused."""
    reference = torch.nn.Sequential(Fused(seed)).eval()
    start = keras.Input((7, 5, 3))
    convolution = layers.Conv2D(2, 3, name="first")
    port = keras.Model(start, layers.ReLU(name="act")(convolution(start)))
    weight, bias = (each.detach().numpy() for each in reference[0].parameters())
    convolution.set_weights([weight.transpose(2, 3, 1, 0), bias])
    report = differentiated(Pair(name="kink", reference=reference, port=port, layers={"0": "act"}), image(1))
    (layer,) = report.gradients[0].layers
    return layer.verdict


def test_a_kink_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose pre-activation is rounded to the other side of zero is right, and only looks wrong there."""
    monkeypatch.setattr("parity.gradients.layer.NUDGES", 0)
    alarming = next(seed for seed in range(30) if on_a_kink(seed) == "introduces")
    monkeypatch.undo()
    assert on_a_kink(alarming) == "pass"


class Chain(torch.nn.Module):
    """Two layers with an activation in place between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act, self.second = torch.nn.Linear(3, 5), torch.nn.LeakyReLU(0.1, True), torch.nn.Linear(5, 2)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.act(self.first(x)))


def test_a_layer_alone_ends_at_the_taps_it_reads() -> None:
    """Values are those before an activation in place, and what a layer hands on is torch's product, no more."""
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    network = Chain()
    run = Differentiable(network, Input(name="x", array=x.numpy()), {"input", "first", "act", "second"})
    assert torch.equal(run.values["first"], network.first(x))
    ones = torch.ones(7, 2)
    to, weights = run.alone("second", ones, ["act"], {"bias": run.calls["second"].function.bias})
    assert set(to) == {"act"}
    assert torch.allclose(to["act"], ones @ network.second.weight.detach())
    assert torch.equal(weights["bias"], torch.full((2,), 7.0))
    arrived, given = run.arriving({"output": ones})
    assert set(arrived) == {"input", "first", "act", "second"}
    assert set(given) == {"first.weight", "first.bias", "second.weight", "second.bias"}
    again, _ = run.alone("second", ones, ["act"], {})
    assert torch.equal(again["act"], to["act"])


def test_a_reference_without_gradients_is_told() -> None:
    """A forward under no_grad cannot be differentiated: a PairError of one sentence."""

    class Shut(Chain):
        @torch.no_grad()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    start = keras.Input((3,))
    x = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(5, name="first")(start))
    port = keras.Model(start, layers.Dense(2, name="second")(x))
    with pytest.raises(PairError, match="no output depends on its weights or inputs"):
        differentiated(pair_of(Shut(), port, {"first": "first", "second": "second"}), noise((7, 3), seed=1))
