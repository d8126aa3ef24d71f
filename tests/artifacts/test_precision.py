"""The noise that number formats make of a reference: what rounding makes of it, and nothing that excuses a fault."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.artifacts.precision import (
    GAIN_RATIO,
    MAX_RATIO,
    RMSE_RATIO,
    Expected,
    Formats,
    Inner,
    Stored,
    ends_of,
    spread_of,
)
from parity.artifacts.program import Grid
from parity.errors import PairError
from parity.frameworks import torch
from parity.inputs import noise
from parity.pairs import Input
from parity.runners.torch_module import TorchModule
from parity.tolerance import Limits, NoiseFloor

SHAPE = (2, 3, 17, 23)


def grid(step: float, low: int = -128, high: int = 127, zero: float = 0.0) -> Grid:
    """A grid of one step for all values."""
    return Grid(scale=np.array([step]), zero=np.array([zero]), low=low, high=high)


def convolution(out: int = 5) -> Any:
    """A convolution and an activation that works in place, with weights of a fixed seed."""
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Conv2d(3, out, 3), torch.nn.LeakyReLU(0.1, inplace=True)).eval()


def image(shape: tuple[int, ...] = SHAPE) -> Input:
    """Noise from -1 to 1."""
    return noise(shape, seed=3, low=-1, high=1)


def expected(formats: Formats, module: Any = None, given: Input | None = None) -> Expected:
    """The noise of these formats."""
    return Expected(TorchModule(module or convolution()), given or image(), formats)


ENDS = frozenset({"0", "1"})


def test_a_value_on_a_grid_has_the_noise_of_rounding_to_its_steps() -> None:
    """Values that are rounded to steps of 0.01 are off by 0.01 / sqrt(12), whatever made them."""
    found = expected(Formats(precision="int8", ends=ENDS, grids={"0": grid(0.01, low=-1000, high=1000)}))
    assert found.noise("0", anchored=True).rmse == pytest.approx(0.01 / math.sqrt(12), rel=0.03)
    assert found.noise("0", anchored=False).rmse == pytest.approx(0.01 / math.sqrt(12), rel=0.03)


def test_noise_adds_up_end_to_end_and_a_layer_alone_is_given_the_reference() -> None:
    """An activation after a rounded convolution has its noise end to end; alone only what it is given is rounded."""
    coarse = Formats(precision="int8", ends=ENDS, weights={"0": Stored(top=7, by_channel=True)})
    found = expected(coarse)
    assert found.noise("0", anchored=True).rmse > 0
    assert found.noise("1", anchored=True).rmse == 0
    assert found.noise("1", anchored=False).rmse == pytest.approx(found.noise("0", anchored=True).rmse, rel=0.5)


def test_what_a_layer_is_given_is_on_the_grid_of_the_file() -> None:
    """The input of a network is rounded to its grid before the first layer, and the noise of that is the layer's."""
    found = expected(Formats(precision="int8", ends=ENDS, grids={"input": grid(0.1, low=-100, high=100)}))
    assert found.noise("0", anchored=True).rmse > 0.01


def test_values_beyond_the_ends_of_a_grid_are_no_noise_of_the_layer_that_has_it() -> None:
    """A range that holds half of the values leaves the RMSE that is allowed as it is; the greatest difference may be
    what the cut makes of it, and the layer after is given what the file can hold."""
    module = convolution()
    with torch.no_grad():
        most = float(module[0](torch.from_numpy(image().array)).abs().max())
    wide, narrow = (grid(most / 100, low=-ends, high=ends) for ends in (100, 50))
    free, cut = (expected(Formats(precision="int8", ends=ENDS, grids={"0": each})) for each in (wide, narrow))
    assert cut.noise("0", anchored=True).rmse == pytest.approx(free.noise("0", anchored=True).rmse)
    assert cut.noise("0", anchored=False).rmse == pytest.approx(free.noise("0", anchored=False).rmse)
    assert cut.noise("0", anchored=True).max_abs == pytest.approx(most / 2, rel=0.1)
    assert cut.noise("1", anchored=True).rmse > 2 * free.noise("1", anchored=True).rmse
    assert cut.fits["0"].share > 0
    assert free.fits["0"].share == 0


