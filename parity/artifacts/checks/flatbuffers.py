"""Flatbuffers read by a table of their fields, with every offset and length checked against what is there.

A flatbuffer is read in place, so its offsets can lead anywhere. What is given here lies inside of the file; tables that
share parts can make a small file into a large tree, so the number of tables is limited as well.

Source of the format: flatbuffers.dev/internals.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.errors import ArtifactError

MOST_TABLES = 1_000_000
"""A file of more is refused."""

Kind = str
"""A field's: a letter of `struct` for a number, "[i]" for a vector of them, "text", "raw" (bytes), a table's name, or
"[Table]" for a vector of tables. "place" is a table of which only the bounds are looked at, and where it is is kept."""

Schema = Mapping[str, Mapping[int, tuple[str, Kind]]]
"""The fields of each table: their places, names and kinds."""

Table = dict[str, object]
"""What a table holds by its fields' names; fields that are not there are missing."""


@dataclass(kw_only=True)
class Buffer:
    """A file's bytes, read by a schema."""

    data: memoryview
    schema: Schema
    tables: int = 0
    _numbers: dict[str, struct.Struct] = field(default_factory=dict)

    def root(self, table: str) -> Table:
        """The table that the file begins with. Raises ArtifactError where the file is not whole."""
        return self.table(table, self._offset(0))

    def number(self, letter: str, at: int) -> int | float:
        """The number at a place. Raises ArtifactError beyond the end."""
        form = self._numbers.setdefault(letter, struct.Struct(f"<{letter}"))
        if not 0 <= at <= len(self.data) - form.size:
            raise ArtifactError(f"something is said to be at byte {at}, and there are {len(self.data)}")
        found: int | float = form.unpack_from(self.data, at)[0]
        return found

    def _whole(self, letter: str, at: int) -> int:
        return int(self.number(letter, at))

    def _offset(self, at: int) -> int:
        """Where an offset leads to."""
        return at + self._whole("I", at)

    def table(self, name: str, at: int) -> Table:
        """The table of this name in the schema at a place. Raises ArtifactError where it is not inside of the file."""
        self.tables += 1
        if self.tables > MOST_TABLES:
            raise ArtifactError(f"it has more than {MOST_TABLES} tables")
        places = at - self._whole("i", at)
        width, size = self._whole("H", places), self._whole("H", places + 2)
        if width < 4 or width % 2 or size < 4:
            raise ArtifactError(f"the table at byte {at} has {width} bytes of places for {size} bytes of fields")
        for end in (places + width, at + size):
            self.number("B", end - 1)
        found: Table = {}
        for slot, (called, kind) in self.schema.get(name, {}).items():
            inside = self._whole("H", places + 4 + 2 * slot) if 4 + 2 * slot < width else 0
            if inside:
                if inside + (struct.calcsize(f"<{kind}") if len(kind) == 1 else 4) > size:
                    raise ArtifactError(f"{called} of the table at byte {at} is outside of it")
                found[called] = self._field(kind, at + inside)
        return found

    def _field(self, kind: Kind, at: int) -> object:
        if len(kind) == 1:
            return self.number(kind, at)
        there = self._offset(at)
        if kind == "place":
            self.table("", there)
            return there
        if kind in self.schema:
            return self.table(kind, there)
        return self._vector(kind.strip("[]"), there)

    def _vector(self, kind: Kind, at: int) -> object:
        count, start = self._whole("I", at), at + 4
        size = count * (1 if kind in ("text", "raw") else struct.calcsize(f"<{kind}") if len(kind) == 1 else 4)
        if size > len(self.data) - start:
            raise ArtifactError(
                f"{count} values are said to be at byte {at}, and {len(self.data) - start} bytes are left"
            )
        if kind == "raw":
            return self.data[start : start + size]
        if kind == "text":
            return bytes(self.data[start : start + size]).decode("utf-8", "backslashreplace")
        if len(kind) == 1:
            return struct.unpack_from(f"<{count}{kind}", self.data, start)
        return [self.table(kind, self._offset(start + 4 * each)) for each in range(count)]
