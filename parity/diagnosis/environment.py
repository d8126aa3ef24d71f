"""Causes outside the layer's definition: training mode, chance, precision, the execution mode, values not finite."""

from collections.abc import Iterator

import numpy as np

from parity.diagnosis.evidence import SEEN, Evidence, Hypothesis, filled, plain_copy
from parity.diagnosis.words import written
from parity.frameworks import keras
from parity.report import Cause
from parity.runners.edits import Change, Edit, Node, copy_of, of_first_tensor, passed_on

STEADY = 1e-6
"""Relative difference of two runs on the same input above which chance is at work."""


def unsteady(evidence: Evidence) -> bool:
    """Whether the same segment on the same input gives other values each time."""
    first, second = evidence.replay(), evidence.replay()
    size = float(np.linalg.norm(np.nan_to_num(first).ravel()))
    return float(np.linalg.norm(np.nan_to_num(first - second).ravel())) > STEADY * size


def chance(evidence: Evidence) -> Iterator[Hypothesis]:
    """training-mode, nondeterminism: operations that give other values each time are switched off, or left out."""
    random = _random_nodes(evidence)
    if not random:
        return
    names = ", ".join(written(node.operation) for node in random)
    trained = all(_has_training_mode(node) for node in random)
    yield Hypothesis(
        slug="training-mode" if trained else "nondeterminism",
        detail=f"{names} gives other values each time it is run on the same input"
        + (": it is in training mode" if trained else ""),
        change=f"{names} -> {'training=False' if trained else 'leave it out, or make it give the same each time'}",
        edit=Edit(replaced={node.operation: _quiet(node) for node in random}),
        standing=SEEN,
    )


def _random_nodes(evidence: Evidence) -> list[Node]:
    """The nodes whose value differs when they are run twice on the same values."""
    random = []
    for node in evidence.segment.nodes:
        args, kwargs = node.arguments.fill_in(evidence.walked)
        change = evidence.base.replaced.get(node.operation, node.operation)
        first, second = (keras.tree.flatten(change(*args, **kwargs))[0] for _ in range(2))
        if not np.allclose(np.asarray(first), np.asarray(second), rtol=STEADY, atol=0, equal_nan=True):
            random.append(node)
    return random


def _has_training_mode(node: Node) -> bool:
    name = type(node.operation).__name__
    return bool(node.arguments.kwargs.get("training")) or "Dropout" in name or "Noise" in name


def _quiet(node: Node) -> Change:
    """The operation out of training; one without such a mode is passed by."""
    operation = node.operation
    if not operation.weights or type(operation).__name__ != "BatchNormalization":
        return of_first_tensor(node, passed_on)
    return filled(plain_copy(operation), [np.asarray(weight) for weight in operation.get_weights()])


def training(evidence: Evidence) -> Iterator[Hypothesis]:
    """training-mode: a layer takes its statistics from the batch: called with training=True, or always."""
    switched = [node for node in evidence.segment.nodes if node.arguments.kwargs.get("training")]
    called = bool(switched)
    switched = switched or ([evidence.node] if _by_batch(evidence) else [])
    if switched:
        names = ", ".join(written(node.operation) for node in switched)
        yield Hypothesis(
            slug="training-mode",
            detail=f"{names} is called with training=True: it normalises by the batch, not by its moving statistics"
            if called
            else f"{names} normalises by the batch, not by its moving statistics",
            change=f"{names} -> call it with training=False",
            edit=Edit(replaced={node.operation: _quiet(node) for node in switched}),
            standing=SEEN,
        )
        if evidence.node in switched and evidence.source_weights:
            yield Hypothesis(
                slug="training-mode",
                detail=f"{names} normalises by the batch, and its moving statistics have moved with every run of it",
                change=f"{names} -> call it with training=False, and load its weights again",
                edit=Edit(replaced={evidence.operation: evidence.copy(weights=evidence.source_weights)}),
                standing=SEEN,
            )


