"""Real image pairs, as FlowNet's own loader hands them over: (1, 3, 2, H, W), RGB, float32 from 0 to 255.

A picture that is read differently than the user believes gives a report about another input. So whatever
would change its values without a word (transparency, 16 bits cut to 8, CMYK, a second frame left out) is
refused in one sentence.
"""

import math
import os
import re
import warnings
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import skimage.data
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from parity.axes import Array, move
from parity.errors import InputError
from parity.pairs import Input

FilePath = str | os.PathLike[str]
Size = tuple[int, int]
"""(width, height) in pixels, as users and Pillow say it."""

READABLE = "PNG, JPEG and PPM (P1 to P6)"
_SIGNATURES = {"PNG": rb"\x89PNG\r\n\x1a\n", "JPEG": rb"\xff\xd8\xff", "PPM": rb"P[1-6]\s"}
_HEAD_BYTES = 65536
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})


def motorcycle(size: Size = (704, 448)) -> Input:
    """The stereo pair "Motorcycle", left first, centre-cropped to `size` (width, height): (1, 3, 2, H, W).

    Its `truth` is the disparity, as a flow: what is in the left picture is that much further left in the right one.
    Source: Middlebury Stereo 2014 (Scharstein et al., GCPR 2014), a quarter of the original size (741x500),
    part of scikit-image's wheel; nothing is downloaded. Raises InputError if `size` does not fit into it.
    """
    left, right, disparity = skimage.data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    made = _pair_input("motorcycle", (left, right), size, "skimage.data.stereo_motorcycle(), Middlebury 2014")
    leftward = np.where(np.isfinite(disparity), -disparity, np.nan).astype(np.float32)
    window = _centre(leftward.shape, size)
    return replace(made, truth=np.stack([leftward, np.where(np.isnan(leftward), np.nan, 0)])[:, *window])


def image_pair(left: FilePath, right: FilePath, *, size: Size | None = None, multiple: int = 64) -> Input:
    """Two pictures of one size as one input: (1, 3, 2, H, W), axis 2 the two frames, RGB, float32 0 to 255.

    Both are cropped at the centre, never padded or scaled, to `size` (width, height); without it to the
    largest size whose sides are multiples of `multiple`, as NVIDIA's loader does. How a file is read:

    - PNG, JPEG and PPM (P1 to P6, binary and ascii), known by content, not by name; others are refused;
    - gray, 1-bit and palette pictures become RGB, gray by repeating it; a PPM maxval below 255 is scaled up;
    - alpha or a transparent colour is dropped where every pixel is opaque, otherwise the picture is refused;
    - an EXIF orientation is applied; embedded colour profiles and gamma are ignored;
    - more than 8 bits per channel, CMYK, and files of several frames are refused.

    Raises InputError, one sentence naming the file and the value, for these and for a file that cannot be
    read, for unequal sizes, for pictures smaller than `multiple` or `size`, and for a `size` that is no
    multiple of `multiple`.
    """
    if multiple < 1:
        raise InputError(f"multiple={multiple}: it must be 1 or more")
    if size is not None and (size[0] % multiple or size[1] % multiple):
        raise InputError(f"size {_by(size)}: both sides must be multiples of {multiple}")
    first, second = _read(left), _read(right)
    if first.size != second.size:
        raise InputError(f"{left} is {_by(first.size)} and {right} is {_by(second.size)}: a pair has one size")
    if size is None:
        size = (first.width // multiple * multiple, first.height // multiple * multiple)
        if min(size) == 0:
            raise InputError(f"{left} and {right} are {_by(first.size)}: both sides must be at least {multiple} pixels")
    return _pair_input("images", (np.asarray(first), np.asarray(second)), size, f"{left} and {right}")


def picture(path: FilePath, channels: int = 3) -> Array:
    """A picture's values, uint8, (H, W, 3) RGB, or with `channels=1` (H, W, 1) gray; read as `image_pair` reads it."""
    frame = _read(path)
    return np.asarray(frame) if channels == 3 else np.asarray(frame.convert("L"))[..., np.newaxis]


def _pair_input(name: str, frames: tuple[Array, Array], size: Size, source: str) -> Input:
    """Two (H, W, 3) frames, centre-cropped to `size`, as one input."""
    width, height = size
    rows, columns = frames[0].shape[:2]
    if not (0 < width <= columns and 0 < height <= rows):
        raise InputError(f"{_by(size)} cannot be cut from {source}: {columns}x{rows} pixels")
    cropped = np.stack(frames)[:, *_centre((rows, columns), size)].astype(np.float32)
    array = np.ascontiguousarray(move(cropped, "THWC", "CTHW")[np.newaxis])
    return Input(name=name, array=array, origin=f"{source}: {columns}x{rows}, centre-cropped to {_by(size)}")


def _centre(shape: tuple[int, ...], size: Size) -> tuple[slice, slice]:
    """The rows and columns of the centre of a picture of `shape` (rows, columns)."""
    width, height = size
    # The same rounding as NVIDIA's StaticCenterCrop: where the border is odd, its smaller half comes first.
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _read(path: FilePath) -> Image.Image:
    """The picture in a file: upright, opaque, RGB."""
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(path, file)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} holds too many pixels to decode safely: {error}") from error
    except Exception as error:  # a decoder given a broken file raises whatever it stumbles over
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot read {path}: {reason}") from error


