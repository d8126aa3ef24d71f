"""Taps under other names, in another order and with damaged weights: what alignment must see through."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from parity.alignment.graphs import COMMUTATIVE
from parity.axes import Array
from parity.runners.taps import Tap

SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "se", "ti", "vo", "zu")


def disguised(taps: Sequence[Tap], seed: int) -> tuple[list[Tap], dict[str, str]]:
    """The taps under random names, in a random order in which they may run, the terms of sums exchanged; and the new
    name of each."""
    generator = np.random.default_rng(seed)
    words: dict[str, str] = {}
    for tap in taps:
        word = ""
        while word in ("", *words.values()):
            word = "".join(generator.choice(SYLLABLES, 4))
        words[tap.name] = word
    found = []
    for tap in shuffled(taps, generator):
        reads = tuple(words.get(name, name) for name in tap.reads)
        if tap.kind in COMMUTATIVE and not tap.weighted and generator.random() < 0.5:
            reads = reads[::-1]
        found.append(replace(tap, name=words[tap.name], reads=reads))
    return found, words


def shuffled(taps: Sequence[Tap], generator: np.random.Generator) -> list[Tap]:
    """The taps in a random order in which each comes after what it reads."""
    left, done = list(taps), list[Tap]()
    while left:
        waiting = {tap.name for tap in left}
        ready = [tap for tap in left if not waiting & set(tap.reads)]
        done.append(ready[generator.integers(len(ready))])
        left.remove(done[-1])
    return done


def with_weights(taps: Sequence[Tap], changed: Mapping[str, Sequence[Array]]) -> list[Tap]:
    """The taps, some of them with other weights."""
    return [
        replace(tap, weights=lambda arrays=changed[tap.name]: arrays) if tap.name in changed else tap for tap in taps
    ]


def transposed(arrays: Sequence[Array], seed: int) -> list[Array]:
    """The kernel with its axes the other way round, in its old shape."""
    return [arrays[0].transpose().reshape(arrays[0].shape), *arrays[1:]]


def flipped(arrays: Sequence[Array], seed: int) -> list[Array]:
    """The kernel upside down."""
    return [arrays[0][::-1], *arrays[1:]]


def scaled(arrays: Sequence[Array], seed: int) -> list[Array]:
    """The kernel times a constant."""
    return [(arrays[0] * np.float32(1.7)).astype(np.float32), *arrays[1:]]


def rounded(arrays: Sequence[Array], seed: int) -> list[Array]:
    """Everything to 16 bits and back."""
    return [array.astype(np.float16).astype(np.float32) for array in arrays]


def fresh(arrays: Sequence[Array], seed: int) -> list[Array]:
    """What a layer has before anything is loaded: a random kernel, zeros."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=arrays[0].shape).astype(np.float32), *(np.zeros_like(a) for a in arrays[1:])]


def partly_wrong(arrays: Sequence[Array], seed: int) -> list[Array]:
    """The first third of the kernel drawn anew."""
    kernel = arrays[0].copy()
    flat = kernel.reshape(-1)
    flat[: flat.size // 3 + 1] = np.random.default_rng(seed).normal(size=flat.size // 3 + 1)
    return [kernel, *arrays[1:]]


DAMAGES = (transposed, flipped, scaled, rounded, fresh, partly_wrong)
