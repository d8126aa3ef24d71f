"""Ports that are no flat functional model and are opened: subclassed, nested, of both Keras."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ports_of_forms import TorchNet, image, layers, loaded, nested, nn, ops, report_of, subclassed, tf_keras

from parity.converters import transfer
from parity.errors import PairError
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.repair import repair
from parity.runners.ports import Port
from parity.verification import verify


class Around(keras.Model):
    """A subclassed model around a nested one."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)


class AroundLegacy(tf_keras.Model):  # type: ignore[misc]
    """The same in tf_keras."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)


FORMS: dict[str, tuple[Callable[[bool], Any], str]] = {
    "subclassed": (lambda wrong: subclassed(ops, wrong), "blocks/1/conv"),
    "subclassed, of tf": (lambda wrong: subclassed(tf, wrong), "blocks/1/conv"),
    "nested": (lambda wrong: nested(keras, wrong), "blocks_1/conv"),
    "nested in subclassed": (lambda wrong: Around(nested(keras, wrong)), "inner/blocks_1/conv"),
    "tf_keras": (lambda wrong: nested(tf_keras, wrong), "blocks_1/conv"),
    "tf_keras, subclassed": (lambda wrong: AroundLegacy(nested(tf_keras, wrong)), "inner/blocks_1/conv"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_faithful_port_passes(form: str) -> None:
    """Every weighted layer is matched, nothing introduces error, and the graph's output is the model's own."""
    report = report_of(TorchNet(), FORMS[form][0](False), image(), "eager", "graph")
    assert report.passed
    assert report.coverage.weighted == 6
    assert all(run.watching.same for run in report.runs)


@pytest.mark.parametrize("form", FORMS)
def test_a_fault_inside_is_found_and_explained(form: str) -> None:
    """The layer that pads another side is named by its path, alone, with the cause."""
    make, layer = FORMS[form]
    report = report_of(TorchNet(), make(True), image())
    found = [(found.layer, found.port_layer, found.cause.slug) for found in report.findings]
    assert found == [("blocks.1.conv", layer, "padding")], report.findings


def test_a_map_may_name_what_was_opened() -> None:
    """The name of a block stands for the tap that makes its value, that of a layer for itself."""
    layers = {"blocks.0": "blocks/0", "blocks.1.conv": "blocks/1/conv"}
    report = report_of(TorchNet(), subclassed(ops, False), image(), layers=layers)
    assert report.passed
    assert report.coverage.matched["blocks.0.relu"] == "blocks/0/relu"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, saving with NumPy 2
@pytest.mark.parametrize("form", ["subclassed", "nested in subclassed"])
def test_a_fault_inside_is_repaired_in_a_flat_copy(form: str, tmp_path: Path) -> None:
    """The copy is a functional model without the fault, which can be saved; the port itself is not touched."""
    make, layer = FORMS[form]
    port = make(True)
    before = {name: np.asarray(value) for name, value in port(image().array.transpose(0, 2, 3, 1)).items()}
    pair = Pair(name="form", reference=TorchNet(), port=port, layers={"blocks.1.conv": layer})
    repaired = repair(pair, [image()])
    assert repaired.report.passed
    assert [(change.layer, change.port_layer) for change in repaired.changes] == [
        ("blocks.1.conv", layer.replace("/", "."))
    ]
    for name, value in port(image().array.transpose(0, 2, 3, 1)).items():
        np.testing.assert_array_equal(np.asarray(value), before[name])
    repaired.model.save(tmp_path / "repaired.keras")
    assert report_of(TorchNet(), tmp_path / "repaired.keras", image()).passed


class TorchPairwise(nn.Module):
    """Two inputs of different channels, and a mask by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(3, 5), nn.Linear(2, 5)
        self.eval()

    def forward(self, left: torch.Tensor, right: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return (self.first(left) - self.second(right)) * valid


class Pairwise(keras.Model):
    """Its port; `order` is that of the parameters, or says that one takes all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = layers.Dense(5), layers.Dense(5)

    def compared(self, left: Any, right: Any, valid: Any) -> Any:
        return (self.first(left) - self.second(right)) * valid


class ByName(Pairwise):
    """Parameters in another order, and one that nobody gives."""

    def call(self, right: Any, valid: Any, left: Any, scale: float = 1.0) -> Any:
        return self.compared(left, right, valid) * scale


class ByList(Pairwise):
    """One parameter with a list."""

    def call(self, inputs: Any) -> Any:
        left, right, valid = inputs
        return self.compared(left, right, valid)


class ByKey(Pairwise):
    """One parameter with a dict."""

    def call(self, inputs: Any) -> Any:
        return self.compared(inputs["left"], inputs["right"], inputs["valid"])


@pytest.mark.parametrize("kind", [ByName, ByList, ByKey])
def test_inputs_find_their_way(kind: type[Any]) -> None:
    """Several inputs are passed by the parameters' names, as a list or as a dict, whatever the call takes."""
    generator = np.random.default_rng(0)
    left, right, valid = (generator.standard_normal((7, size), dtype=np.float32) for size in (3, 2, 1))
    port = kind()
    for layer, size in ((port.first, 3), (port.second, 2)):
        layer.build((None, size))
    reference = TorchPairwise()
    loaded(port, reference, {"first": port.first, "second": port.second})
    assert report_of(reference, port, Input(name="three", args=(left, right), kwargs={"valid": valid})).passed


def test_inputs_of_other_shapes_are_verified_too() -> None:
    """A model that had to be opened is opened again for other sizes."""
    pair = Pair(name="sizes", reference=TorchNet(), port=subclassed(ops, True))
    given = [image(), noise((1, 3, 10, 14), seed=1, low=-1, high=1)]
    report = verify(pair, given, ("eager",))
    assert [found.layer for found in report.findings] == ["blocks.1.conv"]  # at 5 x 7, `same` is symmetrical
    assert [run.input for run in report.runs if run.agrees] == [given[1].name]


def test_a_port_that_takes_no_such_input_is_told_in_a_sentence() -> None:
    """What the port itself says is passed on, with the shapes that it was given."""
    port = subclassed(ops, False)
    with pytest.raises(PairError, match=r"cannot be run on input \(2, 20, 12, 4\)"):
        Port(port).engine({"input": np.zeros((2, 20, 12, 4), np.float32)}, {"input": "x"}, {})


def test_what_cannot_be_called_is_no_port() -> None:
    """A port is a model or a callable."""
    with pytest.raises(PairError, match="the port is a dict"):
        Port({})


class ChannelsFirst(keras.Model):  # type: ignore[misc]
    """A port that takes a picture as torch does, and refuses any other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2D(4, 3)

    def call(self, image: Any) -> Any:
        if image.shape[1] != 3:
            raise ValueError("three channels are needed")
        return self.conv(ops.transpose(image, (0, 2, 3, 1)))


def test_a_port_that_takes_the_references_order_is_told_how_to_say_so() -> None:
    """Where the port refuses an input whose axes were moved, the message has the declaration, and that helps."""
    net, port = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval(), ChannelsFirst()
    port(np.zeros((1, 3, 8, 8), np.float32))
    transfer(net, port, {"0": port.conv})
    with pytest.raises(PairError, match=r"as NHWC, .* Pair\(axes=\{'input': \('NCHW', 'NCHW'\)\}\)"):
        verify(Pair(name="first", reference=net, port=port), inputs=[image()], modes=("eager",))
    declared = Pair(name="first", reference=net, port=port, axes={"input": ("NCHW", "NCHW")})
    assert verify(declared, inputs=[image()], modes=("eager",)).passed
