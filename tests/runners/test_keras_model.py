"""The Keras side: a port cut where the reference can be met, run in every mode, and never changed by it."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.axes import Array
from parity.errors import PairError, UsageError
from parity.frameworks import keras, tf
from parity.pairs import INPUT
from parity.runners.edits import Edit
from parity.runners.keras_model import KerasModel, Segment, as_array, as_tensor
from parity.runners.taps import MODES

layers = keras.layers
ops = keras.ops

NO_SEQUENTIAL = "a keras.Sequential keeps its functional model inside itself, and is refused"


def image(*shape: int, seed: int = 1) -> Array:
    """Noise of both signs: by default two pictures, 5 high and 7 wide, of 3 channels."""
    return np.random.default_rng(seed).standard_normal(shape or (2, 5, 7, 3), dtype=np.float32)


def chain(*steps: Callable[[Any], Any], shape: tuple[int | None, ...] = (5, 7, 3)) -> Any:
    """A model of one step after the other; weights, biases too, are drawn from a seed."""
    start = value = keras.Input(shape)
    for step in steps:
        value = step(value)
    return drawn(keras.Model(start, value))


def drawn(model: Any) -> Any:
    """The model with noise in every weight."""
    generator = np.random.default_rng(5)
    model.set_weights([generator.uniform(0.1, 0.5, weight.shape) for weight in model.weights])
    return model


def network() -> Any:
    """Convolution, activation, padded convolution, and the sum with the first convolution's values."""
    start = keras.Input((5, 7, 3))
    first = layers.Conv2D(5, 3, padding="same", name="first")(start)
    second = layers.LeakyReLU(negative_slope=0.1, name="act")(first)
    second = layers.ZeroPadding2D(1, name="pad")(second)
    second = layers.Conv2D(5, 3, name="second")(second)
    return drawn(keras.Model(start, layers.Add(name="sum")([first, second])))


# Keras 3 copies a variable in a way that NumPy 2 deprecates, wherever it saves a model.
saves = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ALL = {"r1": "first", "r2": "act", "r3": "second", "r4": "sum"}
"""Which reference taps (r) answer; the padding has none."""


def names(model: Any) -> list[str]:
    """The names of a model's taps."""
    return [tap.name for tap in KerasModel(model).taps]


def by_layer(segments: Sequence[Segment]) -> dict[str, Segment]:
    """Segments by the reference tap they answer to."""
    return {segment.layer: segment for segment in segments}


def whole(port: KerasModel, segments: Sequence[Segment], array: Array, mode: str) -> tuple[dict[str, Array], Array]:
    """What `propagate` gives when every value of every segment is asked for."""
    model = keras.Model(port.model.inputs[0], [_tensor(port, segment) for segment in segments])
    shapes = [value.shape for value in keras.tree.flatten(model(array))]
    samples, outputs = port.propagate({INPUT: array}, segments, [np.arange(np.prod(shape)) for shape in shapes], mode)
    return {s.layer: v.reshape(shape) for s, v, shape in zip(segments, samples, shapes, strict=True)}, outputs["output"]


def _tensor(port: KerasModel, segment: Segment) -> Any:
    return next(t for node in segment.nodes for t in node.outputs if id(t) == segment.tap.key)


# -- taps --------------------------------------------------------------------------------------------------------------


def test_taps_are_the_operations_in_an_order_they_can_run_in() -> None:
    """Every operation but the input is a tap, with its kind, open batch, and whether it has weights."""
    found = KerasModel(network()).taps
    assert [(tap.name, tap.kind, tap.shape, tap.weighted) for tap in found] == [
        ("first", "conv2d", (None, 5, 7, 5), True),
        ("act", "leakyrelu", (None, 5, 7, 5), False),
        ("pad", "pad", (None, 7, 9, 5), False),
        ("second", "conv2d", (None, 5, 7, 5), True),
        ("sum", "add", (None, 5, 7, 5), False),
    ]
    assert KerasModel(network()).output_taps["output"] == "sum"


