"""`parity convert` and `parity.convert`: what is written, what is refused, and what a user is told."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import parity
from parity.building import BUILDERS
from parity.building.registry import _BUILDERS
from parity.cli import app
from parity.conversion import Converted, input_layouts, made_up
from parity.errors import ConversionError, ParityError, UsageError
from parity.frameworks import keras, torch
from parity.pairs import INPUT, Input

nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves

NET = """
import torch
from parity.building import builds


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.act = torch.nn.LeakyReLU(0.1)

    def forward(self, image):
        return self.act(self.conv(image))


class Wave(torch.nn.Module):
    def forward(self, x):
        return torch.lgamma(x)


class Unknown(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.wave, self.pool = torch.nn.Conv2d(3, 4, 1), Wave(), torch.nn.FractionalMaxPool2d(2, 2)

    def forward(self, image):
        return self.pool(self.wave(self.conv(image)))


class Scale(torch.nn.Module):
    def forward(self, x):
        return x * 2


@builds(Scale, layout="any")
def scale(layer, site, x):
    return x * FACTOR


FACTOR = 2


def scaled():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), Scale())


def sequence():
    return torch.nn.Sequential(torch.nn.Linear(5, 4))


def tokens():
    return torch.nn.Sequential(torch.nn.Embedding(11, 6), torch.nn.Linear(6, 4))


class Fixed(torch.nn.Module):
    def forward(self, x):
        return x.view(2, 60) * 2


class Scaled(torch.nn.Module):
    def forward(self, x):
        return x * 2 + 1
"""


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Run `parity convert` on what is in net.py of an empty folder; the module and its builders are forgotten then."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    known = set(BUILDERS)
    yield lambda what, *more: CliRunner().invoke(app, ["convert", what, "-o", "net.keras", "--mode", "eager", *more])
    sys.modules.pop("net", None)
    for kind in set(BUILDERS) - known:
        del _BUILDERS[kind]


def listed() -> set[str]:
    """What is in the folder, hidden files too, but for what Python left."""
    return {each.name for each in Path().iterdir()} - {"net.py", "__pycache__"}


WRITTEN = {"net.keras", "net.report.json", "net.report.html"}


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_module_is_written_with_its_report(invoke: Callable[..., Any]) -> None:
    """The file computes what the module computes, the report says so, and nothing else is left."""
    result = invoke("net.py:Net", "--shape", "2,3,9,11")
    assert result.exit_code == 0, result.output
    assert "PASS: the port of net.py:Net computes what its reference computes" in result.output
    assert "written: net.keras" in result.output
    assert listed() == WRITTEN
    report = parity.Report.load("net.report.json")
    assert report.passed
    assert report.coverage.matched == {"conv": "conv", "act": "act"}
    assert [run.input for run in report.runs] == ["noise", "larger batch"]
    image = np.random.default_rng(1).standard_normal((4, 3, 9, 11)).astype(np.float32)
    with torch.no_grad():
        expected = sys.modules["net"].Net().eval()(torch.from_numpy(image)).numpy()
    actual = np.asarray(keras.saving.load_model("net.keras")(np.transpose(image, (0, 2, 3, 1))))
    np.testing.assert_allclose(np.transpose(actual, (0, 3, 1, 2)), expected, atol=1e-5)


def test_a_file_needs_keras_alone(invoke: Callable[..., Any]) -> None:
    """A process that cannot import parity or torch loads the file in safe mode."""
    assert invoke("net.py:Net", "--shape", "1,3,9,11").exit_code == 0
    code = (
        "import sys; sys.modules['torch'] = sys.modules['parity'] = None; import keras; "
        "print(keras.saving.load_model('net.keras', safe_mode=True).count_params())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.split() == ["140"], ended.stderr


def test_channels_first(invoke: Callable[..., Any]) -> None:
    """In the other data format the model takes and gives what torch does."""
    assert invoke("net.py:Net", "--shape", "1,3,9,11", "--data-format", "channels_first").exit_code == 0
    assert keras.saving.load_model("net.keras").input_shape == (None, 3, 9, 11)


def test_nothing_is_overwritten_unless_asked(invoke: Callable[..., Any]) -> None:
    """A file that is there stays as it is, with exit code 2; with --force it is replaced."""
    Path("net.keras").write_text("mine")
    result = invoke("net.py:Net", "--shape", "1,3,9,11")
    assert result.exit_code == 2
    assert "net.keras exists; --force overwrites it" in result.output
    assert Path("net.keras").read_text() == "mine"
    assert invoke("net.py:Net", "--shape", "1,3,9,11", "--force").exit_code == 0
    assert listed() == WRITTEN


def test_what_does_not_pass_is_not_written(invoke: Callable[..., Any]) -> None:
    """A builder that computes something else ends with exit code 1 and no file; the report names the layer."""
    Path("net.py").write_text(NET.replace("FACTOR = 2", "FACTOR = 2.001"))
    result = invoke("net.py:scaled", "--shape", "1,3,9,11")
    assert result.exit_code == 1, result.output
    assert "not written: net.keras; --write-anyway writes it all the same" in result.output
    assert listed() == WRITTEN - {"net.keras"}
    assert [finding.layer for finding in parity.Report.load("net.report.json").findings][:1] == ["1.mul"]
    result = invoke("net.py:scaled", "--shape", "1,3,9,11", "--write-anyway")
    assert result.exit_code == 1
    assert "written: net.keras" in result.output
    assert listed() == WRITTEN


def test_a_builder_of_the_users_is_used(invoke: Callable[..., Any]) -> None:
    """A kind that the user's file registers is built by the user's function, and verified as any other."""
    result = invoke("net.py:scaled", "--shape", "1,3,9,11")
    assert result.exit_code == 0, result.output
    assert parity.Report.load("net.report.json").coverage.matched == {"0": "0", "1.mul": "1"}


def test_a_converter_that_is_wrong_is_found_out(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Break one of parity's own builders, and the model is refused: nobody has to trust it."""
    builder = BUILDERS[nn.LeakyReLU]
    broken = lambda layer, site, x: keras.layers.LeakyReLU(layer.negative_slope * 1.002)(x)  # noqa: E731
    monkeypatch.setitem(_BUILDERS, nn.LeakyReLU, type(builder)(of=nn.LeakyReLU, function=broken, layout="any", how=""))
    result = invoke("net.py:Net", "--shape", "1,3,9,11")
    assert result.exit_code == 1
    assert "act" in result.output
    assert "net.keras" not in listed()


