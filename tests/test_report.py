"""The records: their verdict follows from what they hold, and they go to JSON and back without loss, or not at all."""

import errno
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from records import COVERAGE, FLOOR, LAYERS, finding, layer, measure, report, run, with_run

from parity.errors import ParityError, ReportFileError, ReportFolderError
from parity.files import write_whole
from parity.report import (
    DIVERGED,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    SCHEMA,
    Cause,
    Coverage,
    Finding,
    Report,
    Trial,
    Watching,
    merge,
)

TAMPERED = "a run's own verdict is believed, whatever its layers, output and watching say"

# -- the verdict -------------------------------------------------------------------------------------------------------


def test_agreement_everywhere_is_a_pass() -> None:
    """Runs that agree, full coverage and no findings make a pass; this is what each test below takes something from."""
    assert report().passed
    assert report(("noise", "ramp"), ("eager", "xla")).verdict == PASS


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, runs=(), verdict=""),
        lambda r: with_run(r, 0, layers=()),
        lambda r: with_run(r, 1, layers=()),
        lambda r: with_run(r, 1, verdict=DIVERGED),
        lambda r: replace(r, findings=(finding("cat"),), verdict=""),
        lambda r: replace(r, first_divergence=finding("cat", introduced=False), verdict=""),
        lambda r: replace(r, coverage=replace(COVERAGE, matched={}), verdict=""),
        lambda r: replace(r, coverage=replace(COVERAGE, unmatched_reference=("norm",)), verdict=""),
        lambda r: replace(r, coverage=replace(COVERAGE, unmatched_port=("dense_3",)), verdict=""),
    ],
    ids=[
        "no runs",
        "a run without layers",
        "a later run without layers",
        "a run that diverged",
        "a finding",
        "a first divergence",
        "nothing matched",
        "a reference tap unmatched",
        "a port layer unmatched",
    ],
)
def test_any_one_thing_is_enough_to_fail(spoil: Callable[[Report], Report]) -> None:
    """Nothing compared, anything left over and anything found each make a report that does not pass."""
    spoilt = spoil(report(("noise", "ramp")))
    assert spoilt.verdict == DIVERGED
    assert not spoilt.passed


def test_what_is_waived_by_name_may_be_left_over() -> None:
    """Every name that is left over has to be waived; waiving one of two, or a name like it, is not enough."""
    left = replace(COVERAGE, unmatched_reference=("norm",), unmatched_port=("dense_3",))
    assert not report(coverage=left).passed
    assert not report(coverage=replace(left, waived=("norm",))).passed
    assert not report(coverage=replace(left, waived=("norm", "dense"))).passed
    assert report(coverage=replace(left, waived=("dense_3", "norm", "never seen"))).passed


def test_waiving_everything_does_not_make_nothing_a_pass() -> None:
    """Where nothing was matched, no waiver makes the coverage complete."""
    assert not Coverage(matched={}, weighted=0, unmatched_reference=("a",), waived=("a",)).complete


@pytest.mark.parametrize("said", [PASS, "diverges", "PASS"])
def test_a_verdict_that_contradicts_the_rest_is_refused(said: str) -> None:
    """A verdict is derived; one that is given has to be the same, in the same words."""
    with pytest.raises(ParityError, match=f"the report says '{said}' but its runs say 'diverged'"):
        replace(report(faulty=["conv1.0"]), verdict=said)
    assert replace(report(), verdict=PASS).passed


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"layers": (layer("cat", introduced=9),)}, id="a layer introduces"),
        pytest.param({"layers": (replace(layer("cat"), verdict=NOT_COMPARED),)}, id="a layer was not compared"),
        pytest.param({"output": measure(9)}, id="the output is beyond its limit"),
        pytest.param({"watching": Watching(same=False, relative=0.5, within=False)}, id="watching changed the port"),
    ],
)
def test_a_run_that_contradicts_its_parts_is_no_pass(changes: dict[str, Any]) -> None:
    """A run that says "pass" over a layer, an output or a watching that does not, makes no report that passes."""
    try:
        spoilt = with_run(report(), 0, verdict=PASS, **changes)
    except ParityError:
        return
    assert not spoilt.passed