def _decoded(path: FilePath, file: BinaryIO) -> Image.Image:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    kind = next((kind for kind, signature in _SIGNATURES.items() if re.match(signature, head)), None)
    if kind is None:
        raise InputError(f"{path} is {_foreign_format(file, head)}; parity reads {READABLE}")
    _refuse_deep(path, kind, head)
    try:
        picture = Image.open(file, formats=[kind])
    except UnidentifiedImageError as error:
        raise InputError(f"cannot read {path}: its {kind} header is broken, cut short or not supported") from error
    _refuse_frames(path, picture, file)
    if picture.mode not in _MODES:
        raise InputError(f"{path} is {picture.mode}; save it as RGB or gray first")
    if kind == "PNG" and picture.mode == "L" and "transparency" in picture.info:
        # Pillow scales gray levels of 2 and 4 bits up to 255, but not the level that means "transparent".
        picture.info["transparency"] *= 255 // (2 ** head[24] - 1)
    picture.load()
    return _opaque_rgb(path, ImageOps.exif_transpose(picture))


def _foreign_format(file: BinaryIO, head: bytes) -> str:
    """What a file that is none of the readable kinds holds, in words."""
    if not head:
        return "empty"
    try:
        with Image.open(file) as picture:
            return f"{picture.format} (mode {picture.mode})"
    except UnidentifiedImageError:
        return f"no known image format (it begins with {head[:8]!r})"


def _refuse_deep(path: FilePath, kind: str, head: bytes) -> None:
    """Refuse more than 8 bits per channel, which Pillow would cut to 8 without a word."""
    if kind == "PNG":
        if head[12:16] != b"IHDR" or len(head) < 26:
            raise InputError(f"cannot read {path}: its PNG header is broken or cut short")
        deep = f"{head[24]} bits per channel" if head[24] > 8 else ""
    elif kind == "PPM" and head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        # magic, width, height, maxval, with comments anywhere between
        fields = re.sub(rb"#[^\r\n]*[\r\n]?", b"", head).split(maxsplit=4)
        maxval = fields[3] if len(fields) > 3 else b""
        deep = f"maxval {maxval.decode()}" if maxval.isdigit() and int(maxval) > 255 else ""
    else:
        deep = ""  # a JPEG of 12 bits is refused by Pillow
    if deep:
        raise InputError(
            f"{path} has {deep}, and parity reads 8 bits per channel: convert it first, for example with "
            f"`magick {path} -depth 8 {os.path.splitext(path)[0]}-8bit.png`"
        )


def _refuse_frames(path: FilePath, picture: ImageFile.ImageFile, file: BinaryIO) -> None:
    """Refuse animations, multi-picture JPEGs and PPM files with pictures one after the other."""
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{path} holds {frames} frames; save the one to use as a file of its own")
    if picture.format != "PPM":
        return
    decoder, _extent, offset, _args = picture.tile[0]
    if decoder != "ppm_plain":
        bits_per_pixel = {"1": 1, "L": 8, "RGB": 24}[picture.mode]
        file.seek(offset + math.ceil(picture.width * bits_per_pixel / 8) * picture.height)
        if re.match(_SIGNATURES["PPM"], file.read(3)):
            raise InputError(f"{path} holds more than one frame; save the one to use as a file of its own")


def _opaque_rgb(path: FilePath, picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = np.asarray(picture.getchannel("A"))
        if alpha.min() < 255:
            raise InputError(
                f"{path} has {np.count_nonzero(alpha < 255)} transparent pixels of {alpha.size}; "
                "flatten it onto a background first"
            )
    return picture.convert("RGB")
