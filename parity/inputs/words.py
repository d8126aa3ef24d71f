"""Words for inputs that say more than a name: `noise#7`, noise of a seed of its own; `left.png+right.png`, a pair."""

from collections.abc import Sequence
from pathlib import Path

from parity.errors import InputError
from parity.inputs.files import PICTURES, by_number

SEEDED = frozenset({"noise", "tokens"})
"""What can be drawn from a seed of its own."""


def seeded(word: str, seed: int) -> tuple[str, int]:
    """The name and the seed of a made-up input: `seed` where the word gives none.

    >>> seeded("noise#7", 0), seeded("noise", 3)
    (('noise', 7), ('noise', 3))
    """
    name, mark, own = word.partition("#")
    if mark and name in SEEDED and own.isdecimal() and int(own) < 2**32:
        return name, int(own)
    return word, seed


def two_pictures(word: str) -> tuple[Path, Path] | None:
    """The pictures of `left.png+right.png`; None for a word of another kind, or where they are not there."""
    for index in (at for at, letter in enumerate(word) if letter == "+"):
        left, right = Path(word[:index]), Path(word[index + 1 :])
        if all(each.suffix.lower() in PICTURES and each.is_file() for each in (left, right)):
            return left, right
    return None


def picture_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The pairs of pictures in a folder, in order: its own pictures two by two, and two in each folder in it.

    Names are sorted with numbers as numbers, so `0001_img1, 0001_img2, 0002_img1, ...` and `im0, im1` are pairs. Raises
    InputError for a folder that holds none, or an odd number of pictures.
    """
    places = sorted((each for each in folder.iterdir() if each.is_dir()), key=by_number)
    found = [pair for place in (folder, *places) for pair in _two_by_two(place, _pictures(place))]
    if not found:
        raise InputError(f"{folder} holds no pair of pictures, neither itself nor in a folder in it")
    return found


def _pictures(folder: Path) -> list[Path]:
    found = (each for each in folder.iterdir() if each.is_file() and each.suffix.lower() in PICTURES)
    return sorted(found, key=by_number)


def _two_by_two(folder: Path, pictures: Sequence[Path]) -> list[tuple[Path, Path]]:
    if len(pictures) % 2:
        raise InputError(f"{folder} holds {len(pictures)} pictures; pairs are two by two, in the order of their names")
    return list(zip(pictures[::2], pictures[1::2], strict=True))