def test_errors_are_counted_in_floors() -> None:
    """A finding's ratio is its error over the floor, and infinite where the error is."""
    assert finding("conv1.0").ratio == pytest.approx(5000)
    assert replace(finding("conv1.0"), error=math.inf).ratio == math.inf


def test_records_cannot_be_changed() -> None:
    """What was recorded stays: a field of a record cannot be set."""
    with pytest.raises(AttributeError):
        report().verdict = DIVERGED  # type: ignore[misc]


# -- to JSON and back --------------------------------------------------------------------------------------------------


def unusual() -> Report:
    """A report with every number and every None that JSON makes difficult."""
    bad = replace(measure(), relative=math.inf, ratio=math.inf, gain=-math.inf, max_index=(), passed=False, note="µ≠∞")
    layers = (replace(layer("conv0.0", introduced=9), propagated=bad), replace(layer("cat"), introduced=None))
    tried = (
        Trial(slug="padding", detail="same pads 0,1", residual=math.inf, explains=False),
        Trial(slug="scale", detail="µ", residual=0.25, explains=True),
    )
    cause = Cause(slug="unknown", detail="?", residual_before=math.inf, also=("scale",), tied=("a", "b"), tried=tried)
    found = replace(finding("conv0.0", slug="unknown"), error=math.inf, cause=cause)
    made = replace(
        report(("noise",), ("eager", "xla"), faulty=["conv0.0"]),
        findings=(found, finding("conv0.0")),
        first_divergence=found,
        coverage=replace(COVERAGE, inside={"mul": "cat"}, unmatched_port=("a", "b"), waived=("a",)),
    )
    return with_run(made, 0, layers=layers, warnings=("line\nbreak", 'quote "'), verdict=DIVERGED)


@pytest.mark.parametrize("make", [report, unusual, lambda: replace(report(), runs=(), verdict="")])
def test_a_report_comes_back_as_it_was(tmp_path: Path, make: Callable[[], Report]) -> None:
    """Saved and loaded, a report is equal to what it was: infinities, empty tuples, None and all."""
    made = make()
    path = made.save(tmp_path / "deep" / "folder" / "report.json")
    assert path == tmp_path / "deep" / "folder" / "report.json"
    assert Report.load(path) == made


def test_nan_comes_back_as_nan(tmp_path: Path) -> None:
    """NaN, which equals nothing, is written and read as NaN."""
    made = with_run(report(), 0, output=replace(measure(), relative=math.nan, passed=False), verdict=DIVERGED)
    back = Report.load(made.save(tmp_path / "report.json"))
    assert math.isnan(back.runs[0].output.relative)
    assert back.runs[0].output.max_abs == made.runs[0].output.max_abs


def test_the_file_is_json_that_any_reader_takes(tmp_path: Path) -> None:
    """Infinity and NaN are strings: strict readers refuse the bare words that Python would write."""
    text = unusual().save(tmp_path / "report.json").read_text(encoding="utf-8")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    data = json.loads(text, parse_constant=refuse)
    assert data["runs"][0]["layers"][0]["propagated"]["relative"] == "Infinity"
    assert data["runs"][0]["layers"][0]["propagated"]["gain"] == "-Infinity"


def test_the_file_has_the_agreed_names() -> None:
    """The names other programs read are these; a new one is added here on purpose, and a lost one is a new schema."""
    data = json.loads(report(faulty=["cat"]).to_json())
    assert set(data) == {
        *("schema", "pair", "verdict", "environment", "settings", "coverage", "runs", "findings", "first_divergence"),
        *("deaths", "gradients", "setups"),
    }
    assert set(data["coverage"]) == {
        *("matched", "weighted", "inside", "apart", "unmatched_reference", "unmatched_port", "waived"),
        *("propagated_only", "reasons", "ambiguous", "fused"),
    }
    assert {"input", "mode", "verdict", "layers"} <= set(data["runs"][0])
    assert {"layer", "port_layer", "propagated", "introduced", "floor", "verdict"} <= set(data["runs"][0]["layers"][0])
    assert {"layer", "port_layer", "input", "mode", "error", "floor", "cause"} <= set(data["findings"][0])
    assert set(data["findings"][0]["cause"]) == {
        *("slug", "detail", "residual_before", "residual_after", "change", "also", "tied", "separated_by", "tried")
    }
    assert data["schema"] == SCHEMA == 1