def test_all_that_cannot_be_converted_is_named(invoke: Callable[..., Any]) -> None:
    """With exit code 3 and before anything is written, each by its path, its kind and the reason."""
    result = invoke("net.py:Unknown", "--shape", "1,3,9,11")
    assert result.exit_code == 3
    lines = result.output.splitlines()
    assert lines[0] == "parity: 2 steps cannot be converted; nothing was built:"
    assert lines[1].split(": ")[0] == "  wave.lgamma (torch.lgamma)"
    assert lines[2].split(": ")[0] == "  pool (torch.nn.FractionalMaxPool2d)"
    assert not listed()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["net.py:Net"], "nothing says the shape of net.py:Net's input"),
        (["net.py:Nets", "--shape", "1,3,9,11"], "net.py has no 'Nets'; did you mean 'Net'?"),
        (["net.py:FACTOR", "--shape", "1,3,9,11"], "int"),
        (["net.py:Net", "--shape", "1,3,9,11", "--axes", "NHW"], "not one letter for each of the 4 axes"),
        (["net.py:Net", "--shape", "picture=1,3,9,11"], "the module has no input 'picture'; its forward takes image"),
        (["net.py:Net", "--shape", "1,3,9,11", "--size", "9x11"], "--size is for pairs"),
        (["net.py:Scaled", "--shape", "2,5,7"], "say --axes NCL for a map"),
        (["nosuch", "--shape", "1,3"], "no model is called 'nosuch'"),
    ],
)
def test_wrong_use_is_one_sentence(invoke: Callable[..., Any], words: list[str], sentence: str) -> None:
    """Exit code 2, the value in the sentence, nothing written."""
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    assert sentence in result.output
    assert not listed()


def test_a_reference_that_takes_no_such_input_is_an_error(invoke: Callable[..., Any]) -> None:
    """A shape that torch refuses is told in torch's words, with exit code 3."""
    result = invoke("net.py:Net", "--shape", "1,4,9,11")
    assert result.exit_code == 3
    assert "the reference cannot run on torch.float32 of shape (1, 4, 9, 11)" in result.output
    assert not listed()


