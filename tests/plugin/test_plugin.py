"""`pytest --model`: what it collects, what fails with which words, and that pytest's own options work with it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from records import LAYERS

# Imported here for good: a run inside a test drops what it was the first to import, and NumPy cannot come twice.
import parity.plugin.session
from parity import models
from parity.report import Report

pytestmark = pytest.mark.usefixtures("small_importable")

LAYER_IDS = ["small::layer[conv0.0]", "small::layer[conv1.0]", "small::layer[predict_flow]"]
NETWORK_IDS = [
    f"small::network[{name}-96x64-{mode}]" for name in ("noise", "ramp") for mode in ("eager", "graph", "xla")
]
HEAVY = ("numpy", "torch", "tensorflow", "keras", "rich", "pydantic", "parity.report", "parity.plugin")

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def small_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small_model and records be imported, here and in workers."""
    here = Path(__file__).parent
    for folder in (here, here.parent):
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def run(pytester: pytest.Pytester, plugin_options: tuple[str, ...]) -> Run:
    """Run pytest --model small in an empty folder of its own; keywords are what the fake verification is told.

    Runs with workers have a process of their own: a worker's path is the one its controller's process began with.
    """

    def run(*options: str, **told: object) -> pytest.RunResult:
        Path("small.json").write_text(json.dumps(told))
        start = pytester.runpytest_subprocess if "-n" in options else pytester.runpytest_inprocess
        # Hypothesis's plugin would import Hypothesis anew at the end of each run: two seconds.
        usual = (*plugin_options, "-p", "no:hypothesispytest", "-p", "small_model", "--model", "small")
        return start(*usual, *options)

    return run


def calls() -> list[str]:
    """What was verified so far, one line each."""
    path = Path("calls.log")
    return path.read_text().splitlines() if path.exists() else []


def written() -> Report:
    """The report the run left."""
    return Report.load("reports/small/report.json")


def ids(result: pytest.RunResult) -> list[str]:
    """The ids that --collect-only -q printed."""
    return [line for line in result.outlines if line.startswith("small::")]


def test_what_workers_share_goes_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of all workers is removed when the run is over, also one that is stopped before its first test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    at_the_end: list[Callable[[], None]] = []
    config: Any = SimpleNamespace(add_cleanup=at_the_end.append)
    nothing: Any = None
    session = parity.plugin.session.ModelSession(config=config, settings=nothing, asked=nothing, is_worker=False)
    nodes = [SimpleNamespace(workerinput={"testrunuid": "7"}) for _ in range(2)]
    for node in nodes:
        session.pytest_configure_node(node)
    assert [str(path) for path in tmp_path.iterdir()] == [nodes[0].workerinput[parity.plugin.session.SHARED]]
    assert nodes[0].workerinput == nodes[1].workerinput
    for clean in at_the_end:
        clean()
    assert list(tmp_path.iterdir()) == []


# --- without --model -------------------------------------------------------------------------------------------------


def loaded_by_pytest(folder: Path, options: tuple[str, ...], extra: str) -> list[str]:
    """Which heavy modules a whole pytest process has imported when it ends."""
    (folder / "test_plain.py").write_text(f"{extra}\ndef test_plain(): pass\n")
    end = f"print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    code = f"import sys, pytest; assert pytest.main({[*options, '-q', 'test_plain.py']!r}) == 0; {end}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("LOADED")).split()[1:]


def test_without_a_model_nothing_heavy_is_imported(tmp_path: Path, plugin_options: tuple[str, ...]) -> None:
    """Pytest without --model imports no framework, no NumPy, and nothing of parity beyond the options."""
    assert loaded_by_pytest(tmp_path, plugin_options, "") == []


def test_the_import_check_can_fail(tmp_path: Path, plugin_options: tuple[str, ...]) -> None:
    """A plugin that did import NumPy would be noticed by the test above."""
    assert "numpy" in loaded_by_pytest(tmp_path, plugin_options, "import numpy")


