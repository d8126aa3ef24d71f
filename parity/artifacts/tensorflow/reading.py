"""What is seen of a TensorFlow graph: its steps and constants, without what passes values on or only looks at shapes.

Large constants are kept apart. A graph without them is quick to look at and to run in parts; they are given to it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from parity.artifacts.merging import LOOPS, merged
from parity.artifacts.program import FLOAT16, FLOAT32, Program, Step
from parity.axes import Array
from parity.frameworks import tf

PASSES_ON = frozenset(
    {"Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "PlaceholderWithDefault"}
)
"""Operations whose value is what they read."""

OF_SHAPES = frozenset({"Shape", "Size", "Rank"})
"""Operations that only look at the shape of what they read."""

CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""Operations that are functions of the graph's library."""

COUNTING = frozenset({"Where", "Unique", "UniqueV2", "NonMaxSuppressionV3", "NonMaxSuppressionV5", "DynamicPartition"})
"""Operations that make as many values as there are of a kind."""

NOT_OUTPUTS = frozenset({"NoOp", "Const", "Placeholder", "Assert"})
"""Operations that are no output of a graph, although nothing reads them."""

SMALL = 4096
"""Constants of more values than this are large."""

ALIGNED = 64
"""Where TensorFlow takes an array without copying it: its address is a multiple of this."""


def without_large(graph_def: Any) -> tuple[Any, dict[str, Array]]:
    """A graph whose large constants are placeholders, and their values by name."""
    light = tf.compat.v1.GraphDef(library=graph_def.library, versions=graph_def.versions)
    large: dict[str, Array] = {}
    for node in graph_def.node:
        if node.op != "Const" or _size(node.attr["value"].tensor.tensor_shape) <= SMALL:
            light.node.add().CopyFrom(node)
            continue
        large[node.name] = _aligned(tf.make_ndarray(node.attr["value"].tensor))
        stand_in = light.node.add(name=node.name, op="Placeholder")
        stand_in.attr["dtype"].type = node.attr["dtype"].type
        stand_in.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    return light, large


def _aligned(array: Array) -> Array:
    """A copy that TensorFlow takes as it is."""
    buffer = np.empty(array.nbytes + ALIGNED, np.uint8)
    start = -buffer.ctypes.data % ALIGNED
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


Compute = Callable[[Sequence[str], Mapping[str, Array]], Mapping[str, Array]]
"""Works out tensors that follow from constants, given what operations of shapes make."""


