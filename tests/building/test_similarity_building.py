"""Cosines and distances along an axis: shapes that broadcast, norms of every kind, and refusals.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from layers_on_trial import LAYOUTS, build, outcome
from reloading import same_when_loaded

from parity.errors import ConversionError
from parity.frameworks import torch
from parity.inputs.strategies import Case
from parity.inputs.strategies.cases import CallOfTwo
from parity.pairs import Input

nn, F = torch.nn, torch.nn.functional
FORMATS = ("channels_last", "channels_first")
SHAPE = (2, 3, 4, 5)
NORMS = (2.0, 1.0, 3.0, 0.0, 0.5, -1.0, math.inf, -math.inf)
COMPARED: dict[str, torch.nn.Module] = {
    **{f"cosine along {dim}": nn.CosineSimilarity(dim) for dim in (1, 0, 2, -1)},
    "cosine with a large eps": nn.CosineSimilarity(1, eps=3.0),
    "cosine_similarity": CallOfTwo(F.cosine_similarity, dim=1, eps=1e-3),
    **{f"distance of norm {p:g}": nn.PairwiseDistance(p) for p in NORMS},
    "distance that keeps its axis": nn.PairwiseDistance(keepdim=True),
    "pairwise_distance": CallOfTwo(F.pairwise_distance, p=3.0, eps=0.1),
}


def of_two(module: torch.nn.Module, one: tuple[int, ...] = SHAPE, other: tuple[int, ...] = SHAPE) -> Case:
    """A case on noise of these two shapes."""
    generator = np.random.default_rng(1)
    arrays = [generator.standard_normal(shape).astype(np.float32) for shape in (one, other)]
    layouts = {f"input[{i}]": LAYOUTS[array.ndim] for i, array in enumerate(arrays)}
    return Case(module=module, given=Input(name="noise", args=tuple(arrays)), layouts=layouts)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", COMPARED)
def test_two_maps_are_compared_as_torch_does(name: str, data_format: str) -> None:
    """Every kind gives torch's values, in both data formats."""
    assert outcome(of_two(COMPARED[name]), data_format).passed


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["cosine along 1", "cosine with a large eps", "distance of norm 2"])
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA give the same."""
    assert outcome(of_two(COMPARED[name]), mode=mode).passed


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", COMPARED)
def test_what_compares_is_read_from_a_file(name: str, data_format: str, tmp_path: Path) -> None:
    """It does the same once saved and loaded."""
    assert same_when_loaded(of_two(COMPARED[name]), data_format, tmp_path)


@pytest.mark.parametrize("other", [(2, 1, 4, 5), (2, 3, 1, 1), (2, 1, 1, 5)])
@pytest.mark.parametrize("name", ["cosine along 1", "cosine along -1", "distance of norm 3"])
def test_what_broadcasts(name: str, other: tuple[int, ...]) -> None:
    """A value that is there once counts as often as the other's; either may be the one."""
    for data_format in FORMATS:
        assert outcome(of_two(COMPARED[name], SHAPE, other), data_format).passed
        assert outcome(of_two(COMPARED[name], other, SHAPE), data_format).passed


def test_vectors_of_zero_have_a_cosine_of_zero() -> None:
    """Not NaN: the norm is at least eps."""
    zero = np.zeros((2, 3), np.float32)
    given = Input(name="zero", args=(zero, zero + 1))
    found = outcome(Case(module=nn.CosineSimilarity(), given=given, layouts={"input[0]": "NC", "input[1]": "NC"}))
    assert found.passed
    assert (found.actual == 0).all()


def test_a_norm_of_nothing_is_refused() -> None:
    """NaN is no p."""
    with pytest.raises(ConversionError, match="a norm of p=nan"):
        build(of_two(nn.PairwiseDistance(math.nan)))
