"""Two reports held against each other: what appeared, vanished, got worse or better is said, and noise is not."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from records import finding, layer, measure, report, run, with_run
from typer.testing import CliRunner

from parity.cli import app
from parity.differences import APPEARED, BETTER, VANISHED, WORSE, difference
from parity.errors import UsageError
from parity.history import KEPT, Past, recall, remember
from parity.portraits import ErrorPicture, Histogram, KeptArray
from parity.render.difference import difference_markdown, difference_text, headline
from parity.render.html import difference_page
from parity.report import Death, Report

NASTY = "a|b <script>alert(1)</script> `c` \u00fc"


def test_a_fault_that_is_new_appeared_and_one_that_is_gone_vanished() -> None:
    """Seen from either side the same fault appeared or vanished; only the one way is a regression."""
    good, bad = report(modes=("eager", "graph")), report(modes=("eager", "graph"), faulty=["conv1.0"])
    worse, better = difference(good, bad), difference(bad, good)
    assert [(change.kind, change.layer, change.cause) for change in worse.changes] == [(APPEARED, "conv1.0", "padding")]
    assert worse.changes[0].places == (("noise", "eager"), ("noise", "graph"))
    assert [(change.kind, change.layer) for change in better.changes] == [(VANISHED, "conv1.0")]
    assert (worse.regressed, better.regressed) == (True, False)
    assert worse.as_before == 6


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [(1.0, 1.9, []), (0.1, 0.9, []), (1.0, 4.0, [WORSE]), (6.0, 2.0, [BETTER]), (6.0, 7.0, []), (5000, 90, [BETTER])],
)
def test_an_error_is_other_where_it_is_more_than_noise(before: float, after: float, kinds: list[str]) -> None:
    """Below the floor, and by less than a factor of two, nothing changed."""

    def one(ratio: float) -> Report:
        layers = tuple(layer(each.layer, introduced=ratio) for each in run().layers[:1])
        return with_run(report(), 0, layers=layers, verdict="diverged")

    assert [change.kind for change in difference(one(before), one(after)).changes] == kinds


def test_what_only_one_report_has_is_named() -> None:
    """Runs, layers, versions and settings of one report alone are said, and are no change of a layer."""
    found = difference(
        report(inputs=("noise",)), replace(report(inputs=("noise", "ramp")), environment={"keras": "3.16"})
    )
    assert found.only_after == ("ramp (eager)",)
    assert found.other["keras"] == ("3.15.1", "3.16")
    assert found.other["torch"] == ("2.13.0", "-")
    assert found.changes == ()


def test_a_finding_about_gradients_that_is_new_is_a_regression() -> None:
    """Findings about something else than values are held against each other as well."""
    found = replace(finding("conv0.0"), about="gradients")
    worse = difference(report(), replace(report(), findings=(found,), verdict=""))
    assert [(change.kind, change.what) for change in worse.changes] == [(APPEARED, "gradients")]
    assert worse.regressed


def test_it_is_said_in_80_columns() -> None:
    """The table fits a terminal, what appeared is above what vanished, and the verdict comes last."""
    found = difference(report(faulty=["cat"]), report(faulty=["conv1.0"]))
    lines = difference_text(found, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    kinds = [line.split()[0] for line in lines if line.strip().startswith((APPEARED, VANISHED))]
    assert kinds == [APPEARED, VANISHED]
    assert headline(found).startswith("WORSE: small, diverged -> diverged; 1 appeared, 0 worse, 1 vanished")


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_long_names_and_large_errors_fit_as_well(width: int) -> None:
    """Names of layers and causes make room for both errors, which are never cut."""
    name = "encoder.stages.3.blocks.17.attention.projection.dropout"
    worse = report(faulty=["conv1.0"])
    layers = tuple(
        replace(each, layer=name, verdict="introduces", introduced=measure(9.7e5)) for each in worse.runs[0].layers[:1]
    )
    old = with_run(worse, 0, layers=layers)
    new = with_run(
        worse, 0, layers=tuple(replace(each, introduced=measure(7.6e9), verdict="introduces") for each in layers)
    )
    text = difference_text(difference(old, new), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    assert "970 000x" in text
    assert "7.6e9x" in text


def test_reports_of_two_pairs_are_not_held_against_each_other() -> None:
    """Another pair's report, or one without a run in common, is wrong use: nothing compared is not a pass."""
    with pytest.raises(UsageError, match="one report is of small, the other of other"):
        difference(report(), replace(report(), pair="other"))
    with pytest.raises(UsageError, match=r"no run in common: one has noise \(eager\), the other ramp \(eager\)"):
        difference(report(inputs=("noise",)), report(inputs=("ramp",)))


