"""Inputs made from what a network takes: the right kind for each slot, the same for the same seed."""

import numpy as np
import pytest

from parity.errors import InputError
from parity.inputs import PROBES, Slot, from_signature, probe, tokens

IMAGE = Slot(name="image", shape=(1, 3, 5, 7))
IDS = Slot(name="ids", shape=(2, 7), kind="int", vocabulary=11)
MASK = Slot(name="mask", shape=(2, 7), kind="bool")


def test_each_slot_gets_its_kind() -> None:
    """Floats for images, tokens below the vocabulary for integers, true and false for masks; in their order."""
    image, ids, mask = from_signature([IMAGE, IDS, MASK], seed=3).args
    assert (image.shape, image.dtype) == ((1, 3, 5, 7), np.float32)
    assert (ids.shape, ids.dtype) == ((2, 7), np.int64)
    assert (mask.shape, mask.dtype) == ((2, 7), np.bool_)
    assert -1 <= image.min() < 0 < image.max() <= 1
    assert ids.min() >= 0
    assert ids.max() < 11


def test_the_seed_decides() -> None:
    """The same seed gives the same arrays, another seed others; two slots alike get different arrays."""
    twice = [IMAGE, IMAGE]
    first, again, other = (from_signature(twice, seed=seed).args for seed in (0, 0, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_every_row_of_a_mask_shows_something() -> None:
    """A mask is never false all along, however short; and never only true on many values."""
    masks = from_signature([Slot(name="m", shape=(50, 2), kind="bool")]).array
    assert masks.any(axis=1).all()
    assert not masks.all()


def test_a_range_is_kept() -> None:
    """Floats lie in the range that is given; so do tokens where nobody knows the vocabulary."""
    unknown = Slot(name="ids", shape=(3, 200), kind="int")
    image, ids = from_signature([IMAGE, unknown], values=(5, 9)).args
    assert image.min() >= 5
    assert set(np.unique(ids)) == {5, 6, 7, 8}
    assert set(np.unique(from_signature([unknown]).array)) == {0, 1}


@pytest.mark.parametrize("kind", PROBES)
def test_probes_are_for_floats(kind: str) -> None:
    """A probe is what parity.inputs.probe makes, in the range; tokens beside it are tokens."""
    given = from_signature([IMAGE, IDS], kind)
    assert np.array_equal(given.args[0], probe(kind, IMAGE.shape, low=-1, high=1).array)
    assert given.args[1].max() < 11
    assert given.name == kind


@pytest.mark.parametrize(
    ("slots", "made", "sentence"),
    [
        ([IMAGE], "tokens", "tokens were asked for, and the network takes none"),
        ([IDS], "ramp", "ramp was asked for, and the network takes no floats"),
        ([IMAGE], "nois", "unknown input 'nois'; the kinds are noise, tokens, impulse"),
    ],
)
def test_what_would_show_nothing_is_refused(slots: list[Slot], made: str, sentence: str) -> None:
    """An input that the network has no slot for is an error, not noise under its name."""
    with pytest.raises(InputError, match=sentence):
        from_signature(slots, made)


def test_tokens_reach_every_entry() -> None:
    """With enough of them every token occurs, none beyond."""
    assert set(np.unique(tokens((3, 100), 7, seed=2).array)) == set(range(7))
    with pytest.raises(InputError, match="there is no token from 0 to below 0"):
        tokens((2, 3), 0)
