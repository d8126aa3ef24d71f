"""Convolution in strips: torch's own result to the last digits, used where it helps and nowhere else."""

import copy
from typing import Any

import numpy as np
import pytest

from parity.frameworks import torch
from parity.pairs import Input
from parity.runners import float64
from parity.runners.float64 import StripConvolution, conv2d, in_float64
from parity.runners.torch_module import TorchModule

functional = torch.nn.functional

KERNELS = [(3, 1), (3, 3), (3, 5), (5, 3), (5, 5), (5, 7), (7, 1), (7, 7)]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Float64 noise of that shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_equal(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal in shape and dtype, and to 1e-13 of the greatest value."""
    assert actual.shape == expected.shape
    assert actual.dtype == torch.float64
    assert (actual - expected).abs().max() <= 1e-13 * expected.abs().max()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 5, 1000])
def test_strips_compute_what_torch_computes(
    monkeypatch: pytest.MonkeyPatch, kernel: tuple[int, int], stride: int, rows: int
) -> None:
    """Every kernel, stride and padding, on odd sizes and two pictures, in strips of any height: torch's result."""
    for padding in range(4):
        x, weight, bias = drawn(2, 3, 13, 11), drawn(5, 3, *kernel, seed=1), drawn(5, seed=2)
        expected = functional.conv2d(x, weight, bias, stride, padding)
        monkeypatch.setattr(float64, "STRIP_BYTES", rows * 8 * 5 * expected.shape[3])
        assert_equal(conv2d(x, weight, bias, (stride, stride), (padding, padding)), expected)


@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (1, 7)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_kernels_of_one_row_in_one_strip(kernel: tuple[int, int], stride: int) -> None:
    """Kernels of one row are computed too, although torch is left to do it where there is a choice."""
    for padding in range(4):
        x, weight, bias = drawn(2, 3, 13, 11), drawn(5, 3, *kernel, seed=1), drawn(5, seed=2)
        expected = functional.conv2d(x, weight, bias, stride, padding)
        assert_equal(conv2d(x, weight, bias, (stride, stride), (padding, padding)), expected)


def test_a_strip_may_lie_in_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the padding is far higher than the kernel, the first strip sees nothing of the map: only the bias."""
    x, weight, bias = drawn(1, 3, 13, 11), drawn(5, 3, 2, 3, seed=1), drawn(5, seed=2)
    monkeypatch.setattr(float64, "STRIP_BYTES", 1)
    assert_equal(conv2d(x, weight, bias, (1, 1), (5, 5)), functional.conv2d(x, weight, bias, 1, 5))


@pytest.mark.parametrize("size", [(7, 7), (7, 8), (9, 16), (31, 7)])
def test_every_remainder_is_padded_right(size: tuple[int, int]) -> None:
    """Even and odd sizes, down to the kernel's own, leave different remainders of the stride."""
    x, weight, bias = drawn(1, 2, *size), drawn(3, 2, 7, 7, seed=1), drawn(3, seed=2)
    for stride in (1, 2, 3):
        for padding in (0, 1, 3):
            expected = functional.conv2d(x, weight, bias, stride, padding)
            assert_equal(conv2d(x, weight, bias, (stride,) * 2, (padding,) * 2), expected)


def test_the_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strip that begins one row too late is not torch's result."""
    padded = float64._padded_rows
    monkeypatch.setattr(float64, "_padded_rows", lambda x, top, *rest: padded(x, top + 1, *rest))
    x, weight, bias = drawn(1, 2, 11, 13), drawn(3, 2, 3, 3, seed=1), drawn(3, seed=2)
    with pytest.raises(AssertionError):
        assert_equal(conv2d(x, weight, bias, (1, 1), (1, 1)), functional.conv2d(x, weight, bias, 1, 1))


class Spy:
    """Stands in for the convolution in strips and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *args: Any) -> torch.Tensor:
        self.calls += 1
        return conv2d(*args)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Counts, with maps of 100 pixels counting as large."""
    spy = Spy()
    monkeypatch.setattr(float64, "conv2d", spy)
    monkeypatch.setattr(float64, "SMALL", 100)
    return spy


def run(layer: torch.nn.Module, size: tuple[int, int] = (11, 13)) -> torch.Tensor:
    """The layer on float64 noise (float32 where its weights are), with strips allowed; its result is checked."""
    dtype = next(layer.parameters()).dtype
    x = drawn(2, next(layer.parameters()).shape[1] * getattr(layer, "groups", 1), *size).to(dtype)
    with torch.no_grad():
        expected = layer(x)
        with StripConvolution():
            actual = layer(x)
    assert (actual - expected).abs().max() <= 1e-13 * expected.abs().max()
    return actual


@pytest.mark.parametrize(
    "changes", [{}, {"padding": 1}, {"kernel_size": (5, 7), "padding": 2}, {"kernel_size": (3, 1)}]
)
def test_large_maps_are_run_in_strips(spy: Spy, changes: dict[str, Any]) -> None:
    """An ordinary float64 layer on a large map goes through the strips, once."""
    run(torch.nn.Conv2d(3, 5, **{"kernel_size": 3, **changes}).double())
    assert spy.calls == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": 3, "out_channels": 6},
        {"dilation": 2},
        {"dilation": (1, 2)},
        {"bias": False},
        {"stride": (1, 2)},
        {"padding": (0, 1)},
        {"padding": "same"},
        {"kernel_size": 1},
        {"kernel_size": (1, 3)},
    ],
    ids=str,
)
def test_what_strips_do_not_compute_is_torchs(spy: Spy, changes: dict[str, Any]) -> None:
    """Groups, dilation, a missing bias, unequal strides or paddings, and kernels of one row are left alone."""
    run(torch.nn.Conv2d(**{"in_channels": 3, "out_channels": 5, "kernel_size": 3, **changes}).double())
    assert spy.calls == 0


