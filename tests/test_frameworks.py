"""What stands for an engine that is not loaded can be named and derived from, and nothing of it can be called."""

import sys

import pytest

from parity import switches
from parity.errors import PairError
from parity.frameworks import is_loaded, stand_in

torch = stand_in("torch")


def test_what_is_found_in_a_stand_in_is_a_class_of_that_name() -> None:
    """The same path is the same class each time, and another path another one."""
    assert torch.nn.Conv2d.__name__ == "Conv2d"
    assert torch.nn.Conv2d is stand_in("torch.nn.Conv2d")
    assert torch.nn.Conv2d is not torch.nn.Conv1d


def test_layers_are_modules() -> None:
    """A stand-in for a layer is a Module, as in torch; a stand-in for a tensor is none, nor is a number."""
    assert issubclass(torch.nn.Linear, torch.nn.Module)
    assert not issubclass(torch.Tensor, torch.nn.Module)
    assert not isinstance(3, torch.nn.Linear | torch.nn.Conv2d)


def test_a_class_can_be_derived_from_a_stand_in() -> None:
    """A network written for torch can be defined without it, with what its annotations and decorators name."""

    class Network(torch.nn.Module):  # type: ignore[misc]
        @torch.jit.ignore  # type: ignore[untyped-decorator]
        def forward(self, x: torch.Tensor | None) -> torch.Tensor:
            return x

    assert Network.forward(None, 7) == 7
    with pytest.raises(PairError, match=r"^Network needs torch, which is not loaded in this process: it is not inst"):
        Network()
    with pytest.raises(AttributeError, match="Network has no attribute 'stride'"):
        Network.stride  # noqa: B018


@pytest.mark.parametrize(("path", "engine"), [("torch.cat", "torch"), ("keras.Model", "tensorflow")])
def test_nothing_of_a_stand_in_can_be_called(path: str, engine: str) -> None:
    """Calling one says which engine is missing."""
    with pytest.raises(PairError, match=rf"needs {engine}, which is not loaded in this process"):
        stand_in(path)([1, 2])


def test_why_an_engine_is_not_loaded_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was left out because a recording stands for its side is not said to be missing."""
    monkeypatch.setenv("PARITY_WITHOUT", "torch")
    with pytest.raises(PairError, match=r"a recording stands for that side$"):
        torch.cat([])


def test_leaving_out_an_engine_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out before anything is loaded is left out in the processes started from here too."""
    monkeypatch.setenv("PARITY_WITHOUT", "")
    monkeypatch.delitem(sys.modules, "parity.frameworks")
    assert switches.left_out() == set()
    switches.leave_out("torch")
    switches.leave_out("tensorflow")
    assert switches.left_out() == {"torch", "tensorflow"}


def test_loaded_engines_stay() -> None:
    """An engine that is loaded cannot be left out any more, and says that it is there."""
    switches.leave_out("torch")
    assert switches.left_out() == set()
    assert is_loaded("torch")
    assert is_loaded("tensorflow")