def test_how_a_grid_fits_the_values_is_told() -> None:
    """A grid with steps ten times as large as the values need is told as ten times too coarse, with its ends."""
    values = image().array
    needed = (values.max() - values.min()) / 255
    fit = expected(Formats(precision="int8", ends=ENDS, grids={"input": grid(float(10 * needed))})).fits["input"]
    assert fit.coarse == pytest.approx(10, rel=0.01)
    assert fit.values == (float(values.min()), float(values.max()))
    assert fit.ends == ends_of(grid(float(10 * needed)))


def test_steps_as_large_as_the_values_prove_nothing() -> None:
    """A layer whose grid has no number but zero near its values proves nothing; one with fine steps does."""
    blunt, fine = (expected(Formats(precision="int8", ends=ENDS, grids={"0": grid(step)})) for step in (100.0, 0.01))
    assert not blunt.proves("0")
    assert fine.proves("0")
    assert fine.proves("1")


def test_the_reference_itself_is_not_changed() -> None:
    """The weights and the values of the reference are what they were, after it was run in other formats."""
    module, given = convolution(), image()
    weights, array = [each.clone() for each in module.parameters()], given.array.copy()
    Expected(
        TorchModule(module),
        given,
        Formats(precision="int8", ends=ENDS, grids={"0": grid(0.1)}, weights={"0": Stored(top=7)}),
    )
    assert all(torch.equal(*pair) for pair in zip(weights, module.parameters(), strict=True))
    assert np.array_equal(array, given.array)


def test_inputs_that_are_rounded_as_they_come_add_no_taps() -> None:
    """Dynamic range rounds what a layer reads, within the layer; taps and their values before it stay as they are."""
    stored = Stored(top=127, by_channel=True, rounds_input=True)
    found = expected(Formats(precision="dynamic-range", ends=ENDS, weights={"0": stored}))
    weights_alone = expected(
        Formats(precision="dynamic-range", ends=ENDS, weights={"0": replace(stored, rounds_input=False)})
    )
    assert found.noise("0", anchored=True).rmse > 1.1 * weights_alone.noise("0", anchored=True).rmse


def test_float16_is_finer_than_eight_bits() -> None:
    """Weights in float16 make some thirtieth of the noise that eight bits make, and are the nearest halves."""
    weight = np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 20)
    half = Stored().rounded(weight, (0,), None)
    assert np.array_equal(half, weight.astype(np.float16).astype(np.float32))
    noises = [
        expected(Formats(precision="float16", ends=ENDS, weights={"0": stored})).noise("0", anchored=True).rmse
        for stored in (Stored(), Stored(top=127, by_channel=True))
    ]
    assert 10 < noises[1] / noises[0] < 100


def test_steps_follow_from_the_reference_weights_of_each_channel() -> None:
    """A channel of small weights has small steps of its own, if the file has steps for each channel."""
    weight = np.array([[1.0, 0.3], [0.01, 0.003]], np.float32)
    by_channel, for_all = (Stored(top=127, by_channel=each).rounded(weight, (0,), None) for each in (True, False))
    assert np.abs(by_channel[1] - weight[1]).max() <= 0.01 / 127 / 2
    assert np.abs(for_all[1] - weight[1]).max() > 0.01 / 127 / 2


def test_a_transposed_convolution_has_its_channels_elsewhere() -> None:
    """Weights of a transposed convolution are (in, out, ...), in groups: each output channel has a step of its own."""
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.ConvTranspose2d(4, 6, 2, groups=2)).eval()
    with torch.no_grad():
        module[0].weight[:, 1] *= 1000
        module[0].bias.zero_()
    given = image((1, 4, 9, 7))
    formats = Formats(precision="int8", ends=frozenset({"0"}), weights={"0": Stored(top=127, by_channel=True)})
    noise_by_channel = expected(formats, module, given).noise("0", anchored=True)
    whole = Formats(precision="int8", ends=frozenset({"0"}), weights={"0": Stored(top=127)})
    assert noise_by_channel.rmse < expected(whole, module, given).noise("0", anchored=True).rmse


