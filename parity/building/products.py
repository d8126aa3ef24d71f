"""Products of matrices, and what einsum's equations say of several tensors."""

import operator
from typing import Any

from parity.building.arithmetic import add
from parity.building.broadcasting import elementwise
from parity.building.calls import calls, plain
from parity.building.values import Site, Value
from parity.errors import ConversionError
from parity.frameworks import keras, torch


@calls(operator.matmul, torch.matmul, torch.bmm, torch.mm, "matmul", "bmm", "mm", "__matmul__", how="ops.matmul")
def matmul(site: Site, x: Value, y: Value) -> Value:
    """(..., a, b) and (..., b, c) to (..., a, c)."""
    return Value.plain(keras.ops.matmul(plain(x), plain(y)))


@calls(torch.einsum, torch.functional.einsum, how="ops.einsum")
def einsum(site: Site, equation: Any, *operands: Any) -> Value:
    """What the equation says."""
    if not isinstance(equation, str):
        raise ConversionError("einsum without an equation has no counterpart")
    values = operands[0] if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else operands
    return Value.plain(keras.ops.einsum(equation.replace(" ", ""), *map(plain, values)))


@calls(torch.baddbmm, "baddbmm", torch.addmm, "addmm", how="ops.matmul")
def baddbmm(site: Site, add_to: Value, x: Value, y: Value, *, beta: Any = 1, alpha: Any = 1) -> Value:
    """(a, c), (a, b) and (b, c) to (a, c); or batches of these."""
    product = matmul(site, x, y)
    product = product if alpha == 1 else elementwise(keras.ops.multiply)(site, product, alpha)
    if beta == 0:
        return product
    return add(site, add_to if beta == 1 else elementwise(keras.ops.multiply)(site, add_to, beta), product)
