"""What has become worse since the last release, within all tolerances."""

from dataclasses import replace
from pathlib import Path

import pytest
from gate_made import check, made, policy, record, verdicts
from records import LAYERS, layer, with_run

from parity.errors import UsageError
from parity.gate.record import Record
from parity.report import Report


def being(**floors: float) -> Report:
    """A report in which each of the layers named is off end to end by so many floors, by itself by one."""
    floors = {name.replace("_", "."): value for name, value in floors.items()}
    return with_run(made(), 0, layers=tuple(layer(name, propagated=floors.get(name, 2)) for name in LAYERS))


def then(report: Report | None = None) -> Record:
    """The record of the last release."""
    return record(report or being())


def test_the_same_again_has_not_grown() -> None:
    """A check for each layer and output, all of which pass."""
    found = record(being(), then=then())
    assert found.result.exit_code == 0
    assert {f"growth[{name}]" for name in (*LAYERS, "output")} <= set(verdicts(found))


def test_a_layer_that_has_grown_within_its_tolerance_fails() -> None:
    """It passes as a layer and fails as growth, with both numbers; no other layer does."""
    found = record(being(conv1_0=7), then=then())
    assert (found.result.verdict, found.result.exit_code) == ("fail", 1)
    assert verdicts(found)["layer[conv1.0]"] == "pass"
    assert [title for title, verdict in verdicts(found).items() if verdict == "fail"] == ["growth[conv1.0]"]
    assert "is off end to end by 7.0x the floor, and 2.0x in the baseline" in check(found, "growth[conv1.0]").says


def test_a_layer_may_grow_as_far_as_the_policy_says(tmp_path: Path) -> None:
    """3.5 times is too much by default (twice), and allowed where the policy says four."""
    assert record(being(conv1_0=7), policy(tmp_path, "[baseline]\ngrowth = 4"), then()).result.exit_code == 0


def test_small_errors_may_change(tmp_path: Path) -> None:
    """Below `ignore_below` floors nothing has grown, however much it is in times."""
    before = then(being(conv1_0=0.5))
    assert record(being(conv1_0=3.9), then=before).result.exit_code == 0
    assert record(being(conv1_0=4.1), then=before).result.exit_code == 1
    assert record(being(conv1_0=2.9), policy(tmp_path, "[baseline]\nignore_below = 1"), before).result.exit_code == 1


def test_layers_of_low_precision_may_grow_less(tmp_path: Path) -> None:
    """1.6 times what the steps of int8 do is worse than 1.0, and far below four floors of rounding noise."""

    def quantised(floors: float) -> Report:
        layers = tuple(replace(each, precision="int8") for each in being(conv1_0=floors).runs[0].layers)
        return with_run(made(), 0, layers=layers)

    before = record(quantised(1.0))
    assert record(quantised(1.4), then=before).result.exit_code == 0
    assert record(quantised(1.6), then=before).result.exit_code == 1
    wider = policy(tmp_path, "[baseline.quantised]\ngrowth = 1.7")
    assert record(quantised(1.6), wider, then=before).result.exit_code == 0


def test_what_has_become_better_passes() -> None:
    """Only growth is looked at."""
    assert record(being(), then=then(being(conv1_0=7))).result.exit_code == 0


def test_a_layer_that_is_gone_fails(tmp_path: Path) -> None:
    """What the baseline compared and this run does not: a loss of coverage, unless the policy only wants to know."""
    less = with_run(made(), 0, layers=tuple(layer(name) for name in LAYERS if name != "conv1.0"))
    found = record(less, then=then())
    assert "was compared in the baseline, and is not now" in check(found, "growth[conv1.0]").says
    assert found.result.exit_code == 1
    told = record(less, policy(tmp_path, '[baseline]\ngone = "tell"'), then())
    assert (told.result.exit_code, told.result.notes) == (0, ("compared in the baseline, and not now: conv1.0",))