def test_a_file_without_the_later_names_of_a_cause_is_read() -> None:
    """A report written before causes had a change, ties and trials is still one, with none of these."""
    data = json.loads(report(faulty=["cat"]).to_json())
    for found in (*data["findings"], data["first_divergence"]):
        for name in ("change", "also", "tied", "separated_by", "tried"):
            del found["cause"][name]
    cause = _loaded(data).findings[0].cause
    assert (cause.change, cause.also, cause.tied, cause.separated_by, cause.tried) == ("", (), (), "", ())
    assert cause.ranked == (cause.slug,)


def _loaded(data: dict[str, Any]) -> Report:
    """The report of the JSON data, by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        path.write_text(json.dumps(data))
        return Report.load(path)


def test_slugs_are_ranked_best_first_and_once() -> None:
    """The cause's own slug, what is at work with it, what ties with it, then what was tried, in the order given."""
    trials = [
        Trial(slug=slug, detail=slug, residual=left, explains=left < 1)
        for slug, left in (("scale", 0.1), ("padding", 0.2), ("scale", 3.0), ("kernel-flip", 4.0))
    ]
    cause = Cause(slug="padding", detail="", also=("bias-missing",), tied=("scale",), tried=tuple(trials))
    assert cause.ranked == ("padding", "bias-missing", "scale", "kernel-flip")
    assert Cause(slug="unknown", detail="").ranked == ("unknown",)


def test_layers_keep_their_order(tmp_path: Path) -> None:
    """Layers, and the map of what was matched, come back in the reference's order."""
    back = Report.load(report().save(tmp_path / "report.json"))
    assert list(back.coverage.matched) == [result.layer for result in back.runs[0].layers] == list(LAYERS)


def changed(path: Path, **changes: Any) -> Path:
    """The report file with some of its names changed."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_another_schema_is_refused(tmp_path: Path) -> None:
    """A file of a later schema is refused by both numbers."""
    path = changed(report().save(tmp_path / "report.json"), schema=SCHEMA + 1)
    with pytest.raises(ParityError, match=rf"report\.json has schema {SCHEMA + 1}; this parity reads schema {SCHEMA}"):
        Report.load(path)


def test_another_schema_is_refused_for_that_reason(tmp_path: Path) -> None:
    """A later schema may lack what this one needs; the reason is still the schema."""
    path = changed(report().save(tmp_path / "report.json"), schema=SCHEMA + 1, runs="elsewhere")
    with pytest.raises(ParityError, match=f"has schema {SCHEMA + 1}"):
        Report.load(path)


@pytest.mark.parametrize("said", [None, "1", True, 1.5])
def test_a_report_that_does_not_say_its_schema_is_refused(tmp_path: Path, said: object) -> None:
    """A file without a schema, or with one that is no number, is not taken for the one that is read today."""
    path = report().save(tmp_path / "report.json")
    data = {name: value for name, value in json.loads(path.read_text()).items() if name != "schema"}
    path.write_text(json.dumps(data if said is None else {**data, "schema": said}))
    with pytest.raises(ReportFileError, match=r"report\.json is not a parity report: .*schema"):
        Report.load(path)


def test_a_file_that_lies_is_refused(tmp_path: Path) -> None:
    """A diverged report whose verdict was edited to "pass" cannot be loaded."""
    path = changed(report(faulty=["conv1.0"]).save(tmp_path / "report.json"), verdict=PASS)
    with pytest.raises(ParityError, match="the report says 'pass' but its runs say 'diverged'"):
        Report.load(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"schema": 1', b"<html>"])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    """Anything else is refused in one line that names the file."""
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ParityError, match=r"other\.json is not a parity report") as caught:
        Report.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing file, and a folder, are the same error, with the system's reason."""
    with pytest.raises(ParityError, match=r"nowhere\.json .*No such file"):
        Report.load(tmp_path / "nowhere.json")
    with pytest.raises(ParityError, match="Is a directory"):
        Report.load(tmp_path)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
