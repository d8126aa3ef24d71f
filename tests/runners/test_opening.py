"""A model of any form becomes one flat graph of its own layers, or is refused; the model itself is as before."""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.axes import Array
from parity.frameworks import keras, tf
from parity.pairs import Input
from parity.runners.graphs import Graph
from parity.runners.opening import is_flat, opened
from parity.trees import leaves

layers = keras.layers
ops = keras.ops


def image(*shape: int, seed: int = 1) -> Array:
    """Noise of both signs: by default two pictures, 5 high and 7 wide, of 3 channels."""
    return np.random.default_rng(seed).standard_normal(shape or (2, 5, 7, 3), dtype=np.float32)


def tokens(*shape: int) -> Array:
    """Integers below 11, with zeros at the end of each row."""
    drawn = np.random.default_rng(3).integers(1, 11, shape, dtype=np.int32)
    drawn[:, -2:] = 0
    return drawn


def given(*args: Any, **kwargs: Any) -> Input:
    """An input of these arguments."""
    return Input(name="given", args=args, kwargs=kwargs)


def graph_of(model: Any, *examples: Input) -> Graph:
    """The opened model, which must be one."""
    graph = opened(model, examples)
    assert graph is not None
    return graph


def names(graph: Graph) -> list[str]:
    """The names of its firings in order."""
    return [node.name for node in graph.nodes]


class Block(layers.Layer):
    """Convolution, norm and activation with a way around them."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = layers.Conv2D(filters, 3, padding="same")
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.5)

    def call(self, x: Any, training: bool = True) -> Any:
        """Training is on unless the caller says otherwise, as it is in some ports."""
        y = self.drop(self.norm(self.conv(x), training=training), training=training)
        return ops.relu(y) + x


class Net(keras.Model):
    """Layers in attributes, in a list and in a dict; a block that is used twice; two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layers.Conv2D(5, 3, padding="same")
        self.blocks = [Block(5), Block(5)]
        self.heads = {"flow": layers.Dense(2), "score": layers.Dense(3, name="scores")}

    def call(self, x: Any) -> Any:
        """The first block a second time in the end."""
        x = self.stem(x)
        for block in (*self.blocks, self.blocks[0]):
            x = block(x)
        return {name: head(x) for name, head in self.heads.items()}


class Pairwise(keras.Model):
    """Two pictures by position and a mask by name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2D(5, 3)

    def call(self, left: Any, right: Any, *, valid: Any) -> Any:
        """The same layer sees both."""
        return (self.conv(left) - self.conv(right)) * ops.cast(valid, "float32")


class Tokens(keras.Model):
    """An embedding whose mask Keras hands on without a word of it in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = layers.Embedding(11, 6, mask_zero=True)
        self.thin = layers.Dropout(0.1)
        self.attend = layers.MultiHeadAttention(2, 3)
        self.walk = layers.Bidirectional(layers.LSTM(5, return_sequences=True))
        self.end = layers.GRU(3)

    def call(self, ids: Any, training: bool | None = None) -> Any:
        """Attention, then two recurrent layers, all of which mind the mask."""
        x = self.thin(self.embed(ids), training=training)
        return self.end(self.walk(self.attend(query=x, value=x)))


class Scaled(layers.Layer):
    """A layer with a weight of its own beside a layer."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.inner = layers.Dense(units)

    def build(self, shape: Any) -> None:
        """One factor per unit, and one more row."""
        self.inner.build(shape)
        self.scale = self.add_weight(shape=(self.inner.units,), initializer="random_normal", name="scale")
        self.token = self.add_weight(shape=(1, 1, self.inner.units), initializer="random_normal", name="token")

    def call(self, x: Any) -> Any:
        """The row in front, as transformers have it; the batch is read from the values."""
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, self.inner.units))
        return ops.concatenate([token, self.inner(x) * self.scale], axis=1)


class Heads(keras.Model):
    """Splits channels into heads by sizes that it reads from the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = layers.Dense(3 * 4)

    def call(self, x: Any) -> Any:
        """Attention by hand, with NumPy's float64 on either side of a tensor, which takes the tensor's type."""
        batch, length = ops.shape(x)[0], ops.shape(x)[1]
        q, k, v = ops.split(ops.reshape(self.qkv(x), (batch, length, 2, 6)), 3, axis=-1)
        scores = np.full(2, 2.0).prod() * ops.einsum("bihd,bjhd->bhij", q, k) / np.sqrt(2.0)
        weights = ops.softmax(scores - np.eye(length))
        return ops.reshape(ops.einsum("bhij,bjhd->bihd", weights, v), (x.shape[0], length, 4))[:, 1:]


