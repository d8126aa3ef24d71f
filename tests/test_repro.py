"""`parity repro`: the script of a layer, what lies beside it, and that it shows what the report says."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_ports as small
from typer.testing import CliRunner

from parity.cli import app
from parity.errors import PairError, UsageError
from parity.frameworks import keras, torch
from parity.models import Settings, load
from parity.pairs import Input, Pair
from parity.report import Report
from parity.repro import Repro, folder_name, of_findings, of_layer
from parity.repro.code import RESERVED
from parity.repro.expressions import UnwritableError, identifier, written
from parity.repro.reference_code import constructed
from parity.repro.script import LINES
from parity.verification import Verifier

layers = keras.layers


@pytest.fixture(scope="module")
def reference() -> small.Net:
    """The small network; no test changes it."""
    return small.net()


Write = Callable[..., Repro]


@pytest.fixture
def write(reference: small.Net, tmp_path: Path) -> Write:
    """Write a layer of a port with these parts."""

    def run(layer: str, mode: str = "eager", **parts: Any) -> Repro:
        verifier = Verifier(small.pair(reference, small.port(reference, **parts)))
        return of_layer(verifier, small.picture(), mode, layer, tmp_path / layer, lambda text, done: None)

    return run


def script(made: Repro) -> str:
    """The text of the script."""
    return (made.folder / "repro.py").read_text(encoding="utf-8")


def run(folder: Path, *missing: str) -> subprocess.CompletedProcess[str]:
    """The script in a process that has neither this folder nor parity nor the `missing` modules."""
    blocked = ("parity", *missing)
    start = f"import runpy, sys; sys.modules.update(dict.fromkeys({blocked!r})); runpy.run_path('repro.py')"
    return subprocess.run(
        [sys.executable, "-I", "-c", start], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


# --- run without parity ----------------------------------------------------------------------------------------------


def from_recorded(text: str) -> float:
    """How far torch's value is from the recorded one, as a script prints it: rounding, with other threads than then."""
    found = re.search(r"torch \S+: at most (\S+) from the recorded output", text)
    assert found, text
    return float(found[1])


def test_the_script_shows_the_error_of_the_report(write: Write, reference: small.Net) -> None:
    """A wrong padding: without parity the script ends with 1 and names the error that the report has for the layer."""
    made = write("second", second=small.same_padding)
    finding = report(reference, second=small.same_padding).findings[0]
    done = run(made.folder)
    assert done.returncode == 1, done.stderr
    assert from_recorded(done.stdout) < 1e-5
    (shown,) = re.findall(r"eager: diverges: RMSE (\S+) relative, expected about", done.stdout)
    assert float(shown) == pytest.approx(finding.error, rel=0.05)
    assert made.error == finding.error


def test_a_right_layer_agrees_also_without_torch(write: Write) -> None:
    """A faithful layer: the script ends with 0, and without torch says that it compares what was recorded."""
    made = write("second")
    done = run(made.folder, "torch")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "torch is not installed: comparing with the recorded output"
    assert "agrees: RMSE" in done.stdout


def test_without_keras_the_original_is_shown_and_nothing_is_compared(write: Write) -> None:
    """Where Keras is missing the torch layer still gives the recorded output, and the exit code is neither 0 nor 1."""
    done = run(write("second").folder, "keras")
    assert done.returncode == 2, done.stderr
    assert from_recorded(done.stdout) < 1e-5
    assert "nothing compared" in done.stdout


def report(reference: small.Net, **parts: Any) -> Report:
    """The report of a port with these parts in eager mode."""
    return Verifier(small.pair(reference, small.port(reference, **parts))).report(small.picture(), ("eager",))


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_folder_holds_what_a_report_needs(write: Write) -> None:
    """Inputs, both sides' weights and the expected output lie there without pickles; the README has the cause."""
    made = write("second", second=small.same_padding)
    with np.load(made.folder / "data.npz", allow_pickle=False) as data:
        shapes = {key: data[key].shape for key in data}
    assert shapes == {
        "expected": (1, 5, 6, 7),
        "value.slope": (1, 4, 12, 14),
        "torch.second.weight": (5, 4, 3, 3),
        "torch.second.bias": (5,),
        "keras.second.kernel": (3, 3, 4, 5),
        "keras.second.bias": (5,),
    }
    readme = (made.folder / "README.md").read_text(encoding="utf-8")
    assert "cause: padding (same pads 0,1; reference pads 1,1)" in readme
    assert f"keras {keras.__version__}" in readme


