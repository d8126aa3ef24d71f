"""The page of a repair, from records made by hand."""

from dataclasses import replace
from typing import Any

import pytest
import records

from parity.render import repaired
from parity.repair import Change, Repaired, changes_in_words
from parity.report import Report

BEFORE = records.report(faulty=("conv1.0", "mul"))
CHANGE = Change(
    layer="conv1.0",
    port_layer="conv1",
    cause=replace(records.finding("conv1.0").cause, change='Conv2D("conv1", padding="same") -> padding="valid"'),
)


def result(**changes: Any) -> Repaired:
    """A repair of one layer of two; the other is left."""
    left = (records.finding("mul", slug="unknown"),)
    usual: dict[str, Any] = {
        "model": None, "changes": (CHANGE,), "left": left, "report": records.report(faulty=("mul",)), "before": BEFORE,
    }  # fmt: skip
    return Repaired(**{**usual, **changes})


def words(made: Repaired, width: int = 80) -> str:
    """The page as one line, its wrapping undone."""
    return " ".join(repaired(made, width=width).split())


def test_a_change_has_its_layer_cause_change_and_errors() -> None:
    """What was changed, why, how in the port's code, and the layer's error before and after."""
    text = words(result())
    assert "changed conv1.0 -> conv1 cause padding (same pads 0,1; reference pads 1,1)" in text
    assert 'Conv2D("conv1", padding="same") -> padding="valid"' in text
    assert "2.0e-3 before, 3.9e-7 with that undone" in text


def test_what_is_left_is_named_with_its_cause() -> None:
    """A fault without a remedy is on the page, and both verdicts are below it."""
    text = words(result())
    assert "left mul -> flow_scale unknown (same pads 0,1; reference pads 1,1)" in text
    assert "before DIVERGED: small agrees in 0 of 1 runs; first at conv1.0" in text
    assert text.endswith("after DIVERGED: small agrees in 0 of 1 runs; first at mul")


def test_a_layer_that_the_port_lacks_is_left_too() -> None:
    """What no repair can add is named."""
    coverage = replace(records.COVERAGE, unmatched_reference=("mean", "sub"))
    text = words(result(left=(), report=records.report(coverage=coverage)))
    assert "left the port has nothing for mean, sub" in text


@pytest.mark.parametrize(
    ("before", "sentence"),
    [(records.report(), "nothing: no layer is at fault"), (BEFORE, "nothing: no fault with a proven remedy")],
)
def test_nothing_changed_says_why(before: Report, sentence: str) -> None:
    """Nothing to repair is told from nothing that could be repaired: by what the port was before."""
    assert f"changed {sentence}" in words(result(changes=(), before=before))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    """At any width every line fits."""
    assert max(map(len, repaired(result(), width=width).splitlines())) <= width


def test_numbers_are_written_alike_on_the_page_and_in_the_file() -> None:
    """An error is written in the same way in the list of changes as on the terminal."""
    text = changes_in_words(result(), "small", "fixed.keras")
    assert "2.0e-3 before, 3.9e-7 after" in text
