"""The engine of `.onnx` files: whole, watched and in pieces; and what their operators are lifted to."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
import tiny
from onnx_models import every, graph_of, kinds, largest_difference, node, saved, shaped, values

from parity.artifacts.onnx.engine import OnnxEngine, opened
from parity.artifacts.program import FLOAT16
from parity.axes import Array, Axes
from parity.errors import ArtifactError, PairError
from parity.export import FORMATS, served, write
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Pair
from parity.verification import verify

IMAGE = (2, 10, 6, 3)
"""Of the exported network, channels last: unequal sizes, and even ones, at which a stride of 2 shows how it pads."""

CLOSE = 3e-6
"""Rounding in float32, of sums of some hundred products."""


def network() -> Any:
    """Strides that pad by hand, a batch norm, a PReLU, a transposed convolution, a skip, a dense head; two outputs."""
    keras.utils.set_random_seed(5)
    image = keras.Input(IMAGE[1:], name="image")
    pad = keras.layers.ZeroPadding2D(1, name="pad")(image)
    down = keras.layers.Conv2D(6, 3, strides=2, use_bias=False, name="down")(pad)
    norm = keras.layers.BatchNormalization(name="norm")(down)
    act = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal", name="act")(norm)
    deep = keras.layers.Conv2D(6, 3, padding="same", bias_initializer="random_normal", name="deep")(act)
    leaky = keras.layers.LeakyReLU(negative_slope=0.2, name="leaky")(deep)
    joined = keras.layers.Concatenate(name="joined")([leaky, act])
    up = keras.layers.Conv2DTranspose(4, 4, strides=2, padding="same", name="up")(joined)
    head = keras.layers.Dense(5, name="head")(keras.layers.GlobalAveragePooling2D(name="mean")(joined))
    model = keras.Model(image, {"up": up, "head": head}, name="net")
    layer = model.get_layer("norm")
    random = np.random.default_rng(7)
    layer.set_weights([random.uniform(0.5, 1.5, 6).astype(np.float32) for _ in range(4)])
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A Keras network, and its ONNX file."""
    model, path = network(), tmp_path_factory.mktemp("onnx") / "net.onnx"
    write(FORMATS["onnx"], served(model, free=True), path)
    return model, path


@pytest.fixture
def engine(exported: tuple[Any, Path]) -> OnnxEngine:
    """The engine of that file."""
    return OnnxEngine(exported[1])


GIVEN: Mapping[str, Array] = {"image": values(IMAGE)}


# -- the engine --------------------------------------------------------------------------------------------------------


def test_the_whole_file_computes_what_the_model_does(exported: tuple[Any, Path], engine: OnnxEngine) -> None:
    """Both outputs of a run of the file are Keras's, in the axes that the model has them in."""
    model, graph = exported[0], graph_of(engine, GIVEN)
    made = engine.whole(GIVEN)
    expected = {name: np.asarray(value) for name, value in model(GIVEN["image"]).items()}
    for name, tensor in engine.program.outputs.items():
        order = graph.orders.get(tensor)
        actual = made[tensor] if order is None else made[tensor].transpose(order)
        (same,) = [value for value in expected.values() if value.shape == actual.shape]
        np.testing.assert_allclose(actual, same, rtol=1e-4, atol=1e-5, err_msg=name)


def test_every_piece_makes_what_the_watched_run_made(engine: OnnxEngine) -> None:
    """Each step alone, on the values that a watched run read there, gives the watched value bit for bit."""
    made = every(engine, GIVEN)
    program = shaped(engine, GIVEN)
    assert len(program.steps) > 9
    for step in program.steps:
        known = {name: made[name] for name in step.inputs if name in made}
        np.testing.assert_array_equal(engine.part(known, step.outputs[0]), made[step.outputs[0]], err_msg=step.name)


