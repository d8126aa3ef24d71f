"""Weights that tell who is who, where each side lacks layers that the other has, and where they were loaded wrongly."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from disguises import with_weights
from networks import Network, ported, without
from test_random_networks import find, weighted

from parity.alignment import align
from parity.alignment.flow import most_opposed
from parity.alignment.telling import moved_up, of_one_another
from parity.axes import Axes
from parity.runners.taps import Tap


def row(count: int, seed: int = 0) -> list[Tap]:
    """Convolutions of one shape in a row: `conv2d_at_0`, `conv2d_at_2` and so on."""
    made = Network(np.random.default_rng(seed))
    x = made.conv("input", 6, norm=False)
    for _ in range(count - 1):
        x = made.conv(x, 6, norm=False)
    return made.taps


def lacking(taps: Sequence[Tap], *names: str) -> list[Tap]:
    """The taps without these."""
    for name in names:
        taps = without(taps, name)
    return list(taps)


@pytest.mark.parametrize("seed", range(5))
def test_layers_in_a_row_are_told_by_their_weights_whatever_each_side_lacks(seed: int) -> None:
    """Every layer that both sides have finds itself among many of its shape, although as many others came and went."""
    taps, generator = row(23, seed), np.random.default_rng(seed)
    gone = generator.choice(weighted(taps)[1:-1], 6, replace=False)
    reference, port = lacking(taps, *gone[:3]), lacking(ported(taps), *gone[3:])
    found = find(reference, port, seed)
    assert all(found.matched[name] == name for name in weighted(taps) if name not in gone)


def test_a_row_that_lacks_a_layer_is_matched_though_two_were_exchanged() -> None:
    """The first and the last carry each other's weights, which contradicts all between them: these are still told by
    theirs, and the two by their places."""
    taps = row(9)
    names = weighted(taps)
    first, gone, last = names[1], names[5], names[7]
    port = ported(taps)
    weights = {tap.name: list(tap.weights()) for tap in port}
    exchanged = with_weights(port, {first: weights[last], last: weights[first]})
    found = find(taps, lacking(exchanged, gone))
    assert {name: found.matched.get(name) for name in names} == {name: name for name in names} | {gone: None}


@pytest.mark.parametrize("held", [[1, 2, 0], [1, 2, 2], [1, 1, 1], [1, 0, 2]])
def test_weights_in_the_wrong_layers_are_a_fault_and_no_reason_to_match_these(held: list[int]) -> None:
    """Weights that went round, that moved up with the last twice or are everywhere the same: each to its place."""
    taps = row(6)
    names, port = weighted(taps), ported(taps)
    weights = {tap.name: list(tap.weights()) for tap in port}
    wrong = {names[1 + to]: weights[names[1 + one]] for to, one in enumerate(held)}
    found = find(taps, with_weights(port, wrong))
    assert all(found.matched[name] == name for name in names)


def test_calls_of_one_layer_are_told_together() -> None:
    """The calls of a layer are matched in their order, and to no neighbour, although one came and another went."""
    taps = row(7)
    names = weighted(taps)
    shared = list(taps[4].weights())
    taps = with_weights(taps, dict.fromkeys(names[2:5], shared))
    found = find(lacking(taps, names[1]), lacking(ported(taps), names[5]))
    assert all(found.matched[name] == name for name in (names[0], *names[2:5], names[6]))


def test_a_layer_of_another_branch_is_not_taken_for_one_that_is_lacking() -> None:
    """Where one side lacks the second layer of one branch, and the other that of its sibling, both are left over."""
    made = Network(np.random.default_rng(0))
    x = made.conv("input", 6, norm=False)
    made.conv(made.inception(x, 6, 3, norm=False), 5, norm=False)
    seconds = [made.taps[at].name for at in (4, 8)]
    reference, port = lacking(made.taps, seconds[0]), lacking(ported(made.taps), seconds[1])
    found = find(reference, port)
    assert found.unmatched == ([seconds[1]], [seconds[0]])
    others = [name for name in weighted(made.taps) if name not in seconds]
    assert all(found.matched[name] == name for name in others)


def test_of_one_another() -> None:
    """Two layers have each other's weights where no third is like either; of calls of one layer, all or none."""
    alike = np.zeros((6, 6))
    alike[0, 1] = 1.0
    alike[1:3, 2:4] = 1.0
    alike[3, 4:6] = 1.0
    alike[4, 0] = 0.3
    found = of_one_another(alike)
    assert np.argwhere(found).tolist() == [[0, 1], [1, 2], [1, 3], [2, 2], [2, 3]]


