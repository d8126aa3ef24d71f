"""Reads the values of a functional model in its own eager run, as its user runs it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from parity.axes import Array
from parity.frameworks import keras
from parity.runners.edits import nodes_of
from parity.runners.segments import Segment, tell_untraced
from parity.runners.taps import Positions, sample
from parity.runners.tensors import as_array
from parity.watch import PORT, Step


class Reader:
    """Reads values in a functional model's own run. Eager tensors are never written into, so a value may be read when
    it is made, and the run goes on with the very same."""

    def __init__(
        self, graph: Any, segments: Sequence[Segment], wanted: Sequence[Positions], show: Callable[[int], None]
    ) -> None:
        self.samples: dict[str, Array] = {}
        self._graph = graph
        self._show = show
        self._expected = deque(node for node in nodes_of(graph) if node.operation and not node.is_input)
        self._lost = False
        self._reads: dict[int, list[tuple[Segment, Positions]]] = {}
        for segment, places in zip(segments, wanted, strict=True):
            self._reads.setdefault(segment.tap.key, []).append((segment, places))

    @property
    def saw_all(self) -> bool:
        """Whether the model ran the operations of its graph, in their order, and nothing else."""
        return not self._lost and not self._expected

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While the block runs, the graph shows each value that its own run makes."""
        run = self._graph._run_through_graph

        def shown(inputs: Any, operation_fn: Any = lambda operation: operation, call_fn: Any = None) -> Any:
            return run(inputs, lambda operation: self._read(operation, operation_fn(operation)), call_fn)

        vars(self._graph)["_run_through_graph"] = shown
        try:
            yield
        finally:
            del vars(self._graph)["_run_through_graph"]

    def _read(self, operation: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            node = self._expected.popleft() if self._expected else None
            self._lost = self._lost or getattr(node, "operation", None) is not operation
            reads = [self._reads.get(id(tensor), []) for tensor in getattr(node, "outputs", ()) if not self._lost]
            name = next((segment.tap.name for each in reads for segment, _ in each), operation.name)
            tell_untraced(Step(side=PORT, doing=f"running {name!r}"))
            made = call(*args, **kwargs)
            for each, value in zip(reads, keras.tree.flatten(made), strict=False):
                for segment, places in each:
                    self._show(len(self.samples))
                    self.samples[segment.layer] = sample(as_array(value), places)
            return made

        return called
