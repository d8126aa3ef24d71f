"""`parity gate` on files that could go out: what it ends with, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from gate_made import policy, verdicts
from typer.testing import CliRunner

from parity.cli import app
from parity.errors import ArtifactError, GateRecordError, UsageError
from parity.gate.record import Record, read_record
from parity.gate.running import Asked, _words, run
from parity.report import Report
from parity.settings import Options

DYING = """
import os, signal, time
import numpy as np
import parity
from parity.frameworks import keras, torch

class Reference(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        MISHAP

ones = parity.Input(name="ones", array=np.ones((1, 3), "f4"))
pair = parity.Pair(name="dying", reference=lambda: Reference(), port=None, inputs=[ones])
"""


def gate(folder: Path, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `parity gate` does in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "parity", "gate", *map(str, words)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def ran(folder: Path, artifact: Path, says: str = "", *, name: str = "mlp", **about: object) -> Record:
    """What a run of the gate in this process gives."""
    file = folder / "parity.toml"
    file.write_text(says, encoding="utf-8")
    options = Options(report_dir=folder / "reports", **about)  # type: ignore[arg-type]
    asked = Asked(name=name, artifact=artifact, options=options, policy=file, isolate=False)
    return run(asked, asked.targets())


def stale(folder: Path) -> dict[str, Path]:
    """What an earlier run, which passed, has left where the next one will write."""
    found = {
        "--record": folder / "reports" / "mlp" / "record.json",
        "--report": folder / "reports" / "mlp" / "report.json",
        "--junit": folder / "gate.xml",
        "--markdown": folder / "gate.md",
        "--json": folder / "gate.json",
    }
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("PASS of an earlier run", encoding="utf-8")
    return found


def options(targets: Mapping[str, Path]) -> list[str]:
    """The words that ask for these files."""
    return [word for option, path in targets.items() if option != "--report" for word in (option, str(path))]


def test_a_faithful_file_passes_and_two_runs_leave_the_same_record(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """Exit 0; the records of two runs, in processes that hash otherwise, differ in their time only."""
    targets = stale(tmp_path)
    texts = []
    for seed in ("1", "2"):
        done = gate(tmp_path, "mlp", "--artifact", artifacts["pb"], *options(targets), PYTHONHASHSEED=seed)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"PASS: {artifacts['pb']} may go out" in done.stdout
        texts.append(targets["--record"].read_text(encoding="utf-8").splitlines())
    differing = [ours for ours, theirs in zip(*texts, strict=True) if ours != theirs]
    assert [line.strip().split(":")[0] for line in differing] in ([], ['"made"'])
    record = read_record(targets["--record"])
    assert record.result.verdict == "pass"
    assert record.weights
    here = ran(tmp_path, artifacts["pb"])
    assert (here.weights, here.inputs) == (record.weights, record.inputs)
    assert Report.load(targets["--report"]).passed
    assert json.loads(targets["--json"].read_text())["exit_code"] == 0
    assert not any("earlier" in path.read_text() for path in targets.values())


def test_a_fault_in_the_file_is_exit_1_at_its_layer(tmp_path: Path, faulty: Path) -> None:
    """One layer fails; the others only follow from it."""
    words = ["gate", "mlp", "--artifact", str(faulty), "--no-isolate", "--report-dir", str(tmp_path / "reports")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    found = verdicts(read_record(tmp_path / "reports" / "mlp" / "record.json"))
    assert [name for name, verdict in found.items() if verdict == "fail" and "layer" in name] == ["layer[hidden]"]
    assert f"FAIL: {faulty} may not go out" in " ".join(done.stdout.split())


def test_a_file_that_is_not_whole_is_exit_3_and_leaves_nothing(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """One sentence; what an earlier run has left is gone, and nothing is in its place."""
    targets = stale(tmp_path)
    broken = tmp_path / "broken.pb"
    broken.write_bytes(artifacts["pb"].read_bytes()[:5000])
    done = gate(tmp_path, "mlp", "--artifact", broken, *options(targets))
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (3, 1, "")
    assert "broken.pb" in done.stderr
    assert not any(path.exists() for path in targets.values())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mlp"], "--artifact FILE is missing"),
        (["--artifact", "x.pb"], "the pair is missing"),
        (["mlp", "--artifact", "none.pb"], "artifact none.pb: no such file"),
        (["mlp", "--artifact", "PB", "--policy", "none.toml"], "policy none.toml: No such file"),
        (["mlp", "--artifact", "PB", "--policy", "bad.toml"], "there is no key limit; did you mean limits?"),
        (
            ["mlp", "--artifact", "PB", "--policy", "in.toml", "--input", "noise"],
            "--input is given, and in.toml says it",
        ),
        (["mlp", "--artifact", "PB", "--mode", "xla"], "xla"),
        (["mlp", "--artifact", "PB", "--baseline", "none.json"], "record none.json: No such file"),
        (["mlp", "--artifact", "PB", "--json", "a", "--junit", "a"], "a is given for --json, and for --junit"),
        (["mlp", "--artifact", "PB", "--record", "PB"], "is given for --artifact, and for --record"),
    ],
)
def test_wrong_use_is_exit_2(tmp_path: Path, artifacts: dict[str, Path], words: list[str], sentence: str) -> None:
    """One sentence with what is wrong; no engine is loaded, the artifact stays as it is."""
    (tmp_path / "bad.toml").write_text("[limit]\nrmse = 1")
    (tmp_path / "in.toml").write_text('[inputs]\nnames = ["noise"]')
    before = artifacts["pb"].read_bytes()
    done = gate(tmp_path, *(str(artifacts["pb"]) if word == "PB" else word for word in words))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert sentence in done.stderr
    assert artifacts["pb"].read_bytes() == before
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("mishap", "how"),
    [("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"), ("time.sleep(600)", "did nothing more for 2 seconds")],
)
def test_an_engine_that_dies_or_hangs_is_exit_3_with_a_report(
    tmp_path: Path, artifacts: dict[str, Path], mishap: str, how: str
) -> None:
    """The gate lives, says how it ended, and keeps a record that says it was not verified."""
    (tmp_path / "dying.py").write_text(DYING.replace("MISHAP", mishap))
    (tmp_path / "parity.toml").write_text("[run]\ntimeout = 2\n")
    done = gate(tmp_path, "dying.py", "--artifact", artifacts["keras"], "--policy", "parity.toml")
    assert done.returncode == 3
    assert how in " ".join(done.stdout.split())
    (path,) = tmp_path.glob("reports/*/record.json")
    assert read_record(path).result.verdict == "not verified"


# -- killed ------------------------------------------------------------------------------------------------------------

CHANGES = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"})
"""What Python's audit calls whatever may change a file or a folder; it tells before it is done."""


@dataclass
class Kills:
    """What kills would leave of a run's files: looked at before each change of any file, which are all the moments
    that there are. `states` has what is there, in order; `half` the files that are written where they lie, so that a
    kill leaves half of one."""

    targets: Mapping[str, Path]
    states: list[tuple[str, ...]] = field(default_factory=list)
    half: list[Path] = field(default_factory=list)

    def look(self, event: str, about: tuple[Any, ...]) -> None:
        """Look at what is there, before something is done."""
        if event == "open" and about[0] in set(map(str, self.targets.values())) and about[1] != "r" and about[2] & 3:
            self.half.append(Path(about[0]))
        there = tuple(option for option, path in self.targets.items() if path.exists())
        if [there] != self.states[-1:]:
            self.states.append(there)
            ensure_whole(self.targets, there)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look for as long as the block lasts. The hook stays, and does nothing any more: Python has no way back."""
        looks = [self.look]

        def hook(event: str, about: tuple[Any, ...]) -> None:
            if looks and event in CHANGES:
                look = looks.pop()  # what looking does is no change
                try:
                    look(event, about)
                finally:
                    looks.append(look)

        sys.addaudithook(hook)
        try:
            yield
        finally:
            looks.clear()


def ensure_whole(targets: Mapping[str, Path], there: Collection[str]) -> None:
    """Fail unless each file that is there is whole; all are of one run, the earlier one or this."""
    earlier = {option for option in there if "earlier" in targets[option].read_text()}
    assert earlier in (set(), set(there))
    read = {
        "--report": lambda path: Report.load(path).passed,
        "--json": lambda path: json.loads(path.read_text())["exit_code"] == 0,
        "--junit": lambda path: Xml.parse(path).getroot().tag == "testsuites",
        "--markdown": lambda path: path.read_text().endswith("|\n"),
        "--record": lambda path: read_record(path).result.verdict == "pass",
    }
    assert all(read[option](targets[option]) for option in there if option not in earlier)


def test_killed_at_any_moment_it_leaves_nothing_half_written(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """Before every change of a file what is there is whole, and of one run; the record is the last to be there."""
    kills = Kills(stale(tmp_path))
    chosen = {option.removeprefix("--"): path for option, path in kills.targets.items() if option != "--report"}
    options = Options(report_dir=tmp_path / "reports")
    asked = Asked(name="mlp", artifact=artifacts["pb"], options=options, isolate=False)
    with kills.watching():
        run(asked, asked.targets(**chosen))
        (tmp_path / "after").touch()
    assert kills.half == []
    written = kills.states[kills.states.index(()) + 1 :]
    assert [len(there) for there in written] == [1, 2, 3, 4, 5]
    assert ["--record" in there for there in written] == [False, False, False, False, True]


def test_a_file_written_where_it_lies_would_be_seen(tmp_path: Path) -> None:
    """The look above can fail: half a record, and a file that is opened for writing under its own name."""
    kills = Kills({"--record": tmp_path / "record.json"})
    with kills.watching(), pytest.raises(GateRecordError):  # noqa: PT012
        (tmp_path / "record.json").write_text('{"half')
        (tmp_path / "after").touch()
    assert kills.half == [tmp_path / "record.json"]


def test_a_process_that_is_killed_leaves_nothing_of_an_earlier_run(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """SIGKILL as soon as the record of an earlier run is gone: of its files none is there."""
    targets = stale(tmp_path)
    words = [sys.executable, "-m", "parity", "gate", "mlp", "--artifact", str(artifacts["pb"]), *options(targets)]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while targets["--record"].exists() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert not any(path.exists() for path in targets.values())


def test_tolerances_of_the_policy_judge_their_layers(tmp_path: Path, faulty: Path) -> None:
    """A layer with a tolerance wide enough passes, with its reason; by another pattern it does not."""
    text = '[tolerances."{}"]\nfloors = 1e7\nwhy = "measured"\n'
    found = ran(tmp_path, faulty, text.format("h?dden"))
    assert verdicts(found)["layer[hidden]"] == "pass"
    assert verdicts(ran(tmp_path, faulty, text.format("conv")))["layer[hidden]"] == "fail"


def test_a_fixed_tolerance_judges_all_layers(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """With [judge] nothing is counted in noise floors."""
    found = ran(tmp_path, artifacts["pb"], '[judge]\nrtol = 1e-3\natol = 1e-3\nwhy = "the contract"\n')
    assert found.result.verdict == "pass"
    assert found.asked["policy"] == "rtol=0.001, atol=0.001 (the contract)"


def test_noise_is_drawn_once_from_each_seed(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """Each is an input of its own, the same as without a policy where the seed is the same; the weights stay."""
    found = ran(tmp_path, artifacts["pb"], "[inputs]\nseeds = [0, 7]\n")
    plain = ran(tmp_path, artifacts["pb"])
    sums = {given.name: given.sha256 for given in found.inputs}
    assert list(sums) == ["noise#0", "noise#7"]
    assert sums["noise#0"] == plain.inputs[0].sha256 != sums["noise#7"]
    assert found.weights == plain.weights
    assert found.result.verdict == "pass"


def test_a_release_is_held_against_the_last(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """The record of a run is the baseline of the next; on other inputs it is refused."""
    first = ran(tmp_path, artifacts["pb"])
    baseline = tmp_path / "last.json"
    baseline.write_text(first.sealed(), encoding="utf-8")
    settings = Options(report_dir=tmp_path / "reports")
    asked = Asked(name="mlp", artifact=artifacts["pb"], options=settings, baseline=baseline, isolate=False)
    again = run(asked, asked.targets())
    assert again.result.verdict == "pass"
    assert verdicts(again)["growth[hidden]"] == "pass"
    other = Options(report_dir=tmp_path / "reports", inputs=("noise#3",))
    asked = Asked(name="mlp", artifact=artifacts["pb"], options=other, baseline=baseline, isolate=False)
    with pytest.raises(UsageError, match="it was not made on noise#3, but on noise"):
        run(asked, asked.targets())


# -- what the policy hands on ------------------------------------------------------------------------------------------

CONVOLUTION = """
import numpy as np
import parity
from parity.frameworks import torch

class Reference(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.arange(54.0).reshape(2, 3, 3, 3) / 54 - 0.5)
            self.conv.bias.copy_(torch.tensor([0.25, -1.0]))

    def forward(self, x):
        return self.conv(x)

pair = parity.Pair(name="conv", reference=Reference().eval(), port=None)
"""


def test_all_inputs_are_made_in_each_size(tmp_path: Path) -> None:
    """Their names say in which; a file that takes any size is run in all of them."""
    from parity.frameworks import keras

    (tmp_path / "sized.py").write_text(CONVOLUTION)
    frames = keras.Input((None, None, 3))
    model = keras.Model(frames, keras.layers.Conv2D(2, 3, padding="same", name="conv")(frames))
    kernel = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 54 - 0.5
    model.layers[1].set_weights([np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), np.float32([0.25, -1.0])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, of the NumPy that it uses
        model.save(tmp_path / "conv.keras")
    text = '[inputs]\nnames = ["noise", "ramp"]\nsizes = ["5x7", "9x8"]\n[run]\nmodes = ["eager"]\n'
    found = ran(tmp_path, tmp_path / "conv.keras", text, name=str(tmp_path / "sized.py"))
    assert [given.name for given in found.inputs] == ["noise@5x7", "ramp@5x7", "noise@9x8", "ramp@9x8"]
    assert [given.size for given in found.inputs] == ["5x7", "5x7", "9x8", "9x8"]
    assert found.result.places() == [(given.name, "eager") for given in found.inputs]
    assert found.result.verdict == "pass"


def test_an_operation_is_allowed_by_its_name(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """One that reads files is refused by its name, unless the policy allows that."""
    from parity.frameworks import tf

    graph = tf.compat.v1.GraphDef.FromString(artifacts["pb"].read_bytes())
    name = graph.node.add(name="file", op="Const")
    name.attr["dtype"].type = tf.string.as_datatype_enum
    name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/hostname"))
    graph.node.add(name="reads", op="ReadFile", input=["file"])
    path = tmp_path / "reads.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ArtifactError, match="ReadFile"):
        ran(tmp_path, path)
    assert ran(tmp_path, path, '[artifact]\nallow = ["ReadFile"]\n').result.verdict == "pass"


def test_what_is_too_large_to_load_is_not_loaded(tmp_path: Path, artifacts: dict[str, Path]) -> None:
    """`load_mb` is a limit before loading, `size_mb` one of the release."""
    with pytest.raises(ArtifactError):
        ran(tmp_path, artifacts["pb"], "[artifact]\nload_mb = 0.01\n")
    assert ran(tmp_path, artifacts["pb"], "[artifact]\nsize_mb = 0.01\n").result.exit_code == 1


def test_folders_of_a_policy_become_pairs_of_pictures(tmp_path: Path) -> None:
    """Two by two, from the policy's folder on, and no more than the policy takes; what is no folder is refused."""
    for name in ("1a.png", "1b.png", "2a.png", "2b.png", "10a.png", "10b.png"):
        (tmp_path / "shots").mkdir(exist_ok=True)
        (tmp_path / "shots" / name).write_bytes(b"")
    shots = tmp_path / "shots"
    found = list(_words(policy(tmp_path, '[inputs]\nnames = ["ramp"]\npairs = ["shots"]\nmost = 2\n')))
    assert found == ["ramp", f"{shots / '1a.png'}+{shots / '1b.png'}", f"{shots / '2a.png'}+{shots / '2b.png'}"]
    with pytest.raises(UsageError, match="none is no folder"):
        list(_words(policy(tmp_path, '[inputs]\npairs = ["none"]\n')))
