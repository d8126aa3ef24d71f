"""The torch side: each value is seen as it was made, under one name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_nets import Network, calls, functional, given, image, made_again, names, nn, seen

from parity.frameworks import torch
from parity.pairs import INPUT
from parity.runners.taps import SAMPLE, Tap
from parity.runners.torch_module import TorchModule

Function = Callable[[Any], Any]


# -- what is tapped ----------------------------------------------------------------------------------------------------


def test_leaf_modules_are_tapped_under_their_paths() -> None:
    """Each layer is a tap with its path, kind, shape, and whether it has weights, in order of execution."""
    block = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.LeakyReLU(0.1))
    found = seen(nn.Sequential(block, nn.Conv2d(5, 2, (3, 1))))
    assert [(tap.name, tap.kind, tap.shape, tap.weighted) for tap in found.taps] == [
        ("0.0", "conv2d", (2, 5, 3, 5), True),
        ("0.1", "batchnorm", (2, 5, 3, 5), True),
        ("0.2", "leakyrelu", (2, 5, 3, 5), False),
        ("1", "conv2d", (2, 2, 1, 5), True),
    ]
    assert found.output_taps["output"] == "1"


def test_containers_are_other_names() -> None:
    """A container's output is its last child's: the child is the tap, the container another name for it."""
    found = seen(nn.Sequential(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), nn.Conv2d(5, 2, 3)))
    assert found.aliases == {"0": "0.1", "": "1"}


def test_functional_operations_are_tapped() -> None:
    """Operations outside of any layer are taps under torch's names, numbered from the second on."""

    def then(y: Any, x: Any) -> Any:
        joined = torch.cat([y, x], 1) * 2.0
        large = functional.interpolate(joined, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.cat([large, -large], 1)

    found = seen(Network(then))
    assert [(tap.name, tap.kind) for tap in found.taps] == [
        ("conv", "conv2d"),
        ("cat", "cat"),
        ("mul", "scale"),
        ("interpolate", "resize"),
        ("neg", "neg"),
        ("cat#2", "cat"),
    ]
    assert not any(tap.weighted for tap in found.taps[1:])
    assert found.outputs["output"].shape == (2, 16, 10, 14)


def test_operations_belong_to_the_module_that_runs_them() -> None:
    """An operation in a nested module's forward has that module's path before its name."""
    outer = nn.Sequential(Network(lambda y, x: torch.tanh(y)), nn.Conv2d(5, 2, 1))
    assert names(outer) == ["0.conv", "0.tanh", "1"]


def test_what_a_layer_does_inside_is_not_tapped() -> None:
    """The functions that torch's own layers call are part of the layer."""
    module = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), nn.GroupNorm(5, 5), nn.Softmax(1))
    assert names(module) == ["0", "1", "2"]


class Scaled(nn.Module):
    """A layer of one's own, with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, 3.0, 5.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.view(1, 3, 1, 1)


class Halved(nn.Module):
    """A module of one's own that is only a function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


def test_ones_own_layers_are_layers_where_they_have_weights() -> None:
    """A module with weights and no children is one tap; without weights, its operations are the taps."""
    found = seen(nn.Sequential(Scaled(), Halved()))
    assert [(tap.name, tap.weighted) for tap in found.taps] == [("0", True), ("1.div", False)]
    assert found.aliases["1"] == "1.div"


def test_a_shared_module_is_numbered() -> None:
    """A layer that runs twice is two taps; so is one that is registered under two names, under the first of them."""
    conv = nn.Conv2d(3, 3, 3, padding=1)
    assert names(nn.Sequential(conv, nn.ReLU(), conv)) == ["0", "1", "0#2"]
    first, second = (seen(nn.Sequential(conv, nn.ReLU(), conv)).samples[name] for name in ("0", "0#2"))
    assert not np.array_equal(first, second)


