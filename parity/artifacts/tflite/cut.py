"""Cuts out of a `.tflite` file the operators between known tensors and a wanted one, as a small file of its own.

The piece has the same operators with the same settings and constants, so that the file's own kernels run it; and
nothing else, so that looking at one layer of a large file costs no more than that layer.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from parity.artifacts.tflite.file import Flat, schema, stored_bytes
from parity.axes import Array
from parity.errors import PairError

STATE = frozenset({
    "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT",
    "HASHTABLE_SIZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF",
})  # fmt: skip
"""Operators that keep something from one run to the next, or read tensors that do."""

CALLS = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_REDUCE", "STABLEHLO_WHILE"})
"""Operators that run another graph of the file."""


ALIGNMENT = 16
"""Bytes: constants begin at multiples of it."""
SMALL = 1 << 12
"""Bytes of a constant that is kept within the flatbuffer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A piece: `content` is a file, whose inputs are `inputs` and whose only output is the wanted tensor."""

    content: bytes
    inputs: tuple[int, ...]


@dataclass(eq=False)
class Cutting:
    """One piece of a file: what makes `wanted` of the `known` tensors (by index, with the shape that each is given in).

    `given` has constants as they are to be stored, by tensor: in place of the file's own, and of tensors that are
    computed in the file. Raises PairError where something is needed that is made of neither.
    """

    flat: Flat
    known: Mapping[int, tuple[int, ...]]
    wanted: int
    given: Mapping[int, Array] = field(default_factory=dict)

    @cached_property
    def operators(self) -> list[int]:
        """The indices of the operators that have to run, in the file's order."""
        found: set[int] = set()
        waiting = [self.wanted]
        while waiting:
            tensor = waiting.pop()
            if self._is_there(tensor) and not (tensor == self.wanted and not found):
                continue
            maker = self.flat.makers.get(tensor)
            if maker is None:
                raise PairError(f"{self.flat.names[self.wanted]!r} also needs {self.flat.names[tensor]!r}")
            if maker not in found:
                found.add(maker)
                waiting += [int(each) for each in self.flat.graph.operators[maker].inputs if each >= 0]
        return sorted(found)

    def _is_there(self, tensor: int) -> bool:
        return tensor in self.known or tensor in self.given or self.flat.is_stored(tensor)

    def cut(self) -> Cut:
        """The piece."""
        operators = [self.flat.graph.operators[place] for place in self.operators]
        kept = list(dict.fromkeys(self._tensors(operators)))
        inputs = tuple(tensor for tensor in kept if tensor in self.known and tensor != self.wanted)
        places = {tensor: place for place, tensor in enumerate(kept)}
        buffers = _Buffers(self.flat)
        graph = copy.copy(self.flat.graph)
        graph.tensors = [self._tensor(tensor, buffers) for tensor in kept]
        graph.operators = [_moved(operator, places) for operator in operators]
        graph.inputs = np.array([places[tensor] for tensor in inputs], np.int32)
        graph.outputs = np.array([places[self.wanted]], np.int32)
        return Cut(content=self._packed(graph, buffers, operators), inputs=inputs)

    def _tensors(self, operators: Sequence[Any]) -> Iterator[int]:
        for operator in operators:
            if self.flat.kind(operator) in STATE:
                raise PairError(f"{self.flat.kind(operator)} keeps something between runs, and cannot be run alone")
            yield from (int(each) for each in (*operator.inputs, *operator.outputs) if each >= 0)

    def _tensor(self, tensor: int, buffers: "_Buffers") -> Any:
        """A tensor of the piece, with its constant or with the shape in which it is given."""
        own = copy.copy(self.flat.graph.tensors[tensor])
        own.shapeSignature = None
        if tensor in self.given:
            own.shape = np.array(self.given[tensor].shape, np.int32)
            own.buffer, own.sparsity = buffers.of(self.given[tensor]), None
        elif tensor in self.known and tensor != self.wanted:
            own.shape, own.buffer = np.array(self.known[tensor], np.int32), 0
        else:
            own.buffer = buffers.copied(own.buffer)
        return own

    def _packed(self, graph: Any, buffers: "_Buffers", operators: Sequence[Any]) -> bytes:
        """The bytes of a file with this graph, and with the others where one of its operators runs them."""
        model = copy.copy(self.flat.model)
        others = model.subgraphs[1:] if any(self.flat.kind(each) in CALLS for each in operators) else []
        model.subgraphs = [graph, *(_with_buffers(other, buffers) for other in others)]
        model.buffers = buffers.found
        model.signatureDefs, model.metadata, model.metadataBuffer = None, None, None
        return packed(model)


