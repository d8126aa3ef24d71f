"""parity proves that a Keras/TensorFlow port computes what its PyTorch original computes, layer by layer.

    pair = parity.Pair(name="mynet", reference=torch_module, port=keras_model)
    report = parity.verify(pair, inputs=[parity.inputs.noise((1, 3, 64, 96), seed=0)], modes=("eager", "graph", "xla"))
    report.passed

Importing parity loads neither torch nor tensorflow: each name below is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity import inputs, models
    from parity.axes import Axes
    from parity.conversion import convert
    from parity.models import pair
    from parity.pairs import Input, Pair
    from parity.recording import record
    from parity.report import Cause, Finding, Report
    from parity.tolerance import NoiseFloor, Tolerance
    from parity.verification import verify

__version__ = "0.1.0"

__all__ = [
    "Axes",
    "Cause",
    "Finding",
    "Input",
    "NoiseFloor",
    "Pair",
    "Report",
    "Tolerance",
    "convert",
    "inputs",
    "models",
    "pair",
    "record",
    "verify",
]

_HOMES = {
    "Axes": "parity.axes",
    "Cause": "parity.report",
    "Finding": "parity.report",
    "Input": "parity.pairs",
    "NoiseFloor": "parity.tolerance",
    "Pair": "parity.pairs",
    "Report": "parity.report",
    "Tolerance": "parity.tolerance",
    "convert": "parity.conversion",
    "pair": "parity.models",
    "record": "parity.recording",
    "verify": "parity.verification",
}


def __getattr__(name: str) -> Any:
    if name in ("building", "inputs", "models"):
        return importlib.import_module(f"parity.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'parity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
