"""Convolutions of torch as Keras layers: every hard setting, which layers are made, what is refused.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path

import pytest
from layers_on_trial import on_noise, weighted
from reloading import same_when_loaded

from parity.building import built
from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.layers import tried
from parity.pairs import INPUT

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras, as it saves
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning"),
]
FORMATS = ("channels_last", "channels_first")
MODES = ("eager", "graph", "xla")


CASES = {
    "wide strides": lambda: on_noise(torch.nn.Conv2d(2, 3, 2, stride=(5, 3)), (2, 2, 11, 7)),
    "strides with dilation": lambda: on_noise(
        torch.nn.Conv2d(2, 3, (3, 2), stride=(2, 3), dilation=(2, 1)), (2, 2, 11, 7)
    ),
    "strides with dilation in one axis": lambda: on_noise(
        torch.nn.Conv1d(2, 3, 3, stride=2, dilation=3, padding=4), (2, 2, 9)
    ),
    "a kernel larger than the input": lambda: on_noise(torch.nn.Conv2d(2, 3, (5, 7), padding=(2, 3)), (2, 2, 1, 2)),
    "same, even and dilated": lambda: on_noise(
        torch.nn.Conv2d(2, 3, (2, 4), dilation=(3, 2), padding="same"), (2, 2, 5, 7)
    ),
    "same, reflected": lambda: on_noise(torch.nn.Conv1d(2, 3, 4, padding="same", padding_mode="reflect"), (2, 2, 7)),
    "reflected": lambda: on_noise(torch.nn.Conv2d(2, 3, 3, padding=(1, 3), padding_mode="reflect"), (2, 2, 5, 7)),
    "replicated": lambda: on_noise(
        torch.nn.Conv3d(2, 3, 2, padding=(3, 1, 2), padding_mode="replicate"), (2, 2, 1, 3, 5)
    ),
    "circular": lambda: on_noise(torch.nn.Conv2d(2, 3, 3, stride=2, padding=2, padding_mode="circular"), (2, 2, 5, 7)),
    "groups": lambda: on_noise(torch.nn.Conv2d(6, 9, (3, 2), groups=3, padding=1), (2, 6, 5, 7)),
    "groups of channels": lambda: on_noise(torch.nn.Conv2d(3, 6, (3, 2), groups=3, padding=1), (2, 3, 5, 7)),
    "groups of channels, unequal strides": lambda: on_noise(
        torch.nn.Conv2d(3, 6, 3, stride=(2, 1), groups=3), (2, 3, 5, 7)
    ),
    "groups of channels, dilated strides": lambda: on_noise(
        torch.nn.Conv1d(3, 6, 3, stride=2, dilation=2, groups=3, padding=1), (2, 3, 9)
    ),
    "groups of channels in a volume": lambda: on_noise(torch.nn.Conv3d(3, 6, 2, groups=3, padding=1), (2, 3, 2, 3, 5)),
    "as wide as it has filters": lambda: on_noise(torch.nn.Conv2d(2, 5, 3, padding=1), (2, 2, 7, 5)),
    "one channel, and one value along the width": lambda: on_noise(
        torch.nn.Conv3d(1, 2, (1, 2, 2), stride=(2, 1, 3), padding=(0, 1, 0)), (2, 1, 3, 4, 4)
    ),
    "as long as it has filters": lambda: on_noise(torch.nn.Conv1d(2, 5, 3, padding=1), (2, 2, 5)),
    "no bias": lambda: on_noise(torch.nn.Conv2d(2, 5, 3, padding=1, bias=False), (2, 2, 7, 5)),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_a_setting_is_torchs(name: str, data_format: str) -> None:
    """In both data formats."""
    assert all(each.passed for each in tried(CASES[name](), data_format).values())


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    "name", ["strides with dilation", "groups of channels in a volume", "as wide as it has filters"]
)
def test_a_setting_is_torchs_in_graphs(name: str, data_format: str, mode: str) -> None:
    """Where it is composed, in each kind of graph."""
    assert all(each.passed for each in tried(CASES[name](), data_format, mode).values())


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", ["strides with dilation", "replicated", "groups", "as wide as it has filters"])
def test_what_is_built_is_keras_alone(name: str, data_format: str, tmp_path: Path) -> None:
    """It is saved, loaded in safe mode, and gives the same values."""
    assert same_when_loaded(CASES[name](), data_format, tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("wide strides", "Conv2D"),
        ("groups", "Conv2D"),
        ("groups of channels", "DepthwiseConv2D"),
        ("groups of channels, unequal strides", "Conv2D"),
        ("groups of channels, dilated strides", "DepthwiseConv1D"),
        ("groups of channels in a volume", "Conv3D"),
    ],
)
def test_which_layer_it_becomes(name: str, kind: str) -> None:
    """One layer with weights: depthwise where each channel is a group and TensorFlow takes the strides."""
    (layer,) = weighted(CASES[name]())
    assert type(layer).__name__ == kind


def test_same_is_the_layers_own() -> None:
    """Pads that are Keras's "same" are left to the layer; others are put before it."""
    halves = on_noise(torch.nn.Conv2d(2, 3, (3, 5), padding=(1, 2)), (2, 2, 5, 7))
    model = built(halves.module, halves.given, halves.layouts).model
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", "Conv2D"]
    assert weighted(on_noise(torch.nn.Conv2d(2, 3, 3, padding=2), (2, 2, 5, 7)))[0].padding == "valid"
    assert weighted(on_noise(torch.nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 2, 5, 7)))[0].padding == "valid"


@pytest.mark.parametrize(("size", "expected"), [((7, 5), "channels_last"), ((5, 7), "channels_first")])
def test_channels_are_last_where_the_bias_would_go_astray(size: tuple[int, int], expected: str) -> None:
    """A channels-first layer whose output is as wide as it has filters has its channels last; others stay."""
    (layer,) = weighted(on_noise(torch.nn.Conv2d(2, 5, 3, padding=1), (2, 2, *size)), "channels_first")
    assert layer.data_format == expected


def test_a_width_that_is_not_known_may_be_that_of_the_filters() -> None:
    """Then channels are last too."""
    from parity.building.convolution import bias_goes_astray

    layer = keras.layers.Conv2D(5, 3, data_format="channels_first")
    assert bias_goes_astray(layer, (None, 2, 9, None))
    assert bias_goes_astray(layer, (None, 2, 9, 7))
    assert not bias_goes_astray(layer, (None, 2, 7, 9))
    without = keras.layers.Conv2D(5, 3, data_format="channels_first", use_bias=False)
    assert not bias_goes_astray(without, (None, 2, 9, 7))


def test_a_map_without_a_batch_is_refused() -> None:
    """Torch takes (C, H, W) as one image; what has three axes in Keras is a sequence."""
    case = on_noise(torch.nn.Conv2d(2, 3, 3), (2, 5, 7))
    with pytest.raises(ConversionError, match=r"is given 3 axes; in Keras it has 4"):
        built(case.module, case.given, {INPUT: "CHW"})
