"""`.keras` archives: members that stay inside, unpack to what was said, and describe a network without code in it.

Keras loads them in safe mode, which refuses pickled functions. What is refused here besides has each been a way around
that at some time: classes from modules that are not Keras's, weights that lie elsewhere on the disk, sizes that fill
the memory. Weights are HDF5, which holds numbers and no code.
"""

import io
import json
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from parity.errors import ArtifactError

MEMBERS = frozenset({"metadata.json", "config.json", "model.weights.h5"})
"""What such an archive has."""

MOST_MEMBERS = 10_000
LARGEST_CONFIG = 64 << 20
DEEPEST = 200

LARGEST_JSON = 64 << 20

_CODE = {
    "__lambda__": "is a pickled function",
    "TorchModuleWrapper": "unpickles a torch module",
    "TFSMLayer": "loads another file",
    "JaxLayer": "is a pickled function",
    "FlaxLayer": "is a pickled function",
}
"""Classes of Keras that hold or fetch code, and how: no safe mode can look into what they hold."""

_NETWORKS = """
activations constraints dtype_policies initializers layers losses metrics mixed_precision models ops optimizers
quantizers random regularizers trainers
"""
_PARTS = frozenset(_NETWORKS.split())
"""The parts of Keras that networks are made of; not those that load, save, download or configure."""


def check(path: Path, limit: int, allowed: frozenset[str]) -> None:
    """Raise ArtifactError for an archive that is damaged, unsafe to unpack, or has more in it than a network."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist(), limit)
            config = _config(archive)
            broken = archive.testzip()
            if broken:
                raise ArtifactError(
                    f"is a .keras archive that is damaged: {broken} has another checksum than it should"
                )
            _check_weights(archive.read("model.weights.h5"), limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, struct.error) as error:
        raise ArtifactError(
            f"is a .keras archive that is cut off or damaged: {error or type(error).__name__}"
        ) from error
    for described in _objects(config):
        _check_object(described, allowed)


def _check_members(members: list[zipfile.ZipInfo], limit: int) -> None:
    names = [member.filename for member in members]
    if len(members) > MOST_MEMBERS or len(set(names)) < len(names):
        raise ArtifactError("has members of the same name" if len(members) <= MOST_MEMBERS else "has too many members")
    for member in members:
        pure = PurePosixPath(member.filename)
        if pure.is_absolute() or ".." in pure.parts or "\\" in member.filename or ":" in member.filename:
            raise ArtifactError(f"has a member that would be unpacked outside of its folder: {member.filename!r}")
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArtifactError(f"has a member that is a link or a device: {member.filename!r}")
        if member.flag_bits & 1:
            raise ArtifactError(f"has a member that is encrypted: {member.filename!r}")
    size = sum(member.file_size for member in members)
    if size > limit:
        raise ArtifactError(f"unpacks to {size} bytes; at most {limit} are allowed")


def _config(archive: zipfile.ZipFile) -> Any:
    """What config.json says. Raises ArtifactError where it or one of the other members that belong there is missing."""
    members = {member.filename: member for member in archive.infolist()}
    for name in sorted(MEMBERS):
        if name not in members:
            raise ArtifactError(f"is a .keras archive without its {name}")
    if members["config.json"].file_size > LARGEST_JSON:
        raise ArtifactError(f"has a config.json of {members['config.json'].file_size} bytes; {LARGEST_JSON} at most")
    try:
        return json.loads(archive.read("config.json"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"is a .keras archive whose config.json is no JSON: {str(error).splitlines()[0]}"
        ) from error


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every object that a configuration describes, at any depth."""
    waiting = [config]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _check_object(described: dict[str, Any], allowed: frozenset[str]) -> None:
    """Raise ArtifactError for an object that is code, that fetches some, or whose class is not of Keras."""
    name, module = described.get("class_name"), described.get("module")
    if isinstance(name, str) and name in _CODE:
        raise ArtifactError(f"has a {name}, which {_CODE[name]}; parity loads .keras archives in safe mode only")
    inner = described.get("config")
    if name == "Lambda" and isinstance(inner, dict) and isinstance(inner.get("function"), list):
        raise ArtifactError(
            "has a Lambda layer, which is a pickled function; parity loads .keras archives in safe mode only"
        )
    if isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):
        raise ArtifactError(f"has a layer whose vocabulary is read from a file: {inner['vocabulary']!r}")
    if (
        module is None
        or _is_of_keras(module, name)
        or {name, described.get("registered_name")} & (allowed | _registered())
    ):
        return
    if module != "builtins" and not str(module).startswith("keras") and "keras" not in sys.modules:
        return  # whoever opens the file has Keras loaded, and looks again
    raise ArtifactError(
        f"describes {name!r} of the module {module!r}, which is no part of Keras that networks are made of, nor a "
        "class that the pair's code registers; if you trust the file, allow it by name"
    )


def _registered() -> frozenset[str]:
    """The names of classes and functions that are registered with Keras, where Keras is loaded."""
    keras = sys.modules.get("keras")
    return frozenset(keras.saving.get_custom_objects()) if keras else frozenset()


def _is_of_keras(module: object, name: object) -> bool:
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    parts = module.removeprefix("keras.src.").removeprefix("keras.").split(".")
    if module == "builtins":
        return name == "function"
    return module == "keras" or (module.startswith("keras.") and parts[0] in _PARTS)


def _check_weights(data: bytes, limit: int) -> None:
    """Raise ArtifactError where a weights file has values elsewhere, or more of them than the limit allows."""
    import h5py  # type: ignore[import-untyped]  # Keras brings it along; where there is no Keras, there is none

    try:
        with h5py.File(io.BytesIO(data), "r") as weights:
            found = list(_datasets(weights, h5py))
            for each in found:
                _check_dataset(each)
            size = sum(each.size * each.dtype.itemsize for each in found)
    except ArtifactError:
        raise
    except Exception as error:  # HDF5's library says what is wrong in many ways
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtifactError(f"is a .keras archive whose weights cannot be read: {said}") from error
    if size > limit:
        raise ArtifactError(f"has weights of {size} bytes once they are unpacked; at most {limit} are allowed")


def _datasets(weights: Any, h5py: Any) -> Iterator[Any]:
    """Every dataset of an open weights file. Raises ArtifactError for links, and for groups that hold themselves."""
    waiting, seen = [weights], set[int]()
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or len(seen) > MOST_MEMBERS:
            raise ArtifactError("has weights in groups that hold themselves, or in too many groups")
        seen.add(address)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ArtifactError(f"has weights that are a link: {name!r}")
            each = group[name]
            if isinstance(each, h5py.Group):
                waiting.append(each)
            else:
                yield each


def _check_dataset(each: Any) -> None:
    """Raise ArtifactError for values that lie in another file, or are no numbers."""
    if each.external or each.is_virtual:
        raise ArtifactError(f"has weights that lie in another file: {each.name!r}")
    if each.dtype.hasobject and each.dtype.metadata is None:
        raise ArtifactError(f"has weights that are no numbers: {each.name!r}")
