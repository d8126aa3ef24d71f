"""The pair: both networks with the same weights, the map between their taps, and the inputs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.axes import move
from parity.errors import CheckpointError, InputError
from parity.frameworks import tf, torch
from parity.inputs import noise
from parity.models import Settings
from parity.models.flownet import FlowNet2SD, build, layer_map, networks, pair_from, seeded
from parity.models.flownet import pair as pair_module

FAITHFUL = 2e-5
"""Largest difference of a faithful port's flow, relative to the largest flow; measured: 2e-6."""


def difference(reference: FlowNet2SD, port: Any, *, width: int = 128, channels_last: bool = True) -> float:
    """The greatest difference of the two flows on noise, relative to the greatest flow."""
    frames = noise((1, 3, 2, 64, width), seed=5).array
    with torch.no_grad():
        expected = reference(torch.from_numpy(frames)).numpy()
    given = np.ascontiguousarray(move(frames, "NCTHW", "NTHWC")) if channels_last else frames
    actual = np.asarray(port(tf.constant(given)))
    actual = move(actual, "NHWC", "NCHW") if channels_last else actual
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.fixture
def wrong_bias(pair_of_networks: tuple[FlowNet2SD, Any]) -> Iterator[None]:
    """One bias of the port is a little off, for one test."""
    variable = pair_of_networks[1].get_layer("conv4").bias
    value = variable.numpy()
    variable.assign(value + np.float32(0.01))
    yield
    variable.assign(value)


def test_port_computes_what_the_reference_computes(pair_of_networks: tuple[FlowNet2SD, Any]) -> None:
    """With the reference's weights the port gives the reference's flow, to rounding."""
    assert difference(*pair_of_networks) < FAITHFUL


def test_channels_first_port_computes_the_same() -> None:
    """So does a channels_first port, at a width that no layer's filters equal; by XLA, which any CPU can run."""
    reference, port = networks(Settings(size=(192, 64), data_format="channels_first", seed=3))
    compiled = tf.function(port, jit_compile=True)
    assert difference(reference, compiled, width=192, channels_last=False) < FAITHFUL


@pytest.mark.usefixtures("wrong_bias")
def test_a_wrong_bias_shows(pair_of_networks: tuple[FlowNet2SD, Any]) -> None:
    """The agreement of both networks can fail: biases that are off by 0.01 in one layer are seen in the flow."""
    assert difference(*pair_of_networks) > 10 * FAITHFUL


def test_map_names_real_taps_in_order(pair_of_networks: tuple[FlowNet2SD, Any]) -> None:
    """Every layer of the reference and every operation of the port that computes is in the map, each once."""
    reference, port = pair_of_networks
    layers = layer_map()
    leaves = {name for name, module in reference.named_modules() if name and not list(module.children())}
    functions = [
        "mean",
        "sub",
        "div",
        "getitem",
        "getitem#2",
        "cat",
        *(f"cat#{n}" for n in range(2, 6)),
        "mul",
    ]
    assert {name for name in layers if name not in functions} == leaves
    assert [name for name in layers if name in functions] == functions
    assert len(set(layers.values())) == len(layers)
    padding = {f"zero_padding2d_{number}" for number in range(1, 7)}
    parts_of_the_mean = {"rough_mean", "whole_mean", "rest"}
    parts_of_the_mean |= {"mean_of_rows", "mean_of_columns", "mean_of_frames"}
    operations = {operation.name for operation in port.operations}
    assert operations - set(layers.values()) == padding | parts_of_the_mean | {"frames"}


def test_map_agrees_with_the_articles_wiring(article_table: list[dict[str, Any]]) -> None:
    """An activation in the map is the one that reads its convolution in the article."""
    reads = {row["name"]: row["inbound"] for row in article_table}
    layers = layer_map()
    activations = {name: target for name, target in layers.items() if name.endswith(".1")}
    assert len(activations) == 17
    assert all(reads[target] == [layers[name.removesuffix("1") + "0"]] for name, target in activations.items())


def test_pair_declares_its_axes(pair_of_networks: tuple[FlowNet2SD, Any]) -> None:
    """A 5-axis tensor of the reference is NCTHW, and the port's layout follows its data format."""
    last = pair_from(*pair_of_networks)
    first = pair_from(*pair_of_networks, data_format="channels_first")
    assert last.axes.of("sub", 5) == ("NCTHW", "NTHWC")
    assert first.axes.of("sub", 5) == ("NCTHW", "NCTHW")
    assert last.layers == layer_map()


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Replaces the building of ports, which is slow, and keeps the (width, height) they were asked for with."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(pair_module, "build_port", lambda height, width, data_format: asked.append((width, height)))
    return asked


