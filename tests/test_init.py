"""`parity init`, and the commands with a pair of one's own: from two files to a verified pair."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import own_net
import pytest
from typer.testing import CliRunner

import parity.frameworks  # noqa: F401  (before what the files import)
from parity.cli import app
from parity.models import load
from parity.report import Report

Invoke = Callable[..., Any]
SIDES = ("--reference", "net.py:Net", "--port", "port.py:build")


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Invoke]:
    """Run the command in a folder with net.py, port.py and pairs.py; what it imports from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own_net.write(tmp_path)
    before = set(sys.modules)
    yield lambda *words, said="": CliRunner().invoke(app, words, input=said)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_init_writes_a_pair_and_verifies_it(invoke: Invoke) -> None:
    """Unattended: a file with both sides and an input that fits, verified in eager mode, and what to run next."""
    done = invoke("init", *SIDES, "--name", "my-net", "--yes")
    assert done.exit_code == 0, done.output
    assert "PASS: the port of my-net computes what its reference computes, in 1 of 1 runs" in done.stdout
    assert done.stdout.splitlines()[0] == "written: parity_my_net.py"
    assert done.stdout.splitlines()[-1] == "all modes: parity verify parity_my_net.py"
    text = Path("parity_my_net.py").read_text()
    assert 'my_net = parity.Pair(\n    name="my-net",' in text
    assert "inputs=lambda: [parity.inputs.noise((1, 3, 64, 96), low=-1, high=1)]," in text
    assert "as the reference takes it: image NCHW." in text
    again = invoke("verify", "parity_my_net.py:my_net", "--mode", "eager", "--quiet")
    assert (again.exit_code, again.stdout.split()[0]) == (0, "PASS:")
    assert Report.load("reports/my-net/report.json").settings["command"] == "parity verify parity_my_net.py:my_net"


def test_init_asks_for_what_is_not_given(invoke: Invoke) -> None:
    """Each answer has its place in the file; an empty one is what was proposed."""
    done = invoke("init", "--no-run", said="net.py:Net\nport.py:build\n\n1,3,5,7\n0,255\n")
    assert done.exit_code == 0, done.output
    assert "The pair's name [net]:" in done.stdout
    assert "The shape of image NCHW [1,3,64,96]:" in done.stdout
    assert "parity.inputs.noise((1, 3, 5, 7), low=0, high=255)" in Path("parity_net.py").read_text()
    assert not Path("reports").exists()


def test_several_inputs_are_written_down(invoke: Invoke) -> None:
    """Each with its shape and kind, in the reference's order, and which of the port's it is; the file gives them."""
    Path("tokens.py").write_text(own_net.TOKENS)
    words = ("--reference", "tokens.py:Net", "--port", "tokens.py:build", "--name", "tokens", "--yes", "--no-run")
    done = invoke("init", *words, "--range=-3,3")
    assert done.exit_code == 0, done.output
    text = Path("parity_tokens.py").read_text()
    assert 'parity.inputs.Slot(name="ids", shape=(1, 16), kind="int", vocabulary=11),' in text
    assert "as the reference takes it: ids int, mask bool, bias NC." in text
    assert 'input_map={"input[0]": "ids", "input[1]": "mask", "input[2]": "bias"},' in text
    pair, (given,) = load("parity_tokens.py")
    assert [array.dtype.name for array in given.args] == ["int64", "bool", "float32"]
    assert 1 < abs(given.args[2]).max() <= 3
    assert pair.input_map["input[2]"] == "bias"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ((*SIDES, "-o", "pairs.py"), 2, "pairs.py exists; --force overwrites it"),
        ((*SIDES, "-o", "mine.txt"), 2, "mine.txt is not named as a Python file"),
        ((*SIDES, "--name", "7 nets"), 2, "'7 nets' cannot be a pair's name"),
        ((*SIDES, "--input-shape", "1,5,7,9"), 2, "image of mine takes any,3,any,any (NCHW)"),
        (("--reference", "net.py:Ne", "--port", "port.py:build"), 2, "net.py has no 'Ne'; did you mean 'Net'?"),
        ((*SIDES[:3], "port.py:broken"), 3, "building the port of mine, port.py:broken failed with RuntimeError: no"),
    ],
)
def test_init_writes_nothing_that_does_not_run(
    invoke: Invoke, words: tuple[str, ...], code: int, sentence: str
) -> None:
    """What is wrong is one sentence, and no file is written or overwritten."""
    before = sorted(Path().iterdir())
    names = () if "--name" in words else ("--name", "mine")
    done = invoke("init", *words, *names, "--yes")
    assert (done.exit_code, sentence in done.stderr) == (code, True), done.output
    assert done.stderr.count("\n") == 1
    assert [path for path in sorted(Path().iterdir()) if path.name != "__pycache__"] == before


def test_a_port_that_declares_nothing_needs_the_shape_alone(invoke: Invoke) -> None:
    """A function has no layout of its own to be written down: the layers of the reference say what its input is."""
    Path("bare.py").write_text(
        "from port import build as made\n\n\ndef build():\n    return lambda image: made()(image)\n"
    )
    words = ("--reference", "net.py:Net", "--port", "bare.py:build", "--name", "bare", "--yes")
    done = invoke("init", *words, "--input-shape", "1,3,8,6")
    assert done.exit_code == 0, done.output
    assert "axes=" not in Path("parity_bare.py").read_text()


def test_a_reference_that_does_not_run_is_told_with_its_line(invoke: Invoke) -> None:
    """The user's own mistake: the exception and the line, and no file."""
    Path("net.py").write_text(own_net.NET.replace("torch.tanh", "torch.tahn"))
    done = invoke("init", *SIDES, "--name", "mine", "--yes")
    assert done.exit_code == 3
    assert "running the reference of mine on input (1, 3, 64, 96) failed with AttributeError" in done.stderr
    assert "net.py, line 13)" in done.stderr
    assert not Path("parity_mine.py").exists()


def test_explain_and_verify_take_a_pair_of_a_file(invoke: Invoke) -> None:
    """A wrong port: exit 1, and the next command that is printed works as it is."""
    own_net.write(Path(), port="wrong")
    done = invoke("verify", "pairs.py", "--mode", "eager", "--size", "7x5")
    assert done.exit_code == 1, done.output
    command = next(line for line in done.stdout.splitlines() if "parity explain" in line).split("parity ", 1)[1].split()
    assert command[:3] == ["explain", "pairs.py", "conv2"]
    explained = invoke(*command)
    assert explained.exit_code == 1
    assert "conv2 -> second" in explained.stdout
