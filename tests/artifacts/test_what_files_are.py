"""What a file is, found by looking into it; what is refused before anything opens it."""

import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session as session

from parity.artifacts.checks import wire
from parity.artifacts.checks.operations import COMPUTE, SAVERS, why_refused
from parity.artifacts.files import LIMIT, RECORDING, checked, kind_of_file
from parity.errors import ArtifactError
from parity.frameworks import keras, tf, torch

Files = dict[str, Path]


def refusal(path: Path, **options: Any) -> str:
    """What is said when a file is refused; the sentence names it, and is one line."""
    with pytest.raises(ArtifactError) as caught:
        checked(path, **options)
    said = str(caught.value)
    assert said.startswith((f"{path} ", f"cannot read {path}"))
    assert "\n" not in said
    assert caught.value.exit_code == 3
    return said.removeprefix(f"{path} ")


# --- telling kinds apart -------------------------------------------------------------------------------------


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


# --- TensorFlow's graphs -------------------------------------------------------------------------------------


def graph_file(path: Path, build: Callable[[], Any]) -> Path:
    """The graph that a function builds, as a file; functions that it traces are in its library."""
    graph = tf.Graph()
    with graph.as_default():
        build()
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def text() -> Any:
    """A tensor of text."""
    return tf.constant("/etc/passwd")


BUILDS: dict[str, tuple[Callable[[], Any], str]] = {
    "ReadFile": (lambda: tf.io.read_file(text()), "reads or writes files"),
    "WriteFile": (lambda: tf.io.write_file(text(), text()), "reads or writes files"),
    "MatchingFiles": (lambda: tf.io.matching_files(text()), "reads or writes files"),
    "SaveV2": (
        lambda: tf.raw_ops.SaveV2(prefix=text(), tensor_names=["a"], shape_and_slices=[""], tensors=[text()]),
        "files",
    ),
    "RestoreV2": (
        lambda: tf.raw_ops.RestoreV2(prefix=text(), tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]),
        "files",
    ),
    "PyFunc": (lambda: tf.raw_ops.PyFunc(input=[text()], token="f", Tout=[tf.float32]), "runs Python"),
    "PyFuncStateless": (
        lambda: tf.raw_ops.PyFuncStateless(input=[text()], token="f", Tout=[tf.float32]),
        "runs Python",
    ),
    "EagerPyFunc": (lambda: tf.raw_ops.EagerPyFunc(input=[text()], token="f", Tout=[tf.float32]), "runs Python"),
    "PrintV2": (lambda: tf.raw_ops.PrintV2(input=text(), output_stream="file:///tmp/x"), "reads or writes files"),
    "ImmutableConst": (
        lambda: tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=(8,), memory_region_name="/etc/passwd"),
        "reads or writes files",
    ),
    "TextLineDataset": (
        lambda: tf.raw_ops.TextLineDataset(filenames=text(), compression_type="", buffer_size=1),
        "reads data of its own",
    ),
    "InitializeTableFromTextFileV2": (
        lambda: tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64),
            filename=text(),
            key_index=-2,
            value_index=-1,
        ),
        "reads or writes files",
    ),
    "DebugIdentityV2": (lambda: tf.raw_ops.DebugIdentityV2(input=text(), debug_urls=["file:///tmp/x"]), "files"),
    "CollectiveReduceV2": (
        lambda: tf.raw_ops.CollectiveReduceV2(
            input=tf.zeros(2),
            group_size=1,
            group_key=1,
            instance_key=1,
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
        ),
        "talks to other processes",
    ),
    "Abort": (lambda: tf.raw_ops.Abort(error_msg="x"), "ends the process"),
}


@pytest.mark.parametrize("op", BUILDS)
def test_what_touches_the_world_is_refused_by_name(tmp_path: Path, op: str) -> None:
    """The operation, its node and what it does are said; it runs only where it is allowed by its name."""
    build, does = BUILDS[op]
    path = graph_file(tmp_path / "net.pb", build)
    said = refusal(path)
    assert f"asks for the operation {op} (node" in said
    assert does in said
    assert f"allow {op} by name" in said
    assert checked(path, allowed=[op]).kind == "pb"


