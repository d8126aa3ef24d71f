"""What moves values: torch's order of the axes wherever the port has them, patches there and back, and refusals.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path

import numpy as np
import pytest
from layers_on_trial import build, kinds, on_noise, outcome
from reloading import same_when_loaded

from parity.errors import ConversionError
from parity.frameworks import torch
from parity.inputs.strategies.cases import Call

nn, F = torch.nn, torch.nn.functional
FORMATS = ("channels_last", "channels_first")
IMAGE, VOLUME = (2, 12, 3, 5), (2, 6, 3, 2, 5)
MOVED: dict[str, tuple[torch.nn.Module, tuple[int, ...]]] = {
    "pixel shuffle": (nn.PixelShuffle(2), IMAGE),
    "pixel shuffle, once": (nn.PixelShuffle(1), IMAGE),
    "pixel unshuffle": (nn.PixelUnshuffle(3), (2, 2, 3, 6)),
    "channel shuffle": (nn.ChannelShuffle(3), IMAGE),
    "channel shuffle of a volume": (nn.ChannelShuffle(2), VOLUME),
    "flatten": (nn.Flatten(), IMAGE),
    "flatten the end": (nn.Flatten(2), IMAGE),
    "flatten the middle": (nn.Flatten(1, -3), VOLUME),
    "flatten all": (nn.Flatten(0), IMAGE),
    "flatten the batch": (nn.Flatten(0, 1), IMAGE),
    "flatten one": (nn.Flatten(1, 1), IMAGE),
    "unflatten": (nn.Unflatten(1, (3, 4)), IMAGE),
    "unflatten, one open": (nn.Unflatten(-3, (2, -1, 3)), IMAGE),
    "unflatten the width": (nn.Unflatten(3, (5, 1)), IMAGE),
    "unfold": (nn.Unfold((2, 3), dilation=(1, 2), padding=(1, 2), stride=(2, 1)), IMAGE),
    "fold": (nn.Fold((4, 5), (2, 3), padding=1, stride=(2, 1)), (2, 12, 15)),
    "fold, dilated, with gaps": (nn.Fold((5, 7), (2, 2), dilation=(2, 1), stride=3), (2, 12, 2)),
    "pixel_shuffle": (Call(F.pixel_shuffle, upscale_factor=2), IMAGE),
    "pixel_unshuffle": (Call(F.pixel_unshuffle, downscale_factor=1), IMAGE),
    "channel_shuffle": (Call(F.channel_shuffle, groups=4), IMAGE),
    "torch.flatten": (Call(torch.flatten, start_dim=1), IMAGE),
    "F.unfold": (Call(F.unfold, kernel_size=2, padding=1), IMAGE),
    "F.fold": (Call(F.fold, output_size=(4, 5), kernel_size=(2, 3), padding=1, stride=(2, 1)), (2, 12, 15)),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", MOVED)
def test_values_go_where_torch_has_them(name: str, data_format: str) -> None:
    """Every kind gives torch's values, in both data formats: exactly, where nothing is added."""
    found = outcome(on_noise(*MOVED[name]), data_format)
    assert found.passed
    if "old" not in name or "unfold" in name.lower():
        np.testing.assert_array_equal(found.actual, found.expected)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["pixel shuffle", "channel shuffle", "flatten", "unfold", "fold"])
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA give the same."""
    assert outcome(on_noise(*MOVED[name]), mode=mode).passed


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", MOVED)
def test_what_moves_is_read_from_a_file(name: str, data_format: str, tmp_path: Path) -> None:
    """It does the same once saved and loaded."""
    assert same_when_loaded(on_noise(*MOVED[name]), data_format, tmp_path)


def test_flattened_channels_come_first() -> None:
    """Of an image with its channels last, too, the flat values are those of the first channel, then the second's."""
    found = outcome(on_noise(nn.Flatten(), (1, 2, 3, 5)), "channels_last")
    np.testing.assert_array_equal(found.actual, found.expected)
    assert kinds(build(on_noise(nn.Flatten(), (1, 2, 3, 5)), "channels_first")) == ["Reshape"]


def test_a_linear_layer_reads_what_was_flattened() -> None:
    """The usual head of a classifier."""
    head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 3 * 5, 2))
    for data_format in FORMATS:
        assert outcome(on_noise(head, (2, 3, 5, 7)), data_format).passed


@pytest.mark.parametrize(
    ("module", "shape", "why"),
    [
        (nn.Unfold(2), (3, 4, 5), "Unfold of a tensor of 3 axes; give it a batch of images"),
        (nn.Fold((4, 5), (2, 3), padding=1, stride=(2, 1)), (12, 15), "Fold of a tensor of 2 axes"),
    ],
)
def test_what_is_refused(module: torch.nn.Module, shape: tuple[int, ...], why: str) -> None:
    """Maps without a batch are refused with a sentence."""
    with pytest.raises(ConversionError, match=why):
        build(on_noise(module, shape))
