"""Faults planted in the FlowNet2-SD port: each is reported at exactly its layer, and named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.frameworks import keras
from parity.pairs import Input, Pair
from parity.report import Report
from parity.tolerance import Tolerance
from parity.verification import verify

Kernel = Callable[[np.ndarray], np.ndarray]


def change_kernel(port: keras.Model, layer: str, change: Kernel) -> None:
    """Replace a layer's kernel by what `change` makes of it."""
    kernel, *rest = port.get_layer(layer).get_weights()
    port.get_layer(layer).set_weights([change(kernel).astype(np.float32), *rest])


def found(report: Report) -> dict[str, str]:
    """The findings, as layer -> cause."""
    return {finding.layer: finding.cause.slug for finding in report.findings}


KERNEL_FAULTS: dict[str, tuple[str, str, Kernel, str]] = {
    "height and width swapped": ("conv3", "conv3.0", lambda k: k.transpose(1, 0, 2, 3), "kernel-axes"),
    "rotated": ("deconv3", "deconv3.0", lambda k: k[::-1, ::-1], "kernel-flip"),
    "scaled by 1 + 1e-5": ("conv4", "conv4.0", lambda k: k * (1 + 1e-5), "scale"),
    "rounded to float16": ("inter_conv4", "inter_conv4.0", lambda k: k.astype(np.float16), "weight-precision"),
}


@pytest.mark.parametrize("fault", KERNEL_FAULTS)
def test_a_changed_kernel_is_found_at_its_layer(flownet: Pair, port: Any, picture: Input, fault: str) -> None:
    """A kernel fault, however small, is the only finding, with its cause proven by a replay that reaches the floor."""
    layer, tap, change, slug = KERNEL_FAULTS[fault]
    change_kernel(port, layer, change)
    report = verify(flownet, [picture], ("eager",))
    assert found(report) == {tap: slug}
    (finding,) = report.findings
    assert report.first_divergence == finding
    assert finding.cause.residual_after < finding.cause.residual_before / 5


def test_two_faults_are_found_in_one_run(flownet: Pair, port: Any, picture: Input) -> None:
    """Two faults show at their own two layers; the end-to-end error of all layers between them is no finding."""
    change_kernel(port, "conv3", KERNEL_FAULTS["height and width swapped"][2])
    change_kernel(port, "deconv3", KERNEL_FAULTS["rotated"][2])
    report = verify(flownet, [picture], ("eager",))
    assert found(report) == {"conv3.0": "kernel-axes", "deconv3.0": "kernel-flip"}
    assert report.first_divergence.layer == "conv3.0"
    inherited = [layer for layer in report.runs[0].layers if layer.verdict == "inherits"]
    assert len(inherited) > 20


@pytest.mark.parametrize("slope", [0.3, 0.1002])
def test_a_wrong_slope_is_found(flownet: Pair, picture: Input, rebuilt: Callable[..., Pair], slope: float) -> None:
    """Another LeakyReLU slope, even 0.1002, is found at the activation, and the message gives both slopes."""
    report = verify(rebuilt(leaky_re_lu_4={"negative_slope": slope}), [picture], ("eager",))
    assert found(report) == {"conv2.1": "activation-slope"}
    assert f"{slope:g}" in report.findings[0].cause.detail
    assert "is 0.1" in report.findings[0].cause.detail


CONFIGURATION_FAULTS: dict[str, tuple[dict[str, dict[str, object]], str, str]] = {
    "same at stride 2": ({"conv4": {"padding": "same"}, "zero_padding2d_4": {"padding": 0}}, "conv4.0", "padding"),
    "x20 missing": ({"flow_scale": {"scale": 1.0}}, "mul", "scale"),
    "nearest for bilinear": ({"up_sampling2d_1": {"interpolation": "nearest"}}, "upsample1", "resize-method"),
}


