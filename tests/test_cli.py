"""The command `parity`: exit codes, words, and what is left on disk."""

import subprocess
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
import wrong_ports
from typer.testing import CliRunner

from parity import __version__, models
from parity.cli import app
from parity.errors import CheckpointError, PairError, ReportFolderError
from parity.pairs import Input, Pair
from parity.report import Report

Invoke = Callable[..., Any]
REPORT = Path("reports/small/report.json")


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Run the command in an empty folder, with a fake model that has `faulty` layers or raises `error` at an input."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, faulty: Iterable[str] = (), error: BaseException | None = None, at: str = "noise") -> Any:
        def build(settings: models.Settings) -> tuple[Pair, list[Input]]:
            if at == "load" and error:
                raise error
            array = np.zeros((1, 3, 2, 5, 7), np.float32)
            names = settings.inputs or ("noise", "ramp")
            return Pair(name="small", reference=None, port=None), [Input(name=name, array=array) for name in names]

        class Verifier:
            def __init__(self, pair: Pair, policy: object, *, gradients: bool = False) -> None:
                pass

            def report(self, given: Input, modes: tuple[str, ...], progress: object) -> Report:
                if error and given.name == at:
                    raise error
                return records.report([given.name], modes, faulty=faulty)

        home = types.ModuleType("parity_cli_test")
        home.build = build
        engine = types.ModuleType("parity.verification")
        engine.Verifier = Verifier
        monkeypatch.setitem(sys.modules, home.__name__, home)
        monkeypatch.setitem(sys.modules, engine.__name__, engine)
        entry = models.ModelEntry(description="a small fake", builder="parity_cli_test:build")
        monkeypatch.setitem(models._MODELS, "small", entry)
        return CliRunner().invoke(app, words)

    return invoke


def test_the_version_is_printed(invoke: Invoke) -> None:
    """parity --version prints the package's version."""
    done = invoke("--version")
    assert (done.exit_code, done.stdout) == (0, f"parity {__version__}\n")


def test_models_are_listed_with_a_line_each(invoke: Invoke) -> None:
    """parity models lists names, origins and descriptions, in the order in which they were registered."""
    done = invoke("models")
    assert done.exit_code == 0
    listed = [line.split(None, 2) for line in done.stdout.splitlines()]
    assert listed == [[name, "parity", entry.description] for name, entry in models.MODELS.items()]
    assert listed[-1] == ["small", "parity", "a small fake"]


@pytest.mark.parametrize("words", [("--help",), ("verify", "--help"), ("export", "--help"), ("-h",)])
def test_help_has_examples_that_exist(invoke: Invoke, words: tuple[str, ...]) -> None:
    """The help shows commands, and every option in them is one the command has."""
    examples = [line for line in invoke(*words).stdout.splitlines() if line.startswith("    parity ")]
    assert examples
    for line in examples:
        _, command, *rest = line.split()
        options = invoke(command, "--help").stdout.split("Options:")[1]
        assert all(word in options for word in rest if word.startswith("--")), line


def test_parity_exits_0_and_writes_the_report(invoke: Invoke) -> None:
    """A faithful port: exit 0, the summary on stdout, nothing on stderr, the report on disk."""
    done = invoke("verify", "small")
    assert done.exit_code == 0
    assert "PASS: the port of small computes what its reference computes, in 6 of 6 runs" in done.stdout
    assert f"report: {REPORT.with_suffix('.html')}" in done.stdout
    assert done.stderr == ""
    report = Report.load(REPORT)
    assert report.settings["inputs"] == "noise 7x5, ramp 7x5"
    assert report.settings["command"] == "parity verify small"


def test_divergence_exits_1_and_writes_the_report(invoke: Invoke) -> None:
    """A port that differs: exit 1, the finding and what to do next on stdout, the report on disk."""
    done = invoke("verify", "small", "--mode", "eager", faulty=["conv1.0"])
    assert done.exit_code == 1
    assert "conv1.0  introduces 2.0e-3 (floor 4.0e-7, 5 000x)" in done.stdout
    assert "next      parity explain small conv1.0 --input noise --mode eager" in done.stdout
    assert not Report.load(REPORT).passed


