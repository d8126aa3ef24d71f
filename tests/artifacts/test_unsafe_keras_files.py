"""Keras files: what is refused before anything opens them."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from refused import Files, refusal

from parity.artifacts.files import checked
from parity.frameworks import keras


def packed(original: Path, path: Path, **changed: bytes | None) -> Path:
    """An archive with members changed, added or left out; their names with `_` for `.` and `/`."""
    with zipfile.ZipFile(original) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = {name.replace(".", "_"): name for name in members}
    for key, data in changed.items():
        if data is None:
            del members[names[key]]
        else:
            members[names.get(key, key)] = data
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_members_path_stays_inside(files: Files, tmp_path: Path) -> None:
    """Absolute paths, paths with `..`, links, and two members of one name are refused before anything is unpacked."""
    for name in ("../evil", "/etc/evil", "assets/../../evil", "C:\\evil"):
        assert "outside of its folder" in refusal(packed(files["keras"], tmp_path / "p.keras", **{name: b"x"}))
    path = packed(files["keras"], tmp_path / "l.keras")
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "a link or a device: 'assets/link'" in refusal(path)
    path = packed(files["keras"], tmp_path / "d.keras")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    assert "members of the same name" in refusal(path)


def test_an_archive_that_fills_the_disk_is_refused(files: Files, tmp_path: Path) -> None:
    """The limit counts what the members unpack to, too: 40 MB of zeros are 40 kB in an archive."""
    path = packed(files["keras"], tmp_path / "b.keras")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(40_000_000))
    assert path.stat().st_size < 100_000
    assert "bytes; at most 10000000 are allowed" in refusal(path, limit=10_000_000)


def test_a_missing_or_damaged_member_is_said(files: Files, tmp_path: Path) -> None:
    """What is missing is named; a byte that is another is found by the checksum; a configuration must be JSON."""
    assert "without its model.weights.h5" in refusal(
        packed(files["keras"], tmp_path / "m.keras", model_weights_h5=None)
    )
    assert "config.json is no JSON" in refusal(packed(files["keras"], tmp_path / "j.keras", config_json=b"{"))
    deep = b"[" * 100_000
    assert "config.json is no JSON" in refusal(packed(files["keras"], tmp_path / "r.keras", config_json=deep))
    data = bytearray(files["keras"].read_bytes())
    data[data.index(b"Functional")] ^= 1
    (tmp_path / "c.keras").write_bytes(data)
    assert "config.json" in refusal(tmp_path / "c.keras")


def saved(tmp_path: Path, layer: Any) -> Path:
    """A model of one layer as a .keras file."""
    value = keras.Input((3,))
    keras.Model(value, layer(value)).save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def test_a_pickled_function_is_refused(tmp_path: Path) -> None:
    """A Lambda layer with a Python function in it is refused by name, whatever is allowed."""
    path = saved(tmp_path, keras.layers.Lambda(lambda value: value * 2))
    assert "a __lambda__, which is a pickled function; parity loads .keras archives in safe mode only" in refusal(path)
    assert "pickled" in refusal(path, allowed=["__lambda__", "Lambda"])


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "another module": (
        {"class_name": "system", "module": "os", "config": {}, "registered_name": None},
        "of the module 'os'",
    ),
    "a helper of Keras": (
        {"class_name": "get_file", "module": "keras.utils", "config": {}},
        "of the module 'keras.utils'",
    ),
    "a builtin": ({"class_name": "eval", "module": "builtins", "config": "x"}, "of the module 'builtins'"),
    "torch": ({"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {}}, "unpickles a torch module"),
    "another model": ({"class_name": "TFSMLayer", "module": "keras.layers", "config": {}}, "loads another file"),
    "words of a file": (
        {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}},
        "vocabulary is read from a file: '/etc/passwd'",
    ),
    "an old Lambda": (
        {"class_name": "Lambda", "module": "keras.layers", "config": {"function": ["4wEAAA==", None, None]}},
        "a Lambda layer, which is a pickled function",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_code_from_elsewhere_is_refused(files: Files, tmp_path: Path, name: str) -> None:
    """An object of a class that no network is made of is refused, deep inside of the configuration too."""
    described, words = CONFIGS[name]
    config = json.dumps({"class_name": "Functional", "config": {"layers": [[{"deep": described}]]}}).encode()
    assert words in refusal(packed(files["keras"], tmp_path / "net.keras", config_json=config))


def test_a_class_of_the_pairs_own_is_let_through(tmp_path: Path) -> None:
    """A class that the pair's code has registered with Keras is one that Keras finds; another module's is refused."""

    @keras.saving.register_keras_serializable(package="mine")
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, value: Any) -> Any:
            return value * 2

    path = saved(tmp_path, Twice())
    assert checked(path).kind == "keras"
    del keras.saving.get_custom_objects()["mine>Twice"]
    assert f"describes 'Twice' of the module '{__name__}'" in refusal(path)
    assert checked(path, allowed=["Twice"]).kind == "keras"


def weights_file(tmp_path: Path, write: Callable[[Any], Any]) -> bytes:
    """An HDF5 file that a function fills."""
    with h5py.File(tmp_path / "w.h5", "w") as stream:
        write(stream)
    return (tmp_path / "w.h5").read_bytes()


WEIGHTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "link": (lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/passwd", "/x")), "a link: 'a'"),
    "soft link": (lambda f: f.__setitem__("a", h5py.SoftLink("/x")), "a link: 'a'"),
    "outside": (
        lambda f: f.create_dataset("g/a", (8,), "u1", external=[("/etc/passwd", 0, 8)]),
        "lie in another file: '/g/a'",
    ),
    "bomb": (lambda f: f.create_dataset("a", (1 << 33,), "f4", chunks=(1 << 20,)), "has weights of 34359738368 bytes"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_lie_in_the_archive(files: Files, tmp_path: Path, name: str) -> None:
    """Links and values in other files are refused, and so are sizes that no memory holds, whatever is stored."""
    write, words = WEIGHTS[name]
    weights = weights_file(tmp_path, write)
    assert words in refusal(packed(files["keras"], tmp_path / "net.keras", model_weights_h5=weights))
