"""TFLite files: whole, of operations that the interpreter has itself, with tensors that fit their values.

TFLite reads a file in place and trusts much of it, so what would have it read or write elsewhere is looked for here:
indices beyond their lists, sizes that do not match, operators that write into the file's own constants.

Source of the schema: github.com/tensorflow/tensorflow, tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from parity.artifacts.checks.flatbuffers import Buffer, Schema, Table
from parity.errors import ArtifactError

IDENTIFIER = b"TFL3"
"""What is at byte 4 of such a file."""

CUSTOM = 32
"""The number of every operator that is not TFLite's own."""

MOST_SIZES = 16
"""Tensors have at most as many axes."""

_MAY_LACK = {3: 2, 4: 2, 9: 2, 16: 1, 24: 1, 27: 1, 35: 1, 44: 1, 46: 1, 52: 1, 67: 3, 132: 2, 141: 3, 206: 0}
"""Operators that may lack an input, a bias as a rule, by their number: the first one that may be left out."""

_LEAST = {3: 2, 4: 3, 9: 2, 67: 3, 132: 2, 141: 3}
"""How many inputs operators have at the least, by their number, where TFLite reads as many without counting them."""

_IF, _WHILE, _CALL_ONCE = 92, 93, 103
"""The numbers of the options of operators that run another graph of the file."""

SCHEMA: Schema = {
    "Model": {
        0: ("version", "I"),
        1: ("codes", "[Code]"),
        2: ("graphs", "[Graph]"),
        3: ("description", "text"),
        4: ("buffers", "[Buffer]"),
        5: ("metadata_buffers", "[i]"),
        6: ("metadata", "[Metadata]"),
        7: ("signatures", "[Signature]"),
        8: ("external_groups", "[Inline]"),
        9: ("external", "[Inline]"),
    },
    "Code": {0: ("old", "b"), 1: ("custom", "text"), 2: ("version", "i"), 3: ("code", "i")},
    "Graph": {
        0: ("tensors", "[Tensor]"),
        1: ("inputs", "[i]"),
        2: ("outputs", "[i]"),
        3: ("operators", "[Operator]"),
        4: ("name", "text"),
    },
    "Buffer": {0: ("data", "raw"), 1: ("offset", "Q"), 2: ("size", "Q")},
    "Metadata": {0: ("name", "text"), 1: ("buffer", "I")},
    "Signature": {0: ("inputs", "[Named]"), 1: ("outputs", "[Named]"), 2: ("key", "text"), 4: ("graph", "I")},
    "Named": {0: ("name", "text"), 1: ("tensor", "I")},
    "Tensor": {
        0: ("shape", "[i]"),
        1: ("type", "b"),
        2: ("buffer", "I"),
        3: ("name", "text"),
        4: ("grid", "Grid"),
        5: ("variable", "?"),
        6: ("sparse", "Sparse"),
        7: ("signature", "[i]"),
        8: ("ranked", "?"),
        9: ("variants", "[Variant]"),
        10: ("external", "I"),
    },
    "Variant": {0: ("shape", "[i]"), 1: ("type", "b")},
    "Grid": {
        0: ("lowest", "[f]"),
        1: ("highest", "[f]"),
        2: ("scale", "[f]"),
        3: ("zero", "[q]"),
        4: ("details_kind", "B"),
        5: ("details", "place"),
        6: ("axis", "i"),
    },
    "Sparse": {0: ("order", "[i]"), 1: ("blocks", "[i]"), 2: ("sizes", "[Inline]")},
    "Operator": {
        0: ("code", "I"),
        1: ("inputs", "[i]"),
        2: ("outputs", "[i]"),
        3: ("options_kind", "B"),
        4: ("options", "place"),
        5: ("custom", "raw"),
        7: ("changed", "raw"),
        8: ("between", "[i]"),
        9: ("large_at", "Q"),
        10: ("large", "Q"),
        11: ("options2_kind", "B"),
        12: ("options2", "place"),
    },
    "Runs": {0: ("first", "i"), 1: ("second", "i")},
    "Inline": {},
}

# fmt: off
_BITS = {
    0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 10: 64, 11: 128, 12: 64, 15: 32, 16: 16, 17: 4, 18: 16,
    19: 2, 20: 4, 21: 8, 22: 8,
}
"""Bits of a value of each type by its number. Text, resources and variants are of no fixed size."""
# fmt: on
_LOOSE = {5, 13, 14}


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """A graph of the file, with the sizes of its tensors' stored values in bytes; 0 for those that are computed."""

    number: int
    table: Any
    stored: tuple[int, ...]

    @property
    def tensors(self) -> list[Table]:
        return self.table.get("tensors", [])  # type: ignore[no-any-return]

    def where(self, tensor: int) -> str:
        """A tensor in words."""
        name = self.tensors[tensor].get("name", "") if 0 <= tensor < len(self.tensors) else ""
        return f"tensor {tensor} ({name!r})" if name else f"tensor {tensor}"