def test_a_piece_of_several_steps_starts_from_what_is_known(engine: OnnxEngine) -> None:
    """From the input to the last step in one piece is the watched value; a tensor on the way may be known instead."""
    made, program = every(engine, GIVEN), shaped(engine, GIVEN)
    (joined,) = [step.outputs[0] for step in program.steps if step.op == "Concat"]
    end = program.steps[-1].outputs[0]
    np.testing.assert_allclose(engine.part(GIVEN, joined), made[joined], rtol=CLOSE, atol=CLOSE)
    zero = engine.part({"image": GIVEN["image"], joined: np.zeros_like(made[joined])}, end)
    assert np.abs(zero - made[end]).max() > 0.01


def test_a_file_is_run_on_inputs_of_one_size_after_another(engine: OnnxEngine) -> None:
    """What was made ready for one batch does not stand in the way of the next, whole, watched and in pieces."""
    for batch in (2, 3, 2):
        given = {"image": values((batch, *IMAGE[1:]))}
        made, step = every(engine, given), shaped(engine, given).steps[-1]
        assert {len(value) for value in engine.whole(given).values()} == {batch}
        known = {name: made[name] for name in step.inputs if name in made}
        np.testing.assert_array_equal(engine.part(known, step.outputs[0]), made[step.outputs[0]])


def test_a_piece_without_what_it_needs_is_refused(engine: OnnxEngine) -> None:
    """A tensor that depends on an input that was not given is refused by the input's name."""
    end = shaped(engine, GIVEN).steps[-1].outputs[0]
    with pytest.raises(PairError, match="depends on 'image', of which no value is given"):
        engine.part({}, end)


def test_other_constants_stand_for_the_files_own(engine: OnnxEngine) -> None:
    """A kernel twice as large, and no bias, give twice the value; the file's own are used again afterwards."""
    made, program = every(engine, GIVEN), shaped(engine, GIVEN)
    step = next(step for step in program.steps if step.op == "Conv" and step.attributes.get("strides") == [1, 1])
    known, (kernel, bias) = {step.inputs[0]: made[step.inputs[0]]}, step.inputs[1:]
    plain = engine.part(known, step.outputs[0], {bias: np.zeros_like(program.constants[bias])})
    twice = {kernel: 2 * program.constants[kernel], bias: np.zeros_like(program.constants[bias])}
    np.testing.assert_allclose(engine.part(known, step.outputs[0], twice), 2 * plain, rtol=1e-6)
    np.testing.assert_array_equal(engine.part(known, step.outputs[0]), made[step.outputs[0]])


def test_a_padded_value_that_the_file_never_makes_is_made_beside_it(engine: OnnxEngine) -> None:
    """A convolution that pads is two steps: the zeros around its input, and a convolution that pads nothing."""
    made, program = every(engine, GIVEN), shaped(engine, GIVEN)
    pad = next(step for step in program.steps if step.op == "Pad")
    convolution = next(step for step in program.steps if pad.outputs[0] in step.inputs)
    first_channels = GIVEN["image"].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(made[pad.outputs[0]], np.pad(first_channels, ((0, 0), (0, 0), (1, 1), (1, 1))))
    ones = np.ones_like(made[pad.outputs[0]])
    whole = engine.part({pad.outputs[0]: ones}, convolution.outputs[0])
    kernel, bias = (program.constants[name] for name in convolution.inputs[1:])
    np.testing.assert_allclose(whole[0, :, 0, 0], kernel.sum(axis=(1, 2, 3)) + bias, rtol=1e-4, atol=1e-5)


# -- the graph ---------------------------------------------------------------------------------------------------------


def test_an_exported_network_is_lifted_in_its_own_axes(engine: OnnxEngine) -> None:
    """The moves to channels-first and back are gone: every layer is Keras's, channels last, under its own name."""
    graph = graph_of(engine, GIVEN)
    names = [firing.name for firing in graph.graph.nodes]
    assert "Transpose" not in kinds(graph)
    assert {"deep", "leaky", "act", "joined", "up", "head"} <= set(names)
    shapes = {firing.name: tuple(firing.outputs[0].shape) for firing in graph.graph.nodes}
    assert shapes["joined"] == (2, 5, 3, 12)
    assert shapes["up"] == (2, 10, 6, 4)


