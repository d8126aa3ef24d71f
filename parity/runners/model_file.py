"""A Keras model from its file, without running code that is stored in it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parity.errors import PairError
from parity.frameworks import keras


def loaded(path: Path) -> Any:
    """The model in a `.keras` file, whatever its name ends with. Raises PairError where Keras can load none."""
    try:
        with _called_keras(path) as named:
            return keras.models.load_model(named, safe_mode=True, compile=False)
    except Exception as error:  # what is wrong in a file can be anything where Keras builds from it
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise PairError(f"cannot load {path} as a Keras model: {said}") from error


@contextmanager
def _called_keras(path: Path) -> Iterator[Path]:
    """A name for a file that ends as Keras wants it: its own, or that of a link to it."""
    if path.suffix == ".keras":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "model.keras")
        link.symlink_to(path.resolve())
        yield link
