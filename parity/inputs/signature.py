"""Inputs made from what a network takes: the shape and the kind of each of its inputs, in the reference's layout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from parity.axes import Array
from parity.errors import InputError
from parity.inputs.synthetic import PROBES, noise, probe
from parity.pairs import Input

FLOAT, INTEGER, BOOLEAN = "float", "int", "bool"
NOISE, TOKENS = "noise", "tokens"

KINDS = (NOISE, TOKENS, *PROBES)
"""The inputs that can be made for any network."""

RANGE = (-1.0, 1.0)
"""The values of made-up inputs, where a user does not say which ones the network expects."""

FEW = 2
"""The tokens that every vocabulary has."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One input of a network: what it is called, and its shape in the reference's layout.

    `kind` is "float", "int" or "bool"; of integers `vocabulary` is how many tokens there are, from 0 on.
    """

    name: str
    shape: tuple[int, ...]
    kind: str = FLOAT
    vocabulary: int | None = None


def from_signature(
    slots: Sequence[Slot], made: str = NOISE, *, seed: int = 0, values: tuple[float, float] | None = None
) -> Input:
    """One of KINDS for a network that takes `slots`, in that order: an array for each, and different ones.

    A slot for integers gets tokens below its vocabulary, one for masks about two true values to a false one, whatever
    is `made`; one for floats noise, or the probe. `values` is the range of the floats, or of the tokens where no
    vocabulary is known. Raises InputError for a kind that is none, and where no slot would show it.
    """
    if made not in KINDS:
        raise InputError(f"unknown input {made!r}; the kinds are {', '.join(KINDS)}")
    kinds = {slot.kind for slot in slots}
    if made == TOKENS and INTEGER not in kinds:
        raise InputError("tokens were asked for, and the network takes none; noise is there for every network")
    if made in PROBES and FLOAT not in kinds:
        raise InputError(f"{made} was asked for, and the network takes no floats; noise is there for every network")
    arrays = [_array(slot, made, seed + index, values) for index, slot in enumerate(slots)]
    floats = values or RANGE
    words = f"{made} in [{floats[0]:g}, {floats[1]:g}]" if FLOAT in kinds else TOKENS
    shapes = ", ".join(f"{slot.name} {'x'.join(map(str, slot.shape))} {slot.kind}" for slot in slots)
    return Input(name=made, args=tuple(arrays), origin=f"{words}, PCG64 seed {seed}: {shapes}")


def tokens(shape: Sequence[int], vocabulary: int, *, seed: int = 0, low: int = 0, name: str = TOKENS) -> Input:
    """int64 tokens from `low` to below `vocabulary`, each as likely as the others, bit-identical for the same seed.

    Raises InputError for an empty shape, a negative seed, and where there is no token.
    """
    return Input(
        name=name,
        array=_tokens(shape, low, vocabulary, seed),
        origin=f"tokens from {low} to below {vocabulary}, PCG64 seed {seed}",
    )


def _array(slot: Slot, made: str, seed: int, values: tuple[float, float] | None) -> Array:
    return _MAKERS[slot.kind](slot, made, seed, values)


def _floats(slot: Slot, made: str, seed: int, values: tuple[float, float] | None) -> Array:
    low, high = values or RANGE
    if made in PROBES:
        return probe(made, slot.shape, low=low, high=high).array
    return noise(slot.shape, seed=seed, low=low, high=high).array


def _integers(slot: Slot, made: str, seed: int, values: tuple[float, float] | None) -> Array:
    if slot.vocabulary is not None:
        return _tokens(slot.shape, 0, slot.vocabulary, seed)
    low, high = (int(value) for value in values or (0, FEW))
    return _tokens(slot.shape, low, high, seed)


def _booleans(slot: Slot, made: str, seed: int, values: tuple[float, float] | None) -> Array:
    mask = _generator(seed).random(slot.shape) < 2 / 3
    mask[..., 0] = True  # a row of nothing but false leaves an attention nothing to look at
    return mask


def _tokens(shape: Sequence[int], low: int, high: int, seed: int) -> Array:
    if not shape or min(shape) < 1:
        raise InputError(f"shape {tuple(shape)}: an input needs at least one axis, and every axis at least 1")
    if low >= high:
        raise InputError(f"there is no token from {low} to below {high}")
    return _generator(seed).integers(low, high, size=tuple(shape), dtype=np.int64)


def _generator(seed: int) -> np.random.Generator:
    if seed < 0:
        raise InputError(f"seed={seed}: a seed must be 0 or more")
    return np.random.Generator(np.random.PCG64(seed))


_MAKERS: Mapping[str, Callable[[Slot, str, int, tuple[float, float] | None], Array]] = {
    FLOAT: _floats,
    INTEGER: _integers,
    BOOLEAN: _booleans,
}