def test_half_a_report_is_refused(tmp_path: Path, cut: float) -> None:
    """A file cut anywhere is no report."""
    path = report().save(tmp_path / "report.json")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(ParityError, match="is not a parity report"):
        Report.load(path)


# -- merging -----------------------------------------------------------------------------------------------------------


def test_merged_reports_hold_all_runs_in_order() -> None:
    """Runs and findings follow one another; what is said once is the first report's."""
    first, second = report(("noise",), faulty=["conv1.0"]), report(("ramp",), ("eager", "xla"), faulty=["cat"])
    both = merge([first, second])
    assert both.runs == first.runs + second.runs
    assert both.findings == first.findings + second.findings
    assert both.first_divergence == first.first_divergence
    assert (both.pair, both.environment, both.settings) == (first.pair, first.environment, first.settings)


def test_how_a_later_part_was_seen_survives_merging() -> None:
    """What had to be said of the second report's run is said of both; what both say is said once."""
    plain, noted = report(), replace(report(), settings={"seen": "by other kernels"})
    assert merge([plain, noted, noted]).settings["seen"] == "by other kernels"
    assert "seen" not in merge([plain, plain]).settings
    other = replace(report(), settings={"seen": "without a delegate"})
    assert merge([merge([noted, other]), noted]).settings["seen"] == "by other kernels; without a delegate"


def test_merging_one_report_changes_nothing() -> None:
    """One report, merged, is itself."""
    assert merge([unusual()]) == unusual()


@pytest.mark.parametrize("order", [1, -1])
def test_one_diverged_report_makes_the_whole_diverge(order: int) -> None:
    """A pass merged with a divergence is none, in either order, and the divergence is the first one."""
    reports = [report(("noise",)), report(("ramp",), faulty=["cat"])][::order]
    assert merge(reports).verdict == DIVERGED
    assert merge(reports).first_divergence == finding("cat", "ramp")
    assert merge([report(("noise",)), report(("ramp",))]).passed


@pytest.mark.parametrize("order", [1, -1])
def test_incomplete_coverage_survives_merging(order: int) -> None:
    """What one input left unmatched is unmatched in the whole."""
    left = replace(COVERAGE, unmatched_reference=("norm",))
    both = merge([report(("noise",)), report(("ramp",), coverage=left)][::order])
    assert both.coverage.unmatched_reference == ("norm",)
    assert not both.passed


@pytest.mark.parametrize("order", [1, -1])
def test_merging_does_not_lose_what_is_unmatched(order: int) -> None:
    """A name that one report left over stays left over, also beside a report that left more, all of it waived."""
    waived = ("a", "b")
    incomplete = report(("noise",), coverage=replace(COVERAGE, unmatched_reference=("norm",), waived=waived))
    complete = report(("ramp",), coverage=replace(COVERAGE, unmatched_port=waived, waived=waived))
    assert (incomplete.passed, complete.passed) == (False, True)
    assert not merge([incomplete, complete][::order]).passed


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """A second report takes the first one's place, and nothing else is left in the folder."""
    path = report().save(tmp_path / "report.json")
    report(faulty=["cat"]).save(path)
    assert Report.load(path).verdict == DIVERGED
    assert [found.name for found in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    """A pipe, a device, a folder, also behind a link, and a link to itself stay what they are; one sentence says so."""
    path = tmp_path / "report.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null" if kind == "device" else path)
    before = path.lstat().st_mode
    with pytest.raises(ReportFolderError, match=r"cannot write .*report\.json: "):
        write_whole(path, "text")
    assert path.lstat().st_mode == before
    assert Path("/dev/null").is_char_device()


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    """The link stays; what it leads to is made where it is not there yet."""
    (tmp_path / "there").mkdir()
    target, path = tmp_path / "there" / "real.json", tmp_path / "report.json"
    path.symlink_to("there/real.json")
    for text in ("first", "second"):
        write_whole(path, text)
        assert (path.is_symlink(), target.is_symlink(), target.read_text()) == (True, False, text)
    assert [found.name for found in target.parent.iterdir()] == ["real.json"]


