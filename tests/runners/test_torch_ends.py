"""What goes into a torch module and comes out of it: trees of arrays; and what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from torch_nets import Network, image, nn, seen

from parity.errors import PairError
from parity.frameworks import torch
from parity.pairs import Input
from parity.runners.torch_module import TorchModule


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
