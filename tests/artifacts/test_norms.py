"""Norms that files have in parts: each is one layer again, with the weights and the epsilon that the file has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

from onnx_models import every as every_value
from onnx_models import graph_of, kinds, largest_difference, node, saved, values

import parity
from parity.artifacts.lifting import Lifted, lifted
from parity.artifacts.onnx.engine import OnnxEngine
from parity.artifacts.program import Engine
from parity.artifacts.tensorflow import frozen
from parity.artifacts.tflite.engine import TFLite
from parity.export import FORMATS, served, write
from parity.frameworks import keras, torch

LONG, GIVEN, WIDE, MADE, EPSILON = 4, 11, 14, 5, 1e-5
ENGINES: Mapping[str, Callable[[Path], Engine]] = {"pb": frozen.opened, "tflite": TFLite, "onnx": OnnxEngine}
FORMS = ("pb", "saved_model", "tflite", "tflite-fp16", "tflite-int8", "onnx")
LAYER = keras.layers.LayerNormalization


def reference() -> Any:
    """Two layers and a norm between them, in torch."""
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(WIDE, eps=EPSILON)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return torch.nn.Sequential(torch.nn.Linear(GIVEN, WIDE), norm, torch.nn.Linear(WIDE, MADE)).eval()


def port(original: Any, epsilon: float = EPSILON) -> Any:
    """The same in Keras, with the original's weights."""
    layers = keras.layers
    given = keras.Input((LONG, GIVEN), batch_size=1, name="given")
    norm = LAYER(epsilon=epsilon, name="norm")(layers.Dense(WIDE, name="into")(given))
    model = keras.Model(given, layers.Dense(MADE, name="out")(norm), name="net")
    first, own, last = ([each.detach().numpy() for each in layer.parameters()] for layer in original)
    model.set_weights([first[0].T, first[1], *own, last[0].T, last[1]])
    return model


def verified(model: Any, original: Any, form: str, folder: Path) -> Any:
    """The report of a model's file as the port, without a map."""
    path = folder / FORMATS[form].file_name("net")
    noise = parity.inputs.noise((1, LONG, GIVEN), seed=0, low=-1, high=1)
    samples = [
        {"given": np.random.default_rng(seed).uniform(-1, 1, (1, LONG, GIVEN)).astype("f4")} for seed in range(8)
    ]
    write(FORMATS[form], served(model), path, [*samples, {"given": noise.arrays["input"]}])
    return parity.verify(parity.Pair(name="net", reference=original, port=path, inputs=[noise]))


@pytest.mark.parametrize("form", FORMS)
def test_a_faithful_norm_passes_in_every_format(form: str, tmp_path: Path) -> None:
    """The norm is matched with the original's without a map, and nothing of the original is left over."""
    original = reference()
    report = verified(port(original), original, form, tmp_path)
    assert report.passed
    assert report.coverage.complete
    assert report.coverage.matched["1"] == "norm"


