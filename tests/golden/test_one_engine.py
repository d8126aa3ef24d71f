"""`parity record` and `parity verify --against`, with both engines, and where one of them cannot be imported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.testing

import parity
from parity.cli import app
from parity.errors import InputError, RecordingError, UsageError
from parity.frameworks import torch
from parity.models import Settings, feeding, load
from parity.pairs import Pair
from parity.report import Report
from parity.settings import Options, RunSettings
from parity.verification import Verifier

ALONE = Path(__file__).with_name("one_engine.py")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of the reference of a small network by name, at a size and with weights that are not the usual."""
    path = tmp_path_factory.mktemp("one_engine") / "golden.safetensors"
    said = run("record", "mlp", "-o", str(path), "--size", "15x29", "--seed", "3")
    assert said == f"recorded: the reference of mlp, 10 values, on noise\nwritten: {path}\n"
    return path


def run(*words: str, code: int = 0) -> str:
    """What a command prints, in this process."""
    result = typer.testing.CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.output
    return result.output


def alone(blocked: str, folder: Path, *words: str) -> str:
    """What a command prints in a process that cannot import what is blocked."""
    environment = {name: value for name, value in os.environ.items() if name != "PARITY_WITHOUT"}
    done = subprocess.run(
        [sys.executable, str(ALONE), blocked, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("every module was imported\n")
    return done.stdout


def test_each_side_is_verified_where_only_its_engine_is(golden: Path, tmp_path: Path) -> None:
    """A reference is recorded, a port verified against it without torch, recorded, and verified without TensorFlow.

    The figures are those of both engines side by side.
    """
    live = parity.verify(*load("mlp", Settings(size=(15, 29), seed=3)), modes=("eager",))
    port = str(tmp_path / "port.safetensors")
    alone("torch", tmp_path, "verify", "mlp", "--against", str(golden), "--mode", "eager")
    without_torch = Report.load(tmp_path / "reports/mlp/report.json")
    alone("torch", tmp_path, "record", "mlp", "--side", "port", "--against", str(golden), "--mode", "eager", "-o", port)
    alone("tensorflow,keras", tmp_path, "verify", "mlp", "--against", port, "--mode", "eager")
    without_tensorflow = Report.load(tmp_path / "reports/mlp/report.json")
    for report in (without_torch, without_tensorflow):
        assert report.passed
        assert report.coverage == live.coverage
        (ours,), (theirs,) = report.runs, live.runs
        for one, other in zip(ours.layers, theirs.layers, strict=True):
            assert one.layer == other.layer
            np.testing.assert_allclose(one.propagated.relative, other.propagated.relative, rtol=0.2, atol=1e-8)
            assert one.introduced is not None
            assert one.introduced.passed


def test_a_recording_takes_the_place_of_its_side(golden: Path, tmp_path: Path) -> None:
    """With both engines as well; the report says what it was held against, and the command that does it again."""
    said = run("verify", "mlp", "--against", str(golden), "--mode", "eager", "--report-dir", str(tmp_path))
    assert "PASS: the port of mlp" in said
    report = Report.load(tmp_path / "mlp/report.json")
    assert report.settings["against"] == str(golden)
    assert report.settings["weights"] == f"those of {golden}"
    assert report.settings["command"] == f"parity verify mlp --against {golden}"
    assert report.settings["inputs"] == "noise 15x29"
    explained = run("explain", "mlp", "hidden", "--against", str(golden), "--input", "noise")
    assert "Linear(in_features=48, out_features=20, bias=True)" in explained


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--size", "22x17"], "--size has no effect with --against"),
        (["--shape", "1,2"], "--shape has no effect with --against"),
        (["--input", "ramp"], "has no input 'ramp'; it was made on noise"),
        (["--checkpoint", "x.pth"], "--checkpoint has no effect with --against"),
        (["--grad"], "gradients cannot be compared with a recording"),
    ],
)
def test_options_without_effect_are_refused(words: list[str], problem: str, golden: Path) -> None:
    """What was run already cannot be asked for in another way."""
    assert problem in run("verify", "mlp", "--against", str(golden), *words, code=2)