def test_errors_in_tolerances_are_not_held_against_errors_in_floors() -> None:
    """Under other policies a count means something else: only faults that come or go are changes, and that is said."""
    old = replace(report(), settings={"policy": "noise floor"})
    layers = tuple(replace(each, introduced=measure(7.0)) for each in old.runs[0].layers)
    new = replace(with_run(old, 0, layers=layers), settings={"policy": "rtol=0.001, atol=1e-05"})
    found = difference(old, new)
    assert (found.changes, found.common_unit) == ((), False)
    assert all(
        "judged by other policies" in text.lower() for text in (difference_text(found), difference_markdown(found))
    )
    assert "Judged by other policies" in difference_page(found)
    same = difference(old, replace(new, settings=old.settings))
    assert same.common_unit
    assert {change.kind for change in same.changes} == {WORSE}


def test_a_run_whose_verdict_turns_is_named() -> None:
    """A run that diverges where no layer does, in its output alone, is a regression, and the run is named."""
    new = with_run(report(), 0, verdict="diverged", output=replace(measure(900.0), passed=False))
    found = difference(report(), new)
    assert found.turned == {"noise (eager)": ("pass", "diverged")}
    assert found.regressed
    for text in (difference_text(found), difference_markdown(found), difference_page(found)):
        assert "noise (eager)" in text.replace("\\", "")
    assert not difference(new, report()).regressed


def test_a_run_that_died_is_worse_than_one_that_diverged() -> None:
    """What could not be verified any more is a regression, whatever was wrong before."""
    bad = report(faulty=["conv1.0"])
    died = replace(bad, deaths=(Death(side="port", how="was killed by signal 11", doing="end to end"),), verdict="")
    assert difference(bad, died).regressed
    assert not difference(died, bad).regressed


def test_names_stay_text_in_markdown_and_html() -> None:
    """A name with markup ends no cell of a table, and is no element of the page."""
    bad = report(faulty=["conv1.0"])
    renamed = replace(bad.findings[0], layer=NASTY, about="gradients")
    found = difference(report(), replace(bad, findings=(*bad.findings, renamed), verdict=""))
    row = next(line for line in difference_markdown(found).splitlines() if "alert" in line)
    assert row.replace(r"\|", "").count("|") == 7
    assert r"\<script\>" in row
    assert "<script" not in difference_page(found)
    assert "&lt;script&gt;" in difference_page(found)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good report, a bad one, one that is cut short and a foreign file; it is the current one."""
    monkeypatch.chdir(tmp_path)
    report().save("good/report.json")
    whole = report(faulty=["conv1.0"]).save("bad.json").read_text()
    Path("short.json").write_text(whole[: len(whole) // 2])
    Path("foreign.json").write_text('{"name": "package", "version": 1}')
    return tmp_path


def invoke(*words: str) -> tuple[int, str, str]:
    """The exit code of the command, and what it writes to both streams."""
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("short.json", "parity: short.json is not a parity report: it is cut short, or no JSON"),
        ("foreign.json", "parity: foreign.json is not a parity report: it has no 'schema'"),
        ("nothing.json", "parity: nothing.json cannot be read: No such file or directory"),
    ],
)
@pytest.mark.parametrize("command", [["report"], ["diff", "bad.json"]])
def test_what_is_no_report_is_refused_in_one_sentence(
    saved: Path, command: list[str], file: str, sentence: str
) -> None:
    """A file that is cut short, foreign or missing: one sentence that says so, exit 2, and nothing written."""
    before = sorted(saved.rglob("*"))
    code, out, err = invoke(*command, file)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(sentence)
    assert sorted(saved.rglob("*")) == before


def test_a_folder_of_folders_says_where_the_reports_are(saved: Path) -> None:
    """Given the folder above, the sentence names what is meant; an empty folder says that there is none."""
    code, _, err = invoke("report", ".")
    assert (code, err) == (2, "parity: the folder . has no report.json; there is one in good\n")
    Path("empty").mkdir()
    code, _, err = invoke("diff", "good", "empty")
    assert (code, err) == (2, "parity: the folder empty has no report.json\n")


def test_a_report_is_shown_again_with_its_page(saved: Path) -> None:
    """From a folder or a file: the summary, the page beside it, and the verdict's exit code."""
    code, out, _ = invoke("report", "good")
    assert (code, out.splitlines()[-1]) == (0, "report: good/report.html")
    assert "<!doctype html>" in Path("good/report.html").read_text()
    code, out, _ = invoke("report", "good", "bad.json", "-q")
    assert (code, [line.partition(":")[0] for line in out.splitlines()]) == (1, ["PASS", "DIVERGED"])
    assert Path("bad.html").exists()
    code, _, err = invoke("report", "good", "bad.json", "--html", "one.html")
    assert (code, Path("one.html").exists()) == (2, False)
    assert "there are 2 reports" in err


@pytest.mark.parametrize("words", [["report", "bad.json"], ["diff", "good", "bad.json"]])
def test_a_page_never_takes_the_place_of_its_report(saved: Path, words: list[str]) -> None:
    """--html with the name of a report that is read is refused; the report stays."""
    before = Path("bad.json").read_text()
    code, _, err = invoke(*words, "--html", "bad.json")
    assert (code, err.count("\n")) == (2, 1)
    assert "would replace the report bad.json" in err
    assert Path("bad.json").read_text() == before