def test_growth_is_waived_as_a_fault_is(tmp_path: Path) -> None:
    """By the layer's name, up to a number of floors; the waiver then waives something, and is not told to be idle."""
    text = '[[waivers]]\nlayer = "conv1.0"\nwhy = "decided"\nexpires = 2027-01-31\nfloors = {}\n'
    found = record(being(conv1_0=7), policy(tmp_path, text.format(7.5)), then())
    assert (found.result.exit_code, verdicts(found)["growth[conv1.0]"]) == (0, "waived")
    assert check(found, "growth[conv1.0]").says.endswith("; waived until 2027-01-31: decided")
    assert not any("waives nothing" in note for note in found.result.notes)
    assert record(being(conv1_0=7), policy(tmp_path, text.format(6.5)), then()).result.exit_code == 1


def test_a_new_layer_is_told() -> None:
    """It has nothing to be compared with, and passes."""
    less = with_run(made(), 0, layers=tuple(layer(name) for name in LAYERS if name != "conv1.0"))
    found = record(being(), then=record(less))
    assert found.result.exit_code == 0
    assert "not in the baseline: conv1.0" in found.result.notes


def test_a_layer_that_is_judged_otherwise_is_not_compared() -> None:
    """Numbers in floors and numbers in tolerances are not the same thing."""
    layers = tuple(replace(layer(name, propagated=7), policy="rtol=0.1 (why)") for name in LAYERS)
    found = record(with_run(made(), 0, layers=layers), then=then())
    assert "growth[conv1.0]" not in verdicts(found)
    assert any("conv1.0 is judged otherwise" in note for note in found.result.notes)


def test_a_layer_that_the_baseline_has_no_error_of_is_not_compared() -> None:
    """It was not compared then, and waived: that it is compared now is told, and no growth passes for it."""
    before = then()
    blank = tuple(replace(each, figures={}) if each.name == "conv1.0" else each for each in before.result.checks)
    found = record(being(), then=_changed(before, checks=blank))
    assert "growth[conv1.0]" not in verdicts(found)
    assert "conv1.0 has no error in the baseline that it could be compared with" in found.result.notes


def _changed(record: Record, **result: object) -> Record:
    return replace(record, result=replace(record.result, **result))


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        (lambda: _changed(then(), pair="other"), "it is of other, and this is small"),
        (
            lambda: _changed(then(), artifact=replace(then().result.artifact, kind="tflite")),
            "it is of a tflite artifact, and this is a pb",
        ),
        (lambda: _changed(then(), verdict="not verified"), "it was not finished"),
        (lambda: replace(then(), inputs=()), "it was not made on noise"),
        (lambda: record(digest="00" * 32), "noise has other values than it had then"),
        (
            lambda: replace(then(), versions={**then().versions, "tensorflow": "2.18.0"}),
            r"tensorflow was 2\.18\.0, and is 2\.21\.0; \[baseline\] versions = \"any\"",
        ),
    ],
)
def test_what_does_not_compare_is_refused(before: object, sentence: str) -> None:
    """Another pair, kind, input or engine: one sentence, and nothing is compared."""
    with pytest.raises(UsageError, match=f"the baseline cannot be compared with this run: .*{sentence}"):
        record(being(), then=before())


def test_other_engines_compare_where_the_policy_says_so(tmp_path: Path) -> None:
    """Then the difference is a note."""
    before = replace(then(), versions={**then().versions, "tensorflow": "2.18.0"})
    found = record(being(), policy(tmp_path, '[baseline]\nversions = "any"'), before)
    assert found.result.exit_code == 0
    assert "since the baseline: tensorflow was 2.18.0, and is 2.21.0" in found.result.notes


def test_other_weights_compare() -> None:
    """A release with new weights is held against the last one in floors, and that is said."""
    found = record(being(), then=replace(then(), weights="00" * 32))
    assert found.result.exit_code == 0
    assert any("weights are not the baseline's" in note for note in found.result.notes)
