"""The torch side: each value is seen as it was made, under one name, and the module is left as it was."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import torch
from parity.pairs import INPUT, Input
from parity.runners.calls import Call, Read
from parity.runners.taps import SAMPLE, Tap, Trace
from parity.runners.torch_module import TorchModule

nn = torch.nn
functional = torch.nn.functional
Function = Callable[[Any], Any]


class Network(nn.Module):
    """A convolution from 3 to 5 channels, and whatever `then` does with it and the input."""

    def __init__(self, then: Callable[[Any, Any], Any] = lambda y, x: y) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(self.conv(x), x)


def image(*shape: int) -> Array:
    """Noise of both signs: by default two pictures of 3 channels, 5 high and 7 wide."""
    return np.random.default_rng(1).standard_normal(shape or (2, 3, 5, 7), dtype=np.float32)


def given(array: Array | None = None) -> Input:
    """The picture, or another array, as an input."""
    return Input(name="given", array=image() if array is None else array)


def seen(module: nn.Module, array: Array | None = None, *, float64: bool = False) -> Trace:
    """A run of the module in evaluation mode."""
    return TorchModule(module.eval()).sample(given(array), float64=float64)


def names(module: nn.Module) -> list[str]:
    """The names of the taps, in order."""
    return [tap.name for tap in seen(module).taps]


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


# -- float64 -----------------------------------------------------------------------------------------------------------


def test_the_float64_run_is_float64() -> None:
    """All of the judge's values are float64, and differ from the float32 run's by rounding only."""
    module = Network(lambda y, x: torch.cat([torch.tanh(y), x], 1) * 0.1)
    exact, usual = seen(module, float64=True), seen(module)
    assert {sample.dtype for sample in exact.samples.values()} == {np.dtype(np.float64)}
    assert {sample.dtype for sample in usual.samples.values()} == {np.dtype(np.float32)}
    assert [tap.name for tap in exact.taps] == [tap.name for tap in usual.taps]
    difference = np.abs(exact.outputs["output"] - usual.outputs["output"]).max()
    assert 0 < difference < 1e-6


def test_the_float64_copy_leaves_the_module_alone() -> None:
    """The module keeps its dtype, its weights and its buffers, to the bit."""
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    runner = TorchModule(module)
    runner.sample(given(), float64=True)
    runner.sample(given())
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) and after[key].dtype == before[key].dtype for key in before)


def test_integers_stay_integers() -> None:
    """Tokens are not made floating-point: an embedding takes them in both runs."""
    tokens = np.array([[2, 3, 5], [7, 0, 1]])
    for float64 in (False, True):
        found = seen(nn.Sequential(nn.Embedding(11, 7), nn.Linear(7, 2)), tokens, float64=float64)
        assert [tap.name for tap in found.taps] == ["0", "1"]


@pytest.mark.xfail(strict=True, raises=PairError, reason="the cast is to float32 in the float64 run as well")
def test_a_reference_may_cast_its_input() -> None:
    """A forward that begins with `x.float()`, as many do, is run in float64 as well."""
    module = Network()
    module.register_forward_pre_hook(lambda module, args: (args[0].float(),))
    assert seen(module, float64=True).outputs["output"].dtype == np.float64


# -- the input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [nn.Sequential(nn.ReLU(inplace=True)), nn.Sequential(Network(lambda y, x: y * x.mul_(2).mean()))],
    ids=["activation", "operation"],
)
def test_the_input_is_not_changed(module: nn.Module) -> None:
    """A reference that works in place on its input works on a copy: the array goes to the port as well."""
    array = image()
    seen(module, array)
    np.testing.assert_array_equal(array, image())


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.transpose(0, 1, 3, 2),
        lambda array: array[:, :, ::2],
        lambda array: array[:, ::-1],
        lambda array: np.broadcast_to(array[:1], array.shape),
    ],
    ids=["transposed", "strided", "reversed", "read-only"],
)
def test_any_array_will_do(change: Callable[[Array], Array]) -> None:
    """Views in any order, reversed channels (BGR) and read-only arrays give what a plain copy of them gives."""
    module = Network()
    array = change(image())
    np.testing.assert_array_equal(seen(module, array).outputs["output"], seen(module, array.copy()).outputs["output"])


# -- the module is left as it was --------------------------------------------------------------------------------------


def hooks(module: nn.Module) -> int:
    """The number of hooks on a module and all below it."""
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules())


def test_hooks_are_removed() -> None:
    """After a run no hook is left."""
    module = nn.Sequential(Network(), nn.ReLU())
    seen(module)
    assert hooks(module) == 0


@pytest.mark.parametrize("float64", [False, True])
def test_hooks_are_removed_after_an_exception(float64: bool) -> None:
    """A reference, or a sink, that raises leaves no hook behind and no mode on; the next run is as any other."""

    def fail(*args: object) -> None:
        assert hooks(runner.module if not float64 else runner._in_float64()) > 0
        raise ZeroDivisionError

    module = Network(lambda y, x: fail())
    runner = TorchModule(module.eval())
    with pytest.raises(ZeroDivisionError):
        runner.sample(given(), float64=float64)
    with pytest.raises(ZeroDivisionError):
        runner.run(given(), fail, float64=float64)
    assert hooks(runner.module) + hooks(runner._in_float64()) == 0
    assert names(Network()) == ["conv"]


def test_the_users_hooks_stay() -> None:
    """A hook that was there before is there afterwards, and was called."""
    module = Network()
    called: list[str] = []
    module.conv.register_forward_hook(lambda *args: called.append("user"))
    seen(module)
    assert called == ["user"]
    assert hooks(module) == 1


def test_nothing_requires_gradients() -> None:
    """Values that are shown are plain: they can be turned into arrays."""
    shown: list[bool] = []
    TorchModule(Network().eval()).run(given(), lambda tap, value: shown.append(value.requires_grad))
    assert shown == [False]


# -- calls: how each tap is made ---------------------------------------------------------------------------------------


class Joined(nn.Module):
    """Two convolutions of the input, joined by a function; one of them is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 5, 3, padding=1)
        self.right = nn.Conv2d(3, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x), self.right(x)
        return torch.cat([right, left, right], dim=1) * 2.0


