"""Poolings over windows as Keras layers: every setting on a map of its own, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, settings
from layers_on_trial import build, kinds, on_noise, outcome
from reloading import same_when_loaded

from parity.building.pooling import Windows
from parity.errors import ConversionError
from parity.frameworks import torch
from parity.inputs import strategies
from parity.inputs.strategies import Case
from parity.pairs import INPUT, Input

nn = torch.nn
FORMATS = ("channels_last", "channels_first")
SEQUENCE, IMAGE, VOLUME = (2, 3, 7), (2, 3, 5, 7), (2, 3, 5, 4, 7)
POOLINGS: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
    "max 1d": (nn.MaxPool1d(3, 2, padding=1), SEQUENCE),
    "max 1d, dilated": (nn.MaxPool1d(3, 2, padding=1, dilation=2), SEQUENCE),
    "max 1d, a window of padding alone": (nn.MaxPool1d(2, 1, padding=1, dilation=3), (1, 1, 2)),
    "max 2d": (nn.MaxPool2d(2), IMAGE),
    "max 2d, sides that differ": (nn.MaxPool2d((2, 4), (3, 1), padding=(0, 2), ceil_mode=True), IMAGE),
    "max 2d, dilated along one side": (nn.MaxPool2d(2, dilation=(1, 3), ceil_mode=True), IMAGE),
    "max 2d, wider than the map": (nn.MaxPool2d(4, padding=2), (1, 2, 1, 3)),
    "max 3d": (nn.MaxPool3d((1, 2, 3), 2, padding=(0, 1, 1), ceil_mode=True), VOLUME),
    "average 1d": (nn.AvgPool1d(3, 2, padding=1), SEQUENCE),
    "average 1d, padding not counted": (nn.AvgPool1d(4, 3, padding=2, count_include_pad=False), SEQUENCE),
    "average 2d, beyond the map": (nn.AvgPool2d((2, 3), (2, 2), padding=(1, 0), ceil_mode=True), IMAGE),
    "average 2d, beyond, not counted": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "average 2d, divided otherwise": (nn.AvgPool2d(2, 1, 1, divisor_override=-3), IMAGE),
    "average 3d": (nn.AvgPool3d(2, (1, 2, 3), padding=1, ceil_mode=True), VOLUME),
    "squares 1d": (nn.LPPool1d(2, 3, ceil_mode=True), SEQUENCE),
    "sums 2d": (nn.LPPool2d(1, (2, 3), stride=2), IMAGE),
    "fourth powers 2d": (nn.LPPool2d(4.0, 2, ceil_mode=True), IMAGE),
    "greatest size 2d": (nn.LPPool2d(float("inf"), 2, ceil_mode=True), IMAGE),
    "smallest size 2d": (nn.LPPool2d(float("-inf"), 2, ceil_mode=True), IMAGE),
    "squares 3d": (nn.LPPool3d(2, (2, 1, 3)), VOLUME),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_is_torchs(name: str, data_format: str) -> None:
    """Every setting gives torch's values, in both data formats."""
    assert outcome(on_noise(*POOLINGS[name]), data_format).passed


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["max 1d, dilated", "max 2d, sides that differ", "average 2d, beyond the map"])
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA give the same."""
    assert outcome(on_noise(*POOLINGS[name]), mode=mode).passed


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_is_read_from_a_file(name: str, tmp_path: Path) -> None:
    """Plain layers and operations only: it computes the same once saved and loaded, on batches of any size."""
    assert same_when_loaded(on_noise(*POOLINGS[name]), "channels_last", tmp_path)


def test_padding_never_wins() -> None:
    """Where all is negative the maximum is the map's, not that of its padding."""
    module, shape = POOLINGS["max 2d, sides that differ"]
    found = outcome(on_noise(module, shape, offset=-100.0))
    assert found.passed
    assert (found.actual < -90).all()


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_greatest_of_whole_numbers_is_one(kind: Any, dilation: int) -> None:
    """No whole number is minus infinity: padding is the least there is, and averages are refused."""
    array = np.random.default_rng(0).integers(0, 9, (2, 3, 5, 7)).astype(kind)
    case = Case(module=nn.MaxPool2d(3, 2, 1, dilation), given=Input(name="x", array=array), layouts={INPUT: "NCHW"})
    assert outcome(case).passed
    with pytest.raises(ConversionError, match="average of whole numbers"):
        build(replace(case, module=nn.AvgPool2d(2)))