def test_a_shared_layer_is_numbered() -> None:
    """A layer that is used twice is two taps, and each is a segment of its own."""
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    port = KerasModel(chain(shared, layers.ReLU(name="between"), shared))
    assert [tap.name for tap in port.taps] == ["shared", "between", "shared#2"]
    segments = by_layer(port.segments({"a": "shared", "b": "shared#2"}))
    assert segments["b"].anchors == ("a",)
    assert [node.operation.name for node in segments["b"].nodes] == ["between", "shared"]


def test_an_operation_with_several_results_has_a_tap_for_each() -> None:
    """The parts of a split are taps of their own, and each can be where the port is cut."""
    start = keras.Input((5, 7, 5))
    few, many = ops.split(start, [2], axis=-1)
    split = few._keras_history.operation
    model = keras.Model(start, ops.concatenate([many, few * 3.0], axis=-1))
    port = KerasModel(model)
    parts = [tap for tap in port.taps if tap.operation is split]
    assert [tap.name for tap in parts] == [f"{split.name}[0]", f"{split.name}[1]"]
    assert [tap.shape for tap in parts] == [(None, 5, 7, 2), (None, 5, 7, 3)]
    matched = {"few": parts[0].name, "many": parts[1].name, "out": port.output_taps["output"]}
    array = image(2, 5, 7, 5)
    values, output = whole(port, port.segments(matched), array, "eager")
    np.testing.assert_array_equal(values["few"], array[..., :2])
    np.testing.assert_array_equal(values["many"], array[..., 2:])
    np.testing.assert_array_equal(output, port.plain({INPUT: array}, "eager")["output"])


# -- segments ----------------------------------------------------------------------------------------------------------


def test_a_port_is_cut_at_matched_taps() -> None:
    """Each segment leads from values the reference has to one it has, through what it has not."""
    port = KerasModel(network())
    segments = port.segments(ALL)
    assert {s.layer: (s.anchors, [n.operation.name for n in s.nodes]) for s in segments} == {
        "r1": ((INPUT,), ["first"]),
        "r2": (("r1",), ["act"]),
        "r3": (("r2",), ["pad", "second"]),
        "r4": (("r1", "r3"), ["sum"]),
    }
    assert [segment.layer for segment in segments] == ["r1", "r2", "r3", "r4"]


def test_unmatched_taps_lie_inside_segments() -> None:
    """With the output alone matched, one segment is the whole model, each operation in it once."""
    (segment,) = KerasModel(network()).segments({"out": "sum"})
    assert segment.anchors == (INPUT,)
    assert sorted(node.operation.name for node in segment.nodes) == ["act", "first", "pad", "second", "sum"]


def test_a_segment_does_not_reach_past_its_anchors() -> None:
    """What lies before an anchor is not run: the anchor's value is taken as it is given."""
    port = KerasModel(network())
    segment = by_layer(port.segments(ALL))["r4"]
    values = [image(2, 5, 7, 5, seed=seed) for seed in (2, 3)]
    np.testing.assert_array_equal(as_array(segment.run([as_tensor(v) for v in values])), values[0] + values[1])


def test_an_operation_can_be_replaced_for_one_run() -> None:
    """A replay puts another callable in an operation's place; the next run is the old one."""
    segment = by_layer(KerasModel(network()).segments(ALL))["r2"]
    value = as_tensor(image(2, 5, 7, 5))
    replaced = as_array(segment.run([value], Edit(replaced={segment.tap.operation: lambda x: x * 2})))
    np.testing.assert_array_equal(replaced, image(2, 5, 7, 5) * 2)
    assert not np.array_equal(as_array(segment.run([value])), replaced)