def test_quiet_leaves_the_verdict(invoke: Invoke) -> None:
    """--quiet prints one line."""
    done = invoke("verify", "small", "--quiet", faulty=["conv1.0"])
    assert done.stdout == "DIVERGED: small agrees in 0 of 6 runs; first at conv1.0\n"


def test_layers_prints_a_table_for_every_run(invoke: Invoke) -> None:
    """--layers prints each run's layers before the summary."""
    done = invoke("verify", "small", "--input", "noise", "--mode", "eager", "--mode", "xla", "--layers")
    assert done.stdout.count("small: input noise, mode") == 2
    assert "conv0.1 = leaky_re_lu_1" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nosuch"], "no model is called 'nosuch'; known models: {known}"),
        (["small", "--size", "512"], "size '512' is not WIDTHxHEIGHT in pixels, such as 704x448"),
        (["small", "--size", "0x64"], "size '0x64': width and height must be at least 1"),
        (["small", "--mode", "fast"], "unknown mode 'fast'; the known ones are eager, graph, xla"),
        (["small", "--rtol", "1e-4"], "rtol given without atol (rtol=0.0001); give both or neither"),
        (["small", "--report-dir", "/proc"], "cannot write reports to /proc/small: No such file or directory"),
    ],
)
def test_wrong_use_exits_2_with_one_sentence(invoke: Invoke, words: list[str], sentence: str) -> None:
    """What is wrong is one line on stderr, nothing on stdout, and nothing is written."""
    done = invoke("verify", *words)
    sentence = sentence.format(known=", ".join(models.names()))
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"parity: {sentence}\n")
    assert not Path("reports").exists()


def test_an_unknown_option_exits_2(invoke: Invoke) -> None:
    """An option that does not exist is wrong use too, named on stderr."""
    done = invoke("verify", "small", "--colour")
    assert done.exit_code == 2
    assert "--colour" in done.stderr


@pytest.mark.parametrize("at", ["load", "noise"])
@pytest.mark.parametrize("error", [CheckpointError("w.pt misses 2 keys"), PairError("the port has two outputs")])
def test_what_cannot_be_verified_exits_3(invoke: Invoke, error: Exception, at: str) -> None:
    """Where a pair cannot be verified, one sentence says why, and no report is written."""
    done = invoke("verify", "small", error=error, at=at)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "", f"parity: {error}\n")
    assert not Path("reports").exists()


@pytest.mark.parametrize("code", [0, 5])
@pytest.mark.parametrize("at", ["load", "noise", "ramp"])
def test_a_pair_that_ends_the_program_is_no_verdict(invoke: Invoke, at: str, code: int) -> None:
    """What the pair's code ends the program with is not what parity ends with: nothing was verified."""
    done = invoke("verify", "small", error=SystemExit(code), at=at)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith("parity: the pair's code ended the program (")
    assert done.stderr.endswith("; nothing was verified\n")
    assert not REPORT.exists()


@pytest.mark.parametrize(
    ("stopped", "code", "reason"),
    [
        (ReportFolderError("cannot write it: No space left"), 2, "cannot write it: No space left"),
        (KeyboardInterrupt(), 130, "interrupted while the report was written; it may be an earlier run's"),
    ],
)
def test_what_was_found_is_printed_where_it_cannot_be_written(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, stopped: BaseException, code: int, reason: str
) -> None:
    """A full disk at the end of a run, or an interruption, takes the file and not what was found."""

    def stop(self: Report, path: Path) -> Path:
        raise stopped

    monkeypatch.setattr(Report, "save", stop)
    done = invoke("verify", "small", faulty=["conv1.0"])
    assert done.exit_code == code
    assert "DIVERGED: small agrees in 0 of 6 runs; first at conv1.0" in " ".join(done.stdout.split())
    assert "report:" not in done.stdout
    assert done.stderr.splitlines()[-1] == f"parity: {reason}"


