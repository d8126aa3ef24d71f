"""`pytest --model layers`: what it collects and tries, how a failure reads, and that Hypothesis's options work."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

# Imported here for good: a run inside a test drops what it was the first to import.
import hypothesis.core
import hypothesis.extra.pytestplugin
import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase
from kinds_of_tests import MADE_BUILDERS, MADE_CASES

import parity.layers
import parity.plugin.layers
from parity.building.registry import _BUILDERS
from parity.inputs.strategies.cases import _CASES
from parity.layers.fire import AT_ONCE

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def own_database(pytester: pytest.Pytester) -> Iterator[None]:
    """Have Hypothesis keep what fails in the test's own folder, as in a process that was started there."""
    before = settings.get_current_profile_name()
    database = DirectoryBasedExampleDatabase(pytester.path / ".hypothesis" / "examples")
    settings.register_profile("of a test", database=database, derandomize=False)
    settings.load_profile("of a test")
    yield
    settings.load_profile(before)


@pytest.fixture
def run(
    pytester: pytest.Pytester, plugin_options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, own_database: None
) -> Run:
    """Run pytest --model layers in an empty folder of its own, with the kinds made for tests.

    Runs with workers have a process of their own, where Hypothesis would choose its profile by what the environment
    says of CI.
    """
    for kind, builder in MADE_BUILDERS.items():
        monkeypatch.setitem(_BUILDERS, kind, builder)
    for name, cases in MADE_CASES.items():
        monkeypatch.setitem(_CASES, name, cases)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("DRAWN", str(pytester.path / "drawn.log"))
    # What --hypothesis-seed sets stays in the process.
    monkeypatch.setattr(hypothesis.core, "global_force_seed", None)

    def run(*options: str) -> pytest.RunResult:
        usual = (*plugin_options, "--model", "layers")
        if "-n" not in options:
            return pytester.runpytest_inprocess(*usual, *options)
        monkeypatch.setenv("MAKE_KINDS", "yes")
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        usual += ("-p", "kinds_of_tests", "--hypothesis-profile", "default")
        return pytester.runpytest_subprocess(*usual, *options)

    return run


def drawn(kind: str) -> list[str]:
    """The cases of a kind drawn since this was last asked, one line each."""
    path = Path("drawn.log")
    lines = path.read_text().splitlines()
    path.unlink()
    return [line for line in lines if line.startswith(f"{kind} ")]


def test_one_test_for_each_kind_and_data_format(run: Run) -> None:
    """Every kind is collected in both data formats, one without channels once; each is one that is registered."""
    result = run("--collect-only", "-q")
    ids = [line.removeprefix("layers::") for line in result.outlines if line.startswith("layers::")]
    assert {name.partition("[")[0] for name in ids} == {kind.name for kind in parity.layers.every_kind()}
    assert {"conv2d[channels_last]", "conv2d[channels_first]", "lstm"} <= set(ids)


def test_what_is_faithful_passes_in_every_mode(run: Run) -> None:
    """The run says how much was tried, and each mode was run several times."""
    result = run("-k", "made_fine", "--junitxml", "junit.xml", "--hypothesis-show-statistics")
    result.assert_outcomes(passed=2, deselected=_deselected(result))
    result.stdout.fnmatch_lines(
        [
            "parity *: layers, cases of each kind: 25 in eager, 5 in graph, 5 in xla; seed *",
            "1 kind in 2 tests",
            "compared: 50 in eager, 10 in graph, 10 in xla; refused: nothing; seed *",
        ]
    )
    drawn = [int(each) for each in re.findall(r"(\d+) passing, 0 failing", result.stdout.str())]
    assert max(drawn) <= AT_ONCE  # of more in one run, most are made out of those before
    assert sum(drawn) == 50 + 10 + 10
    properties = ElementTree.parse("junit.xml").findall(".//testcase/properties/property")
    assert {"parity.layers.compared.xla"} <= {each.attrib["name"] for each in properties}


def _deselected(result: pytest.RunResult) -> int:
    return int(result.parseoutcomes()["deselected"])


