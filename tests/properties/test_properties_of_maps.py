"""Which layer answers to which, for chains of which either side may lack some layers: order, uniqueness, maps."""

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from parity.alignment import Alignment, align
from parity.axes import Axes
from parity.runners.taps import Tap

KINDS = st.sampled_from(["conv2d", "conv2d", "batchnorm", "relu"])
WEIGHTS: Mapping[str, tuple[int, ...]] = {"conv2d": (3, 3, 1, 1), "batchnorm": (3,)}


def chain(kinds: Sequence[str], kept: Sequence[bool], prefix: str, *, last: bool, seed: int) -> list[Tap]:
    """Taps that read each the one before it, without those that are not kept; every layer has the weights of its
    place."""
    found: list[Tap] = []
    for place, (kind, stays) in enumerate(zip(kinds, kept, strict=True)):
        if not stays:
            continue
        generator = np.random.default_rng([seed, place])
        arrays = [generator.standard_normal(WEIGHTS[kind]).astype(np.float32)] if kind in WEIGHTS else []
        found.append(
            Tap(
                name=f"{prefix}{place}",
                kind=kind,
                shape=(None, 5, 7, 3) if last else (2, 3, 5, 7),
                weighted=kind in WEIGHTS,
                reads=(found[-1].name if found else "input",),
                weights=lambda arrays=arrays: [
                    array.transpose(2, 3, 1, 0) if last and array.ndim == 4 else array for array in arrays
                ],
            )
        )
    return found


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Tap], list[Tap], bool]:
    """A reference and a port that have some of the same layers, with the same weights or with others; both end in the
    last. Whether the weights are the same."""
    kinds = draw(st.lists(KINDS, min_size=2, max_size=8))
    sides = [[*draw(st.lists(st.booleans(), min_size=len(kinds) - 1, max_size=len(kinds) - 1)), True] for _ in "ab"]
    alike = draw(st.booleans())
    return (
        chain(kinds, sides[0], "torch.", last=False, seed=0),
        chain(kinds, sides[1], "keras_", last=True, seed=0 if alike else 1),
        alike,
    )


def aligned(reference: list[Tap], port: list[Tap], layers: Mapping[str, str] | None = None) -> Alignment:
    """The two, each of which ends in its last tap."""
    return align(reference, port, layers=layers, axes=Axes(), outputs={reference[-1].name: port[-1].name})


def places(names: Sequence[str], taps: Sequence[Tap]) -> list[int]:
    """Where in the order of execution the taps are."""
    return [[tap.name for tap in taps].index(name) for name in names]


def assert_in_order(found: Alignment, reference: list[Tap], port: list[Tap]) -> None:
    """Every tap is matched once at most, and what runs later here runs later there."""
    assert len(set(found.matched.values())) == len(found.matched)
    here = places(list(found.matched), reference)
    assert here == sorted(here)
    there = places(list(found.matched.values()), port)
    assert there == sorted(there)


@examples(150)
@given(chains())
def test_matches_keep_the_order_of_both(drawn: tuple[list[Tap], list[Tap], bool]) -> None:
    """The assignment is monotone, whatever either side lacks and whatever its weights are."""
    reference, port, _ = drawn
    assert_in_order(aligned(reference, port), reference, port)


@examples(100)
@given(chains())
def test_layers_with_the_same_weights_are_matched(drawn: tuple[list[Tap], list[Tap], bool]) -> None:
    """Each convolution that both sides have with its weights answers to itself, whatever either side lacks."""
    reference, port, alike = drawn
    found = aligned(reference, port).matched
    both = {tap.name.split(".")[1] for tap in reference} & {tap.name.split("_")[1] for tap in port}
    convolutions = [tap.name.split(".")[1] for tap in reference if tap.kind == "conv2d"]
    for place in convolutions:
        if alike and place in both:
            assert found[f"torch.{place}"] == f"keras_{place}"


@examples(200)
@given(chains(), st.data())
def test_a_map_that_is_given_wins(drawn: tuple[list[Tap], list[Tap], bool], data: st.DataObject) -> None:
    """Whatever speaks against them, the pairs of a map are matched as given, and nothing is matched twice."""
    reference, port, _ = drawn
    names = [data.draw(st.permutations(taps)) for taps in (reference, port)]
    pairs = list(zip(*names, strict=False))
    layers = {one.name: other.name for one, other in pairs[: data.draw(st.integers(0, len(pairs)))]}
    found = aligned(reference, port, layers)
    assert layers.items() <= found.matched.items()
    assert all(found.coverage.reasons[name] == "given" for name in layers)
    assert len(set(found.matched.values())) == len(found.matched)


@examples(150)
@given(chains(), st.data())
def test_what_a_map_leaves_open_keeps_its_order(drawn: tuple[list[Tap], list[Tap], bool], data: st.DataObject) -> None:
    """Nothing is matched across a pair that is given, whether that has weights or not."""
    reference, port, _ = drawn
    alike = [(one.name, other.name) for one in reference for other in port if one.kind == other.kind]
    layers = dict([data.draw(st.sampled_from(alike))])
    assert_in_order(aligned(reference, port, layers), reference, port)


@examples(100)
@given(chains())
def test_a_map_of_what_was_found_changes_nothing(drawn: tuple[list[Tap], list[Tap], bool]) -> None:
    """What an alignment found, given back as a map, is found again; what one side lacks is left over as before."""
    reference, port, _ = drawn
    first = aligned(reference, port)
    again = aligned(reference, port, dict(first.matched))
    assert again.matched == first.matched
    assert again.coverage.unmatched_port == first.coverage.unmatched_port


def test_weights_speak_louder_than_places() -> None:
    """A convolution that both have answers to itself, although each side lacks a layer that the other has."""
    kinds = ["conv2d", "conv2d", "batchnorm", "conv2d", "conv2d", "conv2d", "conv2d"]
    reference = chain(kinds, [False, False, True, True, False, True, True], "torch.", last=False, seed=0)
    port = chain(kinds, [False, True, False, True, False, False, True], "keras_", last=True, seed=0)
    assert aligned(reference, port).matched["torch.3"] == "keras_3"
