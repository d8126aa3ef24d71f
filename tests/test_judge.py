"""The judge: what noise is, measured whole, on the centre of a large input, or on the first item of a batch."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from parity.axes import Axes
from parity.examination import matching
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.judge import CROP, Judge, first_of
from parity.pairs import Input, Pair
from parity.report import Report
from parity.runners.taps import Trace
from parity.runners.torch_module import TorchModule
from parity.tolerance import NoiseFloor, Tolerance
from parity.verification import Verifier, verify

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


# -- batches ----------------------------------------------------------------------------------------------------------

BATCH = noise((3, 3, 96, 80), seed=5, low=-1, high=1)
"""Each item has 5 x 96 x 80 values at each tap, more than are sampled."""


class Together(torch.nn.Module):
    """Shifts each item by a little of the mean over the batch."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as `x`, items first."""
        return x - self.share * x.mean(0)


class Squeezed(torch.nn.Module):
    """Drops the batch where it is of one item."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, without axes of one."""
        return x.squeeze()


class Three(torch.nn.Module):
    """Takes batches of three items only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as `x`, (3, ...)."""
        one, two, three = x
        return torch.stack([one, two, three])


def test_a_batch_is_as_noisy_as_its_first_item(pair: Pair) -> None:
    """The floor measured on the first item is the batch's to a few percent, on as many values."""
    first = judge_of(pair, BATCH)
    whole = Judge(TorchModule(pair.reference), pair, NoiseFloor(), BATCH)
    whole.prepare(whole=True)
    TorchModule(pair.reference).run(BATCH, whole.see)
    assert first.on_first
    assert not first.doubted
    assert not whole.on_first
    for layer in ("0", "1"):
        assert first.floor(layer) == pytest.approx(whole.floor(layer), rel=0.05)
        assert first.noise[layer].count == whole.noise[layer].count
        assert first.noise[layer].expected_rms == pytest.approx(whole.noise[layer].expected_rms, rel=1e-6)


def float64_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each float64 run of a reference from now on has."""
    runs: list[int] = []
    sample = TorchModule.sample

    def counted(self: TorchModule, given: Input, *, float64: bool = False) -> Trace:
        runs.extend([len(given.array)] if float64 else [])
        return sample(self, given, float64=float64)

    monkeypatch.setattr(TorchModule, "sample", counted)
    return runs


def test_a_faithful_port_needs_the_first_item_only(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes by the first item's noise is not run in float64 again."""
    runs = float64_runs(monkeypatch)
    assert verify(pair, [BATCH]).passed
    assert runs == [1]


def test_what_fails_by_the_first_item_is_judged_by_the_batch(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel scaled by 1 + 1e-5 is found, and it is the whole batch that says so."""
    runs, layer = float64_runs(monkeypatch), pair.port.get_layer("conv")
    kept = layer.get_weights()
    layer.set_weights([kept[0] * np.float32(1 + 1e-5), kept[1]])
    try:
        report = verify(pair, [BATCH], ("eager",))
    finally:
        layer.set_weights(kept)
    assert runs == [1, 3]
    assert [(finding.layer, finding.cause.slug) for finding in report.findings] == [("0", "scale")]


def test_a_fault_in_another_item_is_found_where_it_is(pair: Pair) -> None:
    """A single wrong value in the last item of a batch fails the layer that makes it."""
    image = keras.Input((96, 80, 3), batch_size=3)
    spot = np.zeros((3, 96, 80, 5), np.float32)
    spot[2, 1, 4, 3] = 1e-3
    port = keras.Model(image, pair.port.get_layer("act")(keras.ops.add(pair.port.get_layer("conv")(image), spot)))
    report = verify(dataclasses.replace(pair, port=port), [BATCH], ("eager",))
    assert [finding.layer for finding in report.findings] == ["1"]
    (layer,) = [layer for layer in report.runs[0].layers if layer.layer == "1"]
    assert layer.introduced.max_index == (2, 3, 1, 4)


@pytest.mark.parametrize("share", [1.0, 1e-3])
def test_a_network_that_treats_items_together_is_judged_whole(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an item is alone says nothing where the reference makes something else of it in a batch; no false alarm."""
    runs = float64_runs(monkeypatch)
    torch.manual_seed(3)
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), Together(share)).eval()
    image = keras.Input((96, 80, 3))
    convolution = keras.layers.Conv2D(5, 3, padding="same", name="conv")
    value = convolution(image)
    value = keras.ops.subtract(value, keras.ops.multiply(share, keras.ops.mean(value, axis=0)))
    port = keras.Model(image, value)
    weight, bias = (value.detach().numpy() for value in reference[0].parameters())
    convolution.set_weights([np.transpose(weight, (2, 3, 1, 0)), bias])
    together = Pair(name="together", reference=reference, port=port, layers={"0": "conv"})
    assert judge_of(together, BATCH).doubted
    assert verify(together, [BATCH], ("eager",)).passed
    assert runs == [1, 1, 3]