@pytest.mark.parametrize(
    ("fault", "mode"), [*((fault, "eager") for fault in CONFIGURATION_FAULTS), ("x20 missing", "graph")]
)
def test_a_changed_configuration_is_found(picture: Input, rebuilt: Callable[..., Pair], fault: str, mode: str) -> None:
    """A fault of configuration is the only finding, in the mode it was run in, and its cause is proven."""
    changes, tap, slug = CONFIGURATION_FAULTS[fault]
    report = verify(rebuilt(**changes), [picture], (mode,))
    assert found(report) == {tap: slug}
    assert report.findings[0].mode == mode


def test_padding_says_which_sides(picture: Input, rebuilt: Callable[..., Pair]) -> None:
    """The padding of both sides is given in numbers."""
    changes, _, _ = CONFIGURATION_FAULTS["same at stride 2"]
    report = verify(rebuilt(**changes), [picture], ("eager",))
    assert "pads 0,1; reference pads 1,1" in report.findings[0].cause.detail


def test_a_fault_shows_in_every_mode(flownet: Pair, port: Any, picture: Input) -> None:
    """Eager, graph and XLA are three ports, and a wrong kernel is found in each."""
    change_kernel(port, "conv3", KERNEL_FAULTS["height and width swapped"][2])
    report = verify(flownet, [picture])
    assert [(f.layer, f.mode, f.cause.slug) for f in report.findings] == [
        ("conv3.0", mode, "kernel-axes") for mode in ("eager", "graph", "xla")
    ]


def test_a_missing_bias_is_found(flownet: Pair, port: Any, picture: Input) -> None:
    """A bias left at zero is named bias-missing."""
    layer = port.get_layer("conv5")
    layer.bias.assign(np.zeros_like(layer.bias))
    assert found(verify(flownet, [picture], ("eager",))) == {"conv5.0": "bias-missing"}


@pytest.mark.parametrize("side", ["port", "reference"])
def test_nan_in_a_weight_is_found_at_its_origin(flownet: Pair, port: Any, picture: Input, side: str) -> None:
    """One NaN in a kernel is a non-finite finding at that layer only, whichever side holds it."""
    if side == "port":
        change_kernel(port, "conv3", lambda k: np.where(np.arange(k.size).reshape(k.shape) == 77, np.nan, k))
        report = verify(flownet, [picture], ("eager",))
    else:
        weight = flownet.reference.get_submodule("conv3.0").weight.data
        kept = weight[1, 2, 0, 1].item()
        weight[1, 2, 0, 1] = float("nan")
        report = verify(flownet, [picture], ("eager",))
        weight[1, 2, 0, 1] = kept
    assert found(report) == {"conv3.0": "non-finite"}
    assert f"the {side}'s kernel holds 1" in report.findings[0].cause.detail
    assert report.first_divergence.layer == "conv3.0"


def test_nan_in_the_input_is_found_at_the_input(flownet: Pair, picture: Input) -> None:
    """A NaN pixel is a non-finite finding at the input, and no layer is blamed."""
    spoilt = picture.array.copy()
    spoilt[0, 1, 0, 3, 5] = np.nan
    report = verify(flownet, [Input(name="spoilt", array=spoilt)], ("eager",))
    assert found(report) == {"input": "non-finite"}
    assert not report.passed


def test_a_fixed_tolerance_finds_what_it_can_see(flownet: Pair, port: Any, picture: Input) -> None:
    """Under rtol and atol a gross fault is found at its layer, and the layers after it are not blamed."""
    change_kernel(port, "conv3", KERNEL_FAULTS["height and width swapped"][2])
    report = verify(flownet, [picture], ("eager",), policy=Tolerance(rtol=1e-3, atol=1e-3))
    assert found(report) == {"conv3.0": "kernel-axes"}


def test_a_fixed_tolerance_hides_what_the_floor_shows(picture: Input, rebuilt: Callable[..., Pair]) -> None:
    """A slope of 0.1002 passes under the usual fixed tolerance: the reason for the float64 judge."""
    report = verify(
        rebuilt(leaky_re_lu_4={"negative_slope": 0.1002}), [picture], ("eager",), policy=Tolerance(rtol=1e-2, atol=1e-2)
    )
    assert report.passed
