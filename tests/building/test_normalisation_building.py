"""Normalisations as Keras layers: every setting on an input of its own, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, settings
from layers_on_trial import build, kinds, on_noise, outcome
from reloading import same_when_loaded

from parity.axes import Array
from parity.converters import convert
from parity.errors import ConversionError, WeightError
from parity.frameworks import keras, torch
from parity.inputs import strategies
from parity.inputs.strategies import Case
from parity.pairs import INPUT
from parity.runners.float64 import in_float64

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves

nn = torch.nn
FORMATS = ("channels_last", "channels_first")
VECTOR, SEQUENCE, IMAGE, VOLUME = (5, 6), (2, 6, 7), (2, 6, 5, 7), (2, 6, 4, 5, 3)


def without_bias(module: torch.nn.Module) -> torch.nn.Module:
    """The module with a scale and no shift."""
    module.register_parameter("bias", None)
    return module


NORMS: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
    "batch 1d, vectors": (nn.BatchNorm1d(6), VECTOR),
    "batch 1d, sequences": (nn.BatchNorm1d(6, eps=1e-2), SEQUENCE),
    "batch 2d": (nn.BatchNorm2d(6), IMAGE),
    "batch 2d, without weights": (nn.BatchNorm2d(6, affine=False), IMAGE),
    "batch 2d, without a shift": (without_bias(nn.BatchNorm2d(6)), IMAGE),
    "batch 2d, by the batch's own": (nn.BatchNorm2d(6, track_running_stats=False), IMAGE),
    "batch 1d, by the batch's own": (nn.BatchNorm1d(6, track_running_stats=False, affine=False), VECTOR),
    "batch 3d": (nn.BatchNorm3d(6), VOLUME),
    "instance 1d": (nn.InstanceNorm1d(6), SEQUENCE),
    "instance 2d": (nn.InstanceNorm2d(6, affine=True, eps=1e-2), IMAGE),
    "instance 2d, without a shift": (without_bias(nn.InstanceNorm2d(6, affine=True)), IMAGE),
    "instance 2d, by running statistics": (nn.InstanceNorm2d(6, affine=True, track_running_stats=True), IMAGE),
    "instance 3d, by running statistics": (nn.InstanceNorm3d(6, track_running_stats=True), VOLUME),
    "instance 3d": (nn.InstanceNorm3d(6, affine=True), VOLUME),
    "group, vectors": (nn.GroupNorm(2, 6), VECTOR),
    "group, images": (nn.GroupNorm(3, 6, eps=1e-2), IMAGE),
    "group, of one channel": (nn.GroupNorm(6, 6, affine=False), SEQUENCE),
    "group, all of a volume": (nn.GroupNorm(1, 6), VOLUME),
    "layer, last axis": (nn.LayerNorm(7), SEQUENCE),
    "layer, whole images": (nn.LayerNorm((6, 5, 7), eps=1e-2), IMAGE),
    "layer, last axes of images": (nn.LayerNorm((5, 7)), IMAGE),
    "layer, without a shift": (nn.LayerNorm((6, 7), bias=False), SEQUENCE),
    "layer, without weights": (nn.LayerNorm((3,), elementwise_affine=False), VOLUME),
    "rms, last axis": (nn.RMSNorm(7), SEQUENCE),
    "rms, whole images": (nn.RMSNorm((6, 5, 7), eps=1e-2), IMAGE),
    "rms, without weights": (nn.RMSNorm((5, 7), elementwise_affine=False), IMAGE),
    "local response, sequences": (nn.LocalResponseNorm(3, alpha=1.0), SEQUENCE),
    "local response, images": (nn.LocalResponseNorm(4, alpha=2.0, beta=0.5, k=0.1), IMAGE),
    "local response, volumes, of more than there are": (nn.LocalResponseNorm(9, alpha=1.0), VOLUME),
}

IN_GRAPHS = (
    "batch 2d",
    "batch 2d, by the batch's own",
    "instance 2d",
    "group, images",
    "layer, whole images",
    "rms, last axis",
    "local response, images",
)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", NORMS)
def test_a_normalisation_is_torchs(name: str, data_format: str) -> None:
    """Every setting gives torch's values, in both data formats."""
    assert outcome(on_noise(*NORMS[name]), data_format).passed


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", IN_GRAPHS)
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA give the same."""
    assert outcome(on_noise(*NORMS[name]), mode=mode).passed


@pytest.mark.parametrize("name", NORMS)
def test_a_normalisation_is_read_from_a_file(name: str, tmp_path: Path) -> None:
    """Plain layers and operations only: it computes the same once saved and loaded, on batches of any size."""
    assert same_when_loaded(on_noise(*NORMS[name]), "channels_last", tmp_path)


@pytest.mark.parametrize("mode", ["eager", "xla"])
@pytest.mark.parametrize("name", ["instance 2d", "group, images", "layer, last axis", "batch 2d, by the batch's own"])
def test_a_mean_far_beyond_the_deviation_costs_no_digits(name: str, mode: str) -> None:
    """On values of 10 000 with a deviation of 1 the port is nearer to float64 than torch itself."""
    case = on_noise(*NORMS[name], offset=1e4)
    found = outcome(case, mode=mode)
    exact = in_float64(deepcopy(case.module))(torch.from_numpy(case.given.arrays[INPUT]).double()).detach().numpy()
    assert found.passed
    assert rmse(found.actual, exact) < 1e-6
    assert rmse(found.actual, exact) < rmse(found.expected, exact) / 10


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_what_is_its_own_mean_is_the_shift(mode: str) -> None:
    """A layer norm of one value gives its shift, whatever the value."""
    case = on_noise(nn.LayerNorm(1), (3, 1), offset=12345.678)
    np.testing.assert_array_equal(outcome(case, mode=mode).actual, np.full((3, 1), case.module.bias.item()))


def test_torchs_own_epsilon_of_rms_is_float32s() -> None:
    """Where none is given, small values are divided by its root: no other epsilon gives that."""
    case = on_noise(nn.RMSNorm(7), SEQUENCE)
    case.given.arrays[INPUT][...] *= 1e-4
    assert outcome(case).passed
    assert build(case).model.layers[-1].epsilon == np.finfo(np.float32).eps


@pytest.mark.parametrize(
    ("name", "built_of"),
    [
        ("batch 2d", ["BatchNormalization"]),
        ("instance 2d", ["Mean", "Subtract", "GroupNormalization"]),
        ("instance 2d, by running statistics", ["BatchNormalization"]),
        ("layer, last axis", ["Mean", "Subtract", "LayerNormalization"]),
        ("rms, last axis", ["RMSNormalization"]),
        ("rms, without weights", ["RMSNorm"]),
    ],
)
def test_what_is_built(name: str, built_of: list[str]) -> None:
    """One layer that holds the weights, after what it needs."""
    found = [kind for kind in kinds(build(on_noise(*NORMS[name]))) if kind != "Transpose"]
    assert found == built_of


def test_weights_of_several_axes_are_those_of_the_port() -> None:
    """A layer norm of whole images has its weights where the port has the axes: channels last."""
    case = on_noise(nn.LayerNorm((6, 5, 7)), IMAGE)
    gamma, _ = build(case, "channels_last").model.layers[-1].get_weights()
    np.testing.assert_array_equal(gamma, case.module.weight.detach().numpy().transpose(1, 2, 0))


@pytest.mark.parametrize(("module", "axes"), [(nn.InstanceNorm1d(3), 2), (nn.InstanceNorm2d(3), 3)])
def test_maps_without_a_batch_are_refused(module: torch.nn.Module, axes: int) -> None:
    """Torch takes them; Keras's first axis is the batch, and the sentence says what is needed."""
    with pytest.raises(ConversionError, match=f"an input of {axes} axes; batch, channels and {axes - 1} of space"):
        build(on_noise(module, (3, 5, 7)[:axes]))


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_normalising_all_of_the_input_is_refused(kind: type[torch.nn.Module]) -> None:
    """The first axis of the port is the batch, whose size is not known."""
    with pytest.raises(ConversionError, match=r"normalized_shape=\(3, 5\) is all of the input"):
        build(on_noise(kind((3, 5)), (3, 5)))