def test_an_operation_in_a_function_is_found(tmp_path: Path) -> None:
    """The library's functions are looked at as the graph is: a branch that is never taken too."""

    @tf.function
    def inner(value: Any) -> Any:
        return tf.cond(tf.reduce_sum(value) > 1e9, lambda: tf.io.read_file("/etc/passwd"), lambda: tf.constant("no"))

    path = graph_file(tmp_path / "net.pb", lambda: inner(tf.compat.v1.placeholder(tf.float32, (2, 3))))
    assert "asks for the operation ReadFile" in refusal(path)
    assert "of function" in refusal(path)


def test_the_last_of_two_kinds_counts_and_the_first_too(tmp_path: Path) -> None:
    """A node that is written with two operations is refused for either: parsers take the last one."""
    for first, last in (("ReadFile", "Identity"), ("Identity", "ReadFile")):
        node = (
            tf.compat.v1.NodeDef(name="n", op=first).SerializeToString()
            + tf.compat.v1.NodeDef(op=last).SerializeToString()
        )
        path = tmp_path / f"{first}.pb"
        path.write_bytes(b"\x0a" + bytes([len(node)]) + node)
        assert tf.compat.v1.GraphDef.FromString(path.read_bytes()).node[0].op == last
        assert "asks for the operation ReadFile" in refusal(path)


def test_an_operation_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    """A custom operation is code from a library; a function of the file that is called like one is no way around."""
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="mine", op="MyOwnOp")
    (tmp_path / "own.pb").write_bytes(graph.SerializeToString())
    assert "MyOwnOp (node 'mine'), which is not known to do nothing but compute" in refusal(tmp_path / "own.pb")
    graph.library.function.add().signature.name = "MyOwnOp"
    (tmp_path / "own.pb").write_bytes(graph.SerializeToString())
    assert "MyOwnOp" in refusal(tmp_path / "own.pb")
    graph.node[0].op = graph.library.function[0].signature.name = "__inference_f_12"
    (tmp_path / "own.pb").write_bytes(graph.SerializeToString())
    assert checked(tmp_path / "own.pb").kind == "pb"


def test_what_only_computes_exists_and_no_other_is_on_the_list() -> None:
    """Every name of the list is an operation that TensorFlow has, and none that touches files is among them."""
    known = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    names = {each.name for each in known.op}
    assert names >= COMPUTE | SAVERS
    words = (
        "File",
        "Dataset",
        "PyFunc",
        "Summary",
        "Reader",
        "Rpc",
        "TPU",
        "Send",
        "Recv",
        "Collective",
        "Save",
        "Iterator",
    )
    assert [name for name in COMPUTE if any(word in name for word in words)] == []
    assert why_refused("SomethingNew") == "is not known to do nothing but compute"


def test_a_constant_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    """A few bytes can say that a constant has 2**30 values, all alike; values that do not fit a shape are damage."""
    graph = tf.compat.v1.GraphDef()
    const = graph.node.add(name="c", op="Const").attr
    const["dtype"].type = 1
    const["value"].tensor.dtype = 1
    const["value"].tensor.tensor_shape.dim.add(size=1 << 30)
    const["value"].tensor.float_val.append(1.0)
    path = tmp_path / "bomb.pb"
    path.write_bytes(graph.SerializeToString())
    assert f"has constants of {1 << 32} bytes once they are unpacked" in refusal(path, limit=1 << 31)
    const["value"].tensor.tensor_content = b"1234"
    path.write_bytes(graph.SerializeToString())
    assert "4 bytes of values where its shape and type need" in refusal(path)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([1, 1 << 40, 1, 1], "1099511627776 in a list of numbers"),
        ([1, 0, 2, 1], "0 in a list of numbers"),
        ([1, 2, 1], "3 numbers, where 4 or 5 should be"),
    ],
)
def test_windows_that_would_end_the_process_are_refused(tmp_path: Path, sizes: list[int], words: str) -> None:
    """Strides of 2**40, of 0, and of three axes end TensorFlow's process; they are refused with the node."""
    graph = tf.compat.v1.GraphDef()
    strides = graph.node.add(name="conv", op="Conv2D").attr["strides"].list.i
    strides.extend([1, 2, 2, 1])
    path = tmp_path / "net.pb"
    path.write_bytes(graph.SerializeToString())
    assert checked(path).kind == "pb"
    strides[:] = sizes
    path.write_bytes(graph.SerializeToString())
    assert f"'strides' of node 'conv' has {words}" in refusal(path)


