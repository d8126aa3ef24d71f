"""Reports of any records, numbers and words: to JSON and back, shown in every form, merged, compared, remembered."""

import dataclasses
import json
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples, pasts, records, reports, same

from parity.differences import APPEARED, BETTER, VANISHED, WORSE, Change, difference
from parity.errors import GateRecordError
from parity.gate.checks import verdict_of
from parity.gate.record import Record as GateRecord
from parity.gate.record import read_record
from parity.history import HISTORY_FILE, Past, recall, remember
from parity.portraits import Record
from parity.render.annotations import annotations
from parity.render.difference import difference_markdown, difference_text
from parity.render.failures import coverage_failure, died_failure, failures, output_failure, watching_failure
from parity.render.html import cell, difference_page, page
from parity.render.model_explorer import files_for_model_explorer
from parity.render.terminal import layer_table, summary, verdict
from parity.report import Report, merge
from parity.report import records as record_file
from parity.report.whole import _ADAPTER

# -- JSON -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples of this file: each writes over what the one before has left."""
    return tmp_path_factory.mktemp("reports")


@examples(50, shrunk=False)
@given(made=reports())
def test_a_report_survives_json(made: Report, folder: Path) -> None:
    """Saved and loaded, a report is the one it was, to the last digit, NaN and infinity included; saved again, it is
    the same file."""
    path = made.save(folder / "report.json")
    loaded = Report.load(path)
    assert same(loaded, made)
    assert loaded.to_json() == path.read_text(encoding="utf-8") == made.to_json()
    assert strict(made.to_json())


