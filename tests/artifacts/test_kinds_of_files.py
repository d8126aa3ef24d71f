"""What a file is, found by looking into it, whatever it is called."""

import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from refused import Files, refusal
from safetensors.numpy import save_file

from parity.artifacts.files import LIMIT, RECORDING, checked, kind_of_file
from parity.frameworks import torch


def test_each_kind_is_known_whatever_it_is_called(files: Files, tmp_path: Path) -> None:
    """The content decides: a frozen graph called .tflite is a frozen graph; a folder is a SavedModel by what it has."""
    for kind, path in files.items():
        assert kind_of_file(path) == kind
        assert checked(path).kind == kind
        other = tmp_path / f"{kind}.jpg"
        other.symlink_to(path)
        assert kind_of_file(other) == kind


def test_a_recording_is_known(tmp_path: Path) -> None:
    """A safetensors file is taken for a recording, which its reader looks at."""
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "r.bin")
    assert kind_of_file(tmp_path / "r.bin") == RECORDING


def torch_file(path: Path) -> None:
    """A checkpoint as torch writes it: a zip archive with a pickle in it."""
    torch.save({"a": torch.zeros(2)}, path)


def h5_file(path: Path) -> None:
    """An HDF5 file."""
    with h5py.File(path, "w") as stream:
        stream["a"] = np.zeros(3)


FOREIGN: dict[str, tuple[bytes | Callable[[Path], Any], str]] = {
    "page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "a pointer of Git LFS"),
    "pickle": (pickle.dumps({"weights": [1.0, 2.0]}), "a pickle .* runs code"),
    "torch": (torch_file, "a torch checkpoint, a pickle that runs code"),
    "h5": (h5_file, "an HDF5 file"),
    "npy": (lambda path: np.save(path.open("wb"), np.zeros(3)), r"a NumPy array \(.npy\)"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), r"a NumPy archive \(.npz\)"),
    "gzip": (b"\x1f\x8b\x08\x00abcdefgh", "compressed with gzip"),
    "empty": (b"", "is empty"),
    "zeros": (bytes(4096), "nothing but zeros"),
    "text graph": (b'node {\n  name: "x"\n  op: "Placeholder"\n}\n', r"written as text \(.pbtxt\)"),
    "json": (b'{"class_name": "Functional"}\n', "a text of JSON"),
    "text": (b"see the wiki for the weights\n", "is a text;"),
    "random": (bytes(range(200, 255)) * 9, "of no format that parity knows"),
    "archive": (lambda path: zipfile.ZipFile(path, "w").writestr("readme.txt", "x"), "a zip archive of readme.txt"),
    "half an archive": (b"PK\x03\x04" + bytes(40), "a zip archive that is cut off"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_any_other_file_is_told_by_what_it_looks_like(tmp_path: Path, name: str) -> None:
    """One sentence says what the file looks like, and what is accepted."""
    content, words = FOREIGN[name]
    path = tmp_path / "net.pb"
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    said = refusal(path)
    assert re.search(words, said), said
    assert "accepted are a .keras archive, the folder of a SavedModel" in said


def test_folders_and_what_is_no_file_are_told(files: Files, tmp_path: Path) -> None:
    """A missing path, an empty folder, a SavedModel's .pb without its folder and a pipe each have their sentence."""
    assert "No such file" in refusal(tmp_path / "no.pb")
    assert "a folder without a saved_model.pb" in refusal(tmp_path)
    assert "give the folder" in refusal(files["saved_model"] / "saved_model.pb")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "saved_model.pbtxt").write_text("x")
    assert "written as text" in refusal(tmp_path / "text")
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")


def test_half_a_file_is_told_by_what_it_was(files: Files, tmp_path: Path) -> None:
    """A file that is cut off in the middle is refused by its own kind's name."""
    for kind, words in {"pb": "frozen graph", "tflite": "TFLite", "onnx": "ONNX", "keras": "zip archive"}.items():
        data = files[kind].read_bytes()
        (tmp_path / kind).write_bytes(data[: len(data) * 2 // 3])
        said = refusal(tmp_path / kind)
        assert words in said
        assert "cut off or damaged" in said


def test_too_large_a_file_is_not_read(files: Files) -> None:
    """The limit is on the bytes on the disk, all of a folder's files, and is said with the size."""
    assert LIMIT == 4 * 1024**3
    for path in files.values():
        size = checked(path).size
        assert f"has {size} bytes; at most {size - 1} are allowed" in refusal(path, limit=size - 1)


def test_looking_needs_no_engine() -> None:
    """What checks files imports neither TensorFlow nor Keras nor torch: an engine's parser is what it protects."""
    code = "import sys, parity.artifacts.files as f; print({'tensorflow', 'keras', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