def test_without_a_model_pytest_collects_as_ever(pytester: pytest.Pytester, plugin_options: tuple[str, ...]) -> None:
    """Installed but not asked for, the plugin leaves tests, header and end of a run alone, and warns of nothing."""
    pytester.makepyfile("def test_plain(): pass")
    result = pytester.runpytest_inprocess(*plugin_options, "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1, warnings=0)
    assert "parity" not in result.stdout.str().replace("parity-", "").split("plugins:")[0]
    assert not Path("reports").exists()


def test_options_without_a_model_are_refused(pytester: pytest.Pytester, plugin_options: tuple[str, ...]) -> None:
    """An option that would have no effect is wrong use, and the sentence says what is missing."""
    result = pytester.runpytest_inprocess(*plugin_options, "--parity-size", "64x64")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --parity-size given without --model; say which pair with --model NAME"])


# --- collection ------------------------------------------------------------------------------------------------------


def test_one_test_per_weighted_layer_and_per_input_and_mode(run: Run) -> None:
    """Layers come in order of registration, then the network's inputs and modes; nothing is verified for it."""
    result = run("--collect-only", "-q")
    assert ids(result) == LAYER_IDS + NETWORK_IDS
    assert calls() == []
    assert not Path("reports").exists()


def test_test_files_are_not_collected(run: Run, pytester: pytest.Pytester) -> None:
    """In a project with tests and a conftest of its own, --model runs the model's tests only."""
    pytester.makeini("[pytest]\ntestpaths = tests\nfilterwarnings = error\n")
    tests = pytester.mkdir("tests")
    tests.joinpath("test_own.py").write_text("def test_own(): assert False")
    tests.joinpath("conftest.py").write_text("def pytest_collection_modifyitems(items): pass")
    result = run()
    result.assert_outcomes(passed=9)
    assert "testpaths" not in result.stdout.str()


def test_inputs_and_modes_can_be_chosen(run: Run) -> None:
    """The ids follow the inputs, the size and the modes that were asked for, these in one order."""
    result = run("--co", "-q", "--parity-input", "ramp", "--parity-mode", "xla,eager", "--parity-size", "128x64")
    assert ids(result)[3:] == ["small::network[ramp-128x64-eager]", "small::network[ramp-128x64-xla]"]


def test_an_id_can_be_run_alone(run: Run) -> None:
    """An id as pytest prints it runs that test, and verifies no more than it needs."""
    run("small::network[ramp-96x64-graph]").assert_outcomes(passed=1)
    assert calls() == ["ramp graph"]


def test_an_id_that_does_not_exist_is_refused(run: Run) -> None:
    """A misspelt id is wrong use, not an empty success."""
    result = run("small::layer[conv9.0]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: not found: small::layer[[]conv9.0[]]*"])


def test_a_test_file_as_argument_is_refused(run: Run, pytester: pytest.Pytester) -> None:
    """A file that --model would silently leave out is refused by name."""
    pytester.makepyfile(test_own="def test_own(): pass")
    result = run("test_own.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_own.py cannot be run with --model small*"])


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_faithful_port_passes(run: Run) -> None:
    """All tests pass, each input is verified once for all modes, the report is written and its summary printed."""
    result = run()
    result.assert_outcomes(passed=9)
    assert calls() == ["noise eager,graph,xla", "ramp eager,graph,xla"]
    assert written().passed
    result.stdout.fnmatch_lines(["PASS: the port of small*in 6 of 6 runs", "report: reports/small/report.html"])


def test_a_faulty_layer_fails_its_test_and_the_networks(run: Run) -> None:
    """Only the layer that introduces error fails, with what, where, how far, why and what next; and the outputs."""
    result = run("-v", faulty=["conv1.0"])
    result.assert_outcomes(passed=2, failed=7)
    result.stdout.fnmatch_lines(
        [
            "small::layer[[]conv0.0[]] PASSED*",
            "small::layer[[]conv1.0[]] FAILED*",
            "small::layer[[]predict_flow[]] PASSED*",
            "*_ layer[[]conv1.0[]] _*",
            "small / conv1.0  introduces 2.0e-3 (floor 4.0e-7, 5 000x)",
            "  cause: padding (same pads 0,1; reference pads 1,1)",
            "  with that undone: 3.9e-7",
            "  input noise, mode eager, port layer conv1, also in *",
            "  next: parity explain small conv1.0 --input noise --mode eager",
        ]
    )


def test_a_failure_has_no_traceback(run: Run) -> None:
    """A failing test prints the message form and nothing of parity's own code."""
    text = run("small::layer", faulty=["conv1.0"]).stdout.str()
    assert "Traceback" not in text
    assert ".py" not in text.split("FAILURES")[1]


def test_an_activation_belongs_to_the_layer_before_it(run: Run) -> None:
    """A fault in an operation without weights fails the weighted layer of the same module."""
    run("small::layer", faulty=["conv0.1"]).assert_outcomes(passed=2, failed=1)


def test_an_operation_outside_of_every_layer_fails_the_network(run: Run) -> None:
    """A fault in an operation that no layer answers for is told by the network's tests."""
    result = run("--parity-input", "noise", "--parity-mode", "eager", faulty=["mul"])
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["small / mul  introduces*", "small / output  differs by*"])


def test_what_could_not_be_verified_fails_with_its_sentence(run: Run) -> None:
    """An input that cannot be verified fails all tests that need it, in one sentence, and is tried only once."""
    result = run(raises={"ramp": "the port cannot be run as XLA"})
    result.assert_outcomes(passed=3, failed=6)
    assert [line for line in calls() if line.startswith("ramp")] == ["ramp eager,graph,xla"]
    result.stdout.fnmatch_lines(["the port cannot be run as XLA", "*UNFINISHED: ramp could not be verified*"])
    assert {each.input for each in written().runs} == {"noise"}


