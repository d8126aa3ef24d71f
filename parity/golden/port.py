"""A port's runs in a file: every value in every mode, its weights and settings, without TensorFlow.

Nothing of a recorded port can be run again. So what a layer introduces is found the other way round: the reference's
calls are made on the port's own recorded values, and what they give is what the port should have there.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from parity.axes import Array, Axes, in_order, move
from parity.errors import PairError, RecordingError, UsageError
from parity.frameworks import torch
from parity.golden import PORT
from parity.golden.file import File, Writer
from parity.golden.header import SCHEMA, Header, InputRecord, TapRecord, digest
from parity.golden.network import Record
from parity.golden.words import decoded, encoded
from parity.pairs import Input
from parity.runners.edits import Node, nodes_of
from parity.runners.keras_model import KerasModel
from parity.runners.reference import Reference
from parity.runners.segments import PortTap, Segment
from parity.runners.taps import Positions, sample

Show = Callable[[str, float], None]


class WeightRecord(Record):
    """A weight: what Keras calls it, and the name of its array."""

    name: str
    path: str
    array: str


class OperationRecord(Record):
    """An operation of the port: its class, its name, its configuration, its weights."""

    kind: str
    name: str
    config: dict[str, Any]
    weights: tuple[WeightRecord, ...]


class NodeRecord(Record):
    """A firing of an operation, by numbers: the operation, the tensors it reads, those it makes."""

    operation: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    is_input: bool


class EndRecord(Record):
    """An input or output: its tensor, and what else it is called."""

    tensor: int
    others: tuple[str, ...]


class PortTapRecord(Record):
    """A tap, and the tensor and the operation that it is of."""

    tap: TapRecord
    tensor: int
    operation: int


class GraphRecord(Record):
    """The port's graph as it was run on inputs of one set of shapes; tensors by their shapes."""

    tensors: tuple[tuple[int | None, ...], ...]
    operations: tuple[OperationRecord, ...]
    nodes: tuple[NodeRecord, ...]
    taps: tuple[PortTapRecord, ...]
    inputs: dict[str, EndRecord]
    outputs: dict[str, EndRecord]
    output_taps: dict[str, str]
    aliases: dict[str, str]
    only_ends: bool


class PortRunRecord(Record):
    """The runs on an input: the graph by its number, and a digest of the arrays that each of its inputs was given."""

    given: InputRecord
    graph: int
    arrays: dict[str, str]
    modes: tuple[str, ...]


class PortHeader(Header):
    """The metadata of a recorded port. `same` has the names of arrays that are written under another name."""

    graphs: tuple[GraphRecord, ...]
    runs: tuple[PortRunRecord, ...]
    same: dict[str, str]


# -- written ----------------------------------------------------------------------------------------------------------