def table(size: int, *pairs: tuple[int, int]) -> np.ndarray:
    """A table that is true at these pairs."""
    found = np.zeros((size, size), bool)
    found[tuple(np.transpose(pairs))] = True
    return found


@pytest.mark.parametrize(
    ("pairs", "known", "places", "kept"),
    [
        ([(1, 0), (2, 1)], [], [(0, 0), (1, 1), (2, 2)], [(1, 0), (2, 1)]),
        ([(1, 0)], [(2, 1), (2, 2)], [(0, 0), (1, 1), (2, 2)], []),
        ([(1, 0), (0, 1)], [], [(0, 0), (1, 1)], []),
        ([(1, 0), (2, 1), (0, 2)], [], [(0, 0), (1, 1), (2, 2)], []),
        ([(1, 0), (2, 2)], [], [(1, 1), (2, 2)], [(1, 0), (2, 2)]),
    ],
    ids=["one lacking, one too many", "loaded twice", "exchanged", "went round", "one lacking"],
)
def test_moved_up(
    pairs: list[tuple[int, int]],
    known: list[tuple[int, int]],
    places: list[tuple[int, int]],
    kept: list[tuple[int, int]],
) -> None:
    """Pairs beside their place are kept where weights are lost on one side and new on the other."""
    found = moved_up(table(3, *pairs), table(3, *pairs, *known), places)
    assert sorted(map(tuple, np.argwhere(found).tolist())) == sorted(kept)


def test_most_opposed() -> None:
    """Of what contradicts each other those with the most contradictions are named, and of two alike both."""
    conflicts = table(6, (0, 1), (0, 2), (0, 3), (4, 5))
    assert sorted(most_opposed(conflicts | conflicts.T)) == [0, 4, 5]
    assert most_opposed(np.zeros((3, 3), bool)) == []


def numbered(taps: Sequence[Tap], pattern: str, first: int) -> tuple[list[Tap], dict[str, str]]:
    """The taps, those with weights named for their number, which begins with `first`; and the new names."""
    words = {tap.name: f"plain_{tap.name}" for tap in taps}
    words |= {name: pattern.format(number) for number, name in enumerate(weighted(taps), first)}
    return [
        replace(tap, name=words[tap.name], reads=tuple(words.get(read, read) for read in tap.reads)) for tap in taps
    ], words


@pytest.mark.parametrize("first", [0, 1])
def test_names_that_contradict_weights_and_places_are_not_believed(first: int) -> None:
    """A port that numbers its layers from another number on is matched by weights, or where one was never loaded, by
    its place; with the same numbers the names only confirm that."""
    taps = row(12)
    names = weighted(taps)
    port = ported(taps)
    kernels = {
        name: [np.random.default_rng(9).normal(size=(3, 3, 6, 6)), np.zeros(6)] for name in (names[2], names[10])
    }
    port = with_weights(port, {name: [a.astype(np.float32) for a in each] for name, each in kernels.items()})
    reference, words = numbered(taps, "features.block{}.unit", 0)
    renamed, their_words = numbered(port, "features_block{}_unit", first)
    reference, renamed = lacking(reference, words[names[8]]), lacking(renamed, their_words[names[4]])
    ends = {words[names[-1]]: their_words[names[-1]]}
    found = align(reference, renamed, layers=None, axes=Axes(), outputs=ends)
    both = [name for name in names if name not in (names[4], names[8])]
    assert {name: found.matched.get(words[name]) for name in both} == {name: their_words[name] for name in both}
