"""TFLite and ONNX files, and the readers of their bytes: what is refused before anything opens them."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refused import Files, refusal

from parity.artifacts.checks import wire
from parity.artifacts.files import checked
from parity.frameworks import tf

# -- TFLite ------------------------------------------------------------------------------------------------------------


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


# -- ONNX --------------------------------------------------------------------------------------------------------------


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


# -- the readers of bytes ----------------------------------------------------------------------------------------------


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