def test_a_window_of_padding_alone_has_no_maximum() -> None:
    """Torch gives minus infinity there, and so does the port."""
    found = outcome(on_noise(*POOLINGS["max 1d, a window of padding alone"]))
    assert found.actual.tolist() == [[[-math.inf]]]


def test_a_power_that_is_subnormal_is_zero() -> None:
    """TensorFlow flushes such numbers to zero and torch does not: the one thing that the port has otherwise."""
    case = on_noise(nn.LPPool1d(4, 1), (1, 1, 2))
    case.given.arrays[INPUT][...] = 1e-10
    found = outcome(case)
    np.testing.assert_allclose(found.expected, 1e-10, rtol=1e-4)
    assert (found.actual == 0).all()


@pytest.mark.parametrize(
    ("name", "built_of"),
    [
        ("max 2d", ["MaxPooling2D"]),
        ("max 1d", ["Pad", "MaxPooling1D"]),
        ("average 1d", ["Pad", "AveragePooling1D"]),
        ("average 1d, padding not counted", ["Pad", "AveragePooling1D", "Multiply"]),
        ("average 2d, divided otherwise", ["Pad", "AveragePooling2D", "Multiply"]),
    ],
)
def test_nothing_is_built_that_is_not_needed(name: str, built_of: list[str]) -> None:
    """A pooling without padding is the one layer; a pad, and a factor, only where they do something."""
    assert kinds(build(on_noise(*POOLINGS[name]))) == built_of


@pytest.mark.parametrize("module", [nn.MaxPool1d(2, return_indices=True), nn.MaxPool2d(2, return_indices=True)])
def test_places_of_maxima_are_refused(module: torch.nn.Module) -> None:
    """Keras's poolings do not tell where their maxima are."""
    with pytest.raises(ConversionError, match="return_indices=True: Keras's poolings do not tell where"):
        build(on_noise(module, (1, 1, 4, 4)[: 2 + int(type(module).__name__[-2])]))


@pytest.mark.parametrize(("module", "axes"), [(nn.MaxPool1d(2), 2), (nn.AvgPool2d(2), 3), (nn.LPPool2d(2, 2), 3)])
def test_maps_without_a_batch_are_refused(module: torch.nn.Module, axes: int) -> None:
    """Torch takes them; Keras's first axis is the batch, and the sentence says what is needed."""
    with pytest.raises(ConversionError, match=f"an input of {axes} axes; batch, channels and {axes - 1} of space"):
        build(on_noise(module, (3, 5, 7)[:axes]))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (2, 1), (3, 1), (4, 2)])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_windows_are_counted_as_torch_counts_them(kernel: int, padding: int, stride: int, ceil_mode: bool) -> None:
    """For every size of a map there are as many windows as torch has, and as large as it says they are."""
    for size in range(max(1, kernel - 2 * padding), 9):
        windows = Windows(size=size, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode)
        ones = torch.ones(1, 1, size)
        for include_pad in (False, True):
            averages = nn.AvgPool1d(kernel, stride, padding, ceil_mode, include_pad)(ones).numpy().ravel()
            inside = (windows.indices >= 0).sum(axis=1)
            np.testing.assert_allclose(averages, inside / windows.sizes(include_pad=include_pad), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("max_pool1d", lambda case: torch.isneginf(case.module(_input(case))).any()),
        ("max_pool2d", lambda case: case.given.arrays[INPUT].shape[2] < _first(case.module.kernel_size)),
        ("avg_pool2d", lambda case: case.module.ceil_mode and not case.module.count_include_pad),
        ("avg_pool3d", lambda case: (case.module.divisor_override or 0) < 0),
        ("lp_pool1d", lambda case: case.module.norm_type == -math.inf),
    ],
)
def test_what_is_drawn(kind: str, wanted: Any) -> None:
    """Among the cases there are those that are odd: windows of padding alone, or wider than the map."""
    few = settings(max_examples=2000, database=None, derandomize=True, phases=[Phase.generate])
    assert isinstance(find(strategies.cases(kind), wanted, settings=few), Case)


def _input(case: Case) -> torch.Tensor:
    return torch.from_numpy(case.given.arrays[INPUT])


def _first(value: Any) -> int:
    return value[0] if isinstance(value, tuple) else int(value)