def test_others_may_read_a_report(tmp_path: Path) -> None:
    """A report has the permissions of any file written there: a server that shows it is another user."""
    (tmp_path / "usual").write_text("")
    path = write_whole(tmp_path / "report.json", "text")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def fail(problem: BaseException) -> Callable[..., Any]:
    """A function that raises `problem`, whatever it is given."""

    def raising(*args: object, **kwargs: object) -> None:
        raise problem

    return raising


class FullDisk:
    """A stream that takes a few characters and then finds the disk full."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> "FullDisk":
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def write(self, text: str) -> None:
        self.stream.write(text[:7])
        self.stream.flush()
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("when", ["writing", "replacing"])
@pytest.mark.parametrize("before", [None, "the last report"])
def test_a_failed_write_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, before: str | None
) -> None:
    """When the disk is full, the last report is as it was, and no temporary file stays behind."""
    path = tmp_path / "report.json"
    if before:
        path.write_text(before)
    if when == "writing":
        opened = os.fdopen
        monkeypatch.setattr(os, "fdopen", lambda *args, **kwargs: FullDisk(opened(*args, **kwargs)))
    else:
        monkeypatch.setattr(os, "replace", fail(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(ReportFolderError, match=r"cannot write .*report\.json: No space left on device"):
        write_whole(path, "a new report")
    assert {found.name: found.read_text() for found in tmp_path.iterdir()} == ({path.name: before} if before else {})


@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_is_written_where_every_file_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, nameless: bool
) -> None:
    """With files that have no name until they are whole, and without: the same text, for whom the umask lets read."""
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "report.json", "text")
    finally:
        os.umask(before)
    (found,) = tmp_path.iterdir()
    assert (found.name, found.read_text(), found.stat().st_mode & 0o777) == ("report.json", "text", 0o640)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_what_is_being_written_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the text is whole nothing is in the folder: a process killed meanwhile leaves nothing."""
    seen, link = [], os.link

    def look(*args: object, **kwargs: object) -> None:
        seen.append(list(tmp_path.iterdir()))
        link(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", look)
    write_whole(tmp_path / "report.json", "text")
    assert seen == [[]]


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle cleans up as well, and stays an interrupt."""
    monkeypatch.setattr(os, "replace", fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "report.json", "text")
    assert not list(tmp_path.iterdir())


def test_no_reader_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the very end the old file is there; what is being written has another name beside it."""
    path = tmp_path / "report.json"
    path.write_text("old")
    seen = []
    replaced = os.replace

    def look(source: str, target: Path) -> None:
        seen.append((target.read_text(), Path(source).parent, Path(source).read_text()))
        replaced(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_whole(path, "new")
    assert seen == [("old", tmp_path, "new")]
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Where a file stands in the way of the folder, the error is a wrong use (exit 2) that names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ReportFolderError, match=r"cannot write .*report\.json: (File exists|Not a directory)"
    ) as caught:
        report().save(tmp_path / "file" / "report.json")
    assert caught.value.exit_code == 2


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission is the same error. The system is played here: root may write anywhere."""
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(tempfile, "mkstemp", fail(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(ReportFolderError, match=r"cannot write .*report\.json: Permission denied"):
        report().save(tmp_path / "report.json")


def test_the_hand_made_records_are_consistent() -> None:
    """What these tests build on: faulty layers introduce, later ones inherit, and the report diverges."""
    made = report(faulty=["conv1.0"])
    verdicts = {result.layer: result.verdict for result in made.runs[0].layers}
    assert verdicts["conv1.0"] == INTRODUCES
    assert list(verdicts.values())[:3] == [PASS] * 3
    assert made.first_divergence is not None
    assert made.first_divergence.error == 5000 * FLOOR
    assert isinstance(made.findings[0], Finding)
    assert run().verdict == PASS
