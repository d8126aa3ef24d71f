"""Pairs whose port is a `.tflite` file: faithful ones pass, and a fault in the file is found at its layer."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patched_tflite import BIAS, KERNEL, with_constant, with_setting

import parity
from parity.artifacts.tflite import rules as tflite_rules
from parity.axes import Array
from parity.converters import transfer
from parity.export import FORMATS, served, write
from parity.frameworks import keras, quiet, tf, torch
from parity.models import Settings
from parity.models.flownet import build
from parity.report import PASS, Report

pytest.importorskip("ai_edge_litert")

FORMS = ("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8")
HEIGHT, WIDTH = 22, 38
LAYERS = {
    "stem": "stem",
    "bn": "bn",
    "relu": "relu1",
    "body": "body",
    "bn2": "bn2",
    "add": "sum",
    "relu#2": "relu2",
    "down": "down",
    "relu6": "relu3",
    "deep": "deep",
    "leaky_relu": "leaky",
    "up": "up",
    "head": "head",
    "mul": "times",
}
WEIGHTED = ("stem", "bn", "body", "bn2", "down", "deep", "up", "head")


class Net(torch.nn.Module):
    """What a converter joins: BatchNorm, activations of three kinds, a sum, a factor. Every kind of convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 9, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(9)
        self.body = torch.nn.Conv2d(9, 9, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(9)
        self.down = torch.nn.Conv2d(9, 15, 3, stride=2, padding=1)
        self.deep = torch.nn.Conv2d(15, 15, 3, padding=1, groups=15)
        self.up = torch.nn.ConvTranspose2d(15, 8, 4, stride=2, padding=1)
        self.head = torch.nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        """(B, 3, H, W) to (B, 2, H, W), both even."""
        functional = torch.nn.functional
        x = functional.relu(self.bn(self.stem(x)))
        x = functional.relu(x + self.bn2(self.body(x)))
        x = functional.relu6(self.down(x))
        x = functional.leaky_relu(self.deep(x), 0.1)
        return self.head(self.up(x)) * 20.0


def port() -> Any:
    """The same in Keras."""
    layers = keras.layers
    image = keras.Input((HEIGHT, WIDTH, 3), name="image")
    x = layers.Conv2D(9, 3, padding="same", name="stem")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(epsilon=1e-5, name="bn")(x))
    y = layers.Conv2D(9, 3, padding="same", use_bias=False, name="body")(x)
    y = layers.Add(name="sum")([x, layers.BatchNormalization(epsilon=1e-5, name="bn2")(y)])
    y = layers.ZeroPadding2D(1, name="pad")(layers.ReLU(name="relu2")(y))
    y = layers.ReLU(6, name="relu3")(layers.Conv2D(15, 3, strides=2, name="down")(y))
    y = layers.DepthwiseConv2D(3, padding="same", name="deep")(y)
    y = layers.LeakyReLU(negative_slope=0.1, name="leaky")(y)
    y = layers.Conv2DTranspose(8, 4, strides=2, padding="same", name="up")(y)
    y = layers.Rescaling(20.0, name="times")(layers.Conv2D(2, 3, padding="same", name="head")(y))
    return keras.Model(image, y, name="net")


def reference() -> Any:
    """The original with weights that tell: nothing is zero or one."""
    torch.manual_seed(0)
    net = Net()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
        elif isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(module.weight, a=0.1)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


