"""How each tap of the torch side is made, and made again on other values."""

import numpy as np
from torch_nets import Network, calls, functional, given, image, made_again, nn

from parity.frameworks import torch
from parity.pairs import INPUT
from parity.runners.calls import Read
from parity.runners.taps import SAMPLE
from parity.runners.torch_module import TorchModule


class Joined(nn.Module):
    """Two convolutions of the input, joined by a function; one of them is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 5, 3, padding=1)
        self.right = nn.Conv2d(3, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x), self.right(x)
        return torch.cat([right, left, right], dim=1) * 2.0


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
