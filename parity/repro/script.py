"""The script of one layer, put together of both sides' code, and run here once before it is given away."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from parity.axes import Array
from parity.comparison import Comparison, compare
from parity.diagnosis.evidence import Evidence
from parity.examination import environment
from parity.frameworks import keras, tf, torch
from parity.numbers import short
from parity.repro.code import Code, value_key
from parity.repro.expressions import UnwritableError
from parity.repro.port_code import foreign, port_code, segment_model
from parity.repro.reference_code import in_reference, reference_code
from parity.runners.segments import REFUSED

LINES = 40
"""A script is not longer: it is to be read by whom it is sent to."""
DATA, SCRIPT, MODEL = "data.npz", "repro.py", "segment.keras"
RUN: Mapping[str, str] = {"eager": "port", "graph": "tf.function(port)", "xla": "tf.function(port, jit_compile=True)"}
TEMPLATES = Environment(
    loader=PackageLoader("parity.repro"), undefined=StrictUndefined, trim_blocks=True, autoescape=False
)


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script's text, the arrays it reads, and what it found when it was run here.

    `model` is the segment as a Keras model, where its layers cannot be written out. `found` is None where the port
    refuses to run, or makes a value of another shape.
    """

    text: str
    arrays: Mapping[str, Array]
    model: Any = None
    found: Comparison | None = None
    reference_note: str = ""


def script_of(evidence: Evidence, floor: float) -> Script:
    """The script that shows what the layer does. Raises PairError where it needs the port's own code."""
    recorded = {"expected": in_reference(evidence, evidence.segment.layer, evidence.expected), **_inputs(evidence)}
    reference = _tried_reference(evidence, recorded)
    try:
        port, model = port_code(evidence), None
        made = _tried(evidence, port, recorded)
        _refuse_other_behaviour(evidence, made)
    except (UnwritableError, TypeError, ValueError, AttributeError, tf.errors.OpError) as reason:
        port, model = _loaded(str(reason)), segment_model(evidence)
        made = _tried(evidence, port, recorded, model)
    text = _text(evidence, floor, reference, port)
    if _too_long(text) and len(reference.setup) + len(reference.body) > 2:
        reference = _only_recorded(f"together they take more than {LINES} lines")
        text = _text(evidence, floor, reference, port)
    if _too_long(text) and model is None:
        port, model = _loaded(f"together they take more than {LINES} lines"), segment_model(evidence)
        text = _text(evidence, floor, reference, port)
    arrays = {**recorded, **reference.arrays, **port.arrays}
    return Script(text=text, arrays=arrays, model=model, found=_compared(evidence, made), reference_note=reference.note)


def _too_long(text: str) -> bool:
    return len(text.splitlines()) > LINES


def _inputs(evidence: Evidence) -> dict[str, Array]:
    """What the port's segment reads, in the reference's layout."""
    anchors = zip(evidence.segment.anchors, evidence.anchors, strict=True)
    return {value_key(name): in_reference(evidence, name, value) for name, value in anchors}


# -- tried out here ---------------------------------------------------------------------------------------------------


class _Fresh(dict[str, Array]):
    """Arrays as a file gives them: a new one each time, since an operation in place may overwrite it."""

    def __getitem__(self, key: str) -> Array:
        return super().__getitem__(key).copy()


def _tried_reference(evidence: Evidence, recorded: Mapping[str, Array]) -> Code:
    """The torch code, if there is any and it makes what was recorded; else none, and a note that says why."""
    try:
        code = reference_code(evidence)
        space: dict[str, Any] = {"torch": torch, "np": np, "data": _Fresh({**code.arrays, **recorded})}
        with torch.no_grad():
            exec("\n".join((*code.setup, *code.body, f"made = {code.result}.numpy()")), space)
    except (UnwritableError, RuntimeError, TypeError, ValueError, AttributeError) as reason:
        return _only_recorded(str(reason).splitlines()[0])
    made, expected = space["made"], recorded["expected"]
    if made.shape != expected.shape or not compare(made, expected, evidence.limits).passed:
        return _only_recorded("a layer of torch with these settings alone does not make it")
    return code


def _only_recorded(reason: str) -> Code:
    return Code(note=f"The original's output is the recorded one, since this script cannot make it: {reason}")


def _loaded(reason: str) -> Code:
    """The port's segment as a model in a file."""
    return Code(
        setup=(f'model = keras.models.load_model("{MODEL}", compile=False)',),
        body=("def port(*x):", "    return model(list(x), training=False)"),
        note=f"The port's layers are in a file, since they cannot be written here: {reason.splitlines()[0]}",
    )


