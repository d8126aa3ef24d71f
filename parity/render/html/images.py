"""Small arrays as pictures inside the page: errors in shades, optical flow in the usual colour wheel."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

SECTORS = (15, 6, 4, 11, 13, 6)
"""Steps from red to yellow, to green, to cyan, to blue, to magenta and back to red, as eyes tell them apart."""
SHADES = ("#fbe6a2", "#f4b65c", "#e5713b", "#c3263f", "#7d0f45")
"""From just beyond the limit to the greatest error; each is darker than the one before, in print as well."""
WITHIN, STRANGE, UNKNOWN = "#e7ecef", "#ff00d4", "#808890"
"""Within the limit; not finite; not known."""

Floats = npt.NDArray[np.floating]
Bytes = npt.NDArray[np.uint8]


def png(pixels: Bytes) -> str:
    """An RGB picture (rows, columns, 3) as the address of a PNG that is in the page itself."""
    stream = io.BytesIO()
    Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def lowest(values: Floats, limit: float) -> float:
    """Where the scale of errors begins: at the limit, or three powers of ten below the greatest."""
    finite = values[np.isfinite(values)]
    return max(limit, 1e-3 * float(finite.max()) if finite.size else 0.0, 1e-30)


def errors(values: Floats, limit: float) -> Bytes:
    """Errors (rows, columns) in shades on a logarithmic scale, from `lowest` to the greatest."""
    finite = values[np.isfinite(values)]
    greatest = float(finite.max()) if finite.size else 0.0
    low = lowest(values, limit)
    span = math.log10(max(greatest / low, 1.0 + 1e-9))
    with np.errstate(all="ignore"):
        pixels = _shaded(np.log10(np.maximum(values, 1e-45) / low) / span, SHADES)
    pixels[values <= limit] = _rgb(WITHIN)
    pixels[~np.isfinite(values)] = _rgb(STRANGE)
    return _bytes(pixels)


def lengths(values: Floats, strange: str = STRANGE) -> Bytes:
    """Lengths (rows, columns) in shades, in equal steps from nothing to the greatest."""
    finite = values[np.isfinite(values)]
    pixels = _shaded(values / (float(finite.max()) if finite.size and finite.max() else 1.0), (WITHIN, *SHADES))
    pixels[~np.isfinite(values)] = _rgb(strange)
    return _bytes(pixels)


def _shaded(shares: Floats, shades: Sequence[str]) -> Floats:
    """Shares of one, each in the colour that lies so far between the first shade and the last."""
    place = np.nan_to_num(np.clip(shares, 0, 1)) * (len(shades) - 1)
    colours = np.array([_rgb(shade) for shade in shades], np.float64)
    below = np.minimum(place.astype(int), len(shades) - 2)
    share = (place - below)[..., None]
    found: Floats = colours[below] * (1 - share) + colours[below + 1] * share
    return found


def flow(vectors: Floats, greatest: float) -> Bytes:
    """A flow (2, rows, columns) in the colour wheel of Baker et al., "A Database and Evaluation Methodology for Optical
    Flow" (ICCV 2007): direction as hue, length as saturation, `greatest` the length of full colour.

    What is longer is darkened; what is not known (NaN) is gray.
    """
    u, v = vectors
    length = np.hypot(u, v) / (greatest or 1.0)
    turn = np.nan_to_num(np.arctan2(-v, -u) / np.pi)
    wheel = _wheel()
    place = (turn + 1) / 2 * (len(wheel) - 1)
    first = place.astype(int)
    share = (place - first)[..., None]
    hue = wheel[first] * (1 - share) + wheel[(first + 1) % len(wheel)] * share
    inside = (length <= 1)[..., None]
    pixels = np.where(inside, 1 - np.nan_to_num(length)[..., None] * (1 - hue), hue * 0.75)
    pixels[~np.isfinite(length)] = 0.5
    return _bytes(pixels * 255)


def wheel(size: int = 104) -> Bytes:
    """The colour wheel itself, white outside of it."""
    across = np.linspace(-1.0, 1.0, size)
    vectors = np.stack(np.meshgrid(across, across))
    pixels = flow(vectors, 1.0)
    pixels[np.hypot(*vectors) > 1] = 255
    return pixels


def values(plane: Floats, low: float, high: float) -> Bytes:
    """A map (rows, columns) in gray from `low` to `high`; what is not finite stands out."""
    with np.errstate(all="ignore"):
        share = np.clip((plane - low) / ((high - low) or 1.0), 0, 1)
    gray = (np.nan_to_num(share) * 255).round().astype(np.uint8)
    pixels = np.repeat(gray[..., None], 3, axis=-1)
    pixels[~np.isfinite(plane)] = _rgb(STRANGE)
    return pixels


def _wheel() -> Floats:
    """The hues of the wheel, in RGB from 0 to 1."""
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], np.float64)
    parts = [
        corners[i] + (corners[i + 1] - corners[i]) * (np.arange(steps) / steps)[:, None]
        for i, steps in enumerate(SECTORS)
    ]
    return np.concatenate(parts)


def _bytes(pixels: Floats) -> Bytes:
    found: Bytes = pixels.round().astype(np.uint8)
    return found


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
