"""Axes summed, averaged or searched away; sums of many values stay as near as torch's, which Keras's would not."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from parity.building.broadcasting import elementwise
from parity.building.calls import calls, dims_of, site_axis
from parity.building.reshaping import squeeze
from parity.building.values import Site, Value, without
from parity.errors import ConversionError
from parity.frameworks import keras, torch

MANY = 256
"""Values from which on a mean is taken in two steps: TensorFlow adds them one after the other in float32."""


def _reduced(x: Value, function: Callable[..., Any], dim: Any, keepdim: bool) -> Value:
    """What a function of Keras makes of some axes."""
    dims = dims_of(x, dim)
    axes = tuple(sorted(x.order.index(axis) for axis in dims))
    order = x.order
    for axis in sorted(dims, reverse=True) if not keepdim else ():
        order = without(order, axis)
    return Value(function(x.tensor, axis=axes, keepdims=keepdim), order)


def _whole(x: Value) -> Value:
    """Truth values and whole numbers as torch adds them."""
    kind = str(x.tensor.dtype)
    return Value(keras.ops.cast(x.tensor, "int64"), x.order) if kind in ("bool", "int32", "uint8") else x


def _count(x: Value, dims: Sequence[int]) -> int | None:
    sizes = [x.shape[axis] for axis in dims]
    return None if None in sizes else math.prod(size or 0 for size in sizes)


@calls("mean", torch.mean, how="ops.mean; of many values in two steps")
def mean(site: Site, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    _refuse_dtype(dtype)
    dims = dims_of(x, dim)
    count = _count(x, dims)
    if count is not None and count < MANY:
        return _reduced(x, keras.ops.mean, dims, keepdim)
    near, rest = _near(x, dims)
    total = Value(keras.ops.add(near, rest), x.order)
    return total if keepdim else squeeze(site, total, dims)


def _near(x: Value, dims: Sequence[int]) -> tuple[Any, Any]:
    """A whole number near the mean, and the mean of what is left without it.

    Added one by one, 630 000 values of one sign are 70 000 ulps off. Less a whole number, and then a number of 256ths,
    pixels stay exact; what is left has both signs, and each axis by itself is short.
    """
    axes = sorted((x.order.index(axis) for axis in dims), reverse=True)
    near = keras.ops.round(keras.ops.mean(x.tensor, axis=tuple(axes), keepdims=True))
    left = keras.ops.subtract(x.tensor, near)
    parts = keras.ops.round(keras.ops.multiply(keras.ops.mean(left, axis=tuple(axes), keepdims=True), 256.0))
    closer = keras.ops.multiply(parts, 1 / 256)
    rest = keras.ops.subtract(left, closer)
    for axis in axes:
        rest = keras.ops.mean(rest, axis=axis, keepdims=True)
    return near, keras.ops.add(closer, rest)


@calls("sum", torch.sum, how="ops.sum; of many values by their mean")
def sum_(site: Site, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    _refuse_dtype(dtype)
    dims = dims_of(x, dim)
    count = _count(x, dims)
    if count is None or count < MANY or "float" not in str(x.tensor.dtype):
        return _reduced(_whole(x), keras.ops.sum, dims, keepdim)
    near, rest = _near(x, dims)
    total = Value(keras.ops.add(keras.ops.multiply(near, count), keras.ops.multiply(rest, count)), x.order)
    return total if keepdim else squeeze(site, total, dims)


def _refuse_dtype(dtype: Any) -> None:
    if dtype not in (None, torch.float32):
        raise ConversionError(f"dtype={dtype}: what is converted computes in float32")


def _reduces(function: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        """(...) to (...) without some axes, or with size one there."""
        return _reduced(x, function, dim, keepdim)

    return build


calls("amax", torch.amax, how="ops.max")(_reduces(keras.ops.max))
calls("amin", torch.amin, how="ops.min")(_reduces(keras.ops.min))
calls("all", torch.all, how="ops.all")(_reduces(keras.ops.all))
calls("any", torch.any, how="ops.any")(_reduces(keras.ops.any))
calls("logsumexp", torch.logsumexp, how="ops.logsumexp")(_reduces(keras.ops.logsumexp))


@calls("prod", torch.prod, how="ops.prod")
def prod(site: Site, x: Value, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    """(...) to (...) without an axis, or with size one there."""
    _refuse_dtype(dtype)
    return _reduced(_whole(x), keras.ops.prod, dim, keepdim)


def _extreme(function: Callable[..., Any], place: Callable[..., Any], other: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, x: Value, dim: Any = None, keepdim: bool = False) -> Any:
        """(...) to () for all axes; for one, to (...) without it, and the places; of two tensors, to the larger."""
        if isinstance(dim, Value):
            return elementwise(other)(site, x, dim)
        if dim is None:
            return _reduced(x, function, None, False)
        return _reduced(x, function, dim, keepdim), _places(x, place, dim, keepdim)

    return build


def _places(x: Value, function: Callable[..., Any], dim: int, keepdim: bool) -> Value:
    axis = dim % len(x.order)
    found = keras.ops.cast(function(x.tensor, axis=x.order.index(axis), keepdims=keepdim), "int64")
    return Value(found, x.order if keepdim else without(x.order, axis))


calls("max", torch.max, how="ops.max")(_extreme(keras.ops.max, keras.ops.argmax, keras.ops.maximum))
calls("min", torch.min, how="ops.min")(_extreme(keras.ops.min, keras.ops.argmin, keras.ops.minimum))


def _places_of(function: Callable[..., Any]) -> Callable[..., Any]:
    def build(site: Site, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
        """(...) to (...) without an axis: where along it the value is the greatest, or the least."""
        if dim is None:
            raise ConversionError("it counts places across the batch")
        return _places(x, function, dim, keepdim)

    return build


calls("argmax", torch.argmax, how="ops.argmax")(_places_of(keras.ops.argmax))
calls("argmin", torch.argmin, how="ops.argmin")(_places_of(keras.ops.argmin))


@calls("var", torch.var, how="ops.mean of squares of what is centred")
def var(
    site: Site, x: Value, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = 1
) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    if isinstance(dim, bool):  # torch takes `unbiased` by itself as well
        dim, unbiased = None, dim
    dims = dims_of(x, dim)
    count = _count(x, dims)
    correction = correction if unbiased is None else int(unbiased)
    if count is None and correction:
        raise ConversionError("it divides by the size of the batch, less one")
    centred = Value(keras.ops.subtract(x.tensor, mean(site, x, dims, True).tensor), x.order)
    squares = Value(keras.ops.square(centred.tensor), x.order)
    found = mean(site, squares, dims, keepdim)
    if not correction or count is None:
        return found
    return Value(keras.ops.multiply(found.tensor, count / (count - correction)), found.order)


@calls("std", torch.std, how="ops.sqrt of the variance")
def std(site: Site, x: Value, *given: Any, **settings: Any) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    found = var(site, x, *given, **settings)
    return Value(keras.ops.sqrt(found.tensor), found.order)


@calls("norm", torch.norm, how="ops.sqrt of a sum of squares")
def norm(
    site: Site, x: Value, p: Any = 2, dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None
) -> Value:
    """(...) to (...) without some axes, or with size one there: of vectors; that of Frobenius is one of them."""
    return vector_norm(site, x, 2 if p in (None, "fro") else p, dim, keepdim, dtype=dtype)


@calls(torch.linalg.vector_norm, how="ops.sqrt of a sum of squares")
def vector_norm(
    site: Site, x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    """(...) to (...) without some axes, or with size one there."""
    _refuse_dtype(dtype)
    if ord == 2:
        squares = sum_(site, Value(keras.ops.square(x.tensor), x.order), dim, keepdim)
        return Value(keras.ops.sqrt(squares.tensor), squares.order)
    sizes = Value(keras.ops.abs(x.tensor), x.order)
    function = {1: keras.ops.sum, math.inf: keras.ops.max, -math.inf: keras.ops.min}.get(ord)
    if function is None:
        raise ConversionError(f"p={ord} has no counterpart; 1, 2 and the infinite ones have")
    return _reduced(sizes, function, dim, keepdim)


@calls(torch.linalg.norm, how="ops.sqrt of a sum of squares")
def linalg_norm(
    site: Site, x: Value, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    """(...) to (...) without some axes: of vectors. Of two axes and a kind of norm, it is another, of matrices."""
    axes = len(dims_of(x, dim))
    if ord is not None and axes > 1 and ord != "fro":
        raise ConversionError(
            f"ord={ord} of {axes} axes is a norm of matrices; torch.linalg.vector_norm takes them all"
        )
    return norm(site, x, ord, dim, keepdim, dtype=dtype)


@calls(torch.nn.functional.normalize, how="a division by the norm")
def normalize(site: Site, x: Value, p: Any = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Value:
    """(...) to (...): of norm one along an axis."""
    length = norm(site, x, p, dim, True)
    return Value(keras.ops.true_divide(x.tensor, keras.ops.maximum(length.tensor, eps)), x.order)


@calls("cumsum", torch.cumsum, how="ops.cumsum")
def cumsum(site: Site, x: Value, dim: int) -> Value:
    """(...) to (...): sums of all before, and itself."""
    return Value(keras.ops.cumsum(_whole(x).tensor, axis=site_axis(x, dim)), x.order)
