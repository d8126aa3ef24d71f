"""The small networks: their ports are faithful, a fault in one shows, and they hold what they are there to hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parity
from parity.axes import Array
from parity.errors import InputError, UsageError
from parity.frameworks import torch
from parity.inputs import PROBES
from parity.lookup import both
from parity.models import MODELS, Settings, load
from parity.models.small import NETWORKS, ImageNetwork
from parity.pairs import Pair
from parity.runners.torch_module import TorchModule

IMAGES = [name for name, network in NETWORKS.items() if isinstance(network, ImageNetwork)]
SIZES = [(name, index) for name, network in NETWORKS.items() for index in range(len(network.sizes))]


def failures(report: parity.Report) -> list[str]:
    """What is against the port, in words."""
    found = [f"{finding.layer} in {finding.mode}: {finding.cause.slug}" for finding in report.findings]
    return found + [f"{run.input} in {run.mode}: {run.verdict}" for run in report.runs if run.verdict != "pass"]


def values(name: str, seed: int = 0) -> dict[str, Array]:
    """The values of every tap of the reference, on its own noise at its default size."""
    pair, (noise,) = NETWORKS[name].pair(seed)
    found: dict[str, Array] = {"input": noise.array}
    TorchModule(pair.reference).run(noise, lambda tap, value: found.update({tap.name: value.numpy().copy()}))
    return found


def weights(pair: Pair) -> dict[str, Array]:
    """The reference's weights by name."""
    return {name: tensor.numpy() for name, tensor in both(pair).reference.state_dict().items() if tensor.ndim}


@pytest.mark.parametrize(("name", "index"), SIZES)
def test_faithful_port_passes_in_every_mode(name: str, index: int) -> None:
    """Each port agrees with its reference eagerly, as a graph and by XLA, at three sizes with three sets of weights."""
    pair, inputs = NETWORKS[name].pair(seed=index, size=NETWORKS[name].sizes[index])
    report = parity.verify(pair, inputs)
    assert failures(report) == []
    assert report.passed


@pytest.mark.parametrize("name", NETWORKS)
def test_faithful_port_passes_on_every_input(name: str) -> None:
    """So it does on every input it has, probes among them, with further weights."""
    for seed in (3, 4):
        pair, inputs = load(name, Settings(seed=seed, inputs=NETWORKS[name].known_inputs))
        assert failures(parity.verify(pair, inputs, modes=("eager",))) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fault_in_any_weighted_layer_shows(name: str) -> None:
    """The agreement can fail: each of the port's weights in turn, a hundredth larger, is seen in its own layer."""
    pair, inputs = NETWORKS[name].pair()
    names = {port: layer for layer, port in {**pair.layers, **NETWORKS[name].weights}.items()}
    for layer in pair.port.layers:
        for variable in layer.weights[:1]:
            value = variable.numpy()
            variable.assign(value * np.float32(1.01))
            report = parity.verify(pair, inputs, modes=("eager",))
            variable.assign(value)
            assert [finding.layer for finding in report.findings] == [names[layer.name]]


