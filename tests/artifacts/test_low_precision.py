"""Files in int8, float16 and dynamic range: faithful ones pass, a fault in the file itself is found at its layer."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import patched_tflite
import pytest

from parity import verify
from parity.artifacts.precision import RMSE_RATIO
from parity.artifacts.tflite.cut import packed
from parity.axes import Array
from parity.export import FORMATS, served, write
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.models import Settings, load
from parity.pairs import Input, Pair
from parity.render import layer_table, summary
from parity.report import NOT_COMPARED, Report
from parity.tolerance import Tolerance
from parity.verification import Verifier

pytest.importorskip("ai_edge_litert")

FORMS = ("tflite-int8", "tflite-fp16", "tflite-dynamic")
TO_PORT = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
"""Axes of an image, or of pairs of frames, from the reference's to the port's."""


def written(pair: Pair, given: Input, samples: list[Array], folder: Path, forms: Sequence[str]) -> dict[str, Path]:
    """A pair's port, with the reference's weights, as a file of each form; int8 is calibrated on `samples`."""
    model = served(Verifier(pair).filled(given).port)
    (name,) = model.names.values()
    calibration = [{name: np.ascontiguousarray(each.transpose(TO_PORT[each.ndim]))} for each in samples]
    files = {form: folder / f"{form}.tflite" for form in forms}
    for form, path in files.items():
        write(FORMATS[form], model, path, calibration if form == "tflite-int8" else ())
    return files


class Case:
    """A pair, an input, and its port as files; `judged` verifies such a file, or the bytes of a changed one."""

    def __init__(
        self, name: str, shape: tuple[int, ...], size: tuple[int, int], folder: Path, high: float, forms: Sequence[str]
    ) -> None:
        self.pair, _ = load(name, Settings(size=size))
        self.given = noise(shape, seed=0, low=0, high=high)
        self.samples = [noise(shape, seed=seed, low=0, high=high).array for seed in range(4)]
        self.folder = folder
        self.files = written(self.pair, self.given, self.samples, folder, forms)

    def judged(self, file: Path | bytes, given: Input | None = None, **changes: Any) -> Report:
        """The report of a file in the place of the port."""
        if isinstance(file, bytes):
            file, content = self.folder / "patched.tflite", file
            file.write_bytes(content)
        pair = replace(self.pair, port=file, transfer=False, inputs=(), **changes)
        return verify(pair, [given or self.given], modes=("tflite",))


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """FlowNet2-SD on 128 x 64 pixels."""
    return Case("flownet", (1, 3, 2, 64, 128), (128, 64), tmp_path_factory.mktemp("flow"), 255, FORMS[:1])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The small classifier of depthwise and grouped convolutions."""
    return Case("depthwise", (1, 3, 38, 26), (26, 38), tmp_path_factory.mktemp("classifier"), 1, FORMS)


def found(report: Report) -> dict[str, str]:
    """The cause at each layer that is at fault."""
    return {finding.layer: finding.cause.slug for finding in report.findings}


def swapped(kernel: Array) -> Array:
    """A kernel as the file has it (O H W I) with its height and width exchanged."""
    return kernel.swapaxes(1, 2)


KERNEL, BIAS = patched_tflite.KERNEL, patched_tflite.BIAS


@pytest.mark.parametrize("form", FORMS)
def test_a_faithful_export_passes(form: str, classifier: Case) -> None:
    """A file that was exported as it should be passes in every low precision, on what it was calibrated on."""
    report = classifier.judged(classifier.files[form])
    assert report.passed, summary(report)
    assert {layer.precision for layer in report.runs[0].layers} == {FORMATS_CALLED[form]}


FORMATS_CALLED: Mapping[str, str] = {
    "tflite-int8": "int8",
    "tflite-fp16": "float16",
    "tflite-dynamic": "dynamic-range",
}


def test_a_faithful_flow_network_in_int8_passes_with_the_noise_that_is_expected_of_it(flow: Case) -> None:
    """FlowNet2-SD in int8 passes, all its layers with weights compared; each is off by what its formats make of the
    reference, most within a tenth."""
    report = flow.judged(flow.files["tflite-int8"])
    assert report.passed, summary(report)
    ratios = [layer.introduced.ratio for layer in report.runs[0].layers if layer.introduced and layer.weighted]
    assert len(ratios) >= 29
    assert 0.9 < np.median(ratios) < 1.1
    assert max(ratios) < RMSE_RATIO


def test_a_kernel_with_height_and_width_exchanged_fails_at_its_layer(flow: Case) -> None:
    """In an int8 file with one kernel turned over, that layer and no other is at fault, and the cause is proven."""
    report = flow.judged(patched_tflite.with_constant(flow.files["tflite-int8"], "deconv3", KERNEL, swapped))
    assert found(report) == {"deconv3.0": "kernel-axes"}
    assert report.first_divergence is not None
    assert report.first_divergence.layer == "deconv3.0"


