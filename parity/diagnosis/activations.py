"""Causes in activations: another slope, another function, one too few or one too many."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters.registry import numpy
from parity.diagnosis.evidence import PRESENT, SEEN, Evidence, Hypothesis, filled
from parity.diagnosis.functions import FUNCTIONS, IN_KERAS, as_keras
from parity.diagnosis.words import value_in_words, written
from parity.frameworks import keras
from parity.runners.built_in import name_of
from parity.runners.edits import Edit, named, of_first_tensor, passed_on
from parity.runners.taps import kind_of

ACTIVATIONS = frozenset({*IN_KERAS, "gelu", "leakyrelu", "prelu", "clamp"})
SOFTMAXES = {"softmax": "logsoftmax", "logsoftmax": "softmax"}
RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN"})


def slope(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-slope: right where the input is positive, another constant slope where it is negative."""
    if evidence.kind not in ("leakyrelu", "prelu", "relu", "elu") or not _one_value(evidence):
        return
    if evidence.kind == "prelu":
        yield from _prelu(evidence)
        return
    x = evidence.anchors[0]
    present, wanted = _slopes(x, evidence.actual), _slopes(x, evidence.expected)
    if present is None or present == wanted or present == 1:
        return
    exact = as_keras(evidence.kind, evidence.settings)
    if exact is None or (wanted is None and evidence.kind != "elu"):
        return
    last = evidence.segment.node
    other = f"is {wanted:.6g}" if wanted is not None else f"is no constant: it is {exact[1]}"
    yield Hypothesis(
        slug="activation-kind" if present == 0 or wanted is None else "activation-slope",
        detail=f"the slope for negative values is {present:.6g}; the reference's {other}",
        change=f"{written(last.operation)} -> {exact[1]}",
        edit=evidence.instead(exact[0]),
    )