def calls(module: nn.Module, array: Array | None = None) -> dict[str, Call]:
    """The calls of a run."""
    return dict(TorchModule(module.eval()).calls(given(array)))


def made_again(module: nn.Module, name: str, **given: Array) -> Array:
    """What a tap's call makes of other values of the taps that it reads."""
    values = {key.replace("__", "."): torch.from_numpy(value) for key, value in given.items()}
    return calls(module)[name].again(values).numpy()


def test_a_call_says_what_it_reads() -> None:
    """A tap's call reads taps in the order of its arguments, a tensor given twice twice, and the input."""
    found = calls(Joined())
    assert {name: call.reads for name, call in found.items()} == {
        "left": (INPUT,),
        "right": (INPUT,),
        "cat": ("right", "left", "right"),
        "mul": ("cat",),
    }
    assert found["cat"].kwargs == {"dim": 1}
    assert found["cat"].args == ([Read("right"), Read("left"), Read("right")],)
    assert found["mul"].args == (Read("cat"), 2.0)


def test_a_layers_call_is_the_layer() -> None:
    """What is called for a layer is the module, for an operation the function of torch."""
    module = Joined()
    found = calls(module)
    assert found["left"].function is module.left
    assert found["cat"].function is torch.cat


def test_a_call_is_made_again_on_the_same_values() -> None:
    """On the values of the run each call gives the value of its tap, bit for bit."""
    module = Joined().eval()
    runner = TorchModule(module)
    values = runner.values(given(), ["left", "right", "cat", "mul", INPUT])
    for name, call in runner.calls(given()).items():
        again = call.again({key: torch.from_numpy(value) for key, value in values.items()})
        np.testing.assert_array_equal(again.numpy(), values[name])


def test_a_call_is_made_again_on_other_values() -> None:
    """On other values, of other sizes too, a call computes what the function or layer computes of these."""
    module = Joined().eval()
    other = image(1, 3, 9, 4)
    np.testing.assert_array_equal(
        made_again(module, "left", input=other), module.left(torch.from_numpy(other)).detach().numpy()
    )
    left, right = image(1, 2, 4, 4), -image(1, 2, 4, 4)
    np.testing.assert_array_equal(
        made_again(module, "cat", left=left, right=right), np.concatenate([right, left, right], 1)
    )


def test_a_call_made_again_changes_nothing_it_is_given() -> None:
    """An activation in place works on a copy of what it is given."""
    given = torch.from_numpy(image())
    kept = given.clone()
    found = calls(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)))
    assert (found["1"].again({"0": given}) >= 0).all()
    assert torch.equal(given, kept)


def test_a_tensor_that_is_no_tap_is_itself() -> None:
    """A parameter, a buffer or a constant in a call is the tensor, and is not among what the call reads."""
    weight = torch.linspace(-1, 1, 15).reshape(5, 3, 1, 1)
    found = calls(Network(lambda y, x: functional.conv2d(x, weight) + y))
    assert found["conv2d"].reads == (INPUT,)
    assert found["conv2d"].args[1] is weight
    assert found["add"].reads == ("conv2d", "conv")


def test_a_value_written_into_is_the_later_tap() -> None:
    """What reads a tensor after an operation in place reads that operation's value, not the one before."""
    found = calls(Network(lambda y, x: (y.mul_(2.0), y + 1)[1]))
    assert found["add"].reads == ("mul",)


def test_copies_stand_for_what_they_copy() -> None:
    """What reads a contiguous or cloned value reads the tap that it is a copy of."""
    found = calls(Network(lambda y, x: torch.tanh(y.transpose(2, 3).contiguous().clone())))
    assert found["tanh"].reads == ("transpose",)


def test_values_are_whole_and_as_they_were_made() -> None:
    """The values of taps are given whole, before anything overwrites them, and the input under its name."""
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True)).eval()
    found = TorchModule(module).values(given(), ["0", INPUT])
    assert set(found) == {"0", INPUT}
    np.testing.assert_array_equal(found[INPUT], image())
    assert found["0"].shape == (2, 5, 3, 5)
    assert (found["0"] < 0).any()