def _smaller(factor: float) -> Callable[[Array], Array]:
    return lambda kernel: np.rint(kernel * factor)


Plant = Callable[[Path], bytes]
FAULTS: Mapping[str, tuple[str, Plant]] = {
    "conv0.0": ("kernel-axes", lambda file: patched_tflite.with_constant(file, "conv0", KERNEL, swapped)),
    "conv6_1.0": ("kernel-axes", lambda file: patched_tflite.with_constant(file, "conv6_1", KERNEL, swapped)),
    "predict_flow6": ("kernel-axes", lambda file: patched_tflite.with_constant(file, "predict_flow6", KERNEL, swapped)),
    "conv3_1.0": ("scale", lambda file: patched_tflite.with_constant(file, "conv3_1", KERNEL, _smaller(1 / 1.3))),
    "conv4_1.0": ("scale", lambda file: patched_tflite.with_constant(file, "conv4_1", KERNEL, _smaller(0.98))),
    "conv3.1": ("activation-slope", lambda file: patched_tflite.with_setting(file, "leaky_re_lu_6", alpha=0.2)),
    "deconv4.0": ("bias-missing", lambda file: patched_tflite.with_constant(file, "deconv4", BIAS, np.zeros_like)),
}
"""Faults of an int8 file by the layer that has each, with the cause: the kernels of the first layer, of one whose map
is a single pixel and of one of two channels turned over, a kernel three tenths and one two per cent too small, ..."""


def test_all_faults_in_an_int8_file_are_found_each_at_its_layer(flow: Case, tmp_path: Path) -> None:
    """Of a file with seven faults every layer that has one is named, with its cause, and no other."""
    faulty = tmp_path / "faulty.tflite"
    faulty.write_bytes(flow.files["tflite-int8"].read_bytes())
    for _, plant in FAULTS.values():
        faulty.write_bytes(plant(faulty))
    assert found(flow.judged(faulty)) == {layer: cause for layer, (cause, _) in FAULTS.items()}


@pytest.mark.parametrize("form", ["tflite-fp16", "tflite-dynamic"])
def test_a_fault_in_another_precision_is_found_at_its_layer(form: str, classifier: Case) -> None:
    """In float16 a kernel that is half a per cent too small is found at its layer, in dynamic range one of three."""

    def smaller(kernel: Array) -> Array:
        return np.rint(kernel * 0.97) if kernel.dtype == np.int8 else kernel * 0.995

    changed = patched_tflite.with_constant(classifier.files[form], "stem", KERNEL, smaller)
    assert set(found(classifier.judged(changed))) == {"stem"}


def with_steps(path: Path, layer: str, factor: float) -> bytes:
    """The file with other steps of the grid that a layer's value is stored on: a wider range, or a narrower one."""
    of = patched_tflite.flat(path)
    quantised = of.graph.tensors[int(patched_tflite.operator(of, layer).outputs[0])].quantization
    quantised.scale = np.asarray(quantised.scale, np.float32) * np.float32(factor)
    return packed(of.model)


def test_a_range_that_is_too_small_is_a_fault_with_that_cause(classifier: Case) -> None:
    """A layer whose numbers end at half of its values cuts them off: it is at fault, proven by cutting off as much."""
    report = classifier.judged(with_steps(classifier.files["tflite-int8"], "dilated", 0.5))
    assert found(report) == {"dilated": "number-range"}
    assert any("number range is too small at dilated" in warning for warning in report.runs[0].warnings)


def test_steps_too_coarse_for_the_values_prove_nothing(classifier: Case) -> None:
    """A layer whose steps are as large as its values is neither at fault nor passed: it is not proven, and said so."""
    report = classifier.judged(with_steps(classifier.files["tflite-int8"], "deep", 60.0))
    assert not report.passed
    assert {layer.layer for layer in report.runs[0].layers if layer.verdict == NOT_COMPARED} == {"deep"}
    assert "unproven" in summary(report)
    assert any("steps of the port's numbers are larger" in warning for warning in report.runs[0].warnings)
    (deep, *_) = reasons(report)
    assert deep.startswith("the file's own int8 numbers leave ")
    (deep, *_) = reasons(classifier.judged(with_steps(classifier.files["tflite-int8"], "deep", 600.0)))
    assert deep.startswith("the noise of the file's own int8 numbers is larger than its values (it holds ")


def reasons(report: Report) -> list[str]:
    """Why layers were not compared."""
    return [layer.reason for layer in report.runs[0].layers if layer.verdict == NOT_COMPARED]


def test_values_unlike_those_of_the_calibration_do_not_pass(classifier: Case) -> None:
    """On an input four times as bright as those that the file was calibrated on it is told that its range ends."""
    bright = classifier.given.changed(lambda name, array: array * 4)
    report = classifier.judged(classifier.files["tflite-int8"], bright)
    assert not report.passed
    assert any("number range is too small at input" in warning for warning in report.runs[0].warnings)


