"""One case on trial: torch and what was built of it run on the same input, and are judged by the float64 floor."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.axes import Array, move
from parity.building import BUILDERS, Built, built
from parity.comparison import Comparison, compare, noise_of
from parity.frameworks import tf, torch
from parity.inputs.strategies import Case
from parity.pairs import Input
from parity.tolerance import NoiseFloor


def tried(case: Case, data_format: str, mode: str = "eager") -> Mapping[str, Comparison]:
    """What came of each output of a case, in one data format and mode. Raises ConversionError where it is refused."""
    port = built(case.module, case.given, case.layouts, data_format)
    rounded, exact = (_reference(case.module, case.given, wide=wide) for wide in (False, True))
    actual = _port(port, case.given, mode)
    builder = BUILDERS.get(type(case.module))
    found = {}
    for name, expected in rounded.items():
        limits = NoiseFloor().limits(
            noise_of(expected, exact[name]), moves_only=builder is not None and builder.moves_only
        )
        found[name] = compare(actual[name], expected, limits)
    return found


def _reference(module: torch.nn.Module, given: Input, *, wide: bool) -> dict[str, Array]:
    """The outputs of the module in float32 or float64, by name, as torch has them. SKETCH: `.double()` in place."""
    module = module.double() if wide else module
    try:
        args, kwargs = given.filled(
            lambda _, array: torch.from_numpy(array.astype(np.float64) if wide and array.dtype == np.float32 else array)
        )
        with torch.no_grad():
            return _named([each.numpy() for each in _flat(module(*args, **kwargs))])
    finally:
        module.float()


def _port(port: Built, given: Input, mode: str) -> dict[str, Array]:
    """The outputs of the built model in a mode, by name, with their axes moved to where torch has them."""
    tensors = [tf.constant(move(array, *port.axes.of(name, array.ndim))) for name, array in given.arrays.items()]
    call: Any = port.model if mode == "eager" else tf.function(port.model, jit_compile=mode == "xla")
    outputs = _named([np.asarray(each) for each in _flat(call(tensors if len(tensors) > 1 else tensors[0]))])
    return {name: move(array, *reversed(port.axes.of(name, array.ndim))) for name, array in outputs.items()}


def _flat(result: Any) -> list[Any]:
    """Every tensor of a result; what a module was not asked for is None there, and nothing in the port."""
    if result is None:
        return []
    if isinstance(result, (tuple, list)):
        return [leaf for each in result for leaf in _flat(each)]
    return [result]


def _named(arrays: list[Array]) -> dict[str, Array]:
    return {"output" if len(arrays) == 1 else f"output[{i}]": array for i, array in enumerate(arrays)}
