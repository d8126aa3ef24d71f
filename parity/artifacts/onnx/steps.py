"""An ONNX model as steps in the axes of its inputs: what only moves channels to and fro is left out.

Converters move images to channels-first in front of a convolution and back behind it, since ONNX has no other
convolutions. These moves are no part of the network. Each tensor between two of them has an order: the permutation from
the axes that the file keeps it in to those that it would have without the moves. So a value there can be compared with
one of a port that never moved it.

A convolution that pads other than "same" is two steps, as it is in Keras: the padding and the convolution. The file has
no tensor between them; the padded value is made beside it when it is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from parity.artifacts.onnx.file import STANDARD, OnnxFile
from parity.artifacts.program import Step

Order = tuple[int, ...]

AS_READ, FUSED = "tensors as read", "joined into it"
"""Attributes of a step that the file does not have: the names in the file of the tensors that it reads (`Step.inputs`
has them without the moves), and the names of operations that the converter made part of it."""

WINDOWS = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"})
IMAGES = WINDOWS | {
    "BatchNormalization", "InstanceNormalization", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "LRN",
}  # fmt: skip
"""Operators that take the channels of an image to be its second axis."""

# fmt: off
EACH_ALONE = frozenset({
    "Abs", "Cast", "Ceil", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log",
    "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Tanh",
    "ThresholdedRelu",
})
"""Operators that look at each number alone."""
# fmt: on

TOGETHER = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "PRelu", "Where"})
"""Operators that combine numbers at the same place, after spreading out the smaller."""

ALONG_AXES = frozenset({
    "Concat", "Pad", "Slice", "Softmax", "LogSoftmax", "Split",
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceProd",
})  # fmt: skip
"""Operators that name the axes which they work along, and leave them where they are."""

PASSES_ON = frozenset({"Identity", "Dropout"})
OF_SHAPES = frozenset({"Shape", "Size"})
NEVER_CONSTANT = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)

Sizes = Mapping[str, tuple[tuple[int | None, ...] | None, int]]


@dataclass(frozen=True, kw_only=True)
class Padded:
    """A value that the file never makes: what a convolution reads, with the zeros around it that it adds itself."""

    read: str
    pads: tuple[int, ...]
    node: Any


@dataclass
class Steps:
    """What a file computes on inputs of known sizes.

    `plain` has for each tensor the one that it is a copy of, its axes moved; `orders` the order of each tensor that the
    file keeps in other axes; `of_sizes` the constants that are so only because the sizes of tensors are known.
    """

    file: OnnxFile
    sizes: Sizes
    plain: dict[str, str] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    folded: list[Step] = field(default_factory=list)
    padded: dict[str, Padded] = field(default_factory=dict)
    of_sizes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Go through the nodes in their order, in which each comes after those that it reads."""
        self._constant = set(self.file.constant_names)
        self._names: set[str] = set()
        for node in self.file.nodes:
            if node.output and node.output[0] not in self.file.constant_names:
                self._add(node)
        if self.file.proto.producer_name == "tf2onnx":
            self.steps = self._as_read()

    def _as_read(self) -> list[Step]:
        """The steps in the order in which the outputs read them, the first of what a step reads first.

        That is how the network was written; tf2onnx writes nodes in another order.
        """
        makers = {tensor: step for step in self.steps for tensor in step.outputs}
        order: dict[str, Step] = {}
        for end in [*(self.plain.get(name, name) for name in self.file.outputs), *makers]:
            waiting = [(makers[end], False)] if end in makers else []
            while waiting:
                step, ready = waiting.pop()
                if ready:
                    order.setdefault(step.outputs[0], step)
                elif step.outputs[0] not in order:
                    waiting.append((step, True))
                    waiting += [(makers[name], False) for name in reversed(step.inputs) if name in makers]
        return list(order.values())

    @property
    def constant(self) -> frozenset[str]:
        """The tensors that do not depend on the values of the inputs."""
        return frozenset(self._constant)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The sizes of a tensor as the file keeps it; None where one is not known."""
        found = self.sizes.get(name, (None, 0))[0]
        return None if found is None or None in found else tuple(int(size or 0) for size in found)

    def order(self, name: str) -> Order | None:
        """The order of a tensor; None where it is in the axes of the inputs."""
        return self.orders.get(name)

    def _add(self, node: Any) -> None:
        op = node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
        reads = [name for name in dict.fromkeys(self.file.read_by(node)) if name]
        if self._is_constant(op, reads):
            self._constant.update(node.output)
            if op in OF_SHAPES or self.of_sizes & set(reads):
                self.of_sizes.update(node.output)
            self.folded.append(self._step(op, node))
        elif op in PASSES_ON or (op == "Cast" and self._same_type(node)):
            self._pass_on(node, self.orders.get(node.input[0]))
        elif op in ("Transpose", "Reshape") and self._is_left_out(op, node):
            pass
        elif op == "Conv" and (pads := self._pads(node)):
            self._split(node, pads)
        else:
            self._computes(op, node)

    def _is_constant(self, op: str, reads: Sequence[str]) -> bool:
        if op in OF_SHAPES:
            return self.shape(reads[0]) is not None
        return op not in NEVER_CONSTANT and bool(reads) and all(name in self._constant for name in reads)

    def _computes(self, op: str, node: Any) -> None:
        order = self._order_of(op, node)
        if order is not None:
            self.orders |= dict.fromkeys((name for name in node.output if name), order)
        self.steps.append(self._step(op, node))

    def _order_of(self, op: str, node: Any) -> Order | None:
        """The order of what a node makes of tensors in theirs."""
        data = [name for name in node.input if name and name not in self._constant]
        orders = {self.orders.get(name) for name in data}
        if op in IMAGES or op in EACH_ALONE or (op in ALONG_AXES and self._keeps_rank(op, node)):
            data = data if op == "Concat" else data[:1]
            orders = {self.orders.get(name) for name in data}
            return next(iter(orders)) if len(orders) == 1 and (op != "Concat" or len(data) == len(node.input)) else None
        if op in TOGETHER and len(orders) == 1 and len({self._rank(name) for name in data}) == 1:
            return next(iter(orders))
        return None

    def _keeps_rank(self, op: str, node: Any) -> bool:
        return not op.startswith("Reduce") or bool(self.file.attributes(node).get("keepdims", 1))

    def _step(self, op: str, node: Any) -> Step:
        within = [name for name in self.file.read_by(node) if name not in node.input]  # of a loop, or of branches
        reads = (*node.input, *dict.fromkeys(within))
        attributes = {**self.file.attributes(node), AS_READ: reads, FUSED: self._joined(node)}
        return Step(
            op=op,
            name=self._name(node),
            inputs=tuple(self.plain.get(name, name) for name in reads),
            outputs=tuple(name for name in node.output if name),
            attributes=attributes,
        )

    def _same_type(self, node: Any) -> bool:
        return self.sizes.get(node.input[0], (None, 0))[1] == self.file.attributes(node).get("to")

    def _rank(self, name: str) -> int:
        found = self.sizes.get(name, (None, 0))[0]
        return 0 if found is None else len(found)

    # -- moves ---------------------------------------------------------------------------------------------------------

    def _pass_on(self, node: Any, order: Order | None) -> None:
        read, made = node.input[0], node.output[0]
        self.plain[made] = self.plain.get(read, read)
        if order is not None:
            self.orders[made] = order

    def _is_left_out(self, op: str, node: Any) -> bool:
        if op == "Reshape":
            return self._moves_by_reshaping(node)
        return self._moves(node, _permutation(self.file.attributes(node), self._rank(node.input[0])))

    def _moves(self, node: Any, permutation: Order | None) -> bool:
        """Whether a node moves channels to the front for an operator that wants them there, or back; it is left out."""
        read, made = node.input[0], node.output[0]
        if permutation is None or len(permutation) < 3:
            return False
        order = self.orders.get(read)
        back = tuple(range(len(permutation)))
        after = tuple(int(axis) for axis in np.argsort(permutation)[list(order or back)])
        if order is None:
            wanted = permutation == _to_front(len(permutation)) and self._is_for_images(made)
        else:
            wanted = after == back
        if wanted:
            self._pass_on(node, None if after == back else after)
            if after == back:
                self._give_name(node)
        return wanted

    def _moves_by_reshaping(self, node: Any) -> bool:
        """The same for a Reshape: one that changes nothing, or moves only axes of length one."""
        before, after = self.shape(node.input[0]), self.shape(node.output[0])
        if before is None or after is None or len(before) != len(after):
            return False
        if before == after:
            self._pass_on(node, self.orders.get(node.input[0]))
            return True
        front = _to_front(len(before))
        for permutation in (front, tuple(int(axis) for axis in np.argsort(front))):
            moved = tuple(before[axis] for axis in permutation)
            if moved == after and _stays_in_memory(before, permutation) and self._moves(node, permutation):
                return True
        return False

    def _is_for_images(self, name: str) -> bool:
        """Whether an operator for images reads a tensor, or reads what is made of it number by number."""
        for node in self._readers.get(name, ()):
            if node.op_type in IMAGES:
                return True
            alike = node.op_type in EACH_ALONE | TOGETHER | ALONG_AXES
            if alike and any(self._is_for_images(made) for made in node.output):
                return True
        return False

    @cached_property
    def _readers(self) -> Mapping[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for node in self.file.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    # -- padding -------------------------------------------------------------------------------------------------------

    def _pads(self, node: Any) -> tuple[int, ...]:
        """What a convolution pads, where that is something and is not "same"; nothing else."""
        attributes, shape = self.file.attributes(node), self.shape(node.input[0])
        pads = tuple(attributes.get("pads", ()))
        given = attributes.get("auto_pad", "NOTSET") == "NOTSET" and any(pads) and min(pads) >= 0
        if not given or shape is None or self.shape(node.input[1]) is None:
            return ()
        return () if pads == same_pads(shape[2:], self._kernel(node, attributes), attributes) else pads

    def _kernel(self, node: Any, attributes: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(attributes.get("kernel_shape") or (self.shape(node.input[1]) or ())[2:])

    def _split(self, node: Any, pads: tuple[int, ...]) -> None:
        read, made = node.input[0], f"{node.output[0]} padded"
        shape, half = self.shape(read) or (), len(pads) // 2
        sizes = tuple(size + pads[i] + pads[half + i] for i, size in enumerate(shape[2:]))
        name = self._name(node)
        self.padded[made] = Padded(read=read, pads=(0, 0, *pads[:half], 0, 0, *pads[half:]), node=node)
        self.sizes = {**self.sizes, made: ((*shape[:2], *sizes), self.sizes[read][1])}
        order = self.orders.get(read)
        if order is not None:
            self.orders |= {made: order, node.output[0]: order}
        attributes = {"mode": "constant", "pads": list(self.padded[made].pads), AS_READ: (read,)}
        pad_name = self._apart(f"{name.rpartition('/')[0] or name}/Pad")
        self.steps.append(
            Step(op="Pad", name=pad_name, inputs=(self.plain.get(read, read),), outputs=(made,), attributes=attributes)
        )
        convolution = self.file.attributes(node) | {"pads": [0] * len(pads), FUSED: self._joined(node)}
        reads = (made, *node.input[1:])
        self.steps.append(
            Step(
                op="Conv", name=name, inputs=reads, outputs=(node.output[0],), attributes=convolution | {AS_READ: reads}
            )
        )

    # -- names ---------------------------------------------------------------------------------------------------------

    def _name(self, node: Any) -> str:
        """What a node is called; one that a converter has named by its operator alone is called by its weights, the
        last that were joined."""
        own = str(node.name or node.output[0])
        weights = [_operation(name) for name in node.input[1:3] if name in self._constant and "/" in name]
        if "/" not in own and weights:
            own = weights[-1] if self._joined(node) else weights[0]
        return self._apart(own)

    def _joined(self, node: Any) -> tuple[str, ...]:
        """The operation that a converter has joined into a convolution, where its weights are of one layer, and the
        bias of another: a batch norm's."""
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.input) < 3:
            return ()
        kernel, bias = (_operation(name) for name in node.input[1:3])
        scopes = [f"{name.rpartition('/')[0]}/" for name in (kernel, bias)]
        apart = not (scopes[0].startswith(scopes[1]) or scopes[1].startswith(scopes[0]))
        return (kernel,) if "/" in kernel and "/" in bias and apart else ()

    def _apart(self, name: str) -> str:
        """A name that no other step has."""
        found, number = name, 2
        while found in self._names:
            found, number = f"{name}#{number}", number + 1
        self._names.add(found)
        return found

    def _give_name(self, node: Any) -> None:
        """Let the step behind which a move was left out have its name, where it has none that says more."""
        if not self.steps or "/" not in node.name:
            return
        plain = self.plain[node.output[0]]
        for place, step in enumerate(self.steps):
            if plain in step.outputs and "/" not in step.name:
                named = Step(
                    op=step.op,
                    name=self._apart(node.name),
                    inputs=step.inputs,
                    outputs=step.outputs,
                    attributes=step.attributes,
                )
                self.steps[place] = named