def test_the_script_is_short_and_knows_no_parity(write: Write) -> None:
    """The script has at most 40 lines, says how both layers are set up, and imports only what anybody has."""
    text = script(write("second"))
    assert len(text.splitlines()) <= LINES == 40
    assert "torch.nn.Conv2d(4, 5, (3, 3), stride=(2, 2), padding=(1, 1))" in text
    assert "keras.layers.Conv2D(5, (3, 3), strides=(2, 2))" in text
    assert 'np.transpose(data["value.slope"], (0, 2, 3, 1)))  # NCHW -> NHWC' in text
    imported = {name.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"os", "sys", "numpy", "torch", "keras", "tensorflow"}


@pytest.mark.parametrize(
    ("layer", "theirs", "ours"),
    [
        ("slope", "torch.nn.LeakyReLU(negative_slope=0.1)", "keras.layers.LeakyReLU(negative_slope=0.1)(x)"),
        ("pool", "torch.nn.AvgPool2d(2, stride=2)", "keras.layers.AveragePooling2D((2, 2), strides=(2, 2))(x)"),
        ("cat", "torch.cat((torch.from_numpy(", "keras.layers.Concatenate()([x0, x1])"),
        ("mul", ".mul(20)", "keras.layers.Rescaling(20.0)(x)"),
    ],
)
def test_layers_without_weights_are_written_out(write: Write, layer: str, theirs: str, ours: str) -> None:
    """Modules, functions and methods of torch, and the Keras layers that answer to them, are written as usual."""
    made = write(layer)
    assert made.passed
    assert made.reproduces
    assert theirs in script(made)
    assert ours in script(made)


@pytest.mark.parametrize(("mode", "words"), [("graph", "tf.function(port)(x)"), ("xla", "jit_compile=True)(x)")])
def test_the_script_runs_in_the_mode_of_the_finding(write: Write, mode: str, words: str) -> None:
    """A layer that is wrong in graph or XLA mode is run in that mode, and is as wrong there."""
    made = write("second", mode, second=small.same_padding)
    assert words in script(made)
    assert made.reproduces
    assert made.shown == pytest.approx(made.error, rel=1e-3)


def test_a_port_with_another_shape_is_shown_as_that(write: Write) -> None:
    """A segment whose value has another shape than the reference's has no error in numbers, and the script says so."""
    made = write("cat", join=_wider)
    assert made.shown is None
    assert made.reproduces
    assert "diverges: shape {actual.shape}, but should be {expected.shape}" in script(made)


def _wider(a: Any, b: Any) -> Any:
    return layers.ZeroPadding2D(((0, 0), (0, 1)), name="join")(layers.Concatenate(name="inner")([a, b]))


# --- what cannot be written out --------------------------------------------------------------------------------------


class Bent(layers.Conv2D):
    """A layer of the port's own that does something else than its name says."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.abs(super().call(inputs))


class Plain(layers.Conv2D):
    """A layer of the port's own that does what the Keras layer does that it extends."""


@pytest.mark.parametrize(
    "own",
    [
        lambda x: Bent(5, 3, strides=2, name="second")(layers.ZeroPadding2D(1)(x)),
        lambda x: layers.Lambda(lambda v: v[:, ::2, ::2] * 2.0, name="second")(layers.Conv2D(5, 1, name="inner")(x)),
    ],
    ids=["a class", "a Lambda"],
)
def test_what_needs_the_ports_own_code_is_refused(reference: small.Net, tmp_path: Path, own: Any) -> None:
    """A layer class of the port's own, or a Lambda, is refused by name, and nothing is written."""
    pair = small.pair(reference, _unloaded(reference, own))
    with pytest.raises(
        PairError, match=r"no script for 'second' can do without your code: the port has 'second' there"
    ):
        of_layer(Verifier(pair), small.picture(), "eager", "second", tmp_path / "out", lambda text, done: None)
    assert not (tmp_path / "out").exists()