def test_a_report_that_is_called_html_is_not_overwritten(saved: Path) -> None:
    """A report in a file called .html is left alone: its page needs another name."""
    Path("bad.json").rename("bad.html")
    assert invoke("report", "bad.html")[0] == 2
    assert invoke("report", "bad.html", "--html", "page.html")[0] == 1


def test_a_picture_that_is_broken_names_the_file(saved: Path) -> None:
    """A report whose picture is no picture is refused in one sentence, with its name."""
    grid = KeptArray(shape=(2, 2), data="not base64!")
    picture = ErrorPicture(
        space=grid,
        height=2,
        width=2,
        channels=KeptArray.of([0.5]),
        channel_count=1,
        histogram=Histogram(low=-1.0, high=0.0, counts=(1,), exact=0),
        limit=1e-6,
        words=("all of it",),
    )
    made = with_run(report(faulty=["conv1.0"]), 0, pictures={"conv1.0": picture})
    made.save("picture.json")
    code, out, err = invoke("report", "picture.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("parity: picture.json is not a whole report: a picture of shape (2, 2)")


def test_quietly_two_runs_are_one_line(saved: Path) -> None:
    """-q prints the verdict's line alone, in Markdown or not, with the same exit code."""
    for words in ((), ("--markdown",)):
        code, out, _ = invoke("diff", "good", "bad.json", "-q", *words)
        assert (code, out.count("\n")) == (1, 1)
        assert out.startswith("WORSE: small, pass -> diverged")


def test_a_report_is_shown_without_a_framework(saved: Path, pytester: pytest.Pytester) -> None:
    """Showing a report, comparing two, and their pages load neither torch nor tensorflow nor keras."""
    script = """
import sys
from typer.testing import CliRunner
from parity.cli import app
for words in (["report", "good"], ["diff", "good", "bad.json", "--html", "d.html"]):
    CliRunner().invoke(app, words, catch_exceptions=False)
assert not {"torch", "tensorflow", "keras"} & set(sys.modules), sorted(sys.modules)
""".replace("good", str(saved / "good")).replace("bad.json", str(saved / "bad.json"))
    assert pytester.run(sys.executable, "-c", script).ret == 0


def test_the_exit_code_says_whether_it_got_worse(saved: Path) -> None:
    """1 where a fault appeared, 0 where one vanished; the page is written where it was asked for."""
    assert invoke("diff", "good", "bad.json")[0] == 1
    code, out, _ = invoke("diff", "bad.json", "good", "--markdown", "--html", "diff.html")
    assert code == 0
    assert out.startswith("**NOT WORSE: small, diverged -\\> pass")
    assert "1 vanished" in Path("diff.html").read_text()


def test_history_is_a_line_a_run_and_outlives_a_broken_one(tmp_path: Path) -> None:
    """Each run adds a line; a line that was cut off, or holds something else, is passed over."""
    remember(report(), tmp_path)
    (path := tmp_path / "history.jsonl").write_text(path.read_text() + '{"time": 1\n[]\n{"errors": {}}\n')
    remember(report(faulty=["conv1.0"]), tmp_path)
    past = recall(tmp_path)
    assert [each.verdict for each in past] == ["pass", "diverged"]
    assert [each.errors["conv1.0"] for each in past] == [1.0, 5000.0]
    assert past[1].first == "conv1.0"
    assert past[0].versions == {"torch": "2.13.0", "tensorflow": "2.21.0", "keras": "3.15.1"}


def test_a_run_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    """The half of a line that a killed run has left does not swallow the next run's."""
    remember(report(), tmp_path)
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text() + Past.of(report()).line()[:40])
    remember(report(faulty=["conv1.0"]), tmp_path)
    assert [each.verdict for each in recall(tmp_path)] == ["pass", "diverged"]


def test_runs_at_the_same_time_do_not_mix_their_lines(tmp_path: Path) -> None:
    """Of many runs that end together each leaves a whole line, however long it is."""
    made = report()
    layers = tuple(replace(layer("conv1.0"), layer=f"layer{index}") for index in range(2000))
    large = with_run(made, 0, layers=layers)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: remember(large, tmp_path), range(24)))
    assert len((tmp_path / "history.jsonl").read_bytes()) > 24 * 30_000
    assert len(recall(tmp_path)) == 24


def test_a_name_with_odd_ends_of_lines_stays_in_its_line(tmp_path: Path) -> None:
    """What some programs take for the end of a line, in a layer's name, ends none of history's."""
    made = report()
    first = replace(made.runs[0].layers[0], layer="a\u2028b\x85c")
    remember(with_run(made, 0, layers=(first,)), tmp_path)
    (past,) = recall(tmp_path)
    assert list(past.errors) == ["a\u2028b\x85c"]


def test_history_shows_the_last_runs_and_none_where_there_is_none(tmp_path: Path) -> None:
    """Of a long history the last runs are read; a folder without one has none."""
    assert recall(tmp_path / "nowhere") == []
    line = Past.of(report()).line()
    (tmp_path / "history.jsonl").write_text(f"{line}\n" * (KEPT + 5))
    assert len(recall(tmp_path)) == KEPT