@dataclass
class PortRecording:
    """Records the runs of a port with a Writer. A value that is the same in two modes is written once."""

    writer: Writer
    graphs: list[GraphRecord] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)
    _engines: list[KerasModel] = field(default_factory=list)
    _variables: dict[int, tuple[Any, str]] = field(default_factory=dict)
    _sum: Any = field(default_factory=hashlib.sha256)

    @property
    def weights(self) -> str:
        """SHA-256 of all weights, their names, types and shapes."""
        return str(self._sum.hexdigest())

    def run(
        self, number: int, given: Input, port: KerasModel, arrays: Mapping[str, Array], modes: Sequence[str], show: Show
    ) -> PortRunRecord:
        """Write the runs on an input: `arrays` are the port's inputs in its layout, by the reference's names."""
        if port not in self._engines:
            self._engines.append(port)
            self.graphs.append(self._graph(port))
        for index, mode in enumerate(modes):
            show(f"{given.name}: {mode}", index / len(modes))
            at = f"runs/{number}"
            for name, value in port.every_value(arrays, mode).items():
                self._value(f"{at}/{mode}/{name}", value, f"{at}/{modes[0]}/{name}")
            for name, value in port.plain(arrays, mode).items():
                tap = port.output_taps[name]
                self._value(f"{at}/{mode}-plain/{name}", value, f"{at}/{mode}/{tap}")
        return PortRunRecord(
            given=InputRecord.of(given, lambda array: self.writer.put(f"inputs/{len(self.writer.sums)}", array)),
            graph=self._engines.index(port),
            arrays={ours: digest({"": arrays[theirs]}) for theirs, ours in port.feeds.items()},
            modes=tuple(modes),
        )

    def _value(self, name: str, value: Array, other: str) -> None:
        """Write a value, unless what was written under another name is the same."""
        self.writer.put(name, value, unless_as=self.same.get(other, other), same=self.same)

    def _graph(self, port: KerasModel) -> GraphRecord:
        nodes = nodes_of(port.graph)
        operations = list({id(node.operation): node.operation for node in nodes}.values())
        made = (tensor for node in nodes for tensor in node.outputs)
        tensors = list({id(tensor): tensor for tensor in (*port.ends[0].values(), *made)}.values())
        at = {id(each): number for group in (operations, tensors) for number, each in enumerate(group)}

        def end(name: str, tensor: Any) -> EndRecord:
            return EndRecord(tensor=at[id(tensor)], others=port.other_names(name))

        return GraphRecord(
            tensors=tuple(tuple(tensor.shape) for tensor in tensors),
            operations=tuple(self._operation(each) for each in operations),
            nodes=tuple(
                NodeRecord(
                    operation=at[id(node.operation)],
                    reads=tuple(at[id(tensor)] for tensor in node.input_tensors),
                    makes=tuple(at[id(tensor)] for tensor in node.outputs),
                    is_input=node.is_input,
                )
                for node in nodes
            ),
            taps=tuple(
                PortTapRecord(tap=TapRecord.of(tap), tensor=at[id(tap.tensor)], operation=at[id(tap.operation)])
                for tap in port.taps
            ),
            inputs={name: end(name, tensor) for name, tensor in port.ends[0].items()},
            outputs={name: end(name, tensor) for name, tensor in port.ends[1].items()},
            output_taps=dict(port.output_taps),
            aliases=dict(port.aliases),
            only_ends=port.only_ends,
        )

    def _operation(self, operation: Any) -> OperationRecord:
        try:
            config = encoded(dict(operation.get_config()), lambda array: f"{np.shape(array)}")["dict"]
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            config = {}
        return OperationRecord(
            kind=type(operation).__name__,
            name=str(operation.name),
            config=config,
            weights=tuple(self._weight(variable) for variable in getattr(operation, "weights", ())),
        )

    def _weight(self, variable: Any) -> WeightRecord:
        path = str(getattr(variable, "path", variable.name))
        if id(variable) not in self._variables:
            array = np.asarray(variable)
            self._sum.update(f"{path} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
            name = self.writer.put(f"weights/{len(self._variables)}/{path}", array)
            self._variables[id(variable)] = variable, name
        return WeightRecord(name=str(variable.name), path=path, array=self._variables[id(variable)][1])


# -- read -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordedWeight:
    """A weight of a recorded layer; NumPy takes it for its array."""

    name: str
    path: str
    value: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its array."""
        return self.value.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype) if copy else np.asarray(self.value, dtype=dtype)


class RecordedOperation:
    """An operation as it was set up; one of its class's name, with its settings as attributes."""

    def __init__(self, record: OperationRecord, weights: Sequence[RecordedWeight]) -> None:
        self._config = decoded({"dict": record.config}, lambda name: np.empty(0))
        vars(self).update({key: value for key, value in self._config.items() if key.isidentifier()})
        self.name = record.name
        self.weights = list(weights)

    def get_config(self) -> dict[str, Any]:
        """Its configuration."""
        return dict(self._config)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing: it raises PairError."""
        raise PairError("the port is a recording, and was not run here")


@cache
def _class(kind: str) -> type[RecordedOperation]:
    return type(kind, (RecordedOperation,), {})


class RecordedGraph(KerasModel):
    """A port as it was run on inputs of one set of shapes. What needs it to be run raises PairError."""

    def __init__(self, record: GraphRecord, file: File, runs: Mapping[str, tuple[str, PortRunRecord]]) -> None:
        self._record = record
        self._file = file
        self._runs = runs
        tensors = [SimpleNamespace(shape=shape) for shape in record.tensors]
        self._operations = [
            _class(each.kind)(each, [RecordedWeight(w.name, w.path, file.array(w.array)) for w in each.weights])
            for each in record.operations
        ]
        self._producer = {}
        for each in record.nodes:
            node: Node = SimpleNamespace(
                operation=self._operations[each.operation],
                input_tensors=[tensors[number] for number in each.reads],
                outputs=[tensors[number] for number in each.makes],
                is_input=each.is_input,
                arguments=SimpleNamespace(args=(), kwargs={}),
            )
            self._producer |= {id(tensor): node for tensor in node.outputs}
        self._inputs = {name: tensors[end.tensor] for name, end in record.inputs.items()}
        self._outputs = {name: tensors[end.tensor] for name, end in record.outputs.items()}
        self.inputs = tuple(self._inputs)
        self.feeds = {name: name for name in self.inputs}
        self.taps = tuple(self._tap_of(each, tensors[each.tensor]) for each in record.taps)
        self.output_taps = record.output_taps

    def _tap_of(self, record: PortTapRecord, tensor: Any) -> PortTap:
        operation = self._operations[record.operation]
        weights = lambda: [weight.value for weight in operation.weights]  # noqa: E731
        return PortTap(**record.tap.model_dump(), weights=weights, operation=operation, tensor=tensor)

    @property
    def model(self) -> Any:
        """Nothing: it raises PairError."""
        raise PairError("the port is a recording; it has no model that could be run or changed")

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names of taps."""
        return self._record.aliases

    @property
    def only_ends(self) -> bool:
        """Whether no layer of the port was seen."""
        return self._record.only_ends

    def other_names(self, name: str) -> tuple[str, ...]:
        """What else an input or output is called."""
        return {**self._record.inputs, **self._record.outputs}[name].others

    def restore(self) -> None:
        """Nothing to undo."""

    def value(self, arrays: Mapping[str, Array], mode: str, name: str) -> Array:
        """The whole value of a tap in the run on these arrays, in a mode."""
        return self._file.array(f"{self._at(arrays, mode)}/{mode}/{name}")

    def plain(self, arrays: Mapping[str, Array], mode: str) -> dict[str, Array]:
        """The outputs of the model as its user runs it."""
        at = self._at(arrays, mode)
        return {name: self._file.array(f"{at}/{mode}-plain/{name}") for name in self._outputs}

    def propagate(
        self,
        arrays: Mapping[str, Array],
        segments: Sequence[Segment],
        wanted: Sequence[Positions],
        mode: str,
        show: Callable[[int], None] = lambda done: None,
    ) -> tuple[list[Array], dict[str, Array]]:
        """A sample of each segment's value at the `wanted` flat positions, and the outputs of that run."""
        samples = []
        for done, (segment, places) in enumerate(zip(segments, wanted, strict=True)):
            show(done)
            samples.append(sample(self.value(arrays, mode, segment.tap.name), places))
        return samples, {name: self.value(arrays, mode, tap) for name, tap in self.output_taps.items()}

    def _at(self, arrays: Mapping[str, Array], mode: str) -> str:
        given = {ours: digest({"": arrays[theirs]}) for theirs, ours in self.feeds.items()}
        key = repr(dict(sorted(given.items())))
        if key not in self._runs:
            raise RecordingError(
                f"{self._file.path} has no run of the port on these inputs in the layout that the reference says they "
                "have; declare the pair's axes and input_map, and record it again"
            )
        at, run = self._runs[key]
        if mode not in run.modes:
            raise UsageError(f"{self._file.path} has runs in {', '.join(run.modes)}; {mode} was not recorded")
        return at


class RecordedPort:
    """A port that was recorded. Raises RecordingError for a file that is not a whole recording of a port."""

    model = None
    is_flat = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = File(path)
        self.header = self._file.header(PortHeader, SCHEMA, PORT)
        self._file.sums, self._file.same = self.header.sums, self.header.same
        self._used: RecordedGraph | None = None

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of what the port ran with."""
        return {name: f"{self.header.versions[name]} (recorded)" for name in ("tensorflow", "keras")}

    @property
    def inputs(self) -> list[Input]:
        """The inputs it was recorded on."""
        return [run.given.input(self._file.array) for run in self.header.runs]

    @property
    def used(self) -> KerasModel:
        """The graph that was last asked for."""
        return self._used or self._graphs[0]

    def engine(self, arrays: Mapping[str, Array], names: Mapping[str, str], input_map: Mapping[str, str]) -> KerasModel:
        """The graph that was run on these arrays; the first where none was, which then says so."""
        given = {digest({"": array}) for array in arrays.values()}
        graphs = [run.graph for run in self.header.runs if given == set(run.arrays.values())]
        self._used = self._graphs[graphs[0] if graphs else 0]
        return self._used

    def restore(self) -> None:
        """Nothing to undo."""

    @cached_property
    def _graphs(self) -> list[RecordedGraph]:
        runs = {
            repr(dict(sorted(run.arrays.items()))): (f"runs/{number}", run)
            for number, run in enumerate(self.header.runs)
        }
        return [RecordedGraph(record, self._file, runs) for record in self.header.graphs]


@dataclass(frozen=True, kw_only=True)
class Reversed:
    """The reference's calls on the values of a recorded port, on one input in one mode. Values have the port's layout.

    `matched` has the port's tap for each of the reference's.
    """

    reference: Reference
    port: RecordedGraph
    given: Input
    arrays: Mapping[str, Array]
    matched: Mapping[str, str]
    axes: Axes
    mode: str

    def expected(self, layer: str) -> Array | None:
        """What the reference makes of the port's values, where the port has `layer`; None where it cannot."""
        try:
            value = self._made(layer, {})
        except (PairError, RuntimeError, TypeError, ValueError, IndexError, KeyError):
            return None  # the port's values have a shape that the call does not take
        array = value.numpy()
        return in_order(move(array, *self.axes.of(layer, array.ndim)))

    def of_port(self, name: str) -> Array:
        """The port's value of a matched tap or an input."""
        return self.arrays[name] if name in self.arrays else self.port.value(self.arrays, self.mode, self.matched[name])

    def _made(self, name: str, known: dict[str, Any]) -> Any:
        """The reference's call for a tap, on the port's values of the nearest matched taps before it."""
        call = self.reference.calls(self.given)[name]
        for read in call.reads:
            if read not in known:
                known[read] = self._read(read, known)
        return call.again(known)

    def _read(self, name: str, known: dict[str, Any]) -> Any:
        if name in self.given.arrays:
            return torch.from_numpy(np.array(self.given.arrays[name]))
        if name not in self.matched:
            return self._made(name, known)
        array = self.of_port(name)
        source, target = self.axes.of(name, array.ndim)
        return torch.from_numpy(np.array(move(array, target, source), order="C"))
