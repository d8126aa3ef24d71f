"""ONNX models: whole, of operators that the standard has, with weights in the model or in files beside it.

An operator of a domain that ONNX Runtime does not have itself is run by code from outside of the file. A domain that is
listed and that no operator is of asks for nothing. Weights may lie in other files: those must be
in the model's own folder, whatever path the model writes.

Source of the format: github.com/onnx/onnx, onnx/onnx.proto.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from parity.artifacts.checks.wire import Value, WireError, fields, messages, numbers, signed, texts
from parity.errors import ArtifactError

DOMAINS = frozenset(
    {
        *("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"),
        *("com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc"),
    }
)
"""The standard's domains, and the runtime's own: their operators are in the runtime, or nowhere, and only compute."""

DEEPEST = 16
"""Graphs in the branches of graphs, at most."""

# fmt: off
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16, 17: 8,
    18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}
"""Bits of a value of each type, by its number; text (8) is of no fixed size."""
# fmt: on
_TEXT, _OUTSIDE = 8, 1
_VALUES = {
    4: (1, 14),
    5: (2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26),
    7: (7,),
    10: (11, 15),
    11: (12, 13),
}
"""The fields that have a tensor's values one by one, and of which types."""


def check(data: memoryview, limit: int, allowed: frozenset[str]) -> list[tuple[str, int, int]]:
    """The parts of other files that the model's weights are in: path, first byte, and size (-1 for all that is there).

    Raises ArtifactError for a model that is damaged, or that asks for operators from outside of the file.
    """
    try:
        own = {(name, domain) for each in messages(data, 25) for name, domain in [_signature(each)]}
        for each in messages(data, 8):
            texts(each, 1)
        graphs = list(messages(data, 7))
        if len(graphs) != 1 or not list(messages(graphs[0], 1)):
            raise WireError("no graph, or one without an operator,", 0)
        outside: list[tuple[str, int, int]] = []
        size = 0
        for body in (*graphs, *messages(data, 25)):
            is_graph = body in graphs
            for tensor in _tensors(body, 1 if is_graph else 7, own, allowed):
                size += _size(tensor, limit, outside)
        if size > limit:
            raise ArtifactError(f"has weights of {size} bytes once they are unpacked; at most {limit} are allowed")
    except WireError as error:
        raise ArtifactError(f"is an ONNX model that is cut off or damaged: {error}") from error
    return outside


def is_model(seen: Mapping[int, Value]) -> bool:
    """Whether the first fields of a message, by number, are those of an ONNX model."""
    numbered, named = {1, 5}, {2, 3, 4, 6, 7, 8, 14, 20, 25, 26}
    if not seen.keys() <= numbered | named or any(isinstance(seen[n], int) != (n in numbered) for n in seen):
        return False
    return bool({7, 8} & seen.keys()) or bytes(seen.get(2, b"\0")[:64]).isalnum()  # type: ignore[index]


def _signature(function: memoryview) -> tuple[str, str]:
    return (texts(function, 1) or [""])[-1], (texts(function, 10) or [""])[-1]


def _foreign(domain: str) -> str:
    return (
        f"asks for operators of the domain {domain!r}, which ONNX Runtime does not have: they would run code from "
        "outside of the file; if you trust it, allow the domain by name"
    )


def _tensors(
    graph: memoryview, nodes: int, own: set[tuple[str, str]], allowed: frozenset[str], depth: int = 0
) -> Iterator[memoryview]:
    """Every tensor of a graph or function, in its branches too. `nodes` is the field that has its operators."""
    if depth > DEEPEST:
        raise ArtifactError(f"has graphs in graphs, more than {DEEPEST} deep")
    for field in (11, 12, 13) if nodes == 1 else ():
        for value in messages(graph, field):
            texts(value, 1)
    for each in messages(graph, nodes):
        _check_names(each)
        operators, domains = texts(each, 4), texts(each, 7)
        for domain in domains:
            if domain not in DOMAINS | allowed and (operators[-1:] and (operators[-1], domain)) not in own:
                raise ArtifactError(_foreign(domain))
        for attribute in messages(each, 5):
            for number in (5, 10):
                yield from messages(attribute, number)
            for number in (22, 23):
                for sparse in messages(attribute, number):
                    yield from _of_sparse(sparse)
            for number in (6, 11):
                for inner in messages(attribute, number):
                    yield from _tensors(inner, 1, own, allowed, depth + 1)
    if nodes == 1:
        yield from messages(graph, 5)
        for sparse in messages(graph, 15):
            yield from _of_sparse(sparse)