def _tried(evidence: Evidence, port: Code, recorded: Mapping[str, Array], model: Any = None) -> Array | None:
    """What the port's code makes of the input; None where the port refuses it."""
    space: dict[str, Any] = {
        "keras": keras,
        "tf": tf,
        "np": np,
        "data": _Fresh({**port.arrays, **recorded}),
        "model": model,
    }
    setup = port.setup if model is None else ()
    exec("\n".join((*setup, *port.body, *_reading(evidence))), space)
    if evidence.actual is REFUSED:
        return None
    actual = np.asarray(eval(_running(evidence), space))
    return actual if actual.dtype.kind in "fiub" else actual.astype(np.float32)


def _compared(evidence: Evidence, made: Array | None) -> Comparison | None:
    """The comparison that the script will make; None where there is nothing of that shape."""
    if made is None or made.shape != evidence.expected.shape:
        return None
    return compare(made, evidence.expected, evidence.limits)


def _refuse_other_behaviour(evidence: Evidence, made: Array | None) -> None:
    """Raise UnwritableError where a layer of the port's own does something else than the one of Keras it extends."""
    own = [each for node in evidence.segment.nodes if (each := foreign(node.operation)) is not None]
    if not own or made is None:
        return
    actual = evidence.actual
    size = float(np.sqrt(np.mean(np.square(actual, dtype=np.float64))))
    if made.shape != actual.shape or not np.allclose(made, actual, rtol=0, atol=1e-3 * size, equal_nan=True):
        raise UnwritableError(f"{own[0].name!r} is a {type(own[0]).__name__}")


# -- written down -----------------------------------------------------------------------------------------------------


def _text(evidence: Evidence, floor: float, reference: Code, port: Code) -> str:
    layer, rank = evidence.segment.layer, evidence.expected.ndim
    layouts = evidence.scene.reference_layout(layer, rank), evidence.scene.layout(layer, rank)
    text = TEMPLATES.get_template("repro.py.jinja").render(
        layer=layer,
        port_layer=evidence.segment.tap.name,
        environment=_environment(),
        torch=environment()["torch"],
        layout=layouts[0],
        port_layout=layouts[1],
        reference=reference,
        port=port,
        inputs=_reading(evidence),
        refused=evidence.actual is REFUSED,
        unlike=not evidence.shapes_agree,
        run=_running(evidence),
        moved=_moved("expected", *layouts),
        right=_right(evidence),
        floor=short(floor),
        mode=evidence.mode,
    )
    return text.strip() + "\n"


def _environment() -> str:
    """The switches under which it was found, as an expression."""
    switches = {"KERAS_BACKEND": "tensorflow"}
    if "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        switches["TF_ENABLE_ONEDNN_OPTS"] = os.environ["TF_ENABLE_ONEDNN_OPTS"]
    if not tf.config.list_physical_devices("GPU"):
        switches["CUDA_VISIBLE_DEVICES"] = "-1"
    return ", ".join(f'{key}="{value}"' for key, value in switches.items())


def _reading(evidence: Evidence) -> list[str]:
    """The statements that read what the segment reads, in the port's layout."""
    lines = []
    for index, (name, array) in enumerate(zip(evidence.segment.anchors, evidence.anchors, strict=True)):
        layouts = evidence.scene.reference_layout(name, array.ndim), evidence.scene.layout(name, array.ndim)
        value = _moved(f'data["{value_key(name)}"]', *layouts)
        variable = "x" if len(evidence.anchors) == 1 else f"x{index}"
        moved = layouts[0] if layouts[0] == layouts[1] else f"{layouts[0]} -> {layouts[1]}"
        lines.append(f"{variable} = tf.constant({value})  # {moved}")
    return lines


def _running(evidence: Evidence) -> str:
    count = len(evidence.anchors)
    inputs = ["x"] if count == 1 else [f"x{index}" for index in range(count)]
    return f"{RUN[evidence.mode]}({', '.join(inputs)})"


def _moved(value: str, source: str, target: str) -> str:
    """The expression of a value with its axes in another order."""
    order = tuple(source.index(axis) for axis in target)
    return value if order == tuple(range(len(order))) else f"np.transpose({value}, {order})"


def _right(evidence: Evidence) -> str:
    """The expression that says whether the error is within the layer's limits."""
    limits = evidence.limits
    if limits.rtol is not None:
        allowed = f"{limits.rtol:.6g} * abs(expected)"
        return f"np.all(abs(error) <= {f'{limits.atol:.6g} + {allowed}' if limits.atol else allowed})"
    parts = [f"rmse <= {limits.rmse:.6g}", f"abs(error).max() <= {limits.max_abs:.6g}"]
    if np.isfinite(limits.gain):
        parts.append(f"abs(np.mean(error * expected)) <= {limits.gain:.6g} * rms**2")
    return " and ".join(parts)
