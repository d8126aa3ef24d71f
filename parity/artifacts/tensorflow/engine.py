"""Runs TensorFlow graphs in Sessions: as they are, watched, and cut into parts.

A graph in a Session of its own costs twice its weights, and each way to run it as much again. So the graph is run whole
as it is, and everything else is run on a graph of the same operations that is given its large constants.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np

from parity.artifacts.lifting import Rule
from parity.artifacts.program import Engine, Program
from parity.artifacts.tensorflow.reading import GraphReading, without_large
from parity.artifacts.tensorflow.rules import RULES
from parity.axes import Array
from parity.errors import ArtifactError, PairError
from parity.frameworks import tf
from parity.switches import thread_count


class GraphEngine(Engine):
    """A GraphDef without control over how it runs whole: what watches it and cuts it. `source` is where it is from.

    `inputs` and `outputs` have the tensors by the names that the file's user knows; as they are in the graph, where not
    given. Raises ArtifactError where TensorFlow does not take the graph.
    """

    format = ""

    def __init__(
        self,
        graph_def: Any,
        source: str,
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self._light, self._large = without_large(graph_def)
        self._graph = imported(self._light, source)
        self._session = session_of(self._graph)
        self._reading = GraphReading(self._light, self._large, self._graph, self._worked_out)
        self.inputs = dict(inputs) if inputs is not None else self._reading.placeholders()
        self.outputs = dict(outputs) if outputs is not None else self._reading.ends()
        if not self.inputs or not self.outputs:
            raise ArtifactError(f"the graph in {source} has no {'output' if self.inputs else 'input'}")
        self._given = {self._graph.get_tensor_by_name(f"{name}:0"): array for name, array in self._large.items()}
        self._shaped: Program | None = None
        self._seen: dict[str, Any] = {}
        self._cut: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """What operations of TensorFlow are lifted to."""
        return RULES

    @cached_property
    def program(self) -> Program:
        """The graph with the sizes that the file states."""
        return self._reading.program(self.format, self.inputs, self.outputs, shapes_of=self._graph)

    def shaped(self, shapes: Mapping[str, tuple[int, ...]]) -> Program:
        """The graph for inputs of these shapes, by their tensors. Raises PairError where it does not take them."""
        graph = _for_shapes(self._light, shapes, self.source)
        program = self._reading.program(self.format, self.inputs, self.outputs, shapes_of=graph)
        unknown = [
            tensor
            for step in program.steps
            for tensor in step.outputs
            if tensor not in program.shapes or None in program.shapes[tensor]
        ]
        if unknown:
            zeros = {name: np.zeros(shape, program.dtypes[name]) for name, shape in shapes.items()}
            found = {name: value.shape for name, value in self.watched(zeros, unknown).items()}
            program = self._reading.program(self.format, self.inputs, self.outputs, shapes_of=graph, found=found)
        self._shaped = program
        self._cut.clear()
        return program

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

    def _fetched(self, fetches: Mapping[str, Any], feeds: Mapping[Any, Array]) -> dict[str, Array]:
        return run(self._session, fetches, {**self._given, **feeds}, self.source)

    def _worked_out(self, tensors: Sequence[str], known: Mapping[str, Array]) -> Mapping[str, Array]:
        return self._fetched({name: name for name in tensors}, known)

    def _cut_at(self, segments: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tensors to give values to, and those that are made of them, beside the graph in its own Session."""
        key = tuple((tensor, tuple(anchors)) for tensor, anchors in segments.items())
        if key not in self._cut:
            with refusals(self.source):
                self._cut[key] = self._reading.cut(segments, self._shaped or self.program)
        return self._cut[key]


def imported(graph_def: Any, source: str) -> Any:
    """A GraphDef as a graph. Raises ArtifactError where TensorFlow does not take it."""
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
    except (ValueError, tf.errors.OpError, TypeError, KeyError) as error:
        raise ArtifactError(f"TensorFlow cannot load the graph in {source}: {in_a_line(error)}") from error
    return graph


def session_of(graph: Any) -> Any:
    """A Session on the CPU, with as many threads as everything else has."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=thread_count(),
        inter_op_parallelism_threads=thread_count(),
        device_count={"GPU": 0},
    )
    return tf.compat.v1.Session(graph=graph, config=config)


def run(session: Any, fetches: Mapping[str, Any], feeds: Mapping[Any, Array], source: str) -> dict[str, Array]:
    """Tensors of one run by the names of `fetches`. Raises PairError of one sentence where TensorFlow refuses."""
    with refusals(source):
        made = session.run(dict(fetches), feed_dict=dict(feeds))
    return {name: np.asarray(value) for name, value in made.items()}


@contextmanager
def refusals(source: str) -> Iterator[None]:
    """What TensorFlow refuses to run becomes a PairError of one sentence."""
    try:
        yield
    except (tf.errors.OpError, ValueError, TypeError, KeyError) as error:
        raise PairError(f"TensorFlow cannot run the graph in {source}: {in_a_line(error)}") from error


def in_a_line(error: Exception) -> str:
    """What an exception says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (line for line in lines if line != "Graph execution error:" and "Exception encountered" not in line)
    return next(said, type(error).__name__)


def _for_shapes(graph_def: Any, shapes: Mapping[str, tuple[int, ...]], source: str) -> Any:
    """A graph of the same nodes, in which the inputs have these shapes."""
    plain = tf.compat.v1.GraphDef()
    plain.CopyFrom(graph_def)
    for node in plain.node:
        if node.op == "Placeholder" and f"{node.name}:0" in shapes:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(shapes[f"{node.name}:0"]).as_proto())
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(plain, name="")
    except (ValueError, tf.errors.OpError) as error:
        given = ", ".join(f"{name.rpartition(':')[0]} {shape}" for name, shape in shapes.items())
        raise PairError(f"the graph in {source} does not take {given}: {in_a_line(error)}") from error
    return graph
