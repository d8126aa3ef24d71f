"""The activations that ports confuse, and the precisions they round to: each as NumPy computes it.

Sources: torch.nn.functional and keras.activations for the functions of their names; QuickGELU, x sigmoid(1.702 x), from
CLIP; Keras 2's hard sigmoid (0.2 x + 0.5) against torch's (x / 6 + 0.5).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf, expit, log_expit

from parity.axes import Array
from parity.frameworks import keras

Function = Callable[[Any], Any]


def _selu(x: Any) -> Any:
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))


FUNCTIONS: Mapping[str, Function] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "tanh": np.tanh,
    "sigmoid": expit,
    "hard sigmoid (x / 6 + 0.5)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard sigmoid (0.2 x + 0.5)": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard tanh": lambda x: np.clip(x, -1, 1),
    "gelu (erf)": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "gelu (tanh)": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick gelu (1.702)": lambda x: x * expit(1.702 * x),
    "silu": lambda x: x * expit(x),
    "hard swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard swish (0.2 x + 0.5)": lambda x: x * np.clip(0.2 * x + 0.5, 0, 1),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": _selu,
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "log sigmoid": log_expit,
    "exp": np.exp,
    "absolute value": np.abs,
    "square": np.square,
}
"""Functions of one value without parameters, by the name reports give them."""

IN_KERAS: Mapping[str, str] = {
    "relu": "relu",
    "relu6": "relu6",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hardsigmoid": "hard_sigmoid",
    "hardtanh": "hard_tanh",
    "silu": "silu",
    "swish": "silu",
    "hardswish": "hard_silu",
    "elu": "elu",
    "selu": "selu",
    "softplus": "softplus",
    "softsign": "softsign",
    "mish": "mish",
    "logsigmoid": "log_sigmoid",
    "exp": "exponential",
}
"""torch's kinds of activation, and what Keras calls them in `Activation(...)`."""


def as_keras(kind: str, settings: Mapping[str, Any]) -> tuple[Function, str] | None:
    """The reference's activation of this kind as a Keras callable, and how it is written; None for another kind.

    Settings are those of the torch module or call: `negative_slope`, `alpha`, `beta`, `approximate`, `min_val`, ...
    """
    if kind == "gelu":
        tanh = settings.get("approximate") == "tanh"
        return (_approximate_gelu if tanh else keras.layers.Activation("gelu")), f"gelu(approximate={tanh})"
    if kind == "leakyrelu":
        slope = float(settings.get("negative_slope", 0.01))
        return keras.layers.LeakyReLU(negative_slope=slope), f"LeakyReLU(negative_slope={slope:g})"
    if kind == "elu" and float(settings.get("alpha", 1.0)) != 1.0:
        alpha = float(settings["alpha"])
        return keras.layers.ELU(alpha=alpha), f"ELU(alpha={alpha:g})"
    if kind == "softplus" and float(settings.get("beta", 1.0)) != 1.0:
        beta = float(settings["beta"])
        return lambda x: keras.ops.softplus(beta * x) / beta, f"softplus({beta:g} x) / {beta:g}"
    if kind in ("hardtanh", "clamp"):
        names = ("min_val", "max_val") if kind == "hardtanh" else ("min", "max")
        low, high = (settings.get(name) for name in names)
        if low is None or high is None:
            return None
        return lambda x: keras.ops.clip(x, low, high), f"clip(x, {low:g}, {high:g})"
    if kind not in IN_KERAS:
        return None
    return keras.layers.Activation(IN_KERAS[kind]), f'Activation("{IN_KERAS[kind]}")'


def _approximate_gelu(x: Any) -> Any:
    return keras.ops.gelu(x, approximate=True)


def float16(values: Array) -> Array:
    """Rounded to float16 and back."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def bfloat16(values: Array) -> Array:
    """Rounded to bfloat16 (ties to even) and back."""
    bits: npt.NDArray[np.uint32] = values.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


PRECISIONS: Mapping[str, Callable[[Array], Array]] = {"float16": float16, "bfloat16": bfloat16}
