"""The file of a recording: arrays as safetensors has them, and what they are in one JSON text of its metadata.

It is written whole or not at all, array after array, so that no more than one is held; and read by memory map, one
array at a time, each checked against its sum. Nothing in it is executed: there is no pickle, and no name of code.

Source of the format: github.com/huggingface/safetensors, README, "Format".
"""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from parity.axes import Array
from parity.errors import RecordingError
from parity.files import place_of

KEY = "parity"
"""Where the metadata of the file has the recording's own."""

# fmt: off
_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64",
}
"""What safetensors calls NumPy's types."""
# fmt: on

Header = TypeVar("Header", bound=BaseModel)


@dataclass
class Writer:
    """Takes arrays by name, once each; `sums` has the CRC-32 of what each is in the file."""

    stream: BinaryIO
    sums: dict[str, int] = field(default_factory=dict)
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, name: str, array: Array, *, unless_as: str = "", same: dict[str, str] | None = None) -> str:
        """Write an array; the name. Raises RecordingError for a type that safetensors does not have.

        One that is, by type, shape and sum, what was written as `unless_as` is only noted in `same`.
        """
        if array.dtype.name not in _NAMES:
            raise RecordingError(f"{name} has values of type {array.dtype}, which cannot be recorded")
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
        form = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape)}
        start, self.sums[name] = self.stream.tell(), zlib.crc32(data)
        other = self._entries.get(unless_as, {})
        if same is not None and form.items() <= other.items() and self.sums[name] == self.sums[unless_as]:
            same[name] = unless_as
            return name
        self.stream.write(data)
        self._entries[name] = {**form, "data_offsets": [start, self.stream.tell()]}
        return name

    def head(self, header: str) -> bytes:
        """What comes before the arrays."""
        text = json.dumps({"__metadata__": {KEY: header}, **self._entries}).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text


@contextmanager
def written(path: Path) -> Iterator[tuple[Writer, list[str]]]:
    """Writes a file once the block has ended well: the block gives arrays to the Writer, and the metadata to the list.

    Raises RecordingError where the file cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=path.parent) as arrays:
            writer, header = Writer(stream=arrays), list[str]()
            yield writer, header
            arrays.seek(0)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                with temporary.open("xb") as stream:
                    stream.write(writer.head(header[0]))
                    shutil.copyfileobj(arrays, stream, 1 << 24)
                os.replace(temporary, place_of(path))
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RecordingError(f"cannot write {path}: {error.strerror or error}") from error


class File:
    """A recording that is read. Raises RecordingError for a file that is none, or not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            opened: Any = safe_open(path, framework="np")
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
        except SafetensorError as error:
            raise RecordingError(f"{path} is no safetensors file, or not whole: {error}") from error
        self._open = opened
        metadata = self._open.metadata() or {}
        if KEY not in metadata:
            raise RecordingError(f"{path} is a safetensors file, but no recording that parity has made")
        self._text: str = metadata[KEY]
        self.names = frozenset(self._open.keys())
        self.sums: dict[str, int] = {}
        self.same: dict[str, str] = {}

    @property
    def side(self) -> str:
        """The side that was recorded."""
        return str(self._said("side"))

    def header(self, model: type[Header], schema: int, side: str) -> Header:
        """What the file says of its arrays. Raises RecordingError where it is not of this schema, or of this side."""
        found = self._said("schema")
        if found != schema:
            raise RecordingError(
                f"{self.path} is a recording of schema {found}, and this parity reads schema {schema}; record again"
            )
        if self.side != side:
            raise RecordingError(f"{self.path} is a recording of a {self.side}, and a {side} is needed")
        try:
            return model.model_validate_json(self._text)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "its metadata"
            raise RecordingError(f"{self.path} is damaged: {where}: {problem['msg']}") from error

    def _said(self, key: str) -> object:
        try:
            return json.loads(self._text)[key]
        except (ValueError, KeyError, TypeError) as error:
            raise RecordingError(f"{self.path} is damaged: its metadata has no {key}") from error

    def array(self, name: str) -> Array:
        """An array of its own. Raises RecordingError where the file lacks it, or it is not what was written."""
        written = self.same.get(name, name)
        if written not in self.names:
            raise RecordingError(f"{self.path} is damaged: it lacks {name}")
        array: Array = self._open.get_tensor(written)
        if zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data) != self.sums.get(name):
            raise RecordingError(f"{self.path} is damaged: {name} is not what was written")
        return array
