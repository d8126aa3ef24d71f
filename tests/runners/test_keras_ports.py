"""What is a port of Keras, and what is refused: models, and files."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_nets import chain, image, layers, network

from parity.errors import PairError
from parity.frameworks import keras
from parity.pairs import INPUT
from parity.runners.keras_model import KerasModel
from parity.runners.taps import MODES

# Keras 3 copies a variable in a way that NumPy 2 deprecates, wherever it saves a model.
saves = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def names(model: Any) -> list[str]:
    """The names of a model's taps."""
    return [tap.name for tap in KerasModel(model).taps]


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