def check(data: memoryview, limit: int, allowed: frozenset[str]) -> None:
    """Raise ArtifactError for a TFLite file that is damaged, or that asks for operators that are not TFLite's own."""
    buffer = Buffer(data=data, schema=SCHEMA)
    try:
        model: Any = buffer.root("Model")
        codes = _codes(model, allowed)
        for which, name in (("external", "buffers"), ("external_groups", "groups of buffers")):
            if model.get(which):
                raise ArtifactError(f"it has {name} in other files")
        sizes = [_bytes_of(each, len(data)) for each in model.get("buffers", [])]
        graphs = [
            _Graph(number=n, table=each, stored=tuple(_stored(tensor, sizes) for tensor in each.get("tensors", [])))
            for n, each in enumerate(model.get("graphs", []))
        ]
        if not graphs:
            raise ArtifactError("it has no graph")
        for graph in graphs:
            _check_graph(graph, codes, limit)
        _check_signatures(model, graphs)
        _check_calls(buffer, graphs)
    except ArtifactError as error:
        if isinstance(error, _RefusedError):
            raise
        raise ArtifactError(f"is a TFLite file that is cut off or damaged: {error}") from error


class _RefusedError(ArtifactError):
    """A file that is whole, but asks for more than to compute."""


def _codes(model: Any, allowed: frozenset[str]) -> list[int]:
    """The number of the operator of each code. Raises ArtifactError for operators that are not TFLite's own."""
    numbers = []
    for code in model.get("codes", []):
        number = max(int(code.get("code", 0)), int(code.get("old", 0)))
        if number < 0:
            raise ArtifactError(f"it has an operator numbered {number}")
        name = code.get("custom", "")
        if number == CUSTOM and name not in allowed:
            what = "runs a whole TensorFlow" if name.startswith("Flex") else "is not TFLite's own"
            raise _RefusedError(
                f"asks for the custom operator {name!r}, which {what}; if you trust the file, allow it by name"
            )
        numbers.append(number)
    return numbers


def _bytes_of(buffer: Any, size: int) -> int:
    """How many bytes a buffer has, inside of the flatbuffer or behind it."""
    if buffer.get("offset", 0) > 1:
        if buffer["offset"] + buffer.get("size", 0) > size:
            raise ArtifactError(
                f"a buffer ends at byte {buffer['offset'] + buffer.get('size', 0)}, and there are {size}"
            )
        return int(buffer.get("size", 0))
    return len(buffer.get("data", b""))


def _stored(tensor: Any, sizes: Sequence[int]) -> int:
    place = tensor.get("buffer", 0)
    if place >= len(sizes):
        raise ArtifactError(f"a tensor has its values in buffer {place}, and there are {len(sizes)}")
    return sizes[int(place)]


def _check_lacking(inputs: Sequence[int], code: int) -> None:
    """Raise ArtifactError where an operator of this number lacks an input that it needs: TFLite would read at 0."""
    if len(inputs) < _LEAST.get(code, 0):
        raise ArtifactError(f"an operator numbered {code} has {len(inputs)} inputs, and needs {_LEAST[code]}")
    for place, index in enumerate(inputs):
        if index == -1 and place < _MAY_LACK.get(code, len(inputs)) and code != CUSTOM:
            raise ArtifactError(f"an operator numbered {code} lacks its input {place}")


def _check_graph(graph: _Graph, codes: Sequence[int], limit: int) -> None:
    """Raise ArtifactError where tensors are of no possible size, or operators do not follow from each other.

    `codes` has the number of the operator that each of the file's codes stands for.
    """
    total = 0
    for index, tensor in enumerate(graph.tensors):
        total += _check_tensor(graph, index, tensor, limit)
    if total > limit:
        raise _RefusedError(f"has tensors of {total} bytes; at most {limit} are allowed")
    known = {index for index, size in enumerate(graph.stored) if size or graph.tensors[index].get("variable")}
    known |= set(_tensors(graph, graph.table.get("inputs", ()), "an input"))
    for operator in graph.table.get("operators", []):
        if operator.get("code", 0) >= len(codes):
            raise ArtifactError(f"an operator is of code {operator.get('code', 0)}, and there are {len(codes)}")
        if operator.get("large", 0):
            raise ArtifactError("an operator has options behind the end of the flatbuffer")
        _check_lacking(operator.get("inputs", ()), codes[operator.get("code", 0)])
        for each in _tensors(graph, operator.get("inputs", ()), "an operator's input", optional=True):
            if each not in known and not _is_empty(graph.tensors[each]):
                raise ArtifactError(f"{graph.where(each)} is read before it is made")
        list(_tensors(graph, operator.get("between", ()), "an operator's tensor", optional=True))
        for each in _tensors(graph, operator.get("outputs", ()), "an operator's output", optional=True):
            if graph.stored[each] or each in known:
                raise ArtifactError(f"{graph.where(each)} is written although it has its values already")
            known.add(each)
    for each in _tensors(graph, graph.table.get("outputs", ()), "an output"):
        if each not in known:
            raise ArtifactError(f"{graph.where(each)}, an output, is made by nothing")


