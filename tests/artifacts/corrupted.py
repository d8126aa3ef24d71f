"""Corrupted variants of files, the same for the same seed: cut off, bytes changed, sections removed, lengths inflated.

A SavedModel is a folder, so one of its files is corrupted, or missing. A `.keras` archive has checksums, which find
every change of its bytes; so every second variant of one changes a member and packs it anew, with the right checksum.
"""

import io
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

Change = Callable[[random.Random, bytearray], None]
"""Changes bytes in place."""

ENDS = (0, 1, 3, 4, 7, 8, 12)
"""Places, from the beginning or the end, that every second cut is at: inside of what a format begins and ends with."""

LENGTHS = (
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xff\xff\x03",
    b"\xff\xff\xff\xff\x0f",
    b"\x00\x00\x00\x01",
)
"""Large numbers as the formats write them: little-endian, or seven bits to the byte."""


def cut_off(dice: random.Random, data: bytearray) -> None:
    """Nothing is left from some byte on."""
    if dice.random() < 0.5:
        end = dice.choice(ENDS)
        del data[end if dice.random() < 0.5 else max(len(data) - 1 - end, 0) :]
    else:
        del data[dice.randrange(len(data)) :]


def bytes_changed(dice: random.Random, data: bytearray) -> None:
    """Some bytes are others."""
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        data[dice.randrange(len(data))] ^= dice.randrange(1, 256)


def bit_flipped(dice: random.Random, data: bytearray) -> None:
    """One bit is the other."""
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def section_removed(dice: random.Random, data: bytearray) -> None:
    """Some bytes are missing in the middle."""
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 4, 16, 64, len(data) // 4 + 1))]


def section_zeroed(dice: random.Random, data: bytearray) -> None:
    """Some bytes are zero."""
    start = dice.randrange(len(data))
    size = min(dice.choice((4, 8, 32, 128)), len(data) - start)
    data[start : start + size] = bytes(size)


def section_doubled(dice: random.Random, data: bytearray) -> None:
    """Some bytes are there twice."""
    start = dice.randrange(len(data))
    data[start:start] = data[start : start + dice.choice((1, 4, 32, 256))]


def length_inflated(dice: random.Random, data: bytearray) -> None:
    """A number, which may be a length, an offset or a size, is a large one."""
    start = dice.randrange(len(data))
    number = dice.choice(LENGTHS)
    if dice.random() < 0.5:
        start -= start % 4  # where flatbuffers have their numbers
    data[start : start + len(number)] = number


CHANGES: tuple[Change, ...] = (
    cut_off,
    bytes_changed,
    bit_flipped,
    section_removed,
    section_zeroed,
    section_doubled,
    length_inflated,
)


def variants(original: Path, folder: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """`count` corrupted variants of a file, each in a file of `folder`, and what was done to it."""
    for number in range(count):
        dice = random.Random(f"{original.suffix} {seed} {number}")
        change = CHANGES[number % len(CHANGES)]
        path = folder / f"{number}{original.suffix}"
        what = change.__name__
        if original.is_dir():
            what += " of " + _folder(dice, change, original, path)
        elif original.suffix == ".keras" and number % 2:
            what += " of " + _archive(dice, change, original, path)
        else:
            path.write_bytes(_changed(dice, change, original.read_bytes()))
        yield what, path


def _changed(dice: random.Random, change: Change, data: bytes) -> bytes:
    """Other bytes than the given ones."""
    made = bytearray(data)
    for _ in range(20):
        change(dice, made)
        if made != data:
            break
        made = bytearray(data)
    return bytes(made)


def _folder(dice: random.Random, change: Change, original: Path, path: Path) -> str:
    shutil.copytree(original, path)
    files = sorted(each for each in path.rglob("*") if each.is_file() and each.stat().st_size)
    weights = [3 if each.name == "saved_model.pb" else 1 for each in files]
    file = dice.choices(files, weights)[0]
    if dice.random() < 0.05:
        file.unlink()
        return f"{file.name}, which is missing"
    file.write_bytes(_changed(dice, change, file.read_bytes()))
    return file.name


def _archive(dice: random.Random, change: Change, original: Path, path: Path) -> str:
    with zipfile.ZipFile(original) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = dice.choice(sorted(members))
    members[name] = _changed(dice, change, members[name])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    path.write_bytes(packed.getvalue())
    return name
