"""A port is judged against a recording as against the network itself, and a recorded port as far as it can be."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_ports as small

import parity
from parity import judge
from parity.errors import RecordingError
from parity.golden.port import RecordedPort
from parity.golden.reference import RecordedReference
from parity.pairs import Input, Pair
from parity.report import Report
from parity.verification import Verifier

layers = small.layers
Make = Callable[[small.Net], Any]

FAULTS: dict[str, tuple[str, str, Make]] = {
    "padding": (
        "second",
        "padding",
        lambda net: small.port(net, second=lambda x: layers.Conv2D(5, 3, strides=2, padding="same", name="second")(x)),
    ),
    "kernel transposed": (
        "third",
        "kernel-axes",
        lambda net: small.port(net, kernel=lambda kernel: np.swapaxes(kernel, 0, 1)),
    ),
    "slope": (
        "slope",
        "activation-slope",
        lambda net: small.port(net, activation=lambda: layers.LeakyReLU(negative_slope=0.2, name="slope")),
    ),
    "joined the other way round": (
        "cat",
        "concat-order",
        lambda net: small.port(net, join=lambda a, b: layers.Concatenate(name="join")([b, a])),
    ),
}
"""Ports with one fault each: the layer it is in, its cause, the port."""


def eagerly(pair: Pair, given: Input, **more: Any) -> Report:
    """The report of one input in eager mode."""
    return parity.verify(pair, [given], ("eager",), **more)


def test_a_faithful_port_has_the_same_report(pair: Pair, given: Input, golden: Path) -> None:
    """Every figure is that of the live reference, in each mode; only the version of torch says that it was recorded."""
    live = parity.verify(pair, [given])
    recorded = parity.verify(replace(pair, reference=golden), [given])
    assert live.passed
    assert replace(recorded, environment=live.environment) == live
    assert recorded.environment["torch"] == f"{live.environment['torch']} (recorded)"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_port_has_the_same_findings(
    fault: str, pair: Pair, reference: small.Net, given: Input, golden: Path
) -> None:
    """The same layers are at fault by the same figures, and the same cause is proven."""
    layer, cause, make = FAULTS[fault]
    faulty = replace(pair, port=make(reference))
    live, recorded = eagerly(faulty, given), eagerly(replace(faulty, reference=golden), given)
    assert [(found.layer, found.cause.slug) for found in recorded.findings] == [(layer, cause)]
    assert recorded.runs == live.runs
    assert recorded.findings == live.findings


def test_a_layer_is_explained_by_a_recording(pair: Pair, reference: small.Net, given: Input, golden: Path) -> None:
    """What explain says of both sides' settings and weights is what it says where the reference is live."""
    faulty = replace(pair, port=FAULTS["kernel transposed"][2](reference))
    for layer in ("third", "cat"):
        live, recorded = (
            Verifier(each).explain(given, "eager", layer) for each in (faulty, replace(faulty, reference=golden))
        )
        assert recorded == live


def test_a_fixed_tolerance_judges_a_recording(pair: Pair, reference: small.Net, given: Input, golden: Path) -> None:
    """Without a float64 run the recorded values are compared as the live ones."""
    policy = parity.Tolerance(rtol=1e-4, atol=1e-4)
    for port in (pair.port, FAULTS["slope"][2](reference)):
        live, recorded = (
            eagerly(replace(pair, port=port, reference=side), given, policy=policy) for side in (reference, golden)
        )
        assert recorded.runs == live.runs
        assert recorded.findings == live.findings


