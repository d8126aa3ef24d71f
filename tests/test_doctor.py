"""`parity doctor`: each hazard both ways, processes that die or hang, and what is printed."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

import parity.doctor
from parity.cli import app
from parity.doctor import Checkup, Facts, checkup
from parity.doctor import facts as fact_finding
from parity.doctor.facts import Outcome, started
from parity.doctor.hazards import HAZARDS, OK, PROBLEM, WARN
from parity.render.checkup import checkup_page

GIB, MIB = 1 << 30, 1 << 20


def keras_with(**changes: str) -> dict[str, Any]:
    """Measures in which Keras is set up otherwise."""
    return {"keras_settings": {**KERAS, **changes}}


KERAS = {"backend": "tensorflow", "floatx": "float32", "policy": "float32", "tf_keras": "3.15.1"}
MEASURES: dict[str, Any] = {
    "engines": {"torch": "2.13.0", "tensorflow": "2.21.0", "keras": "3.15.1"},
    "keras_settings": KERAS,
    "capability": "AVX2",
    "tf32": {"gpu": False, "torch": False, "tensorflow": True},
    "arrays": True,
    "denormals": {"torch": True, "tensorflow": True},
    "repeatable": True,
    "channels_first": "",
    "bias_axis": [],
}
"""What a healthy environment without a GPU measures."""


def facts(*, measures: dict[str, Any] | None = None, **changes: Any) -> Facts:
    """A healthy environment, but for the changes."""
    usual: dict[str, Any] = {
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        "cpu": "a CPU",
        "features": ("AVX2",),
        "cores": 5,
        "threads": 5,
        "memory": 7 * GIB,
        "shared": 3 * GIB,
        "imports": {"torch": "", "tensorflow": "", "keras": ""},
    }
    return Facts(**{**usual, "measures": {**MEASURES, **(measures or {})}, **changes})


def seen(name: str, found: Facts) -> tuple[str, str, str]:
    """The status of a hazard, what is said, and what is to be done."""
    (hazard,) = (each for each in checkup(found).hazards if each.name == name)
    return hazard.status, hazard.what, hazard.todo


def test_a_healthy_environment_has_nothing_to_mind() -> None:
    """Where nothing is wrong every hazard is ok, with nothing to do."""
    found = checkup(facts())
    assert found.able
    assert {hazard.name: hazard.status for hazard in found.hazards} == dict.fromkeys(HAZARDS, OK)
    assert not any(hazard.todo for hazard in found.hazards)


FLUSHED = {"torch": True, "tensorflow": False}
GPU = {"gpu": True, "torch": True, "tensorflow": False}
BAD = [
    ("engines", facts(imports={"torch": "No module named 'torch'"}), PROBLEM, "torch: No module", "pip install torch"),
    ("engines", facts(broken="killed by SIGABRT: LLVM ERROR"), PROBLEM, "together they fail: killed by", "environment"),
    ("two LLVMs", facts(after_tensorflow="killed by SIGABRT"), WARN, "ends the process (killed", "before tensorflow"),
    ("bias axis", facts(measures={"bias_axis": ["eager", "xla"]}), WARN, "width (eager, xla)", "use channels_last"),
    ("oneDNN", facts(measures={"channels_first": "NHWC only"}), WARN, "oneDNN is off", "TF_ENABLE_ONEDNN_OPTS=1"),
    ("TF32", facts(measures={"tf32": GPU}), WARN, "torch may round to TF32", "NVIDIA_TF32_OVERRIDE=0"),
    ("Keras backend", facts(measures=keras_with(backend="jax")), PROBLEM, "on jax", "unset KERAS"),
    ("Keras backend", facts(keras_file={"backend": "torch"}), WARN, "keras.json says torch", "tensorflow"),
    ("precision", facts(measures=keras_with(floatx="float16")), WARN, "floatx float16", "float32"),
    ("precision", facts(measures=keras_with(policy="mixed_bfloat16")), WARN, "policy mixed_bfloat16", "dtype_policy"),
    ("legacy Keras", facts(measures=keras_with(tf_keras="2.21.0")), WARN, "2.21.0", "TF_USE_LEGACY"),
    ("threads", facts(quota=2.5), WARN, "5 threads for each engine, but the container grants 2.5", "PARITY_THREADS=2"),
    ("denormals", facts(measures={"denormals": FLUSHED}), WARN, "tensorflow makes", "scale"),
    ("repeatable", facts(measures={"repeatable": False}), WARN, "not give the same bits", "TF_DETERMINISTIC_OPS=1"),
    ("NumPy ABI", facts(measures={"arrays": False}), PROBLEM, "arrays of NumPy 2.4.6", "pip install"),
    ("memory", facts(memory=3 * GIB), WARN, "3.0 GiB of memory", "smaller --size"),
    ("shared memory", facts(shared=64 * MIB), WARN, "64 MiB left", "--shm-size"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found", "status", "what", "todo"), BAD, ids=[f"{i}-{bad[0]}" for i, bad in enumerate(BAD)]
)
def test_each_hazard_is_seen(name: str, found: Facts, status: str, what: str, todo: str) -> None:
    """Where a hazard is there it is told what is so and what to do."""
    state, words, remedy = seen(name, found)
    assert state == status
    assert what in words
    assert todo in remedy


def test_every_hazard_is_shown_both_ways() -> None:
    """The table above has at least one case for each of the known hazards."""
    assert {name for name, *_ in BAD} == set(HAZARDS)


@pytest.mark.parametrize(
    ("name", "found", "what"),
    [
        ("two LLVMs", facts(after_tensorflow=""), "triton can be imported after tensorflow"),
        ("TF32", facts(measures={"tf32": {**GPU, "torch": False}}), "neither engine rounds"),
        ("threads", facts(quota=5.0), "5 threads for each engine, on 5 cores"),
        ("memory", facts(memory=None), "unknown"),
        ("shared memory", facts(shared=None), "not there"),
    ],
    ids=["triton", "a GPU", "a quota that suffices", "memory unknown", "no shm"],
)
def test_what_looks_like_a_hazard_and_is_none(name: str, found: Facts, what: str) -> None:
    """An installed triton, a GPU or a quota alone is no hazard, and neither is a size that nobody tells."""
    state, words, _ = seen(name, found)
    assert state == OK
    assert what in words


def test_what_was_not_measured_is_not_called_right() -> None:
    """Where the process with both engines died early, what it would have shown is warned of as not measured."""
    found = checkup(Facts(broken="killed by SIGSEGV", imports={"torch": "", "tensorflow": "", "keras": ""}))
    states = {hazard.name: hazard.what for hazard in found.hazards if hazard.status == WARN}
    assert not found.able
    assert set(states) == {
        "bias axis", "oneDNN", "TF32", "precision", "legacy Keras", "denormals", "repeatable", "NumPy ABI",
    }  # fmt: skip
    assert set(states.values()) == {"not measured: the engines do not run together"}


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "failure", "timeout"),
    [
        ("print('here')", "", 60.0),
        ("raise ImportError('no such engine')", "exit code 1: ImportError: no such engine", 60.0),
        ("import os; os.abort()", "killed by SIGABRT", 60.0),
        (
            "import sys, os; print('LLVM ERROR: twice', file=sys.stderr, flush=True); os.abort()",
            "LLVM ERROR: twice",
            60.0,
        ),
        ("import time; time.sleep(60)", "it hangs: nothing after 1 seconds", 1.0),
    ],
    ids=["ends", "raises", "aborts", "says why", "hangs"],
)
def test_a_process_that_fails_is_a_fact(code: str, failure: str, timeout: float) -> None:
    """An import that raises, kills its process or never ends is told in words, and the doctor goes on."""
    ended = started([sys.executable, "-c", code], timeout)
    assert failure in ended.failure
    assert bool(ended.failure) == bool(failure)


def test_what_was_measured_before_a_crash_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are no measures are skipped, an error is no value, and a crash keeps what came before it."""
    lines = ["I0000 a log", '{"name": "engines", "value": {"torch": "2.13.0"}}', '{"name": "tf32", "error": "no"}', "3"]
    ended = Outcome(output="\n".join(lines), failure="killed by SIGSEGV")
    monkeypatch.setattr(fact_finding, "started", lambda words, timeout: ended)
    found = fact_finding.found_out()
    assert found.measures == {"engines": {"torch": "2.13.0"}}
    assert (found.broken, found.imports["torch"]) == ("killed by SIGSEGV", "")


