"""What the tests of artifacts share: a tiny network as a file of each kind, made once."""

from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny network as a file of each kind, by the kind. They are not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: tiny.written(kind, folder) for kind in tiny.WORDS}
