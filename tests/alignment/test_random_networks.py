"""Alignment of random networks: parallel branches, long chains of equal shapes, layers that one side lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from disguises import disguised, fresh, with_weights
from networks import network, ported, without

from parity.alignment import Alignment, align
from parity.alignment.flow import contradicted
from parity.alignment.graphs import Graph
from parity.axes import Axes
from parity.runners.taps import Tap

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Found:
    """An alignment in the names that both sides had before they were disguised."""

    alignment: Alignment
    matched: Mapping[str, str]
    unmatched: tuple[list[str], list[str]]


def find(reference: Sequence[Tap], port: Sequence[Tap], seed: int = 0) -> Found:
    """Align two disguised networks whose last taps are their outputs."""
    theirs, their_words = disguised(reference, seed + 100)
    ours, our_words = disguised(port, seed)
    outputs = their_words[reference[-1].name], our_words[port[-1].name]
    found = align(theirs, ours, layers=None, axes=Axes(), outputs=outputs)
    names = {word: name for name, word in their_words.items()}, {word: name for name, word in our_words.items()}
    return Found(
        found,
        {names[0][one]: names[1][other] for one, other in found.matched.items()},
        (
            [names[0][word] for word in found.coverage.unmatched_reference],
            [names[1][word] for word in found.coverage.unmatched_port],
        ),
    )


def weighted(taps: Sequence[Tap]) -> list[str]:
    """The names of layers with weights."""
    return [tap.name for tap in taps if tap.weighted]


def never_loaded(taps: Sequence[Tap]) -> list[Tap]:
    """The taps with the weights that layers have before anything is loaded."""
    return with_weights(taps, {tap.name: fresh(list(tap.weights()), n) for n, tap in enumerate(taps) if tap.weighted})


@pytest.mark.parametrize("seed", SEEDS)
def test_branches_of_equal_shape_are_told_apart_by_weights(seed: int) -> None:
    """Inception branches and gates of equal shapes find their own, in whatever order either side runs them."""
    reference = network(seed, 6)
    found = find(reference, ported(reference), seed)
    assert all(found.matched[name] == name for name in weighted(reference))
    assert found.alignment.coverage.complete
    assert not found.alignment.ambiguous


@pytest.mark.parametrize("seed", SEEDS)
def test_a_layer_that_one_side_lacks_is_left_over_alone(seed: int) -> None:
    """Without a layer, exactly that one is unmatched, on whichever side has it; all others are matched as before."""
    reference = network(seed, 5)
    port = ported(reference)
    for name in np.random.default_rng(seed).choice(weighted(reference)[:-1], 3):
        others = {other: other for other in weighted(reference) if other != name}
        lacking = find(reference, without(port, name), seed)
        assert lacking.unmatched == ([name], [])
        assert others.items() <= lacking.matched.items()
        extra = find(without(reference, name), port, seed)
        assert extra.unmatched == ([], [name])
        assert others.items() <= extra.matched.items()


@pytest.mark.parametrize("seed", SEEDS)
def test_long_chains_of_equal_blocks_need_no_weights(seed: int) -> None:
    """Residual blocks of equal shapes are matched by where they stand in a port that was never loaded."""
    reference = network(seed, 16, symmetric=False)
    found = find(reference, never_loaded(ported(reference)), seed)
    assert all(found.matched[name] == name for name in weighted(reference))


def test_what_nothing_decides_is_said() -> None:
    """Branches of one form whose weights are not loaded are matched as wholes, and flagged with the alternatives."""
    made = network(0, 0, norm=False)
    stem, head = made[0], made[-1]
    gate = [
        Tap(
            name=f"{kind}{side}",
            kind=kind,
            shape=stem.shape,
            weighted=kind == "conv2d",
            reads=(read,),
            weights=stem.weights,
        )
        if kind == "conv2d"
        else Tap(name=f"{kind}{side}", kind=kind, shape=stem.shape, reads=(read,))
        for side in "ab"
        for kind, read in (("conv2d", made[1].name), ("tanh", f"conv2d{side}"))
    ]
    total = Tap(name="sum", kind="add", shape=stem.shape, reads=("tanha", "tanhb"))
    reference = [*made[:2], *gate, total, Tap(**{**head.__dict__, "reads": ("sum",)})]
    found = find(reference, never_loaded(ported(reference)))
    (undecided,) = found.alignment.ambiguous
    assert len(undecided.alternatives) == len(undecided.rivals) == 1
    assert undecided.port_layer not in undecided.alternatives
    assert found.alignment.coverage.ambiguous == (undecided,)
    sides = {found.matched[f"{kind}{side}"][-1] + side for kind in ("conv2d", "tanh") for side in "ab"}
    assert sides in ({"aa", "bb"}, {"ab", "ba"})


@pytest.mark.parametrize("seed", SEEDS)
def test_folded_norms_are_found(seed: int) -> None:
    """A port that folds every BatchNorm into the convolution before it leaves nothing over: each is compared at the
    BatchNorm, and the convolution inside it."""
    reference = network(seed, 5, symmetric=False)
    port, folds = ported(reference), {}
    weights = {tap.name: list(tap.weights()) for tap in port}
    for tap in reference:
        if tap.kind == "batchnorm":
            (conv,), (gamma, beta, mean, variance) = tap.reads, weights[tap.name]
            scale = gamma / np.sqrt(variance + np.float32(1e-5))
            folds[tap.name] = conv
            port = without(port, tap.name)
            port = with_weights(port, {conv: [weights[conv][0] * scale, (weights[conv][1] - mean) * scale + beta]})
    found = find(reference, port, seed)
    assert found.alignment.coverage.complete
    assert folds.items() <= found.matched.items()
    assert all(conv not in found.matched for conv in folds.values())
    assert set(found.alignment.coverage.reasons.values()) >= {"fused conv2d + batchnorm"}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_match_contradicts_the_data_flow(seed: int) -> None:
    """What runs before here never runs after there, also where half of the weights sit in other layers."""
    reference = network(seed, 5, symmetric=True)
    port = ported(reference)
    generator = np.random.default_rng(seed)
    weights = {tap.name: list(tap.weights()) for tap in port if tap.weighted}
    convs = [name for name in weights if len(weights[name]) == 2]
    mixed = dict(zip(convs, (weights[convs[i]] for i in generator.permutation(len(convs))), strict=True))
    found = find(reference, with_weights(port, mixed), seed)
    ours, theirs = Graph(reference), Graph(port)
    matched = {ours.index[one]: theirs.index[other] for one, other in found.matched.items()}
    assert len(matched) > len(convs)
    crossed = contradicted(ours, theirs, matched, list(matched), list(matched.values()))
    assert not crossed[np.eye(len(matched), dtype=bool)].any()