def test_an_interruption_keeps_what_was_finished(invoke: Invoke) -> None:
    """Stopped at the second input: exit 130, the first is in the report, and both the report and stderr say so."""
    done = invoke("verify", "small", error=KeyboardInterrupt(), at="ramp")
    assert done.exit_code == 130
    assert done.stderr == f"parity: interrupted; what was finished (noise) is kept in {REPORT}\n"
    assert {run.input for run in Report.load(REPORT).runs} == {"noise"}
    assert "UNFINISHED: interrupted before ramp" in " ".join(done.stdout.split())


def test_an_interruption_before_anything_writes_nothing(invoke: Invoke) -> None:
    """Stopped before the first input is done: exit 130, and no report."""
    done = invoke("verify", "small", error=KeyboardInterrupt(), at="noise")
    assert done.exit_code == 130
    assert done.stderr == "parity: interrupted; nothing was finished, and nothing was written\n"
    assert not Path("reports").exists()


def test_a_mistake_is_refused_before_a_framework_is_loaded(tmp_path: Path) -> None:
    """The command itself, in a process of its own: wrong use ends at once, in one sentence, frameworks unloaded."""
    code = (
        "import sys; from parity.cli import app\n"
        "try: app(['verify', 'flownet', '--size', '512'])\n"
        "finally: assert not {'torch', 'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "parity: size '512' is not WIDTHxHEIGHT in pixels, such as 704x448\n"


# --- repair, and --port ----------------------------------------------------------------------------------------------

SAVES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves


@pytest.fixture(scope="module")
def network() -> Any:
    """A small network in torch; no test changes it."""
    return wrong_ports.net()


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: Any) -> Invoke:
    """Run the command in an empty folder with a pair 'small' whose own port is made of these parts."""
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, **parts: Any) -> Any:
        wrong_ports.register(monkeypatch, lambda _: wrong_ports.pair(network, wrong_ports.port(network, **parts)))
        return CliRunner().invoke(app, words)

    return invoke