def _unloaded(reference: small.Net, second: Callable[[Any], Any]) -> Any:
    """The port with another second layer, whose weights are left as they are drawn."""
    image = keras.Input((small.HEIGHT, small.WIDTH, 3), name="image")
    x = layers.LeakyReLU(negative_slope=0.1, name="slope")(layers.Conv2D(4, 3, padding="same", name="first")(image))
    x = layers.Concatenate(name="join")([second(x), layers.AveragePooling2D(2, name="pool")(x)])
    x = layers.Conv2D(2, 3, padding="same", name="third")(x)
    return keras.Model(image, layers.Rescaling(20.0, name="scale")(x))


def test_a_class_of_the_ports_own_that_adds_nothing_is_written_as_the_keras_layer(write: Write) -> None:
    """A subclass that computes what its Keras class does needs no code of the port's."""
    made = write("second", second=lambda x: Plain(5, 3, strides=2, name="second")(layers.ZeroPadding2D(1)(x)))
    assert made.passed
    assert "keras.layers.Conv2D(5, (3, 3), strides=(2, 2))" in script(made)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves
def test_a_long_segment_goes_into_a_file(reference: small.Net, tmp_path: Path) -> None:
    """Where both sides take more than 40 lines the port's part is a Keras file, and the error is the same."""

    def second(x: Any) -> Any:
        for _ in range(9):
            x = keras.ops.negative(x)
        return layers.Conv2D(5, 3, strides=2, padding="same", name="second")(x)

    verifier = Verifier(small.pair(reference, small.port(reference, second=second)))
    made = of_layer(verifier, small.picture(), "eager", "second", tmp_path, lambda text, done: None)
    assert made.lines <= LINES
    assert (tmp_path / "segment.keras").exists()
    assert 'keras.models.load_model("segment.keras", compile=False)' in script(made)
    assert made.shown == pytest.approx(made.error, rel=1e-3)


class OfItsOwn(torch.nn.Module):
    """A torch layer that is none of torch.nn's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale[:, None, None]


def test_a_torch_layer_of_its_own_is_replaced_by_what_it_made(tmp_path: Path) -> None:
    """Where the original cannot be written out the script compares with the recorded output, and says why."""
    image = keras.Input((5, 7, 3))
    port = keras.Model(image, layers.Rescaling([1.0, -2.0, 2.0], name="scaled")(image))
    pair = Pair(name="own", reference=torch.nn.Sequential(OfItsOwn()).eval(), port=port, layers={"0": "scaled"})
    given = Input(name="noise", array=np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32))
    made = of_layer(Verifier(pair), given, "eager", "0", tmp_path, lambda text, done: None)
    assert "import torch" not in script(made)
    assert "# The original's output is the recorded one, since this script cannot make it: a OfItsOwn" in script(made)
    assert made.reproduces
    assert not made.passed


# --- layers of many kinds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("residual", "block1.bn1"), ("unet", "up1"), ("encoder", "attention.view"),
        ("tagger", "lstm[0]"), ("tagger", "embedding"), ("encoder", "attention.softmax"),
        ("encoder", "attention.matmul"), ("encoder", "norm1"), ("mlp", "bins"),
        ("depthwise", "point"), ("upscaler", "add"),
    ],
)  # fmt: skip
def test_layers_of_many_kinds_agree_alone(tmp_path: Path, network: str, layer: str) -> None:
    """Norms, convolutions of all sorts, LSTMs, attention, reshaping and pooling do alone what they do inside."""
    pair, inputs = load(network, Settings())
    verifier = Verifier(pair)
    names = [segment.layer for segment in verifier.segments(inputs[0])]
    assert layer in names, names
    made = of_layer(verifier, inputs[0], "eager", layer, tmp_path, lambda text, done: None)
    assert made.passed
    assert made.reproduces
    assert made.notes == ()
    assert made.shown == pytest.approx(made.error, rel=1e-3, abs=1e-9)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def invoke(reference: small.Net, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command on a pair whose second layer and last factor are wrong."""
    model = small.port(reference, second=small.same_padding, scale=21.0)
    small.register(monkeypatch, lambda _: small.pair(reference, model))
    return lambda *words: CliRunner().invoke(app, ["repro", "small", *words])


def test_without_a_layer_every_finding_gets_a_folder(invoke: Callable[..., Any], tmp_path: Path) -> None:
    """Each layer at fault is written once, into a folder of its name, and the exit code is that of a divergence."""
    done = invoke("-o", str(tmp_path / "all"), "--input", "noise", "--mode", "eager,graph")
    assert (done.exit_code, done.stderr) == (1, "")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["mul", "second"]
    assert "second -> second: diverges: " in done.stdout
    readme = (tmp_path / "all" / "mul" / "README.md").read_text(encoding="utf-8")
    assert "made by: `parity repro small mul --input noise --mode eager -o folder`" in readme


