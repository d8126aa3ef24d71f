"""TensorFlow's graphs and SavedModels: what is refused before anything opens it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refused import Files, refusal
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session as session

from parity.artifacts.checks.operations import COMPUTE, SAVERS, why_refused
from parity.artifacts.files import checked
from parity.frameworks import tf

# -- TensorFlow's graphs -----------------------------------------------------------------------------------------------


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


# -- SavedModels -------------------------------------------------------------------------------------------------------


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
