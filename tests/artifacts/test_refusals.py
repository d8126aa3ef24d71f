"""What a command says and does when it is given a file that it cannot verify: one sentence, exit 3, nothing written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from parity import cli
from parity.export import FORMATS, served, write
from parity.frameworks import keras, tf

Files = dict[str, Path]

PAIR = f"{Path(__file__).with_name('tiny.py')}:mypair"


def half(files: Files, folder: Path) -> Path:
    """A file that is cut off."""
    (folder / "net.pb").write_bytes(files["pb"].read_bytes()[:1500])
    return folder / "net.pb"


def empty(files: Files, folder: Path) -> Path:
    """A file with nothing in it."""
    (folder / "net.tflite").touch()
    return folder / "net.tflite"


def page(files: Files, folder: Path) -> Path:
    """A web page in the place of a file."""
    (folder / "net.onnx").write_text("<!DOCTYPE html><html></html>")
    return folder / "net.onnx"


def written(word: str, folder: Path, shape: tuple[int, ...], dtype: str = "float32") -> Path:
    """A network that takes something else, as a file."""
    given = keras.Input(shape, batch_size=1, name="image", dtype=dtype)
    value = keras.layers.Conv2D(2, (3, 2), name="first")(keras.ops.cast(given, "float32"))
    path = folder / FORMATS[word].file_name("net")
    write(FORMATS[word], served(keras.Model(given, value)), path)
    return path


def other_shape(files: Files, folder: Path) -> Path:
    """A frozen graph that takes larger pictures."""
    return written("pb", folder, (9, 8, 3))


def other_shape_tflite(files: Files, folder: Path) -> Path:
    """A TFLite file that takes pictures of four channels."""
    return written("tflite", folder, (7, 6, 4))


def other_dtype(files: Files, folder: Path) -> Path:
    """An ONNX model that takes whole numbers."""
    return written("onnx", folder, (7, 6, 3), "int32")


def reading(files: Files, folder: Path) -> Path:
    """A frozen graph that reads a file."""
    graph = tf.Graph()
    with graph.as_default():
        value = tf.compat.v1.placeholder(tf.float32, (1, 7, 6, 3), name="image")
        text = tf.io.read_file(tf.constant("/etc/passwd"))
        tf.add(value, tf.cast(tf.strings.length(text), tf.float32), name="output_0")
    (folder / "net.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return folder / "net.pb"


def pickled(files: Files, folder: Path) -> Path:
    """A .keras file with a pickled function in it."""
    value = keras.Input((7, 6, 3))
    keras.Model(value, keras.layers.Lambda(lambda each: each * 2)(value)).save(folder / "net.keras")
    return folder / "net.keras"


Make = Callable[[Files, Path], Path]

BROKEN: dict[str, tuple[Make, str]] = {
    "cut off": (half, "is a frozen graph that is cut off or damaged"),
    "empty": (empty, "is empty; accepted are"),
    "another format": (page, "is an HTML page; accepted are"),
    "another shape": (other_shape, "float32 of shape"),
    "another number of channels": (other_shape_tflite, "float32 of shape"),
    "another dtype": (other_dtype, "takes 'image' as int32 of shape"),
    "an operation that reads": (reading, "asks for the operation ReadFile"),
    "a pickled function": (pickled, "has a __lambda__, which is a pickled function"),
}


def run(words: list[str]) -> Any:
    """A command, in this process."""
    return CliRunner().invoke(cli.app, words, prog_name="parity")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, apart from where files are made."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "400")
    return tmp_path


@pytest.mark.parametrize("command", ["verify", "gate"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_verified_ends_with_one_sentence(
    files: Files, folder: Path, name: str, command: str
) -> None:
    """The sentence names the file and what is wrong; the exit code is 3; no folder and no report is left behind."""
    make, words = BROKEN[name]
    path = make(files, folder)
    option = {"verify": ["--port", str(path)], "gate": ["--artifact", str(path), "--no-isolate"]}[command]
    done = run([command, PAIR, *option])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.exit_code == 3, done.output
    assert words in lines[-1]
    assert str(path) in lines[-1]
    assert len(lines) == 1
    assert list((folder / "here").iterdir()) == []


def test_a_whole_file_is_verified_and_its_report_is_written(files: Files, folder: Path) -> None:
    """The same commands end with 0 for a file that is whole: what is refused above is refused for what it is."""
    assert run(["verify", PAIR, "--port", str(files["pb"]), "--quiet"]).exit_code == 0
    assert [each.name for each in (folder / "here").iterdir()] == ["reports"]


def test_what_an_allowed_operation_gives_is_judged(files: Files, folder: Path) -> None:
    """An operation that the policy allows is run; what comes of it is no pass for that."""
    (folder / "here" / "parity.toml").write_text('schema = 1\n[artifact]\nallow = ["ReadFile"]\n')
    path = reading(files, folder)
    done = run(["gate", PAIR, "--artifact", str(path), "--policy", "parity.toml", "--no-isolate"])
    assert done.exit_code == 1, done.output


@pytest.mark.parametrize("command", ["verify", "explain", "map", "gate"])
def test_a_file_is_looked_at_before_anything_opens_it(
    files: Files, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Where a pair's inputs are made from what its port takes, too: Keras is never given a file that is refused."""
    opened: list[object] = []
    monkeypatch.setattr(keras.models, "load_model", lambda path, **options: opened.append(path))
    path = pickled(files, folder)
    pair = PAIR.replace("mypair", "inputless")
    words = {
        "verify": ["verify", pair, "--port", str(path)],
        "explain": ["explain", pair, "0", "--port", str(path)],
        "map": ["map", pair, "--port", str(path)],
        "gate": ["gate", pair, "--artifact", str(path), "--no-isolate"],
    }
    done = run(words[command])
    assert done.exit_code == 3, done.output
    assert "has a __lambda__, which is a pickled function" in done.stderr
    assert opened == []