def test_a_constant_is_of_the_type_that_it_says(tmp_path: Path) -> None:
    """Values of another type than the node's end TensorFlow's process where they are read."""
    graph = tf.compat.v1.GraphDef()
    const = graph.node.add(name="c", op="Const").attr
    const["dtype"].type = 1
    const["value"].tensor.CopyFrom(tf.make_tensor_proto([1, 2, 3], tf.int32))
    (tmp_path / "net.pb").write_bytes(graph.SerializeToString())
    assert "'c' is of type [1], and its values of type [3]" in refusal(tmp_path / "net.pb")


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    """Neither directly nor by way of another function: expanding it would never end."""
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="start", op="PartitionedCall").attr["f"].func.name = "f"
    for name, called in (("f", "g"), ("g", "f")):
        function = graph.library.function.add()
        function.signature.name = name
        function.node_def.add(name="call", op="StatefulPartitionedCall").attr["f"].func.name = called
    (tmp_path / "net.pb").write_bytes(graph.SerializeToString())
    assert "calls itself" in refusal(tmp_path / "net.pb")


def test_a_missing_input_is_said(tmp_path: Path) -> None:
    """A node that reads what the graph does not have is named."""
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name="n", op="Identity", input=["gone:1"])
    (tmp_path / "net.pb").write_bytes(graph.SerializeToString())
    assert "'n' reads 'gone', which is not in it" in refusal(tmp_path / "net.pb")


# --- SavedModels ---------------------------------------------------------------------------------------------