def test_few_values_are_drawn_again_until_something_can_be_proven() -> None:
    """The noise of two values says little by itself: it is drawn again, and what may come of chance gets smaller."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2)).eval()
    formats = Formats(precision="int8", ends=frozenset({"1"}), grids={"1": grid(0.02)})
    found = expected(formats, module, image((1, 3, 4, 4)))
    assert found.draws > 1
    assert found.proves("1")
    assert spread_of(2, 1) > 99 > 10 > spread_of(2, found.draws)


def test_limits_are_those_of_float32_and_the_noise_on_top() -> None:
    """A layer may be off by what float32 allows and a few times the noise; where nothing is rounded by the former."""
    found = expected(Formats(precision="int8", ends=ENDS, grids={"0": grid(0.01, low=-1000, high=1000)}))
    noise_there = found.noise("0", anchored=True)
    base = Limits(rmse=1.0, gain=0.5, max_abs=2.0)
    wide = found.widened(base, "0", anchored=True)
    spread = spread_of(noise_there.count, 1)
    assert wide.rmse == pytest.approx(1 + RMSE_RATIO * spread * noise_there.rmse)
    assert wide.max_abs == pytest.approx(2 + MAX_RATIO * spread * noise_there.max_abs)
    assert wide.gain > 0.5
    assert math.isinf(found.widened(base, "0", anchored=False).gain)
    nothing = expected(Formats(precision="float16", ends=ENDS))
    assert nothing.widened(base, "0", anchored=True) is base


def test_what_moves_values_only_may_be_off_by_what_its_input_is_rounded() -> None:
    """A layer that only moves values is exact in float32, and has no more than the noise of its input on a grid."""
    module = torch.nn.Sequential(torch.nn.Flatten()).eval()
    formats = Formats(precision="int8", ends=frozenset({"0"}), grids={"input": grid(0.01), "0": grid(0.01)})
    found = expected(formats, module)
    exact = NoiseFloor().limits(found.noise("0", anchored=True), anchored=True, moves_only=True)
    wide = found.widened(exact, "0", anchored=True)
    assert exact.rtol is not None
    assert wide.rtol is None
    assert wide.rmse == pytest.approx(RMSE_RATIO * 0.01 / math.sqrt(12), rel=0.1)


def test_a_constant_factor_is_far_smaller_than_noise() -> None:
    """Noise is not biased: a factor that it leaves room for is far smaller than it, at a layer with weights."""
    stored = {"0": Stored(top=127, by_channel=True)}
    found = expected(Formats(precision="int8", ends=ENDS, grids={"0": grid(0.02)}, weights=stored))
    allowed = found.widened(Limits(gain=0.0, rmse=0.0, max_abs=0.0), "0", anchored=True).gain
    assert GAIN_RATIO > 1
    assert allowed < 0.6 * found.floor("0", anchored=True) * RMSE_RATIO


def test_what_is_rounded_on_the_way_counts_as_noise_of_the_layer_and_of_all_after_it() -> None:
    """Noise of values between two taps is noise of the second, and goes on from there end to end."""
    found = expected(Formats(precision="int8", ends=ENDS, grids={"0": grid(1e-4, low=-100000, high=100000)}))
    found.inner["0"] = Inner(values=0.05)
    assert found.noise("0", anchored=True).rmse == pytest.approx(0.05, rel=0.01)
    assert found.noise("0", anchored=False).rmse == pytest.approx(0.05, rel=0.05)
    assert found.noise("1", anchored=False).rmse > 0.02
    assert found.noise("1", anchored=True).rmse < 1e-3


class _Turning(torch.nn.Module):
    """Takes another way where rounding has brought a value to zero."""

    def forward(self, x: Any) -> Any:
        """The way depends on the values."""
        return torch.tanh(x) if bool((x == 0).any()) else torch.sigmoid(x)


def test_a_reference_whose_way_depends_on_its_values_is_refused() -> None:
    """Where rounded numbers lead the reference another way there is nothing to compare with: one sentence says so."""
    with pytest.raises(PairError, match="takes another way when its numbers are rounded: it comes to 'tanh'"):
        expected(Formats(precision="int8", ends=frozenset({"sigmoid"}), grids={"input": grid(0.5)}), _Turning().eval())


def test_a_recorded_reference_cannot_be_run_in_other_formats() -> None:
    """Without the network itself there is nothing to round: the error says which precision asks for it."""
    with pytest.raises(PairError, match="int8, which is judged by running the reference"):
        Expected(object(), image(), Formats(precision="int8", ends=ENDS))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_norm_that_is_folded_into_a_kernel_is_in_what_is_rounded(transposed: bool) -> None:
    """With one step for a whole kernel, a BatchNorm of unequal factors makes the noise that it makes of the kernel with
    these factors in it; a kernel that the file does not fold has that of its own values."""
    torch.manual_seed(2)
    kernel = torch.nn.ConvTranspose2d(3, 5, 2, bias=False) if transposed else torch.nn.Conv2d(3, 5, 2, bias=False)
    apart: Any = torch.nn.Sequential(kernel, torch.nn.BatchNorm2d(5), torch.nn.ReLU()).eval()
    factors = torch.tensor([0.01, 0.3, -1.0, 5.0, 0.0])
    joined: Any = torch.nn.Sequential(copy.deepcopy(apart[0])).eval()
    with torch.no_grad():
        apart[1].weight.copy_(factors * math.sqrt(1 + apart[1].eps))
        joined[0].weight.mul_(factors.reshape((1, 5, 1, 1) if transposed else (5, 1, 1, 1)))

    def noise_at(name: str, module: Any, ends: frozenset[str], *, folds: bool) -> float:
        weights = {"0": Stored(top=127, folds=folds)}
        return expected(Formats(precision="int8", ends=ends, weights=weights), module).noise(name, anchored=True).rmse

    folded = noise_at("1", apart, frozenset({"1", "2"}), folds=True)
    assert folded == pytest.approx(noise_at("0", joined, frozenset({"0"}), folds=False), rel=0.01)
    assert folded > 1.2 * noise_at("1", apart, frozenset({"1", "2"}), folds=False)
    compared_before = noise_at("1", apart, frozenset({"0", "1", "2"}), folds=True)
    assert compared_before < folded, "a kernel whose own values the file has is not folded"


def test_few_values_are_allowed_nothing_by_chance_where_a_layer_is_known_to_be_another() -> None:
    """Of two values chance may make several times the noise; where nothing is left to chance the plain ratios hold."""
    torch.manual_seed(3)
    found = expected(
        Formats(precision="int8", ends=frozenset({"0"}), weights={"0": Stored(top=127, by_channel=True)}),
        torch.nn.Sequential(torch.nn.Linear(7, 2)).eval(),
        noise((1, 7), seed=1, low=-1, high=1),
    )
    made = found.noise("0", anchored=True)
    limits = [
        found.widened(Limits(rmse=0, gain=0, max_abs=0), "0", anchored=True, by_chance=each) for each in (False, True)
    ]
    assert limits[0].rmse == pytest.approx(RMSE_RATIO * made.rmse)
    assert limits[0].max_abs == pytest.approx(MAX_RATIO * made.max_abs)
    assert limits[1].rmse > 1.5 * limits[0].rmse
    assert limits[1].gain > 1.5 * limits[0].gain


@pytest.mark.filterwarnings("error")
def test_what_float16_cannot_hold_is_no_noise() -> None:
    """Weights and values beyond float16's range are rounded by nothing, and looked at without a warning of NumPy's."""
    module: Any = torch.nn.Sequential(torch.nn.Linear(7, 2)).eval()
    with torch.no_grad():
        module[0].weight.fill_(65_510.0)
        module[0].bias.fill_(0.0)
    given = noise((3, 7), seed=1, low=1, high=2)
    formats = Formats(precision="float16", ends=frozenset({"0"}), halves=frozenset({"0"}), weights={"0": Stored()})
    made = expected(formats, module, given).noise("0", anchored=True)
    assert (made.rmse, made.max_abs) == (0.0, 0.0)
