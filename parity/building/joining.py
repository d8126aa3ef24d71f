"""Several tensors made one, along torch's axis wherever the port has it."""

from collections.abc import Sequence

import numpy as np

from parity.building.broadcasting import aligned
from parity.building.calls import calls, plain
from parity.building.values import Site, Value
from parity.frameworks import keras, torch


@calls(
    torch.cat, torch.concat, torch.concatenate, moves_only=True, how="Concatenate",
)  # fmt: skip
def cat(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    """Tensors (..., a, ...), (..., b, ...) to (..., a + b, ...)."""
    values = [each for each in tensors if each.order != (0,) or each.shape != (0,)]
    found, order = aligned(*values)
    axis = order.index(dim % len(order))
    if len(found) == 1:
        return Value(found[0], order)
    if any(isinstance(each, np.ndarray) for each in found):
        return Value(keras.ops.concatenate(found, axis), order)
    return Value(site.layer(keras.layers.Concatenate(axis=axis, name=site.name()))(found), order)


@calls(torch.stack, moves_only=True, how="ops.stack")
def stack(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    """n tensors (...) to (..., n, ...)."""
    axis = dim % (len(tensors[0].order) + 1)
    return Value.plain(keras.ops.stack([plain(each) for each in tensors], axis))