class Reading(tf.Module):  # type: ignore[misc]
    """A model that reads a file, unless all that it is given is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec((2, 3), tf.float32)])
    def __call__(self, value: Any) -> Any:
        """The value doubled, or a file."""
        return tf.cond(
            tf.reduce_all(value > 0),
            lambda: value * self.scale,
            lambda: value + tf.strings.to_number(tf.io.read_file("/etc/passwd")),
        )


def test_a_saved_model_restores_itself_and_reads_nothing_else(files: Files, tmp_path: Path) -> None:
    """Its own saving and restoring is let through; what a signature would read is refused, with the function."""
    assert b"RestoreV2" in (files["saved_model"] / "saved_model.pb").read_bytes()
    assert checked(files["saved_model"]).kind == "saved_model"
    tf.saved_model.save(Reading(), str(tmp_path / "m"))
    said = refusal(tmp_path / "m")
    assert "asks for the operation ReadFile" in said
    assert "of function" in said
    assert checked(tmp_path / "m", allowed={"ReadFile"}).kind == "saved_model"


class Restoring(tf.Module):  # type: ignore[misc]
    """A model whose signature restores a checkpoint that it names itself."""

    @tf.function(input_signature=[tf.TensorSpec((), tf.float32)])
    def __call__(self, value: Any) -> Any:
        """The value, and one of a file."""
        restored = tf.raw_ops.RestoreV2(
            prefix="/elsewhere", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
        )
        return value + restored[0]


def test_restoring_in_a_signature_is_not_the_models_own(tmp_path: Path) -> None:
    """RestoreV2 is let through only where nothing that a signature runs leads to it."""
    tf.saved_model.save(Restoring(), str(tmp_path / "m"))
    assert "asks for the operation RestoreV2" in refusal(tmp_path / "m")


def test_a_restore_of_another_path_is_refused(tmp_path: Path) -> None:
    """A saver whose restoring names a path of its own, in place of the one that it is given, reads another file."""
    graph = tf.Graph()
    with graph.as_default():
        given = tf.compat.v1.placeholder(tf.string, (), name="given")
        value = tf.compat.v1.placeholder(tf.float32, (), name="value")
        result = tf.identity(value, name="result")
        for name, prefix in (("good", given), ("bad", tf.constant("/elsewhere"))):
            read = tf.raw_ops.RestoreV2(
                prefix=prefix, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32], name=f"read_{name}"
            )
            with tf.control_dependencies(list(read)):
                tf.no_op(name=name)
    for name, words in (("good", ""), ("bad", "asks for the operation RestoreV2 (node 'read_bad')")):
        saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
        meta = saved.meta_graphs.add()
        meta.graph_def.CopyFrom(graph.as_graph_def())
        other = {"good": "bad", "bad": "good"}[name]
        kept = [each for each in meta.graph_def.node if other not in each.name]
        del meta.graph_def.node[:]
        meta.graph_def.node.extend(kept)
        meta.saver_def.filename_tensor_name, meta.saver_def.restore_op_name = "given:0", name
        meta.signature_def["serving_default"].outputs["y"].name = result.name
        folder = tmp_path / name
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
        if words:
            assert words in refusal(folder)
        else:
            assert checked(folder).kind == "saved_model"


def test_links_and_assets_stay_inside(files: Files, tmp_path: Path) -> None:
    """A link that leads out of the folder, an asset with such a path, and variables that are missing are refused."""
    folder = shutil.copytree(files["saved_model"], tmp_path / "m")
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "words.txt").symlink_to("/etc/passwd")
    assert "a link that leads out of it: assets/words.txt" in refusal(folder)
    (folder / "assets" / "words.txt").unlink()
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    asset = saved.meta_graphs[0].asset_file_def.add()
    asset.filename = "../../secret"
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert "an asset outside of its folder: '../../secret'" in refusal(folder)
    asset.filename = "gone.txt"
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert "lacks an asset that it names: assets/gone.txt" in refusal(folder)
    folder = shutil.copytree(files["saved_model"], tmp_path / "n")
    (folder / "variables" / "variables.index").unlink()
    assert "without the values of its variables" in refusal(folder)


# --- .keras --------------------------------------------------------------------------------------------------


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


# --- TFLite --------------------------------------------------------------------------------------------------


def tflite_model(path: Path) -> Any:
    """A TFLite file as objects that can be changed."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))


