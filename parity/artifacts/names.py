"""What the taps of a file are called: by the layers that its operations were made for, where their names tell.

Keras makes the operations of a layer in a scope of the layer's name, inside the scopes of the models around it. It
enters each scope twice, so that what is traced into a graph has `conv1_1/convolution` for the layer `conv1`, and
`conv1_1_2/convolution` for `conv1_1`. Where every layer with weights has such a number, numbers are taken off, if the
names stay apart.
"""

import itertools
import re
from collections.abc import Callable, Sequence

_NUMBERED = re.compile(r"(.+)_\d+")


def names_of(operations: Sequence[str], weighted: Sequence[bool], beside: Sequence[str] = ()) -> list[str]:
    """The name of each tap, for the name of the operation that makes its value; `weighted` says which have weights.

    Of several in one scope, the last with weights has the scope's name, or the last of all; the others have their own
    behind it. `beside` are names of operations that have no tap, and what these would be called comes after.

    >>> names_of(["net_1/conv_1/convolution", "net_1/conv_1/Relu", "net_1/pool_1/MaxPool"], [True, False, False])
    ['conv', 'conv/Relu', 'pool']
    """
    parts = [name.split("/") for name in (*operations, *beside)]
    scopes, inner = _layers(parts)
    holders: dict[tuple[str, ...], int] = {}
    for place, scope in enumerate(scopes):
        taken = scope in holders and (place >= len(weighted) or (weighted[holders[scope]] and not weighted[place]))
        if scope and not taken:
            holders[scope] = place
    return [
        "/".join(scope if holders.get(scope) == place else (*scope, *own))
        for place, (scope, own) in enumerate(zip(scopes, inner, strict=True))
    ]


def _layers(parts: Sequence[list[str]]) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The layer that each operation is of, as the scopes that it is in, and what it is called in that layer."""
    outer = _shared([name[:-1] for name in parts], lambda scope: not _NUMBERED.fullmatch(scope))
    rest = [name[outer:] if len(name) > 1 else name for name in parts]
    scopes = [tuple(name[:-1]) for name in rest]
    if all(_NUMBERED.fullmatch(scope[0]) for scope in scopes if scope):
        runs = [tuple(itertools.takewhile(_NUMBERED.fullmatch, scope)) for scope in scopes]
        decoded = {run: tuple(_NUMBERED.sub(r"\1", scope) for scope in run) for run in runs}
        if len(set(decoded.values())) == len(decoded):
            inner = [tuple(name[len(run) :]) for name, run in zip(rest, runs, strict=True)]
            found = [decoded[run] for run in runs]
            models = _shared(found)
            return [scope[models:] for scope in found], inner
    models = _shared(scopes)
    return [scope[models:] for scope in scopes], [(name[-1],) for name in rest]


def _shared(scopes: Sequence[Sequence[str]], counts: Callable[[str], object] = bool) -> int:
    """How many outer scopes all have in common that are in any, those that count; at least one is left to some."""
    known = [scope for scope in scopes if scope]
    shortest = min((len(scope) for scope in known), default=0)
    same = next(
        (n for n in range(shortest) if len({scope[n] for scope in known}) > 1 or not counts(known[0][n])), shortest
    )
    return same - 1 if known and all(len(scope) == same for scope in known) else same