@pytest.mark.parametrize(
    ("module", "layer", "says"),
    [
        (nn.InstanceNorm2d(6), keras.layers.GroupNormalization(3), "has 6 groups, and the port's layer 3"),
        (nn.InstanceNorm1d(6, track_running_stats=True), None, "with running statistics is a BatchNormalization"),
        (nn.InstanceNorm1d(6), keras.layers.BatchNormalization(), "normalises by each map's own"),
        (nn.BatchNorm3d(6, track_running_stats=False), None, "normalises by each batch's own"),
    ],
)
def test_weights_that_have_no_place_are_refused(module: torch.nn.Module, layer: Any, says: str) -> None:
    """A layer of another kind, or of other groups, is filled with nothing."""
    with pytest.raises(WeightError, match=says):
        convert(module, "norm", layer)


def test_a_scale_that_torch_lacks_is_one() -> None:
    """An RMSNorm without weights fills Keras's layer, which always has a scale, with ones."""
    (scale,) = convert(nn.RMSNorm((2, 3), elementwise_affine=False), "norm", keras.layers.RMSNormalization((-2, -1)))
    np.testing.assert_array_equal(scale, np.ones((2, 3)))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("batch_norm1d", lambda case: case.module.running_mean is None and case.module.affine),
        ("group_norm", lambda case: np.prod(shape(case)[1:]) == case.module.num_groups),
        ("layer_norm", lambda case: np.prod(case.module.normalized_shape) == 1),
        ("layer_norm", lambda case: len(case.module.normalized_shape) == 4),
        ("rms_norm", lambda case: case.module.eps is None and "small" in case.given.name),
        ("local_response_norm", lambda case: case.module.size > 2 * shape(case)[1]),
        ("instance_norm3d", lambda case: case.module.track_running_stats and np.prod(shape(case)[2:]) == 1),
    ],
)
def test_what_is_drawn(kind: str, wanted: Any) -> None:
    """Among the cases there are those that are odd: groups and layers of one value, and means of the batch's own."""
    few = settings(max_examples=2000, database=None, derandomize=True, phases=[Phase.generate])
    assert isinstance(find(strategies.cases(kind), wanted, settings=few), Case)


def shape(case: Case) -> tuple[int, ...]:
    """That of the input."""
    return case.given.arrays[INPUT].shape


def rmse(actual: Array, exact: Array) -> float:
    """How far it is from the exact values."""
    return float(np.sqrt(np.mean((actual - exact) ** 2)))