def test_values_of_large_maps_are_not_sampled() -> None:
    """A map of more values than are sampled is given whole."""
    side = int(SAMPLE**0.5)
    found = TorchModule(Network().eval()).values(given(image(1, 3, side, side)), ["conv"])
    assert found["conv"].shape == (1, 5, side, side)


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


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_training_mode_is_refused() -> None:
    """A module, or any part of it, in training mode is refused by name, with the remedy."""
    with pytest.raises(PairError, match=r"training mode \('Network' and others\); call \.eval\(\)"):
        TorchModule(Network().train())
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Dropout()).eval()
    module[1].train()
    with pytest.raises(PairError, match=r"training mode \('1'\)"):
        TorchModule(module)
    TorchModule(module.eval())


@dataclass
class Flow:
    """What a network may return."""

    flow: torch.Tensor
    levels: tuple[torch.Tensor, ...]


def test_outputs_have_the_names_of_their_way() -> None:
    """Every tensor of a tuple, dict or dataclass is an output under its way there, with the tap that it is."""
    found = seen(Network(lambda y, x: Flow(flow=torch.tanh(y), levels=(y, torch.relu(y)))))
    assert found.output_taps == {"output.flow": "tanh", "output.levels[0]": "conv", "output.levels[1]": "relu"}
    conv = found.outputs["output.levels[0]"]
    np.testing.assert_allclose(found.outputs["output.flow"], np.tanh(conv), rtol=1e-6)
    assert seen(Network(lambda y, x: {"flow": y})).output_taps == {"output": "conv"}


def test_properties_that_make_a_value_are_tapped() -> None:
    """`x.mT` is an operation that reads and is read, though torch has it as a property; a shape is none."""
    found = seen(Network(lambda y, x: torch.tanh(y.mT) * y.shape[1]))
    assert [(tap.name, tap.reads) for tap in found.taps if tap.name != "conv"] == [
        ("mT", ("conv",)),
        ("tanh", ("mT",)),
        ("mul", ("tanh",)),
    ]


def test_whole_numbers_are_an_output() -> None:
    """An output of integers is a tap that says what it was made of, though such values on the way are none."""
    found = seen(Network(lambda y, x: (y.argmax(1) > 1, y.argmax(1), y)))
    assert found.output_taps == {"output[0]": "gt", "output[1]": "argmax", "output[2]": "conv"}
    assert next(tap for tap in found.taps if tap.name == "argmax").reads == ("conv",)
    np.testing.assert_array_equal(found.outputs["output[1]"], found.outputs["output[2]"].argmax(1))


def test_an_output_without_a_tensor_is_refused() -> None:
    """What returns no tensor at all is refused, and so is what returns its input."""
    with pytest.raises(PairError, match="the reference returns NoneType without a tensor"):
        seen(Network(lambda y, x: None))
    with pytest.raises(PairError, match="the reference's output is its input, untouched"):
        seen(Network(lambda y, x: x))


class Several(nn.Module):
    """Takes two pictures, one of them by name, and a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, pictures: dict[str, torch.Tensor], *, factor: float, mask: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, self.conv(pictures["left"]) * factor, self.conv(pictures["right"]))


def test_inputs_may_be_trees() -> None:
    """Arrays in a dict, by keyword, masks and constants reach the module; taps read them by the names of `arrays`."""
    mask = np.arange(15).reshape(3, 5) % 2 == 0
    pictures = {"left": image(1, 3, 5, 7), "right": -image(1, 3, 5, 7)}
    several = Input(name="several", args=(pictures,), kwargs={"factor": 0.5, "mask": mask})
    assert set(several.arrays) == {"input[0].left", "input[0].right", "input.mask"}
    runner = TorchModule(Several().eval())
    reads = {tap.name: tap.reads for tap in runner.taps(several).taps}
    assert reads["conv"] == ("input[0].left",)
    assert reads["conv#2"] == ("input[0].right",)
    assert reads["where"] == ("input.mask", "mul", "conv#2")
    assert runner.names_of(several) == {"input[0].left": "", "input[0].right": "", "input.mask": ""}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_module_is_run_as_what_it_was_made_of() -> None:
    """The wrapper of torch.compile is taken off: what is compared is the module inside."""
    module = Network().eval()
    assert TorchModule(torch.compile(module)).module is module  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "then",
    [
        lambda y, x: y.transpose(2, 3).contiguous(),
        lambda y, x: y.clone(),
        pytest.param(
            lambda y, x: (y, torch.tanh(x))[0],
        ),
    ],
    ids=["contiguous", "clone", "something else runs last"],
)
def test_the_output_may_be_a_copy_or_an_earlier_value(then: Callable[[Any, Any], Any]) -> None:
    """A forward that ends with .contiguous() or .clone(), or computes something later, has a named output tap."""
    found = seen(Network(then))
    assert found.output_taps["output"] in ("conv", "transpose")
    assert all(tap.name for tap in found.taps)
