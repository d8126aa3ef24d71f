"""A served model as a file of each format, by the exporters that their users have: Keras's, TensorFlow's, tf2onnx.

Every function writes to the path that it is given and nowhere else; whole or not at all is the caller's business.
"""

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import ExportError
from parity.export.calibrated import converted
from parity.export.formats import Format
from parity.export.serving import Served
from parity.frameworks import keras, quiet, tf, with_constants
from parity.runners.graphs import is_layer

Samples = Sequence[Mapping[str, Array]]
"""Values for the inputs by name, in the model's own layout: what an int8 file's steps are chosen by."""

ENDPOINT = "serve"
"""The function of a SavedModel; it is the default signature too, as Keras writes it."""


def write(form: Format, served: Served, path: Path, samples: Samples = ()) -> None:
    """Write a model to `path` in a format; a SavedModel is a folder.

    `samples` has what an int8 file is calibrated on. Raises ExportError with the exporter's reason where the model
    cannot be exported so, and OSError where the path cannot be written.
    """
    refusal: Exception | None = None
    with _known_warnings(), quiet():
        try:
            _WRITERS[form.word](served, path, samples)
        except Exception as error:  # an exporter, and a user's own code inside it, may refuse in any way
            refusal = error
    if isinstance(refusal, (OSError, ExportError)):
        raise refusal
    if refusal is not None:
        kind, reason = type(served.model).__name__, _first_line(refusal)
        raise ExportError(f"the port, a {kind}, cannot be exported to {form.word}: {reason}") from refusal


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    told = (line for line in lines if not line.startswith("Exception encountered"))
    return next(told, type(error).__name__)


def _keras(served: Served, path: Path, samples: Samples) -> None:
    if not isinstance(served.model, keras.Model):
        what = f"{type(served.model).__module__.partition('.')[0]} {type(served.model).__name__}".removeprefix(
            "builtins "
        )
        raise ExportError(f"the port is a {what}; only a model of Keras 3 can be saved as a .keras file")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / "model.keras"  # Keras insists on the ending
        served.model.save(written)
        written.replace(path)


def _frozen(served: Served, path: Path, samples: Samples) -> None:
    path.write_bytes(frozen(served).SerializeToString(deterministic=True))


def frozen(served: Served) -> Any:
    """A model as a GraphDef whose variables are constants and whose functions are inlined.

    Its placeholders have the names of the inputs, and its outputs those that `served.call` gives them.
    """
    names: list[str] = []

    def called(*tensors: Any) -> list[Any]:
        made = served.call(*tensors)
        names[:] = made
        return [tf.identity(value, name=name) for name, value in made.items()]

    function = tf.function(called, input_signature=served.specs, autograph=False).get_concrete_function()
    graph = with_constants(function).graph.as_graph_def()
    # What TensorFlow adds behind the outputs is nobody's.
    return tf.compat.v1.graph_util.extract_sub_graph(graph, names + [spec.name for spec in served.specs])


def _saved(served: Served, path: Path, samples: Samples) -> None:
    archive = keras.export.ExportArchive()
    if is_layer(served.model):
        archive.track(served.model)
    archive.add_endpoint(ENDPOINT, served.call, input_signature=served.specs)
    archive.write_out(str(path), verbose=False)


def _tflite(set_up: Callable[[Any], None]) -> Callable[[Served, Path, Samples], None]:
    """What writes a TFLite file by a converter that was set up."""

    def written(served: Served, path: Path, samples: Samples) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            _saved(served, Path(folder), samples)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            set_up(converter)
            path.write_bytes(converter.convert())

    return written


def _float16(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(served: Served, path: Path, samples: Samples) -> None:
    if not samples:
        raise ExportError(
            "an int8 file needs samples of the inputs: the steps of its numbers are chosen by what they make"
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        _saved(served, Path(folder), samples)
        converted(Path(folder), samples, path)


def _onnx(served: Served, path: Path, samples: Samples) -> None:
    _teach_tf2onnx()
    from_itself = isinstance(served.model, keras.Model) and not served.example.kwargs
    model, signature = (served.model, served.signature) if from_itself else (_Wrapped(served), served.specs)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / "model.onnx"
        for copies in (False, True):
            with _tf2onnx_keeping(copies=copies):
                try:
                    model.export(str(written), format="onnx", verbose=False, input_signature=signature)
                    break
                except Exception:
                    if copies:
                        raise
        written.replace(path)


@cache
def _teach_tf2onnx() -> None:
    """TensorFlow's GELU asks for what the error function leaves of one. ONNX has no such operator, and tf2onnx writes
    it down all the same, into a file that nothing can load."""
    from tf2onnx.handler import tf_op
    from tf2onnx.utils import map_onnx_to_numpy_type

    @tf_op("Erfc")
    class _Rest:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            dtype = ctx.get_dtype(node.output[0])
            like = {"shapes": [ctx.get_shape(node.output[0])], "dtypes": [dtype]}
            one = ctx.make_const(f"{node.name}/one", np.ones((), map_onnx_to_numpy_type(dtype)))
            ctx.remove_node(node.name)
            found = ctx.make_node("Erf", node.input, name=f"{node.name}/Erf", **like)
            ctx.make_node("Sub", [one.output[0], found.output[0]], outputs=node.output, name=node.name, **like)


@contextmanager
def _tf2onnx_keeping(*, copies: bool) -> Iterator[None]:
    """With copies tf2onnx can go on where one of its optimizers fails; a network of 173 MB then takes 3 GB more."""
    name, before = "TF2ONNX_CATCH_ERRORS", os.environ.get("TF2ONNX_CATCH_ERRORS")
    os.environ[name] = str(copies).upper()
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


class _Wrapped(keras.Model):  # type: ignore[misc]
    """A model of another form in the place of a Keras model, for the exporter that takes no other."""

    def __init__(self, served: Served) -> None:
        super().__init__(name="port")
        self._served = served
        self.built = True

    def call(self, *tensors: Any) -> dict[str, Any]:
        """The outputs by name."""
        return self._served.call(*tensors)


_WRITERS: Mapping[str, Callable[[Served, Path, Samples], None]] = {
    "pb": _frozen,
    "saved_model": _saved,
    "keras": _keras,
    "tflite": _tflite(lambda converter: None),
    "tflite-fp16": _tflite(_float16),
    "tflite-dynamic": _tflite(_dynamic),
    "tflite-int8": _int8,
    "onnx": _onnx,
}


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Mute what exporters warn of themselves, and nothing else."""
    known: tuple[tuple[str, type[Warning]], ...] = (
        # Keras converts its variables to NumPy as before NumPy 2.
        (r"__array__ implementation doesn't accept a copy keyword", DeprecationWarning),
        # Keras asks NumPy for `np.object` before it patches tf2onnx for NumPy 2.
        (r"In the future `np\.object`", FutureWarning),
    )
    with warnings.catch_warnings():
        for message, category in known:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield
