"""Frozen graphs (.pb): a GraphDef with its weights as constants, run by a Session, the engine that the C++ API drives.

The Session's graph is the file's, as it is. What is seen of it is simpler: operations that pass a value on are left
out, and so is what depends on constants alone, such as the arithmetic of shapes once those of the inputs are known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.artifacts.files import FROZEN
from parity.artifacts.lifting import Rule
from parity.artifacts.program import FLOAT16, FLOAT32, Engine, Program, Step
from parity.artifacts.tensorflow_rules import RULES
from parity.axes import Array
from parity.errors import ArtifactError, PairError
from parity.frameworks import tf
from parity.switches import thread_count

PASSES_ON = frozenset(
    {"Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "PlaceholderWithDefault"}
)
"""Operations whose value is what they read."""

OF_SHAPES = frozenset({"Shape", "Size", "Rank"})
"""Operations that only look at the shape of what they read."""

_NOT_OUTPUTS = frozenset({"NoOp", "Const", "Placeholder", "Assert"})

SMALL = 4096
"""Constants of more values than this are left out where only shapes are looked for."""


def opened(path: Path) -> Engine:
    """The engine of a frozen graph. Raises ArtifactError for a file that holds none that TensorFlow can load."""
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except Exception as error:  # the protobuf library's own DecodeError, which is none of TensorFlow's
        raise ArtifactError(f"{path} holds no TensorFlow graph: {_line(error)}") from error
    return FrozenEngine(graph, str(path))


class FrozenEngine(Engine):
    """A GraphDef and the Session that runs it. `named` has for inputs and outputs that the file calls otherwise the
    names that its user knows, and the tensor of each. Raises ArtifactError where TensorFlow does not take the graph."""

    format = FROZEN

    def __init__(
        self,
        graph_def: Any,
        source: str,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self._def = graph_def
        self._graph = tf.Graph()
        try:
            with self._graph.as_default():
                tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError, TypeError, KeyError) as error:
            raise ArtifactError(f"TensorFlow cannot load the graph in {source}: {_line(error)}") from error
        self._session = tf.compat.v1.Session(graph=self._graph, config=_config())
        self._reading = _Reading(graph_def, self._graph)
        self._ends = (
            dict(inputs) if inputs is not None else self._reading.placeholders(),
            dict(outputs) if outputs is not None else self._reading.ends(),
        )
        if not self._ends[0] or not self._ends[1]:
            raise ArtifactError(f"the graph in {source} has no {'output' if self._ends[0] else 'input'}")
        self._shaped: Program | None = None
        self._seen: dict[str, Any] = {}
        self._cut: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """What operations of TensorFlow are lifted to."""
        return RULES

    @property
    def versions(self) -> Mapping[str, str]:
        """The engine and its version."""
        return {"engine": f"TensorFlow {tf.__version__}, tf.compat.v1.Session"}

    @cached_property
    def program(self) -> Program:
        """The graph with the sizes that the file states."""
        return self._reading.program(self.format, *self._ends, shapes_of=self._graph)

    def shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The graph for inputs of these shapes, by their tensors. Raises PairError where it does not take them."""
        graph = _for_shapes(self._def, shapes, self.source)
        self._cut.clear()
        program = self._shaped = self._reading.program(self.format, *self._ends, shapes_of=graph)
        unknown = [
            tensor
            for step in program.steps
            for tensor in step.outputs
            if tensor not in program.shapes or None in program.shapes[tensor]
        ]
        if not unknown:
            return program
        zeros = {name: np.zeros(shape, program.dtypes[name]) for name, shape in shapes.items()}
        found = {name: value.shape for name, value in self._run(unknown, zeros).items()}
        self._shaped = replace(program, shapes={**program.shapes, **found})
        return self._shaped

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by their tensors, of one run of the graph as it is."""
        outputs = self._ends[1]
        made = self._run(list(dict.fromkeys(outputs.values())), arrays)
        return {self._reading.plain(tensor): made[tensor] for tensor in outputs.values()}

    def watched(self, arrays: Mapping[str, Array], tensors: Sequence[str]) -> dict[str, Array]:
        """These tensors, read in one run."""
        for tensor in tensors:
            if tensor not in self._seen:
                # A copy is fetched: the optimiser may melt a fetched tensor itself into the operation after it.
                with self._graph.as_default():
                    self._seen[tensor] = tf.identity(self._graph.get_tensor_by_name(tensor), name="parity_seen")
        return self._fetched({name: self._seen[name] for name in tensors}, arrays)

    def part(self, known: Mapping[str, Array], tensor: str, constants: Mapping[str, Array] | None = None) -> Array:
        """A tensor's value, others given: TensorFlow runs what lies between."""
        values = {**known, **(constants or {})}
        given, made = self._cut_at({tensor: tuple(values)})
        return self._fetched(made, {given[name]: value for name, value in values.items()})[tensor]

    def parts(
        self, known: Mapping[str, Array], segments: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[str, Array | None]]:
        """Each tensor made of those listed for it, all in one run: the graph is cut at the known ones."""
        try:
            given, made = self._cut_at(segments)
            values = self._fetched(made, {given[name]: known[name] for name in given})
        except PairError:
            if len(segments) == 1:
                yield next(iter(segments)), None
                return
            for tensor, anchors in segments.items():
                yield from self.parts(known, {tensor: anchors})
            return
        yield from values.items()

    def _run(self, tensors: Sequence[str], arrays: Mapping[str, Array]) -> dict[str, Array]:
        return self._fetched({name: name for name in tensors}, arrays)

    def _fetched(self, fetches: Mapping[str, Any], feeds: Mapping[Any, Array]) -> dict[str, Array]:
        with _refusals(self.source):
            made = self._session.run(dict(fetches), feed_dict=dict(feeds))
        return {name: np.asarray(value) for name, value in made.items()}

    def _cut_at(self, segments: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tensors to give values to, and those that are made of them, beside the graph in its own Session."""
        key = tuple((tensor, tuple(anchors)) for tensor, anchors in segments.items())
        if key not in self._cut:
            with _refusals(self.source):
                self._cut[key] = self._reading.cut(segments, self._shaped or self.program)
        return self._cut[key]


class _Reading:
    """What is seen of a GraphDef: its data flow without what passes values on."""

    def __init__(self, graph_def: Any, graph: Any) -> None:
        self._def = graph_def
        self._graph = graph
        self._nodes = {node.name: node for node in graph_def.node}

    def tensors_of(self, node: Any) -> tuple[str, ...]:
        """The tensors that a node makes."""
        return tuple(tensor.name for tensor in self._graph.get_operation_by_name(node.name).outputs)

    def read_by(self, node: Any) -> tuple[str, ...]:
        """The tensors that a node reads, each behind what passes it on."""
        return tuple(self.plain(_tensor(name)) for name in node.input if not name.startswith("^"))

    def plain(self, tensor: str) -> str:
        """The tensor of which another has the value."""
        name, _, place = tensor.rpartition(":")
        while place == "0" and name in self._nodes and self._nodes[name].op in PASSES_ON:
            tensor = _tensor(self._nodes[name].input[0])
            name, _, place = tensor.rpartition(":")
        return tensor

    def placeholders(self) -> dict[str, str]:
        """The graph's inputs by name, with their tensors: those that an output depends on."""
        waiting, seen = [tensor.rpartition(":")[0] for tensor in self.ends().values()], set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self._nodes:
                seen.add(name)
                waiting += [_tensor(each).rpartition(":")[0].lstrip("^") for each in self._nodes[name].input]
        found = [node.name for node in self._def.node if node.op == "Placeholder" and node.name in seen]
        return {name: f"{name}:0" for name in found}

    def ends(self) -> dict[str, str]:
        """The graph's outputs by name, with their tensors: the operations whose values nothing reads."""
        read = {_tensor(name) for node in self._def.node for name in node.input if not name.startswith("^")}
        found: dict[str, str] = {}
        for node in self._def.node:
            made = self.tensors_of(node) if node.op not in _NOT_OUTPUTS else ()
            if made and not read & set(made):
                found |= {node.name: made[0]} if len(made) == 1 else {tensor: tensor for tensor in made}
        return found

    @cached_property
    def _in_order(self) -> tuple[Any, ...]:
        """The nodes, each after those it reads."""
        order: dict[str, Any] = {}
        for first in self._def.node:
            waiting = [(first, False)]
            while waiting:
                node, ready = waiting.pop()
                if ready:
                    order.setdefault(node.name, node)
                elif node.name not in order:
                    waiting.append((node, True))
                    names = (_tensor(name).rpartition(":")[0] for name in node.input if not name.startswith("^"))
                    waiting += [(self._nodes[name], False) for name in names if name not in order]
        return tuple(order.values())

    def program(self, kind: str, inputs: Mapping[str, str], outputs: Mapping[str, str], *, shapes_of: Any) -> Program:
        """The program, its sizes as a graph of the same nodes has them."""
        shapes, dtypes = self._sizes(shapes_of)
        constant: dict[str, Any] = {}
        steps, folded = [], []
        for node in self._in_order:
            if node.op in PASSES_ON or node.op in ("Placeholder", "NoOp"):
                continue
            made, read = self.tensors_of(node), self.read_by(node)
            if node.op == "Const":
                constant[made[0]] = node
                continue
            step = Step(op=node.op, name=node.name, inputs=read, outputs=made, attributes=_Attributes(node))
            if self._is_constant(node, read, constant, shapes):
                constant |= dict.fromkeys(made)
                folded.append(step)
            else:
                steps.append(step)
        return Program(
            format=kind,
            steps=tuple(steps),
            inputs=inputs,
            outputs={name: self.plain(tensor) for name, tensor in outputs.items()},
            constants=_Constants(constant, folded, self._nodes, shapes),
            shapes=shapes,
            dtypes=dtypes,
            precision=FLOAT16 if any(dtypes[tensor] == "float16" for tensor in constant) else FLOAT32,
            folded=tuple(folded),
        )

    def _sizes(self, graph: Any) -> tuple[dict[str, tuple[int | None, ...]], dict[str, str]]:
        shapes, dtypes = {}, {}
        for operation in graph.get_operations():
            for tensor in operation.outputs:
                dtypes[tensor.name] = tensor.dtype.base_dtype.name
                if tensor.shape.rank is not None:
                    shapes[tensor.name] = tuple(tensor.shape.as_list())
        return shapes, dtypes

    def _is_constant(
        self, node: Any, read: Sequence[str], constant: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]
    ) -> bool:
        """Whether what a node makes is the same whatever the inputs' values are."""
        if self._graph.get_operation_by_name(node.name).op_def.is_stateful:
            return False
        if node.op in OF_SHAPES:
            return read[0] in shapes and None not in shapes[read[0]]
        return bool(read) and all(tensor in constant for tensor in read)

    def cut(self, segments: Mapping[str, Sequence[str]], program: Program) -> tuple[dict[str, Any], dict[str, Any]]:
        """A copy of what lies between anchors and the tensors made of them, its anchors placeholders.

        The shapes of tensors that lie before the anchors are those of the program.
        """
        anchors = {name for names in segments.values() for name in names}
        needed = self._between(segments)
        cut, outside = tf.compat.v1.GraphDef(library=self._def.library, versions=self._def.versions), dict[str, str]()
        places = {name: f"parity_given_{n}" for n, name in enumerate(sorted(anchors))}
        for node in needed.values():
            copy = cut.node.add()
            if node.op in OF_SHAPES and self.read_by(node)[0] not in anchors:
                copy.CopyFrom(_const(node.name, program.constants[f"{node.name}:0"]))
                continue
            copy.CopyFrom(node)
            del copy.input[:]
            for tensor in self.read_by(node):
                if tensor not in places and tensor.rpartition(":")[0] not in needed:
                    outside.setdefault(tensor, f"parity_outside_{len(outside)}")
                copy.input.append(places.get(tensor) or outside.get(tensor) or tensor)
        for name, place in {**places, **outside}.items():
            stand_in = cut.node.add(name=place, op="Placeholder")
            stand_in.attr["dtype"].type = self._tensor(name).dtype.base_dtype.as_datatype_enum
        with self._graph.as_default():
            given = {name: tf.compat.v1.placeholder(self._tensor(name).dtype) for name in places}
            mapped = {f"{places[name]}:0": tensor for name, tensor in given.items()}
            mapped |= {f"{place}:0": self._tensor(name) for name, place in outside.items()}
            wanted = tf.import_graph_def(cut, input_map=mapped, return_elements=list(segments), name="parity")
        return given, dict(zip(segments, wanted, strict=True))

    def _between(self, segments: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The nodes between the anchors and the tensors made of them, but for what reads constants alone."""
        needed: dict[str, Any] = {}
        for wanted, anchors in segments.items():
            waiting = [self._nodes[wanted.rpartition(":")[0]]]
            while waiting:
                node = waiting.pop()
                if node.name in needed or not self._varies(node):
                    continue
                needed[node.name] = node
                if node.op in OF_SHAPES:
                    continue
                read = (tensor for tensor in self.read_by(node) if tensor not in anchors)
                waiting += [self._nodes[tensor.rpartition(":")[0]] for tensor in read]
        return needed

    def _varies(self, node: Any) -> bool:
        """Whether a node depends on the inputs, were it only on their shapes."""
        return node.name in self._varying

    @cached_property
    def _varying(self) -> frozenset[str]:
        found = set[str]()
        for node in self._in_order:
            names = (tensor.rpartition(":")[0] for tensor in self.read_by(node))
            if node.op == "Placeholder" or any(name in found for name in names):
                found.add(node.name)
        return frozenset(found)

    def _tensor(self, name: str) -> Any:
        return self._graph.get_tensor_by_name(name)


class _Constants(Mapping[str, Array]):
    """The values of constants, each read when it is asked for; those that follow from others, by TensorFlow."""

    def __init__(
        self,
        made: Mapping[str, Any],
        folded: Iterable[Step],
        nodes: Mapping[str, Any],
        shapes: Mapping[str, tuple[int | None, ...]],
    ) -> None:
        self._made = made
        self._folded = {step.name: step for step in folded}
        self._nodes = nodes
        self._shapes = shapes
        self._values: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        node = self._made[name]
        if name not in self._values:
            self._values[name] = self._worked_out(name) if node is None else _value(node)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def _worked_out(self, name: str) -> Array:
        """The value of what follows from other constants, by TensorFlow itself."""
        step = self._folded[name.rpartition(":")[0]]
        if step.op in OF_SHAPES:
            shape = np.asarray(self._shapes[step.inputs[0]], step.attributes.get("out_type", "int32"))
            if step.op == "Shape":
                return shape
            return np.asarray(shape.size if step.op == "Rank" else np.prod(shape), shape.dtype)
        graph, node = tf.compat.v1.GraphDef(), self._nodes[step.name]
        copy = graph.node.add()
        copy.CopyFrom(node)
        del copy.input[:]
        for place, read in enumerate(step.inputs):
            graph.node.append(_const(f"parity_read_{place}", self[read]))
            copy.input.append(f"parity_read_{place}")
        with tf.Graph().as_default() as own, tf.compat.v1.Session(graph=own, config=_config()) as session:
            tf.import_graph_def(graph, name="")
            return np.asarray(session.run(name))


class _Attributes(Mapping[str, Any]):
    """A node's attributes as plain values: numbers, text, lists, the names of dtypes, the sizes of shapes."""

    def __init__(self, node: Any) -> None:
        self._attr = node.attr

    def __getitem__(self, name: str) -> Any:
        if name not in self._attr:
            raise KeyError(name)
        return _plain_attribute(self._attr[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._attr)

    def __len__(self) -> int:
        return len(self._attr)


def _plain_attribute(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "list":
        for name in ("s", "i", "f", "b", "type"):
            if items := list(getattr(value.list, name)):
                return [each.decode() for each in items] if name == "s" else items
        return []
    found: Any = getattr(value, kind) if kind else None
    if kind == "s":
        return found.decode(errors="replace")
    return tf.as_dtype(found).name if kind == "type" else found


def _value(node: Any) -> Array:
    """The value of a Const node."""
    return np.asarray(tf.make_ndarray(node.attr["value"].tensor))


def _const(name: str, value: Array) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _for_shapes(graph_def: Any, shapes: Mapping[str, tuple[int, ...]], source: str) -> Any:
    """A graph of the same nodes without large constants, in which the inputs have these shapes."""
    plain = tf.compat.v1.GraphDef(library=graph_def.library, versions=graph_def.versions)
    for node in graph_def.node:
        large = node.op == "Const" and _size(node.attr["value"].tensor.tensor_shape) > SMALL
        shape = shapes.get(f"{node.name}:0") if node.op == "Placeholder" else None
        copy = plain.node.add(name=node.name, op="Placeholder" if large else node.op)
        if not large and shape is None:
            copy.CopyFrom(node)
            continue
        copy.attr["dtype"].type = node.attr["dtype"].type
        sizes = tf.TensorShape(shape).as_proto() if shape is not None else node.attr["value"].tensor.tensor_shape
        copy.attr["shape"].shape.CopyFrom(sizes)
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(plain, name="")
    except (ValueError, tf.errors.OpError) as error:
        given = ", ".join(f"{name.rpartition(':')[0]} {shape}" for name, shape in shapes.items())
        raise PairError(f"the graph in {source} does not take {given}: {_line(error)}") from error
    return graph


def _size(shape: Any) -> int:
    return int(np.prod([dim.size for dim in shape.dim], dtype=np.int64))


def _tensor(name: str) -> str:
    """The name of a tensor as a graph has it, for how a node writes what it reads."""
    return name if ":" in name or name.startswith("^") else f"{name}:0"


def _config() -> Any:
    """As many threads as everything else has, on the CPU."""
    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=thread_count(),
        inter_op_parallelism_threads=thread_count(),
        device_count={"GPU": 0},
    )


@contextmanager
def _refusals(source: str) -> Iterator[None]:
    """What TensorFlow refuses to run becomes a PairError of one sentence."""
    try:
        yield
    except (tf.errors.OpError, ValueError, TypeError, KeyError) as error:
        raise PairError(f"TensorFlow cannot run the graph in {source}: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What an exception says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Exception encountered" not in line), type(error).__name__)
