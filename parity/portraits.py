"""What a layer is and what its error looks like, as records small enough to keep: words, counts and little pictures.

A report holds them so that whoever reads it later, without either network, sees where in a map the error is, in which
channels, and how large. Arrays are kept as text, each with its shape.
"""

import base64
import binascii
import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from parity.errors import ReportFileError

KEPT_BITS = 0xFFFFF000
"""A float32 without its last 12 bits has three digits left, and takes half the space."""
MOST_VALUES = 1 << 22
"""No kept array has more: a record that says so is not one of parity's."""

Floats = npt.NDArray[np.float32]


class Record:
    """What all records share: infinities and NaN are written as strings, since JSON has no numbers for them."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")


@dataclass(frozen=True, kw_only=True)
class KeptArray(Record):
    """An array of float32, to three digits, as text: `data` is base64 of zlib of little-endian values in C order.

    >>> KeptArray.of(np.array([[1.0, 2.5]])).array()
    array([[1. , 2.5]], dtype=float32)
    """

    shape: tuple[int, ...]
    data: str

    @classmethod
    def of(cls, array: npt.ArrayLike) -> "KeptArray":
        """The record of an array."""
        values = np.ascontiguousarray(array, dtype="<f4")
        bits = values.view("<u4") & np.uint32(KEPT_BITS)
        return cls(shape=values.shape, data=base64.b64encode(zlib.compress(bits.tobytes(), 6)).decode())

    def array(self) -> Floats:
        """The array. Raises ReportFileError where `data` is none of that shape."""
        count = math.prod(self.shape)
        if not 0 <= count <= MOST_VALUES or any(size < 0 for size in self.shape):
            raise ReportFileError(f"a picture of shape {self.shape} is none that parity keeps")
        try:
            # One byte more than is wanted: more than that is never unpacked, whatever the text holds.
            raw = zlib.decompressobj().decompress(base64.b64decode(self.data, validate=True), 4 * count + 1)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise ReportFileError(f"a picture of shape {self.shape} cannot be read: {error}") from error
        if len(raw) != 4 * count:
            raise ReportFileError(f"a picture of shape {self.shape} has {len(raw)} bytes, not {4 * count}")
        return np.frombuffer(raw, "<f4").reshape(self.shape)


@dataclass(frozen=True, kw_only=True)
class WeightRelation(Record):
    """One weight of the layer on both sides: how far apart, and what one is of the other, as far as that is known."""

    name: str
    shape: tuple[int, ...]
    distance: float
    relation: str


@dataclass(frozen=True, kw_only=True)
class Setup(Record):
    """A layer as both sides' code has it: the reference's, the port's operations, how each weight relates."""

    reference: str
    port: tuple[str, ...]
    weights: tuple[WeightRelation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Histogram(Record):
    """How many values are off by how much: `counts` over equal steps of the decimal logarithm from `low` to `high`.

    An error is in units of the RMS of the reference's values; `exact` values have none at all.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    exact: int = 0


@dataclass(frozen=True, kw_only=True)
class ErrorPicture(Record):
    """Where the error of a layer's value is, on the reference's values, in units of the RMS of the reference's values.

    `space` is the RMS error over batch and channels in cells of a map of `height` x `width`; None for a value without
    space. `channels` is the RMS error of each channel, of more than some of equal groups of them; `channel_count` is
    how many there are. `limit` is the error up to which a cell counts as right, `words` says it all in a few words.
    """

    space: KeptArray | None
    height: int
    width: int
    channels: KeptArray
    channel_count: int
    histogram: Histogram
    limit: float
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutputPicture(Record):
    """One output of both sides, in cells, with the error between them; in the output's own units.

    `difference` is the port's value minus the reference's, `expected`. Of a map of two channels, such as an optical
    flow, both are (2, rows, columns) and `error` is the end-point error, the length of the difference; of others they
    are (rows, columns), the mean over channels, and `error` is the RMS over channels. `height` and `width` are what the
    cells stand for. `truth` is the flow that is known to be right, NaN where it is not known; `truth_epe` the mean
    end-point error of the reference and of the port against it, over all places where it is known.
    """

    height: int
    width: int
    flow: bool
    expected: KeptArray
    difference: KeptArray
    error: KeptArray
    truth: KeptArray | None = None
    truth_epe: tuple[float, float] | None = None