def test_parts_of_a_result_are_taps_of_their_own() -> None:
    """Of an operation with several results each floating-point one is a tap; indices are none."""
    taps = names(Network(lambda y, x: torch.cat([*torch.split(y, [2, 3], 1), y.max(1, keepdim=True)[0]], 1)))
    assert taps == ["conv", "split[0]", "split[1]", "max[0]", "cat"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.contiguous(),
        lambda x: x.detach().clone(),
        lambda x: torch.zeros_like(x),
        lambda x: x.new_ones(3),
        lambda x: x.shape[2] * 2,
        lambda x: x.to(x.dtype),
        lambda x: x.argmax(1),
        lambda x: torch.arange(5) * 2,
        lambda x: x > 0,
    ],
)
def test_what_makes_no_values_is_not_tapped(function: Function) -> None:
    """Copies, casts, factories, sizes, indices and masks are no taps."""

    def then(y: Any, x: Any) -> Any:
        function(y)
        return torch.tanh(y)

    assert names(Network(then)) == ["conv", "tanh"]


def test_a_value_without_elements_is_no_tap() -> None:
    """Of what holds nothing there is nothing to compare: no channels are no layer, and what reads them is."""
    assert names(Network(lambda y, x: torch.cat([torch.relu(y[:, :0]), y], 1))) == ["conv", "cat"]


def test_what_only_moves_values_says_so() -> None:
    """Concatenation, slices and ReLU are exact; convolution, products and means are not."""
    found = seen(Network(lambda y, x: torch.relu(torch.cat([y, x * 2], 1)[:, 1:]).mean(1, keepdim=True)))
    assert {tap.name: tap.moves_only for tap in found.taps} == {
        **dict.fromkeys(("cat", "getitem", "relu"), True),
        **dict.fromkeys(("conv", "mul", "mean"), False),
    }


# -- the values --------------------------------------------------------------------------------------------------------


def test_in_place_activations_do_not_lie() -> None:
    """A convolution's tap has its own values, below zero too, although an in-place activation overwrites them."""
    for activation in (nn.ReLU(inplace=True), nn.LeakyReLU(0.1, inplace=True)):
        conv = nn.Conv2d(3, 5, 3)
        found = seen(nn.Sequential(conv, activation))
        own = conv(torch.from_numpy(image())).detach()
        np.testing.assert_array_equal(found.samples["0"], own.numpy().reshape(-1))
        assert (found.samples["0"] < 0).any()
        np.testing.assert_array_equal(found.samples["1"], activation(own).numpy().reshape(-1))


def test_without_a_copy_they_would() -> None:
    """The check above can fail: a tensor that is only held on to has the activation's values afterwards."""
    held: dict[str, torch.Tensor] = {}
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True)).eval()
    TorchModule(module).run(given(), lambda tap, value: held.update({tap.name: value}))
    assert (held["0"] >= 0).all()


@pytest.mark.parametrize(
    ("change", "name"), [(lambda y: y.mul_(2), "mul"), (lambda y: y.add_(1), "add"), (lambda y: y.relu_(), "relu")]
)
def test_in_place_operations_are_taps(change: Function, name: str) -> None:
    """An operation that returns the tensor it was given, changed, is a tap; one that did not change it is none."""
    found = seen(Network(lambda y, x: change(y)))
    assert [tap.name for tap in found.taps] == ["conv", name]
    assert not np.array_equal(found.samples["conv"], found.samples[name])
    assert found.output_taps["output"] == name


def test_a_value_is_seen_at_the_moment_it_is_made() -> None:
    """A sink has each value before the next operation runs, and what it does with it is not tapped."""
    happened: list[str] = []

    def then(y: Any, x: Any) -> Any:
        happened.append("between")
        return y * 2

    def sink(tap: Tap, value: torch.Tensor) -> None:
        happened.append(tap.name)
        torch.tanh(value)

    TorchModule(Network(then).eval()).run(given(), sink)
    assert happened == ["conv", "between", "mul"]


def test_small_maps_are_kept_whole_and_large_ones_sampled() -> None:
    """A sample is every value in order, or SAMPLE of them; the output is kept whole."""
    found = seen(Network())
    np.testing.assert_array_equal(found.samples["conv"], found.outputs["output"].reshape(-1))
    large = seen(Network(), image(1, 3, 203, 211))
    assert large.samples["conv"].shape == (SAMPLE,)
    assert large.outputs["output"].shape == (1, 5, 203, 211)
    assert np.isin(large.samples["conv"], large.outputs["output"]).all()


