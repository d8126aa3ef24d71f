"""A layer of Keras with an activation built in answers to two of the original's: the layer, and the activation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.alignment import map_as_yaml
from parity.converters import transfer
from parity.diagnosis.functions import IN_KERAS
from parity.frameworks import keras, torch
from parity.golden.port import RecordedPort
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.recording import record
from parity.repair import repair
from parity.report import Report
from parity.runners.built_in import activation_of, without_activation
from parity.runners.opening import is_flat
from parity.runners.taps import ACTIVATIONS, kind_of
from parity.verification import Verifier, verify

nn, layers = torch.nn, keras.layers
MODES = ("eager", "graph", "xla")
WHOLE = {"conv": "conv", "act": "conv/relu", "head": "head"}


class Net(nn.Module):
    """A convolution, an activation, a convolution of size 1, and perhaps an activation in the end."""

    def __init__(self, act: Any = None, last: Any = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.head, self.last = nn.Conv2d(3, 5, 3, padding=1), act, nn.Conv2d(5, 2, 1), last
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = self.head(x if self.act is None else self.act(x))
        return x if self.last is None else self.last(x)


def image() -> Input:
    """Noise of both signs."""
    return noise((2, 3, 9, 7), seed=3, low=-1, high=1)


def port_of(net: Any, act: Any = "relu", last: Any = None, **settings: Any) -> Any:
    """The port, filled: `act` and `last` are built into its layers, the first of which has these settings."""
    start = keras.Input((9, 7, 3))
    x = layers.Conv2D(5, 3, **{"padding": "same", "activation": act, "name": "conv", **settings})(start)
    port = keras.Model(start, layers.Conv2D(2, 1, activation=last, name="head")(x))
    transfer(net, port, {"conv": "conv", "head": "head"})
    return port


def judged(net: Any, port: Any, names: Any = None, modes: tuple[str, ...] = ("eager",)) -> Report:
    """The report of a pair."""
    return verify(Pair(name="net", reference=net, port=port, layers=names), [image()], modes)


def test_a_right_port_is_matched_layer_by_layer() -> None:
    """Both convolutions and the activation are compared, each by itself, in every mode."""
    report = judged(net := Net(nn.ReLU()), port_of(net), modes=MODES)
    assert report.passed
    assert dict(report.coverage.matched) == WHOLE
    assert not report.coverage.inside
    assert not report.coverage.apart
    assert all(run.watching.same or run.mode == "xla" for run in report.runs)


@pytest.mark.parametrize(
    ("last", "name"), [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "log_softmax"), (nn.SiLU(), "silu")]
)
def test_a_right_last_activation_is_the_output(last: Any, name: str) -> None:
    """An activation that the last layer has built in answers to the reference's output, in every mode."""
    report = judged(net := Net(nn.ReLU(), last), port_of(net, last=name), modes=MODES)
    assert report.passed
    assert dict(report.coverage.matched) == {**WHOLE, "last": f"head/{name}"}
    assert not report.coverage.unmatched_reference


def transposed(port: Any) -> None:
    """The first kernel's height and width exchanged."""
    kernel, bias = port.get_layer("conv").get_weights()
    port.get_layer("conv").set_weights([kernel.transpose(1, 0, 2, 3), bias])


def unloaded(port: Any) -> None:
    """The first layer as Keras makes a new one."""
    kernel, bias = port.get_layer("conv").get_weights()
    fresh = keras.initializers.GlorotUniform(seed=7)(kernel.shape)
    port.get_layer("conv").set_weights([np.asarray(fresh), np.zeros_like(bias)])


