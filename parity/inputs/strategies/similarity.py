"""Cases of distances and similarities: two tensors of one shape, or of shapes that broadcast."""

import math

from hypothesis import strategies as st

from parity.axes import CHANNELS_FIRST
from parity.frameworks import torch
from parity.inputs.strategies.cases import CallOfTwo, Case, arrays, cases_of
from parity.pairs import Input

F = torch.nn.functional
STYLES = ("noise", "negative", "large", "small", "sparse", "zero")
EPS = st.sampled_from([1e-8, 1e-6, 1e-3, 0.5])


def two(draw: st.DrawFn, module: torch.nn.Module, shape: tuple[int, ...]) -> Case:
    """A case of a module on two tensors of that shape; the second may be there once for all of some axes."""
    once = [draw(st.booleans()) for _ in shape[1:]] if draw(st.booleans()) else [False] * (len(shape) - 1)
    other = (shape[0], *(1 if alone else size for alone, size in zip(once, shape[1:], strict=True)))
    (first, says), (second, also) = (draw(arrays(each, STYLES)) for each in (shape, other))
    given = Input(name=says, args=(first, second), origin=f"{says}, and {also}")
    layout = CHANNELS_FIRST[len(shape)]
    return Case(module=module, given=given, layouts={"input[0]": layout, "input[1]": layout})


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of two axes or more."""
    return st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple)


@cases_of(torch.nn.CosineSimilarity, "cosine_similarity")
def cosine_similarity(draw: st.DrawFn) -> Case:
    """Along any axis, from either end."""
    shape = draw(shapes())
    dim = draw(st.sampled_from([1, *range(-len(shape), len(shape))]))
    return two(draw, torch.nn.CosineSimilarity(dim, draw(EPS)), shape)


@cases_of(F.cosine_similarity, "cosine_similarity_function")
def cosine_similarity_function(draw: st.DrawFn) -> Case:
    """The function, as the module."""
    shape = draw(shapes())
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    return two(draw, CallOfTwo(F.cosine_similarity, dim=dim, eps=draw(EPS)), shape)


@cases_of(torch.nn.PairwiseDistance, "pairwise_distance")
def pairwise_distance(draw: st.DrawFn) -> Case:
    """Norms of every kind, whole and not, down to the number of differences and the least of them."""
    p = draw(st.sampled_from([2.0, 1.0, 3.0, 0.0, math.inf, -math.inf, 0.5, 1.5]))
    module = torch.nn.PairwiseDistance(p, draw(st.sampled_from([1e-6, 0.0, 0.5])), keepdim=draw(st.booleans()))
    return two(draw, module, draw(shapes()))