def test_axes_that_nothing_says_can_be_said(invoke: Callable[..., Any]) -> None:
    """The same numbers are a sequence or a map: the file is as it was told."""
    assert invoke("net.py:Scaled", "--shape", "2,5,7", "--axes", "NLC").exit_code == 0
    assert keras.saving.load_model("net.keras").input_shape == (None, 5, 7)
    assert invoke("net.py:Scaled", "--shape", "2,5,7", "--axes", "NCL", "--force").exit_code == 0
    assert keras.saving.load_model("net.keras").input_shape == (None, 7, 5)


def test_a_pair_gives_the_reference_and_the_inputs(invoke: Callable[..., Any]) -> None:
    """`parity convert tagger` converts the reference of the pair that parity knows by that name."""
    result = invoke("tagger")
    assert result.exit_code == 0, result.output
    assert "PASS: the port of tagger" in result.output


def test_a_network_of_one_batch_is_said_to_be(invoke: Callable[..., Any]) -> None:
    """Where the module names its batch, the model is for that batch, and a line says so."""
    result = invoke("net.py:Fixed", "--shape", "2,3,5,4")
    assert result.exit_code == 0, result.output
    assert "note: it takes batches of that one size" in result.output
    assert "note: " not in invoke("net.py:Net", "--shape", "2,3,9,11", "--force").output


