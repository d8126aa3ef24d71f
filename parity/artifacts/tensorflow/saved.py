"""SavedModels: run whole by the signature that they are served with, seen through a frozen copy of that signature.

The values of what ships are those of the loaded signature itself. It cannot be watched or cut, so taps and parts are
those of a copy of it in which the variables are constants; a report says so, and holds the two against each other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.artifacts.files import SAVED_MODEL
from parity.artifacts.program import Engine
from parity.artifacts.tensorflow.engine import GraphEngine, in_a_line, refusals
from parity.axes import Array
from parity.errors import ArtifactError
from parity.frameworks import quiet, tf, with_constants

SERVED = "serving_default"
"""The signature that is served where nobody asks for another."""


def opened(path: Path) -> Engine:
    """The engine of a SavedModel. Raises ArtifactError for what TensorFlow cannot load, or for several signatures of
    which none is the usual one."""
    try:
        with quiet():
            model = tf.saved_model.load(str(path))
    except Exception as error:  # a broken file may fail anywhere in TensorFlow
        raise ArtifactError(f"TensorFlow cannot load the SavedModel {path}: {in_a_line(error)}") from error
    name = _signature(path, list(getattr(model, "signatures", None) or {}))
    return SavedEngine(model, name, str(path))


def _signature(path: Path, names: Sequence[str]) -> str:
    """The usual signature, or the only one."""
    if not names:
        raise ArtifactError(f"the SavedModel {path} has no signature to be run by")
    if SERVED not in names and len(names) > 1:
        raise ArtifactError(f"the SavedModel {path} has the signatures {', '.join(names)}, and none called {SERVED}")
    return SERVED if SERVED in names else names[0]


class SavedEngine(GraphEngine):
    """A loaded SavedModel, run by one of its signatures. Raises ArtifactError for one that cannot be frozen."""

    format = SAVED_MODEL

    def __init__(self, model: Any, name: str, source: str) -> None:
        self._model = model  # its variables live as long as it does
        self._signature = model.signatures[name]
        self.signature = name
        frozen = _frozen(self._signature, source)
        taken = sorted(self._signature.structured_input_signature[1])
        given = sorted(self._signature.structured_outputs)
        super().__init__(
            frozen.graph.as_graph_def(),
            source,
            inputs={key: tensor.name for key, tensor in zip(taken, frozen.inputs, strict=True)},
            outputs={key: tensor.name for key, tensor in zip(given, frozen.outputs, strict=True)},
        )

    @property
    def versions(self) -> Mapping[str, str]:
        """The engine and its version."""
        return {"engine": f"TensorFlow {tf.__version__}, tf.saved_model.load"}

    @property
    def notes(self) -> Sequence[str]:
        """Where the taps come from."""
        return (f"layers are those of a frozen copy of the signature {self.signature!r}, outputs those of it itself",)

    def whole(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by their tensors, of the loaded signature."""
        with refusals(self.source):
            made = self._signature(**{name: tf.constant(arrays[tensor]) for name, tensor in self.inputs.items()})
        return {self._reading.plain(tensor): np.asarray(made[name]) for name, tensor in self.outputs.items()}


def _frozen(signature: Any, source: str) -> Any:
    """The signature with its variables as constants and its functions opened."""
    try:
        with quiet():
            return with_constants(signature)
    except Exception as error:  # it is not TensorFlow's public API, and may fail in any way
        raise ArtifactError(
            f"the signature of {source} cannot be frozen to be looked into: {in_a_line(error)}"
        ) from error
