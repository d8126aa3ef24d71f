"""Ports that cannot be opened: plain functions, and models that look at values, which are seen as they run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ports_of_forms import convolutional, image, layers, loaded, nn, ops, report_of, sequential, tf_keras

from parity.converters import transfer
from parity.errors import PairError
from parity.frameworks import keras, tf, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.verification import verify


class Function(tf.Module):
    """Its port by functions and variables of TensorFlow, scaled in the end."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.kernel, self.bias, self.weight, self.shift = map(tf.Variable, sequential().get_weights())
        self.scale = scale

    def __call__(self, x: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME") + self.bias)
        return (tf.matmul(tf.reduce_mean(x, (1, 2)), self.weight) + self.shift) * self.scale


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
