"""Words for inputs that say more than a name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity.errors import InputError
from parity.inputs.words import picture_pairs, seeded, two_pictures
from parity.models import Settings, load


def picture(path: Path, value: int = 0, size: tuple[int, int] = (70, 66)) -> Path:
    """A picture of one gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("noise#7", ("noise", 7)),
        ("tokens#0", ("tokens", 0)),
        ("noise", ("noise", 3)),
        ("ramp#7", ("ramp#7", 3)),
        ("noise#", ("noise#", 3)),
        ("noise#-1", ("noise#-1", 3)),
        (f"noise#{2**32}", (f"noise#{2**32}", 3)),
    ],
)
def test_noise_may_have_a_seed_of_its_own(word: str, meant: tuple[str, int]) -> None:
    """What is no seed, or cannot have one, stays as it is, and will be called unknown."""
    assert seeded(word, 3) == meant


def test_two_pictures_are_a_word(tmp_path: Path) -> None:
    """Joined by a plus, also where their names have one; only where both are there."""
    left, right = picture(tmp_path / "a+b.png"), picture(tmp_path / "c.png")
    assert two_pictures(f"{left}+{right}") == (left, right)
    assert two_pictures(f"{left}+{tmp_path / 'none.png'}") is None
    assert two_pictures("noise") is None


def test_a_folder_is_paired_two_by_two(tmp_path: Path) -> None:
    """Its own pictures in the order of their names, numbers as numbers; then two of each folder in it."""
    names = ("2_left.png", "2_right.png", "10_left.png", "10_right.png", "scene/im0.png", "scene/im1.png")
    for name in names:
        picture(tmp_path / name)
    (tmp_path / "read.me").write_text("no picture")
    found = [(left.name, right.name) for left, right in picture_pairs(tmp_path)]
    assert found == [("2_left.png", "2_right.png"), ("10_left.png", "10_right.png"), ("im0.png", "im1.png")]


def test_an_odd_picture_is_refused(tmp_path: Path) -> None:
    """One too many would shift all pairs behind it."""
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match="holds 3 pictures; pairs are two by two"):
        picture_pairs(tmp_path)


def test_a_folder_without_a_pair_is_refused(tmp_path: Path) -> None:
    """By its name."""
    with pytest.raises(InputError, match="holds no pair of pictures"):
        picture_pairs(tmp_path)


def test_flownet_takes_pairs_and_seeds_by_their_words(tmp_path: Path) -> None:
    """Each is an input called by its word; all pictures are cut to the size of the first."""
    first = f"{picture(tmp_path / 'a.png', 7)}+{picture(tmp_path / 'b.png', 9)}"
    second = f"{picture(tmp_path / 'c.png', 1, (200, 140))}+{picture(tmp_path / 'd.png', 2, (200, 140))}"
    _, inputs = load("flownet", Settings(inputs=(first, second, "noise#5", "noise")))
    assert [given.name for given in inputs] == [first, second, "noise#5", "noise"]
    assert {given.array.shape for given in inputs} == {(1, 3, 2, 64, 64)}
    assert (inputs[0].array[0, 0, :, 0, 0] == (7, 9)).all()
    _, (same,) = load("flownet", Settings(inputs=("noise",), seed=5, size=(64, 64)))
    assert (same.array == inputs[2].array).all()
    assert not (same.array == inputs[3].array).all()


def test_small_models_and_own_pairs_take_seeds(tmp_path: Path) -> None:
    """Noise of a seed is the noise of that seed, and only its name says so."""
    _, (own,) = load("mlp", Settings(inputs=("noise#5",)))
    _, (same,) = load("mlp", Settings(inputs=("noise",), seed=5))
    assert own.name == "noise#5"
    assert (own.array == same.array).all()
