"""`parity export`: which files are there afterwards, what they compute, and what is left of those that do not pass."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import exported_net
import numpy as np
import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.errors import ExportError
from parity.export import FORMATS, exporting, writing
from parity.export.calibrated import converted
from parity.export.exporting import file_stem
from parity.export.samples import MORE, samples
from parity.gate.checks import OUTPUT
from parity.gate.record import read_record

ALL = "pb,saved_model,keras,tflite,tflite-fp16,tflite-dynamic,tflite-int8,onnx"

Invoke = Callable[..., Any]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Invoke]:
    """Run `parity export` on a pair of the file net.py in an empty folder; files go to `out`. The module is forgotten
    afterwards: other tests have a net.py too."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(exported_net.SOURCE)

    def invoke(pair: str, to: str, *more: str) -> Any:
        return CliRunner().invoke(app, ["export", f"net.py:{pair}", "--to", to, "-o", "out", *more])

    yield invoke
    sys.modules.pop("net", None)


def listed(folder: str = "out") -> set[str]:
    """What is in a folder, hidden files too."""
    return set(os.listdir(folder)) if Path(folder).exists() else set()


# -- what passes -------------------------------------------------------------------------------------------------------


def test_every_format_is_written_verified_and_recorded(invoke: Invoke) -> None:
    """A faithful port passes in every format; beside each file is its record, and nothing else is left."""
    result = invoke("net", ALL)
    assert result.exit_code == 0, result.output
    names = {form.file_name("net") for form in FORMATS.values()}
    assert listed() == names | {f"{name}.record.json" for name in names}
    for form in FORMATS.values():
        record = read_record(Path("out", f"{form.file_name('net')}.record.json"))
        assert record.result.verdict == "pass"
        assert record.result.artifact.path == f"out/{form.file_name('net')}"
        assert ".export." not in json.dumps(record.asked)
    assert f"PASS: {len(FORMATS)} of {len(FORMATS)} files" in result.output


def test_a_record_holds_until_the_file_changes(invoke: Invoke) -> None:
    """`parity gate --check-record` accepts a record that was just written, and no longer once a byte is another."""
    assert invoke("net", "tflite").exit_code == 0
    check = ["gate", "--check-record", "out/net.tflite.record.json"]
    assert CliRunner().invoke(app, check).exit_code == 0
    content = bytearray(Path("out/net.tflite").read_bytes())
    content[-1] ^= 1
    Path("out/net.tflite").write_bytes(content)
    assert CliRunner().invoke(app, check).exit_code == 1


def test_the_same_port_gives_the_same_graph_and_record(invoke: Invoke) -> None:
    """Two exports of one port are the same frozen graph byte for byte, and the same record but for its time."""
    found = []
    for more in ((), ("--force",)):
        assert invoke("net", "pb", *more).exit_code == 0
        says = json.loads(Path("out/net.pb.record.json").read_text())
        found.append((Path("out/net.pb").read_bytes(), {key: value for key, value in says.items() if key != "made"}))
    assert found[0] == found[1]


@pytest.mark.parametrize("pair", ["subclassed", "in_tf_keras", "as_function"])
def test_a_port_of_any_form_is_exported(invoke: Invoke, pair: str) -> None:
    """Subclassed models, models of tf_keras and plain functions pass as frozen graph, SavedModel, TFLite and ONNX."""
    if pair == "in_tf_keras":
        pytest.importorskip("tf_keras")
    result = invoke(pair, "pb,saved_model,tflite,onnx")
    assert result.exit_code == 0, result.output


def test_several_inputs_and_outputs_are_exported(invoke: Invoke) -> None:
    """A port of two inputs and two outputs passes in every kind of file, both outputs compared."""
    result = invoke("two", "pb,saved_model,keras,tflite,tflite-int8,onnx")
    assert result.exit_code == 0, result.output
    for record in Path("out").glob("*.record.json"):
        checks = read_record(record).result.checks
        assert {check.name for check in checks if check.kind == OUTPUT} == {"output[0]", "output[1]"}, record


def test_a_class_that_the_pairs_code_registers_can_be_a_keras_file(invoke: Invoke) -> None:
    """A subclassed model whose class is registered for Keras is saved and passes."""
    result = invoke("subclassed", "keras")
    assert result.exit_code == 0, result.output


# -- what does not -----------------------------------------------------------------------------------------------------


