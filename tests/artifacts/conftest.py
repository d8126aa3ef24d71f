"""What the tests of artifacts share: a tiny network as a file of each kind, and FlowNet2-SD as a graph, made once."""

import os
from pathlib import Path

import pytest
import tiny
from filelock import FileLock

from parity.converters import transfer
from parity.export import FORMATS, served, write
from parity.models.flownet import build_port, layer_map, seeded


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny network as a file of each kind, by the kind. They are not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: tiny.written(kind, folder) for kind in tiny.WORDS}


@pytest.fixture(scope="session")
def flownet_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FlowNet2-SD of seed 0 for 64 x 64 pixels as a frozen graph. It is not to be changed.

    Workers share it: the first that needs it makes it, in the folder that has those of all workers.
    """
    own = tmp_path_factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "flownet.pb"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            model = build_port(64, 64)
            transfer(seeded(0), model, layer_map())
            write(FORMATS["pb"], served(model, free=True), path)
    return path
