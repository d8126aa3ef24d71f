"""What a run records for those who look: what every layer reads, both sides of it, where its error is, the outputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wrong_ports

import parity
from parity.examination.pictures import COLUMNS, ROWS, picture
from parity.render.html import page
from parity.report import Report


@pytest.fixture(scope="module")
def wrong() -> Report:
    """A port with "same" padding at stride 2 and one kernel's height and width swapped, on two inputs."""
    network = wrong_ports.net()
    port = wrong_ports.port(
        network, second=wrong_ports.same_padding, kernel=lambda kernel: np.ascontiguousarray(kernel.swapaxes(0, 1))
    )
    given = wrong_ports.picture()
    truth = np.full((2, 6, 7), 3.0, np.float32)
    truth[:, :2] = np.nan
    inputs = [given, replace(wrong_ports.picture(1, name="known"), truth=truth)]
    return parity.verify(wrong_ports.pair(network, port), inputs, modes=("eager",))


def test_every_layer_says_what_it_reads(wrong: Report) -> None:
    """The graph of the compared layers is in the report: the join reads both branches."""
    reads = {layer.layer: layer.reads for layer in wrong.runs[0].layers}
    assert reads == {
        "first": ("input",),
        "slope": ("first",),
        "second": ("slope",),
        "pool": ("slope",),
        "cat": ("second", "pool"),
        "third": ("cat",),
        "mul": ("third",),
    }


def test_every_layer_has_both_sides_and_its_weights(wrong: Report) -> None:
    """As the code of each side has them, and how the weights relate: those that are right are equal."""
    assert list(wrong.setups) == [layer.layer for layer in wrong.runs[0].layers]
    assert wrong.setups["second"].reference == "Conv2d(4, 5, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))"
    assert 'Conv2D("second", filters=5' in wrong.setups["second"].port[-1]
    relations = {weight.name: weight.relation for weight in wrong.setups["third"].weights}
    assert relations["bias"] == "equal"
    assert relations["kernel"].startswith("kernel-axes")
    assert {weight.relation for weight in wrong.setups["first"].weights} == {"equal"}


def test_layers_at_fault_have_a_picture_and_no_others(wrong: Report) -> None:
    """What the picture counts is every value of the layer, and its map has the layer's places."""
    pictures = wrong.runs[0].pictures
    assert set(pictures) == {"second", "third"}
    shown = pictures["second"]
    assert shown.space
    assert (shown.space.shape, shown.height, shown.width) == ((6, 7), 6, 7)
    assert (shown.channels.shape, shown.channel_count) == ((5,), 5)
    assert sum(shown.histogram.counts) + shown.histogram.exact == 6 * 7 * 5
    rms = np.sqrt(np.mean(shown.space.array() ** 2))
    introduced = next(layer.introduced for layer in wrong.runs[0].layers if layer.layer == "second")
    assert introduced
    assert rms == pytest.approx(introduced.relative, rel=1e-2)


def test_the_outputs_are_shown_with_their_ground_truth_where_it_is_known(wrong: Report) -> None:
    """A map of two channels is a flow; the end-point errors against the truth are over the known places alone."""
    (unknown,), (known,) = (run.shown.values() for run in wrong.runs)
    assert unknown.flow
    assert unknown.truth is None
    assert known.truth
    assert known.truth_epe
    error = np.hypot(*(known.expected.array() - 3.0))[2:].mean()
    assert known.truth_epe[0] == pytest.approx(error, rel=1e-2)
    assert np.isnan(known.truth.array()[:, :2]).all()
    mean = next(iter(wrong.runs[1].deviations.values())).epe_mean
    assert known.error.array().mean() == pytest.approx(mean, rel=1e-2)


def test_the_truth_judges_nothing(wrong: Report) -> None:
    """A truth that both are far from changes no verdict: it is there to be looked at."""
    without, with_truth = wrong.runs
    assert [layer.verdict for layer in without.layers] == [layer.verdict for layer in with_truth.layers]


def test_the_page_of_a_real_run_says_it_all(wrong: Report, tmp_path: Path) -> None:
    """Both faults, in plain words where there are some, from the JSON alone."""
    text = page(Report.load(wrong.save(tmp_path / "report.json")))
    cards = text.split("<article")[1:]
    assert len(cards) == 2
    assert "Same pads" in cards[0]
    assert "Height and width of the kernel are swapped" in cards[1]


def test_large_outputs_are_made_small() -> None:
    """Of a large map the mean of each cell is kept, of the error as well; the sizes are on record."""
    expected = np.zeros((2, 2, 300, 500), np.float32)
    actual = expected + np.array([3.0, 4.0], np.float32).reshape(1, 2, 1, 1)
    shown = picture(actual, expected, "NCHW")
    assert shown.expected.shape == (2, ROWS, COLUMNS)
    assert (shown.height, shown.width) == (300, 500)
    np.testing.assert_allclose(shown.error.array(), 5.0)


def test_other_maps_are_shown_as_their_mean_over_channels() -> None:
    """Three channels are no flow."""
    expected = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    shown = picture(expected + 1, expected, "NHWC")
    assert not shown.flow
    np.testing.assert_allclose(shown.expected.array(), expected[0].mean(axis=-1), rtol=1e-3)
    np.testing.assert_allclose(shown.difference.array(), 1.0)


def test_the_motorcycle_knows_its_flow() -> None:
    """What is in the left picture is further left in the right one: the truth, cropped as the pictures are, says so."""
    given = parity.inputs.motorcycle((64, 128))
    assert given.truth is not None
    assert given.truth.shape == (2, 128, 64)
    u, v = given.truth
    known = np.isfinite(u)
    assert known.mean() > 0.5
    assert (u[known] < 0).all()
    assert (v[known] == 0).all()
    left, right = given.array[0, :, 0].mean(axis=0), given.array[0, :, 1].mean(axis=0)
    rows, columns = np.nonzero(known[:, 40:])
    columns = columns + 40
    moved = (columns + np.round(u[rows, columns])).astype(int)
    inside = moved >= 0
    aligned = np.abs(left[rows, columns] - right[rows, np.maximum(moved, 0)])[inside].mean()
    shifted = np.abs(left[rows, columns] - right[rows, columns])[inside].mean()
    assert aligned < 0.6 * shifted
