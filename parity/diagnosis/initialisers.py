"""What an initialiser of Keras makes, in numbers: its standard deviation and its greatest value."""

import math
from functools import cache
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import is_loaded, keras


@cache
def initializers() -> tuple[Any, ...]:
    """What layers are commonly initialised by; nothing where Keras is not loaded, and a recording stands for it."""
    if not is_loaded("tensorflow"):
        return ()
    kinds = keras.initializers
    scaled = (f"{name}{kind}" for name in ("Glorot", "He", "Lecun") for kind in ("Uniform", "Normal"))
    names = (*scaled, "RandomNormal", "RandomUniform", "TruncatedNormal", "Orthogonal")
    return tuple(getattr(kinds, name)(seed=1) for name in names)


def looks_fresh(weight: Array, initializer: Any) -> bool:
    """Whether mean, spread and greatest value are such as the initialiser gives, as near as the size lets one tell."""
    spread, bound = _spread(initializer, weight.shape)
    if not spread:
        return False
    slack = min(0.5, 10 / np.sqrt(2 * weight.size))
    mean, deviation = float(weight.mean(dtype=np.float64)), float(weight.std(dtype=np.float64))
    return bool(
        abs(deviation / spread - 1) < slack
        and abs(mean) < 6 * spread / np.sqrt(weight.size)
        and float(np.abs(weight).max()) <= 1.001 * bound
    )


def _spread(initializer: Any, shape: tuple[int, ...]) -> tuple[float, float]:
    """The standard deviation and the greatest value of what an initialiser of Keras makes; zeros for another one."""
    kinds = keras.initializers
    if isinstance(initializer, kinds.Orthogonal):
        return float(initializer.gain) / math.sqrt(max(int(np.prod(shape[:-1])), shape[-1])), 1.0
    if isinstance(initializer, kinds.VarianceScaling):
        field = int(np.prod(shape[:-2]))
        fans = {"fan_in": shape[-2] * field, "fan_out": shape[-1] * field}
        fan = fans.get(initializer.mode, sum(fans.values()) / 2)
        deviation = float(np.sqrt(initializer.scale / max(fan, 1)))
        bounds = {"uniform": np.sqrt(3), "truncated_normal": 2 / 0.87962566}
        return deviation, float(deviation * bounds.get(initializer.distribution, np.inf))
    if isinstance(initializer, (kinds.RandomNormal, kinds.TruncatedNormal)):
        truncated = isinstance(initializer, kinds.TruncatedNormal)
        deviation = float(initializer.stddev) * (0.87962566 if truncated else 1.0)
        return deviation, 2 * float(initializer.stddev) if truncated else np.inf
    if isinstance(initializer, kinds.RandomUniform):
        limit = float(initializer.maxval)
        return (float(limit / np.sqrt(3)), limit) if initializer.minval == -limit else (0.0, 0.0)
    return 0.0, 0.0
