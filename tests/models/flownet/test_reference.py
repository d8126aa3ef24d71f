"""The reference is NVIDIA's network, and its seeded weights make a good probe of a port."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from parity.frameworks import torch
from parity.models.flownet.reference import FlowNet2SD, blank, seeded


@pytest.fixture(scope="module")
def network(pair_of_networks: tuple[FlowNet2SD, Any]) -> FlowNet2SD:
    """The seeded network, in evaluation mode."""
    return pair_of_networks[0]


@pytest.fixture
def training(network: FlowNet2SD) -> Iterator[FlowNet2SD]:
    """The same network in training mode, for one test."""
    yield network.train()
    network.eval()


def frames(*, batch: int = 1, height: int = 64, width: int = 128) -> torch.Tensor:
    """Noise in 0-255, (batch, 3, 2, height, width); every channel and frame has a mean of its own."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.rand((batch, 3, 2, height, width), generator=generator)
    return noise * torch.linspace(50.0, 255.0, 6).reshape(1, 3, 2, 1, 1)


def test_state_dict_is_nvidias(network: FlowNet2SD, article_tensors: dict[str, tuple[int, ...]]) -> None:
    """The 60 keys stand in NVIDIA's order with NVIDIA's shapes, so that its checkpoints load."""
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert list(shapes.items()) == list(article_tensors.items())


def test_recorded_facts_agree(article_tensors: dict[str, tuple[int, ...]], article_table: list[dict[str, Any]]) -> None:
    """Both prints in the article, the modules and the Keras table, count 45,371,666 parameters."""
    assert len(article_tensors) == 60
    assert sum(map(math.prod, article_tensors.values())) == 45_371_666
    assert sum(row["params"] for row in article_table) == 45_371_666


def test_flow_has_the_size_of_the_frames(network: FlowNet2SD) -> None:
    """In evaluation the result is one flow of two components, as large as the frames, for each sample."""
    with torch.no_grad():
        assert network(frames(batch=2)).shape == (2, 2, 64, 128)


def test_training_returns_every_level(training: FlowNet2SD) -> None:
    """In training the flows come at 1/4, 1/8, 1/16, 1/32 and 1/64 of the size, the finest first."""
    with torch.no_grad():
        flows = training(frames())
    assert [tuple(flow.shape) for flow in flows] == [(1, 2, 64 // n, 128 // n) for n in (4, 8, 16, 32, 64)]


def test_evaluation_scales_the_finest_flow(network: FlowNet2SD) -> None:
    """The flow in pixels is the finest training flow times 20, enlarged four times between pixel centres."""
    finest: list[torch.Tensor] = []
    handle = network.predict_flow2.register_forward_hook(lambda _module, _args, output: finest.append(output))
    with torch.no_grad():
        flow = network(frames())
    handle.remove()
    expected = torch.nn.functional.interpolate(finest[0] * 20.0, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(flow, expected, rtol=0, atol=0)


def test_first_layer_sees_centred_frames_in_order(network: FlowNet2SD) -> None:
    """The six channels are RGB of the first frame, then of the second, less the mean of both, over 255."""
    seen: list[torch.Tensor] = []
    handle = network.conv0.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    with torch.no_grad():
        network(frames(batch=2))
    handle.remove()
    given = frames(batch=2).double().numpy()
    centred = (given - given.mean(axis=(2, 3, 4), keepdims=True)) / 255.0
    expected = np.concatenate([centred[:, :, 0], centred[:, :, 1]], axis=1)
    np.testing.assert_allclose(seen[0].numpy(), expected, rtol=0, atol=1e-6)


def test_every_slope_is_a_tenth(network: FlowNet2SD) -> None:
    """All 17 activations are LeakyReLU of slope 0.1, in place."""
    slopes = [layer for layer in network.modules() if isinstance(layer, torch.nn.LeakyReLU)]
    assert len(slopes) == 17
    assert all(layer.negative_slope == 0.1 and layer.inplace for layer in slopes)


def test_seed_alone_decides_the_weights(network: FlowNet2SD) -> None:
    """The same seed gives the same weights whatever the global random state, which stays as it was."""
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = seeded(0).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, again[key]) for key, tensor in network.state_dict().items())


def test_another_seed_gives_other_weights(network: FlowNet2SD) -> None:
    """No tensor is the same for two seeds: none is left at a fixed initial value."""
    other = seeded(1).state_dict()
    assert not any(torch.equal(tensor, other[key]) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("layer", ["conv3.0", "deconv4.0", "upsampled_flow6_to_5"])
def test_seeded_layers_keep_the_variance(network: FlowNet2SD, layer: str) -> None:
    """White noise leaves a convolution, transposed or not, with the gain that a LeakyReLU takes away again."""
    module = network.get_submodule(layer)
    noise = torch.randn((8, module.in_channels, 24, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        inner = module(noise)[..., 2:-2, 2:-2]
    few_channels = layer.startswith("upsampled")
    gain = math.sqrt(2 / (1 + 0.1**2))
    assert inner.std().item() == pytest.approx(gain, rel=0.3 if few_channels else 0.03)


def test_seeded_biases_have_both_signs(network: FlowNet2SD) -> None:
    """Every layer has biases, small ones, and the layers with more than two have them on both sides of zero."""
    biases = [tensor for key, tensor in network.state_dict().items() if key.endswith("bias")]
    assert len(biases) == 30
    assert all(bias.abs().max() <= 0.1 for bias in biases)
    assert all(bias.min() < 0 < bias.max() for bias in biases if len(bias) > 2)


def test_blank_network_takes_weights() -> None:
    """A network without values is in evaluation mode, on the CPU, and not on the meta device it was made on."""
    network = blank()
    assert not network.training
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
