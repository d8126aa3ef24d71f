"""How a file is refused, for the tests of each kind of file."""

from pathlib import Path
from typing import Any

import pytest

from parity.artifacts.files import checked
from parity.errors import ArtifactError

Files = dict[str, Path]


def refusal(path: Path, **options: Any) -> str:
    """What is said when a file is refused; the sentence names it, and is one line."""
    with pytest.raises(ArtifactError) as caught:
        checked(path, **options)
    said = str(caught.value)
    assert said.startswith((f"{path} ", f"cannot read {path}"))
    assert "\n" not in said
    assert caught.value.exit_code == 3
    return said.removeprefix(f"{path} ")