def test_a_lifted_network_computes_what_the_engine_does(engine: OnnxEngine) -> None:
    """Each Keras layer with the file's weights gives the engine's value of the same input, but for rounding."""
    assert largest_difference(graph_of(engine, GIVEN), every(engine, GIVEN)) < CLOSE


def test_a_batch_norm_that_was_joined_into_a_convolution_is_told(engine: OnnxEngine) -> None:
    """The converter made one convolution of two layers: the value is the norm's, and the convolution is in it."""
    assert graph_of(engine, GIVEN).fused == {"down": "norm"}


def layer_cases() -> dict[str, tuple[list[Any], dict[str, Array], tuple[int, ...], str]]:
    """Nodes from `x` to `y`, constants, the shape of `x`, and the operation that Keras has for them."""
    image, rows = (2, 3, 9, 5), (4, 6)
    kernel, bias = values((4, 3, 3, 2), 1), values((4,), 2)
    one = {"k": kernel, "b": bias}
    norms = {name: np.abs(values((3,), place)) + 0.5 for place, name in enumerate("sbmv")}
    return {
        "a valid convolution": ([node("Conv", ["x", "k", "b"], ["y"])], one, image, "Conv2D"),
        "strides and dilations": (
            [node("Conv", ["x", "k"], ["y"], strides=[2, 1])],
            {"k": kernel},
            image,
            "Conv2D",
        ),
        "same, the larger half behind": (
            [node("Conv", ["x", "k", "b"], ["y"], pads=[1, 0, 1, 1])],
            one,
            image,
            "Conv2D",
        ),
        "same on both sides, by the other word": (
            [node("Conv", ["x", "k"], ["y"], auto_pad="SAME_LOWER")],
            {"k": values((4, 3, 3, 3))},
            image,
            "Conv2D",
        ),
        "same, by its word": ([node("Conv", ["x", "k"], ["y"], auto_pad="SAME_UPPER")], {"k": kernel}, image, "Conv2D"),
        "groups": ([node("Conv", ["x", "g"], ["y"], group=2)], {"g": values((4, 3, 3, 3))}, (2, 6, 9, 5), "Conv2D"),
        "depthwise": (
            [node("Conv", ["x", "d", "e"], ["y"], group=3)],
            {"d": values((6, 1, 3, 3)), "e": values((6,), 3)},
            image,
            "DepthwiseConv2D",
        ),
        "transposed, uncropped": (
            [node("ConvTranspose", ["x", "t"], ["y"], strides=[2, 2])],
            {"t": values((3, 4, 3, 2))},
            image,
            "Conv2DTranspose",
        ),
        "transposed, same": (
            [node("ConvTranspose", ["x", "t"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])],
            {"t": values((3, 5, 4, 4))},
            image,
            "Conv2DTranspose",
        ),
        "batch norm": (
            [node("BatchNormalization", ["x", *"sbmv"], ["y"], epsilon=0.01)],
            norms,
            image,
            "BatchNormalization",
        ),
        "factor and offset": (
            [node("Mul", ["x", "f"], ["m"]), node("Add", ["m", "o"], ["y"])],
            {"f": values((1, 3, 1, 1)), "o": values((3, 1, 1), 4)},
            image,
            "BatchNormalization",
        ),
        "dense": (
            [node("Gemm", ["x", "w", "c"], ["y"], transB=1)],
            {"w": values((5, 6)), "c": values((5,))},
            rows,
            "Dense",
        ),
        "product and sum": (
            [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "c"], ["y"])],
            {"w": values((6, 5)), "c": values((5,))},
            rows,
            "Dense",
        ),
        "layer norm": (
            [node("LayerNormalization", ["x", "s", "c"], ["y"], epsilon=0.1)],
            {"s": values((6,)), "c": values((6,), 1)},
            rows,
            "LayerNormalization",
        ),
        "prelu": ([node("PRelu", ["x", "p"], ["y"])], {"p": values((3, 1, 1))}, image, "PReLU"),
        "leaky": ([node("LeakyRelu", ["x"], ["y"], alpha=0.3)], {}, image, "LeakyReLU"),
        "relu up to six": (
            [node("Clip", ["x", "l", "h"], ["y"])],
            {"l": np.float32(0).reshape(()), "h": np.float32(6).reshape(())},
            image,
            "ReLU",
        ),
        "swish": ([node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])], {}, image, "Activation"),
        "softmax of channels": ([node("Softmax", ["x"], ["y"], axis=1)], {}, image, "Softmax"),
        "pool, same": (
            [node("MaxPool", ["x"], ["y"], kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")],
            {},
            image,
            "MaxPooling2D",
        ),
        "mean pool": (
            [node("AveragePool", ["x"], ["y"], kernel_shape=[2, 3], strides=[1, 2])],
            {},
            image,
            "AveragePooling2D",
        ),
        "mean of a channel": ([node("GlobalAveragePool", ["x"], ["y"])], {}, image, "Mean"),
        "mean over height": ([node("ReduceMean", ["x"], ["y"], axes=[2], keepdims=1)], {}, image, "Mean"),
        "doubled": (
            [node("Resize", ["x", "", "z"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel")],
            {"z": np.float32([1, 1, 2, 3])},
            image,
            "UpSampling2D",
        ),
        "repeated": (
            [
                node(
                    "Resize",
                    ["x", "", "z"],
                    ["y"],
                    mode="nearest",
                    coordinate_transformation_mode="asymmetric",
                    nearest_mode="floor",
                )
            ],
            {"z": np.float32([1, 1, 2, 2])},
            image,
            "UpSampling2D",
        ),
        "padding of space": (
            [node("Pad", ["x", "w"], ["y"])],
            {"w": np.array([0, 0, 1, 2, 0, 0, 0, 3])},
            image,
            "ZeroPadding2D",
        ),
        "padding of channels": (
            [node("Pad", ["x", "w", "c"], ["y"])],
            {"w": np.array([0, 1, 0, 0, 0, 2, 0, 0]), "c": np.float32(0.5).reshape(())},
            image,
            "Pad",
        ),
        "a number per channel": ([node("Sub", ["x", "n"], ["y"])], {"n": values((3, 1, 1))}, image, "Subtract"),
        "a part of the channels": (
            [node("Slice", ["x", "i", "j", "a"], ["y"])],
            {"i": np.array([1]), "j": np.array([2**31]), "a": np.array([1])},
            image,
            "GetItem",
        ),
    }  # fmt: skip


CASES = layer_cases()
FORWARD, BACK = [0, 3, 1, 2], [0, 2, 3, 1]


@pytest.mark.parametrize("case", CASES)
def test_an_operator_is_the_layer_that_computes_the_same(case: str, tmp_path: Path) -> None:
    """In a file that is channels-first all the way, each operator is one layer of Keras, with its weights."""
    nodes, constants, shape, kind = CASES[case]
    engine = OnnxEngine(saved(tmp_path / "one.onnx", nodes, {"x": shape}, ["y"], constants))
    given = {"x": values(shape, 9)}
    graph = graph_of(engine, given)
    assert kinds(graph) == [kind]
    assert largest_difference(graph, every(engine, given)) < CLOSE


def test_dense_layers_of_the_same_rows_are_each_a_layer_with_its_bias(tmp_path: Path) -> None:
    """tf2onnx lets two read one reshape of what both read; each has its own product, reshape and bias behind it."""
    nodes = [node("Reshape", ["x", "rows"], ["r"])]
    constants: dict[str, Array] = {"rows": np.array([-1, 5]), "back": np.array([2, 3, 7])}
    for place, name in enumerate("yz"):
        nodes += [
            node("MatMul", ["r", f"k{name}"], [f"m{name}"]),
            node("Reshape", [f"m{name}", "back"], [f"n{name}"]),
            node("Add", [f"n{name}", f"b{name}"], [name]),
        ]
        constants |= {f"k{name}": values((5, 7), place), f"b{name}": values((7,), place + 2)}
    engine = OnnxEngine(saved(tmp_path / "two.onnx", nodes, {"x": (2, 3, 5)}, ["y", "z"], constants))
    given = {"x": values((2, 3, 5), 9)}
    graph = graph_of(engine, given)
    assert kinds(graph) == ["Reshape", "Dense", "Dense"]
    assert all(len(firing.operation.weights) == 2 for firing in graph.graph.nodes[1:])
    assert largest_difference(graph, every(engine, given)) < CLOSE


@pytest.mark.parametrize("case", [name for name, (_, _, shape, _) in CASES.items() if len(shape) == 4])
def test_an_operator_between_moves_is_the_layer_in_the_axes_before_them(case: str, tmp_path: Path) -> None:
    """Moved to channels-first for it and back behind it, each operator is one layer that is channels-last."""
    nodes, constants, (batch, channels, *space), kind = CASES[case]
    around = [
        node("Transpose", ["image"], ["first"], perm=FORWARD),
        node("Relu", ["first"], ["x"]),
        *nodes,
        node("BatchNormalization", ["y", "one", "none", "none", "one"], ["norm"], epsilon=0.5),
        node("Transpose", ["norm"], ["last"], perm=BACK),
    ]
    shape = (batch, *space, channels)
    made = onnx_channels(nodes, constants, (batch, channels, *space), tmp_path)
    plain = {"one": np.ones(made, np.float32), "none": np.zeros(made, np.float32)}
    path = saved(tmp_path / "moved.onnx", around, {"image": shape}, ["last"], {**constants, **plain})
    engine = OnnxEngine(path)
    given = {"image": values(shape, 9)}
    graph = graph_of(engine, given)
    assert kinds(graph) == ["ReLU", kind, "BatchNormalization"]
    assert largest_difference(graph, every(engine, given)) < CLOSE
    (result,) = engine.whole(given).values()
    (end,) = graph.graph.outputs
    assert tuple(end.shape) == tuple(result.transpose(graph.orders[graph.tensors[id(end)]]).shape)


def onnx_channels(nodes: Any, constants: Mapping[str, Array], shape: tuple[int, ...], folder: Path) -> int:
    """How many channels the nodes make."""
    engine = OnnxEngine(saved(folder / "alone.onnx", nodes, {"x": shape}, ["y"], constants))
    return int(engine.whole({"x": values(shape)})["y"].shape[1])


def test_a_move_that_is_the_networks_own_stays(tmp_path: Path) -> None:
    """Axes that change places for another reason than an operator for images are an operation."""
    nodes = [node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), node("Relu", ["t"], ["y"])]
    engine = OnnxEngine(saved(tmp_path / "own.onnx", nodes, {"x": (2, 5, 3)}, ["y"]))
    given = {"x": values((2, 5, 3))}
    assert kinds(graph_of(engine, given)) == ["Transpose", "ReLU"]


def test_sizes_that_follow_from_sizes_are_constants(tmp_path: Path) -> None:
    """A reshape by arithmetic of shapes has its sizes once those of the inputs are known, whatever they are."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "rest"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([-1])}
    engine = OnnxEngine(saved(tmp_path / "sizes.onnx", nodes, {"x": ("batch", 3, 5)}, ["y"], constants))
    for batch in (2, 7):
        given = {"x": values((batch, 3, 5))}
        program = shaped(engine, given)
        assert [step.op for step in program.steps] == ["Reshape"]
        np.testing.assert_array_equal(program.constants["to"], [batch, -1])
        assert kinds(graph_of(engine, given)) == ["Reshape"]
        np.testing.assert_array_equal(engine.part(given, "y"), given["x"].reshape(batch, 15))


def test_what_a_branch_reads_is_read_by_its_step(tmp_path: Path) -> None:
    """An operator with other graphs inside depends on the tensors that these read, and runs alone given them."""
    branches = {
        f"{name}_branch": onnx.helper.make_graph(
            [node(op, ["a", "x"], ["r"])], name, [], [onnx.helper.make_tensor_value_info("r", 1, None)]
        )
        for name, op in (("then", "Add"), ("else", "Sub"))
    }
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("ReduceSum", ["x"], ["total"], keepdims=0),
        node("Greater", ["total", "zero"], ["large"]),
        node("If", ["large"], ["y"], **branches),
    ]
    engine = OnnxEngine(saved(tmp_path / "if.onnx", nodes, {"x": (3, 4)}, ["y"], {"zero": np.float32(0).reshape(())}))
    given = {"x": np.abs(values((3, 4)))}
    made, step = every(engine, given), shaped(engine, given).steps[-1]
    assert set(step.inputs) == {"large", "a", "x"}
    known = {name: made[name] for name in step.inputs}
    np.testing.assert_array_equal(engine.part(known, "y"), 2 * given["x"])
    graph_of(engine, given)  # opaque, and in order


def test_float16_is_given_and_gives_real_numbers(tmp_path: Path) -> None:
    """A file in float16 takes and makes float32 arrays that hold its numbers, and says its precision."""
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    path = saved(
        tmp_path / "half.onnx",
        nodes,
        {"x": (3, 4)},
        ["y"],
        {"w": values((4, 5)).astype(np.float16)},
        kind=onnx.TensorProto.FLOAT16,
    )
    engine, given = OnnxEngine(path), {"x": values((3, 4), 2)}
    made = engine.whole(given)["y"]
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, given["x"] @ values((4, 5)), rtol=0.01, atol=0.01)
    assert (engine.program.precision, engine.program.dtypes["w"]) == (FLOAT16, "float16")
    assert engine.program.constants["w"].dtype == np.float32


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Bytes that hold no model, and a model of an unknown operator, end in one line that names the file."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08\x12\xff\xff\xff\xff\x7f")
    unknown = saved(tmp_path / "unknown.onnx", [node("Frobnicate", ["x"], ["y"])], {"x": (2, 3)}, ["y"])
    for path in (broken, unknown):
        with pytest.raises(ArtifactError, match=path.name) as caught:
            opened(path)
        assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnxruntime a file cannot be run, and the message says what to install."""
    path = saved(tmp_path / "x.onnx", [node("Relu", ["x"], ["y"])], {"x": (2, 3)}, ["y"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ArtifactError, match=r"onnxruntime: pip install 'parity\[onnx\]'"):
        opened(path)


def test_inputs_of_other_sizes_are_refused(engine: OnnxEngine) -> None:
    """What a file does not take is said by the input's name and both shapes."""
    with pytest.raises(PairError, match=r"takes 'image' of shape \(any, 10, 6, 3\); it is given \(2, 10, 7, 3\)"):
        engine.shaped({"image": (2, 10, 7, 3)})


def test_a_file_with_its_channels_elsewhere_is_told_what_to_declare(tmp_path: Path) -> None:
    """A file in torch's own layout is run once the pair says so; other sizes have no such hint."""
    kernel, bias = values((4, 3, 3, 2)), values((4,))
    nodes = [node("Conv", ["x", "kernel", "bias"], ["y"])]
    path = saved(tmp_path / "x.onnx", nodes, {"x": (1, 3, 7, 6)}, ["y"], {"kernel": kernel, "bias": bias})
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, (3, 2))).eval()
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), (kernel, bias), strict=True):
            parameter.copy_(torch.from_numpy(value))
    pair = Pair(name="first", reference=net, port=path, inputs=[noise((1, 3, 7, 6), seed=0)])
    with pytest.raises(ArtifactError, match=r"needs Pair\(axes=Axes\(port=\{4: \"NCHW\"\}\)\)$"):
        verify(pair)
    assert verify(replace(pair, axes=Axes(port={4: "NCHW"}))).passed
    with pytest.raises(ArtifactError, match=r"\(1, 8, 6, 3\)$"):
        verify(replace(pair, inputs=[noise((1, 3, 8, 6), seed=0)]))