def _check_names(node: memoryview) -> None:
    """Raise WireError where a node, what it reads or makes, or an attribute has a name that is no text."""
    for field in (1, 2, 3):
        texts(node, field)
    for attribute in messages(node, 5):
        texts(attribute, 1)


def _of_sparse(sparse: memoryview) -> Iterator[memoryview]:
    for number in (1, 2):
        yield from messages(sparse, number)


def _size(tensor: memoryview, limit: int, outside: list[tuple[str, int, int]]) -> int:
    """The bytes of a tensor. Adds what it has in another file; raises ArtifactError where values and shape differ."""
    name = (texts(tensor, 8) or [""])[-1]
    count = 1
    for size in numbers(tensor, 1):
        count *= signed(size)
        if count < 0 or signed(size) < 0 or count > limit:
            raise ArtifactError(f"is damaged: the weight {name!r} has a size of {signed(size)}")
    kind = (numbers(tensor, 2) or [0])[-1]
    if kind not in _BITS and kind != _TEXT:
        raise ArtifactError(f"is damaged: the weight {name!r} is of type {kind}, which ONNX does not have")
    needed = (count * _BITS.get(kind, 8) + 7) // 8
    if list(messages(tensor, 13)) or _OUTSIDE in numbers(tensor, 14):
        outside.append(_place(tensor, name, needed))
        return needed
    raw = [len(value) for value in messages(tensor, 9)]
    if raw and kind != _TEXT and raw[-1] != needed:
        raise ArtifactError(
            f"is damaged: the weight {name!r} has {raw[-1]} bytes of values where its shape needs {needed}"
        )
    if not raw and kind != _TEXT and (found := _listed(tensor, kind)) != count:
        raise ArtifactError(f"is damaged: the weight {name!r} has {found} values where its shape needs {count}")
    return needed


def _listed(tensor: memoryview, kind: int) -> int:
    """How many values a tensor has one by one: complex numbers have two, small ones may be packed by fours or twos."""
    found = 0
    for field, kinds in _VALUES.items():
        if kind not in kinds:
            continue
        if field in (4, 10):
            width = 4 if field == 4 else 8
            found = sum(len(v) // width if isinstance(v, memoryview) else 1 for n, _, v in fields(tensor) if n == field)
        else:
            found = len(numbers(tensor, field))
    if kind in (14, 15):
        return found // 2
    if _BITS[kind] < 8:
        count = 1
        for size in numbers(tensor, 1):
            count *= signed(size)
        return count if found == (count * _BITS[kind] + 7) // 8 else found
    return found


def _place(tensor: memoryview, name: str, needed: int) -> tuple[str, int, int]:
    """The path, the first byte and the size of what a tensor has in another file."""
    said = {(texts(entry, 1) or [""])[-1]: (texts(entry, 2) or [""])[-1] for entry in messages(tensor, 13)}
    try:
        start, size = int(said.get("offset", 0) or 0), int(said.get("length", needed) or needed)
    except ValueError as error:
        raise ArtifactError(f"is damaged: the weight {name!r} lies at {said} of another file") from error
    if start < 0 or size != needed:
        raise ArtifactError(
            f"is damaged: the weight {name!r} has {size} bytes at {start} where its shape needs {needed}"
        )
    return said.get("location", ""), start, size


def beside(path: Path, outside: Iterable[tuple[str, int, int]]) -> tuple[Path, ...]:
    """The files beside a model that its weights are in. Raises ArtifactError for one elsewhere, or too short."""
    found: dict[Path, int] = {}
    for location, start, size in outside:
        pure = PurePosixPath(location)
        if not location or pure.is_absolute() or ".." in pure.parts or "\\" in location or ":" in location:
            raise ArtifactError(f"has weights in {location!r}; only files in its own folder are read")
        file = path.parent / location
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise ArtifactError(f"has weights in {location!r}, a link to outside of its folder")
        if not file.is_file():
            raise ArtifactError(f"has weights in {location!r}, which is not there")
        found[file] = max(found.get(file, 0), start + size)
    for file, end in found.items():
        if file.stat().st_size < end:
            raise ArtifactError(f"has weights up to byte {end} of {file.name!r}, which has {file.stat().st_size} bytes")
    return tuple(found)
