"""A layer map as a YAML file: written for a person to edit, read back exactly."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from parity.alignment.mapping import TOGETHER, Layers
from parity.alignment.packed import PARTS
from parity.alignment.records import Alignment
from parity.errors import MapError


class _Loader(yaml.SafeLoader):
    """YAML without what would change a name silently: a key that is there twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise MapError(f"line {line}: {key!r} is not a name; put it in quotes")
        if key in found:
            raise MapError(f"line {line}: {key!r} is there twice; once is enough")
        value = loader.construct_object(value_node, deep=True)
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) for name in names):
            raise MapError(f"line {line}: {key!r} goes to {value!r}, which is not a name or a list of names")
        found[key] = value
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_map(path: str | os.PathLike[str]) -> Layers:
    """The layer map in a YAML file: names of the reference's taps to names of the port's layers.

    `conv + bn: conv` says that the port computes two taps in one layer, `qkv: [q, k, v]` one tap in three. Raises
    MapError for a file that cannot be read, is not YAML, or is not a mapping of names; a name that YAML takes for a
    number has to be quoted.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            found = yaml.load(stream, _Loader)
    except MapError as error:
        raise MapError(f"{path}, {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"cannot read the layer map {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise MapError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise MapError(f"{path} holds a {type(found).__name__}, not a mapping of the reference's taps to port layers")
    return found


def map_as_yaml(alignment: Alignment, pair: str) -> str:
    """The alignment as the text of a layer map: a line per match, with its reason; what is open as comments."""
    lines = [*_head(pair), *_lines(alignment)]
    coverage = alignment.coverage
    for side, names in (("reference", coverage.unmatched_reference), ("port", coverage.unmatched_port)):
        if names:
            lines += ["", f"# in the {side}, without a counterpart:", *(f"#   {name}" for name in names)]
    if alignment.ambiguous:
        lines += ["", "# undecided; nothing tells these apart:", *(f"#   {each}" for each in alignment.ambiguous)]
    return "\n".join(lines) + "\n"


def _head(pair: str) -> list[str]:
    return [
        f"# Which tap of the reference answers to which layer of the port of {pair}.",
        f"# `a{TOGETHER}b: c` says that the port computes two taps in one layer, `a: [b, c]` one tap in two.",
        "",
    ]


def _lines(alignment: Alignment) -> Iterator[str]:
    undecided = {each.layer for each in alignment.ambiguous}
    found = [
        (_entry(TOGETHER.join((*alignment.together.get(m.layer, ()), m.layer)), m.port_layer), m.reason, m.layer)
        for m in alignment.matches
    ]
    for layer, parts in alignment.split.items():
        reason = PARTS if layer in alignment.unpacked else "given"
        found.append((_entry(layer, list(parts)), reason, layer))
    width = min(60, max((len(entry) for entry, _, _ in found), default=0))
    for entry, reason, layer in found:
        yield f"{entry:<{width}}  # {reason}{', undecided' if layer in undecided else ''}"


def _entry(key: str, value: str | list[str]) -> str:
    return f"{_scalar(key)}: {_scalar(value)}"


def _scalar(value: str | list[str]) -> str:
    """A name, or several, as YAML on one line, in quotes where it would be something else without."""
    flow = yaml.safe_dump([value], default_flow_style=True, width=2**31, allow_unicode=True).strip()
    return flow[1:-1]
