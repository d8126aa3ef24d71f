"""Resizing: every mode, to sizes and by factors, in both data formats; what is built, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layers_on_trial import build, kinds, on_noise, outcome
from reloading import same_when_loaded

from parity.building.resizing import shares_of
from parity.errors import ConversionError
from parity.frameworks import torch
from parity.inputs.strategies.cases import Call

nn, F = torch.nn, torch.nn.functional
FORMATS = ("channels_last", "channels_first")
SEQUENCE, IMAGE, VOLUME = (2, 3, 7), (2, 3, 5, 4), (2, 2, 3, 4, 5)
RESIZED: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
    "nearest 1d": (nn.Upsample(scale_factor=2.5), SEQUENCE),
    "nearest 1d, as many by a factor": (nn.Upsample(scale_factor=1.25), (1, 2, 2)),
    "nearest 2d, whole factor": (nn.Upsample(scale_factor=(2, 3)), IMAGE),
    "nearest 2d, as many by a factor": (nn.Upsample(scale_factor=(1.25, 1)), (1, 2, 2, 3)),
    "nearest 2d, size": (nn.Upsample((7, 3)), IMAGE),
    "nearest 3d, whole factor": (nn.Upsample(scale_factor=2), VOLUME),
    "nearest 3d": (nn.Upsample(scale_factor=(1.25, 2, 0.7)), VOLUME),
    "nearest exact": (nn.Upsample((7, 3), mode="nearest-exact"), IMAGE),
    "linear": (nn.Upsample(scale_factor=1.7, mode="linear"), SEQUENCE),
    "linear, corners": (nn.Upsample(4, mode="linear", align_corners=True), SEQUENCE),
    "bilinear": (nn.Upsample(scale_factor=(1.3, 0.6), mode="bilinear"), IMAGE),
    "bilinear, factor anew": (
        nn.Upsample(scale_factor=(1.3, 0.6), mode="bilinear", recompute_scale_factor=True),
        IMAGE,
    ),
    "bilinear, corners": (nn.Upsample((1, 9), mode="bilinear", align_corners=True), IMAGE),
    "bicubic": (nn.Upsample((8, 3), mode="bicubic"), IMAGE),
    "bicubic, corners": (nn.Upsample(scale_factor=1.6, mode="bicubic", align_corners=True), IMAGE),
    "trilinear": (nn.Upsample((2, 7, 3), mode="trilinear"), VOLUME),
    "area": (nn.Upsample((3, 7), mode="area"), IMAGE),
    "area by a factor": (nn.Upsample(scale_factor=0.6, mode="area"), VOLUME),
    "antialias": (Call(F.interpolate, size=(3, 2), mode="bilinear", antialias=True), IMAGE),
    "antialias, cubic": (Call(F.interpolate, scale_factor=0.7, mode="bicubic", antialias=True), IMAGE),
    "as nearest": (nn.UpsamplingNearest2d(scale_factor=2), IMAGE),
    "as bilinear": (nn.UpsamplingBilinear2d(size=(9, 6)), IMAGE),
    "nothing to do": (nn.Upsample(scale_factor=1, mode="bilinear"), IMAGE),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", RESIZED)
def test_a_map_is_resized_as_torch_does(name: str, data_format: str) -> None:
    """Every mode gives torch's values, in both data formats."""
    assert outcome(on_noise(*RESIZED[name]), data_format).passed


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["nearest 3d", "bilinear", "bicubic, corners", "area", "antialias"])
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA give the same."""
    assert outcome(on_noise(*RESIZED[name]), mode=mode).passed


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", RESIZED)
def test_what_resizes_is_read_from_a_file(name: str, data_format: str, tmp_path: Path) -> None:
    """Indices and weights are in the file: it computes the same once saved and loaded."""
    assert same_when_loaded(on_noise(*RESIZED[name]), data_format, tmp_path)


@pytest.mark.parametrize(
    ("name", "built_of"),
    [
        ("nearest 2d, whole factor", ["UpSampling2D"]),
        ("nearest 3d, whole factor", ["UpSampling3D"]),
        ("as nearest", ["UpSampling2D"]),
        ("nothing to do", ["Identity"]),
        ("nearest 1d", ["Take"]),
        ("linear", ["Take", "Multiply", "Sum"]),
        ("bicubic", ["Take", "Multiply", "Sum"] * 2),
    ],
)
def test_nothing_is_built_that_is_not_needed(name: str, built_of: list[str]) -> None:
    """A whole factor is a layer of Keras's, and an axis is gathered, and weighted, only where that does something."""
    assert kinds(build(on_noise(*RESIZED[name]))) == built_of


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("axis", [0, 1])
def test_shares_are_of_one(mode: str, axis: int) -> None:
    """The shares of every output value come to 1, along either axis."""
    shares = shares_of([5, 7], axis, 6, None, mode=mode)
    assert shares.shape == (6, 5 + 2 * axis)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.interpolate(x, size=x.shape[2:]) + F.interpolate(x, scale_factor=1.0),
        lambda x: F.interpolate(F.interpolate(x, scale_factor=0.5), size=x.shape[-2:], mode="bilinear"),
        lambda x: F.interpolate(x, (3, 9), None, "bicubic", True),
    ],
)
def test_a_call_in_a_network(call: Any) -> None:
    """`interpolate` as networks call it: to the size of another map, by position or by name."""
    assert outcome(on_noise(Call(call), IMAGE)).passed


def test_an_image_that_becomes_1_wide_with_antialias_is_refused() -> None:
    """Torch itself is wrong there, and says so nowhere; of another width, or of one height, it is built."""
    with pytest.raises(ConversionError, match=r"an image that becomes 1 wide \(height 5 to 3\)"):
        build(on_noise(Call(F.interpolate, size=(3, 1), mode="bilinear", antialias=True), IMAGE))
    assert outcome(on_noise(Call(F.interpolate, size=(5, 1), mode="bilinear", antialias=True), IMAGE)).passed