def test_a_failure_is_the_smallest_case_with_its_cause(run: Run) -> None:
    """What, where, how far, how far allowed, why, the case, and how to have it again; no traceback."""
    result = run("-k", "made_wrong and channels_last", "--hypothesis-seed", "3")
    text = result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "layers / made_wrong[[]channels_last[]]  output differs by 1.0e-4 (allowed *",
            "  cause: scale *",
            "  smallest case: made_wrong(3.0)",
            "  input float32 (1, 1, 3) NCL (noise, seed 0): [[]* *, *[]]",
            "  greatest difference * at (0, 0, *) (up to * allowed)",
            "  mode eager  judged by a float64 run of torch",
            "  next: pytest --model layers -k 'made_wrong and channels_last' --hypothesis-seed 3",
        ]
    )
    assert "Traceback" not in text
    assert "git apply" not in text


def test_the_command_of_a_failure_fails_the_same_way(run: Run) -> None:
    """The seed that a run without one prints draws the same cases again."""
    first = run("-k", "made_fine and channels_last", "--parity-mode", "eager")
    seed = re.search(r"; seed (\d+)", first.stdout.str())
    assert seed
    cases = drawn("made_fine")
    run("-k", "made_fine and channels_last", "--parity-mode", "eager", "--hypothesis-seed", seed[1])
    assert drawn("made_fine") == cases
    run("-k", "made_fine and channels_last", "--parity-mode", "eager", "--hypothesis-seed", str(int(seed[1]) + 1))
    assert drawn("made_fine") != cases


def test_a_failing_case_is_tried_first_the_next_time(run: Run) -> None:
    """Hypothesis keeps what failed in its database, apart for each kind, data format and mode."""
    result = run("-k", "made_wrong and channels_last")
    result.assert_outcomes(failed=1, deselected=_deselected(result))
    *_, smallest = drawn("made_wrong")
    run("-k", "made_wrong and channels_last")
    assert drawn("made_wrong")[0] == smallest
    run("-k", "made_wrong and channels_first")
    assert drawn("made_wrong")[0] != smallest


def test_a_seed_leaves_the_database_alone(run: Run) -> None:
    """With Hypothesis's seed option its database is neither read nor written, as for any test of it."""
    run("-k", "made_wrong and channels_last", "--hypothesis-seed", "1")
    assert not Path(".hypothesis/examples").exists()
    first = drawn("made_wrong")
    run("-k", "made_wrong and channels_last", "--hypothesis-seed", "1")
    assert drawn("made_wrong") == first


def test_a_mode_of_its_own_is_seen(run: Run) -> None:
    """A port that is right in eager only fails in graph mode, and says so; asked for eager alone, it passes."""
    result = run("-k", "made_in_graph and channels_last")
    result.assert_outcomes(failed=1, deselected=_deselected(result))
    result.stdout.fnmatch_lines(["  mode graph  judged by *"])
    result = run("-k", "made_in_graph and channels_last", "--parity-mode", "eager")
    result.stdout.fnmatch_lines(["compared: 25 in eager; refused: nothing; *"])


def test_what_the_port_raises_is_a_failure(run: Run) -> None:
    """A mistake in a converter is told with the smallest case, in one line."""
    result = run("-k", "made_crash and channels_last", "--hypothesis-seed", "1")
    result.stdout.fnmatch_lines(
        [
            "layers / made_crash[[]channels_last[]]  raises BuilderError: its builder failed:",
            "    AttributeError: *",
            "  smallest case: made_crash(3.0)",
            "  input float32 (1, 1, 1) NCL (noise, seed 0): [[]*[]]",
        ]
    )


def test_nothing_compared_is_a_failure(run: Run) -> None:
    """A kind whose every case is refused has not been tried, whatever the reason."""
    result = run("-k", "made_refused and channels_last")
    result.assert_outcomes(failed=1, deselected=_deselected(result))
    result.stdout.fnmatch_lines(
        ["layers / made_refused[[]channels_last[]]  nothing was compared: a factor of three has no counterpart (*x)"]
    )
    result.stdout.fnmatch_lines(["compared: nothing; refused: made_refused *; *"])