def noise(seed: int) -> Any:
    """An input of the pair."""
    return parity.inputs.noise((1, 3, HEIGHT, WIDTH), seed=seed, low=-1, high=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The faithful port as a file of each form."""
    folder, model = tmp_path_factory.mktemp("pairs"), port()
    transfer(reference(), model, {name: name for name in WEIGHTED})
    drawn = np.random.default_rng(7)
    samples = [{"image": drawn.uniform(-1, 1, (1, HEIGHT, WIDTH, 3)).astype(np.float32)} for _ in range(8)]
    found = {form: folder / f"{form}.tflite" for form in FORMS}
    for form, path in found.items():
        write(FORMATS[form], served(model), path, samples)
    return found


def verified(path: Path, layers: Mapping[str, str] | None = LAYERS) -> Report:
    """The report of a file as the port."""
    pair = parity.Pair(name="net", reference=reference(), port=path, layers=layers)
    return parity.verify(pair, inputs=[noise(1)])


# -- faithful ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [LAYERS, None], ids=["map", "aligned"])
@pytest.mark.parametrize("form", FORMS)
def test_a_faithful_file_passes_with_every_layer_located(
    files: Mapping[str, Path], form: str, layers: Mapping[str, str] | None
) -> None:
    """All layers are compared, by the map of the Keras port or without one; those that were joined where they end."""
    report = verified(files[form], layers)
    assert report.passed
    coverage = report.coverage
    assert coverage.complete
    assert set(WEIGHTED) <= {*coverage.matched, *coverage.fused}
    assert coverage.fused == {"stem": "relu", "bn": "relu", "body": "bn2", "down": "relu6", "head": "mul"}
    assert coverage.matched["mul"] == "times"
    assert all(layer.verdict == PASS and layer.introduced is not None for layer in report.runs[0].layers)


def test_a_file_that_takes_and_gives_int8_passes(tmp_path: Path) -> None:
    """Where inputs and outputs are stored numbers too, they are rounded to their steps, and read as real numbers."""
    model, path = port(), tmp_path / "integers.tflite"
    transfer(reference(), model, {name: name for name in WEIGHTED})
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    drawn = np.random.default_rng(7)
    converter.representative_dataset = lambda: (
        [drawn.uniform(-1, 1, (1, HEIGHT, WIDTH, 3)).astype(np.float32)] for _ in range(8)
    )
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # the converter's own
        path.write_bytes(converter.convert())
    report = verified(path)
    assert report.passed
    assert report.runs[0].output.relative < 0.1
    path.write_bytes(with_constant(path, "up", KERNEL, _swapped))
    assert [found.layer for found in verified(path).findings] == ["up"]


def test_the_only_mode_is_the_files(files: Mapping[str, Path]) -> None:
    """A file runs in one way, which the report names."""
    assert [run.mode for run in verified(files["tflite"]).runs] == ["tflite"]


# -- faults in the file ------------------------------------------------------------------------------------------------


def _swapped(kernel: Array) -> Array:
    return kernel.swapaxes(1, 2)


FAULTS: Mapping[str, tuple[str, str, Callable[[Path], bytes]]] = {
    "height and width": ("up", "kernel-axes", lambda path: with_constant(path, "up", KERNEL, _swapped)),
    "flipped": ("deep", "kernel-flip", lambda path: with_constant(path, "deep", KERNEL, lambda k: k[:, ::-1, ::-1])),
    "no bias": ("up", "bias-missing", lambda path: with_constant(path, "up", BIAS, np.zeros_like)),
    "scaled": ("deep", "scale", lambda path: with_constant(path, "deep", KERNEL, lambda k: k * np.float32(1.05))),
    "slope": ("leaky_relu", "activation-slope", lambda path: with_setting(path, "leaky", alpha=0.2)),
}
"""Faults of layers that nothing is joined with: where they are, and why."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_file_is_found_with_its_cause(files: Mapping[str, Path], tmp_path: Path, fault: str) -> None:
    """A constant or a setting that is wrong in the file alone is found at its layer, and the cause proven."""
    layer, cause, made = FAULTS[fault]
    path = tmp_path / "faulty.tflite"
    path.write_bytes(made(files["tflite"]))
    report = verified(path)
    assert [(found.layer, found.cause.slug) for found in report.findings] == [(layer, cause)]
    after = report.findings[0].cause.residual_after
    assert after is not None
    assert after <= 8 * report.findings[0].floor


JOINED: Mapping[str, tuple[str, int, Callable[[Array], Array]]] = {
    "kernel-axes": ("the kernel's axes", KERNEL, _swapped),
    "bias-missing": ("the bias is zero", BIAS, np.zeros_like),
    "scale": ("1.1 times", KERNEL, lambda kernel: kernel * np.float32(1.1)),
}


@pytest.mark.parametrize("cause", JOINED)
@pytest.mark.parametrize("layer", ["relu", "bn2", "relu6", "mul"])
def test_a_fault_in_joined_layers_is_found_where_they_end(
    files: Mapping[str, Path], tmp_path: Path, layer: str, cause: str
) -> None:
    """Of layers that the file computes in one, a weight is wrong: found at the last of them, with its cause proven."""
    said, place, change = JOINED[cause]
    name = {"relu": "relu1", "bn2": "bn2", "relu6": "relu3", "mul": "times"}[layer]
    path = tmp_path / "faulty.tflite"
    path.write_bytes(with_constant(files["tflite"], name, place, change))
    (found,) = verified(path).findings
    assert (found.layer, found.cause.slug) == (layer, cause)
    assert said in found.cause.detail
    assert found.cause.residual_after is not None
    assert found.cause.residual_after < 1e-6


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_fault_shows_in_low_precision_too(files: Mapping[str, Path], tmp_path: Path, form: str) -> None:
    """One layer's kernel with height and width swapped is found at that layer of float16, dynamic and int8 files."""
    for name, layer in (("up", "up"), ("relu1", "relu")):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(with_constant(files[form], name, KERNEL, _swapped))
        report = verified(path)
        assert not report.passed
        assert [(found.layer, found.cause.slug) for found in report.findings] == [(layer, "kernel-axes")]


# -- FlowNet2-SD -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flownet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """The pair, its noise, and its port as a float32 file."""
    pair, given = build(Settings(size=(64, 64), inputs=("noise",)))
    path = tmp_path_factory.mktemp("flownet") / "flownet.tflite"
    filled = parity.verification.Verifier(pair).filled(given[0])
    write(FORMATS["tflite"], served(filled.port), path)
    return replace(filled, port=path, transfer=False), given, path


def test_every_weighted_layer_of_flownet_is_located(flownet: tuple[Any, Any, Path]) -> None:
    """All thirty layers with weights are compared in the file; the last together with the factor it is scaled by."""
    pair, given, _ = flownet
    report = parity.verify(pair, inputs=given)
    assert report.passed
    assert report.coverage.weighted + len(report.coverage.fused) == 30
    assert report.coverage.fused == {"predict_flow2": "mul"}
    assert sum(layer.weighted and layer.introduced is not None for layer in report.runs[0].layers) == 29


FLOWNET_FAULTS: Mapping[str, tuple[str, str, int, Callable[[Array], Array]]] = {
    "conv3_1": ("conv3_1.0", "kernel-axes", KERNEL, _swapped),
    "deconv4": ("deconv4.0", "kernel-flip", KERNEL, lambda kernel: kernel[:, ::-1, ::-1]),
    "inter_conv3": ("inter_conv3.0", "bias-missing", BIAS, np.zeros_like),
    "conv5": ("conv5.0", "scale", KERNEL, lambda kernel: kernel * np.float32(1.001)),
    "inter_conv4": ("inter_conv4.0", "channel-permutation", KERNEL, lambda kernel: kernel[::-1]),
}


def test_faults_in_the_file_of_flownet_are_found(flownet: tuple[Any, Any, Path], tmp_path: Path) -> None:
    """Constants that are wrong in the file of 181 MB are found in one run, each at its layer, with its cause."""
    pair, given, path = flownet
    faulty = tmp_path / "faulty.tflite"
    faulty.write_bytes(path.read_bytes())
    for layer, (_, _, place, change) in FLOWNET_FAULTS.items():
        faulty.write_bytes(with_constant(faulty, layer, place, change))
    report = parity.verify(replace(pair, port=faulty), inputs=given)
    wanted = {where: cause for where, cause, _, _ in FLOWNET_FAULTS.values()}
    assert {found.layer: found.cause.slug for found in report.findings} == wanted
    assert report.first_divergence is not None
    assert report.first_divergence.layer == "conv3_1.0"


# -- Layers in the segments of others ----------------------------------------------------------------------------------


def _classifier() -> Any:
    return torch.nn.Sequential(
        torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5), torch.nn.Softmax(1)
    ).eval()


