"""Inputs from files: arrays of `.npz` and `.npy`, pictures, and folders of them."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from parity.axes import Array, move
from parity.errors import InputError
from parity.inputs.images import FilePath, Size, picture

ARRAYS = frozenset({".npz", ".npy"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".pbm"})

READABLE = ".npz, .npy, PNG, JPEG and PPM"


def arrays_from(path: FilePath) -> Mapping[str, Array]:
    """The arrays in a `.npz` file by name, or the one in a `.npy` file, by the name "".

    Arrays are in the reference's layout; float64 becomes float32, in which networks run. Raises InputError for a file
    that cannot be read, holds no array, or holds Python objects, which are never loaded.
    """
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        raise InputError(f"{path} holds no array")
    return {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in found.items()}


def folder(path: FilePath, limit: int | None = None) -> list[Path]:
    """The files of a folder that inputs can be made from, sorted with numbers as numbers; the first `limit` of them.

    Raises InputError where there is none.
    """
    known = ARRAYS | PICTURES
    found = [each for each in Path(path).iterdir() if each.is_file() and each.suffix.lower() in known]
    if not found:
        raise InputError(f"{path} holds no file that parity reads as an input ({READABLE})")
    return sorted(found, key=by_number)[:limit]


def image(
    path: FilePath,
    layout: str = "NCHW",
    *,
    channels: int = 3,
    size: Size | None = None,
    multiple: int = 1,
    values: tuple[float, float] = (0.0, 255.0),
) -> Array:
    """A picture as a float32 array of one image in `layout`: N, C, H and W in any order.

    It is cropped at the centre, never scaled, to `size` (width, height), or without it to the largest whose sides are
    multiples of `multiple`. 3 `channels` are RGB, 1 is gray (ITU-R 601-2 luma). `values` is what black and white
    become. Raises InputError for what `image_pair` refuses, for another layout or number of channels, and for a
    picture that is too small.
    """
    if sorted(layout) != sorted("NCHW"):
        raise InputError(f"{path} is a picture, and the network takes {layout}, which is no batch of images")
    if channels not in (1, 3):
        raise InputError(f"{path} is a picture, of 1 or 3 channels, and the network takes {channels}")
    frame = picture(path, channels)
    rows, columns = frame.shape[:2]
    width, height = size or (columns // multiple * multiple, rows // multiple * multiple)
    if not (0 < width <= columns and 0 < height <= rows):
        wanted = f"{width}x{height}" if size else f"multiples of {multiple}"
        raise InputError(f"{wanted} cannot be cut from {path}: {columns}x{rows} pixels")
    top, left = (rows - height) // 2, (columns - width) // 2
    low, high = values
    cropped = frame[top : top + height, left : left + width].astype(np.float32) * np.float32((high - low) / 255)
    return np.ascontiguousarray(move((cropped + np.float32(low))[np.newaxis], "NHWC", layout))


def by_number(path: Path) -> list[tuple[int, int, str]]:
    """What sorts frame2 before frame10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]