def _operation(weight: str) -> str:
    """The operation that a constant was made by, by the constant's name."""
    return weight.partition(":")[0].removesuffix("/ReadVariableOp")


def same_pads(sizes: Sequence[int], kernel: Sequence[int], attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """What padding "same" puts before and after, as ONNX writes it and as TensorFlow defines it."""
    strides = attributes.get("strides") or [1] * len(sizes)
    dilations = attributes.get("dilations") or [1] * len(sizes)
    before, after = [], []
    for size, side, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (side - 1) + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return (*before, *after)


def _permutation(attributes: Mapping[str, Any], rank: int) -> Order | None:
    given = attributes.get("perm")
    return tuple(given) if given else tuple(reversed(range(rank))) if rank else None


def _to_front(rank: int) -> Order:
    return (0, rank - 1, *range(1, rank - 1))


def _stays_in_memory(shape: Sequence[int], permutation: Order) -> bool:
    """Whether only axes of length one change places."""
    long = [axis for axis in permutation if shape[axis] > 1]
    return long == sorted(long)


def moved(value: Any, source: Order | None, target: Order | None) -> Any:
    """A value in one order's axes, in those of another: both are the permutations to the same axes."""
    if source is not None:
        value = value.transpose(source)
    return value if target is None else value.transpose(np.argsort(target))


def steps_before(steps: Sequence[Step], wanted: str) -> Iterator[Step]:
    """The steps that a tensor needs, in their order."""
    needed, found = {wanted}, []
    for step in reversed(steps):
        if needed & set(step.outputs):
            needed |= set(step.inputs)
            found.append(step)
    yield from reversed(found)
