"""A model of any form as one function of named tensors: names, batches, what cannot be served."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import ExportError
from parity.export import FORMATS, served, write
from parity.export.writing import frozen
from parity.frameworks import keras, tf
from parity.pairs import Input


def two_ends() -> Any:
    """A functional model that takes a dict and returns a list."""
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    total = keras.layers.Add(name="total")([left, right])
    return keras.Model({"left": left, "right": right}, [total, keras.layers.ReLU(name="positive")(total)], name="ends")


class Named(keras.Model):  # type: ignore[misc]
    """A model that is called by name, and returns a dict."""

    def call(self, ids: Any, scale: Any) -> dict[str, Any]:
        return {"out/scaled": keras.ops.cast(ids, "float32") * scale, "sum": keras.ops.sum(scale, axis=-1)}


def named_call() -> Input:
    """A call of it."""
    arrays = {"ids": np.array([[1, 2, 3]]), "scale": np.array([[0.5, 2, -1]], np.float32)}
    return Input(name="call", kwargs=arrays)


def run_frozen(graph: Any, feeds: dict[str, Any], fetches: list[str]) -> list[Any]:
    """What a Session makes of a graph, by the names of its ends."""
    with tf.Graph().as_default() as own:
        tf.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=own) as session:
            return list(session.run([f"{name}:0" for name in fetches], {f"{k}:0": v for k, v in feeds.items()}))


def test_inputs_have_the_models_own_names_and_outputs_are_numbered() -> None:
    """A frozen graph of a functional model is fed by the names of its InputLayers, and read by output_0, output_1."""
    left, right = np.float32([[1, -2, 3]]), np.float32([[1, 1, -9]])
    graph = frozen(served(two_ends()))
    total, positive = run_frozen(graph, {"left": left, "right": right}, ["output_0", "output_1"])
    np.testing.assert_array_equal(total, left + right)
    np.testing.assert_array_equal(positive, np.maximum(left + right, 0))


def test_a_call_by_name_is_served_by_these_names() -> None:
    """Arguments and the keys of a returned dict become names, without what a file could not hold; dtypes stay."""
    call = named_call()
    ready = served(Named(), call, names=["ids", "scale"])
    assert {spec.name: spec.dtype for spec in ready.specs} == {"ids": tf.int64, "scale": tf.float32}
    scaled, total = run_frozen(frozen(ready), dict(call.kwargs), ["out_scaled", "sum"])
    np.testing.assert_array_equal(scaled, [[0.5, 4, -3]])
    np.testing.assert_array_equal(total, [1.5])


@pytest.mark.parametrize("free", [True, False])
def test_batches_are_free_where_that_is_asked_for(free: bool) -> None:
    """A graph takes three rows where its batch is free, and only one where it is not."""
    graph = frozen(served(two_ends(), free=free))
    (placed,) = [node for node in graph.node if node.name == "left"]
    assert placed.attr["shape"].shape.dim[0].size == (-1 if free else 1)
    rows = np.ones((3, 3), np.float32)
    if free:
        (total,) = run_frozen(graph, {"left": rows, "right": rows}, ["output_0"])
        np.testing.assert_array_equal(total, 2 * rows)
    else:
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            run_frozen(graph, {"left": rows, "right": rows}, ["output_0"])


def test_nothing_but_constants_is_left_in_a_frozen_graph() -> None:
    """Variables and functions are gone, and so is what TensorFlow adds behind the outputs."""
    image = keras.Input((5, 4, 2))
    graph = frozen(served(keras.Model(image, keras.layers.Conv2D(3, 2, name="c")(image))))
    ops = {node.op for node in graph.node}
    assert not graph.library.function
    assert not {op for op in ops if op.startswith("Var") or op.endswith("PartitionedCall") or op == "NoOp"}
    read = {name.lstrip("^").partition(":")[0] for node in graph.node for name in node.input}
    assert [node.name for node in graph.node if node.name not in read] == ["output_0"]


def test_a_model_that_does_not_say_what_it_takes_needs_an_example() -> None:
    """A subclassed model without a call, and a functional one of unknown sizes, are refused in a sentence."""
    with pytest.raises(ExportError, match="a Named, is called with is not known; give an example"):
        served(Named())
    image = keras.Input((None, 4, 2), name="image")
    with pytest.raises(ExportError, match=r"'image' of the port is declared \(None, None, 4, 2\)"):
        served(keras.Model(image, keras.layers.ReLU()(image)))


def test_two_inputs_of_one_name_are_refused() -> None:
    """Names that are the same once a file can hold them would be one input."""
    with pytest.raises(ExportError, match="the same name: a_b, a_b"):
        served(Named(), named_call(), names=["a/b", "a.b"])


def test_what_an_exporter_refuses_is_a_sentence(tmp_path: Path) -> None:
    """A model whose own code fails while it is traced is refused with its words, in one line, and writes nothing."""

    def broken(image: Any) -> Any:
        raise ValueError("the moon is\nnot full")

    ready = served(broken, Input(name="x", array=np.zeros((1, 3), np.float32)))
    for word in ("pb", "saved_model", "tflite", "onnx"):
        with pytest.raises(ExportError, match=f"cannot be exported to {word}: .*the moon is") as caught:
            write(FORMATS[word], ready, tmp_path / "file")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "file").exists()


def test_an_int8_file_without_samples_is_refused(tmp_path: Path) -> None:
    """Steps cannot be chosen without values."""
    with pytest.raises(ExportError, match="an int8 file needs samples"):
        write(FORMATS["tflite-int8"], served(two_ends()), tmp_path / "file")


def test_a_gelu_can_be_written_for_onnx(tmp_path: Path) -> None:
    """tf2onnx writes the operation that TensorFlow has there as it is; ONNX has none of that name."""
    onnxruntime = pytest.importorskip("onnxruntime")
    x = keras.Input((7,), name="x")
    write(FORMATS["onnx"], served(keras.Model(x, keras.layers.Activation("gelu")(x))), tmp_path / "net.onnx")
    given = np.linspace(-6, 6, 7, dtype=np.float32)[None]
    (found,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": given})
    np.testing.assert_allclose(found, keras.activations.gelu(given), atol=1e-6)