def _by_batch(evidence: Evidence) -> bool:
    """Whether a BatchNorm's value has, in each channel, the mean and deviation of its own gamma and beta."""
    if evidence.kind != "batchnorm" or len(evidence.source_weights) != 4 or not evidence.shapes_agree:
        return False
    gamma, beta = evidence.source_weights[:2]
    rows = np.moveaxis(evidence.actual, evidence.channel_axis, 0).reshape(gamma.size, -1).astype(np.float64)
    spread = float(np.abs(gamma).mean()) or 1.0
    return bool(
        np.allclose(rows.mean(1), beta, atol=1e-3 * spread) and np.allclose(rows.std(1), np.abs(gamma), rtol=2e-2)
    )


def reduced_precision(evidence: Evidence) -> Iterator[Hypothesis]:
    """reduced-precision: operations that compute in, or cast to, fewer bits."""
    low = {
        node.operation: precision
        for node in evidence.segment.nodes
        if (precision := _precision(node)) in ("float16", "bfloat16")
    }
    if not low:
        return
    names = ", ".join(f"{written(operation)} in {precision}" for operation, precision in low.items())
    replaced = {operation: _in_float32(evidence, operation) for operation in low}
    yield Hypothesis(
        slug="reduced-precision",
        detail=f"the port computes {names}",
        change=f'{names} -> dtype="float32"',
        edit=Edit(replaced=replaced),
        standing=SEEN,
    )


def _precision(node: Node) -> str:
    operation = node.operation
    if isinstance(operation, keras.layers.Layer) and not isinstance(operation, keras.layers.InputLayer):
        return str(operation.compute_dtype)
    return next((str(tensor.dtype) for tensor in node.outputs), "")


def _in_float32(evidence: Evidence, operation: object) -> Change:
    if isinstance(operation, keras.layers.Layer):
        own = evidence.port_weights if operation is evidence.operation else operation.get_weights()
        weights = [np.asarray(weight, np.float32) for weight in own]
        layer = filled(copy_of(operation, dtype="float32"), weights)
        return lambda x, *args, **kwargs: layer(_widened(x), *args, **kwargs)
    if type(operation).__name__ == "Cast":
        return lambda x, *args, **kwargs: _widened(x)
    return lambda *args, **kwargs: operation(*map(_widened, args), **kwargs)  # type: ignore[operator]


def _widened(x: object) -> object:
    return keras.tree.map_structure(
        lambda leaf: (
            keras.ops.cast(leaf, "float32") if str(getattr(leaf, "dtype", "")) in ("float16", "bfloat16") else leaf
        ),
        x,
    )


def execution_mode(evidence: Evidence) -> Iterator[Hypothesis]:
    """execution-mode: the same layer, on the same values, is right when run eagerly."""
    if evidence.mode != "eager":
        yield Hypothesis(
            slug="execution-mode",
            detail=f"wrong in {evidence.mode}; the same layer on the same values is right in eager",
            change=f"run the port eagerly, or change {written(evidence.operation)} until {evidence.mode} agrees",
            undone=evidence.replay,
        )


def non_finite(evidence: Evidence) -> Cause | None:
    """non-finite: NaN or infinity where there was none before this layer; says whose, and whether a weight holds it."""
    difference = evidence.before
    if difference is None or not (difference.nonfinite_actual or difference.nonfinite_expected):
        return None
    counts = {"reference": difference.nonfinite_expected, "port": difference.nonfinite_actual}
    where = " and ".join(
        f"{count} of {difference.count} values of the {side}" for side, count in counts.items() if count
    )
    weights = {"reference": evidence.source_weights, "port": evidence.port_weights}
    bad = [
        f"the {side}'s {name} holds {count} NaN or infinite value{'s' * (count > 1)}"
        for side, tensors in weights.items()
        for name, tensor in zip(evidence.weight_names, tensors, strict=False)
        if (count := int(np.count_nonzero(~np.isfinite(tensor))))
    ]
    return Cause(
        slug="non-finite",
        detail="; ".join([*bad, f"NaN or infinity in {where}, from finite input"]),
        change=f"find where {written(evidence.operation)} gets NaN or infinity from",
    )