class GraphReading:
    """What is seen of a graph, `graph_def`, whose `large` constants are placeholders; `graph` has its operations."""

    def __init__(self, graph_def: Any, large: Mapping[str, Array], graph: Any, compute: Compute) -> None:
        self._def = graph_def
        self._large = large
        self._graph = graph
        self._compute = compute
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {each.signature.name: each for each in graph_def.library.function}
        self._cuts = 0

    def _is_input(self, node: Any) -> bool:
        return node.op == "Placeholder" and node.name not in self._large

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
        found = [node.name for node in self._def.node if self._is_input(node) and node.name in seen]
        return {name: f"{name}:0" for name in found}

    def ends(self) -> dict[str, str]:
        """The graph's outputs by name, with their tensors: the operations whose values nothing reads.

        Where some of them are Identities, as all tools write an output, the others are left over from something else.
        """
        read = {_tensor(name) for node in self._def.node for name in node.input}
        unread, found = [], dict[str, str]()
        for node in self._def.node:
            made = self.tensors_of(node) if node.op not in NOT_OUTPUTS else ()
            if made and not read & {*made, f"^{node.name}"}:
                unread.append((node, made))
        identities = [each for each in unread if each[0].op == "Identity"]
        for node, made in identities or unread:
            found |= {node.name: made[0]} if len(made) == 1 else {tensor: tensor for tensor in made}
        return found

    @cached_property
    def _in_order(self) -> tuple[Any, ...]:
        """The nodes, each after those it reads."""
        order, begun = dict[str, Any](), set[str]()
        for first in self._def.node:
            waiting = [(first, False)]
            while waiting:
                node, ready = waiting.pop()
                if ready:
                    order.setdefault(node.name, node)
                elif node.name not in begun:
                    begun.add(node.name)
                    waiting.append((node, True))
                    names = (_tensor(name).rpartition(":")[0] for name in node.input if not name.startswith("^"))
                    waiting += [(self._nodes[name], False) for name in names if name not in order]
        return tuple(order.values())

    def program(
        self,
        kind: str,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        *,
        shapes_of: Any,
        found: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Program:
        """The program, its sizes as a graph of the same nodes has them; those it does not know as a run has `found`."""
        shapes, dtypes = self._sizes(shapes_of)
        shapes |= found or {}
        constant: dict[str, Any] = {}
        steps, folded = [], []
        for node in self._in_order:
            if node.op in PASSES_ON or node.op == "NoOp" or self._is_input(node):
                continue
            made, read = self.tensors_of(node), self.read_by(node)
            if node.op == "Const" or node.name in self._large:
                constant[made[0]] = node
                continue
            attributes: Mapping[str, Any] = _Attributes(node)
            if node.op in CALLS and node.attr["f"].func.name in self._functions:
                attributes = {**attributes, "body": self._body(node, read)}
            step = Step(op=node.op, name=node.name, inputs=read, outputs=made, attributes=attributes)
            if self._is_constant(node, read, constant, shapes):
                constant |= dict.fromkeys(made)
                folded.append(step)
            else:
                steps.append(step)
        ends = {name: self.plain(tensor) for name, tensor in outputs.items()}
        steps = list(merged(steps, dtypes, ends.values(), constant))
        return Program(
            format=kind,
            steps=tuple(steps),
            inputs=inputs,
            outputs=ends,
            constants=_Constants(constant, self._large, steps, folded, shapes, self._compute),
            shapes=shapes,
            dtypes=dtypes,
            precision=FLOAT16 if any(dtypes[tensor] == "float16" for tensor in constant) else FLOAT32,
            folded=tuple(folded),
        )

    def _body(self, node: Any, read: Sequence[str]) -> tuple[Step, ...]:
        """What a function does that a node calls, but for passing values on: steps on what the node reads."""
        function = self._functions[node.attr["f"].func.name]
        known = dict(zip((each.name for each in function.signature.input_arg), read, strict=True))
        steps = []
        for inner in function.node_def:
            inputs = tuple(known.get(_own(name), name) for name in inner.input if not name.startswith("^"))
            if inner.op in PASSES_ON:
                known[inner.name] = inputs[0]
            elif inner.op != "NoOp":
                steps.append(
                    Step(op=inner.op, name=inner.name, inputs=inputs, outputs=(), attributes=_Attributes(inner))
                )
        return tuple(steps)

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
        if node.op in LOOPS or self._graph.get_operation_by_name(node.name).op_def.is_stateful:
            return False
        if node.op in OF_SHAPES and not self._counts:
            return read[0] in shapes and None not in shapes[read[0]]
        return bool(read) and all(tensor in constant for tensor in read)

    def cut(self, segments: Mapping[str, Sequence[str]], program: Program) -> tuple[dict[str, Any], dict[str, Any]]:
        """A copy of what lies between anchors and the tensors made of them, its anchors placeholders.

        The shapes of tensors that lie before the anchors are those of the program.
        """
        anchors = {name for names in segments.values() for name in names}
        needed = self._between(segments)
        self._cuts += 1
        cut, outside = tf.compat.v1.GraphDef(library=self._def.library, versions=self._def.versions), dict[str, str]()
        places = {name: f"parity_given_{n}" for n, name in enumerate(sorted(anchors))}
        for node in needed.values():
            copy = cut.node.add()
            if node.op in OF_SHAPES and self.read_by(node)[0] not in anchors:
                copy.CopyFrom(_const(node.name, program.constants[f"{node.name}:0"]))
                continue
            copy.CopyFrom(node)
            if "frame_name" in node.attr:  # a loop is known by its name
                copy.attr["frame_name"].s = f"parity_{self._cuts}/".encode() + node.attr["frame_name"].s
            del copy.input[:]
            for tensor in self.read_by(node):
                if tensor not in places and tensor.rpartition(":")[0] not in needed:
                    outside.setdefault(tensor, f"parity_outside_{len(outside)}")
                copy.input.append(places.get(tensor) or outside.get(tensor) or tensor)
            # What holds a constant in a loop is an order, not a value.
            copy.input.extend(name for name in node.input if name.startswith("^") and name[1:] in needed)
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
                if node.name in needed or not (self._varies(node) or self._is_held(node)):
                    continue
                needed[node.name] = node
                if node.op in OF_SHAPES:
                    continue
                read = (tensor for tensor in self.read_by(node) if tensor not in anchors)
                waiting += [self._nodes[tensor.rpartition(":")[0]] for tensor in read]
                if node.op in ("Const", "NoOp"):
                    waiting += [self._nodes[name[1:]] for name in node.input if name.startswith("^")]
        return needed

    def _varies(self, node: Any) -> bool:
        """Whether a node depends on the inputs, were it only on their shapes."""
        return node.name in self._varying

    @cached_property
    def _counts(self) -> bool:
        """Whether the sizes of some tensors follow from the values of others."""
        return any(node.op in COUNTING for node in self._def.node)

    def _is_held(self, node: Any) -> bool:
        """Whether a node waits for one that varies: as a constant does that is made in every round of a loop anew."""
        return node.name in self._held

    @cached_property
    def _held(self) -> frozenset[str]:
        found, before = set[str](), -1
        while len(found) != before:
            before = len(found)
            for node in self._def.node:
                waits_for = (name[1:] for name in node.input if name.startswith("^"))
                if any(name in found or name in self._varying for name in waits_for):
                    found.add(node.name)
        return frozenset(found)

    @cached_property
    def _varying(self) -> frozenset[str]:
        found, before = set[str](), -1
        while len(found) != before:  # a loop leads back to what comes before
            before = len(found)
            for node in self._in_order:
                names = (tensor.rpartition(":")[0] for tensor in self.read_by(node))
                if self._is_input(node) or node.op in LOOPS or any(name in found for name in names):
                    found.add(node.name)
        return frozenset(found)

    def _tensor(self, name: str) -> Any:
        return self._graph.get_tensor_by_name(name)


class _Constants(Mapping[str, Array]):
    """The values of constants by their tensors; those that follow from others are worked out by TensorFlow, those that
    steps read all at once."""

    def __init__(
        self,
        made: Mapping[str, Any],
        large: Mapping[str, Array],
        steps: Sequence[Step],
        folded: Sequence[Step],
        shapes: Mapping[str, tuple[int | None, ...]],
        compute: Compute,
    ) -> None:
        self._made = made
        self._large = large
        self._folded = folded
        self._read = {tensor for step in steps for tensor in step.inputs}
        self._shapes = shapes
        self._compute = compute
        self._values: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        node = self._made[name]
        if node is not None and node.name in self._large:
            return self._large[node.name]
        if name not in self._values:
            if node is not None:
                self._values[name] = np.asarray(tf.make_ndarray(node.attr["value"].tensor))
            else:
                self._work_out(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._made

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def _work_out(self, name: str) -> None:
        known = {step.outputs[0]: self._of_shape(step) for step in self._folded if step.op in OF_SHAPES}
        left = [tensor for step in self._folded if step.op not in OF_SHAPES for tensor in step.outputs]
        wanted = [each for each in left if each == name or (each in self._read and each not in self._values)]
        self._values |= known
        self._values |= self._compute(wanted, known) if wanted else {}

    def _of_shape(self, step: Step) -> Array:
        """What an operation of shapes makes."""
        shape = np.asarray(self._shapes[step.inputs[0]], step.attributes.get("out_type", "int32"))
        if step.op == "Shape":
            return shape
        return np.asarray(shape.size if step.op == "Rank" else np.prod(shape), shape.dtype)


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


def _const(name: str, value: Array) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _size(shape: Any) -> int:
    return int(np.prod([dim.size for dim in shape.dim], dtype=np.int64))


def _own(name: str) -> str:
    """The node or argument that a name in a function is of: `convolution` of `convolution:output:0`."""
    return name.partition(":")[0]


def _tensor(name: str) -> str:
    """The name of a tensor as a graph has it, for how a node writes what it reads."""
    return name if ":" in name or name.startswith("^") else f"{name}:0"
