"""What the user's map says: one tap to one, several to one (a fused conv and bn), one to several (a split qkv)."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.errors import MapError

TOGETHER = " + "
"""Joins the names of taps that one layer of the port computes together, in a map that is a file."""

Layers = Mapping[Any, str | Sequence[str]]
"""Names of the reference's taps, or tuples of several that are computed together, and names of the port's layers."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a map, in names of taps: `given` as the user calls the first; `port` without layers that the port
    lacks."""

    given: str
    reference: tuple[str, ...]
    port: tuple[str, ...]
    lacking: tuple[str, ...] = ()

    @property
    def split(self) -> bool:
        """Whether several layers of the port do it together, so that none of them has the reference's value."""
        return len(self.port) + len(self.lacking) > 1


def entries(
    layers: Layers, reference: Sequence[str], port: Sequence[str], aliases: Mapping[str, str]
) -> tuple[Entry, ...]:
    """The map's lines, the taps of each in order of execution.

    A layer of several outputs may be named for the first of them: `lstm` for `lstm[0]`. Raises MapError for a tap that
    the reference never runs; what is named twice is refused by `each_once`.
    """
    found = []
    for key, value in layers.items():
        given = _given(key, reference, aliases)
        names = [_reference_name(name, reference, aliases) for name in given]
        targets = [value] if isinstance(value, str) else list(value)
        known = {target: _first_of(target, port) for target in targets}
        found.append(
            Entry(
                given=given[0],
                reference=tuple(sorted(names, key=reference.index)),
                port=tuple(name for name in known.values() if name),
                lacking=tuple(target for target, name in known.items() if not name),
            )
        )
    return tuple(found)


def _given(key: str | tuple[str, ...], reference: Sequence[str], aliases: Mapping[str, str]) -> tuple[str, ...]:
    if not isinstance(key, str):
        return tuple(key)
    if _first_of(key, reference) or key in aliases or TOGETHER not in key:
        return (key,)
    return tuple(name.strip() for name in key.split(TOGETHER))


def _first_of(name: str, names: Sequence[str]) -> str:
    """The tap of that name, or the first of its outputs; nothing if there is none."""
    return name if name in names else next((each for each in names if each.startswith(f"{name}[")), "")


def _reference_name(given: str, reference: Sequence[str], aliases: Mapping[str, str]) -> str:
    name = _first_of(given, reference) or _first_of(aliases.get(given, given), reference)
    if name:
        return name
    near = difflib.get_close_matches(given, [*reference, *aliases], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise MapError(f"the layer map names {given!r}, which the reference never runs{hint}")


def each_once(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries. Raises MapError for a tap of the reference, or a layer of the port, that is in two."""
    doubled = _doubled(name for entry in found for name in entry.reference)
    if doubled:
        both = [entry.given for entry in found if doubled in entry.reference]
        raise MapError(f"the layer map names {doubled!r} twice: as {' and as '.join(map(repr, both))}; once is enough")
    doubled = _doubled(name for entry in found for name in entry.port)
    if doubled:
        both = [" + ".join(entry.reference) for entry in found if doubled in entry.port]
        raise MapError(
            f"the layer map sends {' and '.join(map(repr, both))} to the same port layer {doubled!r}; if it computes "
            f"them together, make it one entry: {{({', '.join(map(repr, both))}): {doubled!r}}}"
        )
    return tuple(found)


def _doubled(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