def test_float32_is_torchs(spy: Spy) -> None:
    """The float32 run is the reference as its users run it."""
    run(torch.nn.Conv2d(3, 5, 3))
    assert spy.calls == 0


@pytest.mark.parametrize(
    ("stride", "size", "calls"), [(1, (10, 10), 1), (1, (9, 11), 0), (2, (20, 20), 1), (2, (19, 21), 0)]
)
def test_small_maps_are_torchs(spy: Spy, stride: int, size: tuple[int, int], calls: int) -> None:
    """A map counts as large by its pixels, at a stride of two by those of its output."""
    run(torch.nn.Conv2d(3, 5, 3, stride).double(), size)
    assert spy.calls == calls


def test_other_functions_are_torchs(spy: Spy) -> None:
    """Transposed and one-dimensional convolutions, and a single picture without a batch, are left alone."""
    run(torch.nn.ConvTranspose2d(3, 3, 3).double())
    with StripConvolution(), torch.no_grad():
        torch.nn.Conv1d(3, 5, 3).double()(drawn(2, 3, 203))
        torch.nn.Conv2d(3, 5, 3).double()(drawn(3, 11, 13))
    assert spy.calls == 0


def test_only_while_active(spy: Spy) -> None:
    """After the block, torch is itself again, also after an exception in it."""
    layer, x = torch.nn.Conv2d(3, 5, 3).double(), drawn(1, 3, 11, 13)
    with pytest.raises(ZeroDivisionError), StripConvolution():
        raise ZeroDivisionError
    layer(x)
    assert spy.calls == 0


@pytest.mark.parametrize(
    "rest",
    [
        (),
        ((2, 2),),
        (2, 1),
        ((2, 2), (1, 1)),
        ((2, 2), (1, 1), 1),
        ((2, 2), (1, 1), (1, 1)),
    ],
    ids=str,
)
def test_functional_calls_may_leave_arguments_out(spy: Spy, rest: tuple[Any, ...]) -> None:
    """`conv2d` called as a function, with as many arguments as its caller likes, gives torch's result."""
    x, weight, bias = drawn(2, 3, 21, 23), drawn(5, 3, 3, 3, seed=1), drawn(5, seed=2)
    expected = torch.conv2d(x, weight, bias, *rest)
    with StripConvolution():
        assert_equal(torch.conv2d(x, weight, bias, *rest), expected)


def test_an_epsilon_of_the_kind_of_number_stays_float32s() -> None:
    """An RMSNorm without an epsilon of its own is the same function in float64, also of small values."""
    values = torch.tensor([[1e-6, -2e-6, 3e-6]])
    norm = torch.nn.Sequential(torch.nn.RMSNorm(3))
    wide = in_float64(copy.deepcopy(norm))(values.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide, norm(values).double(), rtol=1e-6, atol=0)


class Started(torch.nn.Module):
    """A recurrent layer whose state begins with zeros that are made in its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(3, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x, torch.zeros(1, x.shape[0], 5))[0]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_what_a_module_makes_is_of_the_kind_that_it_runs_in(kind: torch.dtype) -> None:
    """A state that begins as `torch.zeros(...)` is no reason to refuse a float64 run, and what is set is put back."""
    seen = []
    given = Input(name="steps", array=np.ones((2, 7, 3), np.float32))
    wide = kind is torch.float64
    ran = TorchModule(Started().eval()).run(given, lambda tap, value: seen.append(value.dtype), float64=wide)
    assert ran.outputs["output"].dtype == kind
    assert set(seen) == {kind}
    assert torch.get_default_dtype() == torch.float32
