"""The Keras side: a port run in every mode, and never changed by it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from keras_nets import ALL, chain, drawn, image, layers, network, whole

from parity.axes import Array
from parity.errors import UsageError
from parity.frameworks import keras, tf
from parity.pairs import INPUT
from parity.runners.keras_model import KerasModel
from parity.runners.taps import MODES
from parity.runners.tensors import as_array, as_tensor

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


# -- watched in its own run --------------------------------------------------------------------------------------------


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