def write_tflite(model: Any, path: Path) -> Path:
    """Write such objects as a file."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def custom(model: Any) -> None:
    """An operator becomes a custom one."""
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = 32, 32, b"FlexReadFile"


def first(model: Any) -> Any:
    """The first operator."""
    return model.subgraphs[0].operators[0]


def weighty(model: Any) -> Any:
    """The first tensor with values in the file."""
    return next(t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None)


DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "custom": (custom, "asks for the custom operator 'FlexReadFile', which runs a whole TensorFlow"),
    "input": (lambda m: setattr(first(m), "inputs", [999, 1, 2]), "is tensor 999, and there are"),
    "few inputs": (lambda m: setattr(first(m), "inputs", [0]), "an operator numbered 3 has 1 inputs, and needs 2"),
    "no input": (lambda m: setattr(first(m), "inputs", [-1, 1, 2]), "an operator numbered 3 lacks its input 0"),
    "output": (lambda m: setattr(first(m), "outputs", [-7]), "is tensor -7"),
    "own weights": (
        lambda m: setattr(first(m), "outputs", [first(m).inputs[1]]),
        "is written although it has its values already",
    ),
    "order": (lambda m: m.subgraphs[0].operators.reverse(), "is read before it is made"),
    "code": (lambda m: setattr(first(m), "opcodeIndex", 77), "an operator is of code 77"),
    "buffer": (lambda m: setattr(weighty(m), "buffer", 500), "in buffer 500"),
    "shape": (lambda m: setattr(weighty(m), "shape", [3, 9, 9, 9]), "bytes of values where its shape and type need"),
    "negative": (lambda m: setattr(weighty(m), "shape", [-3, 2]), "has the shape [-3, 2]"),
    "type": (lambda m: setattr(weighty(m), "type", 99), "is of type 99, which TFLite does not have"),
    "signature": (lambda m: setattr(m.signatureDefs[0].inputs[0], "tensorIndex", 0x7FFFFFFF), "signature's inputs is"),
    "no graph": (lambda m: setattr(m, "subgraphs", []), "has no graph"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_tflite_file_that_would_lead_astray_is_refused(files: Files, tmp_path: Path, name: str) -> None:
    """Indices beyond their lists, sizes that do not fit and operators of libraries are found in the file itself."""
    damage, words = DAMAGE[name]
    model = tflite_model(files["tflite"])
    same = write_tflite(model, tmp_path / "same.tflite")
    assert checked(same).kind == "tflite"
    damage(model)
    assert words in refusal(write_tflite(model, tmp_path / "net.tflite"))
    if name == "custom":
        assert checked(tmp_path / "net.tflite", allowed=["FlexReadFile"]).kind == "tflite"


def test_a_graph_of_a_tflite_file_that_runs_itself_is_refused(files: Files, tmp_path: Path) -> None:
    """An operator that runs its own graph never ends; one that runs a graph that is not there leads nowhere."""
    from ai_edge_litert import schema_py_generated as schema

    for number, words in ((0, "graph 0 runs itself"), (3, "runs graph 3, and there are 1")):
        model = tflite_model(files["tflite"])
        options = schema.CallOnceOptionsT()
        options.initSubgraphIndex = number
        first(model).builtinOptionsType, first(model).builtinOptions = schema.BuiltinOptions.CallOnceOptions, options
        assert words in refusal(write_tflite(model, tmp_path / "net.tflite"))


# --- ONNX ----------------------------------------------------------------------------------------------------


def onnx_model(files: Files, change: Callable[[Any], Any], path: Path) -> Path:
    """The tiny model with something changed."""
    import onnx

    model = onnx.load(files["onnx"])
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def outside(model: Any, location: str, offset: int = 0) -> None:
    """Have the first weight's values in another file."""
    weight = model.graph.initializer[0]
    size = len(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = 1
    for key, value in {"location": location, "offset": str(offset), "length": str(size)}.items():
        weight.external_data.add(key=key, value=value)


def foreign(model: Any) -> None:
    """An operator of another domain."""
    model.opset_import.add(domain="my.own", version=1)
    model.graph.node[0].domain = "my.own"


ONNX_DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "domain": (foreign, "asks for operators of the domain 'my.own', which ONNX Runtime does not have"),
    "undeclared domain": (lambda m: setattr(m.graph.node[-1], "domain", "x"), "of the domain 'x'"),
    "absolute": (lambda m: outside(m, "/etc/passwd"), "weights in '/etc/passwd'; only files in its own folder"),
    "parent": (lambda m: outside(m, "../weights.bin"), "weights in '../weights.bin'; only"),
    "gone": (lambda m: outside(m, "gone.bin"), "weights in 'gone.bin', which is not there"),
    "short": (lambda m: outside(m, "short.bin", 4), "which has 8 bytes"),
    "link": (lambda m: outside(m, "link.bin"), "a link to outside of its folder"),
    "values": (
        lambda m: setattr(m.graph.initializer[0], "raw_data", m.graph.initializer[0].raw_data[:-4]),
        "bytes of values where its shape needs",
    ),
    "size": (lambda m: m.graph.initializer[0].dims.append(-2), "has a size of -2"),
    "type": (lambda m: setattr(m.graph.initializer[0], "data_type", 99), "is of type 99, which ONNX does not have"),
}


