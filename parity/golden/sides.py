"""A recording in the place of a side: what a pair has for one is the recording itself, or the path of its file."""

from pathlib import Path
from typing import TypeVar

from parity.errors import RecordingError
from parity.golden import REFERENCE, side_of
from parity.golden.port import RecordedPort
from parity.golden.reference import RecordedReference
from parity.pairs import Pair

ENDING = ".safetensors"
"""A side of a pair that is the path of such a file is a recording."""

Side = TypeVar("Side", RecordedReference, RecordedPort)


def recorded(path: Path) -> RecordedReference | RecordedPort:
    """The side that a file is a recording of. Raises RecordingError for a file that is none."""
    return RecordedReference(path) if side_of(path) == REFERENCE else RecordedPort(path)


def recorded_reference(pair: Pair) -> RecordedReference | None:
    """The recording that a pair has for its reference, if it is one. Raises RecordingError for one of another pair."""
    return _recorded(pair, pair.reference, RecordedReference)


def recorded_port(pair: Pair) -> RecordedPort | None:
    """The recording that a pair has for its port, if it is one. Raises RecordingError for one of another pair."""
    return _recorded(pair, pair.port, RecordedPort)


def _recorded(pair: Pair, side: object, kind: type[Side]) -> Side | None:
    if isinstance(side, (str, Path)) and Path(side).suffix == ENDING:
        side = kind(Path(side))
    if not isinstance(side, kind):
        return None
    if side.header.pair != pair.name:
        raise RecordingError(f"{side.path} is a recording of {side.header.pair}, not of {pair.name}")
    return side
