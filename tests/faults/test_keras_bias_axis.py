"""A defect of Keras >= 3.8 that a faithful port meets: the bias is added along the width in channels_first.

It happens where output width == filters. Eager, graph and XLA are each told as they are.
"""

import numpy as np
import pytest

from parity.axes import CHANNELS_FIRST, Axes
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Pair
from parity.report import Report
from parity.verification import verify

FILTERS, HEIGHT = 8, 5


def convolution_pair(width: int) -> Pair:
    """One 3x3 convolution to FILTERS channels on maps of HEIGHT x `width`, faithfully ported in channels_first."""
    torch.manual_seed(0)
    reference = torch.nn.Sequential(torch.nn.Conv2d(3, FILTERS, 3, padding=1)).eval()
    image = keras.Input((3, HEIGHT, width))
    layer = keras.layers.Conv2D(FILTERS, 3, padding="same", data_format="channels_first", name="conv")
    port = keras.Model(image, layer(image))
    weight, bias = (value.detach().numpy() for value in reference[0].parameters())
    layer.set_weights([np.transpose(weight, (2, 3, 1, 0)), bias])
    axes = Axes(reference=CHANNELS_FIRST, port=CHANNELS_FIRST)
    return Pair(name="convolution", reference=reference, port=port, layers={"0": "conv"}, axes=axes)


def report_at(width: int) -> Report:
    """The pair judged at that width, in every mode."""
    return verify(convolution_pair(width), [noise((1, 3, HEIGHT, width), low=-1, high=1)])


@pytest.fixture(scope="module")
def at_filters() -> Report:
    """Where output width == filters; skipped, as a note, once Keras is right."""
    report = report_at(FILTERS)
    if report.passed:
        pytest.skip(f"Keras {keras.__version__} adds the bias along the channels: the defect is gone")
    return report


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_the_bias_along_the_width_is_named(at_filters: Report, mode: str) -> None:
    """Where width == filters, the finding says bias-axis, and undoing it brings the error to the floor."""
    (finding,) = [finding for finding in at_filters.findings if finding.mode == mode]
    assert (finding.layer, finding.cause.slug) == ("0", "bias-axis")
    assert "along the width" in finding.cause.detail
    assert finding.cause.residual_after < 1e-6 < finding.cause.residual_before


def test_graph_mode_is_told_as_it_is(at_filters: Report) -> None:
    """The graph optimiser fuses convolution and bias, so the same port is right there: the run passes by itself."""
    verdicts = {run.mode: run.verdict for run in at_filters.runs}
    assert verdicts == {"eager": "diverged", "graph": "pass", "xla": "diverged"}


def test_other_widths_are_right() -> None:
    """Where width != filters there is nothing to report."""
    assert report_at(FILTERS + 1).passed
