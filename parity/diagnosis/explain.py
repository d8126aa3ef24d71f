"""All there is to say of one layer: how both sides are set up, how their weights relate, what shape its error has."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.scene import ARGUMENTS
from parity.diagnosis.weights import differing_weights, first_explanation
from parity.diagnosis.words import settings_of, value_in_words, written
from parity.explanation import ErrorShape, Explanation
from parity.portraits import Setup, WeightRelation
from parity.report import Cause, Measure
from parity.runners.calls import Read
from parity.runners.edits import Node

ROWS, COLUMNS = 12, 48
"""The error picture has at most as many cells."""
# fmt: off
DULL = frozenset({
    "name", "trainable", "dtype", "activity_regularizer", "batch_input_shape", "data_format", "seed", "noise_shape",
    "unit_forget_bias", "supports_masking", "quantization_config", "lora_rank", "lora_alpha",
})
# fmt: on


def explained(evidence: Evidence, given: str, introduced: Measure, floor: float, cause: Cause | None) -> Explanation:
    """What there is to say of the layer that the evidence is about, on the input called `given`."""
    setup = setup_of(evidence)
    return Explanation(
        layer=evidence.segment.layer,
        port_layer=evidence.segment.tap.name,
        input=given,
        mode=evidence.mode,
        reference=setup.reference,
        port=setup.port,
        weights=setup.weights,
        introduced=introduced,
        floor=floor,
        shape=_shape(evidence) if evidence.shapes_agree and _finite(evidence) else None,
        cause=cause,
    )


def setup_of(evidence: Evidence) -> Setup:
    """How both sides have the layer. Neither its values nor its error are looked at."""
    return Setup(
        reference=_reference(evidence),
        port=tuple(_port(node) for node in evidence.segment.nodes),
        weights=tuple(_weights(evidence)),
    )


def _finite(evidence: Evidence) -> bool:
    return bool(np.isfinite(evidence.actual).all() and np.isfinite(evidence.expected).all())


def _reference(evidence: Evidence) -> str:
    if evidence.module is not None:
        return " ".join(repr(evidence.module).split())
    call = evidence.call
    if call is None:
        return evidence.kind
    name = getattr(call.function, "__name__", evidence.kind).strip("_")
    names = [*ARGUMENTS.get(name, ()), *([""] * len(call.args))]
    given = [*zip(names, call.args, strict=False), *call.kwargs.items()]
    return f"{name}({', '.join(_argument(key, value) for key, value in given)})"


def _argument(key: str, value: Any) -> str:
    """An argument of the reference's call: taps by their names, a tensor by its shape, anything else with its key."""
    if isinstance(value, Read):
        return value.name
    if isinstance(value, (tuple, list)) and any(isinstance(each, Read) for each in value):
        return ", ".join(_argument("", each) for each in value)
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"a tensor of {tuple(shape)}"
    return f"{key}={value_in_words(value)}" if key else value_in_words(value)


def _port(node: Node) -> str:
    config = settings_of(node.operation)
    usual = _defaults(type(node.operation))
    shown = {
        key: value
        for key, value in config.items()
        if key not in DULL
        and isinstance(value, (int, float, str, tuple, list, bool))
        and not _alike(value, usual.get(key))
    }
    return written(node.operation, **shown)


def _defaults(kind: Any) -> Mapping[str, Any]:
    """What a layer's settings are where its author says nothing."""
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty and each.name != "axis"}


def _alike(value: Any, default: Any) -> bool:
    """Whether a setting is as by default: a pair of equal numbers is one number, no activation is "linear"."""
    if isinstance(value, (tuple, list)) and value and all(each == value[0] for each in value):
        value = value[0]
    if isinstance(default, (tuple, list)) and default and all(each == default[0] for each in default):
        default = default[0]
    return value == default or value in ((), []) or (value == "linear" and default is None)