def test_a_mistake_in_parity_shows_its_traceback_once(run: Run) -> None:
    """An exception nobody foresaw is shown in full by the first test, and named by the others."""
    result = run("--parity-input", "noise", crashes=["noise"])
    result.assert_outcomes(errors=1, failed=5)
    assert calls() == ["noise eager,graph,xla"]
    assert result.stdout.str().count("ZeroDivisionError: a mistake in parity\n") >= 1
    result.stdout.fnmatch_lines(["verifying input noise failed with ZeroDivisionError: a mistake in parity"])


def test_a_pair_that_ends_the_program_fails_every_test_once(run: Run) -> None:
    """What the pair's code ends the program with is no pass, and no test runs it again."""
    run("--parity-input", "noise", exits=["noise"]).assert_outcomes(errors=1, failed=5)
    assert calls() == ["noise eager,graph,xla"]


# --- pytest's own options --------------------------------------------------------------------------------------------


def test_k_chooses_and_only_the_chosen_is_verified(run: Run) -> None:
    """-k chooses by name; inputs and modes that no chosen test looks at are not verified."""
    run("-k", "network and noise and not graph").assert_outcomes(passed=2, deselected=7)
    assert calls() == ["noise eager,xla"]
    assert [(each.input, each.mode) for each in written().runs] == [("noise", "eager"), ("noise", "xla")]


def test_x_stops_at_the_first_failure_and_keeps_the_report(run: Run) -> None:
    """-x ends the run at the first failing layer; what was verified is written."""
    run("-x", faulty=["conv0.0"]).assert_outcomes(failed=1)
    assert not written().passed


def test_lf_runs_failures_again_and_nothing_else(run: Run) -> None:
    """--lf runs exactly what failed before; --ff runs it first."""
    run(faulty=["conv1.0"])
    result = run("--lf", "--co", "-q")
    assert ids(result) == [LAYER_IDS[1], *NETWORK_IDS]
    result = run("--ff", "--co", "-q")
    assert ids(result) == [LAYER_IDS[1], *NETWORK_IDS, LAYER_IDS[0], LAYER_IDS[2]]


def test_junitxml_names_every_test(run: Run) -> None:
    """The JUnit file is well-formed, has every id, and the failure's words."""
    run("--junitxml", "junit.xml", faulty=["predict_flow"])
    cases = list(ElementTree.parse("junit.xml").iter("testcase"))
    assert [f"{case.get('classname')}::{case.get('name')}" for case in cases] == LAYER_IDS + NETWORK_IDS
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed[0] == "layer[predict_flow]"
    assert "small / predict_flow  introduces" in cases[2].find("failure").text


def test_durations_count_the_verification(run: Run) -> None:
    """--durations shows the verification in the setup of the test that came first."""
    result = run("--durations", "1", "-vv", seconds=0.5)
    result.stdout.fnmatch_lines(["*s setup *small::layer[[]conv0.0[]]"])


def test_the_header_prints_the_settings_in_force(run: Run) -> None:
    """The header has the model, inputs, size, modes, format, weights, policy and the engines' versions."""
    chosen = ("--parity-size", "128x64", "--parity-mode", "xla", "--parity-seed", "7")
    text = run("--co", *chosen, "--parity-rtol", "1e-4", "--parity-atol", "1e-5").stdout.str()
    for words in ("model small", "size 128x64", "modes xla", "channels_last", "seed 7", "rtol=0.0001, atol=1e-05"):
        assert words in text
    assert "torch 2" in text
    assert "tensorflow 2" in text


# --- pytest-xdist ----------------------------------------------------------------------------------------------------


def test_two_workers_run_the_same_tests_and_verify_each_input_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With -n 2 the same ids run, no input is verified twice, one report has all runs, and nothing else is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    result = run("-n", "2", "-v", faulty=["conv1.0"])
    result.assert_outcomes(passed=2, failed=7)
    done = sorted(line.split()[-1] for line in result.outlines if line.startswith("[gw") and "%]" in line)
    assert done == sorted(LAYER_IDS + NETWORK_IDS)
    assert sorted(calls()) == ["noise eager,graph,xla", "ramp eager,graph,xla"]
    assert [each.input for each in written().runs] == ["noise"] * 3 + ["ramp"] * 3
    assert "small / conv1.0  introduces 2.0e-3 (floor 4.0e-7, 5 000x)" in result.stdout.str()
    assert not list(tmp_path.glob("parity-*"))