def elu_alpha(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-slope: the negative side of an ELU is a constant multiple of what it should be."""
    if evidence.kind != "elu" or not _one_value(evidence):
        return
    negative = evidence.anchors[0] < 0
    if not np.allclose(evidence.actual[~negative], evidence.expected[~negative], rtol=1e-5, atol=0):
        return
    ratio = _constant_ratio(evidence.actual[negative], evidence.expected[negative])
    exact = as_keras("elu", evidence.settings)
    if ratio in (None, 0.0, 1.0) or exact is None:
        return
    last = evidence.segment.node
    yield Hypothesis(
        slug="activation-slope",
        detail=f"the negative side is {ratio:.6g} times the reference's",
        change=f"{written(last.operation)} -> {exact[1]}",
        edit=evidence.instead(exact[0]),
    )


def reference_activation(evidence: Evidence, name: str) -> tuple[Any, str] | None:
    """The reference's activation at a tap in Keras, and how it is written; None for another kind."""
    if evidence.scene.kind(name) != "prelu":
        return as_keras(evidence.scene.kind(name), evidence.scene.settings(name))
    weight = evidence.scene.settings(name).get("_parameters", {}).get("weight")
    return None if weight is None else _prelu_of(evidence, numpy(weight))


def _prelu_of(evidence: Evidence, slopes: Array) -> tuple[Any, str]:
    axes = [axis for axis in range(1, evidence.expected.ndim) if axis != evidence.channel_axis or slopes.size == 1]
    shape = [1 if axis in axes else slopes.size for axis in range(1, evidence.expected.ndim)]
    return filled(keras.layers.PReLU(shared_axes=axes), [slopes.reshape(shape)]), f"PReLU(shared_axes={axes})"


def _prelu(evidence: Evidence) -> Iterator[Hypothesis]:
    """PReLU's slopes lie along other axes than the channels."""
    exact = reference_activation(evidence, evidence.segment.layer)
    if exact is None or not evidence.port_weights or evidence.port_weights[0].ndim != evidence.expected.ndim - 1:
        return
    last, slopes = evidence.segment.node, evidence.port_weights[0]
    if slopes.size == 1 or slopes.shape[evidence.channel_axis - 1] == slopes.size:
        return
    yield Hypothesis(
        slug="activation-slope",
        detail=f"the slopes have the shape {slopes.shape}; the reference has one for each channel",
        change=f"{written(last.operation)} -> {exact[1]}",
        edit=evidence.instead(exact[0]),
        standing=SEEN,
    )


def kind(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-kind, activation-missing: the port computes another function of the same value, or passes it on."""
    if evidence.kind not in ACTIVATIONS or not _one_value(evidence):
        return
    exact = reference_activation(evidence, evidence.segment.layer)
    if exact is None:
        return
    x, last = evidence.anchors[0].astype(np.float64), evidence.segment.node
    edit = evidence.instead(exact[0])
    change = f"{written(last.operation)} -> {exact[1]}"
    if np.array_equal(evidence.actual, evidence.anchors[0]):
        detail = f"the port passes its input on; the reference applies {exact[1]}"
        yield Hypothesis(slug="activation-missing", detail=detail, change=change, edit=edit)
        return
    for name, function in FUNCTIONS.items():
        value = np.asarray(function(x), np.float32)
        if name == evidence.kind == "elu":  # with another alpha it has another slope
            continue
        if not _near(value, evidence.expected) and _near(value, evidence.actual):
            detail = f"the port computes {name}; the reference {exact[1]}"
            yield Hypothesis(slug="activation-kind", detail=detail, change=change, edit=edit)
            return
    if _declared(evidence) is not None:
        detail = f"the port computes {_declared(evidence)}; the reference {exact[1]}"
        yield Hypothesis(slug="activation-kind", detail=detail, change=change, edit=edit, standing=SEEN)


def softmaxes(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-kind: a softmax where the reference has its logarithm, or the reverse."""
    if evidence.kind not in SOFTMAXES or not evidence.shapes_agree:
        return
    taken = evidence.kind == "softmax"
    expected = evidence.expected.astype(np.float64)
    with np.errstate(divide="ignore"):
        predicted = np.asarray(np.log(expected) if taken else np.exp(expected), np.float32)
    x = evidence.anchors[0].astype(np.float64) if len(evidence.anchors) == 1 else np.empty(0)
    for name, function in FUNCTIONS.items() if x.shape == evidence.actual.shape else ():
        value = np.asarray(function(x), np.float32)
        if _near(value, evidence.actual):
            yield Hypothesis(
                slug="activation-kind",
                detail=f"the port computes {name}; the reference the {evidence.kind}",
                change=f"{written(evidence.segment.node.operation)} -> {evidence.kind}",
                predicted=lambda value=value: value,  # type: ignore[misc]
            )
            return
    if _near(predicted, evidence.actual):
        other = SOFTMAXES[evidence.kind]
        yield Hypothesis(
            slug="activation-kind",
            detail=f"the port computes the {other}; the reference the {evidence.kind}",
            change=f"{written(evidence.segment.node.operation)} -> {evidence.kind}",
            predicted=lambda: predicted,
            mend=Edit(appended={evidence.segment.node: keras.ops.log if not taken else keras.ops.exp}),
        )


def _declared(evidence: Evidence) -> str | None:
    """The activation that the port's layer is declared to be, where that is another than the reference's."""
    operation = evidence.segment.node.operation
    if type(operation).__name__ == "Activation":
        name = getattr(operation.activation, "__name__", "")
        alike = (evidence.kind, kind_of(IN_KERAS.get(evidence.kind, evidence.kind)))
        return name if name and kind_of(name) not in alike else None
    plain = type(operation).__name__.lower().replace("_", "")
    known = {*IN_KERAS, *(name.replace("_", "") for name in IN_KERAS.values()), "leakyrelu", "gelu"}
    own = IN_KERAS.get(evidence.kind, evidence.kind).replace("_", "")
    return type(operation).__name__ if plain in known and plain != own else None


def within_layer(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-extra, activation-kind: the activation that a layer has built in is not the reference's."""
    config, name = evidence.config, type(evidence.operation).__name__
    if name in RECURRENT:
        wanted = {"activation": "tanh", "recurrent_activation": "sigmoid"} if name != "SimpleRNN" else {}
        wrong: dict[str, Any] = {key: value for key, value in wanted.items() if _name(config.get(key)) != value}
        if wrong:
            now = ", ".join(f"{key}={value_in_words(_name(config[key]))}" for key in wrong)
            right = ", ".join(f"{key}={value_in_words(value)}" for key, value in wrong.items())
            yield Hypothesis(
                slug="activation-kind",
                detail=f"the port has {now}; torch has {right}",
                change=f"{written(evidence.operation)} -> {right}",
                edit=Edit(replaced={evidence.operation: evidence.copy(**wrong)}),
                standing=SEEN,
            )
        return
    for node in evidence.after:
        if hasattr(node.operation, "built_into") and evidence.kind not in ACTIVATIONS | set(SOFTMAXES):
            yield Hypothesis(
                slug="activation-extra",
                detail=f"the layer applies {name_of(node.operation.activation)}; the reference's has no activation",
                change=f'{written(node.operation)} -> activation="linear"',
                edit=Edit(replaced={node.operation: of_first_tensor(node, passed_on)}),
                standing=SEEN,
            )
    built_in = _name(config.get("activation"))
    weighted = evidence.module is not None and evidence.kind not in ACTIVATIONS and evidence.port_weights
    if built_in in (None, "linear") or not weighted:
        return
    yield Hypothesis(
        slug="activation-extra",
        detail=f"the layer applies {built_in}; the reference's has no activation",
        change=f'{written(evidence.operation, activation=built_in)} -> activation="linear"',
        edit=Edit(replaced={evidence.operation: evidence.copy(activation="linear")}),
        standing=SEEN,
    )


def extra(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-extra: the port's value is a function of the reference's."""
    if not evidence.shapes_agree or evidence.kind in ACTIVATIONS | set(SOFTMAXES):
        return
    for name, function in FUNCTIONS.items():
        predicted = np.asarray(function(evidence.expected.astype(np.float64)), np.float32)
        if _near(predicted, evidence.actual) and not _near(evidence.expected, evidence.actual):
            yield Hypothesis(
                slug="activation-extra",
                detail=f"{name} is applied to the layer's value",
                change=f"leave out {name} after {written(evidence.operation)}",
                predicted=lambda predicted=predicted: predicted,  # type: ignore[misc]
            )
            return
    low = _slopes(evidence.expected, evidence.actual)
    if low is not None and low not in (0.0, 1.0):
        undone = np.where(evidence.expected < 0, evidence.actual / np.float32(low), evidence.actual)
        detail = f"negative values are multiplied by {low:.6g}: a leaky ReLU is applied to the layer's value"
        change = f"leave out the leaky ReLU after {written(evidence.operation)}"
        yield Hypothesis(slug="activation-extra", detail=detail, change=change, undone=lambda: undone)


def missing(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-missing, activation-kind: what the port's layer reads lacks the reference's activation."""
    call = evidence.call
    if call is None or len(evidence.arrivals) != len(call.reads):
        return
    for place, name in enumerate(call.reads):
        if name in evidence.scene.matched or evidence.scene.kind(name) not in ACTIVATIONS:
            continue
        exact = reference_activation(evidence, name)
        wanted = evidence.scene.name_in_port(name)
        if exact is None:
            continue
        change = named(exact[0], wanted) if wanted else exact[0]
        yield Hypothesis(
            slug="activation-missing",
            detail=f"the reference applies {exact[1]} ({name}) before this layer; the port does not",
            change=f"{exact[1]} before {written(evidence.operation)}",
            edit=Edit(inserted={(evidence.node, place): change}),
        )
        yield from _another(evidence, place, name, change, exact[1])


def _another(evidence: Evidence, place: int, name: str, change: Any, words: str) -> Iterator[Hypothesis]:
    """activation-kind: on the way to the layer the port applies another function than the reference's `name`."""
    read = next(iter(evidence.scene.calls[name].reads), None)
    if read not in evidence.segment.anchors:
        return
    index, arrival = evidence.segment.anchors.index(read), evidence.arrivals[place]
    x = evidence.anchors[index].astype(np.float64)
    if x.shape != arrival.shape or np.array_equal(arrival, evidence.anchors[index]):
        return
    known = (said for said, function in FUNCTIONS.items() if _near(np.asarray(function(x), np.float32), arrival))
    yield Hypothesis(
        slug="activation-kind",
        detail=f"the port applies {next(known, 'another function')} before this layer; the reference {words} ({name})",
        change=f"{words} before {written(evidence.operation)}",
        edit=Edit(
            rerouted={(evidence.node, place): evidence.anchor_tensor(index)}, inserted={(evidence.node, place): change}
        ),
        standing=PRESENT,
    )


def _one_value(evidence: Evidence) -> bool:
    anchors = evidence.anchors
    return len(anchors) == 1 and anchors[0].shape == evidence.expected.shape == evidence.actual.shape


def _slopes(x: Array, y: Array) -> float | None:
    """The constant slope of y for negative x, where y is x for positive ones; None if it is anything else."""
    negative = x < 0
    if not negative.any() or not np.allclose(y[~negative], x[~negative], rtol=1e-5, atol=1e-30):
        return None
    return _constant_ratio(y[negative], x[negative])


def _constant_ratio(y: Array, x: Array) -> float | None:
    a, b = y.astype(np.float64), x.astype(np.float64)
    size = float(b @ b)
    ratio = float(a @ b) / size if size else 0.0
    return ratio if float(np.abs(a - ratio * b).max(initial=0)) <= 1e-5 * float(np.abs(b).max(initial=0)) else None


def _near(a: Array, b: Array) -> bool:
    return float(np.linalg.norm((a - b).ravel())) <= 1e-5 * float(np.linalg.norm(b.ravel()))


def _name(activation: Any) -> str | None:
    """An activation of a configuration by its name."""
    if isinstance(activation, dict):
        config = activation.get("config", activation.get("class_name"))
        return config if isinstance(config, str) else str(activation.get("class_name"))
    return None if activation is None else str(activation)