def test_a_right_layer_exits_0(invoke: Callable[..., Any], tmp_path: Path) -> None:
    """A layer that is right is written as well, by the name that either side has for it."""
    done = invoke("join", "-o", str(tmp_path / "cat"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "cat -> join: agrees: 0"


def test_a_folder_in_use_is_not_written_into(invoke: Callable[..., Any], tmp_path: Path) -> None:
    """A folder that holds something is refused by the name of what it holds, unless --force is given; so is a file."""
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    done = invoke("second", "-o", str(tmp_path))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is not empty: it holds mine.txt; --force writes into it all the same" in done.stderr
    assert "is a file; a folder is needed" in invoke("second", "-o", str(tmp_path / "mine.txt")).stderr
    assert invoke("second", "-o", str(tmp_path), "--force").exit_code == 1
    assert (tmp_path / "mine.txt").exists()


def test_a_misspelt_layer_is_wrong_use(reference: small.Net, tmp_path: Path) -> None:
    """A name that no layer has is refused, and nothing is written."""
    verifier = Verifier(small.pair(reference, small.port(reference)))
    with pytest.raises(UsageError, match="did you mean 'second'"):
        of_layer(verifier, small.picture(), "eager", "secnd", tmp_path / "out", lambda text, done: None)
    assert not (tmp_path / "out").exists()


def test_a_port_without_faults_has_nothing_to_write(reference: small.Net, tmp_path: Path) -> None:
    """Where no layer is at fault no folder is made."""
    verifier = Verifier(small.pair(reference, small.port(reference)))
    found = of_findings(verifier, [small.picture()], ("eager",), tmp_path / "out", lambda text, done: None)
    assert found == ([], [])
    assert not (tmp_path / "out").exists()


# --- values as Python ------------------------------------------------------------------------------------------------

VALUES = [
    None,
    True,
    3,
    -0.5,
    float("inf"),
    "same",
    (2,),
    (),
    (1, (2, 3)),
    [1, None],
    {"a": 1.5},
    slice(0, None, 2),
    ...,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_read_back_as_it_was(value: Any) -> None:
    """What is written of a setting is an expression of the same value and type."""
    again = eval(written(value))
    assert (type(again), again) == (type(value), value)


def test_what_has_no_expression_is_refused() -> None:
    """A function among the arguments, or a torch layer of another module, is said and not guessed."""
    with pytest.raises(UnwritableError, match="a function"):
        written([1, lambda x: x])
    with pytest.raises(UnwritableError, match="OfItsOwn"):
        constructed(OfItsOwn())


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (torch.nn.LSTM(3, 5, batch_first=True), "torch.nn.LSTM(3, 5, batch_first=True)"),
        (torch.nn.Linear(3, 5, bias=False), "torch.nn.Linear(3, 5, bias=False)"),
        (torch.nn.BatchNorm2d(5, eps=1e-3), "torch.nn.BatchNorm2d(5, eps=0.001)"),
        (torch.nn.Upsample(scale_factor=2), "torch.nn.Upsample(scale_factor=2.0)"),
        (torch.nn.Embedding(7, 5, padding_idx=2), "torch.nn.Embedding(7, 5, padding_idx=2)"),
        (torch.nn.GELU(approximate="tanh"), 'torch.nn.GELU(approximate="tanh")'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_a_module_is_written_with_what_is_not_as_by_default(module: torch.nn.Module, text: str) -> None:
    """The settings without a default come first, then those that differ from it; the same settings come of it."""
    assert constructed(module) == text
    assert repr(eval(text)) == repr(module)


@pytest.mark.parametrize(
    ("name", "variable"), [("conv3_1.0", "conv3_1_0"), ("0", "layer_0"), ("class", "class_layer"), ("x", "x_layer")]
)
def test_a_variable_is_named_after_its_layer(name: str, variable: str) -> None:
    """A layer's name becomes an identifier that nothing else in the script has."""
    assert identifier(name, RESERVED) == variable
    assert folder_name("view#2/a") == "view_2_a"
