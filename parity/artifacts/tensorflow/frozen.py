"""Frozen graphs (.pb): a GraphDef with its weights as constants, run by a Session, which the C++ API drives too."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.artifacts.files import FROZEN
from parity.artifacts.program import Engine
from parity.artifacts.tensorflow.engine import GraphEngine, imported, in_a_line, run, session_of
from parity.axes import Array
from parity.errors import ArtifactError
from parity.frameworks import tf


def opened(path: Path) -> Engine:
    """The engine of a frozen graph. Raises ArtifactError for a file that holds none that TensorFlow can load."""
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except Exception as error:  # the protobuf library's own DecodeError, which is none of TensorFlow's
        raise ArtifactError(f"{path} holds no TensorFlow graph: {in_a_line(error)}") from error
    return FrozenEngine(graph, str(path))


class FrozenEngine(GraphEngine):
    """A frozen graph, and the Session that runs it as it is. Raises ArtifactError where TensorFlow does not take it."""

    format = FROZEN

    def __init__(self, graph_def: Any, source: str) -> None:
        super().__init__(graph_def, source)
        self._whole = session_of(imported(graph_def, source))

    @property
    def versions(self) -> Mapping[str, str]:
        """The engine and its version."""
        return {"engine": f"TensorFlow {tf.__version__}, tf.compat.v1.Session"}

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by their tensors, of one run of the graph as it is."""
        made = run(self._whole, {tensor: tensor for tensor in self.outputs.values()}, arrays, self.source)
        return {self._reading.plain(tensor): made[tensor] for tensor in self.outputs.values()}
