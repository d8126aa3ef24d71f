"""A process that verifies one file after another, and says how each ended; what kills it kills no test.

It reads a path from each line of its input, and answers with a line of JSON: `refused` with the sentence, `failed`,
`passed`, or `raised` where something else than an error of parity's came out. A file that passes is run once more, by
its engine alone, without any of parity's code; `off` is how far its output is from what NumPy computes in float64.
"""

import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tiny

import parity
from parity.artifacts.files import KERAS
from parity.axes import Array
from parity.errors import ParityError
from parity.frameworks import keras, tf
from parity.runners.taps import MODES


def run_bare(path: Path, image: Array) -> Array:
    """The output of a file on an image (batch, height, width, channels), by its engine alone."""
    data = path.read_bytes()[:8] if path.is_file() else b""
    if path.is_dir():
        return np.asarray(
            next(iter(tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(image)).values()))
        )
    if data[4:] == b"TFL3":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    if data[:2] == b"PK":
        return np.asarray(keras.models.load_model(path, compile=False)(image))
    if data[:1] == b"\x0a":
        return _frozen(path, image)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])


def _frozen(path: Path, image: Array) -> Array:
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
    made = [each for each in graph.get_operations() if each.outputs]
    read = {tensor.name for each in graph.get_operations() for tensor in each.inputs}
    (given,) = (each.outputs[0] for each in made if each.type == "Placeholder")
    (wanted,) = (each.outputs[0] for each in made if each.outputs[0].name not in read)
    with tf.compat.v1.Session(graph=graph) as session:
        return np.asarray(session.run(wanted, {given: image}))


def verified(path: Path) -> dict[str, Any]:
    """How the verification of a file in the place of the tiny network's port ends."""
    modes = ("eager",) if path.suffix == f".{KERAS}" else MODES
    try:
        report = parity.verify(tiny.mypair(path), modes=modes)
    except ParityError as error:
        return {"refused": str(error), "error": type(error).__name__, "code": error.exit_code}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {"raised": f"{type(error).__name__}: {error}, at {where.filename}, line {where.lineno}"}
    if not report.passed:
        return {"failed": report.verdict}
    image = tiny.image()
    output = run_bare(path, np.ascontiguousarray(image.transpose(0, 2, 3, 1)))  # to N H W C
    wanted = tiny.computed(image)
    return {"passed": True, "off": float(np.abs(output - wanted).max()) if output.shape == wanted.shape else 1e9}


def main() -> None:
    """Answer line by line; nothing but the answers goes to where they are read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(verified(Path(line.rstrip("\n")))), file=answers, flush=True)


if __name__ == "__main__":
    main()
