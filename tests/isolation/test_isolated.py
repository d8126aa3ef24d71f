"""Pairs whose sides are in processes of their own: verified as in one process; a side that dies leaves a report."""

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from parity.cli import app
from parity.isolation.source import Here
from parity.isolation.supervisor import Isolated
from parity.report import DIED, DIVERGED, Report
from parity.settings import Options, RunSettings

PAIR = """
import os
import parity
from parity.frameworks import keras, tf, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(2, 5, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(5, 7, 3, stride=2, padding=1)
        self.conv3 = torch.nn.Conv2d(7, 3, 1)

    def forward(self, image):
        value = self.conv2(self.conv1(image))
        if os.environ.get("DIES") == "reference":
            os.abort()
        return self.conv3(value)

class Passed(keras.layers.Layer):
    def call(self, value):
        if os.environ.get("DIES") == "port" and tf.executing_eagerly():
            os.write(2, b"LLVM ERROR: no\\n")
            os.abort()
        return value

def reference():
    torch.manual_seed(0)
    return Net()

def port():
    image = keras.Input((8, 12, 2))
    value = keras.layers.Conv2D(5, 3, padding="same", name="first")(image)
    value = keras.layers.Conv2D(7, 3, strides=2, padding="same", name="second")(value)
    return keras.Model(image, keras.layers.Conv2D(3, 1, name="third")(Passed(name="passed")(value)))

pair = parity.Pair(
    name="net", reference=reference, port=port, transfer=True,
    inputs=[parity.inputs.noise((1, 2, 8, 12), seed=0, low=-1, high=1)],
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pair of which one side may die, as the current one."""
    (tmp_path / "dying.py").write_text(PAIR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def verify(*options: str) -> Result:
    """`parity verify` of the pair, isolated."""
    return CliRunner().invoke(app, ["verify", "dying.py:pair", "--isolate", *options])


def leftovers() -> list[str]:
    """What is left of this process's folders in shared memory."""
    return [path.name for path in Path("/dev/shm").glob(f"parity-{os.getpid()}-*")]


def test_the_report_is_the_same(folder: Path) -> None:
    """Layers, errors, findings and causes are those of one process, and nothing is left in shared memory."""
    settings = RunSettings.of("dying.py:pair", Options())
    with Isolated(settings) as isolated:
        apart = isolated.verify(isolated.inputs[0].name, ("eager",))
        assert isolated.weighted == ("conv1", "conv2", "conv3")
    here = Here(settings).verify("noise", ("eager",))
    assert leftovers() == []
    assert apart.verdict == here.verdict == DIVERGED
    assert apart.coverage == here.coverage
    assert [(found.layer, found.cause.slug, found.cause.change) for found in apart.findings] == [
        (found.layer, found.cause.slug, found.cause.change) for found in here.findings
    ]
    assert [found.layer for found in apart.findings] == ["conv2"]
    for mine, theirs in zip(apart.runs[0].layers, here.runs[0].layers, strict=True):
        assert (mine.layer, mine.verdict) == (theirs.layer, theirs.verdict)
        assert mine.floor == pytest.approx(theirs.floor, rel=1e-3)
    assert apart.environment["torch"] == here.environment["torch"]
    assert apart.settings["isolated"] == "each side in a process of its own"


def test_a_port_that_aborts_leaves_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3; the first lines say who died and how; what was judged before it is kept."""
    monkeypatch.setenv("DIES", "port")
    done = verify("--mode", "eager")
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert lines[0] == "parity: net"
    assert "the port: its process was ended by SIGABRT" in lines[1]
    assert "running 'passed'" in lines[2]
    report = Report.load(folder / "reports" / "net" / "report.json")
    assert (report.verdict, report.passed) == (DIED, False)
    assert [layer.layer for layer in report.runs[0].layers] == ["conv1", "conv2"]
    assert [found.layer for found in report.findings] == ["conv2"]
    assert report.deaths[0].last_words == ("LLVM ERROR: no",)
    assert "dying.py, line 23, in call" in report.deaths[0].where
    assert leftovers() == []


def test_a_reference_that_aborts_leaves_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The side is named, the layer that it ran last, and the line it was in."""
    monkeypatch.setenv("DIES", "reference")
    done = verify("--mode", "eager", "--quiet")
    assert done.exit_code == 3
    assert "the reference took its process down in noise" in done.stdout
    (death,) = Report.load(folder / "reports" / "net" / "report.json").deaths
    assert (death.side, death.mode) == ("reference", "")
    assert "running 'conv2'" in death.doing
    assert "dying.py, line 16, in forward" in death.where


def test_supervising_needs_no_engine() -> None:
    """The room imports nothing that imports an engine."""
    import subprocess

    code = (
        "import sys, parity.isolation; sys.exit(any(name in sys.modules for name in ('torch', 'tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
