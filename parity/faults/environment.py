"""Faults of how the port is run: layers left in training mode, noise, reduced precision.

`execution-mode` is not planted: right in one mode and wrong in another is a fault of an engine's version, not of a
model that could be edited. The one known case (channels_first in Keras 3.8 and later) is checked by the tests.
"""

from typing import Any

from parity.faults.planting import ACTIVATIONS, LINEAR, NORMS, RECURRENT, Generator, Planted, Site, operator
from parity.faults.tensors import chosen, log_uniform
from parity.frameworks import keras
from parity.runners.edits import Change


class DropoutLeftOn(keras.layers.Dropout):  # type: ignore[misc]
    """A dropout that drops at inference as well."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`inputs` with some values dropped, whatever `training` says."""
        return super().call(inputs, training=True)


class BatchStatisticsLeftOn(keras.layers.BatchNormalization):  # type: ignore[misc]
    """A BatchNormalization that takes the batch's own statistics at inference as well."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """`inputs` normalised by their own mean and variance, whatever `training` says."""
        return super().call(inputs, training=True, mask=mask)


class Jitter(keras.layers.Layer):  # type: ignore[misc]
    """Adds noise that is another one at each call; `deviation` is relative to each value."""

    def __init__(self, deviation: float, **options: Any) -> None:
        super().__init__(**options)
        self.deviation = deviation
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, inputs: Any) -> Any:
        """`inputs`, each value times a number near 1."""
        drawn = keras.random.normal(keras.ops.shape(inputs), dtype=inputs.dtype, seed=self.seeds)
        return inputs * (1.0 + self.deviation * drawn)

    def get_config(self) -> dict[str, Any]:
        """What makes another one like it."""
        return {**super().get_config(), "deviation": self.deviation}


@operator("training-mode")
def dropout_left_on(site: Site, generator: Generator) -> Planted | None:
    """A dropout behind the layer that is on at inference."""
    if site.kind not in ACTIVATIONS | LINEAR or not site.makes_value:
        return None
    rate = float(generator.uniform(0.05, 0.6))
    return site.appended("training-mode", f"dropout of {rate:.2f}", lambda x: DropoutLeftOn(rate, dtype=x.dtype)(x))


@operator("training-mode")
def batch_statistics(site: Site, generator: Generator) -> Planted | None:
    """A BatchNorm that takes the batch's statistics: called with training=True, or of a kind that always does."""
    if site.kind != "batchnorm":
        return None
    if generator.integers(2):
        plain = site.remade()
        return site.replaced("training-mode", "called with training=True", lambda x, **rest: plain(x, training=True))
    return site.replaced("training-mode", "batch statistics always", _always(site))


def _always(site: Site) -> Change:
    config, weights = site.operation.get_config(), list(site.weights.values())

    def call(x: Any, **rest: Any) -> Any:
        layer = BatchStatisticsLeftOn.from_config({**config, "dtype": str(x.dtype)})
        layer.build(x.shape)
        layer.set_weights(weights)
        return layer(x)

    return call


@operator("nondeterminism")
def nondeterminism(site: Site, generator: Generator) -> Planted | None:
    """Noise that is drawn anew at each run."""
    if site.kind not in ACTIVATIONS | LINEAR | NORMS | {"add"} or not site.makes_value:
        return None
    deviation = log_uniform(generator, 1e-4, 1e-1)
    change: Change = lambda x: Jitter(deviation, dtype=x.dtype)(x)  # noqa: E731
    return site.appended("nondeterminism", f"noise of {deviation:.1g} of each value", change)


@operator("reduced-precision")
def reduced_precision(site: Site, generator: Generator) -> Planted | None:
    """The layer computes in fp16 or bf16, its weights kept in float32."""
    if site.kind not in LINEAR | RECURRENT | NORMS or not site.makes_value:
        return None
    policy = chosen(generator, ["mixed_float16", "mixed_bfloat16"])
    inner = site.remade(dtype=policy)
    change: Change = lambda x, *rest, **options: keras.ops.cast(inner(x, *rest, **options), x.dtype)  # noqa: E731
    return site.replaced("reduced-precision", policy, change)