FAULTS: Mapping[str, Callable[[Any], Any]] = {
    "scale": lambda norm: norm.gamma.assign(norm.gamma[::-1]),
    "shift": lambda norm: norm.beta.assign(0 * norm.beta),
    "epsilon": lambda norm: setattr(norm, "epsilon", 1e-2),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", list(ENGINES))
def test_a_fault_in_the_file_is_found_at_the_norm(form: str, fault: str, tmp_path: Path) -> None:
    """Another scale, shift or epsilon in the file alone is found where it is, and nowhere else."""
    original = reference()
    model = port(original)
    FAULTS[fault](model.get_layer("norm"))
    report = verified(model, original, form, tmp_path)
    assert not report.passed
    assert [found.layer for found in report.findings] == ["1"]


def test_a_fault_in_an_int8_file_is_found_at_the_norm(tmp_path: Path) -> None:
    """The steps inside have grids, whose noise does not hide that the scale is another one."""
    original = reference()
    model = port(original)
    FAULTS["scale"](model.get_layer("norm"))
    report = verified(model, original, "tflite-int8", tmp_path)
    assert [found.layer for found in report.findings] == ["1"]


# -- what is lifted ----------------------------------------------------------------------------------------------------

SHAPE = (1, 7, 6)
KINDS: Mapping[str, Mapping[str, Any]] = {
    "with both": {},
    "without a shift": {"center": False},
    "without a scale": {"scale": False},
    "with neither": {"center": False, "scale": False},
    "along another axis": {"axis": 1},
    "along two axes": {"axis": [1, 2]},
}


def of(form: str, step: Callable[[Any], Any], folder: Path) -> Lifted:
    """What the file of a function of one tensor is lifted to."""
    given = keras.Input(SHAPE[1:], batch_size=1, name="given")
    path = folder / FORMATS[form].file_name("net")
    write(FORMATS[form], served(keras.Model(given, step(given), name="net")), path)
    engine = ENGINES[form](path)
    return lifted(engine, engine.shaped(dict.fromkeys(engine.program.inputs.values(), SHAPE)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ENGINES)
def test_a_norm_comes_back_from_its_parts(form: str, kind: str, tmp_path: Path) -> None:
    """It is the layer that was written, in one step, with its axes, its epsilon and its weights."""
    random = keras.initializers.RandomNormal(1.0, seed=1)
    layer = LAYER(epsilon=0.02, beta_initializer=random, gamma_initializer=random, **KINDS[kind])
    (firing,) = of(form, layer, tmp_path).graph.nodes
    assert type(firing.operation) is LAYER
    assert firing.operation.epsilon == 0.02
    assert [np.shape(each) for each in firing.operation.weights] == [np.shape(each) for each in layer.weights]
    given = values(SHAPE)
    np.testing.assert_allclose(np.asarray(firing.operation(given)), np.asarray(layer(given)), rtol=1e-5, atol=1e-5)


PARTS = [
    node("ReduceMean", ["x"], ["mean"], axes=[-1]),
    node("Sub", ["x", "mean"], ["away"]),
    node("Pow", ["away", "two"], ["square"]),
    node("ReduceMean", ["square"], ["variance"], axes=[-1]),
    node("Add", ["variance", "epsilon"], ["added"]),
    node("Sqrt", ["added"], ["root"]),
    node("Div", ["away", "root"], ["norm"]),
    node("Mul", ["norm", "scale"], ["scaled"]),
    node("Add", ["scaled", "shift"], ["shifted"]),
]
CONSTANTS: Mapping[str, Any] = {
    "two": np.asarray(2, np.float32),
    "epsilon": np.asarray(0.02, np.float32),
    "scale": values((6,), 1),
    "shift": values((6,), 2),
}


@pytest.mark.parametrize("weights", [2, 1, 0])
def test_a_norm_as_torch_writes_it_is_one(weights: int, tmp_path: Path) -> None:
    """The difference from the mean, divided by a root, then the scale and the shift."""
    last = ("norm", "scaled", "shifted")[weights]
    path = saved(tmp_path / "norm.onnx", PARTS[: 7 + weights], {"x": SHAPE}, [last], CONSTANTS)
    engine, given = OnnxEngine(path), {"x": values(SHAPE)}
    found = graph_of(engine, given)
    assert kinds(found) == ["LayerNormalization"]
    assert found.graph.nodes[0].operation.epsilon == 0.02
    assert len(found.graph.nodes[0].operation.weights) == weights
    assert largest_difference(found, every_value(engine, given)) < 3e-6


OTHERS: Mapping[str, Callable[[list[Any]], list[str]]] = {
    "a variance over another axis": lambda nodes: _with(nodes, node("ReduceMean", ["square"], ["variance"], axes=[1])),
    "another power": lambda nodes: _with(nodes, node("Pow", ["away", "epsilon"], ["square"])),
    "divided by the variance": lambda nodes: _with(nodes, node("Div", ["away", "added"], ["norm"])),
    "a mean that is seen": lambda nodes: ["norm", "mean"],
}


def _with(nodes: list[Any], other: Any) -> list[str]:
    """Put another node in the place of the one that makes the same tensor; the outputs stay."""
    nodes[:] = [other if each.output == other.output else each for each in nodes]
    return ["norm"]


@pytest.mark.parametrize("case", OTHERS)
def test_what_only_looks_like_a_norm_is_none(case: str, tmp_path: Path) -> None:
    """Of other parts, or with one that somebody else sees, it stays the steps that the file has."""
    nodes = [*PARTS[:7]]
    outputs = OTHERS[case](nodes)
    path = saved(tmp_path / "norm.onnx", nodes, {"x": SHAPE}, outputs, CONSTANTS)
    assert "LayerNormalization" not in kinds(graph_of(OnnxEngine(path), {"x": values(SHAPE)}))


# -- batch norms of which a factor and a shift are left ----------------------------------------------------------------


class Channels(torch.nn.Module):
    """Two convolutions, and between them a batch norm, or a factor and a shift for each channel by hand."""

    def __init__(self, norm: Any = None) -> None:
        super().__init__()
        self.first, self.norm, self.last = torch.nn.Conv2d(3, 5, 3), norm, torch.nn.Conv2d(5, 2, 3)
        if norm is None:
            self.factor = torch.nn.Parameter(torch.rand(5, 1, 1) + 0.5)
            self.shift = torch.nn.Parameter(torch.rand(5, 1, 1))

    def forward(self, image: Any) -> Any:
        """Maps (N C H W) of an image."""
        value = self.first(image)
        value = value * self.factor + self.shift if self.norm is None else self.norm(value)
        return self.last(torch.relu(value))


def two_numbers(original: Any, wrong: float = 1.0) -> Any:
    """The port of such a network, as a graph has it whose constants were folded: x * factor + shift."""
    if (norm := original.norm) is None:
        two = original.factor, original.shift
    else:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        two = scale, norm.bias - norm.running_mean * scale
    factor, shift = (each.detach().numpy().ravel() for each in two)
    image = keras.Input((9, 12, 3), batch_size=1, name="given")
    value = keras.layers.Conv2D(5, 3, name="first")(image)
    value = keras.layers.ReLU(name="relu")(value * (factor * np.float32(wrong)) + shift)
    model = keras.Model(image, keras.layers.Conv2D(2, 3, name="last")(value), name="net")
    for name in ("first", "last"):
        kernel, bias = (each.detach().numpy() for each in getattr(original, name).parameters())
        model.get_layer(name).set_weights([kernel.transpose(2, 3, 1, 0), bias])
    return model


def judged(model: Any, original: Any, form: str, folder: Path) -> Any:
    """The report of a model's file as the port."""
    path = folder / FORMATS[form].file_name("net")
    write(FORMATS[form], served(model), path)
    noise = parity.inputs.noise((1, 3, 9, 12), seed=0, low=-1, high=1)
    return parity.verify(parity.Pair(name="net", reference=original, port=path, inputs=[noise]))


@pytest.fixture(scope="module")
def normalised() -> Any:
    """A network with a batch norm whose four weights are unequal."""
    torch.manual_seed(2)
    norm = torch.nn.BatchNorm2d(5)
    for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert each is not None
        torch.nn.init.uniform_(each, 0.5, 1.5)
    return Channels(norm).eval()


@pytest.mark.parametrize("form", ["pb", "onnx"])
def test_a_norm_of_two_numbers_for_each_channel_is_the_originals(normalised: Any, form: str, tmp_path: Path) -> None:
    """It is matched, and no warning says that its weights are others; with other numbers it is at fault."""
    report = judged(two_numbers(normalised), normalised, form, tmp_path)
    assert report.passed
    assert report.coverage.complete
    assert not [warning for run in report.runs for warning in run.warnings]
    wrong = judged(two_numbers(normalised, 1.001), normalised, form, tmp_path)
    assert {finding.layer for finding in wrong.findings} == {"norm"}


@pytest.mark.parametrize("form", ["pb", "onnx", "tflite"])
def test_a_factor_and_a_shift_by_hand_are_no_norm_too_many(form: str, tmp_path: Path) -> None:
    """The file has the same as of a batch norm; the original has none, and the file passes without one."""
    torch.manual_seed(3)
    original = Channels().eval()
    assert judged(two_numbers(original), original, form, tmp_path).passed
    assert not judged(two_numbers(original, 1.001), original, form, tmp_path).passed