@SAVES
def test_repair_writes_a_copy_and_says_what_it_did(parity: Invoke) -> None:
    """Exit 0: each change on the page, the verdict before and after, and the files; the copy passes by --port."""
    done = parity("repair", "small", "-o", "fixed.keras", second=wrong_ports.same_padding, scale=1.0)
    assert (done.exit_code, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    assert "changed second -> second cause padding (same pads 0,1; reference pads 1,1)" in text
    assert "changed mul -> scale cause scale (" in text
    assert "before DIVERGED: small agrees in 0 of 2 runs; first at second" in text
    assert "after PASS: the port of small computes what its reference computes, in 3 of 3 runs" in text
    assert done.stdout.splitlines()[-1] == "written: fixed.keras, fixed.changes.md"
    assert wrong_ports.left_in(Path()) == ["fixed.changes.md", "fixed.keras"]
    again = parity("verify", "small", "--port", "fixed.keras", scale=1.0)
    assert again.exit_code == 0


@SAVES
def test_repair_of_a_file_leaves_the_file(parity: Invoke, network: Any) -> None:
    """The port given by --port is read, its own port is not looked at, and the file stays byte for byte."""
    wrong_ports.port(network, activation=wrong_ports.steep).save("mine.keras")
    before = Path("mine.keras").read_bytes()
    done = parity("repair", "small", "--port", "mine.keras", "-o", "fixed.keras", scale=1.0)
    assert done.exit_code == 0
    assert "activation-slope" in done.stdout
    assert "scale (" not in done.stdout
    assert Path("mine.keras").read_bytes() == before


def test_repair_of_a_right_port_writes_nothing(parity: Invoke) -> None:
    """Exit 0, and no file: there is nothing to change."""
    done = parity("repair", "small", "-o", "fixed.keras")
    assert done.exit_code == 0
    assert "nothing: no layer is at fault" in done.stdout
    assert "written" not in done.stdout
    assert wrong_ports.left_in(Path()) == []


@SAVES
def test_repair_of_a_part_exits_1(parity: Invoke) -> None:
    """Where something is left the rest is repaired and written, what is left is named, and the exit code is 1."""
    done = parity("repair", "small", "-o", "fixed.keras", "--input", "noise", scale=1.0,
                  join=lambda a, b: wrong_ports.unheard_of(a, b))  # fmt: skip
    assert done.exit_code == 1
    text = " ".join(done.stdout.split())
    assert "changed mul -> scale" in text
    assert "left cat -> join unknown" in text
    assert "after DIVERGED: small agrees in 0 of 2 runs; first at cat" in text
    assert Path("fixed.keras").exists()


def test_repair_of_nothing_but_the_unknown_writes_nothing(parity: Invoke) -> None:
    """Where no fault has a proven remedy there is no file, and the page says so."""
    done = parity("repair", "small", "-o", "fixed.keras", join=lambda a, b: wrong_ports.unheard_of(a, b))
    assert done.exit_code == 1
    assert "nothing: no fault with a proven remedy" in done.stdout
    assert wrong_ports.left_in(Path()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-o", "fixed.h5"], "fixed.h5 is not named as a Keras file; give it the ending .keras"),
        (["-o", "there.keras"], "there.keras exists; --force overwrites it"),
        (["-o", "there.keras", "--port", "there.keras"],
         "there.keras is the port itself, which is never touched; give another file"),
        (["-o", "./there.keras", "--port", "there.keras", "--force"],
         "there.keras is the port itself, which is never touched; give another file"),
        (["-o", "/proc/fixed.keras"], "cannot write"),
        (["-o", "there.keras/fixed.keras"], "cannot write"),
        (["-o", "fixed.keras", "--mode", "fast"], "unknown mode 'fast'; the known ones are eager, graph, xla"),
    ],
)  # fmt: skip
def test_repair_refuses_what_it_must_not_write(parity: Invoke, words: list[str], sentence: str) -> None:
    """Wrong use is one sentence on stderr, before any work, and no file is touched."""
    Path("there.keras").write_bytes(b"mine")
    done = parity("repair", "small", *words, scale=1.0)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"parity: {sentence}")
    assert done.stderr.count("\n") == 1
    assert Path("there.keras").read_bytes() == b"mine"
    assert wrong_ports.left_in(Path()) == ["there.keras"]


@SAVES
def test_force_overwrites(parity: Invoke) -> None:
    """With --force an older file gives way to the copy."""
    Path("fixed.keras").write_bytes(b"older")
    assert parity("repair", "small", "-o", "fixed.keras", "--force", scale=1.0).exit_code == 0
    assert Path("fixed.keras").read_bytes()[:2] == b"PK"


@pytest.mark.parametrize("command", ["verify", "explain", "repair"])
@pytest.mark.parametrize(("content", "words", "code"), [(None, "nosuch", 2), (b"not a model", "", 3)])
def test_a_port_that_cannot_be_loaded_is_one_sentence(
    parity: Invoke, command: str, content: bytes | None, words: str, code: int
) -> None:
    """A missing file (wrong use), or one that is no Keras file, is one sentence; no traceback, nothing written."""
    if content is not None:
        Path("nosuch.keras").write_bytes(content)
    more = {"verify": [], "explain": ["third"], "repair": ["-o", "fixed.keras"]}[command]
    done = parity(command, "small", *more, "--port", "nosuch.keras")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith("parity: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not Path("fixed.keras").exists()


@pytest.mark.parametrize("command", ["explain", "repair"])
def test_help_of_each_command_has_examples_that_exist(parity: Invoke, command: str) -> None:
    """The examples of explain and repair use options that these commands have."""
    text = parity(command, "--help").stdout
    examples = [line for line in text.splitlines() if line.startswith("    parity ")]
    assert examples
    options = text.split("Options:")[1]
    assert all(word in options for line in examples for word in line.split() if word.startswith("-"))