def strict(text: str) -> Any:
    """What a text of JSON says; Python alone reads one that has NaN or Infinity in it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_record_is_drawn() -> None:
    """The reports above hold every record that there is: none is reached by no field."""
    reached: set[type] = set()

    def visit(kind: object) -> None:
        for inner in typing.get_args(kind):
            visit(inner)
        if isinstance(kind, type) and issubclass(kind, Record) and kind not in reached:
            reached.add(kind)
            for hint in typing.get_type_hints(kind).values():
                visit(hint)

    visit(Report)
    assert reached >= {
        kind for kind in vars(record_file).values() if isinstance(kind, type) and issubclass(kind, Record)
    } - {Record}


@examples(15, shrunk=False)
@given(made=reports(), data=st.data())
def test_records_that_differ_are_not_the_same(made: Report, data: st.DataObject) -> None:
    """The check above can fail: a report with anything of it changed is another."""
    known = [each.name for each in dataclasses.fields(Report) if each.name not in ("schema", "verdict")]
    name = data.draw(st.sampled_from(known))
    value = getattr(data.draw(reports()), name)
    assume(not same(value, getattr(made, name)))
    assert not same(dataclasses.replace(made, **{name: value, "verdict": ""}), made)


# -- shown ------------------------------------------------------------------------------------------------------------

SHOWN: dict[str, Callable[[Report], object]] = {
    "terminal": lambda made: [summary(made), summary(made, width=40, colour=True), verdict(made)],
    "tables": lambda made: [layer_table(made, run) for run in made.runs],
    "failures": lambda made: [
        failures(made, made.findings),
        coverage_failure(made),
        *(output_failure(made, run) for run in made.runs),
        *(watching_failure(made, run) for run in made.runs),
        *(died_failure(made) for _ in made.deaths),
    ],
    "page": lambda made: strict(page(made).partition('id="data">')[2].partition("</script>")[0]),
    "cell": cell,
    "github": annotations,
    "model explorer": lambda made: [strict(text) for text in files_for_model_explorer(made).values()],
}


@examples(25, shrunk=False)
@given(made=reports())
@pytest.mark.parametrize("form", SHOWN)
def test_whatever_is_in_a_report_can_be_shown(form: str, made: Report) -> None:
    """A report that was loaded is shown in every form without an error, whatever its numbers and words are."""
    SHOWN[form](report_from_json(made))


def report_from_json(made: Report) -> Report:
    """The report as it is loaded."""
    loaded: Report = _ADAPTER.validate_json(made.to_json())
    return loaded


# -- merged and compared ----------------------------------------------------------------------------------------------


@examples(12, shrunk=False)
@given(st.lists(st.tuples(reports(), st.sets(st.sampled_from("abc"))), min_size=3, max_size=4), st.integers(1, 2))
def test_merging_in_steps_is_merging_at_once(drawn: list[tuple[Report, set[str]]], at: int) -> None:
    """Reports of several processes may be merged in any grouping; and of one report there is nothing to merge."""
    parts = [dataclasses.replace(each, settings={"seen": "; ".join(sorted(notes))}) for each, notes in drawn]
    whole = merge(parts)
    assert same(merge([merge(parts[:at]), merge(parts[at:])]), whole)
    assert same(merge([whole]), whole)


@examples(12, shrunk=False)
@given(st.lists(reports(), min_size=1, max_size=3))
def test_a_merged_report_holds_all_of_its_parts(parts: list[Report]) -> None:
    """Every run, finding and death is there once, in order; and none of the parts that failed is passed over."""
    whole = merge(parts)
    for name in ("runs", "findings", "deaths", "gradients"):
        assert same(getattr(whole, name), tuple(each for part in parts for each in getattr(part, name)))
    assert not whole.passed or all(part.passed for part in parts)


@examples(25, shrunk=False)
@given(reports())
def test_a_report_is_as_it_was(made: Report) -> None:
    """Nothing is other in a report than in itself."""
    found = difference(made, made)
    assert (found.changes, found.other, found.only_before, found.only_after) == ((), {}, (), ())
    assert not found.regressed


@examples(25, shrunk=False)
@given(reports(), reports())
def test_a_difference_backwards_is_its_opposite(before: Report, after: Report) -> None:
    """What appeared has vanished the other way round, and what got worse got better; and all of it can be shown."""
    opposite = {APPEARED: VANISHED, VANISHED: APPEARED, WORSE: BETTER, BETTER: WORSE}
    after = dataclasses.replace(after, pair=before.pair)
    places = [{(run.input, run.mode) for run in made.runs} for made in (before, after)]
    assume(not all(places) or places[0] & places[1])
    there, back = difference(before, after), difference(after, before)

    def told(change: Change) -> tuple[str, str, str, list[tuple[str, str]]]:
        return change.kind, change.layer, change.what, sorted(change.places)

    forwards = sorted((opposite[kind], *rest) for kind, *rest in map(told, there.changes))
    assert forwards == sorted((kind, *rest) for kind, *rest in map(told, back.changes))
    assert (there.only_before, there.only_after) == (back.only_after, back.only_before)
    for show in (difference_text, difference_markdown, difference_page):
        show(there)


# -- remembered -------------------------------------------------------------------------------------------------------


@examples(60)
@given(runs=st.lists(pasts(), max_size=4))
def test_a_history_is_what_was_remembered(runs: list[Past], folder: Path) -> None:
    """Line by line, a history gives back every run that was written, whatever its words are."""
    (folder / HISTORY_FILE).write_text("".join(f"{past.line()}\n" for past in runs), encoding="utf-8")
    assert recall(folder) == runs
    assert all(strict(past.line()) for past in runs)


@examples(15, shrunk=False)
@given(made=st.lists(reports(), min_size=1, max_size=3))
def test_every_report_leaves_one_line(made: list[Report], folder: Path) -> None:
    """Each report that is remembered is one run more in the history, with its verdict and layers."""
    (folder / HISTORY_FILE).unlink(missing_ok=True)
    for each in made:
        remember(each, folder)
    found = recall(folder)
    assert [past.verdict for past in found] == [each.verdict for each in made]
    layers = [{layer.layer for run in each.runs for layer in run.layers} for each in made]
    assert [set(past.errors) for past in found] == layers
    page(made[-1], found)


def as_a_run_writes_it(record: GateRecord) -> GateRecord:
    """The record with the verdict that its checks make, and no waivers, which have a form of their own."""
    result = replace(record.result, verdict=verdict_of(record.result.checks))
    says = {name: value for name, value in record.policy.says.items() if name != "waivers"}
    return replace(record, result=result, policy=replace(record.policy, says=says))


@examples(25, shrunk=False)
@given(record=records(GateRecord).map(as_a_run_writes_it))
def test_a_gates_record_survives_its_file(record: GateRecord, folder: Path) -> None:
    """A sealed record is read back as it was, and is not read at all once anything in it is other."""
    path = folder / "record.json"
    path.write_text(record.sealed(), encoding="utf-8")
    assert same(read_record(path), record)
    says = strict(record.sealed())
    path.write_text(json.dumps({**says, "weights": says["weights"] + "0"}), encoding="utf-8")
    with pytest.raises(GateRecordError, match="was changed"):
        read_record(path)
