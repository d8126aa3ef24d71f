"""What the taps of a file are called: by the layers that its operations were made for, where their names tell.

Keras makes the operations of a layer in a scope of the layer's name, inside the scopes of the models around it. It
enters each scope twice, so that what is traced into a graph has `conv1_1/convolution` for the layer `conv1`, and
`conv1_1_2/convolution` for `conv1_1`. Where every layer with weights has such a number, numbers are taken off, if the
names stay apart.
"""

import itertools
import re
from collections.abc import Sequence

_NUMBERED = re.compile(r"(.+)_\d+")


def names_of(operations: Sequence[str], weighted: Sequence[bool], beside: Sequence[str] = ()) -> list[str]:
    """The name of each tap, for the name of the operation that makes its value; `weighted` says which have weights.

    Of several in one scope, the last with weights has the scope's name, or the last of all; the others have their own
    behind it. `beside` are names of operations that have no tap, and what these would be called comes after.

    >>> names_of(["net_1/conv_1/convolution", "net_1/conv_1/Relu", "net_1/pool_1/MaxPool"], [True, False, False])
    ['conv', 'conv/Relu', 'pool']
    """
    parts = _without_common([name.split("/") for name in (*operations, *beside)])
    scopes = _decoded(parts, [place for place, has in enumerate(weighted) if has])
    holders: dict[tuple[str, ...], int] = {}
    for place, scope in enumerate(scopes):
        taken = scope in holders and (place >= len(weighted) or (weighted[holders[scope]] and not weighted[place]))
        if scope and not taken:
            holders[scope] = place
    found = []
    for place, (scope, own) in enumerate(zip(scopes, parts, strict=True)):
        inner = "/".join(own[len(scope) :]) or own[-1]
        found.append("/".join(scope) if holders.get(scope) == place else "/".join((*scope, inner)))
    return found


def _without_common(parts: Sequence[list[str]]) -> list[list[str]]:
    """The names without the scopes that all are in, but for those that are in none."""
    scoped = [name for name in parts if len(name) > 1]
    shortest = min((len(name) for name in scoped), default=1)
    common = 0
    while common < shortest - 1 and len({name[common] for name in scoped}) == 1:
        common += 1
    return [name[common:] if len(name) > 1 else name for name in parts]


def _decoded(parts: Sequence[list[str]], weighted: Sequence[int]) -> list[tuple[str, ...]]:
    """The layer that each operation is of, as the scopes that it is in; none for one that is in no scope.

    Those `weighted` tell whether scopes are numbered: others may be functions outside of layers.
    """
    plain = [tuple(name[:-1]) for name in parts]
    telling = [parts[place] for place in weighted if len(parts[place]) > 1] or parts
    first = {name[0] for name in telling if len(name) > 1}
    if not first or not all(_NUMBERED.fullmatch(scope) for scope in first):
        return plain
    as_written = [_numbered(name) for name in parts]
    decoded = [tuple(_NUMBERED.sub(r"\1", scope) for scope in scopes) for scopes in as_written]
    return decoded if len(set(decoded)) == len(set(as_written)) else plain


def _numbered(name: Sequence[str]) -> tuple[str, ...]:
    """The scopes of layers: those before the first that has no number, which the layer itself has made."""
    return tuple(itertools.takewhile(_NUMBERED.fullmatch, name[:-1]))
