"""The torch side: the module, its input and the user's hooks are left as they were, in float64 too."""

from collections.abc import Callable

import numpy as np
import pytest
from torch_nets import Network, given, image, names, nn, seen

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import torch
from parity.runners.torch_module import TorchModule

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
