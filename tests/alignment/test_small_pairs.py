"""Without a map, and with every name replaced and the order changed, small networks and FlowNet2-SD are aligned as
their maps say, whatever is wrong with one layer's weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from disguises import DAMAGES, disguised, fresh, transposed, with_weights

from parity.alignment import Alignment, align
from parity.axes import Array, Axes
from parity.models import Settings, load
from parity.models.small import NETWORKS
from parity.pairs import Input, Pair
from parity.runners.keras_model import KerasModel
from parity.runners.taps import Tap
from parity.runners.torch_module import TorchModule
from parity.verification import Verifier


@dataclass(frozen=True)
class Sides:
    """A pair's taps and what its own map makes of them."""

    reference: Sequence[Tap]
    port: Sequence[Tap]
    axes: Axes
    outputs: tuple[str, str]
    truth: Mapping[str, str]

    @property
    def weights(self) -> dict[str, list[Array]]:
        """The weights of the port's layers."""
        return {tap.name: [np.asarray(a) for a in tap.weights()] for tap in self.port if tap.weighted}

    def misses(self, port: Sequence[Tap], seed: int) -> dict[str, str]:
        """The weighted layers that are matched to another one than the map says, both sides disguised."""
        theirs, their_words = disguised(self.reference, seed)
        ours, our_words = disguised(port, seed + 1)
        named = {their_words.get(name, name): layouts for name, layouts in self.axes.by_name.items()}
        outputs = their_words[self.outputs[0]], our_words[self.outputs[1]]
        found = align(theirs, ours, layers=None, axes=replace(self.axes, by_name=named), outputs=outputs)
        back = {word: name for name, word in our_words.items()}
        answers = {
            tap.name: back.get(found.matched.get(their_words[tap.name], ""), "nothing")
            for tap in self.reference
            if tap.weighted
        }
        return {name: answer for name, answer in answers.items() if answer != self.truth[name]}


def sides_of(pair: Pair, given: Input) -> Sides:
    """The taps of both sides of a pair; the map of the pair is used here alone."""
    trace, port = TorchModule(pair.reference).taps(given), KerasModel(pair.port)
    (theirs,), (ours,) = trace.output_taps.values(), port.output_taps.values()
    found = aligned(pair, trace.taps, port.taps, (theirs, ours))
    plain = [Tap(**{field.name: getattr(tap, field.name) for field in fields(Tap)}) for tap in port.taps]
    return Sides(trace.taps, plain, pair.axes, (theirs, ours), found.matched)


def aligned(pair: Pair, reference: Sequence[Tap], port: Sequence[Tap], outputs: tuple[str, str]) -> Alignment:
    """The alignment by the pair's own map."""
    return align(reference, port, layers=pair.layers, axes=pair.axes, outputs=outputs, waived=pair.waived)


@cache
def small(name: str) -> Sides:
    """A small network."""
    pair, (given,) = NETWORKS[name].pair()
    return sides_of(pair, given)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_order_are_not_needed(name: str) -> None:
    """Every weighted layer finds its own in a port whose names and order have nothing in common with the reference."""
    for seed in range(5):
        assert small(name).misses(small(name).port, seed) == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrongly_transposed_kernel_finds_its_partner(name: str) -> None:
    """With the kernel of each layer in turn transposed, every layer still finds its own."""
    sides = small(name)
    for layer, arrays in sides.weights.items():
        assert sides.misses(with_weights(sides.port, {layer: transposed(arrays, 0)}), 3) == {}, layer


@pytest.mark.parametrize("name", NETWORKS)
def test_other_damage_does_no_harm(name: str) -> None:
    """With one layer's weights flipped, scaled, rounded, never loaded or partly wrong, every layer finds its own."""
    sides = small(name)
    for number, (layer, arrays) in enumerate(sides.weights.items()):
        damage = DAMAGES[1 + number % (len(DAMAGES) - 1)]
        port = with_weights(sides.port, {layer: damage(arrays, number)})
        assert sides.misses(port, number) == {}, (layer, damage.__name__)


def like_pairs(weights: Mapping[str, Sequence[Array]]) -> Iterator[tuple[str, str]]:
    """Layers whose weights could be loaded into each other."""
    for one, other in combinations(weights, 2):
        if [a.shape for a in weights[one]] == [a.shape for a in weights[other]]:
            yield one, other


@pytest.mark.parametrize("name", NETWORKS)
def test_exchanged_weights_stay_a_fault(name: str) -> None:
    """Two layers that carry each other's weights are matched by where they stand: the fault is not mapped away."""
    sides = small(name)
    weights = sides.weights
    for number, (one, other) in enumerate(like_pairs(weights)):
        if number < 6:
            port = with_weights(sides.port, {one: weights[other], other: weights[one]})
            assert sides.misses(port, number) == {}, (one, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_not_needed(name: str) -> None:
    """A port that was never loaded is matched by where its layers stand, of which kind and shape they are."""
    sides = small(name)
    port = with_weights(sides.port, {layer: fresh(a, n) for n, (layer, a) in enumerate(sides.weights.items())})
    assert sides.misses(port, 7) == {}


def test_flownet_needs_no_map() -> None:
    """All 30 layers of FlowNet2-SD find their own under other names; the transposed kernel of one too."""
    pair, (given,) = load("flownet", Settings(inputs=("noise",), size=(64, 64)))
    sides = sides_of(Verifier(pair).filled(given), given)
    assert len(sides.weights) == 30
    port = with_weights(sides.port, {"conv3_1": transposed(sides.weights["conv3_1"], 0)})
    assert sides.misses(port, 0) == {}


def test_damage_is_damage() -> None:
    """What the tests above do to weights changes them."""
    arrays = next(iter(small("residual").weights.values()))
    for damage in DAMAGES:
        changed = damage(arrays, 0)
        assert any(not np.array_equal(one, other) for one, other in zip(arrays, changed, strict=True)), damage
        assert [one.shape for one in arrays] == [one.shape for one in changed]
