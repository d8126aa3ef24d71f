"""Ports that are no flat functional model: subclassed, nested, of tf_keras, plain functions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.converters import transfer
from parity.converters.registry import convert
from parity.errors import PairError
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.repair import repair
from parity.report import Report
from parity.runners.ports import Port
from parity.verification import verify

tf_keras = pytest.importorskip("tf_keras")
nn, layers, ops = torch.nn, keras.layers, keras.ops


def image() -> Input:
    """Noise of both signs, of even height and width: there `same` pads another side than torch at stride 2."""
    return noise((2, 3, 20, 12), seed=3, low=-1, high=1)


class TorchBlock(nn.Module):
    """Convolution at stride 2, norm and activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.conv(x)))


class TorchNet(nn.Module):
    """A stem, two blocks, and two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.blocks = nn.ModuleList([TorchBlock(5), TorchBlock(5)])
        self.head = nn.Linear(5, 4)
        for block in self.blocks:
            block.norm.running_mean.normal_()
            block.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return {"classes": self.head(x.mean((2, 3))), "map": x}


def loaded(port: Any, reference: nn.Module, pairs: Mapping[str, Any]) -> Any:
    """The port with the reference's weights; `pairs` has its layer for each module path."""
    for path, layer in pairs.items():
        layer.set_weights(convert(reference.get_submodule(path), path, layer))
    return port


PADS = [[0, 0], [1, 1], [1, 1], [0, 0]]


class Block(layers.Layer):
    """The port of the block: with `wrong`, padded by Keras; with `of`, by that library's functions."""

    def __init__(self, of: Any, wrong: bool) -> None:
        super().__init__()
        self.of, self.wrong = of, wrong
        self.conv = layers.Conv2D(5, 3, strides=2, padding="same" if wrong else "valid")
        self.norm = layers.BatchNormalization(epsilon=1e-5)

    def call(self, x: Any) -> Any:
        x = x if self.wrong else self.of.pad(x, PADS)
        return (ops if self.of is ops else tf.nn).relu(self.norm(self.conv(x)))