# -- before the run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "then",
    [
        lambda y, x: torch.cat([torch.relu(y), x * 2], 1).mean(1, keepdim=True),
        lambda y, x: y if float(y.abs().max()) > 0 else x,
        lambda y, x: torch.tanh(y) * torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0]).view(1, 5, 1, 1),
    ],
    ids=["any values", "depends on values", "with a constant"],
)
def test_the_taps_are_known_before_the_run(then: Callable[[Any, Any], Any]) -> None:
    """The taps that are announced are those of the run, shapes and names of the output included."""
    runner = TorchModule(Network(then).eval())
    announced, run = runner.taps(given()), runner.sample(given())
    assert announced.taps == run.taps
    assert (announced.aliases, announced.output_taps) == (run.aliases, run.output_taps)
    assert not announced.samples


def test_a_reference_may_use_numpy() -> None:
    """A forward that turns values into arrays has taps like any other."""
    runner = TorchModule(Network(lambda y, x: y * float(np.asarray(y).shape[1])).eval())
    assert runner.taps(given()).taps == runner.sample(given()).taps


class Cached(nn.Module):
    """Adds a ramp that is made at the first run and kept, as warping layers do with their grids."""

    def __init__(self) -> None:
        super().__init__()
        self.ramp: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.ramp is None:
            self.ramp = torch.linspace(0, 1, x.shape[-1], device=x.device)
        return x + self.ramp


def test_looking_for_taps_leaves_the_module_alone() -> None:
    """A module that keeps a tensor from its first run is run on values before anything is kept."""
    runner = TorchModule(Cached().eval())
    runner.taps(given())
    assert runner.module.ramp is None or not runner.module.ramp.is_meta
    runner.sample(given())


# -- values of several parts -------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """An LSTM, and whatever `then` does with its sequence and its final states."""

    def __init__(self, then: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 5, batch_first=True)
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        sequence, (hidden, cell) = self.rnn(x)
        return self.then(sequence, hidden, cell)


SEQUENCE = image(2, 7, 3)


def recurrent_names(then: Callable[[Any, Any, Any], Any]) -> list[str]:
    """The taps of an LSTM used so."""
    return [tap.name for tap in seen(Recurrent(then), SEQUENCE).taps]


def test_final_states_that_nobody_reads_are_no_taps() -> None:
    """Of an LSTM whose sequence alone is used, only the sequence is a tap."""
    assert recurrent_names(lambda sequence, hidden, cell: sequence * 2) == ["rnn[0]", "mul"]


def test_a_sequence_that_is_the_output_is_a_tap() -> None:
    """Of an LSTM whose sequence is what the network gives, the sequence is the only tap."""
    assert recurrent_names(lambda sequence, hidden, cell: sequence) == ["rnn[0]"]


def test_final_states_that_are_read_are_taps() -> None:
    """A hidden state that goes on is a tap; the sequence, which then nobody reads, is none."""
    found = recurrent_names(lambda sequence, hidden, cell: hidden.squeeze(0) * 2)
    assert found == ["rnn[1][0]", "squeeze", "mul"]


@pytest.mark.parametrize(
    ("place", "index"),
    [
        pytest.param("rnn[0]", 0, id="the sequence"),
        pytest.param(
            "rnn[1][0]",
            1,
            id="the hidden state",
        ),
    ],
)
def test_a_part_is_made_again(place: str, index: int) -> None:
    """A call that gives several values gives its tap's part of them when it is made again."""
    module = Recurrent(lambda sequence, hidden, cell: sequence + hidden.squeeze(0)[:, None]).eval()
    call = calls(module, SEQUENCE)[place]
    with torch.no_grad():
        sequence, (hidden, _) = module.rnn(torch.from_numpy(SEQUENCE))
    again = call.again({INPUT: torch.from_numpy(SEQUENCE)})
    assert torch.equal(again, (sequence, hidden)[index])


def test_chunks_that_are_read_are_taps() -> None:
    """Of a tensor cut in three, the parts that are read are taps, each with its own place."""

    def then(y: Any, x: Any) -> Any:
        first, _, third = y.split([2, 1, 2], dim=1)
        return first * third

    found = calls(Network(then))
    assert found["mul"].reads == ("split[0]", "split[2]")
    assert [tap.name for tap in seen(Network(then)).taps] == ["conv", "split[0]", "split[2]", "mul"]
    value = made_again(Network(then), "split[2]", conv=image(1, 5, 2, 2))
    np.testing.assert_array_equal(value, image(1, 5, 2, 2)[:, 3:])