def without_bias(net: Any) -> Any:
    """The port of a network whose first layer has lost its bias."""
    start = keras.Input((9, 7, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", use_bias=False, name="conv")(start)
    port = keras.Model(start, layers.Conv2D(2, 1, name="head")(x))
    kernels = [layer.weight.detach().numpy().transpose(2, 3, 1, 0) for layer in (net.conv, net.head)]
    port.set_weights([*kernels, net.head.bias.detach().numpy()])
    return port


def changed(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    """Makes the port of a network, with something changed in it."""

    def build(net: Any) -> Any:
        change(port := port_of(net))
        return port

    return build


FAULTS: Mapping[str, tuple[Any, Callable[[Any], Any], str, str, str]] = {
    "dilation": (nn.ReLU(), lambda net: port_of(net, dilation_rate=2), "conv", "conv", "stride-dilation"),
    "axes": (nn.ReLU(), changed(transposed), "conv", "conv", "kernel-axes"),
    "unloaded": (nn.ReLU(), changed(unloaded), "conv", "conv", "not-loaded"),
    "bias": (nn.ReLU(), without_bias, "conv", "conv", "bias-missing"),
    "slope": (nn.LeakyReLU(0.1), lambda net: port_of(net, "leaky_relu"), "act", "conv/leaky_relu", "activation-slope"),
    "kind": (nn.ReLU(), lambda net: port_of(net, "tanh"), "act", "conv/tanh", "activation-kind"),
    "missing": (nn.ReLU(), lambda net: port_of(net, None), "head", "head", "activation-missing"),
    "extra": (None, port_of, "conv", "conv/relu", "activation-extra"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_where_it_is_and_repaired(name: str) -> None:
    """Each fault is found at its own layer and no other, with its cause, and undone in a copy."""
    act, build, layer, port_layer, slug = FAULTS[name]
    pair = Pair(name="net", reference=(net := Net(act)), port=build(net))
    found = verify(pair, [image()], ("eager",)).findings
    assert [(each.layer, each.port_layer, each.cause.slug) for each in found] == [(layer, port_layer, slug)]
    repaired = repair(pair, [image()])
    assert repaired.whole
    assert [(change.layer, change.cause.slug) for change in repaired.changes] == [(layer, slug)]


def test_padding_on_another_side() -> None:
    """Padding "same" at stride 2, where torch pads both sides, is the convolution's, and not its activation's."""
    net = Net(nn.ReLU())
    net.conv = nn.Conv2d(3, 5, 3, stride=2, padding=1).eval()
    start = keras.Input((8, 6, 3))
    x = layers.Conv2D(5, 3, strides=2, padding="same", activation="relu", name="conv")(start)
    port = keras.Model(start, layers.Conv2D(2, 1, name="head")(x))
    transfer(net, port, {"conv": "conv", "head": "head"})
    given = noise((2, 3, 8, 6), seed=3, low=-1, high=1)
    report = verify(Pair(name="net", reference=net, port=port), [given], ("eager",))
    assert [(each.layer, each.port_layer, each.cause.slug) for each in report.findings] == [("conv", "conv", "padding")]


def test_what_to_change_is_said_of_the_layer_that_the_user_wrote() -> None:
    """An activation that was taken out of a layer is called as in the port's code."""
    report = judged(net := Net(), port_of(net))
    assert report.findings[0].cause.change == 'Conv2D("conv", activation="relu") -> activation="linear"'
    assert report.findings[0].cause.detail == "the layer applies relu; the reference's has no activation"


@pytest.mark.parametrize(
    ("last", "built_in", "slug"),
    [(None, "relu", "activation-extra"), (nn.Sigmoid(), "relu", "activation-kind"), (nn.ReLU(), None, None)],
    ids=["extra", "kind", "missing"],
)
def test_a_fault_in_the_last_activation(last: Any, built_in: str | None, slug: str | None) -> None:
    """One too many, another one, and one too few in the end are found there, and undone."""
    net = Net(nn.ReLU(), last)
    repaired = repair(Pair(name="net", reference=net, port=port_of(net, last=built_in)), [image()])
    where = "head" if last is None else "last"
    found = [(each.layer, each.cause.slug) for each in repaired.before.findings]
    assert found == [(where, slug or "activation-missing")]
    assert repaired.whole


def test_a_folded_norm_before_the_activation() -> None:
    """A BatchNorm folded into a layer with a built-in ReLU is compared before the ReLU."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1))
    norm, net = net[1], net.eval()
    with torch.no_grad():
        for each, low in ((norm.running_mean, -1), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -1)):
            each.uniform_(low, 2)
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernels = [(net[0].weight * scale[:, None, None, None]), net[3].weight]
        biases = [norm.bias - norm.running_mean * scale, net[3].bias]
    start = keras.Input((9, 7, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv")(start)
    port = keras.Model(start, layers.Conv2D(2, 1, name="head")(x))
    for name, kernel, bias in zip(("conv", "head"), kernels, biases, strict=True):
        port.get_layer(name).set_weights([kernel.detach().numpy().transpose(2, 3, 1, 0), bias.detach().numpy()])
    report = judged(net, port)
    assert report.passed
    assert dict(report.coverage.matched) == {"1": "conv", "2": "conv/relu", "3": "head"}


MAPS = [
    {"conv": "conv"},
    {"act": "conv"},
    {"act": "conv", "conv": "conv"},
    {("conv", "act"): "conv"},
    {"conv + act": "conv"},
    {"act": "conv/relu"},
]


@pytest.mark.parametrize("names", MAPS, ids=str)
def test_a_map_may_name_the_layer_for_either(names: Any) -> None:
    """The name of the port's layer means its weighted part for a layer with weights, its activation for the other."""
    report = judged(net := Net(nn.ReLU()), port_of(net), names)
    assert report.passed
    assert dict(report.coverage.matched) == WHOLE


@pytest.mark.parametrize("names", MAPS[2:4], ids=str)
def test_a_port_is_repaired_whatever_its_map_names(names: Any) -> None:
    """The copy is matched by the user's map as the port is."""
    pair = Pair(name="net", reference=(net := Net(nn.ReLU())), port=port_of(net, "tanh"), layers=names)
    repaired = repair(pair, [image()])
    assert repaired.whole
    assert [(change.layer, change.port_layer) for change in repaired.changes] == [("act", "conv.tanh")]


def test_a_port_with_one_layer_in_two_is_repaired() -> None:
    """A map that sends one layer to several fits the copy of an opened port as well."""
    torch.manual_seed(0)
    net = nn.Sequential(both := nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    start = keras.Input((5,))
    halves = [layers.Dense(3, name=name)(start) for name in ("left", "right")]
    value = layers.Dense(2, activation="relu", name="last")(layers.ReLU()(layers.Concatenate()(halves)))
    port = keras.Model(start, value)
    for n, name in enumerate(("left", "right")):
        rows = slice(3 * n, 3 * n + 3)
        port.get_layer(name).set_weights([w.detach().numpy()[rows].T for w in (both.weight, both.bias)])
    port.get_layer("last").set_weights([w.detach().numpy().T for w in (net[2].weight, net[2].bias)])
    pair = Pair(name="net", reference=net, port=port, layers={"0": ["left", "right"]})
    repaired = repair(pair, [noise((7, 5), seed=3, low=-1, high=1)])
    assert [(change.layer, change.cause.slug) for change in repaired.changes] == [("2", "activation-extra")]
    assert repaired.whole


def test_why_another_activation_is_matched_is_said() -> None:
    """Two activations of different kinds are matched because each is all that is made of layers that are."""
    report = judged(net := Net(nn.ReLU()), port_of(net, "tanh"))
    assert report.coverage.reasons["act"] == "the activation in that place"


def test_a_printed_map_can_be_given_back(tmp_path: Path) -> None:
    """What `parity map` prints matches the same layers when it is read."""
    net = Net(nn.ReLU(), nn.Softmax(1))
    pair = Pair(name="net", reference=net, port=port_of(net, last="softmax"))
    (file := tmp_path / "map.yaml").write_text(map_as_yaml(Verifier(pair).alignment(image()), "net"), encoding="utf-8")
    report = judged(net, pair.port, file)
    assert dict(report.coverage.matched) == {**WHOLE, "last": "head/softmax"}
    assert set(report.coverage.reasons.values()) == {"given"}
    assert report.passed


def test_an_activation_after_the_norm_is_not_taken_for_one_before_it() -> None:
    """A ReLU built into the convolution, where torch has it after the norm, is one too many and one too few."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1)).eval()
    start = keras.Input((9, 7, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv")(start)
    x = layers.BatchNormalization(epsilon=1e-5, name="norm")(x)
    port = keras.Model(start, layers.Conv2D(2, 1, name="head")(x))
    transfer(net, port, {"0": "conv", "1": "norm", "3": "head"})
    found = [(each.layer, each.cause.slug) for each in judged(net, port).findings]
    assert found == [("0", "activation-extra"), ("3", "activation-missing")]


def test_a_layer_that_is_called_twice_has_one_activation_twice() -> None:
    """Each call of a shared layer is held against its own of the reference's."""
    torch.manual_seed(0)
    net = nn.Sequential(conv := nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), conv, nn.ReLU()).eval()
    start = keras.Input((9, 7, 3))
    shared = layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")
    port = keras.Model(start, shared(shared(start)))
    transfer(net, port, {"0": "conv"})
    report = judged(net, port)
    assert report.passed
    assert list(report.coverage.matched.values()) == ["conv", "conv/relu", "conv#2", "conv/relu#2"]


class Doubled(layers.Conv2D):
    """Goes on after its activation."""

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) + 1


def test_a_call_that_goes_on_after_the_activation_is_left_whole() -> None:
    """A class of the port's own that adds to what Keras makes is not taken apart, where that is another value."""
    net = Net(nn.ReLU())
    start = keras.Input((9, 7, 3))
    x = Doubled(5, 3, padding="same", activation="relu", name="conv")(start)
    x = layers.Dense(4, activation="relu", name="dense")(x)
    port = keras.Model(start, layers.Conv2D(2, 1, name="head")(x))
    taps = [tap.name for tap in Verifier(Pair(name="net", reference=net, port=port)).subject(image()).port.taps]
    assert taps == ["conv", "dense", "dense/relu", "head"]


def test_the_layer_is_shared_and_not_changed() -> None:
    """The layer without its activation has the same variables, and the user's layer keeps its own activation."""
    layer = port_of(Net(nn.ReLU())).get_layer("conv")
    bare = without_activation(layer)
    x = np.random.default_rng(0).standard_normal((2, 9, 7, 3), dtype=np.float32)
    assert all(one is other for one, other in zip(bare.weights, layer.weights, strict=True))
    assert activation_of(bare) is None
    assert activation_of(layer) is keras.activations.relu
    assert np.asarray(bare(x)).min() < 0
    assert np.array_equal(np.maximum(np.asarray(bare(x)), 0), np.asarray(layer(x)))


def test_what_has_no_activation_of_its_own_stays_flat() -> None:
    """Only a model with a built-in activation is opened; a recurrent layer's is no such activation."""
    start = keras.Input((9, 5))
    x = layers.ReLU()(layers.Dense(4)(layers.LSTM(6, return_sequences=True)(start)))
    assert is_flat(keras.Model(start, layers.Activation("tanh")(x)))
    assert not is_flat(keras.Model(start, layers.Dense(2, activation="tanh")(x)))


def test_a_recorded_port(tmp_path: Path) -> None:
    """A recording has both taps, and finds the activation's fault at the activation."""
    net = Net(nn.ReLU())
    pair, file = Pair(name="net", reference=net, port=port_of(net, "tanh")), tmp_path / "port"
    record(pair, [image()], file, side="port", modes=("eager",))
    report = verify(Pair(name="net", reference=net, port=RecordedPort(file)), [image()], ("eager",))
    assert dict(report.coverage.matched) == {**WHOLE, "act": "conv/tanh"}
    assert [each.layer for each in report.findings] == ["act"]


def test_a_model_of_tf_keras() -> None:
    """A watched model's layers are taken apart as well."""
    legacy = pytest.importorskip("tf_keras").layers
    import tf_keras

    net = Net(nn.ReLU())
    start = legacy.Input((9, 7, 3))
    conv, head = legacy.Conv2D(5, 3, padding="same", activation="tanh", name="conv"), legacy.Conv2D(2, 1, name="head")
    port = tf_keras.Model(start, head(conv(start)))
    transfer(net, port, {"conv": conv, "head": head})
    report = judged(net, port)
    assert [(each.layer, each.port_layer, each.cause.slug) for each in report.findings] == [
        ("act", "conv/tanh", "activation-kind")
    ]
    conv.activation = tf_keras.activations.relu
    assert judged(net, port).passed


def test_every_activation_that_a_cause_knows_is_one() -> None:
    """What causes name as an activation, alignment takes for one."""
    assert set(IN_KERAS) | {kind_of(name) for name in IN_KERAS.values()} <= ACTIVATIONS | {"swish"}