def test_what_is_refused_often_is_a_failure(run: Run) -> None:
    """A kind of which more than a fifth of the draws are refused is named with the reason."""
    result = run("-k", "made_often_refused and channels_last", "--parity-mode", "eager")
    result.assert_outcomes(failed=1, deselected=_deselected(result))
    result.stdout.fnmatch_lines(
        ["layers / made_often_refused[[]channels_last[]]  * of * cases were refused, which is*"]
    )


def test_pytest_s_own_options_work(run: Run) -> None:
    """-x stops at the first failure, --lf runs what failed, an id runs that test alone."""
    result = run("-k", "made_wrong or made_fine", "-x", "--parity-examples", "10")
    assert result.parseoutcomes()["failed"] == 1
    result = run("--lf", "--parity-examples", "10")
    assert result.parseoutcomes() == {"failed": 1, "deselected": result.parseoutcomes()["deselected"]}
    result = run("layers::made_fine[channels_first]", "--parity-examples", "3", "--parity-mode", "eager")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["compared: 3 in eager; refused: nothing; *"])


def test_a_data_format_can_be_asked_for(run: Run) -> None:
    """With --parity-data-format there is one test of each kind."""
    result = run("--co", "-q", "-k", "made_fine", "--parity-data-format", "channels_first")
    assert [line for line in result.outlines if line.startswith("layers::")] == ["layers::made_fine[channels_first]"]


def test_workers_share_the_seed_and_the_summary_is_of_all(run: Run) -> None:
    """With -n 2 the numbers are those of both workers."""
    result = run("-n", "2", "-k", "made_fine or made_wrong", "--parity-examples", "5", "--parity-mode", "eager")
    assert {key: result.parseoutcomes()[key] for key in ("passed", "failed")} == {"passed": 2, "failed": 2}
    seed = re.search(r"; seed (\d+)", result.stdout.str())
    assert seed
    result.stdout.fnmatch_lines(["2 kinds in 4 tests", "compared: * in eager; refused: nothing; seed *"])
    assert set(re.findall(r"seed[ =](\d{3,})", result.stdout.str())) == {seed[1]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--parity-size", "64x64"], "--parity-size has no meaning with --model layers, whose cases are drawn"),
        (["--parity-seed", "1"], "--parity-seed has no meaning with *; give --hypothesis-seed"),
        (["--parity-rtol", "1"], "--parity-rtol has no meaning with --model layers, *"),
        (["--parity-examples", "0"], "examples=0: at least one case of each kind is needed"),
        (["--parity-mode", "lazy"], "unknown mode 'lazy'; the known ones are eager, graph, xla"),
        (["--parity-data-format", "NHWC"], "unknown data format 'NHWC'; the known ones are channels_last, *"),
        (["layers::conv9d"], "not found: layers::conv9d; pytest --model layers --co -q lists what there is"),
        (["tests/test_a.py"], "tests/test_a.py cannot be run with --model layers; *"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, options: list[str], sentence: str) -> None:
    """One sentence, and nothing is run."""
    result = run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


def test_examples_are_for_layers_alone(pytester: pytest.Pytester, plugin_options: tuple[str, ...]) -> None:
    """Another model has no cases to be drawn."""
    result = pytester.runpytest_inprocess(*plugin_options, "--model", "flownet", "--parity-examples", "3")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --parity-examples has no meaning with --model flownet; *"])


def test_a_profile_says_how_many(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile of Hypothesis that is asked for is followed: its number of examples, and that it derandomizes."""
    settings.register_profile("seven", max_examples=7, derandomize=True)
    before = settings.get_current_profile_name()
    try:
        result = run("-k", "made_fine and channels_last", "--hypothesis-profile", "seven", "--parity-mode", "eager")
    finally:
        settings.load_profile(before)
    result.stdout.fnmatch_lines(["compared: 7 in eager; refused: nothing; no seed: the profile derandomizes"])


def test_every_kind_is_exact_on_a_few_cases(run: Run) -> None:
    """What can be converted is tried here in every data format and mode; `make layers` tries more."""
    result = run("-k", "not made_", "--parity-examples", "5", "-q")
    assert result.parseoutcomes().keys() <= {"passed", "deselected", "warnings"}, result.stdout.str()
