"""A model with something done differently: the copy differs by the edit alone, and the original not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.runners.edits import NOTHING, Edit, copy_of, edited_copy, named, nodes_of

layers = keras.layers
ops = keras.ops


def image(*shape: int) -> Array:
    """Noise of both signs: by default two pictures, 5 high, 7 wide, of 3 channels."""
    return np.random.default_rng(1).standard_normal(shape or (2, 5, 7, 3), dtype=np.float32)


def randomised(model: Any) -> Any:
    """The model with every weight drawn anew, variances positive: zeros and ones would hide a mistake."""
    generator = np.random.default_rng(2)
    model.set_weights([0.1 + generator.random(weight.shape, dtype=np.float32) for weight in model.get_weights()])
    return model


KERAS_SAVES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Keras's own, when it writes weights."""


# -- models of every form ----------------------------------------------------------------------------------------------


def plain() -> Any:
    """Layers and operations one after the other, with a branch."""
    start = keras.Input((5, 7, 3), name="start")
    first = layers.Conv2D(4, 3, padding="same", name="first")(start)
    act = layers.LeakyReLU(negative_slope=0.1, name="act")(first)
    second = layers.Conv2D(4, 3, padding="same", name="second")(act)
    return keras.Model(start, layers.Concatenate(name="cat")([second, first * 2.0]), name="plain")


def sequential() -> Any:
    """A Sequential model with a norm."""
    return keras.Sequential(
        [
            keras.Input((5, 7, 3)),
            layers.Conv2D(4, 3, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="act"),
        ],
        name="sequential",
    )