@dataclasses.dataclass
class Levels:
    """What some networks return."""

    fine: Any
    coarse: Any
    factor: float = 2.0


class Pyramid(keras.Model):
    """Returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = layers.Conv2D(2, 3)
        self.coarse = layers.AveragePooling2D(2)

    def call(self, x: Any) -> Levels:
        """A constant is among what it returns."""
        return Levels(fine=self.fine(x), coarse=self.coarse(x))


class Cropped(keras.Model):
    """A functional model whose call does more than its graph."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """The graph's value, cropped and doubled."""
        return super().call(inputs, training=training, mask=mask)[:, 1:] * 2.0


class WithTf(layers.Layer):
    """A composite layer that calls TensorFlow directly."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(4)

    def call(self, x: Any) -> Any:
        """tf.roll takes no symbolic tensor of Keras."""
        return tf.roll(self.dense(x), 1, axis=-1)


def cropped() -> Any:
    """A subclass of a functional model."""
    start = keras.Input((5, 7, 3))
    return Cropped(start, layers.Conv2D(4, 3, name="conv")(start))


def nested() -> Any:
    """A functional model in a functional model in a functional model; the innermost is used twice."""
    start = keras.Input((None, None, 3))
    inner = keras.Model(start, layers.ReLU(name="act")(layers.Conv2D(3, 3, padding="same", name="conv")(start)))
    inner.name = "inner"
    start = keras.Input((None, None, 3))
    middle = keras.Model(start, layers.Add(name="sum")([inner(start), inner(start * 2.0)]), name="middle")
    start = keras.Input((5, 7, 3))
    return keras.Model(start, layers.Conv2D(2, 3, name="conv")(middle(start)), name="outer")


def wrapped() -> Any:
    """A sequential model in a sequential model, around a layer that is made of others; none of it built."""
    inner = keras.Sequential([Block(3, name="block"), layers.ReLU(name="act")], name="inner")
    return keras.Sequential([inner, layers.Conv2D(2, 3, name="last")], name="outer")


def of_two() -> Any:
    """A functional model that takes a dict, with one inside that takes a list."""
    start = [keras.Input((5, 7, 3)), keras.Input((5, 7, 2))]
    both = keras.Model(start, layers.Concatenate(name="both")(start), name="joined")
    left, right = keras.Input((5, 7, 3), name="left"), keras.Input((5, 7, 2), name="right")
    return keras.Model({"left": left, "right": right}, layers.Dense(3, name="dense")(both([left, right])))


def around(layer: Any) -> Any:
    """A functional model around one layer."""
    start = keras.Input((5, 6))
    return keras.Model(start, layers.Dense(3, name="last")(layer(start)))


FORMS: dict[str, tuple[Callable[[], Any], Input]] = {
    "subclassed": (Net, given(image())),
    "nested": (nested, given(image())),
    "sequential, never built": (wrapped, given(image())),
    "several arguments": (Pairwise, given(image(seed=1), image(seed=2), valid=image(2, 3, 5, 5) > 0)),
    "implicit masks": (Tokens, given(tokens(2, 7))),
    "weights beside layers": (lambda: around(Scaled(4)), given(image(2, 5, 6))),
    "sizes from shapes": (Heads, given(image(2, 5, 6))),
    "a dataclass": (Pyramid, given(image())),
    "functional with a call": (cropped, given(image())),
    "a dict of inputs": (of_two, given({"left": image(2, 5, 7, 3), "right": image(2, 5, 7, 2)})),
    "a layer of tf": (lambda: around(WithTf()), given(image(2, 5, 6))),
    "keras's own composites": (
        lambda: around(layers.TimeDistributed(keras.Sequential([layers.Dense(4)]))),
        given(image(2, 5, 6)),
    ),
    "half precision": (lambda: around(layers.Dense(4, dtype="mixed_bfloat16")), given(image(2, 5, 6))),
}


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[Any, Graph]]:
    """Each form and what it is opened to."""
    keras.utils.set_random_seed(0)
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that are destroyed, as the model itself warns
        for form, (make, example) in FORMS.items():
            model = make()
            made[form] = (model, graph_of(model, example))
    return made


@pytest.mark.parametrize("form", FORMS)
def test_the_graph_computes_what_the_model_computes(form: str, models: dict[str, tuple[Any, Graph]]) -> None:
    """On other values than it was made with, bit for bit, in the same structure."""
    model, graph = models[form]
    other = FORMS[form][1].changed(lambda _, array: array[::-1].copy())
    args, kwargs = other.filled(lambda _, array: array)
    expected = dict(leaves(model(*args, **kwargs, training=False), "output"))
    actual = dict(leaves(graph.run(list(other.arrays.values())), "output"))
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(np.asarray(actual[name]), np.asarray(value))


@pytest.mark.parametrize("form", FORMS)
def test_the_model_is_as_before(form: str, models: dict[str, tuple[Any, Graph]]) -> None:
    """Opening leaves no trace in the user's layers, and can be done again with the same names."""
    model, graph = models[form]
    before = {id(layer): (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model._flatten_layers()}
    again = graph_of(model, FORMS[form][1])
    assert names(again) == names(graph)
    after = {id(layer): (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model._flatten_layers()}
    assert after == before


def test_names_lead_to_the_layer(models: dict[str, tuple[Any, Graph]]) -> None:
    """A layer is called by its name, or by the attribute that holds it, behind those of what it is in."""
    first = ["conv", "norm", "drop", "relu", "add"]
    assert names(models["subclassed"][1]) == [
        "stem",
        *(f"blocks/0/{name}" for name in first),
        *(f"blocks/1/{name}" for name in first),
        *(f"blocks/0/{name}#2" for name in first),
        "heads/flow",
        "scores",
    ]
    assert [name for name in names(models["nested"][1]) if "multiply" not in name] == [
        "middle/inner/conv",
        "middle/inner/act",
        "middle/inner/conv#2",
        "middle/inner/act#2",
        "middle/sum",
        "conv",
    ]


def test_an_opened_layer_is_an_alias_of_its_last_firing(models: dict[str, tuple[Any, Graph]]) -> None:
    """The name of what was opened stands for the tap that makes its value."""
    assert models["subclassed"][1].aliases == {
        "blocks/0": "blocks/0/add",
        "blocks/1": "blocks/1/add",
        "blocks/0#2": "blocks/0/add#2",
    }


def test_what_cannot_be_traced_stays_one_operation(models: dict[str, tuple[Any, Graph]]) -> None:
    """A layer that calls TensorFlow itself is closed; the others around it are not."""
    model, graph = models["a layer of tf"]
    assert names(graph) == [model.layers[1].name, "last"]
    assert graph.closed == (model.layers[1].name,)


def test_a_layer_of_keras_stays_one_operation(models: dict[str, tuple[Any, Graph]]) -> None:
    """What Keras itself makes of layers is a layer; the masks it is given are operations of their own."""
    made = names(models["implicit masks"][1])
    assert {"embed", "thin", "attend", "walk", "end"} <= set(made)
    assert not any("/" in name and not name.startswith("embed") for name in made)


def test_masks_are_arguments(models: dict[str, tuple[Any, Graph]]) -> None:
    """A layer that minds a mask reads it, so that it can be run on values that carry none."""
    graph = models["implicit masks"][1]
    by_name = {node.name: node for node in graph.nodes}
    for name, masks in {"attend": ["query_mask", "value_mask"], "walk": ["mask"], "end": ["mask"]}.items():
        kwargs = by_name[name].arguments.kwargs
        assert [kwargs[mask].dtype for mask in masks] == ["bool"] * len(masks)


def test_inference_is_said_to_every_layer(models: dict[str, tuple[Any, Graph]]) -> None:
    """A layer that trains unless it is told not to is told so in the graph too."""
    drops = [node for node in models["subclassed"][1].nodes if "drop" in node.name]
    assert [node.arguments.kwargs for node in drops] == [{"training": False}] * 3


def test_axes_that_differ_between_examples_are_open() -> None:
    """One graph serves inputs of several sizes, and any batch where the model does not ask for it."""
    model = Net()
    graph = graph_of(model, given(image(2, 5, 7, 3)), given(image(2, 9, 7, 3)))
    assert graph.inputs[0].shape == (None, None, 7, 3)
    array = image(3, 11, 7, 3)
    np.testing.assert_array_equal(
        np.asarray(graph.run([array])["flow"]), np.asarray(model(array, training=False)["flow"])
    )


def test_a_batch_that_the_model_asks_for_is_as_given(models: dict[str, tuple[Any, Graph]]) -> None:
    """A size that Python needs is taken from the example."""
    assert models["sizes from shapes"][1].inputs[0].shape == (2, 5, 6)


class Secret(keras.Model):
    """Computes something else on symbolic tensors."""

    def call(self, x: Any) -> Any:
        """Twice the value, or three times."""
        return x * (3.0 if isinstance(x, keras.KerasTensor) else 2.0)


class OfValues(keras.Model):
    """What it does depends on the values."""

    def call(self, x: Any) -> Any:
        """A branch of Python on a number."""
        return x * 2.0 if float(ops.sum(x)) > 0 else x


class PlainTf(keras.Model):
    """Calls TensorFlow itself."""

    def call(self, x: Any) -> Any:
        """A function of TensorFlow."""
        return tf.nn.relu(x)


@pytest.mark.parametrize("kind", [Secret, OfValues, PlainTf])
def test_a_model_without_a_right_graph_is_refused(kind: type[Any]) -> None:
    """None rather than a graph that computes something else, or none at all."""
    assert opened(kind(), [given(image())]) is None


def test_a_traced_size_must_fit_every_example() -> None:
    """A graph that is right for one example only is refused."""

    class Half(keras.Model):
        def call(self, x: Any) -> Any:
            return x[:, : 3 if x.shape[1] is None else x.shape[1] // 2]

    model = Half()
    assert opened(model, [given(image(2, 6, 3)), given(image(2, 8, 3))]) is None
    assert opened(model, [given(image(2, 6, 3))]) is not None


def test_keras_is_as_before_when_a_trace_fails() -> None:
    """After a refusal Keras makes nodes of its own again."""
    assert opened(PlainTf(), [given(image())]) is None
    start = keras.Input((5, 7, 3))
    model = keras.Model(start, layers.Conv2D(2, 3)(start))
    assert [len(layer._inbound_nodes) for layer in model.layers] == [1, 1]


def test_an_opened_model_can_be_used_further(tmp_path: Path) -> None:
    """It can be saved, loaded, called, and its layers still know their outputs."""
    model = nested()
    graph_of(model, given(image()))
    assert model.get_layer("conv").output.shape == (None, 3, 5, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras copies variables in a way NumPy 2 deprecates
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(loaded(image())), np.asarray(model(image())))


@pytest.mark.parametrize(
    ("make", "flat"), [(nested, False), (cropped, False), (Net, False), (lambda: around(layers.Dense(3)), True)]
)
def test_a_flat_model_needs_no_opening(make: Callable[[], Any], flat: bool) -> None:
    """A functional model of single layers, and nothing else, is flat."""
    assert is_flat(make()) is flat


def test_a_sequential_model_of_layers_is_flat() -> None:
    """Built or not, and not with a model inside."""
    assert is_flat(keras.Sequential([keras.Input((5,)), layers.Dense(3)]))
    assert not is_flat(keras.Sequential([keras.Input((5,)), keras.Sequential([layers.Dense(3)])]))