def test_the_centre_of_a_large_input_is_recorded(
    pair: Pair, given: Input, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise that is measured on the centre is so by the recording as well; recorded otherwise, that is refused."""
    monkeypatch.setattr(judge, "CROP", 8)
    whole, centred = tmp_path / "whole.safetensors", tmp_path / "centred.safetensors"
    pair = replace(pair, multiple=4)
    parity.record(pair, [given], centred)
    assert eagerly(replace(pair, reference=centred), given).runs == eagerly(pair, given).runs
    assert eagerly(replace(pair, multiple=None), given).runs != eagerly(pair, given).runs
    with pytest.raises(RecordingError, match="has no float64 run of the whole of noise; record it again"):
        eagerly(replace(pair, multiple=None, reference=centred), given)
    parity.record(replace(pair, multiple=None), [given], whole)
    with pytest.raises(RecordingError, match="has no run on these values of 'noise'"):
        eagerly(replace(pair, reference=whole), given)


def test_other_inputs_are_refused(pair: Pair, golden: Path) -> None:
    """A recording has the values of its own inputs only, and says which these are."""
    with pytest.raises(RecordingError, match="has no run on these values of 'other'; it has noise"):
        eagerly(replace(pair, reference=golden), small.picture(seed=1, name="other"))
    (kept,) = RecordedReference(golden).inputs
    np.testing.assert_array_equal(kept.array, small.picture().array)


def test_a_recording_of_another_pair_is_refused(pair: Pair, given: Input, golden: Path) -> None:
    """The pair's name is part of what was recorded."""
    with pytest.raises(RecordingError, match="is a recording of small, not of large"):
        eagerly(replace(pair, name="large", reference=golden), given)


# -- the other way round ----------------------------------------------------------------------------------------------


def recorded_port(pair: Pair, given: Input, path: Path, modes: tuple[str, ...] = ("eager",)) -> Pair:
    """The pair with its port recorded."""
    parity.record(pair, [given], path, side="port", modes=modes)
    return replace(pair, port=path)


def test_a_recorded_port_is_judged_as_it_ran(pair: Pair, given: Input, tmp_path: Path) -> None:
    """End to end its errors are those of the live port in every mode; on its own values no layer is at fault."""
    live = parity.verify(pair, [given])
    recorded = parity.verify(recorded_port(pair, given, tmp_path / "port.safetensors", parity_modes()), [given])
    assert recorded.passed
    assert recorded.coverage == live.coverage
    for one, other in zip(recorded.runs, live.runs, strict=True):
        assert (one.output, one.watching) == (other.output, other.watching)
        assert [layer.propagated for layer in one.layers] == [layer.propagated for layer in other.layers]
        assert all(layer.introduced is not None and layer.introduced.passed for layer in one.layers)
    assert recorded.environment["keras"] == f"{live.environment['keras']} (recorded)"


def parity_modes() -> tuple[str, ...]:
    """All modes."""
    return ("eager", "graph", "xla")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_recorded_port_is_found(
    fault: str, pair: Pair, reference: small.Net, given: Input, tmp_path: Path
) -> None:
    """The layer at fault is found, and no other; no cause is claimed, since nothing could be undone and run again."""
    layer, _, make = FAULTS[fault]
    report = eagerly(recorded_port(replace(pair, port=make(reference)), given, tmp_path / "port.safetensors"), given)
    (found,) = report.findings
    assert (found.layer, found.cause.slug) == (layer, "unknown")
    assert found.error > 1e-2
    assert "was not run here" in found.cause.detail


def test_what_weights_of_a_recorded_port_are_is_said(
    pair: Pair, reference: small.Net, given: Input, tmp_path: Path
) -> None:
    """That a kernel is the reference's in another order shows without running anything."""
    faulty = replace(pair, port=FAULTS["kernel transposed"][2](reference))
    (found,) = eagerly(recorded_port(faulty, given, tmp_path / "port.safetensors"), given).findings
    assert "kernel-axes: the kernel" in found.cause.detail


def test_modes_that_were_not_recorded_are_refused(pair: Pair, given: Input, tmp_path: Path) -> None:
    """A port is judged in the modes that it was run in."""
    made = recorded_port(pair, given, tmp_path / "port.safetensors")
    with pytest.raises(parity.errors.UsageError, match="has runs in eager; xla was not recorded"):
        parity.verify(made, [given], ("xla",))


def test_values_that_modes_share_are_written_once(pair: Pair, given: Input, tmp_path: Path) -> None:
    """The file of two modes that give the same is hardly larger than that of one, and has the values of both."""
    for name, modes in (("one", ("eager",)), ("two", ("eager", "graph"))):
        recorded_port(pair, given, tmp_path / f"{name}.safetensors", modes)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("one", "two")]
    same = RecordedPort(tmp_path / "two.safetensors").header.same
    assert same["runs/0/graph/join"] == "runs/0/eager/join"
    assert sizes[1] < 1.5 * sizes[0]