def test_what_diverges_is_not_left_under_its_name(invoke: Invoke) -> None:
    """A port with a fault gives no file and exit 1; the layer and the cause are said."""
    result = invoke("wrong", "pb")
    assert result.exit_code == 1
    assert listed() == set()
    assert "layer[down]" in result.output
    assert "cause: " in result.output


def test_what_diverges_is_kept_apart_if_asked_for(invoke: Invoke) -> None:
    """With --keep-failed it is in a folder of its own, with a record that says that it failed."""
    result = invoke("wrong", "pb", "--keep-failed")
    assert result.exit_code == 1
    assert listed() == {"failed"}
    assert listed("out/failed") == {"wrong.pb", "wrong.pb.record.json"}
    record = read_record(Path("out/failed/wrong.pb.record.json"))
    assert (record.result.verdict, record.result.artifact.path) == ("fail", "out/failed/wrong.pb")
    assert "out/failed/wrong.pb" in " ".join(result.output.split())


def test_one_format_that_cannot_be_made_does_not_stop_the_others(invoke: Invoke) -> None:
    """A function has no .keras file: that is said, exit 3, and the graph is written all the same."""
    result = invoke("as_function", "keras,pb")
    assert result.exit_code == 3
    assert listed() == {"as_function.pb", "as_function.pb.record.json"}
    assert "only a model of Keras 3 can be saved as a .keras file" in " ".join(result.output.split())


def test_a_converter_that_dies_takes_nobody_along(invoke: Invoke) -> None:
    """TensorFlow's calibration ends its process at a loop: that is said of the format, exit 3, and nothing is left."""
    result = CliRunner().invoke(app, ["export", "tagger", "--to", "tflite-int8", "-o", "out"])
    assert result.exit_code == 3
    assert "TensorFlow's converter to int8 died (SIG" in " ".join(result.output.split())
    assert listed() == set()


def test_what_a_converter_refuses_is_said(tmp_path: Path) -> None:
    """A folder that holds no SavedModel is refused with TensorFlow's own words, in one line."""
    with pytest.raises(ExportError, match=r"converter refuses it: .*SavedModel") as caught:
        converted(tmp_path, [{"image": np.zeros((1, 2), np.float32)}], tmp_path / "x.tflite")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# -- what is there already ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["net.pb", "net.pb.record.json"])
def test_a_file_that_is_there_is_not_touched(invoke: Invoke, taken: str) -> None:
    """A file or a record under the name is a wrong use of the command, and stays as it was."""
    Path("out").mkdir()
    Path("out", taken).write_text("mine")
    result = invoke("net", "tflite,pb")
    assert result.exit_code == 2
    assert f"out/{taken} exists; --force overwrites it" in result.output
    assert (listed(), Path("out", taken).read_text()) == ({taken}, "mine")


@pytest.mark.parametrize("word", ["pb", "saved_model"])
def test_force_puts_the_new_file_in_the_place_of_the_old(invoke: Invoke, word: str) -> None:
    """With --force the old file, or folder, is gone, and the record is that of the new one."""
    name = FORMATS[word].file_name("net")
    place = Path("out", name)
    if word == "saved_model":
        place.mkdir(parents=True)
        (place / "old").write_text("old")
    else:
        place.parent.mkdir()
        place.write_text("old")
    Path("out", f"{name}.record.json").write_text("old")
    assert invoke("net", word, "--force").exit_code == 0
    assert listed() == {name, f"{name}.record.json"}
    assert not (place / "old").exists()
    assert read_record(Path("out", f"{name}.record.json")).result.verdict == "pass"


def test_with_force_a_file_that_fails_leaves_the_old_one(invoke: Invoke) -> None:
    """What does not pass does not take the place of what is there."""
    Path("out").mkdir()
    Path("out/wrong.pb").write_text("mine")
    assert invoke("wrong", "pb", "--force").exit_code == 1
    assert (listed(), Path("out/wrong.pb").read_text()) == ({"wrong.pb"}, "mine")