def shared() -> Any:
    """A layer that fires twice."""
    start = keras.Input((5, 7, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    return keras.Model(start, conv(ops.tanh(conv(start))), name="shared")


def with_lambda() -> Any:
    """A Lambda of a function that closes over nothing."""
    start = keras.Input((5, 7, 3))
    value = layers.Lambda(lambda x: x * 2 + 1, name="twice")(layers.Conv2D(4, 1, name="first")(start))
    return keras.Model(start, value)


def nested() -> Any:
    """A model inside a model."""
    start = keras.Input((5, 7, 3))
    return keras.Model(start, layers.Conv2D(2, 1, name="last")(sequential()(start)))


def recurrent() -> Any:
    """Layers over a sequence, one of them given two tensors."""
    start = keras.Input((9, 3))
    value = layers.LSTM(5, return_sequences=True, name="lstm")(start)
    return keras.Model(start, layers.Attention(name="attend")([value, layers.GRU(5, return_sequences=True)(value)]))


def several() -> Any:
    """Two inputs and a dictionary of two outputs."""
    left, right = keras.Input((5,), name="left"), keras.Input((7,), name="right")
    joined = layers.Concatenate(name="cat")([layers.Dense(3, name="a")(left), layers.Dense(4, name="b")(right)])
    return keras.Model([left, right], {"joined": joined, "sum": ops.sum(joined, axis=-1)})


MODELS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "plain": (plain, image),
    "sequential": (sequential, image),
    "shared": (shared, image),
    "lambda": (with_lambda, image),
    "nested": (nested, image),
    "recurrent": (recurrent, lambda: image(2, 9, 3)),
    "several": (several, lambda: [image(2, 5), image(2, 7)]),
}


def values(model: Any, given: Any) -> list[Array]:
    """What a model makes of an input, as a list of arrays."""
    return [np.asarray(value) for value in keras.tree.flatten(model(given, training=False))]


def same(ours: list[Array], theirs: list[Array]) -> None:
    """Equal bit for bit."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def state(model: Any) -> tuple[Any, ...]:
    """All of a model that an edit could touch: names, configuration, weights, what reads what."""
    graph = getattr(model, "_functional", None) or model
    names = [node.operation.name for node in nodes_of(graph)]
    reads = [[id(tensor) for tensor in node.input_tensors] for node in nodes_of(graph)]
    configs = [repr(layer.get_config()) for layer in model.layers if not isinstance(layer, keras.Model)]
    firings = [len(node.operation._inbound_nodes) for node in nodes_of(graph)]
    return names, reads, configs, firings, [weight.tobytes() for weight in model.get_weights()]


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Each of the models, and an input for it."""
    make, given = MODELS[request.param]
    return randomised(make()), given()


def node(model: Any, name: str, firing: int = 0) -> Any:
    """A firing of an operation."""
    graph = getattr(model, "_functional", None) or model
    return [each for each in nodes_of(graph) if each.operation.name == name][firing]


# -- the copy ----------------------------------------------------------------------------------------------------------


def test_a_copy_is_equal_bit_for_bit(case: tuple[Any, Any]) -> None:
    """Without an edit the copy computes what the original computes, in the same structure and under the same names."""
    model, given = case
    copy = edited_copy(model)
    same(values(copy, given), values(model, given))
    assert [layer.name for layer in copy.layers if layer.weights] == [
        layer.name for layer in model.layers if layer.weights
    ]
    assert copy.name == model.name
    structure = keras.tree.map_structure(lambda value: None, model(given))
    assert keras.tree.map_structure(lambda value: None, copy(given)) == structure


def test_a_copy_shares_no_weights(case: tuple[Any, Any]) -> None:
    """What is done to the copy's weights leaves the original as it was."""
    model, given = case
    before, was = values(model, given), state(model)
    copy = edited_copy(model)
    copy.set_weights([weight * 0 for weight in copy.get_weights()])
    same(values(model, given), before)
    assert state(model)[:3] == was[:3]
    assert state(model)[4] == was[4]


def test_the_originals_nodes_stay_as_many() -> None:
    """No operation of the original has fired once more because a copy was made."""
    model = plain()
    was = state(model)
    edited_copy(model)
    assert state(model) == was


def test_a_copy_keeps_names() -> None:
    """Layers and inputs have the original's names, so that one layer map fits both."""
    model = plain()
    copy = edited_copy(model)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    assert copy.inputs[0].name == model.inputs[0].name


def test_a_copy_in_another_precision() -> None:
    """A float64 copy computes in float64 what the original computes, with the original's float32 weights."""
    model = randomised(plain())
    copy = edited_copy(model, dtype="float64")
    value = copy(image().astype(np.float64))
    assert {weight.dtype for weight in copy.weights} == {"float64"}
    assert value.dtype == "float64"
    np.testing.assert_allclose(np.asarray(value), np.asarray(model(image())), rtol=1e-4, atol=1e-5)
    same([np.asarray(weight, np.float32) for weight in copy.get_weights()], model.get_weights())


def test_integers_stay_integers_in_another_precision() -> None:
    """Tokens are no values: a float64 copy takes them as the original does."""
    start = keras.Input((7,), dtype="int32")
    model = keras.Model(start, layers.Dense(2)(layers.Embedding(11, 4)(start)))
    copy = edited_copy(model, dtype="float64")
    assert copy.inputs[0].dtype == "int32"
    assert copy(np.array([[2, 3, 5, 7, 0, 1, 4]])).dtype == "float64"


def test_a_copy_of_a_copy_is_the_same() -> None:
    """Copies are made of copies as of any model."""
    model = randomised(plain())
    same(values(edited_copy(edited_copy(model)), image()), values(model, image()))


@KERAS_SAVES
@pytest.mark.parametrize("name", ["plain", "sequential", "shared", "recurrent"])
def test_a_copy_is_saved_and_loaded(tmp_path: Path, name: str) -> None:
    """A copy goes to a .keras file and back, and computes the same."""
    make, given = MODELS[name]
    model = randomised(make())
    edited_copy(model).save(tmp_path / "copy.keras")
    same(values(keras.saving.load_model(tmp_path / "copy.keras"), given()), values(model, given()))


# -- each kind of edit -------------------------------------------------------------------------------------------------


def edits_of(model: Any) -> dict[str, tuple[Edit, Callable[[Array], Array]]]:
    """For each kind of edit, one, and what the plain model computes under it, by hand."""
    first, act, second = (model.get_layer(name) for name in ("first", "act", "second"))

    def by_hand(x: Any, *, slope: Any = act, skip: bool = False, before: Any = None, after: Any = None) -> Any:
        one = first(x)
        bent = one if skip else slope(one)
        two = second(bent if before is None else before(bent))
        return ops.concatenate([two if after is None else after(two), one * 2.0], -1)

    leaky = layers.LeakyReLU(negative_slope=0.3)
    return {
        "replaced": (Edit(replaced={act: leaky}), lambda x: by_hand(x, slope=leaky)),
        "rerouted": (
            Edit(rerouted={(node(model, "second"), 0): first.output}),
            lambda x: by_hand(x, skip=True),
        ),
        "inserted": (Edit(inserted={(node(model, "second"), 0): ops.tanh}), lambda x: by_hand(x, before=ops.tanh)),
        "appended": (Edit(appended={node(model, "second"): ops.sin}), lambda x: by_hand(x, after=ops.sin)),
        "two at once": (
            Edit(replaced={act: leaky}, appended={node(model, "second"): ops.sin}),
            lambda x: by_hand(x, slope=leaky, after=ops.sin),
        ),
    }


KINDS = ("replaced", "rerouted", "inserted", "appended", "two at once")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_edit_does_what_it_says(kind: str) -> None:
    """The copy computes what the same change by hand computes, and the original what it did."""
    model = randomised(plain())
    before, was = values(model, image()), state(model)
    edit, by_hand = edits_of(model)[kind]
    copy = edited_copy(model, edit)
    wanted = np.asarray(by_hand(image()))
    same(values(copy, image()), [wanted])
    assert not np.array_equal(wanted, before[0])
    same(values(model, image()), before)
    assert state(model)[:3] == was[:3]
    assert state(model)[4] == was[4]


@pytest.mark.parametrize("kind", KINDS)
def test_what_makes_an_edited_value_has_the_originals_name(kind: str) -> None:
    """Each name of the original, but for one that nothing reads any more, is that of one operation in the copy."""
    model = randomised(plain())
    copy = edited_copy(model, edits_of(model)[kind][0])
    names = [operation.name for operation in copy.operations]
    assert len(set(names)) == len(names)
    left_out = {"act"} if kind == "rerouted" else set()
    assert {operation.name for operation in model.operations} - left_out <= set(names)


@KERAS_SAVES
@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_copy_is_saved_and_loaded(tmp_path: Path, kind: str) -> None:
    """An edit made of layers and of keras.ops goes to a .keras file and back."""
    model = randomised(plain())
    copy = edited_copy(model, edits_of(model)[kind][0])
    copy.save(tmp_path / "copy.keras")
    same(values(keras.saving.load_model(tmp_path / "copy.keras"), image()), values(copy, image()))


def test_an_operation_nobody_reads_any_more_is_left_out() -> None:
    """Rerouted past, an activation is not in the copy."""
    model = plain()
    copy = edited_copy(model, edits_of(model)["rerouted"][0])
    assert "act" not in [layer.name for layer in copy.layers]


def test_one_argument_of_two_is_rerouted() -> None:
    """Where an operation reads a tensor twice, one of the two is changed and the other not."""
    start = keras.Input((5,))
    double = layers.Rescaling(2.0, name="double")(start)
    model = keras.Model(start, layers.Subtract(name="sub")([double, double]))
    given = image(3, 5)
    for place, wanted in ((0, given - 2 * given), (1, 2 * given - given)):
        copy = edited_copy(model, Edit(rerouted={(node(model, "sub"), place): start}))
        same(values(copy, given), [wanted])


def test_an_argument_given_by_its_name_is_rerouted() -> None:
    """Tensors among keyword arguments are counted after the positional ones."""
    model = randomised(recurrent())
    gru = next(layer for layer in model.layers if isinstance(layer, layers.GRU))
    lstm = model.get_layer("lstm")
    copy = edited_copy(model, Edit(rerouted={(node(model, "attend"), 1): lstm.output}))
    given = image(2, 9, 3)
    value = lstm(given)
    same(values(copy, given), [np.asarray(layers.Attention()([value, value]))])
    assert gru.name not in [layer.name for layer in copy.layers]


def test_a_later_tensor_may_be_read_earlier() -> None:
    """A node is rerouted to a tensor that is computed after it in the original; the copy runs in the new order."""
    start = keras.Input((5,))
    one = layers.Dense(4, name="one")(start)
    two = layers.Dense(4, name="two")(layers.Dense(4, name="deep")(layers.Dense(4, name="deeper")(start)))
    model = randomised(keras.Model(start, layers.Concatenate()([layers.Dense(3, name="head")(one), two])))
    copy = edited_copy(model, Edit(rerouted={(node(model, "head"), 0): two}))
    given = image(2, 5)
    deep = model.get_layer("two")(model.get_layer("deep")(model.get_layer("deeper")(given)))
    same(values(copy, given), [np.concatenate([model.get_layer("head")(deep), deep], -1)])


# -- shared layers -----------------------------------------------------------------------------------------------------


def test_a_shared_layer_is_copied_once() -> None:
    """A layer that fires twice is one layer in the copy, with one set of weights."""
    model = randomised(shared())
    copy = edited_copy(model)
    assert [layer.name for layer in copy.layers if layer.weights] == ["conv"]
    assert len(copy.weights) == 2


def test_a_shared_layer_is_replaced_wherever_it_fires() -> None:
    """A replacement stands for the operation, so in each of its places."""
    model = randomised(shared())
    other = layers.Conv2D(3, 3, padding="valid")
    copy = edited_copy(model, Edit(replaced={model.get_layer("conv"): other}))
    assert copy.output.shape == (None, 1, 3, 3)


def test_one_firing_of_a_shared_layer_is_edited() -> None:
    """What is appended to a node, or inserted before it, is so at that firing only."""
    model = randomised(shared())
    conv = model.get_layer("conv")
    start = image()
    copy = edited_copy(model, Edit(appended={node(model, "conv", 0): ops.sin}))
    same(values(copy, start), [np.asarray(conv(ops.tanh(ops.sin(conv(start)))))])
    copy = edited_copy(model, Edit(inserted={(node(model, "conv", 1), 0): ops.sin}))
    same(values(copy, start), [np.asarray(conv(ops.sin(ops.tanh(conv(start)))))])


# -- edits as data -----------------------------------------------------------------------------------------------------


def test_edits_are_joined() -> None:
    """Of two edits both hold, and where they speak of one place the later counts."""
    model = plain()
    act, second = model.get_layer("act"), node(model, "second")
    one = Edit(replaced={act: ops.tanh}, appended={second: ops.sin})
    other = Edit(replaced={act: ops.relu}, inserted={(second, 0): ops.abs})
    both = one | other
    assert both.replaced == {act: ops.relu}
    assert both.appended == {second: ops.sin}
    assert both.inserted == {(second, 0): ops.abs}
    assert one.replaced == {act: ops.tanh}
    assert NOTHING | one == one | NOTHING == one


def test_an_edit_knows_what_it_touches() -> None:
    """A node is touched where its operation is replaced, or what it reads or gives is changed; no other is."""
    model = plain()
    nodes = {name: node(model, name) for name in ("first", "act", "second", "cat")}
    cases = {
        "act": Edit(replaced={model.get_layer("act"): ops.tanh}),
        "second": Edit(rerouted={(nodes["second"], 0): model.get_layer("first").output}),
        "cat": Edit(inserted={(nodes["cat"], 1): ops.tanh}),
        "first": Edit(appended={nodes["first"]: ops.tanh}),
    }
    for touched, edit in cases.items():
        assert [name for name, each in nodes.items() if edit.touches(each)] == [touched]
    assert cases["second"].reads(nodes["second"]) == [model.get_layer("first").output]


# -- copies of operations, names, errors -------------------------------------------------------------------------------


def test_an_operation_is_copied_with_changes() -> None:
    """A copy has the configuration but for the changes, the name, and no weights yet."""
    conv = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")
    conv.build((None, 5, 7, 3))
    copy = copy_of(conv, padding="valid", strides=2)
    assert (copy.padding, copy.strides, copy.filters, copy.name) == ("valid", (2, 2), 4, "conv")
    assert copy.activation is conv.activation
    assert not copy.built
    assert conv.padding == "same"


def test_names_are_given_to_what_makes_a_value() -> None:
    """A named change calls the operation that makes its symbolic value so; on arrays it only computes."""
    model = plain()
    change = named(lambda x: ops.tanh(x) * 2.0, "bent")
    copy = edited_copy(model, Edit(inserted={(node(model, "second"), 0): change}))
    assert "bent" in [operation.name for operation in copy.operations]
    np.testing.assert_array_equal(np.asarray(change(np.ones(2, np.float32))), 2 * np.tanh(np.ones(2, np.float32)))


@pytest.mark.parametrize("taken", ["second", "cat", "start"])
def test_a_layer_brought_in_under_a_taken_name(taken: str) -> None:
    """A new layer with a name that another has is renamed: Keras allows each name once."""
    model = randomised(plain())
    extra = layers.Activation("tanh", name=taken)
    copy = edited_copy(model, Edit(inserted={(node(model, "second"), 0): extra}))
    names = [operation.name for operation in copy.operations]
    assert len(set(names)) == len(names)
    assert {"start", "first", "act", "second", "cat"} <= set(names)


class Stubborn(layers.Layer):
    """A layer whose configuration Keras cannot guess."""

    def __init__(self, function: Any, *, weighted: bool, **more: Any) -> None:
        super().__init__(**more)
        self._function = function
        self._weighted = weighted

    def build(self, shape: Any) -> None:
        if self._weighted:
            self.gain = self.add_weight(shape=(shape[-1],), name="gain")

    def call(self, x: Any) -> Any:
        return self._function(x)


def with_stubborn(weighted: bool) -> Any:
    """A model with such a layer."""
    start = keras.Input((5, 7, 3))
    layer = Stubborn(ops.tanh, weighted=weighted, name="stubborn")
    return randomised(keras.Model(start, layers.Conv2D(2, 1, name="last")(layer(start))))


def test_a_layer_with_weights_that_cannot_be_copied_is_an_error() -> None:
    """A layer that Keras cannot make anew, and that has weights, is refused by name."""
    with pytest.raises(PairError, match="Keras cannot copy the layer 'stubborn'"):
        edited_copy(with_stubborn(weighted=True))


def test_a_layer_without_weights_that_cannot_be_copied_is_used_itself() -> None:
    """Without weights there is nothing to share: the layer itself is in the copy, under its name."""
    model = with_stubborn(weighted=False)
    copy = edited_copy(model)
    same(values(copy, image()), values(model, image()))
    assert model.get_layer("stubborn") is not None
    assert copy.get_layer("stubborn") is model.get_layer("stubborn")


def test_a_subclassed_layer_is_copied() -> None:
    """A layer of the port's own class with a configuration is made anew, with its weights."""

    @keras.saving.register_keras_serializable("edits")
    class Gain(layers.Layer):
        def build(self, shape: Any) -> None:
            self.gain = self.add_weight(shape=(shape[-1],), name="gain")

        def call(self, x: Any) -> Any:
            return x * self.gain

    start = keras.Input((5, 7, 3))
    model = randomised(keras.Model(start, Gain(name="gain")(start)))
    copy = edited_copy(model)
    assert copy.get_layer("gain") is not model.get_layer("gain")
    same(values(copy, image()), values(model, image()))


def test_a_copy_runs_as_a_graph() -> None:
    """An edited copy is a model as any other: tf.function traces it."""
    model = randomised(plain())
    copy = edited_copy(model, edits_of(model)["inserted"][0])
    traced = tf.function(lambda x: copy(x, training=False))(image())
    np.testing.assert_allclose(np.asarray(traced), values(copy, image())[0], rtol=1e-5, atol=1e-6)