@pytest.mark.parametrize("name", NETWORKS)
def test_map_names_every_tap_in_order(name: str) -> None:
    """The layer map has each tap of the reference, in its order, and each has a port layer of its own."""
    pair, (noise,) = NETWORKS[name].pair()
    taps = [tap.name for tap in TorchModule(pair.reference).taps(noise).taps]
    unread = {"lstm[1][0]", "lstm[1][1]", "gru[1]"}
    assert list(pair.layers) == [tap for tap in taps if tap not in unread]
    assert len(set(pair.layers.values())) == len(pair.layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_keep_their_size_and_their_signs(name: str) -> None:
    """At every convolution and dense layer values have both signs, and are neither lost nor huge, for any seed."""
    for seed in range(3):
        pair, _ = NETWORKS[name].pair(seed)
        modules = dict(pair.reference.named_modules())
        for tap, value in values(name, seed).items():
            if isinstance(modules.get(tap), torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear):
                assert 0.1 < np.std(value) < 50, tap
                assert value.min() < 0 < value.max(), tap


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_drawn_from_the_seed(name: str) -> None:
    """One seed gives one set of weights, another another; no two vectors are alike; torch's own state stays."""
    state = torch.get_rng_state()
    first, again, other = (weights(NETWORKS[name].pair(seed)[0]) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not any(np.array_equal(first[key], other[key]) for key in first)
    assert len({tensor.tobytes() for tensor in first.values()}) == len(first)
    assert all((tensor > 0).all() for key, tensor in first.items() if key.endswith("running_var"))


def test_small_biases_have_both_signs() -> None:
    """A bias that is lost moves some channels up and others down."""
    bias = weights(NETWORKS["unet"].pair()[0])["enc2.bias"]
    assert bias.min() < 0 < bias.max()
    assert np.abs(bias).max() <= 0.1


# What each network holds that a faulty port would do otherwise: true of the values of its taps.
TELLING: list[tuple[str, str, Any]] = [
    ("residual", "input", lambda v: v["input"].max() > 250 and v["input"].min() < 5),
    ("residual", "maxima below zero at the border", lambda v: (v["pool"][:, :, 0] < 0).sum() > 20),
    ("residual", "averages above zero at the border", lambda v: (v["smooth"][:, :, 0] > 0).any()),
    ("residual", "a block without a shortcut", lambda v: "block2.shortcut" not in v),
    ("unet", "two tensors that could be the skip", lambda v: v["act1"].shape == v["act1_1"].shape),
    ("unet", "two operands of equal shape", lambda v: v["act0"].shape == v["act_up0"].shape),
    ("unet", "slopes", lambda v: all((v[tap] < 0).mean() > 0.2 for tap in ("enc0", "enc1", "enc1_1", "up1", "dec1"))),
    ("depthwise", "values to clip", lambda v: (v["spread"] > 6).mean() > 0.005),
    ("depthwise", "values where hard swish bends", lambda v: (np.abs(v["dilated"]) > 3).mean() > 0.05),
    ("mlp", "values where a sigmoid bends", lambda v: np.abs(v["narrow"]).max() > 1.5),
    ("upscaler", "values to clamp", lambda v: 0.05 < (np.abs(v["clamp"]) == 1).mean() < 0.6),
    ("tagger", "as many tags as steps", lambda v: v["softmax"].shape[1] == v["softmax"].shape[2]),
    ("tagger", "tags of unequal likelihood", lambda v: v["softmax"].max() > 0.25),
    ("encoder", "heads as wide as many", lambda v: v["attention.transpose"].shape[1::2] == (4, 4)),
    ("encoder", "looks that differ", lambda v: v["attention.softmax"].max() > 3 / 9),
    ("encoder", "keys and queries that differ", lambda v: not np.allclose(v["attention.query"], v["attention.key"])),
]


@pytest.mark.parametrize(("name", "what", "holds"), TELLING, ids=[f"{name}: {what}" for name, what, _ in TELLING])
def test_inputs_reach_what_is_told_apart(name: str, what: str, holds: Any) -> None:
    """On its noise a network has the values at which a right and a wrong layer differ, for any seed."""
    assert all(holds(values(name, seed)) for seed in range(3))


def test_settings_make_size_seed_and_inputs() -> None:
    """A network by name takes the settings' width and height, seed, and inputs in their order."""
    pair, inputs = load("upscaler", Settings(size=(13, 9), seed=2, inputs=("ramp", "noise")))
    assert [(given.name, given.array.shape) for given in inputs] == [("ramp", (1, 3, 9, 13)), ("noise", (1, 3, 9, 13))]
    assert both(pair).port.output_shape == (None, 18, 26, 3)
    assert np.array_equal(weights(pair)["body.weight"], weights(NETWORKS["upscaler"].pair(seed=2)[0])["body.weight"])


def test_default_input_is_noise() -> None:
    """Without settings the input is noise, of tokens where a network takes those, and batches are not all of one."""
    made = {name: load(name)[1] for name in NETWORKS}
    assert all([given.name for given in inputs] == ["noise"] for inputs in made.values())
    assert made["tagger"][0].array.dtype == np.int64
    assert {inputs[0].array.shape[0] for inputs in made.values()} == {1, 2, 3}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_registered(name: str) -> None:
    """Each is known by its name, described in one line, and has three sizes, unequal in height and width."""
    network = NETWORKS[name]
    assert network.description == MODELS[name].description
    assert len(set(network.sizes)) >= 3
    assert all(len(set(size)) == len(size) for size in network.sizes)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "mlp",
            Settings(checkpoint=Path("a.pth")),
            r"mlp has no checkpoints \(a.pth\): its weights come from",
        ),
        (
            "mlp",
            Settings(images=(Path("a.png"), Path("b.png"))),
            "mlp takes no pictures; its inputs are noise, imp",
        ),
        ("unet", Settings(data_format="channels_first"), "the port of unet is channels_last, and 'channels_first' was"),
        (
            "unet",
            Settings(size=(30, 20)),
            "unet takes widths and heights of 8 pixels or more, multiples of 4; .*30x20",
        ),
        ("residual", Settings(size=(31, 7)), "residual takes widths and heights of 8 pixels or more; the size is 31x7"),
        ("mlp", Settings(inputs=("motorcycle",)), "mlp has no input 'motorcycle'; the known inputs are noise, impulse"),
        ("tagger", Settings(inputs=("ramp",)), "tagger has no input 'ramp'; the known inputs are noise$"),
        ("mlp", Settings(inputs=("noise", "noise")), "input 'noise' is named 2 times; once is enough"),
        ("encoder", Settings(size=(8, 9)), r"encoder takes sequences, with one length of 2 or more; .* \(8, 9\)"),
    ],
)
def test_settings_it_cannot_honour_are_refused(name: str, settings: Settings, message: str) -> None:
    """What a small network does not have is refused in a sentence with the value, not passed over."""
    with pytest.raises(UsageError, match=message):
        load(name, settings)


def test_sizes_it_lacks_are_refused() -> None:
    """A pair is not made of a size of another kind."""
    with pytest.raises(InputError, match=r"mlp takes a width and a height, and the size is \(9,\)"):
        NETWORKS["mlp"].pair(size=(9,))
    with pytest.raises(InputError, match=r"encoder takes sequences, with one length of 2 or more; the size is \(1,\)"):
        NETWORKS["encoder"].pair(size=(1,))


@pytest.mark.parametrize("name", IMAGES)
def test_smallest_images_work(name: str) -> None:
    """The smallest image a network says it takes can be run, and so can all probes of it."""
    network = NETWORKS[name]
    pair, inputs = load(name, Settings(size=(9, 8) if name != "unet" else (12, 8), inputs=PROBES))
    assert [given.array.shape[0] for given in inputs] == [network.batch] * len(PROBES)
    assert failures(parity.verify(pair, inputs[:1], modes=("eager",))) == []