def _integers(path: Path, kind: Any) -> Any:
    """The pair of a classifier and its int8 file, which takes and gives numbers of a kind."""
    torch.manual_seed(0)
    reference = _classifier()
    layers = keras.layers
    x = keras.Input((12,), name="x")
    hidden = layers.ReLU(name="r")(layers.Dense(16, name="inn")(x))
    model = keras.Model(x, layers.Dense(5, activation="softmax", name="out")(hidden))
    for name, place in (("inn", 0), ("out", 2)):
        weights = [parameter.detach().numpy() for parameter in reference[place].parameters()]
        model.get_layer(name).set_weights([weights[0].T, weights[1]])
    rng = np.random.default_rng(0)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.uniform(-1, 1, (1, 12)).astype("f")] for _ in range(50))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = kind
        path.write_bytes(converter.convert())
    given = parity.inputs.noise((4, 12), seed=0, low=-1, high=1)
    return parity.Pair(name="classifier", reference=reference, port=path, inputs=[given])


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_both_layers_of_an_integer_classifier_are_compared_for_another_batch(tmp_path: Path, kind: str) -> None:
    """Layers whose sizes a delegate keeps to itself are layers, and storing the output as other numbers is none."""
    report = parity.verify(_integers(tmp_path / "it.tflite", getattr(tf, kind)))
    assert report.passed
    assert report.coverage.weighted + len(report.coverage.fused) == 2
    assert dict(report.coverage.fused) == {"0": "1"}


def test_layers_that_a_file_has_no_layers_for_are_unmatched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the softmax at the end is right within the steps of int8 does not say that the layers before it are."""
    monkeypatch.delitem(tflite_rules.RULES, "FULLY_CONNECTED")
    report = parity.verify(_integers(tmp_path / "it.tflite", tf.int8))
    assert not report.passed
    assert report.coverage.unmatched_reference == ("0", "2")
