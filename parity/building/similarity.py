"""Distances and similarities of vectors along an axis, which the result is without."""

import math
from typing import Any

from parity.building.registry import builds
from parity.building.values import Site, Value, without
from parity.errors import ConversionError
from parity.frameworks import keras, torch

F = torch.nn.functional


@builds(F.cosine_similarity, layout="values", how="each divided by its norm, multiplied and summed")
def cosine_similarity(site: Site, x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    """(..., c, ...) and the same, or what broadcasts to it, to (..., ...): the cosine of the angle between vectors."""
    first, second, order = _alike(x1, x2)
    axis = order.index(dim % len(order))
    if first.shape != second.shape:  # torch takes the norms of what was broadcast
        first, second = first * keras.ops.ones_like(second), second * keras.ops.ones_like(first)

    def of_one(x: Any) -> Any:
        return x / keras.ops.maximum(_norm(x, 2.0, axis, keepdims=True), eps)

    return Value(keras.ops.sum(of_one(first) * of_one(second), axis=axis), without(order, order[axis]))


@builds(torch.nn.CosineSimilarity, layout="values", how="each divided by its norm, multiplied and summed")
def cosine_similarity_layer(layer: torch.nn.CosineSimilarity, site: Site, x1: Value, x2: Value) -> Value:
    """(..., c, ...) and the same to (..., ...)."""
    return cosine_similarity(site, x1, x2, layer.dim, layer.eps)


@builds(F.pairwise_distance, layout="values", how="the norm of the difference")
def pairwise_distance(
    site: Site, x1: Value, x2: Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Value:
    """(..., c) and the same to (...): the p-norm of x1 - x2 + eps along torch's last axis."""
    first, second, order = _alike(x1, x2)
    axis = order.index(len(order) - 1)
    distance = _norm(first - second + eps, p, axis, keepdims=keepdim)
    return Value(distance, order if keepdim else without(order, order[axis]))


@builds(torch.nn.PairwiseDistance, layout="values", how="the norm of the difference")
def pairwise_distance_layer(layer: torch.nn.PairwiseDistance, site: Site, x1: Value, x2: Value) -> Value:
    """(..., c) and the same to (...), or to (..., 1)."""
    return pairwise_distance(site, x1, x2, layer.norm, layer.eps, layer.keepdim)


def _alike(x1: Value, x2: Value) -> tuple[Any, Any, tuple[int, ...]]:
    """Both tensors with their axes in one order, the first's; in torch's where they have not as many."""
    ranks = [len(each.order) for each in (x1, x2)]
    if ranks[0] == ranks[1]:
        return x1.tensor, x2.moved(x1.order), x1.order
    return x1.moved(range(ranks[0])), x2.moved(range(ranks[1])), tuple(range(max(ranks)))


def _norm(x: Any, p: float, axis: int, *, keepdims: bool) -> Any:
    """The p-norm along an axis, as `torch.linalg.vector_norm` has it for any p."""
    ops, sizes = keras.ops, keras.ops.abs(x)
    along = {"axis": axis, "keepdims": keepdims}
    if math.isnan(p):
        raise ConversionError("a norm of p=nan")
    if p == math.inf:
        return ops.max(sizes, **along)
    if p == -math.inf:
        return ops.min(sizes, **along)
    if p == 0:
        return ops.sum(ops.cast(x != 0, x.dtype), **along)
    if p == 1:
        return ops.sum(sizes, **along)
    if p == 2:
        return ops.sqrt(ops.sum(ops.square(x), **along))
    return ops.power(ops.sum(ops.power(sizes, p), **along), 1 / p)
