"""How far an output is off in its own units: what a task is limited in."""

import math

import numpy as np
import pytest

from parity.examination.outputs import deviation
from parity.models import Settings, load
from parity.verification import verify

FLOW = np.random.default_rng(3).normal(size=(2, 2, 3, 5)).astype(np.float32)


def test_the_end_point_error_is_the_length_of_the_difference() -> None:
    """A difference of (3, 4) at one pixel of thirty is 5 there, and a thirtieth of that on average."""
    off = FLOW.astype(np.float64)
    off[1, :, 2, 4] += (3, 4)
    found = deviation(off, FLOW, "NCHW")
    assert found.epe_max == pytest.approx(5)
    assert found.epe_mean == pytest.approx(5 / 30)
    assert found.max_abs == pytest.approx(4)
    assert found.rmse == pytest.approx(math.sqrt(25 / 60))
    assert found.rms == pytest.approx(float(np.sqrt(np.mean(FLOW.astype(np.float64) ** 2))))


def test_channels_are_where_the_layout_has_them() -> None:
    """The same values in another layout have the same end-point error; along another axis they would not."""
    other = FLOW + np.float32(0.1) * np.arange(5, dtype=np.float32)
    first = deviation(other, FLOW, "NCHW")
    last = deviation(np.moveaxis(other, 1, -1), np.moveaxis(FLOW, 1, -1), "NHWC")
    assert (first.epe_mean, first.epe_max) == pytest.approx((last.epe_mean, last.epe_max))


@pytest.mark.parametrize(("shape", "layout"), [((4, 2), "NC"), ((1, 3, 4, 5), "NCHW"), ((1, 2, 7), "NCL")])
def test_what_is_no_map_of_two_channels_has_none(shape: tuple[int, ...], layout: str) -> None:
    """Two scores are no vector in pixels, and neither are three colours."""
    found = deviation(np.ones(shape), np.zeros(shape), layout)
    assert (found.epe_mean, found.epe_max, found.rmse) == (None, None, 1.0)


def test_another_shape_is_infinitely_far_off() -> None:
    """There is no number for it, and no limit that it would keep."""
    found = deviation(FLOW[:, :, :2], FLOW, "NCHW")
    assert (found.rmse, found.max_abs, found.epe_max) == (math.inf, math.inf, math.inf)


def test_a_value_that_is_not_finite_is_within_no_limit() -> None:
    """A NaN anywhere makes every figure one."""
    off = FLOW.copy()
    off[0, 0, 0, 0] = np.nan
    found = deviation(off, FLOW, "NCHW")
    assert found.epe_mean is not None
    assert not any(value <= 1e9 for value in (found.rmse, found.max_abs, found.epe_mean))


def test_a_report_has_the_end_point_error_of_the_flow() -> None:
    """FlowNet2-SD's port: below a thousandth of a pixel, and never longer than its parts allow."""
    pair, (given,) = load("flownet", Settings(inputs=("noise",), size=(64, 64)))
    report = verify(pair, [given], ("graph",))
    found = report.runs[0].deviations["output"]
    assert found.epe_mean is not None
    assert found.epe_max is not None
    assert 0 < found.epe_mean < found.epe_max < 1e-3
    assert found.epe_max <= math.sqrt(2) * found.max_abs * (1 + 1e-9)
    assert found.max_abs == pytest.approx(report.runs[0].output.max_abs, rel=1e-6)
