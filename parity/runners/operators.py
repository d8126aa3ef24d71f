"""Lets symbolic tensors take part in arithmetic with NumPy's values as TensorFlow's tensors do.

`scores / np.sqrt(size)` stays float32 where `scores` is a tensor: the value takes the tensor's type. Of a symbolic
tensor Keras makes float64 there, and refuses `np.sqrt(size) * scores`, so that a `call` run on symbolic tensors would
compute something else than what the user runs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.frameworks import keras

OPERATORS = tuple(
    f"__{side}{name}__"
    for name in ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow")
    for side in ("", "r")
)


@contextmanager
def as_tensors_do() -> Iterator[None]:
    """While the block runs, a NumPy value takes the type of the symbolic tensor that an operator joins it with."""
    kind = keras.KerasTensor
    theirs = {name: getattr(kind, name) for name in OPERATORS}
    try:
        kind.__array_ufunc__ = None  # NumPy leaves the operator to the other side
        for name, operator in theirs.items():
            setattr(kind, name, _instead_of(operator))
        yield
    finally:
        del kind.__array_ufunc__
        for name, operator in theirs.items():
            setattr(kind, name, operator)


def _instead_of(operator: Callable[..., Any]) -> Callable[..., Any]:
    def joined(tensor: Any, other: Any) -> Any:
        is_value = isinstance(other, (np.ndarray, np.generic)) and "float" in tensor.dtype
        return operator(tensor, np.asarray(other, tensor.dtype) if is_value else other)

    return joined