def test_defaults_are_noise_and_a_real_pair(ports: list[tuple[int, int]]) -> None:
    """Without settings the inputs are noise and the motorcycle pictures, 704 wide and 448 high."""
    pair, inputs = build(Settings())
    assert [(given.name, given.array.shape) for given in inputs] == [
        ("noise", (1, 3, 2, 448, 704)),
        ("motorcycle", (1, 3, 2, 448, 704)),
    ]
    assert not ports
    pair.port()
    assert ports == [(704, 448)]


def test_named_inputs_come_in_their_order(ports: list[tuple[int, int]]) -> None:
    """Probes and pictures are made at the size that was asked for, width before height."""
    wanted = ("ramp", "motorcycle", "impulse", "noise", "negative", "constant")
    _, inputs = build(Settings(inputs=wanted, size=(192, 64)))
    assert tuple(given.name for given in inputs) == wanted
    assert {given.array.shape for given in inputs} == {(1, 3, 2, 64, 192)}


def test_seed_reaches_the_noise(ports: list[tuple[int, int]]) -> None:
    """Another seed gives other noise."""
    first, second = (build(Settings(inputs=("noise",), size=(64, 64), seed=seed))[1][0] for seed in (0, 1))
    assert not np.array_equal(first.array, second.array)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Two picture files of 150x70 pixels."""
    paths = (tmp_path / "left.png", tmp_path / "right.png")
    for seed, path in enumerate(paths):
        pixels = np.random.default_rng(seed).integers(0, 256, (70, 150, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def test_pictures_decide_the_size(ports: list[tuple[int, int]], pictures: tuple[Path, Path]) -> None:
    """Without a size, the pictures' own centre crop to multiples of 64 is the size of everything."""
    pair, inputs = build(Settings(images=pictures))
    assert [(given.name, given.array.shape) for given in inputs] == [("images", (1, 3, 2, 64, 128))]
    pair.port()
    assert ports == [(128, 64)]


def test_pictures_are_never_left_out(ports: list[tuple[int, int]], pictures: tuple[Path, Path]) -> None:
    """Pictures that are given are compared on beside the inputs that are named, all at one size."""
    _, inputs = build(Settings(inputs=("noise",), images=pictures, size=(64, 64)))
    assert [(given.name, given.array.shape[3:]) for given in inputs] == [
        ("noise", (64, 64)),
        ("images", (64, 64)),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(size=(700, 448)), "width=700, the nearest are 640 and 704"),
        (Settings(size=(704, 30)), "height=30, the nearest are 64"),
        (Settings(size=(65, 127)), "width=65, .* 64 and 128; height=127, .* 64 and 128"),
        (Settings(inputs=("noice",)), "no input is called 'noice'; known inputs: noise, motorcycle, "),
        (Settings(inputs=("noise", "noise")), "'noise' is named 2 times"),
        (Settings(inputs=("images",)), "needs two picture files"),
    ],
)
def test_wrong_wishes_are_refused(ports: list[tuple[int, int]], settings: Settings, message: str) -> None:
    """A wrong size or input is refused with its value before any network is built."""
    with pytest.raises(InputError, match=message):
        build(settings)
    assert not ports


def test_checkpoint_fills_both_networks(tmp_path: Path) -> None:
    """A file of NVIDIA's form gives the reference its weights, from a stacked network too, and the port the same."""
    weights = seeded(11).state_dict()
    state = {f"flownets_d.{key}": tensor for key, tensor in weights.items()}
    file = tmp_path / "FlowNet2_checkpoint.pth.tar"
    other = {"flownetfusion.conv0.0.weight": torch.zeros(64, 11, 3, 3)}
    torch.save({"epoch": 0, "state_dict": state | other, "best_EPE": 1.5}, file)
    reference, port = networks(Settings(checkpoint=file, size=(64, 64)))
    assert all(torch.equal(tensor, weights[key]) for key, tensor in reference.state_dict().items())
    np.testing.assert_array_equal(port.get_layer("conv6").bias.numpy(), weights["conv6.0.bias"].numpy())


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """A checkpoint that does not fit is refused, and the file is named."""
    file = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(2, 3, 5, 7)}, file)
    with pytest.raises(CheckpointError, match=r"other.pth does not fit FlowNet2SD: 60 missing: conv0.0.weight"):
        networks(Settings(checkpoint=file, size=(64, 64)))
