"""The judge: what noise is, measured whole or on the centre of a large input."""

import dataclasses

import numpy as np
import pytest

from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.judge import CROP, Judge
from parity.pairs import Input, Pair
from parity.runners.torch_module import TorchModule
from parity.tolerance import NoiseFloor, Tolerance
from parity.verification import verify

HEIGHT, WIDTH = 320, 450
LARGE = noise((1, 3, HEIGHT, WIDTH), seed=5, low=-1, high=1)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A convolution and a LeakyReLU, faithfully ported; the reference takes sizes that are multiples of 2."""
    torch.manual_seed(3)
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.LeakyReLU(0.1)).eval()
    image = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(5, 3, padding="same", name="conv")
    port = keras.Model(image, keras.layers.LeakyReLU(negative_slope=0.1, name="act")(convolution(image)))
    weight, bias = (value.detach().numpy() for value in reference[0].parameters())
    convolution.set_weights([np.transpose(weight, (2, 3, 1, 0)), bias])
    return Pair(name="small", reference=reference, port=port, layers={"0": "conv", "1": "act"}, multiple=2)


def judge_of(pair: Pair, given: Input) -> Judge:
    """The judge after the reference's float32 run."""
    judge = Judge(TorchModule(pair.reference), pair, NoiseFloor(), given)
    judge.prepare()
    TorchModule(pair.reference).run(given, judge.see)
    return judge


def test_the_centre_is_as_noisy_as_the_whole(pair: Pair) -> None:
    """The floor measured on the centre is the whole map's to a few percent, and scaled to the whole map's values."""
    centre = judge_of(pair, LARGE)
    whole = judge_of(dataclasses.replace(pair, multiple=None), LARGE)
    assert LARGE.array.shape[-1] * LARGE.array.shape[-2] > 2 * CROP**2
    assert centre.noise["0"] != whole.noise["0"]
    for layer in ("0", "1"):
        assert centre.floor(layer) == pytest.approx(whole.floor(layer), rel=0.1)
        assert centre.noise[layer].expected_rms == pytest.approx(whole.noise[layer].expected_rms, rel=0.02)


def test_a_small_input_is_run_whole(pair: Pair) -> None:
    """An input of at most two crops has the float64 run itself as what is expected."""
    judge = judge_of(pair, noise((1, 3, 7, 10), low=-1, high=1))
    assert judge.trace.outputs["output"].dtype == np.float64


def test_a_faithful_port_passes_on_a_large_input(pair: Pair) -> None:
    """Judged by the centre, a faithful port agrees in every mode."""
    assert verify(pair, [LARGE]).passed


@pytest.mark.parametrize("factor", [1 + 1e-5, 1.01])
def test_a_fault_is_found_on_a_large_input(pair: Pair, factor: float) -> None:
    """Judged by the centre, a kernel scaled by as little as 1 + 1e-5 is found at its layer."""
    layer = pair.port.get_layer("conv")
    kept = layer.get_weights()
    layer.set_weights([kept[0] * np.float32(factor), kept[1]])
    try:
        report = verify(pair, [LARGE], ("eager",))
    finally:
        layer.set_weights(kept)
    assert [(finding.layer, finding.cause.slug) for finding in report.findings] == [("0", "scale")]


def test_one_wrong_value_far_from_the_centre_is_found(pair: Pair) -> None:
    """A single value that is wrong in a corner, which no sample need hit, fails the layer that makes it."""
    image = keras.Input((HEIGHT, WIDTH, 3))
    spot = np.zeros((1, HEIGHT, WIDTH, 5), np.float32)
    spot[0, 0, 1, 2] = 1e-3
    port = keras.Model(image, pair.port.get_layer("act")(keras.ops.add(pair.port.get_layer("conv")(image), spot)))
    report = verify(dataclasses.replace(pair, port=port), [LARGE], ("eager",))
    assert [finding.layer for finding in report.findings] == ["1"]
    (layer,) = [layer for layer in report.runs[0].layers if layer.layer == "1"]
    assert layer.introduced.max_index == (0, 2, 0, 1)


def test_a_fixed_tolerance_runs_nothing_in_float64(pair: Pair) -> None:
    """Under rtol and atol what is expected is the float32 run."""
    judge = Judge(TorchModule(pair.reference), pair, Tolerance(rtol=1e-3, atol=1e-3), LARGE)
    judge.prepare()
    assert judge.trace.outputs["output"].dtype == np.float32