class _Buffers:
    """The values of a piece: those of the file, once each, and others. The first is that of what has none."""

    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._places: dict[int, int] = {}
        self.found = [_buffer(None)]

    def of(self, value: Array) -> int:
        """The place of a new value."""
        self.found.append(_buffer(np.ascontiguousarray(value).reshape(-1).view(np.uint8)))
        return len(self.found) - 1

    def copied(self, place: int) -> int:
        """The place of one of the file's; the first where that has no values."""
        data = stored_bytes(self._flat.model.buffers[place], self._flat.content)
        if not len(data):
            return 0
        if place not in self._places:
            self._places[place] = self.of(data)
        return self._places[place]


def _buffer(data: Array | None) -> Any:
    made = schema().BufferT()
    made.data, made.offset, made.size = data, 0, 0
    return made


def _moved(operator: Any, places: Mapping[int, int]) -> Any:
    """An operator that reads and makes the same tensors at other places."""
    moved = copy.copy(operator)
    for side in ("inputs", "outputs"):
        indices = [places[int(each)] if each >= 0 else -1 for each in getattr(operator, side)]
        setattr(moved, side, np.array(indices, np.int32))
    moved.intermediates = None
    return moved


def _with_buffers(graph: Any, buffers: _Buffers) -> Any:
    """Another graph of the file, its constants among the piece's."""
    moved = copy.copy(graph)
    moved.tensors = [copy.copy(tensor) for tensor in graph.tensors]
    for tensor in moved.tensors:
        tensor.buffer = buffers.copied(tensor.buffer)
    return moved


def packed(model: Any) -> bytes:
    """The bytes of a model: a flatbuffer, and behind it the large constants, each where a vector unit may read it.

    So these are copied once; a flatbuffer that is built around them copies them again and again.
    """
    large = {
        place: each.data for place, each in enumerate(model.buffers) if each.data is not None and len(each.data) > SMALL
    }
    model = copy.copy(model)
    model.buffers = [_elsewhere(each.data) if place in large else each for place, each in enumerate(model.buffers)]
    start = _aligned(len(_flatbuffer(model)))  # as long as with the right places, which are as wide
    pieces: list[Any] = []
    end = start
    for place, data in large.items():
        model.buffers[place].offset = end
        pieces += [np.ascontiguousarray(data), bytes(_aligned(len(data)) - len(data))]
        end += _aligned(len(data))
    head = _flatbuffer(model)
    return b"".join([head, bytes(start - len(head)), *pieces])


def _aligned(size: int) -> int:
    return math.ceil(size / ALIGNMENT) * ALIGNMENT


def _elsewhere(data: Array) -> Any:
    """A buffer whose values are behind the flatbuffer, at a place that is still to be said."""
    made = schema().BufferT()
    made.data, made.offset, made.size = None, 1 << 32, len(data)
    return made


def _flatbuffer(model: Any) -> bytes:
    """A model as a flatbuffer, its constants at places where a vector unit may read them."""
    import flatbuffers

    aligned = copy.copy(model)
    aligned.buffers = [_AlignedBuffer(each) for each in model.buffers]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(aligned.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer:
    """A buffer that begins at a multiple of 16, as the format wants it; the schema's own objects do not see to that."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        """As the schema's objects are packed."""
        if self._buffer.data is not None and len(self._buffer.data):
            builder.Prep(ALIGNMENT, len(self._buffer.data))
        return self._buffer.Pack(builder)
