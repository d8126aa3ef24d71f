"""Transposed convolutions of torch as Keras layers: every hard setting, which layers are made, what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path

import pytest
from layers_on_trial import on_noise, weighted
from reloading import same_when_loaded

from parity.building import Site, Value, build, built
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.layers import tried
from parity.pairs import INPUT

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves
FORMATS = ("channels_last", "channels_first")


CASES = {
    "twice as large": lambda: on_noise(torch.nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1), (2, 2, 5, 7)),
    "one more after": lambda: on_noise(
        torch.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=(1, 0), output_padding=1), (2, 2, 5, 7)
    ),
    "bias alone at the end": lambda: on_noise(
        torch.nn.ConvTranspose1d(2, 3, 2, stride=4, padding=0, output_padding=3), (2, 2, 5)
    ),
    "strides wider than the kernel": lambda: on_noise(torch.nn.ConvTranspose2d(2, 3, 2, stride=(5, 3)), (2, 2, 1, 4)),
    "cropped to one value": lambda: on_noise(torch.nn.ConvTranspose2d(2, 3, 3, padding=(2, 1)), (2, 2, 3, 1)),
    "dilated": lambda: on_noise(torch.nn.ConvTranspose2d(2, 3, (3, 2), dilation=(2, 3), padding=1), (2, 2, 5, 7)),
    "strides with dilation": lambda: on_noise(
        torch.nn.ConvTranspose2d(2, 3, 3, stride=2, dilation=(3, 1), padding=1, output_padding=1), (2, 2, 5, 3)
    ),
    "more after than the stride": lambda: on_noise(
        torch.nn.ConvTranspose1d(2, 3, 2, stride=2, dilation=4, output_padding=3), (2, 2, 5)
    ),
    "groups": lambda: on_noise(torch.nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=1, groups=2), (2, 4, 5, 7)),
    "groups of channels": lambda: on_noise(
        torch.nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1, groups=3), (2, 3, 5, 7)
    ),
    "groups of channels in a volume": lambda: on_noise(
        torch.nn.ConvTranspose3d(2, 4, 2, stride=2, groups=2), (2, 2, 1, 2, 3)
    ),
    "cropped more than the kernel reaches": lambda: on_noise(
        torch.nn.ConvTranspose1d(2, 4, 2, stride=3, padding=3, groups=2), (2, 2, 5)
    ),
    "as wide as it has filters": lambda: on_noise(torch.nn.ConvTranspose2d(2, 6, 2, stride=2), (2, 2, 5, 3)),
    "a volume": lambda: on_noise(
        torch.nn.ConvTranspose3d(2, 3, (1, 2, 3), stride=(1, 2, 3), padding=(0, 0, 1)), (2, 2, 2, 1, 3)
    ),
    "no bias": lambda: on_noise(torch.nn.ConvTranspose2d(2, 6, 2, stride=2, bias=False), (2, 2, 5, 3)),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_a_setting_is_torchs(name: str, data_format: str) -> None:
    """In both data formats."""
    assert all(each.passed for each in tried(CASES[name](), data_format).values())


class _AsLargeAsBefore(torch.nn.Module):
    """A transposed convolution that is told to give what was smaller its size again."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.smaller = torch.nn.Conv2d(2, 4, 3, stride=(2, 3))
        self.larger = torch.nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.larger(self.smaller(x), output_size=x.shape)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_size_that_is_asked_for_says_what_is_put_after(groups: int) -> None:
    """Of the sizes that a stride leaves open `output_size` takes one, as decoders say it."""
    (found,) = tried(on_noise(_AsLargeAsBefore(groups), (2, 2, 6, 7))).values()
    assert found.passed
    assert found.expected.shape == (2, 6, 6, 7)


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ["one more after", "strides with dilation", "groups", "as wide as it has filters"])
def test_a_setting_is_torchs_in_graphs(name: str, data_format: str, mode: str) -> None:
    """Where it is composed, in each kind of graph."""
    assert all(each.passed for each in tried(CASES[name](), data_format, mode).values())


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ["one more after", "strides with dilation", "groups of channels"])
def test_what_is_built_is_keras_alone(name: str, data_format: str, tmp_path: Path) -> None:
    """It is saved, loaded in safe mode, and gives the same values."""
    assert same_when_loaded(CASES[name](), data_format, tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("twice as large", "Conv2DTranspose"),
        ("strides wider than the kernel", "Conv2DTranspose"),
        ("dilated", "Conv2D"),
        ("groups", "Conv2D"),
        ("groups of channels", "DepthwiseConv2D"),
        ("groups of channels in a volume", "Conv3D"),
        ("a volume", "Conv3DTranspose"),
    ],
)
def test_which_layer_it_becomes(name: str, kind: str) -> None:
    """One layer with weights: transposed where Keras and TensorFlow have it so on any CPU."""
    (layer,) = weighted(CASES[name]())
    assert type(layer).__name__ == kind


def test_same_is_the_layers_own() -> None:
    """What Keras crops as torch does is left to the layer."""
    case = CASES["twice as large"]()
    model = built(case.module, case.given, case.layouts).model
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", "Conv2DTranspose"]


def test_a_map_without_a_batch_is_refused() -> None:
    """Torch takes (C, H, W) as one image; what has three axes in Keras is a sequence."""
    case = on_noise(torch.nn.ConvTranspose2d(2, 3, 3), (2, 5, 7))
    with pytest.raises(ConversionError, match=r"is given 3 axes; in Keras it has 4"):
        built(case.module, case.given, {INPUT: "CHW"})


def test_zeros_between_values_need_a_size() -> None:
    """In groups, an axis whose size is not known is refused; without groups it is not."""
    x = Value(keras.Input((None, 4)), (0, 2, 1))
    with pytest.raises(ConversionError, match="strides of 2, need a size that is known"):
        build(torch.nn.ConvTranspose1d(4, 4, 3, stride=2, groups=2), Site(path="up"), x)
    assert build(torch.nn.ConvTranspose1d(4, 4, 3, stride=2), Site(path="up"), x).shape == (None, 4, None)