@pytest.mark.parametrize(
    "last", [Squeezed(), Three(), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(38400, 7))]
)
def test_a_batch_is_run_whole_where_one_item_is_not_like_it(last: torch.nn.Module) -> None:
    """So where a tap loses its batch, where one item is refused, and where a tap would be measured on fewer values."""
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), last).eval()
    judge = Judge(TorchModule(reference), Pair(name="whole", reference=reference, port=None), NoiseFloor(), BATCH)
    judge.prepare()
    assert not judge.on_first
    assert judge.trace.outputs["output"].dtype == np.float64


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_an_empty_first_item_hides_nothing_and_alarms_nobody(pair: Pair, mode: str) -> None:
    """Zeros have next to no noise: a faithful port passes, and a fault in what the other items show is found."""
    array = BATCH.array.copy()
    array[0] = 0
    empty = Input(name="empty", array=array)
    assert verify(pair, [empty], (mode,)).passed
    layer = pair.port.get_layer("conv")
    kept = layer.get_weights()
    layer.set_weights([kept[0] * np.float32(1 + 1e-5), kept[1]])
    try:
        report = verify(pair, [empty], (mode,))
    finally:
        layer.set_weights(kept)
    assert [finding.layer for finding in report.findings] == ["0"]


def test_the_first_item_of_several_inputs_is_that_of_each() -> None:
    """An array without a batch stays whole; arrays of unequal batches have no first item."""
    axes = Axes(by_name={"input[0]": ("NC", "NC"), "input[1]": ("TN", "NT"), "input[2]": ("C", "C")})
    arrays = (np.ones((3, 7), np.float32), np.ones((5, 3), np.float32), np.ones(7, np.float32))
    first = first_of(Input(name="several", args=arrays), axes)
    assert first is not None
    assert [array.shape for array in first.arrays.values()] == [(1, 7), (5, 1), (7,)]
    assert first_of(Input(name="unequal", args=(arrays[0], np.ones((5, 2), np.float32), arrays[2])), axes) is None
    assert first_of(Input(name="one", array=np.ones((1, 7), np.float32)), axes) is None


def test_what_answers_to_what_is_found_once_for_each_shape(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier aligns again for an input of another shape, and only then; its verdicts are those of a new one."""
    aligned: list[int] = []
    align = matching.align
    monkeypatch.setattr(matching, "align", lambda *args, **kwargs: aligned.append(1) or align(*args, **kwargs))
    verifier = Verifier(dataclasses.replace(pair, layers=None))
    small, other = (noise((1, 3, *size), seed=size[0], low=-1, high=1) for size in ((7, 10), (9, 10)))
    first = verifier.report(small, ("eager",))
    assert verifier.report(dataclasses.replace(small, name="again"), ("eager",)).passed
    assert len(aligned) == 1
    assert verifier.report(other, ("eager",)).runs == Verifier(pair).report(other, ("eager",)).runs
    assert len(aligned) == 3
    assert verifier.report(small, ("eager",)) == first


def test_one_run_is_watched_and_plain(pair: Pair, tmp_path: Path) -> None:
    """A functional model is read in its only eager run, and the report says so; a graph is run twice."""
    small = noise((1, 3, 7, 10), low=-1, high=1)
    report = Report.load(verify(pair, [small], ("eager", "graph")).save(tmp_path / "report.json"))
    assert [run.watching.once for run in report.runs] == [True, False]
    assert all(run.watching.within for run in report.runs)
