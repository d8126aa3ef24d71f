"""A result as others read it: JUnit, Markdown, JSON, a terminal of 80 columns."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

from gate_made import made, policy, record
from records import COVERAGE, layer, with_run

from parity.gate.junit import junit
from parity.gate.markdown import markdown
from parity.gate.page import gate_annotations, gate_page
from parity.gate.record import Record
from parity.gate.results import as_json

LIMITS = """
[limits]
end_point_error = { max = 1e-9 }
[[waivers]]
layer = "conv0.0"
why = "a | b <c>"
expires = 2027-01-31
"""


def failed(folder: Path) -> Record:
    """A run with a fault, a waived fault, and a limit that is exceeded."""
    return record(made(faulty=["conv0.0", "conv1.0"]), policy(folder, LIMITS))


def test_junit_has_a_case_for_each_check(tmp_path: Path) -> None:
    """Layers, outputs and limits; what fails is a failure, what is waived or follows is skipped, with the reason."""
    root = Xml.fromstring(junit(failed(tmp_path).result))
    cases = {case.get("name"): case for case in root.iter("testcase")}
    failure = cases["layer[conv1.0]"].find("failure")
    assert failure is not None
    assert "introduces" in (failure.get("message") or "")
    assert "cause: padding" in (failure.text or "")
    assert cases["layer[conv0.0]"].find("skipped") is not None
    assert cases["layer[predict_flow]"].find("skipped") is not None
    assert cases["limit[output.end_point_error.max]"].find("failure") is not None
    assert cases["layer[cat]"].find("failure") is None
    assert root.get("tests") == str(len(cases))
    assert root.get("failures") == str(len(list(root.iter("failure"))))
    assert root.get("skipped") == str(len(list(root.iter("skipped"))))


def test_junit_has_figures_as_properties(tmp_path: Path) -> None:
    """A layer's error in floors, and a limit's value and what is allowed."""
    root = Xml.fromstring(junit(failed(tmp_path).result))
    cases = {case.get("name"): case for case in root.iter("testcase")}

    def figures(name: str) -> dict[str | None, str | None]:
        return {each.get("name"): each.get("value") for each in cases[name].iter("property")}

    assert figures("layer[conv1.0]")["introduced_floors"] == "5000"
    assert figures("limit[output.end_point_error.max]") == {"value": "4e-05", "allowed": "1e-09"}


def test_what_was_not_verified_is_an_error() -> None:
    """As JUnit tells a test that could not be run from one that failed."""
    root = Xml.fromstring(junit(record(unfinished="ramp was not run").result))
    assert (root.get("errors"), root.get("failures")) == ("1", "0")


def test_junit_takes_any_text() -> None:
    """Characters that XML cannot have do not break it."""
    named = with_run(made(), 0, layers=(replace(layer("conv0.0"), layer="a\x00<&\x1b"),))
    (case,) = [
        c for c in Xml.fromstring(junit(record(named).result)).iter("testcase") if "layer[" in (c.get("name") or "")
    ]
    assert case.get("name") == "layer[a?<&?]"


def test_markdown_tells_the_verdict_first(tmp_path: Path) -> None:
    """Then a table of runs, what failed with its cause folded away, what was waived with its reason, the sums."""
    page = markdown(failed(tmp_path))
    assert page.startswith("## parity gate: FAIL: small, `net.pb`")
    assert "<summary><code>layer[conv1.0]</code>" in page
    assert "cause: padding" in page
    assert "| output.end\\_point\\_error.max | noise | pb | 4.0e-5 | 1.0e-9 | fail |" in page
    assert "ab" * 32 in page
    assert "a \\| b \\<c\\>" in page


def test_every_row_of_a_markdown_table_has_its_columns(tmp_path: Path) -> None:
    """A bar in a name or a reason does not make a column."""
    for table in markdown(failed(tmp_path)).split("\n\n"):
        rows = [line.replace("\\|", "") for line in table.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_a_page_of_many_failures_stays_short() -> None:
    """A job's page holds a megabyte; twenty of two hundred layers are shown, and the rest counted."""
    layers = tuple(replace(layer("conv0.0", introduced=9), layer=f"layer{n}") for n in range(200))
    page = markdown(record(with_run(made(), 0, layers=layers, verdict="diverged")))
    assert len(page) < 100_000
    assert "more, all of them in the record" in page


def test_a_terminal_of_80_columns_is_enough(tmp_path: Path) -> None:
    """No line is longer, but for commands and sums that are to be copied."""
    page = gate_page(failed(tmp_path), width=80)
    copied = ("next:", "policy")
    long = [line for line in page.splitlines() if len(line) > 80 and not line.lstrip().startswith(copied)]
    assert long == []
    assert page.splitlines()[-1].startswith("FAIL: net.pb may not go out; ")
    assert "layer[conv1.0] on noise (pb)" in page
    assert "a | b <c>" in page


def test_a_pass_says_how_much_was_looked_at() -> None:
    """And on what, with which versions."""
    page = gate_page(record(), width=80)
    assert page.splitlines()[-1] == "PASS: net.pb may go out; 10 of 10 checks pass"
    assert "noise 96x64" in page
    assert "policy    none given: the defaults, with no limit of the task" in page.replace("      ", "    ")


def test_json_has_the_exit_code_and_every_check(tmp_path: Path) -> None:
    """For programs; infinities are strings, since JSON has no number for them."""
    says = json.loads(as_json(failed(tmp_path).result))
    assert (says["schema"], says["verdict"], says["exit_code"]) == (1, "fail", 1)
    assert {"kind", "name", "verdict", "input", "mode", "says", "figures"} == set(says["checks"][0])


def test_what_a_file_computes_in_one_is_said() -> None:
    """A layer that was fused into another is compared with it, and not missing."""
    fused = made(coverage=replace(COVERAGE, fused={"predict_flow": "mul"}))
    assert "fused     predict_flow into mul: compared together" in gate_page(record(fused), width=80)
    assert "fused" not in gate_page(record(), width=80)


def test_on_github_each_failed_check_is_an_error_and_a_pass_a_notice(tmp_path: Path) -> None:
    """A check that fails is told once with what it says, the verdict last; each is one line."""
    lines = gate_annotations(failed(tmp_path).result)
    assert all(line.startswith("::error title=parity gate%3A ") and "\n" not in line for line in lines)
    assert 2 <= len(lines) <= 10
    assert "::FAIL: " in lines[-1]
    (notice,) = gate_annotations(record().result)
    assert notice.startswith("::notice title=parity gate%3A ")
    assert "::PASS: " in notice


def test_a_narrow_terminal_has_whole_words() -> None:
    """At 60 columns nothing in the table is cut but names; a column that has nothing to say is left out."""
    page = gate_page(record(with_run(made(), 0, deviations={})), width=60)
    assert "\u2026" not in page
    assert "end-point" not in page
    lines = [line for line in page.splitlines() if not line.lstrip().startswith("sha256")]
    assert max(map(len, lines)) <= 60