def test_engines_are_tried_one_by_one_where_together_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing could be measured, each engine's own import says which one is at fault."""

    def start(words: list[str], timeout: float) -> Outcome:
        return Outcome(failure="" if words[-1] == "import torch" else "exit code 1: broken")

    monkeypatch.setattr(fact_finding, "started", start)
    found = fact_finding.found_out()
    assert found.imports == {"torch": "", "tensorflow": "exit code 1: broken", "keras": "exit code 1: broken"}


def test_this_environment_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Every measure works where the engines do, and agrees with what they say of themselves."""
    from parity.doctor import measure
    from parity.frameworks import keras, torch

    measure.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == [each.__name__ for each in measure.MEASURES]
    assert [line for line in lines if "error" in line] == []
    values = {line["name"]: line["value"] for line in lines}
    assert values["engines"]["torch"] == torch.__version__
    assert values["keras_settings"]["floatx"] == keras.config.floatx()
    assert (values["arrays"], values["repeatable"]) == (True, True)


# --- what is printed -------------------------------------------------------------------------------------------------


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command in an environment with these facts."""

    def run(found: Facts, *words: str) -> Any:
        monkeypatch.setattr(parity.doctor, "found_out", lambda timeout: found)
        return CliRunner().invoke(app, ["doctor", *words])

    return run


def test_the_command_exits_0_where_parity_can_verify(invoke: Callable[..., Any]) -> None:
    """Warnings do not end in an error: the last line counts them."""
    done = invoke(facts(quota=2.0))
    assert (done.exit_code, done.stderr) == (0, "")
    assert (
        done.stdout.splitlines()[-1]
        == f"OK: parity can verify here; 1 of {len(HAZARDS)} known hazards are to be minded"
    )


def test_the_command_exits_3_where_parity_cannot(invoke: Callable[..., Any]) -> None:
    """A problem is named in the last line."""
    done = invoke(facts(measures={"arrays": False}))
    assert done.exit_code == 3
    assert done.stdout.splitlines()[-1] == "PROBLEM: parity cannot verify here: NumPy ABI"


def test_json_has_everything(invoke: Callable[..., Any]) -> None:
    """With --json the output is one object with the facts and every hazard."""
    done = invoke(facts(quota=2.0), "--json")
    read = json.loads(done.stdout)
    assert (done.exit_code, read["able"], read["facts"]["quota"]) == (0, True, 2.0)
    assert [hazard["name"] for hazard in read["hazards"]] == list(HAZARDS)
    assert next(hazard for hazard in read["hazards"] if hazard["name"] == "threads")["todo"] == "set PARITY_THREADS=2"


@pytest.mark.parametrize("width", [60, 80, 132])
def test_the_page_fits_its_width(width: int) -> None:
    """No line is longer than the page, however much there is to say."""
    found = Checkup(facts=facts(), hazards=tuple(each for bad in BAD for each in checkup(bad[1]).hazards))
    lines = checkup_page(found, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("to do: " in line for line in lines)