# -- in the place of a port --------------------------------------------------------------------------------------------


def test_a_faithful_file_passes(files: Mapping[str, Path]) -> None:
    """A file that computes what the reference does passes, every weighted layer compared."""
    report = verify(tiny.mypair(files["onnx"]))
    assert report.passed, report.findings
    assert set(report.coverage.matched) >= {"0", "2"}
    assert [run.mode for run in report.runs] == ["onnx"]


def scaled_kernel(model: Any) -> None:
    """The second kernel is larger by one in a thousand."""
    (kernel,) = [each for each in model.graph.initializer if "/second" in each.name and len(each.dims) == 4]
    changed = onnx.numpy_helper.to_array(kernel) * np.float32(1.001)
    kernel.CopyFrom(onnx.numpy_helper.from_array(changed, kernel.name))


def no_bias(model: Any) -> None:
    """The first bias is zero."""
    (bias,) = [each for each in model.graph.initializer if "/first" in each.name and len(each.dims) == 1]
    bias.CopyFrom(onnx.numpy_helper.from_array(np.zeros(bias.dims, np.float32), bias.name))


def steeper(model: Any) -> None:
    """The activation has another slope."""
    (leaky,) = [each for each in model.graph.node if each.op_type == "LeakyRelu"]
    leaky.attribute[0].f = 0.1002


