"""Adaptive poolings as Keras operations: sizes that divide the map's and others, and what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path

import numpy as np
import pytest
from layers_on_trial import build, kinds, on_noise, outcome
from reloading import same_when_loaded

from parity.building.adaptive import windows
from parity.errors import ConversionError
from parity.frameworks import torch

nn = torch.nn
FORMATS = ("channels_last", "channels_first")
SEQUENCE, IMAGE, VOLUME = (2, 3, 7), (2, 3, 6, 7), (2, 3, 4, 5, 6)
POOLINGS: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
    "average 1d, to one": (nn.AdaptiveAvgPool1d(1), SEQUENCE),
    "average 1d, not dividing": (nn.AdaptiveAvgPool1d(3), SEQUENCE),
    "average 1d, to more than there are": (nn.AdaptiveAvgPool1d(10), SEQUENCE),
    "average 2d, dividing": (nn.AdaptiveAvgPool2d((3, 1)), IMAGE),
    "average 2d, not dividing": (nn.AdaptiveAvgPool2d((4, 5)), IMAGE),
    "average 2d, one side as it is": (nn.AdaptiveAvgPool2d((None, 2)), IMAGE),
    "average 2d, as it is": (nn.AdaptiveAvgPool2d((6, None)), IMAGE),
    "average 3d, one size for all": (nn.AdaptiveAvgPool3d(3), VOLUME),
    "max 1d, to one": (nn.AdaptiveMaxPool1d(1), SEQUENCE),
    "max 1d, to more than there are": (nn.AdaptiveMaxPool1d(9), SEQUENCE),
    "max 2d, not dividing": (nn.AdaptiveMaxPool2d((4, 3)), IMAGE),
    "max 2d, one side as it is": (nn.AdaptiveMaxPool2d((2, None)), IMAGE),
    "max 3d": (nn.AdaptiveMaxPool3d((2, 3, 8)), VOLUME),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", POOLINGS)
def test_an_adaptive_pooling_is_torchs(name: str, data_format: str) -> None:
    """Every size gives torch's values, in both data formats."""
    assert outcome(on_noise(*POOLINGS[name]), data_format).passed


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["average 2d, not dividing", "max 3d"])
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA give the same."""
    assert outcome(on_noise(*POOLINGS[name]), mode=mode).passed


@pytest.mark.parametrize("name", POOLINGS)
def test_an_adaptive_pooling_is_read_from_a_file(name: str, tmp_path: Path) -> None:
    """Plain operations only: it computes the same once saved and loaded, on batches of any size."""
    assert same_when_loaded(on_noise(*POOLINGS[name]), "channels_last", tmp_path)


def test_maxima_of_negative_values() -> None:
    """What is after the end of a shorter window never is its maximum."""
    assert (outcome(on_noise(nn.AdaptiveMaxPool2d((4, 3)), IMAGE, offset=-100.0)).actual < -90).all()


@pytest.mark.parametrize(
    ("name", "built_of"),
    [
        ("average 1d, to one", ["Mean"]),
        ("average 2d, dividing", ["Reshape", "Mean", "Mean"]),
        ("average 2d, as it is", ["Identity"]),
        ("max 1d, to one", ["Max"]),
        ("max 2d, one side as it is", ["Reshape", "Max"]),
        ("max 2d, not dividing", ["Take", "Max", "Take", "Max"]),
    ],
)
def test_nothing_is_built_that_is_not_needed(name: str, built_of: list[str]) -> None:
    """A mean or a maximum over what is pooled to one; a gather only where the size does not divide the map's."""
    found = [kind for kind in kinds(build(on_noise(*POOLINGS[name]))) if kind != "Transpose"]
    assert found == built_of


@pytest.mark.parametrize("kind", [nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d])
def test_places_of_maxima_are_refused(kind: type[torch.nn.Module]) -> None:
    """Keras's poolings do not tell where their maxima are."""
    shape = (1, 1, 4, 4, 4)[: 2 + int(kind.__name__[-2])]
    with pytest.raises(ConversionError, match="return_indices=True: Keras's poolings do not tell where"):
        build(on_noise(kind(2, return_indices=True), shape))


def test_maps_without_a_batch_are_refused() -> None:
    """Torch takes them; Keras's first axis is the batch, and the sentence says what is needed."""
    with pytest.raises(ConversionError, match="an input of 3 axes; batch, channels and 2 of space are needed"):
        build(on_noise(nn.AdaptiveAvgPool2d(2), (3, 5, 7)))


@pytest.mark.parametrize("size", range(1, 12))
def test_windows_are_those_of_torch(size: int) -> None:
    """For every size that is asked for, each window has torch's places: on the powers of two their sum says which."""
    powers = 2.0 ** np.arange(size)
    for count in range(1, 14):
        expected = nn.AdaptiveAvgPool1d(count)(torch.from_numpy(powers)[None, None]).numpy().ravel()
        actual = [powers[places[places >= 0]].mean() for places in windows(size, count)]
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