def test_a_fixed_tolerance_takes_the_place_of_the_noise(classifier: Case) -> None:
    """Under rtol and atol no noise is allowed beside them: an int8 file is off by more than float32 ever is."""
    pair = replace(classifier.pair, port=classifier.files["tflite-int8"], transfer=False, inputs=())
    report = verify(pair, [classifier.given], modes=("tflite",), policy=Tolerance(rtol=1e-4, atol=1e-4))
    assert not report.passed
    assert {layer.precision for layer in report.runs[0].layers} == {""}


def test_low_precision_is_told_in_decibels(classifier: Case) -> None:
    """The table of layers, and the policy, say what an int8 file is judged by."""
    report = classifier.judged(classifier.files["tflite-int8"])
    assert "dB" in layer_table(report, report.runs[0])
    assert "int8, whose noise from the file's own step sizes is allowed" in report.settings["numbers"]
    measure = report.runs[0].layers[-1].introduced
    assert measure is not None
    assert 10 ** (-measure.sqnr / 20) == pytest.approx(measure.relative)
    assert measure.sqnr_allowed < measure.sqnr


class Head(torch.nn.Module):
    """A classifier of three classes: a convolution with a norm of unequal factors, the mean of its map, a layer."""

    def __init__(self) -> None:
        """Weights of a fixed seed."""
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = torch.nn.Conv2d(2, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.Linear(6, 3)
        norm: Any = self.norm
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.05, 0.2, 0.5, 1.0, 2.0, 4.0]))
            norm.running_mean.uniform_(-0.3, 0.3)

    def forward(self, image: Any) -> Any:
        """The classes of an image (N C H W)."""
        return self.fc(torch.relu(self.norm(self.conv(image))).mean((2, 3)))


def head() -> Pair:
    """The pair of that classifier, whose port is in Keras."""

    def port() -> Any:
        image = keras.Input((11, 14, 2), batch_size=1, name="image")
        value = keras.layers.Conv2D(6, 3, name="conv")(image)
        value = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(epsilon=1e-5, name="norm")(value))
        value = keras.layers.GlobalAveragePooling2D(name="mean")(value)
        return keras.Model(image, keras.layers.Dense(3, name="fc")(value))

    return Pair(name="head", reference=lambda: Head().eval(), port=port, transfer=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, list[Input], Path]:
    """That pair, inputs for it, and its port in int8, with one step for each kernel as a whole."""
    pair = head()
    given = [noise((1, 2, 11, 14), seed=seed, low=-1, high=1) for seed in range(4)]
    model = served(Verifier(pair).filled(given[0]).port).model
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: ([each.array.transpose(0, 2, 3, 1)] for each in given)
    converter._experimental_disable_per_channel = True
    path = tmp_path_factory.mktemp("small") / "small.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path.write_bytes(converter.convert())
    return pair, given, path


def of_small(small: tuple[Pair, list[Input], Path], file: Path) -> Report:
    """The report of a file in the place of the small pair's port."""
    pair, given, _ = small
    return verify(replace(pair, port=file, transfer=False, inputs=()), given, modes=("tflite",))


def test_a_norm_folded_into_a_kernel_of_one_step_has_the_noise_that_is_expected_of_it(
    small: tuple[Pair, list[Input], Path],
) -> None:
    """A file with one step for each whole kernel, a norm of unequal factors in one, passes, as far off as expected."""
    report = of_small(small, small[2])
    assert report.passed, summary(report)
    ratios = [run.layers[0].introduced.ratio for run in report.runs if run.layers[0].introduced]
    assert ratios == pytest.approx([1.0] * 4, abs=0.15)
    assert not [warning for run in report.runs for warning in run.warnings if "not the reference's" in warning]


def test_weights_that_are_not_the_references_are_no_chance_where_values_are_few(
    small: tuple[Pair, list[Input], Path], tmp_path: Path
) -> None:
    """A last layer of three values whose kernel is 5 % too large is at fault, whatever chance makes of three."""
    of = patched_tflite.flat(small[2])
    kernel = of.graph.tensors[int(patched_tflite.operator(of, "fc").inputs[patched_tflite.KERNEL])]
    kernel.quantization.scale = np.asarray(kernel.quantization.scale, np.float32) * np.float32(1.05)
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(packed(of.model))
    report = of_small(small, wrong)
    assert {finding.layer for finding in report.findings} == {"fc"}
    for run in report.runs:
        measure = run.layers[-1].introduced
        assert measure is not None
        assert measure.passed == (run.layers[-1].verdict == "pass")
        assert measure.allowed == pytest.approx(RMSE_RATIO * run.layers[-1].floor, rel=0.01)
