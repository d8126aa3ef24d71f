"""A fault of any size above ten noise floors is found at its layer, in chains of any sizes; without it, nothing is."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples

from parity import inputs
from parity.axes import Array, move
from parity.frameworks import keras, torch
from parity.pairs import INPUT, Input, Pair
from parity.report import Report
from parity.verification import Verifier

TEN = 11.0
"""Ten floors, and one for the port's own rounding, which may happen to be against the fault."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """A chain of layers of one kind with ReLUs between them: convolutions over `space`, or dense layers without one."""

    sizes: tuple[int, ...]
    space: tuple[int, ...]
    kernel: int
    seed: int

    def pair(self) -> Pair:
        """The reference with weights of the seed, and its faithful port."""
        torch.manual_seed(self.seed)
        steps: list[Any] = []
        x = h = keras.Input((*self.space, self.sizes[0]))
        for before, after in pairwise(self.sizes):
            if self.space:
                steps.append(torch.nn.Conv2d(before, after, self.kernel, padding=self.kernel // 2))
                h = keras.layers.Conv2D(after, self.kernel, padding="same")(h)
            else:
                steps.append(torch.nn.Linear(before, after))
                h = keras.layers.Dense(after)(h)
            steps.append(torch.nn.ReLU())
            h = keras.layers.ReLU()(h)
        reference = torch.nn.Sequential(*steps).eval()
        return Pair(name="drawn", reference=reference, port=keras.Model(x, h), transfer=True)

    def given(self) -> Input:
        """Noise, of a batch where there is no space."""
        return inputs.noise((1 if self.space else 70, self.sizes[0], *self.space), seed=self.seed)

    def moved(self, value: Array) -> Array:
        """A value of the reference as the port has it."""
        return move(value, "NCHW", "NHWC") if self.space else value


@st.composite
def nets(draw: st.DrawFn) -> Net:
    """Networks of one to three layers, each with so many values that its noise is known well."""
    space = draw(st.just(()) | st.tuples(st.integers(17, 21), st.just(17)))
    wide = st.integers(7, 9) if space else st.integers(30, 40)
    return Net(
        sizes=(draw(st.integers(1, 9)), *draw(st.lists(wide, min_size=1, max_size=3))),
        space=space,
        kernel=draw(st.sampled_from([1, 3, 5])),
        seed=draw(st.integers(0, 1 << 16)),
    )


@st.composite
def changes(draw: st.DrawFn, weights: list[Array]) -> list[Array]:
    """What is added to the weights of a layer, but for its size: everywhere, a factor, one filter, or one value."""
    which, form = draw(st.integers(0, 1)), draw(st.sampled_from(["noise", "factor", "filter", "value"]))
    change = np.zeros_like(weights[which])
    noise = np.random.default_rng(draw(st.integers(0, 1 << 16))).standard_normal(change.shape)
    place = draw(st.integers(0, change.size - 1))
    if form == "value":
        change.flat[place] = 1.0
    elif form == "filter":
        change[..., place % change.shape[-1]] = noise[..., place % change.shape[-1]]
    else:
        change[...] = noise if form == "noise" else weights[which]
    return [change if index == which else np.zeros_like(weight) for index, weight in enumerate(weights)]


def rms(values: Array) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def effect(layer: Any, change: list[Array], values: Array) -> float:
    """The RMS of what a change of a layer's weights, which are linear, adds to its value on these."""
    copy = type(layer).from_config(layer.get_config())
    copy.build(values.shape)
    copy.set_weights(change)
    return rms(np.asarray(copy(values)))


@examples(25)
@given(net=nets(), floors=st.floats(np.log10(TEN), 7).map(lambda power: 10.0**power), data=st.data())
def test_a_fault_of_any_size_is_found_at_its_layer(net: Net, floors: float, data: st.DataObject) -> None:
    """The faithful port passes; with one layer's weights changed by so many floors, that layer alone introduces
    error."""
    verifier, given_ = Verifier(net.pair()), net.given()
    clean = verifier.report(given_, ("eager",))
    assert clean.passed

    index = data.draw(st.integers(0, len(net.sizes) - 2))
    name, reads = str(2 * index), str(2 * index - 1) if index else INPUT
    values = verifier.reference.values(given_, {name, reads})
    read = net.moved(values[reads])
    layer = [each for each in verifier.port.model.layers if each.weights][index]
    kept = layer.get_weights()
    change = data.draw(changes(kept))
    unit = effect(layer, change, read)
    assume(unit > 0)

    floor = next(each.floor for each in clean.runs[0].layers if each.layer == name)
    size = floors * floor * rms(values[name]) / unit
    faulty = [weight + np.float32(size) * part for weight, part in zip(kept, change, strict=True)]
    planted = effect(layer, [new - old for new, old in zip(faulty, kept, strict=True)], read)
    assume(planted >= TEN * floor * rms(values[name]))
    layer.set_weights(faulty)
    assert_found(verifier.report(given_, ("eager",)), name)


def assert_found(report: Report, layer: str) -> None:
    """The layer is found, nothing else is, and nothing before it has left its limits."""
    assert not report.passed
    assert {finding.layer for finding in report.findings} == {layer}
    assert report.first_divergence is None or int(report.first_divergence.layer) >= int(layer)


@examples(10)
@given(nets())
def test_the_same_weights_again_are_no_fault(net: Net) -> None:
    """The check above can fail: weights that are set to what they are leave the port faithful."""
    verifier, given_ = Verifier(net.pair()), net.given()
    assert verifier.report(given_, ("eager",)).passed
    for layer in verifier.port.model.layers:
        layer.set_weights(layer.get_weights())
    assert verifier.report(given_, ("eager",)).passed
