"""Noise repeats to the bit, and each probe shows the one mistake it was made for."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

import parity.inputs
from parity.errors import InputError
from parity.inputs import PROBES, noise, probe

SHAPES = [(7,), (2, 7), (2, 3, 7), (2, 3, 5, 7), (1, 3, 2, 5, 7), (2, 3, 2, 6, 6), (1, 3, 2, 64, 64)]


def test_inputs_load_no_framework():
    """Making inputs imports neither torch nor tensorflow."""
    code = "import sys, parity.inputs; print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_exports_what_users_call():
    """The public names are these, and each is reachable from parity.inputs."""
    files, made = ["arrays_from", "folder"], ["from_signature", "image", "image_pair", "motorcycle", "noise"]
    assert parity.inputs.__all__ == ["PROBES", "Slot", *files, *made, "picture", "probe", "tokens"]
    assert all(hasattr(parity.inputs, name) for name in parity.inputs.__all__)
    assert PROBES == ("impulse", "ramp", "negative", "constant")


def test_noise_repeats_to_the_bit():
    """The same seed gives the same bytes, another seed gives others."""
    first, again, other = (noise((2, 3, 5, 7), seed=seed).array for seed in (4, 4, 5))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


def test_noise_is_the_same_on_every_machine():
    """The first values of seed 0 are those recorded with NumPy 2.4.6, so a stored report can be rerun."""
    recorded = np.array([216.90916442871094, 162.4252166748047, 130.3397979736328], dtype=np.float32)
    np.testing.assert_array_equal(noise((3,), seed=0).array, recorded, strict=True)


def test_noise_fills_its_range():
    """Noise is float32 and reaches from low to high without leaving the range."""
    made = noise((2, 3, 64, 96), low=-2.0, high=3.0)
    assert made.array.dtype == np.float32
    assert made.array.shape == (2, 3, 64, 96)
    assert -2.0 <= made.array.min() < -1.99
    assert 2.99 < made.array.max() <= 3.0


def test_noise_says_what_it_is():
    """The name can be chosen, and the origin says range and seed."""
    assert noise((2, 3)).name == "noise"
    made = noise((2, 3), seed=11, name="second")
    assert made.name == "second"
    assert made.origin == "uniform noise in [0, 255], PCG64 seed 11"


def test_a_negative_seed_is_refused():
    """A negative seed is an InputError that says the seed."""
    with pytest.raises(InputError, match="seed=-1"):
        noise((2, 3), seed=-1)


@pytest.mark.parametrize("shape", [(), (2, 0, 3), (2, -5)])
@pytest.mark.parametrize("make", [noise, lambda shape: probe("ramp", shape)], ids=["noise", "probe"])
def test_an_empty_shape_is_refused(make, shape):
    """A shape without values is an InputError that says the shape."""
    with pytest.raises(InputError) as caught:
        make(shape)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(("low", "high"), [(3.0, 3.0), (5.0, 2.0), (0.0, float("inf")), (float("nan"), 1.0)])
@pytest.mark.parametrize("make", [noise, lambda *a, **k: probe("constant", *a, **k)], ids=["noise", "probe"])
def test_an_empty_range_is_refused(make, low, high):
    """A range without an inside is an InputError that says both ends."""
    with pytest.raises(InputError) as caught:
        make((2, 3), low=low, high=high)
    assert f"low={low:g}, high={high:g}" in str(caught.value)


def test_an_unknown_probe_is_refused():
    """An unknown kind is an InputError that says the kind and lists the known ones."""
    with pytest.raises(InputError, match="unknown probe 'spiral'; the probes are impulse, ramp, negative, constant"):
        probe("spiral", (1, 3, 5, 7))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", PROBES)
def test_probes_have_the_form_of_an_input(kind, shape):
    """Every probe is float32 of the shape asked for, finite, and named after its kind."""
    made = probe(kind, shape)
    assert (made.name, made.array.dtype, made.array.shape) == (kind, np.float32, shape)
    assert np.isfinite(made.array).all()
    assert made.origin.startswith("probe: ")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_impulse_has_one_bright_position_per_plane(shape):
    """Every plane of an impulse holds one `high` on `low`, and no two planes at the same position."""
    array = probe("impulse", shape, low=-1.0, high=2.0).array
    spatial = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}[len(shape)]
    planes = array.reshape(-1, *shape[-spatial:])
    assert ((planes == 2.0).reshape(len(planes), -1).sum(axis=1) == 1).all()
    assert (planes == -1.0).sum() == planes.size - len(planes)
    positions = {int(plane.argmax()) for plane in planes}
    assert len(positions) == len(planes)


@pytest.mark.parametrize("shape", [(1, 3, 2, 5, 7), (2, 3, 2, 6, 6), (1, 3, 2, 64, 64), (1, 2, 2, 2)], ids=str)
def test_an_impulse_shows_every_flip_and_swap(shape):
    """Flipping a plane of an impulse, swapping its height and width, or reversing the planes changes it."""
    array = probe("impulse", shape).array
    for axis in range(array.ndim - 2):
        assert shape[axis] == 1 or not np.array_equal(np.flip(array, axis), array)
    for plane in array.reshape(-1, *shape[-2:]):
        for moved in (plane[::-1], plane[:, ::-1], plane[::-1, ::-1], plane.T):
            assert not np.array_equal(moved, plane)


def test_an_impulse_survives_planes_of_one_pixel():
    """A plane with a single position is bright there: nothing else is possible, and nothing fails."""
    np.testing.assert_array_equal(probe("impulse", (2, 3, 1, 1)).array, np.full((2, 3, 1, 1), 255, np.float32))


def test_an_impulse_with_more_planes_than_positions_uses_every_telling_position():
    """With 1024 channels on a 4x4 map, all 12 positions off the diagonal are used before one repeats."""
    array = probe("impulse", (1, 1024, 4, 4)).array
    assert (array.sum(axis=(0, 1)) > 0).sum() == 12


def test_a_ramp_shows_every_transpose():
    """No permutation of the axes leaves a ramp of equal sides as it was."""
    array = probe("ramp", (3, 3, 3, 3)).array
    for order in itertools.permutations(range(4)):
        assert (order == (0, 1, 2, 3)) == np.array_equal(array.transpose(order), array)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_ramp_rises_along_every_axis_from_low_to_high(shape):
    """A ramp is `low` at the first index, `high` at the last, and rises along every axis in between."""
    array = probe("ramp", shape, low=-3.0, high=5.0).array
    assert (array.flat[0], array.flat[-1]) == (-3.0, 5.0)
    for axis in range(array.ndim):
        assert (np.diff(array, axis=axis) > 0).all()


def test_a_ramp_tells_channels_apart_without_their_means():
    """After each channel's mean is subtracted, as FlowNet does, no two channels of a ramp are alike."""
    array = probe("ramp", (1, 3, 2, 5, 7)).array
    centred = array - array.mean(axis=(2, 3, 4), keepdims=True)
    for first, second in itertools.combinations(range(3), 2):
        assert abs(centred[0, first] - centred[0, second]).max() > 1


def test_a_ramp_over_a_single_value_is_low():
    """A ramp with nowhere to rise is `low`, not a division by zero."""
    assert probe("ramp", (1, 1)).array.tolist() == [[0.0]]


@pytest.mark.parametrize(("low", "high", "bottom"), [(0.0, 255.0, 255.0), (-1.0, 1.0, 1.0), (-9.0, 2.0, 9.0)])
def test_the_negative_probe_is_below_zero_everywhere(low, high, bottom):
    """The negative probe lies under zero and reaches down to the range's largest magnitude."""
    array = probe("negative", (1, 3, 2, 20, 30), low=low, high=high).array
    assert array.max() < 0
    assert -bottom <= array.min() < -0.99 * bottom
    assert len(np.unique(array)) > 1000


def test_the_constant_probe_is_one_value():
    """The constant probe is halfway between low and high, everywhere."""
    np.testing.assert_array_equal(
        probe("constant", (2, 3, 5), low=1.0, high=4.0).array,
        np.full((2, 3, 5), 2.5, np.float32),
        strict=True,
    )
