"""Which failure belongs to which test."""

from dataclasses import replace

import pytest
import records
from records import WEIGHTED

from parity.plugin.verdicts import is_waived, layer_failure, network_failure, owners
from parity.report import DIVERGED, INHERITS, NOT_COMPARED, Coverage, Report, Watching


def with_layer(report: Report, name: str, **changes: object) -> Report:
    """The report with one layer of its first run changed, and that run diverged."""
    layers = tuple(replace(each, **changes) if each.layer == name else each for each in report.runs[0].layers)
    return records.with_run(report, 0, layers=layers, verdict=DIVERGED)


def network(report: Report) -> str | None:
    """The verdict of the network's test on noise, eagerly."""
    return network_failure(report, WEIGHTED, "noise", "eager")


def test_operations_in_the_same_module_belong_to_the_weighted_layer_before_them() -> None:
    """An activation answers to the layer before it; what has no such module answers to none."""
    assert owners(records.report(), WEIGHTED) == {
        "conv0.0": "conv0.0",
        "conv0.1": "conv0.0",
        "conv1.0": "conv1.0",
        "conv1.1": "conv1.0",
        "predict_flow": "predict_flow",
    }


def test_of_two_weighted_layers_in_one_module_the_nearer_owns_the_operation() -> None:
    """In conv, norm, relu, conv, norm, add, relu the operations belong to the norms before them, by execution."""
    names = ("block.conv1", "block.bn1", "block.relu", "block.conv2", "block.bn2", "block.add", "block.relu#2")
    weighted = ("block.conv1", "block.bn1", "block.conv2", "block.bn2")
    layer = records.layer("conv0.0")
    run = replace(records.run(), layers=tuple(replace(layer, layer=name) for name in names))
    owner = owners(replace(records.report(), runs=(run,)), weighted)
    assert (owner["block.relu"], owner["block.add"], owner["block.relu#2"]) == ("block.bn1", "block.bn2", "block.bn2")


def test_a_layer_that_fires_twice_owns_both() -> None:
    """The second firing of a shared layer is judged by the layer's test."""
    layer = records.layer("predict_flow")
    run = records.run()
    run = replace(run, layers=(*run.layers, replace(layer, layer="predict_flow#2")))
    assert owners(replace(records.report(), runs=(run,)), WEIGHTED)["predict_flow#2"] == "predict_flow"


@pytest.mark.parametrize("faulty", ["conv1.0", "conv1.1"])
def test_a_finding_fails_one_layer_and_the_output(faulty: str) -> None:
    """Only the owner's test fails for it; the network's fails for its output."""
    report = records.report(faulty=(faulty,))
    failing = [name for name in WEIGHTED if layer_failure(report, WEIGHTED, name)]
    assert failing == ["conv1.0"]
    assert f"small / {faulty}  introduces" in (layer_failure(report, WEIGHTED, "conv1.0") or "")
    assert "small / output  differs" in (network(report) or "")


def test_a_faithful_port_fails_nothing() -> None:
    """No test fails where the report passes."""
    report = records.report()
    assert [layer_failure(report, WEIGHTED, name) for name in WEIGHTED] == [None] * 3
    assert network(report) is None


def test_error_that_accumulates_fails_where_it_first_leaves_the_limits() -> None:
    """Where no layer introduces it, the first layer beyond its limits is told, and no later one."""
    report = records.report()
    for name in ("conv1.0", "predict_flow"):
        report = with_layer(report, name, verdict=INHERITS, propagated=records.measure(9))
    assert "leaves its limits end to end" in (layer_failure(report, WEIGHTED, "conv1.0") or "")
    assert layer_failure(report, WEIGHTED, "predict_flow") is None


def test_a_layer_without_a_result_fails() -> None:
    """A weighted layer that no run compared is not a pass."""
    report = records.report()
    layers = tuple(each for each in report.runs[0].layers if each.layer != "conv1.0")
    problem = layer_failure(records.with_run(report, 0, layers=layers), WEIGHTED, "conv1.0")
    assert problem is not None
    assert "small / conv1.0  was not compared" in problem


def test_a_layer_that_was_not_compared_fails() -> None:
    """A layer that nothing finite reached fails its own test."""
    report = with_layer(records.report(), "conv1.1", verdict=NOT_COMPARED)
    assert "was not compared" in (layer_failure(report, WEIGHTED, "conv1.0") or "")
    assert layer_failure(report, WEIGHTED, "conv0.0") is None


def test_a_layer_waived_by_name_is_known() -> None:
    """A layer is skipped only if it is waived and nothing compared it."""
    coverage = Coverage(matched=records.LAYERS, weighted=3, unmatched_reference=("aux",), waived=("aux", "conv0.0"))
    report = records.report(coverage=coverage)
    assert is_waived(report, "aux")
    assert not is_waived(report, "conv0.0")
    assert not is_waived(report, "conv1.0")


def test_incomplete_coverage_fails_the_network() -> None:
    """Names left over fail every network test, and are listed."""
    coverage = Coverage(matched=records.LAYERS, weighted=3, unmatched_port=("odd",))
    assert "unmatched in the port: odd" in (network(records.report(coverage=coverage)) or "")


def test_watching_that_changes_the_port_fails_the_network() -> None:
    """A port that computes something else while watched fails its test."""
    watching = Watching(same=False, relative=0.1, within=False)
    report = records.with_run(records.report(), 0, watching=watching, verdict=DIVERGED)
    assert "when the port is watched" in (network(report) or "")


def test_what_is_not_finite_fails_the_network_too() -> None:
    """A value that is not finite is told by the layer's test and by the network's."""
    report = records.report(faulty=("conv1.0",))
    report = replace(report, findings=(records.finding("conv1.0", slug="non-finite"),))
    assert "small / conv1.0  is not finite" in (network(report) or "")
    assert "small / conv1.0  is not finite" in (layer_failure(report, WEIGHTED, "conv1.0") or "")


def test_a_finding_at_the_input_fails_the_network() -> None:
    """The input is no layer's: its finding is the network's."""
    finding = replace(records.finding("conv1.0", slug="non-finite"), layer="input")
    report = replace(records.report(), findings=(finding,), verdict="")
    assert "small / input  is not finite" in (network(report) or "")


def test_no_test_of_a_diverged_run_is_left_to_pass() -> None:
    """A run that the report calls diverged for no reason these tests know still fails."""
    report = records.with_run(records.report(), 0, verdict=DIVERGED)
    assert "the report says no more" in (network(report) or "")


def test_a_run_that_is_missing_fails() -> None:
    """A network's test whose run is not in the report does not pass."""
    assert network_failure(records.report(), WEIGHTED, "noise", "xla") is not None