def test_an_error_while_loading_reads_the_same_with_workers(run: Run) -> None:
    """What stops collection in a worker ends the run like in a single process: one sentence, wrong use."""
    for options in ((), ("-n", "2")):
        result = run(*options, load="weights.pt misses 2 keys")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: weights.pt misses 2 keys"])
        assert "weights.pt" not in result.stdout.str()
        assert not Path("reports").exists()


def test_a_sentence_is_shared_by_workers(run: Run) -> None:
    """An input that one worker could not verify is not tried again by the other."""
    run("-n", "2", raises={"noise": "no"}).assert_outcomes(passed=3, failed=6)
    assert sorted(calls()) == ["noise eager,graph,xla", "ramp eager,graph,xla"]


# --- stopping and wrong use ------------------------------------------------------------------------------------------


def test_what_was_finished_is_kept_where_the_user_stops(
    pytester: pytest.Pytester, plugin_options: tuple[str, ...]
) -> None:
    """An interruption while the second input is verified leaves a report of the first, which says it is not all."""
    Path("small.json").write_text(json.dumps({"interrupts": ["ramp"]}))
    options = (*plugin_options, "-p", "no:hypothesispytest", "-p", "small_model", "--model", "small")
    result = pytester.runpytest_inprocess(*options, no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert {each.input for each in written().runs} == {"noise"}
    assert written().settings["unfinished"] == "ramp was not reached"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--parity-size", "512"], "size '512' is not WIDTHxHEIGHT in pixels, such as 704x448"),
        (["--parity-size", "0x64"], "size '0x64': width and height must be at least 1"),
        (["--parity-mode", "fast"], "unknown mode 'fast'; the known ones are eager, graph, xla"),
        (["--parity-rtol", "0.001"], "rtol given without atol (rtol=0.001); give both or neither"),
        (["--parity-seed", "-1"], "seed=-1: a seed must be 0 or more*"),
        (["--model", "flownet3"], "no model is called 'flownet3'; *known models: {known}"),
        (["--parity-report-dir", "small.json"], "cannot write reports to small.json/small: Not a directory"),
    ],
)
def test_wrong_use_is_one_sentence_and_writes_nothing(run: Run, options: list[str], sentence: str) -> None:
    """What is wrong with the options is said with its value, before anything is verified or written."""
    result = run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    known = [*(name for name in models.names() if name != "small"), "small"]
    result.stderr.fnmatch_lines([f"ERROR: {sentence.format(known=', '.join(known))}"])
    assert calls() == []
    assert not Path("reports").exists()


# --- the real model --------------------------------------------------------------------------------------------------


def test_flownet_is_verified_in_a_process_of_its_own(
    pytester: pytest.Pytester, plugin_options: tuple[str, ...]
) -> None:
    """pytest --model flownet passes on noise in a folder that holds nothing, with 30 layers and one network test."""
    options = ("--model", "flownet", "--parity-size", "64x64", "--parity-input", "noise", "--parity-mode", "eager")
    result = pytester.runpytest_subprocess(*plugin_options, *options)
    result.assert_outcomes(passed=31)
    report = Report.load("reports/flownet/report.json")
    assert report.passed
    assert report.coverage.weighted == 30
    assert not set(LAYERS.values()) & set(report.coverage.unmatched_port)


def test_result_files_have_the_figures(run: Run) -> None:
    """`--junitxml` has at each test what its layer or output is off by, and what is allowed."""
    run("--junitxml", "out.xml", "--parity-input", "noise", "--parity-mode", "eager", faulty=["conv1.0"])
    cases = {case.get("name"): case for case in ElementTree.parse("out.xml").getroot().iter("testcase")}
    found = {each.get("name"): each.get("value") for each in cases["layer[conv1.0]"].iter("property")}
    assert found["parity.introduced.floors"] == "5000"
    assert found["parity.cause"] == "padding"
    assert {"parity.introduced.allowed", "parity.propagated.floors", "parity.floor"} <= set(found)
    network = {each.get("name") for each in cases["network[noise-96x64-eager]"].iter("property")}
    assert {"parity.output.relative", "parity.output.floors"} <= network


def test_github_is_told_what_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On GitHub each finding is an error beside the change; elsewhere no such line is printed."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = run(faulty=["conv1.0"])
    result.stdout.fnmatch_lines(["::error title=parity%3A small / conv1.0 -> conv1::*"])
    monkeypatch.delenv("GITHUB_ACTIONS")
    run(faulty=["conv1.0"]).stdout.no_fnmatch_line("::*")


def test_a_page_and_other_forms_are_written_beside_the_report(run: Run) -> None:
    """The page is there after every run, and what --parity-export names; an unknown form is refused before any run."""
    run("--parity-export", "model-explorer")
    assert "<!doctype html>" in Path("reports/small/report.html").read_text()
    assert Path("reports/small/model-explorer/graph.json").exists()
    result = run("--parity-export", "netron")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*cannot be exported as 'netron'*"])