def _is_empty(tensor: Any) -> bool:
    return 0 in tensor.get("shape", ()) or tensor.get("type", 0) in _LOOSE


def _tensors(graph: _Graph, indices: Sequence[int], what: str, *, optional: bool = False) -> Iterator[int]:
    """Indices of tensors that are there. Raises ArtifactError for one that is not; -1 is none where it may be."""
    for index in indices:
        if optional and index == -1:
            continue
        if not 0 <= index < len(graph.tensors):
            raise ArtifactError(f"{what} is tensor {index}, and there are {len(graph.tensors)}")
        yield index


def _check_tensor(graph: _Graph, index: int, tensor: Any, limit: int) -> int:
    """The bytes that a tensor takes. Raises ArtifactError where its shape, its values and its grid do not fit."""
    kind, shape = tensor.get("type", 0), tensor.get("shape", ())
    if kind not in _BITS and kind not in _LOOSE:
        raise ArtifactError(f"{graph.where(index)} is of type {kind}, which TFLite does not have")
    if len(shape) > MOST_SIZES or any(size < 0 for size in shape):
        raise ArtifactError(f"{graph.where(index)} has the shape {list(shape)[: MOST_SIZES + 1]}")
    if len(tensor.get("signature", ())) not in (0, len(shape)):
        raise ArtifactError(f"{graph.where(index)} has shapes of {len(shape)} and {len(tensor['signature'])} sizes")
    size = (math.prod(shape) * _BITS.get(kind, 8) + 7) // 8
    if size > limit:
        raise _RefusedError(f"has {graph.where(index)} of {size} bytes; at most {limit} are allowed")
    stored = graph.stored[index]
    if stored and kind not in _LOOSE and "sparse" not in tensor and stored != size:
        raise ArtifactError(f"{graph.where(index)} has {stored} bytes of values where its shape and type need {size}")
    _check_grid(graph.where(index), tensor.get("grid", {}), shape)
    return stored or size


def _check_grid(where: str, grid: Any, shape: Sequence[int]) -> None:
    scales, zeros, axis = grid.get("scale", ()), grid.get("zero", ()), grid.get("axis", 0)
    if not all(math.isfinite(scale) and scale >= 0 for scale in scales):
        raise ArtifactError(f"{where} has a step that is no positive number")
    if len(scales) > 1 and not (0 <= axis < len(shape) and len(scales) == shape[axis]):
        raise ArtifactError(f"{where} has {len(scales)} steps along axis {axis} of the shape {list(shape)}")
    if len(zeros) not in (0, 1, len(scales)):
        raise ArtifactError(f"{where} has {len(scales)} steps and {len(zeros)} zero points")


def _check_signatures(model: Any, graphs: Sequence[_Graph]) -> None:
    for signature in model.get("signatures", []):
        number = signature.get("graph", 0)
        if number >= len(graphs):
            raise ArtifactError(f"a signature is of graph {number}, and there are {len(graphs)}")
        for side in ("inputs", "outputs"):
            names = [each.get("tensor", 0) for each in signature.get(side, [])]
            list(_tensors(graphs[number], names, f"one of a signature's {side}"))
            if not set(names) <= set(graphs[number].table.get(side, ())):
                raise ArtifactError(f"a signature's {side} are not those of its graph")
    for each in model.get("metadata", []):
        if each.get("buffer", 0) >= len(model.get("buffers", [])):
            raise ArtifactError(f"its metadata is in buffer {each.get('buffer', 0)}, which is not there")


def _check_calls(buffer: Buffer, graphs: Sequence[_Graph]) -> None:
    """Raise ArtifactError for a graph that runs one that is not there, or, by way of others too, itself."""
    called = {graph.number: _called(buffer, graph) for graph in graphs}
    for numbers in called.values():
        for number in numbers:
            if not 0 <= number < len(graphs):
                raise ArtifactError(f"an operator runs graph {number}, and there are {len(graphs)}")
    for start in called:
        reached: set[int] = set()
        waiting = list(called[start])
        while waiting:
            number = waiting.pop()
            if number == start:
                raise ArtifactError(f"graph {start} runs itself, and may never end")
            if number not in reached:
                reached.add(number)
                waiting += called[number]


def _called(buffer: Buffer, graph: _Graph) -> list[int]:
    """The numbers of the graphs that a graph's operators run."""
    found = []
    for operator in graph.table.get("operators", []):
        fields = {_IF: ("first", "second"), _WHILE: ("first", "second"), _CALL_ONCE: ("first",)}
        names = fields.get(operator.get("options_kind", 0), ())
        runs: Any = buffer.table("Runs", operator["options"]) if names and "options" in operator else {}
        found += [int(runs.get(name, 0)) for name in names]
    return found
