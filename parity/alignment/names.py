"""Which names are alike: `features.stage1.unit1.body.conv1` and `features/stage1/unit1/body/conv1` are.

Names are compared by their words and pairs of words, where a word that many names hold says little. What a framework
calls a layer by itself (`batch_normalization_3`) says nothing.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from parity.runners.taps import Tap, kind_of


def normalised(name: str) -> str:
    """A name without what differs by habit: `features.stage1.conv.0` and `features/stage1/conv` are equal."""
    return re.sub(r"(_0)+$", "", re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))


def words(tap: Tap) -> list[str]:
    """The words of a tap's name that someone chose: those of its path but for parts that only repeat its kind."""
    path = re.split(r"[./]", re.sub(r"#\d+|\[\d+\]", "", tap.name.lower()))
    chosen = [part for part in path if kind_of(re.sub(r"_\d+$", "", part)) != tap.kind]
    return re.findall(r"[a-z]+|\d+", normalised(".".join(chosen)))


def similarity(reference: Sequence[Tap], port: Sequence[Tap]) -> npt.NDArray[np.float64]:
    """(taps, taps): how alike two names are, from 0 (no word in common) to 1 (the same words in the same order)."""
    terms = [_terms(words(tap)) for tap in (*reference, *port)]
    names = Counter(term for each in terms for term in each)
    column = {term: index for index, term in enumerate(names)}
    table = np.zeros((len(terms), len(column)))
    for row, each in enumerate(terms):
        for term, count in each.items():
            table[row, column[term]] = count * np.log1p(len(terms) / names[term])
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    return np.asarray(table[: len(reference)] @ table[len(reference) :].T, np.float64)


def _terms(found: Sequence[str]) -> Counter[str]:
    return Counter([*found, *("_".join(pair) for pair in pairwise(found))])