# -- interrupted -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["writing", "verifying", "placing"])
def test_an_interruption_leaves_nothing_half_done(invoke: Invoke, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at any moment of the second file, the first is whole with its record, and of the second there is no
    trace."""
    seen: list[str] = []

    def stopped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(moment)
            if len(seen) == 2:
                if moment == "writing":
                    args[2].write_bytes(b"half")
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return call

    if moment == "writing":
        monkeypatch.setattr(exporting, "write", stopped(writing.write))
    elif moment == "verifying":
        monkeypatch.setattr(exporting._Port, "verified", stopped(exporting._Port.verified))
    else:
        monkeypatch.setattr(exporting, "_put", stopped(exporting._put))
    result = invoke("net", "tflite,pb")
    assert result.exit_code == 130
    assert listed() == {"net.tflite", "net.tflite.record.json"}
    assert "interrupted before pb" in result.output


def test_what_killed_processes_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    """A folder whose process is gone has no lock; that of a live one has, whoever asks."""
    left = tmp_path / ".export.left"
    left.mkdir()
    (left / "half.pb").write_bytes(b"half")
    with exporting._workshop(tmp_path) as first:
        assert not left.exists()
        with exporting._workshop(tmp_path) as second:
            assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["net.pb", "net.pb.record.json"])
def test_what_is_no_file_is_not_replaced(invoke: Invoke, name: str) -> None:
    """A pipe in the place of a file stays, with --force too."""
    Path("out").mkdir()
    os.mkfifo(Path("out", name))
    result = invoke("net", "pb", "--force")
    assert (result.exit_code, Path("out", name).is_fifo()) == (2, True)
    assert "a device, a pipe or a socket, and no file" in result.output


def test_an_interruption_before_the_first_file_writes_nothing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before anything is finished, there is nothing."""

    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "write", stop)
    assert invoke("net", "pb").exit_code == 130
    assert listed() == set()


# -- wrong use ---------------------------------------------------------------------------------------------------------


def test_an_unknown_format_is_named_with_the_known_ones(invoke: Invoke) -> None:
    """A word that is no format is exit 2, with what it may have meant."""
    result = invoke("net", "pb,tflite-int4")
    assert result.exit_code == 2
    assert "no format is called 'tflite-int4'; did you mean 'tflite-int8'? The formats are pb, " in result.output
    assert listed() == set()


def test_a_missing_package_is_said_before_anything_is_made(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what a format needs nothing is written, not even the other formats, and the extra is named."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found(name))
    result = invoke("net", "pb,onnx")
    assert result.exit_code == 3
    assert "onnx needs tf2onnx, which is not installed: pip install 'parity[onnx]'" in result.output
    assert listed() == set()


def test_a_folder_that_cannot_be_made_is_wrong_use(invoke: Invoke) -> None:
    """A file in the place of the folder is exit 2, in one sentence."""
    Path("out").write_text("mine")
    result = invoke("net", "pb")
    assert result.exit_code == 2
    assert "cannot write files to out: " in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_file_that_ships_cannot_be_exported(invoke: Invoke) -> None:
    """A port that is a frozen graph has no model to export: exit 2."""
    assert invoke("net", "pb").exit_code == 0
    result = invoke("net", "tflite", "--port", "out/net.pb")
    assert result.exit_code == 2
    assert "no model can be taken from it" in result.output


# -- its parts ---------------------------------------------------------------------------------------------------------


def test_an_int8_file_is_calibrated_on_the_inputs_and_more(tmp_path: Path) -> None:
    """The inputs come first; the noise has their range, and of tokens only those that are there."""
    image = np.linspace(-3, 5, 12, dtype=np.float32).reshape(1, 2, 6)
    tokens = np.array([[4, 9, 4]])
    found = samples([{"image": image, "tokens": tokens}], seed=3)
    assert len(found) == 1 + MORE
    np.testing.assert_array_equal(found[0]["image"], image)
    noise = np.stack([each["image"] for each in found[1:]])
    assert noise.dtype == np.float32
    assert -3 <= noise.min() < -2
    assert 4 < noise.max() <= 5
    drawn = np.stack([each["tokens"] for each in found[1:]])
    assert set(np.unique(drawn)) == {4, 9}
    np.testing.assert_array_equal(samples([{"image": image, "tokens": tokens}], seed=3)[2]["image"], found[2]["image"])


@pytest.mark.parametrize(
    ("name", "stem"),
    [("flownet", "flownet"), ("pkg.module:pair", "pair"), ("a/parity_net.py", "parity_net"), ("a/b.py:x.y", "x.y")],
)
def test_a_file_is_called_by_the_last_part_of_the_pairs_name(name: str, stem: str) -> None:
    """A name with a path or a module gives no folders."""
    assert file_stem(name) == stem
