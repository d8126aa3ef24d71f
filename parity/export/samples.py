"""What an int8 file is calibrated on: the pair's inputs, and noise that reaches beyond them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.axes import Array

MORE = 8
"""How many samples of noise are added: the ranges of inner values are those of all samples together."""

Sample = Mapping[str, Array]


def samples(given: Sequence[Sample], seed: int) -> list[Sample]:
    """The given inputs, by the names of the inputs in the port's layout, and MORE of noise like them.

    The noise of an input is uniform in the range of its values; of tokens and masks it is drawn from them.
    """
    return [*given, *_noise(given, seed)]


def _noise(given: Sequence[Sample], seed: int) -> Iterator[Sample]:
    generator = np.random.Generator(np.random.PCG64(seed))
    for _ in range(MORE):
        yield {name: _like([each[name] for each in given], generator) for name in given[0]}


def _like(arrays: Sequence[Array], generator: np.random.Generator) -> Array:
    shape, dtype = arrays[0].shape, arrays[0].dtype
    values = np.concatenate([array.reshape(-1) for array in arrays])
    if dtype.kind != "f":
        return generator.choice(values, shape).astype(dtype)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    return (low + (high - low) * generator.random(shape, np.float32)).astype(dtype)
