"""What kind of artifact a file is, found by looking into it, never by trusting its name; and what is refused unopened.

An artifact is someone else's program. `checked` looks at the bytes before any engine does: a file that is cut off, of
another kind, too large, or that asks for more than to compute ends there, with one sentence and exit code 3.
"""

import mmap
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from parity.artifacts.checks import archives, graphs, looks, onnx, tflite, wire
from parity.errors import ArtifactError

KERAS, SAVED_MODEL, FROZEN, TFLITE, ONNX = "keras", "saved_model", "pb", "tflite", "onnx"
"""Kinds of artifacts; what they are called in options, reports and as the mode of a run."""

RECORDING = "recording"
"""A safetensors file: a recording of a side, which stands for a port as well."""

LIMIT = 4 << 30
"""How large an artifact may be, in bytes, with all its files and all that an archive unpacks to."""

ACCEPTED = "a .keras archive, the folder of a SavedModel, a frozen graph (.pb), .tflite, .onnx, or a recording"

MOST_FILES = 10_000
"""A folder of more is refused."""

LOOKED_AT = 10_000
"""How many fields of a protobuf message are looked at to tell its kind."""

_SAVED = "saved_model.pb"

T = TypeVar("T")
Check = Callable[[Path, int, frozenset[str]], tuple[Path, ...]]
"""Looks at a file, given the limit and what is allowed: the other files that it consists of. Raises ArtifactError."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A file that may be opened: its kind, the files that it consists of, and their size in bytes."""

    kind: str
    path: Path
    files: tuple[Path, ...]
    size: int


def checked(path: Path, *, limit: int = LIMIT, allowed: Collection[str] = ()) -> Checked:
    """Look at an artifact before it is opened. `limit` is in bytes; `allowed` names what would be refused otherwise.

    What can be allowed are TensorFlow operations, custom operations of TFLite, domains of ONNX, and registered classes
    of Keras. Raises ArtifactError, with one sentence, for a file that is refused.
    """
    path = Path(path)
    if _mode(path, stat.S_ISREG):
        _within(path, (path,), limit)
    kind = kind_of_file(path)
    files = _files(path)
    size = _within(path, files, limit)
    check = _CHECKS.get(kind)
    if check:
        with _named(path):
            files = (*files, *check(path, limit, frozenset(allowed)))
            size = _within(path, files, limit)
    return Checked(kind=kind, path=path, files=files, size=size)


def _check_onnx(path: Path, limit: int, allowed: frozenset[str]) -> tuple[Path, ...]:
    return onnx.beside(path, onnx.check(mapped(path), limit, allowed))


def _alone(check: Callable[[T, int, frozenset[str]], None], opened: Callable[[Path], T]) -> Check:
    """A check of an artifact that consists of nothing but itself."""

    def of(path: Path, limit: int, allowed: frozenset[str]) -> tuple[Path, ...]:
        check(opened(path), limit, allowed)
        return ()

    return of


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have what is said about a file begin with its path."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{path} {error}") from error


def kind_of_file(path: Path) -> str:
    """What kind of artifact a file or folder is. Raises ArtifactError, which says what it looks like, for any other."""
    path = Path(path)
    if _mode(path, stat.S_ISDIR):
        return _kind_of_folder(path)
    if not _mode(path, stat.S_ISREG):
        raise ArtifactError(f"{path} is neither a file nor a folder")
    if not path.stat().st_size:
        raise _foreign(path, "empty")
    data = mapped(path)
    head = bytes(data[:16])
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_archive(path)
    if head[4:8] == tflite.IDENTIFIER:
        return TFLITE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= len(data) - 8:
        return RECORDING
    found = _kind_of_message(data)
    if found == SAVED_MODEL:
        raise _foreign(path, f"the {_SAVED} of a SavedModel, which is a whole folder; give the folder")
    if not found:
        raise _foreign(path, looks.foreign(data))
    return found


def _mode(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        return is_kind(path.stat().st_mode)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ArtifactError(f"cannot read {path}: {why}") from error


def mapped(path: Path) -> memoryview:
    """The bytes of a file that is not empty, read as they are asked for. Raises ArtifactError where it cannot be."""
    try:
        with path.open("rb") as stream:
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _foreign(path: Path, looks_like: str) -> ArtifactError:
    return ArtifactError(f"{path} is {looks_like}; accepted are {ACCEPTED}")


def _kind_of_folder(path: Path) -> str:
    if (path / _SAVED).is_file():
        return SAVED_MODEL
    if (path / f"{_SAVED}txt").exists():
        raise _foreign(path, f"a SavedModel written as text ({_SAVED}txt); save it in the binary form")
    if (path / "config.json").exists() and (path / "model.weights.h5").exists():
        raise _foreign(path, "an unpacked .keras archive; save it with zipped=True")
    raise _foreign(path, f"a folder without a {_SAVED}")


def _kind_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise _foreign(path, f"a zip archive that is cut off or damaged ({error})") from error
    if "config.json" in names and {"metadata.json", "model.weights.h5", "model.weights.npz"} & set(names):
        return KERAS
    raise _foreign(path, looks.foreign_archive(names))


def _kind_of_message(data: memoryview) -> str:
    """Which protobuf message bytes are, "" for none: the first fields decide, so one that is cut off is told too."""
    seen: dict[int, wire.Value] = {}
    try:
        for number, _, value in islice(wire.fields(data), LOOKED_AT):
            if number == 1 and isinstance(value, memoryview):
                return FROZEN if graphs.is_node(value) else ""
            seen.setdefault(number, value)
    except wire.WireError:
        pass
    version, second = seen.get(1), seen.get(2)
    if not isinstance(version, int):
        return FROZEN if graphs.is_library(second) and seen.keys() <= {2, 3, 4, 5} else ""
    if isinstance(second, memoryview) and seen.keys() <= {1, 2} and graphs.is_meta(second):
        return SAVED_MODEL
    return ONNX if onnx.is_model(seen) else ""


# --- files and sizes -----------------------------------------------------------------------------------------


def _files(path: Path) -> tuple[Path, ...]:
    """The files of an artifact, sorted. Raises ArtifactError for a link that leads out of its folder."""
    if not path.is_dir():
        return (path,)
    found = []
    inside = path.resolve()
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            each = Path(folder, name)
            if each.is_symlink() and not each.resolve().is_relative_to(inside):
                raise ArtifactError(f"{path} has a link that leads out of it: {each.relative_to(path)}")
        for name in names:
            each = Path(folder, name)
            if not _mode(each, stat.S_ISREG):
                raise ArtifactError(f"{path} has something in it that is no file: {each.relative_to(path)}")
            found.append(each)
            if len(found) > MOST_FILES:
                raise ArtifactError(f"{path} has more than {MOST_FILES} files in it")
    return tuple(sorted(found))


def _within(path: Path, files: tuple[Path, ...], limit: int) -> int:
    """The size of files in bytes. Raises ArtifactError for more than the limit."""
    size = sum(each.stat().st_size for each in files)
    if size > limit:
        raise ArtifactError(f"{path} has {size} bytes; at most {limit} are allowed, unless the limit is raised")
    return size


_CHECKS: dict[str, Check] = {
    KERAS: _alone(archives.check, Path),
    SAVED_MODEL: _alone(graphs.check_saved_model, Path),
    FROZEN: _alone(graphs.check_frozen, mapped),
    TFLITE: _alone(tflite.check, mapped),
    ONNX: _check_onnx,
}
"""How each kind is looked at; a recording is looked at by what reads it."""