def test_recordings_that_do_not_fit_are_refused(golden: Path, tmp_path: Path) -> None:
    """Another pair's, and one that is not there: exit codes 3 and 2, in one sentence."""
    said = run("verify", "upscaler", "--against", str(golden), code=3)
    assert said.startswith(f"parity: {golden} is a recording of mlp, not of upscaler")
    shutil.copy(golden, tmp_path / "cut.safetensors")
    os.truncate(tmp_path / "cut.safetensors", 1000)
    assert "or not whole" in run("verify", "mlp", "--against", str(tmp_path / "cut.safetensors"), code=3)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-o", "x.npz"], "x.npz is not named as a recording; give it the ending .safetensors"),
        (["-o", "x.safetensors", "--side", "both"], "side 'both' is not one of reference, port"),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another ending, and a side that there is not."""
    monkeypatch.chdir(tmp_path)
    assert problem in run("record", "mlp", *words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten_unasked(golden: Path) -> None:
    """One that is there is kept without --force."""
    before = golden.read_bytes()
    assert "exists; --force overwrites it" in run("record", "mlp", "-o", str(golden), code=2)
    assert golden.read_bytes() == before


def test_pytest_takes_a_recording(golden: Path) -> None:
    """--parity-against is the same option."""
    settings = RunSettings.of("mlp", Options(against=golden))
    pair, (given,) = load("mlp", settings.settings)
    assert given.array.shape == (3, 3, 29, 15)
    assert Verifier(pair).report(given, ("eager",)).passed


# -- ports that are filled --------------------------------------------------------------------------------------------


def test_a_fresh_port_is_filled_by_the_pair() -> None:
    """With `transfer` the port gets the reference's weights by the map, or by alignment where there is none."""
    for name in ("mlp", "tagger"):
        pair, (given,) = load(name)
        assert pair.transfer
        for layers in (pair.layers, None):
            fresh = Pair(name=name, reference=pair.reference, port=pair.port, layers=layers, axes=pair.axes)
            assert not parity.verify(fresh, [given], ("eager",)).passed
            filled = Pair(**{**vars(fresh), "transfer": True})
            assert parity.verify(filled, [given], ("eager",)).passed


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_port_of_the_users_is_not_filled(tmp_path: Path) -> None:
    """A file given with --port has weights of its own, which are what is verified."""
    pair, (given,) = load("mlp")
    file = tmp_path / "mine.keras"
    pair.port().save(file)
    mine, _ = load("mlp", Settings(port=file))
    assert not mine.transfer
    assert not parity.verify(mine, [given], ("eager",)).passed


def test_a_recorded_port_of_another_layout_is_refused(golden: Path, tmp_path: Path) -> None:
    """A port that was run on the input in another layout than the reference's axes say is no port of it."""
    port = tmp_path / "port.safetensors"
    pair, (given,) = load("mlp", Settings(size=(15, 29)))
    parity.record(pair, [given], port, side="port", modes=("eager",))
    turned = given.changed(lambda name, array: np.ascontiguousarray(array[..., ::-1]))
    with pytest.raises(RecordingError, match="has no run of the port on these inputs"):
        parity.verify(Pair(**{**vars(pair), "port": port}), [turned], ("eager",))
    with pytest.raises(UsageError, match="no inputs given"):
        parity.record(pair, [], port)


def test_inputs_are_made_where_one_side_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair of users' own needs --shape where the port's engine is not there; the port is then not built."""

    def never() -> None:
        raise AssertionError("the port was built")

    pair = Pair(name="own", reference=lambda: torch.nn.Linear(5, 2), port=never)
    monkeypatch.setattr(feeding, "is_loaded", lambda engine: engine == "torch")
    with pytest.raises(InputError, match="the port of own, whose engine is not there, does not say the shape"):
        feeding.Feeding(pair, Settings()).fed()
    fed, (given,) = feeding.Feeding(pair, Settings(shapes={"": (3, 5)})).fed()
    assert fed is pair
    assert given.array.shape == (3, 5)
