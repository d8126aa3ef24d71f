"""Protobuf messages read as bytes, field by field, with every length checked against what is there.

The checks see what the file holds before any engine's parser does. Where a field that should be there once is there
twice, all its values are seen: parsers take the last one, or merge them.

Source of the format: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

from parity.errors import ArtifactError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

MOST_FIELDS = 10_000_000
"""A message of more is refused: two bytes make a field, so that a large file could be looked at for hours."""

Value = int | memoryview


class WireError(ArtifactError):
    """Bytes that are no protobuf message. `at` is the place in the message, in bytes."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(f"{what} at byte {at}")
        self.at = at


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of up to ten bytes, and the place behind it. Raises WireError where it does not end."""
    value = shift = 0
    for place in range(at, min(at + 10, len(data))):
        byte = data[place]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place + 1
        shift += 7
    raise WireError("a number that does not end", at)


def fields(data: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Each field of a message: its number, its wire type, its value. Raises WireError where it is not well formed."""
    at, end, count = 0, len(data), 0
    while at < end:
        start, count = at, count + 1
        if count > MOST_FIELDS:
            raise WireError(f"more than {MOST_FIELDS} fields in one message", start)
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"a field numbered {number}", start)
        if wire == VARINT:
            value, at = varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = varint(data, at)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise WireError(f"a field of wire type {wire}", start)
        if size > end - at:
            raise WireError(f"a field of {size} bytes where {end - at} are left", start)
        yield number, wire, data[at : at + size]
        at += size


def messages(data: memoryview, number: int) -> Iterator[memoryview]:
    """Every value of a field that holds bytes: a string, a message. Raises WireError where it holds something else."""
    for found, wire, value in fields(data):
        if found == number:
            if not isinstance(value, memoryview) or wire != BYTES:
                raise WireError(f"field {number} is of wire type {wire}", 0)
            yield value


def texts(data: memoryview, number: int) -> list[str]:
    """Every value of a field that is text. Raises WireError for bytes that are no UTF-8."""
    return [text(value) for value in messages(data, number)]


def text(value: memoryview) -> str:
    """Bytes as text. Raises WireError for what is no UTF-8."""
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError("a name that is no text", error.start) from error


def numbers(data: memoryview, number: int) -> list[int]:
    """Every value of a repeated whole number, packed or not, as it is stored (negative ones as 2**64 less)."""
    found: list[int] = []
    for each, wire, value in fields(data):
        if each != number:
            continue
        if isinstance(value, int):
            found.append(value)
        elif wire == BYTES:
            at = 0
            while at < len(value):
                one, at = varint(value, at)
                found.append(one)
        else:
            raise WireError(f"field {number} is of wire type {wire}", 0)
    return found


def signed(value: int) -> int:
    """A stored number as the int64 that it stands for."""
    return value - (1 << 64) if value >= 1 << 63 else value