class Subclassed(keras.Model):
    """The port as a subclassed model of subclassed layers in a list."""

    def __init__(self, of: Any, wrong: bool) -> None:
        super().__init__()
        self.stem = layers.Conv2D(5, 3, padding="same")
        self.blocks = [Block(of, False), Block(of, wrong)]
        self.head = layers.Dense(4)

    def call(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return {"classes": self.head(ops.mean(x, (1, 2))), "map": x}


def subclassed(of: Any, wrong: bool) -> Any:
    """The subclassed port, loaded."""
    port, reference = Subclassed(of, wrong), TorchNet()
    port(np.zeros((1, 20, 12, 3), np.float32))
    pairs = {"stem": port.stem, "head": port.head}
    for n, block in enumerate(port.blocks):
        pairs |= {f"blocks.{n}.conv": block.conv, f"blocks.{n}.norm": block.norm}
    return loaded(port, reference, pairs)


def nested(of: Any, wrong: bool) -> Any:
    """The port as a functional model of `of`, either Keras; the blocks in it are models of their own."""
    known: dict[str, Any] = {}

    def block(name: str, wrong: bool) -> Any:
        start = of.layers.Input((None, None, 5))
        known[f"{name}.conv"] = of.layers.Conv2D(5, 3, strides=2, padding="same" if wrong else "valid", name="conv")
        known[f"{name}.norm"] = of.layers.BatchNormalization(epsilon=1e-5, name="norm")
        padded = start if wrong else of.layers.ZeroPadding2D(1, name="pad")(start)
        value = of.layers.ReLU(name="act")(known[f"{name}.norm"](known[f"{name}.conv"](padded)))
        return of.Model(start, value, name=name.replace(".", "_"))

    start = of.layers.Input((20, 12, 3))
    known["stem"] = of.layers.Conv2D(5, 3, padding="same", name="stem")
    value = block("blocks.1", wrong)(block("blocks.0", False)(known["stem"](start)))
    known["head"] = of.layers.Dense(4, name="head")
    classes = known["head"](of.layers.GlobalAveragePooling2D(name="mean")(value))
    return loaded(of.Model(start, {"classes": classes, "map": value}), TorchNet(), known)


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


def report_of(reference: Any, port: Any, given: Input, *modes: str, **of_pair: Any) -> Report:
    """What parity finds, without a map of the layers."""
    return verify(Pair(name="form", reference=reference, port=port, **of_pair), [given], modes or ("eager",))


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


class LegacyNorm(tf_keras.layers.BatchNormalization):  # type: ignore[misc]
    """A layer class of the port's own, which cannot be made again from its configuration."""

    def __init__(self, wide: float) -> None:
        super().__init__(epsilon=wide, axis=3, name="norm")


class Legacy(tf_keras.Model):  # type: ignore[misc]
    """Two convolutions, a norm and a pooling padded by `tf.pad`, of tf_keras."""

    def __init__(self, epsilon: float, pads: int) -> None:
        super().__init__()
        self.first, self.second = (tf_keras.layers.Conv2D(3, 3, padding="same") for _ in range(2))
        self.norm, self.relu = LegacyNorm(epsilon), tf_keras.layers.ReLU()
        self.pads, self.pool = ((0, 0), (pads, 1), (pads, 1), (0, 0)), tf_keras.layers.MaxPooling2D(3, 2)

    def call(self, x: Any) -> Any:
        return self.pool(tf.pad(self.relu(self.norm(self.second(self.first(x)))), self.pads))


def legacy(*, epsilon: float = 1e-5, swapped: bool = False, pads: int = 0) -> Any:
    """The port, with faults."""
    port = Legacy(epsilon, pads)
    port(tf.zeros((1, 20, 12, 3)))
    first, second = port.first, port.second
    transfer(legacy_reference(), port, {"0": first, "1": second, "2": port.norm})
    if swapped:
        one, other = first.get_weights(), second.get_weights()
        first.set_weights(other)
        second.set_weights(one)
    return port


def legacy_reference() -> Any:
    """Its reference."""
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()
    return nn.Sequential(*parts, nn.MaxPool2d(3, 2, ceil_mode=True)).eval()


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({}, []),
        ({"epsilon": 1e-2}, ["2: norm-epsilon, epsilon is 0.01; the reference's is 1e-05"]),
        (
            {"pads": 1},
            [
                "4: pooling, the port pools with MaxPooling2D, pool_size=(3, 3), strides=(2, 2), padding=valid, 1,1 of "
                "0 put around; the reference with kernel_size=3, stride=2, ceil_mode=True"
            ],
        ),
        (
            {"swapped": True},
            [
                "0: wrong-tensor, the kernel is the kernel of the reference's 1; the bias is the bias of the "
                "reference's 1",
                "1: wrong-tensor, the kernel is the kernel of the reference's 0; the bias is the bias of the "
                "reference's 0",
            ],
        ),
    ],
    ids=["faithful", "epsilon", "padding of a pooling", "swapped"],
)
def test_faults_of_tf_keras_are_explained(fault: Mapping[str, Any], found: list[str]) -> None:
    """A layer class of the port's own, padding by TensorFlow and the names of weights are no hindrance."""
    layers = {"0": "first", "1": "second", "2": "norm"}
    report = report_of(legacy_reference(), legacy(**fault), image(), layers=layers)
    assert [f"{each.layer}: {each.cause.slug}, {each.cause.detail}" for each in report.findings] == found


def test_a_port_of_tf_keras_cannot_be_copied() -> None:
    """A repair says in a sentence what it has no copy of."""
    with pytest.raises(PairError, match="is no operation of Keras 3"):
        repair(Pair(name="form", reference=TorchNet(), port=nested(tf_keras, True)), [image()])


def test_xla_runs_what_was_cut_out() -> None:
    """Layers and what lies between them are compiled like any other."""
    assert report_of(TorchNet(), subclassed(tf, False), image(), "xla").passed


