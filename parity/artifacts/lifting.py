"""A program as a graph of operations that parity knows: Keras layers where a step is one, opaque operations elsewhere.

What is lifted is never where a value comes from: it says which layer a step is, with which weights and settings, and
what the layer would give if something in it were otherwise. Each format has rules of its own, one for the operation
that a pattern begins with; a rule may take the steps after it along, such as the addition of a bias. Whatever a rule
makes must have the shape that the file has there, or the step stays opaque.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from parity.artifacts.names import names_of
from parity.artifacts.program import Engine, Program, Step
from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.runners.graphs import Arguments, Firing, Graph


@dataclass(frozen=True, kw_only=True)
class Lifted:
    """A program's graph. `tensors` has the file's tensor of each symbolic one, by its id; `orders` for a tensor that
    the file keeps in other axes than the graph the permutation from the file's to the graph's; `fused` what was made
    part of another step, by name, and the name of the tap that it is in."""

    graph: Graph
    tensors: Mapping[int, str]
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a rule makes of a step and those that it takes along: `call`, a Keras layer or a function of `keras.ops`,
    called on the symbolic tensors of what it `reads`, has the value of `tensor`.

    `weights` are the layer's, in Keras's order, once it is built. Where the axes of the value, or of `tensor`, differ
    from the file's, `order` is the permutation from the file's axes to the graph's. `fused` names what the file holds
    in the step although it is an operation of its own in the source.
    """

    call: Callable[..., Any]
    reads: tuple[str, ...]
    tensor: str
    steps: tuple[Step, ...]
    weights: tuple[Array, ...] = ()
    order: tuple[int, ...] | None = None
    fused: tuple[str, ...] = ()


Rule = Callable[[Step, "View"], Made | None]
"""What a step is, with those that it takes along; None where it is nothing that parity knows."""


def first(*rules: Rule) -> Rule:
    """The rule that gives what the first of several knows: those that take most steps along come first."""
    return lambda step, view: next(filter(None, (rule(step, view) for rule in rules)), None)


@dataclass(frozen=True)
class View:
    """What a rule sees of a program."""

    program: Program

    def constant(self, tensor: str) -> Array | None:
        """The value of a tensor that does not depend on the inputs; None for another."""
        return self.program.constants.get(tensor)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The sizes of a tensor."""
        return tuple(int(size or 0) for size in self.program.shapes[tensor])

    def maker(self, tensor: str) -> Step | None:
        """The step that makes a tensor."""
        return self._makers.get(tensor)

    def readers(self, tensor: str) -> Sequence[Step]:
        """The steps that read a tensor."""
        return self._readers.get(tensor, ())

    def next(self, step: Step, *ops: str) -> Step | None:
        """The one step that reads a step's only value, if it is one of `ops` and nobody else sees the value."""
        tensor = step.outputs[0]
        readers = self.readers(tensor)
        alone = len(readers) == 1 and tensor not in self.program.outputs.values()
        return readers[0] if alone and readers[0].op in ops else None

    @cached_property
    def _makers(self) -> Mapping[str, Step]:
        return {tensor: step for step in self.program.steps for tensor in step.outputs}

    @cached_property
    def _readers(self) -> Mapping[str, list[Step]]:
        found: dict[str, list[Step]] = {}
        for step in self.program.steps:
            for tensor in dict.fromkeys(step.inputs):
                found.setdefault(tensor, []).append(step)
        return found


def lifted(engine: Engine, program: Program) -> Lifted:
    """The graph of a program whose sizes are all known. Raises PairError for one that computes nothing."""
    return _Lifting(engine, program, engine.rules).lifted()


