"""`pytest --model` with a pair of one's own: ids by the pair's name, which can be run again as they are."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import own_net
import pytest

import parity.frameworks
import parity.plugin.session
import parity.verification
from parity import models
from parity.report import Report

importlib.import_module("torch._dynamo")  # as port.py does; torch cannot be imported in part, dropped, and again

Run = Callable[..., pytest.RunResult]
IDS = ["mine::layer[conv1]", "mine::layer[conv2]", "mine::network[noise-96x64-eager]"]


@pytest.fixture
def run(pytester: pytest.Pytester, plugin_options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run pytest --model MODEL in a folder with net.py, port.py and pairs.py, in eager mode."""
    monkeypatch.setattr(models, "_MODELS", dict(models._MODELS))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "80")
    own_net.write(pytester.path)
    usual = (*plugin_options, "-p", "no:hypothesispytest", "--parity-mode", "eager")
    before = set(sys.modules)
    yield lambda model, *options: pytester.runpytest_inprocess(*usual, "--model", model, *options)
    for name in set(sys.modules) - before:
        if str(pytester.path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def ids(result: pytest.RunResult) -> list[str]:
    """The ids that --collect-only -q printed."""
    return [line for line in result.outlines if line.startswith("mine::")]


def test_a_pair_of_a_file_is_verified_and_its_ids_run_again(run: Run) -> None:
    """The header says what was asked for, the ids have the pair's name, and each of them runs alone."""
    result = run("pairs.py:mine")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["parity *: model pairs.py:mine, *", "PASS: the port of mine *"])
    assert Report.load("reports/mine/report.json").passed
    assert ids(run("pairs.py:mine", "--co", "-q")) == IDS
    run("pairs.py:mine", IDS[1]).assert_outcomes(passed=1)
    run("pairs.py:mine", "-k", "network").assert_outcomes(passed=1, deselected=2)


def test_a_fault_fails_its_layer_and_lf_finds_it(run: Run) -> None:
    """--lf runs what failed, by the same ids; the next command names the pair as it was named."""
    own_net.write(Path(), port="wrong")
    result = run("pairs.py:mine")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*next: parity explain pairs.py:mine conv2 *"])
    assert ids(run("pairs.py:mine", "--lf", "--co", "-q")) == IDS[1:]


def test_a_name_of_a_conftest_is_a_model(run: Run, pytester: pytest.Pytester) -> None:
    """@parity.pair in the conftest.py that pytest reads; the options of the plugin are those of the command."""
    pytester.makeconftest("import parity\nfrom pairs import mine\n\n@parity.pair('hers')\ndef hers(): return mine\n")
    result = run("hers", "--co", "-q", "--parity-shape", "1,3,5,7", "--parity-range=0,255", "--parity-input", "ramp")
    assert ids(result) == [*IDS[:2], "mine::network[ramp-7x5-eager]"]


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("pairs.py:other", (), "pairs.py has no 'other'"),
        (
            "pairs.py:mine",
            ("--parity-shape", "3,x"),
            "shape '3,x' is not a list of sizes, such as 1,3,64,96 or mask=1,7",
        ),
        ("pairs.py:mine", ("other::layer",), "other::layer cannot be run with --model pairs.py:mine; *"),
        ("pairs.py:mine", ("mine::layer[no]",), "not found: mine::layer[[]no]; pytest --model pairs.py:mine --co -q *"),
    ],
)
def test_wrong_use_is_one_sentence(run: Run, model: str, options: tuple[str, ...], sentence: str) -> None:
    """As with parity's own models."""
    result = run(model, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


def test_an_id_begins_with_a_name_that_pytest_can_take() -> None:
    """No slash, colon or space of a pair's name gets into the ids."""
    assert parity.plugin.items.nodeid_of("team/net::v2 b") == "team_net_v2_b"
