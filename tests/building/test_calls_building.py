"""What networks do between their layers: every call on maps of unequal sizes, in both data formats, and the refusals.

A convolution comes first, so that what follows has its channels where the data format has them.
"""

import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layers_on_trial import on_noise
from reloading import same_when_loaded

from parity.building.reducing import mean
from parity.building.values import Site, Value
from parity.errors import ConversionError
from parity.frameworks import torch
from parity.inputs.strategies import Case
from parity.inputs.strategies.cases import Call
from parity.layers import tried
from parity.pairs import Input

nn, F = torch.nn, torch.nn.functional
FORMATS = ("channels_last", "channels_first")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves


class After(nn.Module):
    """A convolution from 3 to 4 channels, and a function of its result and of the module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.zeros(4, 1, 1))
        self.register_buffer("table", torch.zeros(5, 7))
        self.function = function

    def forward(self, image: torch.Tensor) -> Any:
        """(2, 3, 5, 7) to (2, 4, 5, 7), and from there to whatever it is."""
        return self.function(self.conv(image), self)


def case(function: Callable[..., Any]) -> Case:
    """The function on trial after a convolution."""
    return on_noise(After(function), (2, 3, 5, 7))


CALLS: dict[str, Callable[..., Any]] = {
    # arithmetic
    "with numbers": lambda y, m: (2.5 - y) * 3 / 7 + (-y) ** 2 - abs(y),
    "alpha": lambda y, m: torch.add(y, y * y, alpha=0.5) - torch.sub(y, 2.0, alpha=0.25) + torch.rsub(y, 1.0),
    "in place": lambda y, m: y.mul_(2).add_(1).sub_(0.5).div_(3).clamp_(min=-0.2),
    "powers": lambda y, m: (y.abs() + 0.1).pow(1.5) + (y.abs() + 0.1).sqrt() + (y.abs() + 0.5).rsqrt() + y.exp(),
    "trigonometry": lambda y, m: y.sin() + torch.cos(y) + torch.log1p(y.abs()) + torch.floor(y * 3) + y.sign(),
    "rounded division": lambda y, m: torch.div(y * 5, 1.5, rounding_mode="floor") + (y * 5) // 2.0,
    "channels by a parameter": lambda y, m: y * m.scale + m.scale,
    "rows and columns by a buffer": lambda y, m: y + m.table,
    "of fewer axes": lambda y, m: y + y.mean(dim=(0, 1)) if False else y + y.mean(dim=(2, 3), keepdim=True),
    "two tensors": lambda y, m: torch.maximum(y, -y * 0.5) - torch.minimum(y, m.table),
    "rounded": lambda y, m: torch.round(y * 30, decimals=-1) + torch.round(y, decimals=2) + y.round(),
    "truncated": lambda y, m: torch.div(y * 5, 0.7, rounding_mode="trunc"),
    "of whole numbers": lambda y, m: ((y * 9).int() ^ 5) & 3 | ((y * 9).int() * 2),
    # masks
    "of truth values": lambda y, m: ((y > 0) * (y < 1)) + ((y > 1) ^ (y < -1)),
    "filled as it is": lambda y, m: (y * 5).int().masked_fill(y > 0, 3),
    "where": lambda y, m: torch.where(y > 0, y, m.table * 2),
    "masked": lambda y, m: y.masked_fill((y < 0) & (y > -0.5) | ~(y < 1), 0.25),
    "compared": lambda y, m: ((y >= 0).float() + (y != 0).to(torch.float32) + (y == y.clone()).float()),
    "clamped": lambda y, m: torch.clamp(y, -0.3, 0.6) + y.clamp(max=0.1) + torch.clip(y, min=0.2) + y.clamp_min(0.3),
    "where not": lambda y, m: y.where(y > 0, m.table * 2),
    # shapes, all through torch's order
    "flattened": lambda y, m: torch.flatten(y, 1),
    "flattened places": lambda y, m: y.flatten(2),
    "sequence": lambda y, m: y.flatten(2).transpose(1, 2),
    "viewed": lambda y, m: y.view(y.size(0), 2, 2, 5, -1),
    "shuffled": lambda y, m: y.view(-1, 2, 2, 5, 7).transpose(1, 2).reshape(y.shape),
    "batch merged": lambda y, m: y.reshape(-1, 7) * 2,
    "batch merged and split": lambda y, m: (y.reshape(y.shape[0] * 4, 35) + 1).view(y.shape[0], 4, 5, 7),
    "unflattened": lambda y, m: y.unflatten(1, (2, 2)),
    "permuted": lambda y, m: y.permute(0, 2, 3, 1).contiguous(),
    "moved": lambda y, m: torch.movedim(y, 1, -1) + y.permute(0, 3, 2, 1).swapaxes(1, 2),
    "squeezed": lambda y, m: y[:, :1].squeeze(1) + y.mean(3, keepdim=True).squeeze(3).sum(1)[:, :, None],
    "unsqueezed": lambda y, m: y.unsqueeze(2) + y[:, None, :, :, :].transpose(1, 2),
    "expanded": lambda y, m: y[:, :1].expand(-1, 3, -1, -1),
    "repeated": lambda y, m: y.repeat(1, 2, 1, 3),
    "a parameter for each sample": lambda y, m: torch.cat((m.scale.expand(y.shape[0], -1, 5, 7), y), dim=1),
    "a constant for each sample": lambda y, m: torch.cat((torch.zeros(y.shape[0], 1, 5, 7), y), dim=1),
    "like another": lambda y, m: torch.cat((torch.ones_like(y), y.new_zeros(y.shape)), 1) + torch.cat((y, y), 1),
    "turned": lambda y, m: torch.flip(y, (1, 3)) + torch.roll(y, (1, -2), (2, 3)),
    # joins and parts
    "joined": lambda y, m: torch.cat((y, y * 2, y[:, 1:3]), dim=1),
    "joined along rows": lambda y, m: torch.cat([y, y[:, :, 2:]], dim=-2),
    "stacked": lambda y, m: torch.stack((y, y + 1, y * y), dim=2),
    "chunks": lambda y, m: operator.sub(*y.chunk(2, dim=1)),
    "split": lambda y, m: torch.split(y, [1, 4, 2], dim=3)[1],
    "unbound": lambda y, m: y.unbind(1)[2] + y.select(1, 0) + y.narrow(1, 1, 1)[:, 0],
    "indexed": lambda y, m: y[:, 1:, ::2, -3:] + y[..., 1:2][:, 0:1, 0:1],
    "some channels": lambda y, m: y[:, [2, 0, 2]] + torch.index_select(y, 1, torch.tensor([1, 1, 3])),
    "last": lambda y, m: y[:, -1],
    "from the end": lambda y, m: y.narrow(2, -3, 2) / len(y[0]),
    "by a mask of constants": lambda y, m: y[:, [True, False, True, True]] + y[:, [True, True, True, False]],
    "by places of two axes": lambda y, m: y[:, 0, torch.tensor([[0, -1], [2, 1], [4, 3]]), None],
    "by places along several axes": lambda y, m: y[:, [0, -1, 2], 1, [3, 0, -2]],
    "by one place": lambda y, m: y[:, torch.tensor(2)],
    "a list of the first axis": lambda y, m: y.permute(1, 0, 2, 3)[[0, 2]].permute(1, 0, 2, 3),
    "gathered": lambda y, m: y.gather(1, y.argmax(1, keepdim=True)) + torch.gather(y, 3, torch.topk(y, 2)[1])[..., :1],
    # orders
    "sorted": lambda y, m: y.sort(1, descending=True),
    "sorted with ties": lambda y, m: torch.sort(torch.round(y), dim=-1, stable=True),
    "sorted whole numbers": lambda y, m: (y * 9).int().argsort(2),
    "greatest": lambda y, m: (torch.topk(y, 3, dim=2)[1], *y.topk(2, 1, largest=False)),
    # reductions
    "mean": lambda y, m: y.mean((2, 3)) + y.mean(dim=1).sum(-1).mean(-1, keepdim=True),
    "mean of all but the batch": lambda y, m: y.mean(dim=(1, 2, 3), keepdim=True) * y,
    "sum": lambda y, m: y.sum(dim=1, keepdim=True) + torch.sum(y, (2, 3), keepdim=True),
    "extremes": lambda y, m: y.amax(dim=(2, 3)) - y.amin((2, 3)) + y.max(dim=3)[0].min(dim=2).values,
    "places": lambda y, m: y.argmax(dim=1).float() + y.max(1)[1].float(),
    "deviation": lambda y, m: y.std(dim=1) + y.var((1,), unbiased=False) + torch.var(y, 1, correction=1),
    "deviation of all": lambda y, m: torch.std(y[:, :1].mean(0), False) * torch.var(y, 1, False, True),
    "norms of vectors": lambda y, m: (
        torch.norm(y, dim=(1, 2)) + torch.linalg.norm(y, dim=(1, 2)) + torch.linalg.vector_norm(y, math.inf, (1, 2))
    ),
    "product": lambda y, m: y.prod(2, keepdim=True),
    "norm": lambda y, m: F.normalize(y, dim=1) + torch.norm(y, p=2, dim=(2, 3), keepdim=True) + y.norm(1, 1, True),
    "running sum": lambda y, m: y.cumsum(1),
    "logsumexp": lambda y, m: torch.logsumexp(y, 1),
    # products
    "matmul": lambda y, m: y.flatten(2) @ y.flatten(2).transpose(1, 2),
    "by rows": lambda y, m: torch.matmul(y, m.table.t()),
    "bmm": lambda y, m: torch.bmm(y.flatten(2), y.flatten(2).permute(0, 2, 1)),
    "einsum": lambda y, m: torch.einsum("bchw,bkhw->bck", y, y * 2),
    "baddbmm": lambda y, m: torch.baddbmm(y.mean((2, 3)).unsqueeze(2), y[:, :, 0], y[:, 0].transpose(1, 2), beta=0.5),
    # functional forms
    "linear": lambda y, m: F.linear(y, m.table[:, :7] * 0.5),
    "conv": lambda y, m: F.conv2d(y, m.table[:4, :4].reshape(4, 4, 1, 1), stride=2, padding=1),
    "pools": lambda y, m: F.max_pool2d(y, 2) + F.avg_pool2d(y, kernel_size=2) + F.adaptive_avg_pool2d(y, (2, 3)),
    "norms": lambda y, m: F.layer_norm(y, (7,)) + F.group_norm(y, 2),
    "norm by its native function": lambda y, m: torch.batch_norm(
        y, m.table[0, :4], m.table[1, :4], m.table[2, :4], m.table[3, :4].abs() + 1, False, 0.1, 1e-3, False
    ),
    "padded": lambda y, m: F.pad(y, (1, 0, 2, 1), value=0.5) + F.pad(y, (1, 0, 2, 1), mode="replicate"),
    "cropped": lambda y, m: F.pad(y, (-1, 2, 0, -2)),
    "dropout": lambda y, m: F.dropout(y, 0.3, m.training),
}  # fmt: skip
"""Expressions of a map (2, 4, 5, 7) and of the module."""


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_exact(name: str, data_format: str) -> None:
    """What torch makes of a map the port makes of it, wherever the channels are."""
    outcomes = tried(case(CALLS[name]), data_format)
    assert outcomes
    assert all(found.passed for found in outcomes.values()), outcomes


ALL = [
    "channels by a parameter", "masked", "shuffled", "sorted with ties", "by places along several axes", "gathered",
    "of whole numbers", "a parameter for each sample", "chunks", "indexed",
    "some channels", "mean of all but the batch", "places", "einsum", "padded", "cropped",
]  # fmt: skip


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ALL)
def test_calls_are_exact_in_graphs(name: str, mode: str) -> None:
    """So they are as a graph, and compiled."""
    assert all(found.passed for found in tried(case(CALLS[name]), "channels_last", mode).values())


@pytest.mark.parametrize("name", ALL)
def test_calls_survive_a_file(name: str, tmp_path: Path) -> None:
    """A file of Keras alone has them, constants and places included."""
    assert same_when_loaded(case(CALLS[name]), "channels_last", tmp_path)


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "the size of the batch as a number": (lambda y, m: y * y.shape[0], "computes with the size of the batch"),
    "a mask as an index": (lambda y, m: y[y > 0], "follows the size|indexed by a mask|cannot be traced"),
    "dropout in evaluation": (lambda y, m: F.dropout(y, 0.3, True), "training=True"),
    "truncating": (lambda y, m: torch.div(y.int(), 2, rounding_mode="trunc"), "rounding_mode='trunc'"),
    "a norm of matrices": (lambda y, m: torch.linalg.norm(y, 2, dim=(2, 3)), "ord=2 of 2 axes is a norm of matrices"),
    "the batch in order": (lambda y, m: y.sort(0)[0], "puts the batch in order"),
    "truth values in order": (lambda y, m: (y > 0).sort()[1], "truth values in order"),
    "no order": (lambda y, m: y.topk(2, sorted=False)[0], "sorted=False leaves open"),
    "another keyword": (lambda y, m: torch.logical_and(y > 0, y < 1, out=None), "unexpected keyword argument 'out'"),
    "rows that are rewritten": (
        lambda y, m: F.embedding((y[:, 0, 0] > 0).int(), m.table.detach(), max_norm=1.0),
        "max_norm=1.0 rewrites its table",
    ),
    "float64": (lambda y, m: y.double(), "computes in float64"),
    "a third norm": (lambda y, m: torch.norm(y, p=3, dim=1), "p=3"),
    "places across the batch": (lambda y, m: y.argmax() + y, "across the batch"),
    "rolling everything": (lambda y, m: torch.roll(y, 1), "turns the values of the whole batch"),
    "weights that are computed": (lambda y, m: F.linear(y, y[0, 0]), "computed from the network's inputs"),
    "statistics of the batch": (lambda y, m: F.batch_norm(y, None, None, training=True), "normalises by the batch"),
    "no builder": (lambda y, m: torch.lgamma(y), "No builder for torch.lgamma"),
    "splitting the batch": (lambda y, m: y.split(1, dim=0)[0], "splits the batch|follows"),
    "several tensors as indices": (
        lambda y, m: y[:, torch.tensor([0, 1]), :, torch.tensor([1, 2])],
        "several tensors at once",
    ),
    "a mask of several axes": (lambda y, m: y[:, :, m.table > 0], "mask of several axes"),
    "True as an index": (lambda y, m: y[True], "by True or False"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name: str) -> None:
    """What cannot be had exactly is refused, with the reason."""
    function, why = REFUSED[name]
    with pytest.raises(ConversionError, match=why):
        tried(case(function), "channels_last")


@pytest.mark.parametrize("value", [127.3, 0.3, -1e4])
def test_a_mean_of_many_is_as_near_as_one_of_few(value: float) -> None:
    """A constant image of 300 000 pixels has its value as its mean: one by one, TensorFlow is 70 000 ulps off."""
    image = np.full((1, 448, 704, 2), value, np.float32)
    found = mean(Site(path="mean"), Value(image, (0, 2, 3, 1)), dim=(2, 3))
    assert np.all(np.abs(np.asarray(found.tensor) - np.float32(value)) <= np.spacing(np.float32(abs(value))))


def test_inputs_of_other_types_are_taken(tmp_path: Path) -> None:
    """Whole numbers and truth values are inputs too, and what is made of them."""

    class Masked(nn.Module):
        def forward(self, values: torch.Tensor, mask: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
            return values.masked_fill(mask.unsqueeze(-1), 0.0) + shift[:, None, None] * 2

    generator = np.random.default_rng(0)
    given = Input(
        name="mixed",
        args=(
            np.asarray(generator.standard_normal((2, 5, 3)), np.float32),
            generator.random((2, 5)) < 0.5,
            generator.integers(0, 9, (2,)),
        ),
    )
    layouts = {"input[0]": "NLC", "input[1]": "NL", "input[2]": "N"}
    mixed = Case(module=Masked().eval(), given=given, layouts=layouts)
    assert all(found.passed for found in tried(mixed, "channels_last").values())
    assert same_when_loaded(mixed, "channels_last", tmp_path)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("shape", [(4, 4, 3, 1), (4, 3, 5, 4), (3, 3, 3, 3), (1, 5, 1, 1)])
def test_what_each_sample_has_is_added_to_that_sample(shape: tuple[int, ...], mode: str) -> None:
    """Also where there are as many samples as channels or columns, which `keras.ops.add` takes for a bias of those."""
    module = Call(lambda x: x + x.amax((1, 2, 3), keepdim=True) + x.amax((0, 2, 3), keepdim=True))
    for data_format in FORMATS:
        assert all(found.passed for found in tried(on_noise(module, shape), data_format, mode).values())