def convolutional() -> nn.Module:
    """A chain of layers, two of them with weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)
    ).eval()


def sequential() -> Any:
    """Its port as a sequential model of tf_keras, with the activation built in."""
    conv = tf_keras.layers.Conv2D(5, 3, padding="same", activation="relu", input_shape=(20, 12, 3))
    port = tf_keras.Sequential([conv, tf_keras.layers.GlobalAveragePooling2D(), tf_keras.layers.Dense(4)])
    return loaded(port, convolutional(), {"0": port.layers[0], "4": port.layers[-1]})


class Function(tf.Module):
    """Its port by functions and variables of TensorFlow, scaled in the end."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.kernel, self.bias, self.weight, self.shift = map(tf.Variable, sequential().get_weights())
        self.scale = scale

    def __call__(self, x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME") + self.bias)
        return (tf.matmul(tf.reduce_mean(x, (1, 2)), self.weight) + self.shift) * self.scale


def test_a_sequential_model_of_tf_keras_passes() -> None:
    """Both layers with weights are compared."""
    report = report_of(convolutional(), sequential(), image())
    assert report.passed
    assert {*report.coverage.matched, *report.coverage.inside} >= {"0", "4"}


@pytest.mark.parametrize("wrap", [lambda port: port, lambda port: tf.function(port), lambda port: lambda x: port(x)])
def test_a_function_is_compared_by_what_it_returns(wrap: Callable[[Any], Any]) -> None:
    """A plain function passes as a whole, and the report says that only its output was compared."""
    report = report_of(convolutional(), wrap(Function()), image(), "eager", "graph", "xla")
    assert report.passed
    assert report.coverage.complete
    assert set(report.coverage.matched) == {"4"}
    assert all("shows no layers" in run.warnings[-1] for run in report.runs)


def test_a_wrong_function_is_wrong_at_its_output() -> None:
    """There is nothing inside that the fault could be traced to."""
    report = report_of(convolutional(), Function(scale=1.01), image())
    assert not report.passed
    assert [found.layer for found in report.findings] == ["4"]


class TorchChain(nn.Module):
    """Three dense layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(5, 7), nn.Linear(7, 3), nn.Linear(3, 2)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.b(self.a(x)))


class LookingAtValues(keras.Model):
    """Its port, with a branch of Python on a value, and a way through NumPy between the first two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = layers.Dense(7), layers.Dense(3), layers.Dense(2)

    def call(self, x: Any) -> Any:
        x = self.a(x) if float(ops.sum(x)) < 1e9 else x
        return self.c(self.b(ops.convert_to_tensor(np.asarray(x) * np.float32(1.0))))


def looking_at_values() -> Any:
    """The port, loaded."""
    port, reference = LookingAtValues(), TorchChain()
    port(np.zeros((1, 5), np.float32))
    return loaded(port, reference, {"a": port.a, "b": port.b, "c": port.c})


def test_a_port_that_looks_at_values_is_seen_as_it_runs() -> None:
    """It passes in eager mode; of the layer behind NumPy only the propagated error is known, and the report says so."""
    report = report_of(TorchChain(), looking_at_values(), noise((2, 5), seed=0, low=-1, high=1))
    assert report.passed
    assert report.coverage.propagated_only == ("b",)
    known = {layer.layer: layer.introduced is not None for layer in report.runs[0].layers}
    assert known == {"a": True, "b": False, "c": True}


@pytest.mark.parametrize(("wrong", "found"), [("c", ["c"]), ("b", [])])
def test_its_faults_are_located(wrong: str, found: list[str]) -> None:
    """A layer that can be run alone is a finding; any other is where the two networks first diverge."""
    port = looking_at_values()
    kernel, bias = getattr(port, wrong).get_weights()
    getattr(port, wrong).set_weights([kernel * 1.1, bias])
    report = report_of(TorchChain(), port, noise((2, 5), seed=0, low=-1, high=1))
    assert [each.layer for each in report.findings] == found
    assert report.first_divergence is not None
    assert report.first_divergence.layer == wrong


def test_a_port_that_looks_at_values_has_no_other_mode() -> None:
    """Graph mode is refused in a sentence."""
    with pytest.raises(PairError, match="its only mode is eager"):
        report_of(TorchChain(), looking_at_values(), noise((2, 5), seed=0, low=-1, high=1), "graph")


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


class Recurrent(torch.nn.Module):  # type: ignore[misc]
    """Both things that a GRU returns."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(5, 3, batch_first=True)

    def forward(self, x: Any) -> Any:
        values, state = self.gru(x)
        return values, state[-1]


def test_a_cause_is_that_of_every_value_of_its_layer() -> None:
    """Gates in torch's order are found in what the layer returns, and in the state that is taken from it."""
    torch.manual_seed(0)
    net, sequence = Recurrent().eval(), keras.Input((7, 5))
    port = keras.Model(sequence, layers.GRU(3, return_sequences=True, return_state=True, name="gru")(sequence))
    transfer(net, port, {"gru": "gru"})
    gru = port.get_layer("gru")
    gru.set_weights([np.concatenate([(p := np.split(w, 3, -1))[1], p[0], p[2]], -1) for w in gru.get_weights()])
    given = Input(name="noise", array=np.random.default_rng(0).standard_normal((2, 7, 5), dtype=np.float32))
    report = verify(Pair(name="gru", reference=net, port=port), inputs=[given], modes=("eager",))
    assert len(report.findings) == 2
    assert {found.cause.slug for found in report.findings} == {"gate-order"}


class Residual(torch.nn.Module):  # type: ignore[misc]
    """A norm and a shortcut around it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Linear(5, 5)
        self.norm = torch.nn.LayerNorm(5)
        self.head = torch.nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        return self.head(self.norm(x) + x)


class LegacyResidual(tf_keras.Model):  # type: ignore[misc]
    """The same in tf_keras, its norm called by keyword; with another epsilon, or a shortcut that begins too early."""

    def __init__(self, epsilon: float, early: bool) -> None:
        super().__init__()
        self.stem = tf_keras.layers.Dense(5, name="stem")
        self.norm = tf_keras.layers.LayerNormalization(epsilon=epsilon, name="norm")
        self.head = tf_keras.layers.Dense(3, name="head")
        self.early = early

    def call(self, x: Any) -> Any:
        value = self.stem(x)
        return self.head(self.norm(inputs=value) + (x if self.early else value))


@pytest.mark.parametrize(
    ("epsilon", "early", "cause", "words"),
    [(1e-3, False, "norm-epsilon", "epsilon is 0.001"), (1e-5, True, "wrong-input", "it reads input")],
)
def test_causes_of_a_watched_port_are_proven(epsilon: float, early: bool, cause: str, words: str) -> None:
    """A layer that is called by keyword is tried with another setting; what reads an input is told from its words."""
    torch.manual_seed(0)
    net, port = Residual().eval(), LegacyResidual(epsilon, early)
    given = Input(name="noise", array=np.random.default_rng(0).standard_normal((2, 7, 5), dtype=np.float32))
    port(given.array)
    transfer(net, port, {"stem": "stem", "norm": "norm", "head": "head"})
    report = verify(Pair(name="residual", reference=net, port=port), inputs=[given], modes=("eager",))
    (found,) = report.findings
    assert (found.cause.slug, words in found.cause.detail) == (cause, True), found.cause


class GuardedLegacy(tf_keras.Model):  # type: ignore[misc]
    """Layers that assert something of the model's input before what they compute."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = tf_keras.layers.Dense(5, name="stem"), tf_keras.layers.Dense(3, name="head")

    def call(self, x: Any) -> Any:
        value = self.stem(x)
        with tf.control_dependencies([tf.debugging.assert_less(x, 100.0)]):
            value = tf.identity(value) * 2.0
        return self.head(value)


def test_an_assertion_on_an_input_is_no_part_of_what_comes_after_it() -> None:
    """What is cut out of a trace runs alone in every mode, although it waited for an assertion on the input."""
    torch.manual_seed(0)
    net, port = torch.nn.Sequential(torch.nn.Linear(5, 5), Doubled(), torch.nn.Linear(5, 3)).eval(), GuardedLegacy()
    given = Input(name="noise", array=np.random.default_rng(0).standard_normal((2, 5), dtype=np.float32))
    port(given.array)
    transfer(net, port, {"0": "stem", "2": "head"})
    report = verify(Pair(name="guarded", reference=net, port=port), inputs=[given], modes=("eager", "graph", "xla"))
    assert report.passed


class Doubled(torch.nn.Module):  # type: ignore[misc]
    """Twice its value."""

    def forward(self, x: Any) -> Any:
        return x * 2.0