@pytest.mark.parametrize(
    ("plant", "layer", "slug"),
    [(scaled_kernel, "2", "scale"), (no_bias, "0", "bias-missing"), (steeper, "1", "activation-slope")],
)
def test_a_fault_in_a_file_is_found_at_its_layer(
    files: Mapping[str, Path], plant: Callable[[Any], None], layer: str, slug: str, tmp_path: Path
) -> None:
    """What was changed in the file, and not in the model, is found at its layer, and the cause is named and proven."""
    model = onnx.load(files["onnx"])
    plant(model)
    onnx.save(model, tmp_path / "faulty.onnx")
    report = verify(tiny.mypair(tmp_path / "faulty.onnx"))
    assert not report.passed
    (finding,) = report.findings
    assert (finding.layer, finding.cause.slug) == (layer, slug)
    assert finding.cause.residual_after is not None
    assert finding.cause.residual_after < 0.01 * (finding.cause.residual_before or 0.0)


def test_weights_in_a_file_beside_it_are_read(files: Mapping[str, Path], tmp_path: Path) -> None:
    """A model whose constants are in another file computes the same, whole and in pieces."""
    onnx.save_model(
        onnx.load(files["onnx"]),
        tmp_path / "beside.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").stat().st_size
    assert verify(tiny.mypair(tmp_path / "beside.onnx")).passed


def test_a_bias_of_zeros_that_the_converter_has_dropped_is_no_fault(tmp_path: Path) -> None:
    """tf2onnx leaves out a bias of zeros; the reference's layer, which has one, is compared and agrees."""
    model, reference = tiny.port(), tiny.reference()
    kernel1, bias1, kernel2, bias2 = model.get_weights()
    model.set_weights([kernel1, 0 * bias1, kernel2, 0 * bias2])
    for layer in (reference[0], reference[2]):
        layer.bias.data.zero_()
    path = tmp_path / "dropped.onnx"
    write(FORMATS["onnx"], served(model), path)
    assert all(len(each.input) == 2 for each in onnx.load(path).graph.node if each.op_type == "Conv")
    report = verify(replace(tiny.mypair(path), reference=reference))
    assert report.passed, report.findings