def test_an_interruption_at_the_page_takes_no_more_than_that(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model and its report are written by then, and are said to be."""

    def interrupted(*args: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("parity.render.html.page", interrupted)
    result = invoke("net.py:Net", "--shape", "1,3,9,11")
    assert result.exit_code == 130
    assert "written: net.keras" in result.output
    assert "interrupted while net.report.html was written; it may be an earlier run's" in result.output
    assert "nothing was written" not in result.output
    assert listed() == WRITTEN - {"net.report.html"}


def test_quiet_is_one_line(invoke: Callable[..., Any]) -> None:
    """With -q the verdict alone is printed."""
    result = invoke("net.py:Net", "--shape", "1,3,9,11", "-q")
    assert result.output.splitlines() == [
        "PASS: the port of net.py:Net computes what its reference computes, in 2 of 2 runs"
    ]


# -- in Python ---------------------------------------------------------------------------------------------------------


def small() -> nn.Module:
    """A module with a dropout and a norm, in training mode as modules are made."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())


def converted(module: nn.Module | None = None, given: Any = (1, 3, 6, 8)) -> Converted:
    """A module converted and verified in one mode."""
    return parity.convert(module or small(), given, modes=("eager",))


def test_a_module_in_training_mode_is_converted_as_it_is_run(tmp_path: Path) -> None:
    """It is converted in evaluation mode, and stays in training mode itself."""
    module = small()
    found = converted(module)
    assert found.passed
    assert module.training
    assert found.save(tmp_path / "net.keras") == tmp_path / "net.keras"
    assert json.loads((tmp_path / "net.report.json").read_text())["verdict"] == "pass"


def test_inputs_of_ones_own_are_verified_on(tmp_path: Path) -> None:
    """Inputs that are given are those of the report."""
    inputs = [parity.inputs.noise((2, 3, 6, 8), name="one"), parity.inputs.probe("ramp", (1, 3, 6, 8))]
    report = converted(given=inputs).report
    assert [run.input for run in report.runs] == ["one", "ramp", "larger batch"]


def test_a_model_that_failed_is_not_saved(tmp_path: Path) -> None:
    """`save` refuses what did not pass, and what would overwrite; both can be asked for."""
    found = converted()
    found.model.layers[1].set_weights([each * 1.01 for each in found.model.layers[1].get_weights()])
    spoilt = Converted(
        model=found.model,
        pair=found.pair,
        inputs=found.inputs,
        report=parity.verify(found.pair, found.inputs, ("eager",)),
    )
    assert not spoilt.passed
    with pytest.raises(ConversionError, match="is not written: the model does not compute"):
        spoilt.save(tmp_path / "net.keras")
    assert not (tmp_path / "net.keras").exists()
    spoilt.save(tmp_path / "net.keras", write_anyway=True)
    with pytest.raises(UsageError, match=r"net\.keras exists"):
        spoilt.save(tmp_path / "net.keras", write_anyway=True)
    with pytest.raises(UsageError, match=r"give it the ending \.keras"):
        spoilt.save(tmp_path / "net.h5")


def test_a_file_that_is_another_model_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is loaded is not what was saved, nothing is left under the name."""
    found = converted()
    load = keras.saving.load_model

    def another(*args: Any, **kwargs: Any) -> Any:
        model = load(*args, **kwargs)
        model.layers[1].set_weights([each * 1.01 for each in model.layers[1].get_weights()])
        return model

    monkeypatch.setattr(keras.saving, "load_model", another)
    with pytest.raises(ConversionError, match="another model once it is loaded again"):
        found.save(tmp_path / "net.keras")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_module_is_refused() -> None:
    """A function, or a shape that is none, is said to be what it is."""
    with pytest.raises(UsageError, match="a function cannot be converted"):
        parity.convert(lambda x: x, (1, 3))
    with pytest.raises(UsageError, match="neither an Input nor a shape"):
        converted(given="1,3")


# -- what inputs are ---------------------------------------------------------------------------------------------------


def layout(module: nn.Module, *shape: int) -> str:
    """The axes that the only input of a module has."""
    return input_layouts(module.eval(), made_up(module.eval(), shape))[INPUT]


def test_axes_follow_from_the_first_readers() -> None:
    """A convolution reads a map, an LSTM and a dense layer sequences: of the same shape."""
    assert layout(nn.Sequential(nn.Conv1d(5, 2, 1)), 2, 5, 5) == "NCL"
    assert layout(nn.Sequential(nn.Linear(5, 2)), 2, 5, 5) == "NLC"
    assert layout(nn.LSTM(5, 2, batch_first=True), 2, 5, 5) == "NLC"
    assert layout(nn.LSTM(5, 2), 2, 5, 5) == "LNC"
    assert layout(nn.Sequential(nn.Tanh(), nn.BatchNorm1d(5)), 2, 5, 5) == "NCL"


def test_tokens_are_made_for_embeddings() -> None:
    """An input that an embedding reads holds whole numbers below its vocabulary, others floats."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(3, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor, ids: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.embedding(ids)) * scale[:, None, None]

    given = made_up(Both(), {"scale": (2,), "ids": (2, 5), "x": (2, 5, 4)})
    assert [array.dtype.kind for array in given.arrays.values()] == ["f", "i", "f"]
    assert given.arrays["input[1]"].max() < 3
    assert converted(Both(), {"scale": (2,), "ids": (2, 5), "x": (2, 5, 4)}).passed


def test_inputs_are_called_as_forward_names_them() -> None:
    """Where one is left out, those after it are given by name."""

    class Net(nn.Module):
        def forward(self, x: torch.Tensor, y: Any = None, z: Any = None) -> torch.Tensor:
            return x * 2 if z is None else x * z

    given = made_up(Net(), {"x": (2, 3), "z": (2, 3)})
    assert isinstance(given, Input)
    assert list(given.arrays) == ["input[0]", "input.z"]
    assert converted(Net(), {"x": (2, 3), "z": (2, 3)}).passed


class Leaking(nn.Module):
    """A network in which a hook hands on a value that a trace takes for a constant."""

    def __init__(self, *, batch: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.batch = nn.Conv2d(3, 4, 3), batch
        self.conv.register_forward_hook(lambda module, args, made: setattr(module, "seen", made.max()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).view(self.batch, 4, 4, 4) * self.conv.seen


@pytest.mark.parametrize(("batch", "other"), [(-1, "larger batch"), (1, "other values")])
def test_values_that_are_built_in_do_not_pass(batch: int, other: str) -> None:
    """A model is verified on other values than it was built on, whether or not it takes batches of any size."""
    found = parity.convert(Leaking(batch=batch), (1, 3, 6, 6), modes=("eager",))
    assert {each.layer for each in found.report.findings} == {"mul"}
    assert [run.input for run in found.report.runs] == ["noise", other]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit itself
def test_torchscript_is_refused_with_a_sentence() -> None:
    """Its Python is gone; the module that it was made of is asked for."""
    scripted = torch.jit.script(nn.Conv2d(3, 4, 3))
    with pytest.raises(UsageError, match=r"^1 is compiled by torch.jit; give the module that it was made of"):
        parity.convert(nn.Sequential(nn.ReLU(), scripted), (1, 3, 6, 6))


class Failing(nn.Module):
    """A module whose own code fails."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such mode")


def test_what_a_module_raises_is_said_in_a_sentence() -> None:
    """Its own error is named with the line that it comes from."""
    with pytest.raises(ParityError, match=r"the module failed with ValueError: no such mode \(.*test_convert.py, line"):
        parity.convert(Failing(), (1, 3, 6, 6))
