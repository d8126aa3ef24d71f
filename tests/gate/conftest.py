"""Files that could go out: the small classifier `mlp`, as parity exports it."""

from pathlib import Path

import pytest

from parity.export import FORMATS, served, write
from parity.models import Settings, load
from parity.verification import Verifier


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The port of `mlp` with its reference's weights, by kind of file."""
    folder = tmp_path_factory.mktemp("artifacts")
    pair, (given, *_) = load("mlp", Settings())
    port = Verifier(pair).filled(given).port
    found = {"keras": folder / "mlp.keras", "pb": folder / "mlp.pb"}
    for kind, path in found.items():
        write(FORMATS[kind], served(port, free=kind == "pb"), path)
    return found


@pytest.fixture(scope="session")
def faulty(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frozen graph of `mlp`, the largest constant of its file made one hundredth larger."""
    from parity.frameworks import tf

    graph = tf.compat.v1.GraphDef.FromString(artifacts["pb"].read_bytes())
    weights = max((node for node in graph.node if node.op == "Const"), key=lambda node: node.ByteSize())
    values = tf.make_ndarray(weights.attr["value"].tensor) * 1.01
    weights.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    path = tmp_path_factory.mktemp("faulty") / "mlp.pb"
    path.write_bytes(graph.SerializeToString())
    return path