@pytest.mark.parametrize("name", ONNX_DAMAGE)
def test_an_onnx_model_stays_in_its_folder(files: Files, tmp_path: Path, name: str) -> None:
    """Weights elsewhere, operators of libraries, and values that do not fit their shapes are refused."""
    change, words = ONNX_DAMAGE[name]
    (tmp_path / "short.bin").write_bytes(bytes(8))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    path = onnx_model(files, change, tmp_path / "net.onnx")
    assert words in refusal(path)
    if "domain" in name:
        assert checked(path, allowed=["my.own", "x"]).kind == "onnx"


def test_a_domain_that_no_operator_is_of_asks_for_nothing(files: Files, tmp_path: Path) -> None:
    """What ONNX Runtime saves lists all of its domains; one of the standard's may be used as well."""

    def change(model: Any) -> None:
        for domain in ("ai.onnx.training", "org.pytorch.aten", "my.own"):
            model.opset_import.add(domain=domain, version=1)
        model.graph.node[0].domain = "ai.onnx.preview.training"

    assert checked(onnx_model(files, change, tmp_path / "net.onnx")).kind == "onnx"
    path = onnx_model(files, lambda m: setattr(m.graph.node[0], "domain", "org.pytorch.aten"), tmp_path / "aten.onnx")
    assert "of the domain 'org.pytorch.aten'" in refusal(path)


def test_weights_beside_an_onnx_model_are_parts_of_it(files: Files, tmp_path: Path) -> None:
    """A file in its own folder is read, and is among the files that the artifact consists of."""
    (tmp_path / "weights.bin").write_bytes(bytes(4096))
    path = onnx_model(files, lambda model: outside(model, "weights.bin"), tmp_path / "net.onnx")
    found = checked(path)
    assert found.files == (path, tmp_path / "weights.bin")
    assert found.size == path.stat().st_size + 4096


# --- the readers of bytes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x0a", "a number that does not end at byte 1"),
        (b"\x0a\x05abc", "a field of 5 bytes where 3 are left"),
        (b"\x0b", "a field of wire type 3"),
        (b"\x02", "a field numbered 0"),
        (b"\x0d\x00\x00", "a field of 4 bytes where 2 are left"),
        (b"\xff" * 11, "a number that does not end"),
    ],
)
def test_bytes_that_are_no_message_are_told_with_their_place(data: bytes, words: str) -> None:
    """Every length is checked before it is believed."""
    with pytest.raises(wire.WireError, match=words):
        list(wire.fields(memoryview(data)))


def test_a_message_of_endlessly_many_fields_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two bytes make a field, so a large file could keep the check busy for hours: their number has a limit."""
    monkeypatch.setattr(wire, "MOST_FIELDS", 1000)
    node = tf.compat.v1.NodeDef(name="n", op="NoOp").SerializeToString()
    (tmp_path / "net.pb").write_bytes(b"\x0a" + bytes([len(node)]) + node + b"\x18\x01" * 2000)
    assert "more than 1000 fields in one message" in refusal(tmp_path / "net.pb")


def test_messages_are_read_as_protobuf_reads_them() -> None:
    """Numbers, packed or not, negative ones, floats and nested messages are what protobuf wrote."""
    shape = tf.TensorShape([3, None, 70000]).as_proto()
    sizes = [
        wire.signed(value)
        for dim in wire.messages(memoryview(shape.SerializeToString()), 2)
        for value in wire.numbers(dim, 1)
    ]
    assert sizes == [3, -1, 70000]
    fixed = memoryview(b"\x0d" + struct.pack("<f", 1.5) + b"\x11" + struct.pack("<d", 2.5))
    assert [(number, len(bytes(value))) for number, _, value in wire.fields(fixed)] == [(1, 4), (2, 8)]  # type: ignore[arg-type]
