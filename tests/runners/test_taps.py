"""What the engines share: one vocabulary of kinds, numbered names, and the same sample on either side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.axes import flat_positions, move
from parity.runners.taps import SAMPLE, SYNONYMS, Numbering, kind_of, positions


@pytest.mark.parametrize(
    ("torch_name", "keras_name"),
    [
        ("Conv2d", "Conv2D"),
        ("conv_transpose2d", "Conv2DTranspose"),
        ("ConvTranspose2d", "Conv2DTranspose"),
        ("Linear", "Dense"),
        ("BatchNorm2d", "BatchNormalization"),
        ("LayerNorm", "LayerNormalization"),
        ("MaxPool2d", "MaxPooling2D"),
        ("AvgPool2d", "AveragePooling2D"),
        ("LeakyReLU", "LeakyReLU"),
        ("cat", "Concatenate"),
        ("interpolate", "UpSampling2D"),
        ("Upsample", "Resizing"),
        ("mul", "Rescaling"),
        ("div", "TrueDivide"),
        ("add", "Add"),
        ("sub", "Subtract"),
        ("getitem", "GetItem"),
        ("ZeroPad2d", "ZeroPadding2D"),
        ("softmax", "Softmax"),
        ("mean", "Mean"),
    ],
)
def test_both_frameworks_have_one_word(torch_name: str, keras_name: str) -> None:
    """What torch and Keras call the same operation is one kind."""
    assert kind_of(torch_name) == kind_of(keras_name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Conv2d", "ConvTranspose2d"), ("Conv2d", "Conv1d"), ("MaxPool2d", "AvgPool2d"), ("relu", "leaky_relu"),
     ("add", "sub"), ("add", "mul"), ("BatchNorm2d", "LayerNorm"), ("Conv2D", "DepthwiseConv2D")],
)  # fmt: skip
def test_different_operations_stay_different(one: str, other: str) -> None:
    """No synonym joins what computes something else."""
    assert kind_of(one) != kind_of(other)


def test_kinds_are_their_own_kind() -> None:
    """Naming a kind twice changes nothing: no synonym leads to another synonym."""
    assert all(kind_of(kind) == kind for kind in SYNONYMS.values())
    assert all(key == key.lower().replace("_", "") for key in SYNONYMS)


@pytest.mark.parametrize(("operator", "name"), [("iadd", "Add"), ("rmul", "Multiply"), ("truediv", "TrueDivide")])
def test_operators_are_their_operations(operator: str, name: str) -> None:
    """`x += y`, `2 * x` and `x / y` reach torch as __iadd__, __rmul__ and __truediv__."""
    assert kind_of(operator) == kind_of(name)


def test_numbering_counts_from_the_second_on() -> None:
    """The first of a name keeps it; each name is counted by itself."""
    number = Numbering()
    assert [number(name) for name in ("cat", "mul", "cat", "cat", "mul")] == ["cat", "mul", "cat#2", "cat#3", "mul#2"]
    assert Numbering()("cat") == "cat"


@given(st.lists(st.integers(0, 7), max_size=5))
def test_small_tensors_are_looked_at_whole(shape: list[int]) -> None:
    """Every position of a small tensor is sampled once, in order; a scalar has one, an empty tensor none."""
    np.testing.assert_array_equal(positions(tuple(shape)), np.arange(int(np.prod(shape, dtype=np.int64))))


def test_the_largest_whole_tensor_has_as_many_values_as_a_sample() -> None:
    """SAMPLE values are taken whole, one more are sampled."""
    np.testing.assert_array_equal(positions((SAMPLE,)), np.arange(SAMPLE))
    assert len(positions((SAMPLE + 1,))) == SAMPLE
    assert len(np.unique(positions((SAMPLE + 1,)))) < SAMPLE


LARGE = (2, 3, 301, 403)


def test_large_maps_are_sampled_the_same_each_time() -> None:
    """The positions of a shape are fixed, ascending and inside, and other shapes of as many values have others."""
    chosen = positions(LARGE)
    assert len(chosen) == SAMPLE
    np.testing.assert_array_equal(chosen, positions(LARGE))
    assert (np.diff(chosen) >= 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < np.prod(LARGE)
    assert not np.array_equal(chosen, positions((3, 2, 301, 403)))


def test_samples_are_spread_over_every_axis() -> None:
    """Every row, column, channel and picture is looked at about as often as any other: no stride misses a pattern."""
    for axis, index in enumerate(np.unravel_index(positions(LARGE), LARGE)):
        counts = np.bincount(index, minlength=LARGE[axis])
        usual = SAMPLE / LARGE[axis]
        assert np.abs(counts - usual).max() < 6 * np.sqrt(usual)


def test_a_stride_would_not_be_spread() -> None:
    """The check above can fail: with a stride, the columns of such a map are looked at unevenly."""
    strided = np.arange(0, np.prod(LARGE), 13 * 31)
    counts = np.bincount(np.unravel_index(strided, LARGE)[3], minlength=LARGE[3])
    assert np.abs(counts - len(strided) / LARGE[3]).max() > 6 * np.sqrt(len(strided) / LARGE[3])


def test_both_sides_sample_the_same_values() -> None:
    """The reference's positions, moved to the port's layout, pick the same values there."""
    values = np.arange(np.prod(LARGE), dtype=np.float32).reshape(LARGE)
    chosen = positions(LARGE)
    places = flat_positions(chosen, LARGE, "NCHW", "NHWC")
    np.testing.assert_array_equal(move(values, "NCHW", "NHWC").reshape(-1)[places], values.reshape(-1)[chosen])