# -- running -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_segments_together_are_the_model(mode: str) -> None:
    """On the port's own values, each segment gives the model's own intermediate value, and the last its output."""
    model = network()
    port = KerasModel(model)
    found, output = whole(port, port.segments(ALL), image(), mode)
    middle = keras.Model(model.input, [model.get_layer(name).output for name in ALL.values()])
    for (layer, _), wanted in zip(ALL.items(), middle(image()), strict=True):
        np.testing.assert_allclose(found[layer], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(output, model(image()), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(port.plain({INPUT: image()}, mode)["output"], model(image()), rtol=1e-5, atol=1e-5)


def test_eagerly_the_watched_output_is_the_plain_one() -> None:
    """Cutting the model changes nothing of what it computes, to the bit."""
    port = KerasModel(network())
    _, output = whole(port, port.segments(ALL), image(), "eager")
    np.testing.assert_array_equal(output, port.plain({INPUT: image()}, "eager")["output"])


@pytest.mark.parametrize("mode", MODES)
def test_a_sample_is_at_the_wanted_places(mode: str) -> None:
    """`propagate` gives the values at the flat positions that were asked for, in their order."""
    port = KerasModel(network())
    segments = port.segments(ALL)
    everything, _ = whole(port, segments, image(), mode)
    places = [np.array([7, 2, 349, 2]) for _ in segments]
    samples, _ = port.propagate({INPUT: image()}, segments, places, mode)
    for segment, sample, wanted in zip(segments, samples, places, strict=True):
        np.testing.assert_allclose(sample, everything[segment.layer].reshape(-1)[wanted], rtol=1e-6)


def introduced(
    port: KerasModel, matched: Mapping[str, str], anchors: Mapping[str, Array], mode: str
) -> dict[str, Array]:
    """What `introduce` makes of the anchors, by layer."""
    return {s.layer: value.copy() for s, value in port.introduce(port.segments(matched), anchors, mode)}


@pytest.mark.parametrize("mode", MODES)
def test_segments_run_on_the_references_values(mode: str) -> None:
    """On values that are not the port's own, each segment gives what its layers make of those, and of nothing else."""
    model = network()
    anchors = {INPUT: image(), **{name: image(2, 5, 7, 5, seed=seed) for seed, name in enumerate(ALL, start=2)}}
    found = introduced(KerasModel(model), ALL, anchors, mode)
    act, pad, second = (model.get_layer(name) for name in ("act", "pad", "second"))
    wanted = {
        "r1": model.get_layer("first")(anchors[INPUT]),
        "r2": act(anchors["r1"]),
        "r3": second(pad(anchors["r2"])),
        "r4": anchors["r1"] + anchors["r3"],
    }
    assert list(found) == list(wanted)
    for layer, value in wanted.items():
        np.testing.assert_allclose(found[layer], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_on_its_own_values_a_port_introduces_what_it_propagates(mode: str) -> None:
    """Given the port's own values as anchors, both ways of running give the same values."""
    port = KerasModel(network())
    propagated, _ = whole(port, port.segments(ALL), image(), mode)
    found = introduced(port, ALL, {INPUT: image(), **propagated}, mode)
    for layer, value in propagated.items():
        np.testing.assert_allclose(found[layer], value, rtol=1e-5, atol=1e-5)


def test_a_fault_is_introduced_once_and_propagated_ever_after() -> None:
    """A port whose first kernel is wrong differs end to end in every layer, and on right values only in the first."""
    right = KerasModel(network())
    anchors, _ = whole(right, right.segments(ALL), image(), "eager")
    wrong = network()
    wrong.get_layer("first").kernel.assign(wrong.get_layer("first").kernel * 2)
    port = KerasModel(wrong)
    propagated, _ = whole(port, port.segments(ALL), image(), "eager")
    assert [name for name in ALL if not np.array_equal(propagated[name], anchors[name])] == list(ALL)
    found = introduced(port, ALL, {INPUT: image(), **anchors}, "eager")
    assert [name for name in ALL if not np.array_equal(found[name], anchors[name])] == ["r1"]


def test_modes_are_ways_to_run() -> None:
    """Eager runs now, graph as a tf.function, xla compiled; any other word is refused with the known ones."""
    seen: list[tuple[bool, bool]] = []

    @keras.saving.register_keras_serializable("tests")
    class Witness(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
            seen.append((tf.executing_eagerly(), "jit" in type(graph).__name__.lower()))
            return x + 1.0

    port = KerasModel(chain(Witness()))
    seen.clear()
    for mode in MODES:
        np.testing.assert_array_equal(port.plain({INPUT: image()}, mode)["output"], image() + 1)
    assert [eager for eager, _ in seen] == [True, False, False]
    compiled = port._compile(("plain",), "xla", lambda value: value)
    assert "HloModule" in compiled.experimental_get_compiler_ir({INPUT: as_tensor(image())})(stage="hlo")
    with pytest.raises(UsageError, match="mode 'fast' is not known; the modes are eager, graph, xla"):
        port.plain({INPUT: image()}, "fast")["output"]


def test_a_compiled_function_is_kept() -> None:
    """Running again does not compile again; another way of running does."""
    port = KerasModel(network())
    first = port._compile(("plain",), "graph", lambda value: value)
    assert port._compile(("plain",), "graph", lambda value: value) is first
    assert port._compile(("plain",), "xla", lambda value: value) is not first


def test_inference_is_what_is_run() -> None:
    """Dropout drops nothing and normalisation uses its moving statistics, whole or in segments."""
    model = chain(layers.BatchNormalization(name="norm"), layers.Dropout(0.5, name="drop"))
    port = KerasModel(model)
    wanted = np.asarray(model(image(), training=False))
    np.testing.assert_allclose(port.plain({INPUT: image()}, "eager")["output"], wanted, rtol=1e-6)
    found, _ = whole(port, port.segments({"a": "norm", "b": "drop"}), image(), "eager")
    np.testing.assert_allclose(found["b"], wanted, rtol=1e-5)
    assert not np.allclose(model(image(), training=True), wanted, rtol=1e-2)


def test_sizes_may_be_left_open() -> None:
    """A model for any height and width is run at the size it is given."""
    port = KerasModel(chain(layers.Conv2D(5, 3, name="conv"), shape=(None, None, 3)))
    assert port.taps[0].shape == (None, None, None, 5)
    assert port.plain({INPUT: image(1, 7, 11, 3)}, "eager")["output"].shape == (1, 5, 9, 5)


# -- the model is not changed ------------------------------------------------------------------------------------------


def state(model: Any) -> tuple[Any, ...]:
    """What running a model must leave alone."""
    nodes = {layer.name: (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers}
    weights = [weight.copy() for weight in model.get_weights()]
    return nodes, weights, model.get_config(), [layer.trainable for layer in model.layers]


@pytest.mark.parametrize("mode", MODES)
def test_being_watched_changes_nothing(mode: str) -> None:
    """Nodes, weights and configuration are the same afterwards, and so is what the model computes."""
    model = network()
    before, output = state(model), np.asarray(model(image()))
    port = KerasModel(model)
    segments = port.segments(ALL)
    port.propagate({INPUT: image()}, segments, [np.arange(3) for _ in segments], mode)
    introduced(port, ALL, {INPUT: image(), **{name: image(2, 5, 7, 5) for name in ALL}}, mode)
    port.plain({INPUT: image()}, mode)["output"]
    after = state(model)
    assert (before[0], before[2], before[3]) == (after[0], after[2], after[3])
    for old, new in zip(before[1], after[1], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(np.asarray(model(image())), output)


def test_a_change_would_be_seen() -> None:
    """The check above can fail: building another model on a layer leaves a node on it."""
    model = network()
    before = state(model)
    layers.ReLU()(model.get_layer("second").output)
    assert state(model)[0] != before[0]


def test_the_input_is_not_changed() -> None:
    """An array that TensorFlow shares memory with is the same after a run."""
    array = image()
    port = KerasModel(network())
    for mode in MODES:
        port.plain({INPUT: array}, mode)["output"]
    np.testing.assert_array_equal(array, image())


@pytest.mark.parametrize("mode", MODES)
def test_later_weights_are_used(mode: str) -> None:
    """Weights assigned after a mode was compiled are what the next run computes with."""
    model = network()
    port = KerasModel(model)
    before = port.plain({INPUT: image()}, mode)["output"].copy()
    model.get_layer("second").bias.assign_add(np.ones(5))
    np.testing.assert_allclose(port.plain({INPUT: image()}, mode)["output"], before + 1, rtol=1e-5, atol=1e-5)


# -- arrays and tensors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int64"])
def test_arrays_become_tensors_and_back(dtype: str) -> None:
    """Values, shape and dtype survive, for arrays in any order and read-only ones too."""
    array = (image() * 100).astype(dtype)
    frozen = array.copy()
    frozen.setflags(write=False)
    for each in (array, np.moveaxis(array, 1, -1), array[:, ::2], frozen):
        back = as_array(as_tensor(each))
        assert back.dtype == each.dtype
        np.testing.assert_array_equal(back, each)


def test_bfloat16_values_can_be_read() -> None:
    """A port that computes in bfloat16 can be compared."""
    np.testing.assert_array_equal(as_array(tf.constant([2.0, 3.0], tf.bfloat16)).astype(np.float32), [2.0, 3.0])


def test_results_cannot_be_written_to() -> None:
    """A result shares memory with TensorFlow, so NumPy must not write to it."""
    assert not as_array(tf.constant([2.0, 3.0])).flags.writeable


# -- refusals ----------------------------------------------------------------------------------------------------------


class Subclassed(keras.Model):
    """A model whose layers nobody can see."""

    def call(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize("port", [Subclassed(), None, len])
def test_what_has_no_graph_is_refused(port: Any) -> None:
    """A subclassed model, and what is no model at all, is refused in one sentence that says what is needed."""
    name = type(port).__name__
    with pytest.raises(PairError, match=f"^the port is a {name}; a functional or sequential keras.Model is needed$"):
        KerasModel(port)


def test_several_inputs_and_outputs_are_run_by_name() -> None:
    """Inputs and outputs of a mapping are named by their keys; arrays go where `feeds` says, watched or not."""
    left, right = (keras.Input((5, 7, 3), name=name) for name in ("left", "right"))
    difference = layers.Subtract(name="difference")([left, right])
    model = keras.Model({"left": left, "right": right}, {"sub": difference, "act": layers.ReLU(name="act")(difference)})
    port = KerasModel(model)
    assert port.inputs == ("input.left", "input.right")
    assert port.output_taps == {"output.sub": "difference", "output.act": "act"}
    port.feeds = {"input[0]": "input.right", "input[1]": "input.left"}
    arrays = {"input[0]": image(), "input[1]": image(seed=4)}
    wanted = arrays["input[1]"] - arrays["input[0]"]
    plain = port.plain(arrays, "eager")
    np.testing.assert_array_equal(plain["output.sub"], wanted)
    np.testing.assert_array_equal(plain["output.act"], np.maximum(wanted, 0))
    segments = port.segments({"a": "act"})
    assert segments[0].anchors == ("input[1]", "input[0]")
    _, outputs = port.propagate(arrays, segments, [np.arange(3)], "eager")
    np.testing.assert_array_equal(outputs["output.sub"], wanted)
    np.testing.assert_array_equal(outputs["output.act"], np.maximum(wanted, 0))


@pytest.mark.parametrize(
    ("pack_input", "pack_output"),
    [
        (lambda x: [x], lambda y: y),
        (lambda x: x, lambda y: [y]),
        (lambda x: {"image": x}, lambda y: y),
        (lambda x: x, lambda y: {"flow": y}),
    ],
    ids=["input in a list", "output in a list", "input in a dict", "output in a dict"],
)
def test_one_input_and_output_may_be_packed(
    pack_input: Callable[[Any], Any], pack_output: Callable[[Any], Any]
) -> None:
    """`keras.Model([x], {"flow": y})` has one input and one output, and is run without a warning."""
    start = keras.Input((5, 7, 3), name="image")
    model = keras.Model(pack_input(start), pack_output(layers.ReLU(name="act")(start)))
    np.testing.assert_array_equal(KerasModel(model).plain({INPUT: image()}, "eager")["output"], np.maximum(image(), 0))


def test_a_sequential_model_is_a_port() -> None:
    """The message promises it, and it is the commonest form of a small port."""
    model = keras.Sequential([keras.Input((5, 7, 3)), layers.Conv2D(5, 3, name="conv"), layers.ReLU(name="act")])
    assert names(model) == ["conv", "act"]


def test_a_port_without_operations_is_refused() -> None:
    """A model that gives back its input has nothing to compare, and says so."""
    start = keras.Input((5, 7, 3))
    with pytest.raises(PairError):
        KerasModel(keras.Model(start, start))


def test_an_activation_layer_is_of_its_activations_kind() -> None:
    """`Activation("tanh")` is a tanh, so that torch's finds it; one that is given as a function likewise."""
    port = KerasModel(chain(layers.Activation("tanh", name="a"), layers.Activation(keras.ops.silu, name="b")))
    assert [(tap.name, tap.kind) for tap in port.taps] == [("a", "tanh"), ("b", "silu")]


def test_the_output_need_not_be_matched() -> None:
    """Where the map leaves the port's output to nothing of the reference's, the run gives it all the same."""
    port = KerasModel(network())
    segments = port.segments({"r1": "first"})
    _, outputs = port.propagate({INPUT: image()}, segments, [np.arange(3)], "eager")
    np.testing.assert_array_equal(outputs["output"], port.plain({INPUT: image()}, "eager")["output"])


@pytest.mark.parametrize("mode", MODES)
def test_an_input_that_does_not_fit_is_said(mode: str) -> None:
    """Channels that the port does not take are one sentence, in every mode."""
    port = KerasModel(chain(layers.Conv2D(5, 3, name="conv"), shape=(None, None, 3)))
    with pytest.raises(PairError, match=f"the port cannot run in {mode}: ") as caught:
        port.plain({INPUT: image(2, 5, 7, 2)}, mode)["output"]
    assert "\n" not in str(caught.value)


# -- files -------------------------------------------------------------------------------------------------------------


@saves
def test_a_keras_file_is_a_port(tmp_path: Path) -> None:
    """A `.keras` file, by path or by text, is loaded and computes what the model did."""
    model = network()
    model.save(tmp_path / "port.keras")
    for path in (tmp_path / "port.keras", str(tmp_path / "port.keras")):
        port = KerasModel(path)
        assert [tap.name for tap in port.taps] == names(model)
        np.testing.assert_array_equal(port.plain({INPUT: image()}, "eager")["output"], np.asarray(model(image())))


def write_empty_zip(path: Path) -> None:
    """An archive with nothing in it."""
    with zipfile.ZipFile(path, "w"):
        pass


def write_half(path: Path) -> None:
    """The first half of a model."""
    network().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@saves
@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no model"),
        write_empty_zip,
        write_half,
        Path.mkdir,
    ],
    ids=["missing", "empty", "text", "empty archive", "half", "folder"],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """Whatever is wrong with a file, the error names it in one line."""
    write(tmp_path / "port.keras")
    with pytest.raises(PairError, match=r"cannot load .*port\.keras as a Keras model: ") as caught:
        KerasModel(tmp_path / "port.keras")
    assert "\n" not in str(caught.value)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """A file whose layers hold Python code is refused, not executed."""
    chain(layers.Lambda(lambda x: x + 1)).save(tmp_path / "port.keras")
    with pytest.raises(PairError, match="cannot load"):
        KerasModel(tmp_path / "port.keras")


def test_a_relu_is_of_the_kind_of_what_it_computes() -> None:
    """A ReLU layer up to 6 is a relu6, one with a slope a leaky ReLU; another bound leaves it a ReLU."""
    image = keras.Input((3,))
    value = keras.layers.ReLU()(image)
    for settings in ({"max_value": 6.0}, {"negative_slope": 0.1}, {"max_value": 5.0}):
        value = keras.layers.ReLU(**settings)(value)
    kinds = [tap.kind for tap in KerasModel(keras.Model(image, value)).taps]
    assert kinds == ["relu", "relu6", "leakyrelu", "relu"]


# -- watched in its own run -------------------------------------------------------------------------------------------


def shared() -> Any:
    """A layer that fires twice, and the difference of what it makes."""
    start = keras.Input((5, 7, 3))
    layer = layers.Dense(3, activation=None, name="dense")
    once = layer(start)
    return drawn(keras.Model(start, layers.Subtract(name="difference")([layer(once), once])))


@pytest.mark.parametrize("make", [network, shared])
def test_a_functional_model_is_watched_in_the_run_of_its_user(make: Callable[[], Any]) -> None:
    """Its plain outputs, and every value at its places, bit for bit as watched, of one run of its operations."""
    model = make()
    port, array = KerasModel(model), image()
    segments = port.segments({tap.name: tap.name for tap in port.taps})
    places = [np.array([0, 9, 41])] * len(segments)
    calls, call = [], type(model.layers[-1]).call
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.layers[-1]), "call", lambda *a, **k: calls.append(1) or call(*a, **k))
        found = port.at_once({INPUT: array}, segments, places)
    assert found is not None
    assert len(calls) == 1
    samples, outputs = port.propagate({INPUT: array}, segments, places, "eager")
    plain = port.plain({INPUT: array}, "eager")
    assert outputs.keys() == found[1].keys() == plain.keys()
    assert all(np.array_equal(found[1][name], plain[name]) for name in plain)
    assert all(np.array_equal(one, other) for one, other in zip(found[0], samples, strict=True))
    assert "_run_through_graph" not in vars(model)


def test_a_value_of_another_shape_is_still_read() -> None:
    """Places that lie outside of a value do not end the run."""
    port = KerasModel(network())
    (segment, *_) = segments = port.segments({"r1": "first"})
    found = port.at_once({INPUT: image()}, segments, [np.array([0, 10**9])])
    assert found is not None
    assert found[0][0].shape == (2,)
    assert segment.layer == "r1"


class Twice(keras.Model):
    """Runs its graph on what its graph makes."""

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        """The same shape as `x`."""
        return super().call(super().call(x, training=training), training=training)


def test_a_model_that_does_something_else_is_not_watched_in_its_run() -> None:
    """A functional model may have a `call` of its own; what its run makes of the graph is then not the graph's."""
    start = keras.Input((5, 7, 3))
    model = drawn(Twice(start, layers.Dense(3, name="dense")(start)))
    port = KerasModel(model)
    assert isinstance(model, Twice)
    assert port.at_once({INPUT: image()}, port.segments({"r1": "dense"}), [np.array([0])]) is None
    assert "_run_through_graph" not in vars(model)


def test_a_model_that_is_run_by_another_is_not_watched_in_its_run() -> None:
    """What was opened is a graph made of a model; the model itself does not run it."""
    model = network()
    port = KerasModel(model, whole=lambda values: model(values[INPUT]))
    assert port.at_once({INPUT: image()}, port.segments(ALL), [np.array([0])] * 4) is None