class _Lifting:
    """One program on its way to a graph."""

    def __init__(self, engine: Engine, program: Program, rules: Mapping[str, Rule]) -> None:
        self._engine = engine
        self._program = program
        self._rules = rules
        self._view = View(program)
        self._symbols: dict[str, Any] = {}
        self._orders: dict[str, tuple[int, ...]] = dict(program.orders)
        self._firings: list[tuple[Firing, tuple[Step, ...]]] = []
        self._fused: dict[str, Firing] = {}

    def lifted(self) -> Lifted:
        """Lift every step, then name what was made."""
        inputs = {name: self._symbol(tensor, name) for name, tensor in self._program.inputs.items()}
        done: set[str] = set()
        for step in self._needed():
            if step.name not in done:
                made = self._known(step) or self._opaque(step)
                done.update(each.name for each in made)
        missing = [name for name, tensor in self._program.outputs.items() if tensor not in self._symbols]
        if missing or not self._firings:
            raise PairError(f"the file's output {missing[0] if missing else ''} does not depend on its inputs")
        nodes = self._named()
        outputs = {name: self._symbols[tensor] for name, tensor in self._program.outputs.items()}
        names = {id(firing): firing.name for firing in nodes}
        return Lifted(
            graph=Graph(
                model=self._engine,
                args=tuple(inputs.values()) if len(inputs) == 1 else (),
                kwargs=inputs if len(inputs) != 1 else {},
                result=next(iter(outputs.values())) if len(outputs) == 1 else outputs,
                nodes=nodes,
            ),
            tensors={id(symbol): tensor for tensor, symbol in self._symbols.items()},
            orders=self._orders,
            fused={
                name: names.get(id(firing), firing.name)
                for name, firing in self._fused.items()
                if name not in names.values()
            },
        )

    def _needed(self) -> list[Step]:
        """The steps that the outputs depend on, but for what is constant, in the file's order."""
        wanted, needed = set(self._program.outputs.values()), []
        for step in reversed(self._program.steps):
            if wanted & set(step.outputs):
                wanted.update(tensor for tensor in step.inputs if tensor and tensor not in self._program.constants)
                needed.append(step)
        return needed[::-1]

    def _symbol(self, tensor: str, name: str = "") -> Any:
        if tensor not in self._symbols:
            shape, order = self._view.shape(tensor), self._orders.get(tensor)
            shape = shape if order is None else tuple(shape[axis] for axis in order)
            self._symbols[tensor] = keras.KerasTensor(shape, dtype=self._dtype(tensor), name=name or tensor)
        return self._symbols[tensor]

    def _dtype(self, tensor: str) -> str:
        """What a tensor's values are: real numbers where it is stored on a grid."""
        return "float32" if tensor in self._program.grids else self._program.dtypes[tensor]

    def _known(self, step: Step) -> tuple[Step, ...]:
        """Fire what a rule makes of a step; the steps that are done by it, none where there is no such thing."""
        rule = self._rules.get(step.op)
        try:
            made = rule(step, self._view) if rule else None
            fired = made and self._fired(made)
        except Exception:  # a file of somebody else's may have any attribute; what is not understood stays opaque
            return ()
        if not made or not fired:
            return ()
        self._keep(fired, made.steps)
        self._fused |= dict.fromkeys(made.fused, fired)
        return made.steps

    def _fired(self, made: Made) -> Firing | None:
        """The firing of what a rule makes; None where it has another shape than the file."""
        result = made.call(*(self._symbols[tensor] for tensor in made.reads))
        history = result._keras_history
        operation, node = history.operation, history.operation._inbound_nodes[history.node_index]
        own, order = self._view.shape(made.tensor), made.order or self._orders.get(made.tensor)
        if tuple(result.shape) != (own if order is None else tuple(own[axis] for axis in order)):
            return None
        if made.weights:
            operation.set_weights([np.asarray(weight, np.float32) for weight in made.weights])
        arguments = Arguments(node.arguments.args, node.arguments.kwargs)
        if {id(tensor) for tensor in arguments.keras_tensors} - {id(symbol) for symbol in self._symbols.values()}:
            return None
        if made.order is not None:
            self._orders[made.tensor] = made.order
        self._symbols[made.tensor] = result
        return Firing(operation=operation, arguments=arguments, outputs=[result], name=made.tensor)

    def _opaque(self, step: Step) -> tuple[Step, ...]:
        """A step that parity does not know: run by the file's own engine."""
        reads = [tensor for tensor in dict.fromkeys(step.inputs) if tensor and tensor not in self._program.constants]
        orders = {tensor: self._orders[tensor] for tensor in (*reads, *step.outputs) if tensor in self._orders}
        operation = opaque(self._engine, step, reads, orders)
        symbols = tuple(self._symbols[tensor] for tensor in reads)
        outputs = [self._symbol(tensor) for tensor in step.outputs]
        self._keep(
            Firing(operation=operation, arguments=Arguments(symbols, {}), outputs=outputs, name=step.name), (step,)
        )
        return (step,)

    def _keep(self, firing: Firing, steps: tuple[Step, ...]) -> None:
        self._firings.append((firing, steps))

    def _named(self) -> tuple[Firing, ...]:
        """The firings, each under the name of its tap; its operation too."""
        weighted = [bool(getattr(firing.operation, "weights", ())) for firing, _ in self._firings]
        names = names_of([steps[-1].name for _, steps in self._firings], weighted, list(self._fused))
        self._fused = dict(zip(names[len(weighted) :], self._fused.values(), strict=True))
        found = []
        for (firing, _), name in zip(self._firings, names, strict=False):
            firing.operation.name = name.replace("/", ".")
            object.__setattr__(firing, "name", name)
            found.append(firing)
        return tuple(found)


class Opaque(keras.Operation):  # type: ignore[misc]
    """A step that parity does not know: its value is what the file's engine makes of what it reads."""

    def __init__(self, engine: Engine, step: Step, reads: Sequence[str], orders: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self._engine = engine
        self._step = step
        self._reads = tuple(reads)
        self._orders = orders
        if _computes_with_weights(engine.program, step):
            self.reads_weights = True

    def call(self, *values: Any) -> Any:
        """The step's values by the file's own kernels. Raises PairError where they refuse."""
        known = {name: self._stored(name, np.asarray(value)) for name, value in zip(self._reads, values, strict=True)}
        made = [self._seen(tensor, self._engine.part(known, tensor)) for tensor in self._step.outputs]
        return made[0] if len(made) == 1 else made

    def _stored(self, name: str, value: Array) -> Array:
        order = self._orders.get(name)
        return value if order is None else value.transpose(np.argsort(order))

    def _seen(self, name: str, value: Array) -> Any:
        order = self._orders.get(name)
        return tf.convert_to_tensor(value if order is None else value.transpose(order))

    def __call__(self, *values: Any) -> Any:
        """The same, without what Keras would do around it."""
        return self.call(*values)


def opaque(engine: Engine, step: Step, reads: Sequence[str], orders: Mapping[str, tuple[int, ...]]) -> Opaque:
    """A step as an operation whose kind is what the file calls it; `orders` are those of its tensors."""
    kind = type(step.op.rpartition(".")[2] or "Step", (Opaque,), {})
    made: Opaque = kind(engine, step, reads, orders)
    return made


def _computes_with_weights(program: Program, step: Step) -> bool:
    """Whether a step reads constants that may be a layer's kernel: numbers along two axes or more."""
    read = (*step.inputs, *step.attributes.get("constants", ()))
    shapes = (program.shapes.get(name) or () for name in read if name in program.constants)
    return any(sum(size not in (None, 1) for size in shape) > 1 for shape in shapes)
