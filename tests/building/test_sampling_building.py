"""Maps sampled at computed places: every mode and padding, on edges and far outside, and refusals.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layers_on_trial import build, on_noise, outcome
from reloading import same_when_loaded

from parity.axes import Array
from parity.building import Site, Value
from parity.building.registry import apply, builder_of
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case
from parity.inputs.strategies.cases import Call, CallOfTwo
from parity.pairs import Input

F = torch.nn.functional
FORMATS = ("channels_last", "channels_first")
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
EDGES = np.asarray([-1, 1, 0, -0.5, 0.25, 1.001, -1.75, 3, -40, 1e6], np.float32)


def sampled(shape: tuple[int, ...], places: Array, **settings: Any) -> Case:
    """A case of `grid_sample` on noise at these places."""
    maps = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    layouts = {"input[0]": {4: "NCHW", 5: "NCTHW"}[len(shape)], "input[1]": "NABDE"[: len(shape)]}
    given = Input(name="noise", args=(maps, places))
    return Case(module=CallOfTwo(F.grid_sample, **settings), given=given, layouts=layouts)


def on_edges(**settings: Any) -> Case:
    """Every pair of the places on an edge, half way, just outside and far."""
    return sampled((1, 2, 4, 5), np.stack(np.meshgrid(EDGES, EDGES), axis=-1)[None], **settings)


def in_volume(mode: str = "bilinear", padding_mode: str = "zeros") -> Case:
    """Places in and around a volume."""
    places = np.random.default_rng(2).uniform(-1.4, 1.4, (2, 2, 3, 4, 3)).astype(np.float32)
    return sampled((2, 3, 4, 2, 5), places, mode=mode, padding_mode=padding_mode, align_corners=False)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_a_map_is_sampled_as_torch_does(mode: str, padding_mode: str, align_corners: bool) -> None:
    """Every mode and padding gives torch's values on edges, half way and far outside, in both data formats."""
    case = on_edges(mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    for data_format in FORMATS:
        assert outcome(case, data_format).passed


@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("mode", MODES[:2])
def test_a_volume_too(mode: str, padding_mode: str) -> None:
    """Maps of three axes of space, in both data formats."""
    for data_format in FORMATS:
        assert outcome(in_volume(mode, padding_mode), data_format).passed


@pytest.mark.parametrize("in_mode", ["graph", "xla"])
@pytest.mark.parametrize("mode", MODES)
def test_in_graphs_too(mode: str, in_mode: str) -> None:
    """Graphs and XLA give the same."""
    case = on_edges(mode=mode, padding_mode="reflection", align_corners=False)
    assert outcome(case, mode=in_mode).passed


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_what_samples_is_read_from_a_file(mode: str, data_format: str, tmp_path: Path) -> None:
    """It does the same once saved and loaded."""
    assert same_when_loaded(on_edges(mode=mode, align_corners=True), data_format, tmp_path)


def test_places_of_batches_are_their_own() -> None:
    """Each map of a batch is sampled at its own places."""
    places = np.random.default_rng(3).uniform(-1, 1, (3, 2, 4, 2)).astype(np.float32)
    assert outcome(sampled((3, 2, 5, 4), places, align_corners=False)).passed


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("shape", "size"), [((2, 2, 3), (2, 1, 4, 1)), ((2, 3, 4), (2, 1, 2, 4, 3))])
def test_places_of_a_matrix(shape: tuple[int, ...], size: tuple[int, ...], align_corners: bool, tmp_path: Path) -> None:
    """`affine_grid` for images and volumes, sizes of 1 among them."""
    case = on_noise(Call(F.affine_grid, size=size, align_corners=align_corners), shape)
    assert outcome(case).passed
    assert same_when_loaded(case, "channels_last", tmp_path)


def test_a_spatial_transformer() -> None:
    """Both together, as networks use them."""

    def turned(theta: torch.Tensor) -> torch.Tensor:
        maps = theta.reshape(-1, 1, 2, 3)
        return F.grid_sample(
            maps, F.affine_grid(theta, [theta.shape[0], 1, 4, 5], align_corners=False), align_corners=False
        )

    assert outcome(on_noise(Call(turned), (2, 2, 3))).passed


def test_sizes_that_are_not_fixed_are_refused() -> None:
    """The places of values are computed from the sizes of the map."""
    values = [Value.plain(keras.KerasTensor(shape)) for shape in ((None, 3, None, 5), (None, 4, 4, 2))]
    with pytest.raises(ConversionError, match=r"grid_sample of a map of \[None, 5\]"):
        apply(builder_of(F.grid_sample), Site(path="warp"), values, {})
    with pytest.raises(ConversionError, match="affine_grid for the size"):
        apply(builder_of(F.affine_grid), Site(path="warp"), values[1:], {"size": (1, 1, None, 4)})


def test_a_builder_is_torchs_default() -> None:
    """Without settings it is bilinear, with zeros around, and the corners not aligned."""
    places = np.random.default_rng(3).uniform(-1.5, 1.5, (1, 4, 4, 2)).astype(np.float32)
    with pytest.warns(UserWarning, match="align_corners"):
        assert outcome(sampled((1, 2, 3, 5), places)).passed
    assert build(sampled((1, 2, 3, 5), places, align_corners=False)).model.output_shape == (None, 4, 4, 2)
