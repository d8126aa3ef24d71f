"""What only torch tells apart: copies, devices, kinds of numbers, dropout in evaluation. Refused where it is more."""

from typing import Any

from parity.building.calls import calls
from parity.building.values import Site, Value
from parity.errors import ConversionError
from parity.frameworks import keras, torch


@calls("contiguous", "clone", torch.clone, "detach", "cpu", "requires_grad_", torch.detach, how="nothing")
def same(site: Site, x: Value, *unused: Any, **settings: Any) -> Value:
    """(...) to (...): what only torch tells apart."""
    return x


@calls("to", "type", "float", "long", "int", "bool", "type_as", "double", "half", "bfloat16", how="ops.cast")
def cast(site: Site, x: Value, *given: Any, **settings: Any) -> Value:
    """(...) to (...) in the kind of numbers that torch's result has."""
    wanted = site.dtypes.get(0, "")
    if wanted in ("float64", "float16", "bfloat16"):
        raise ConversionError(f"it computes in {wanted}; what is converted computes in float32")
    return x if not wanted or str(x.tensor.dtype) == wanted else Value(keras.ops.cast(x.tensor, wanted), x.order)


@calls(torch.nn.functional.dropout, torch.dropout, torch.nn.functional.dropout2d, how="nothing")
def dropout(site: Site, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    """(...) to (...): nothing is dropped in evaluation. Refused where it is, whatever the mode of the network."""
    if training and p > 0:
        raise ConversionError(f"p={p:g} with training=True drops values at random in evaluation too")
    return x