def _weights(evidence: Evidence) -> Iterator[WeightRelation]:
    differing = set(differing_weights(evidence))
    for index, (name, weight) in enumerate(zip(evidence.weight_names, evidence.port_weights, strict=True)):
        if index >= len(evidence.source_weights) or evidence.source_weights[index].shape != weight.shape:
            relation, distance = "nothing of the reference's to compare it with", float("nan")
        else:
            relation, distance = "equal", 0.0
            if index in differing:
                source = evidence.source_weights[index]
                size = float(np.linalg.norm(source.ravel())) or 1.0
                distance = float(np.linalg.norm((weight - source).ravel())) / size
                relation = first_explanation(evidence, index)
        yield WeightRelation(name=name, shape=weight.shape, distance=distance, relation=relation)


# -- the shape of the error -------------------------------------------------------------------------------------------


def _shape(evidence: Evidence) -> ErrorShape:
    rms = float(np.sqrt(np.mean(np.square(evidence.expected, dtype=np.float64)))) or 1.0
    error = np.nan_to_num((evidence.actual.astype(np.float64) - evidence.expected) / rms, nan=np.inf)
    space = [axis for axis, letter in enumerate(evidence.layout) if letter in "HWL"][-2:]
    others = tuple(axis for axis in range(error.ndim) if axis not in space)
    flat = np.sqrt(np.mean(np.square(error), axis=others)) if space else by_channel(error, evidence.channel_axis)[None]
    grid = flat if flat.ndim == 2 else np.atleast_2d(flat)
    limit = min(evidence.limits.rmse, evidence.limits.max_abs) / rms if np.isfinite(evidence.limits.rmse) else 0.0
    return ErrorShape(
        cells=tuple(tuple(float(value) for value in row) for row in coarse(grid, ROWS, COLUMNS)),
        height=grid.shape[0],
        width=grid.shape[1],
        axes="".join(evidence.layout[axis] for axis in space) or "C",
        limit=limit,
        words=tuple(in_words(evidence, error, grid, limit)),
    )


def by_channel(error: npt.NDArray[Any], axis: int) -> npt.NDArray[np.float64]:
    """The RMS of each of the places along an axis."""
    others = tuple(each for each in range(error.ndim) if each != axis)
    found: npt.NDArray[np.float64] = np.sqrt(np.mean(np.square(error), axis=others))
    return found


def coarse(grid: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[np.float64]:
    """The RMS of each of at most `rows` x `columns` cells."""
    edges = [
        np.linspace(0, size, min(size, most) + 1).astype(int)
        for size, most in zip(grid.shape, (rows, columns), strict=True)
    ]
    squares = np.add.reduceat(np.add.reduceat(grid**2, edges[0][:-1], axis=0), edges[1][:-1], axis=1)
    found: npt.NDArray[np.float64] = np.sqrt(squares / np.outer(np.diff(edges[0]), np.diff(edges[1])))
    return found


def in_words(evidence: Evidence, error: npt.NDArray[Any], grid: npt.NDArray[Any], limit: float) -> Iterator[str]:
    """Where the error is, in a few words: in which places, which channels, of which sign."""
    wrong = np.abs(error) > max(limit, 1e-7)
    share = float(wrong.mean())
    if not share:
        yield "no value is off by more than its limit"
        return
    yield f"{share:.0%} of the values are off by more than rounding"
    if min(grid.shape) > 4 and np.all(grid[2:-2, 2:-2] <= limit):
        yield "only within two places of the border"
    negative: Array = evidence.expected < 0
    if 0.05 < float(negative.mean()) < 0.95 and not wrong[~negative].any():
        yield "only where the reference's values are negative"
    channels = by_channel(error, evidence.channel_axis)
    right = int(np.count_nonzero(channels <= limit))
    if 0 < right < channels.size:
        yield f"only in {channels.size - right} of {channels.size} channels"
    before = evidence.before
    if before is not None and before.rmse and abs(before.gain) * before.expected_rms > 0.999 * before.rmse:
        yield f"every value is {round(1 + before.gain, 6):.6g} times what it should be"
