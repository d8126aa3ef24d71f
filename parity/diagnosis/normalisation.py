"""Causes in normalisation and reduction: the epsilon, the statistics, the axes."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from parity.axes import Array
from parity.converters.registry import numpy
from parity.diagnosis.evidence import SEEN, Evidence, Hypothesis, filled
from parity.diagnosis.inputs import mean, with_constant
from parity.diagnosis.words import settings_of, value_in_words, written
from parity.frameworks import keras, torch
from parity.runners.calls import Call
from parity.runners.edits import Change, Edit, copy_of, named

NORMS = frozenset({"batchnorm", "layernorm", "groupnorm", "instancenorm2d", "rmsnorm"})
EPSILONS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
"""The epsilons that norms are written with."""
STEPS = 8
"""Calls of the reference up to which a segment is run again with another epsilon."""
CONCATENATIONS = frozenset({"cat", "stack"})
JOINS = frozenset({"Concatenate", "Stack"})
REDUCTIONS = {
    "mean": lambda x, axes: x.mean(axis=axes, keepdims=True),
    "sum": lambda x, axes: x.sum(axis=axes, keepdims=True),
    "amax": lambda x, axes: x.max(axis=axes, keepdims=True),
    "std": lambda x, axes: x.std(axis=axes, keepdims=True, ddof=1),
    "softmax": lambda x, axes: softmax(x, axis=axes),
    "logsoftmax": lambda x, axes: log_softmax(x, axis=axes),
}
"""What torch's reductions compute along axes, in NumPy."""


def epsilon(evidence: Evidence) -> Iterator[Hypothesis]:
    """norm-epsilon: what is added to the variance differs."""
    wanted, present = evidence.settings.get("eps"), evidence.config.get("epsilon")
    if wanted is None or present is None or float(wanted) == float(present):
        return
    yield Hypothesis(
        slug="norm-epsilon",
        detail=f"epsilon is {present:g}; the reference's is {wanted:g}",
        change=f"{written(evidence.operation, epsilon=float(present))} -> epsilon={wanted:g}",
        edit=Edit(replaced={evidence.operation: evidence.copy(epsilon=float(wanted))}),
        standing=SEEN,
    )


def epsilon_by_hand(evidence: Evidence) -> Iterator[Hypothesis]:
    """norm-epsilon: the port has what the reference's own norm, or function, makes with another epsilon."""
    layer, known = evidence.segment.layer, evidence.segment.anchors
    within = evidence.scene.between(layer, known)
    if not evidence.shapes_agree or len(within) > STEPS or evidence.config.get("epsilon") is not None:
        return
    if any(type(evidence.scene.calls[name]) is not Call for name in within):  # recorded, or made in another process
        return
    for name in within:
        held, call = _own_epsilon(evidence.scene.settings(name)), evidence.scene.calls[name]
        if held is None:
            continue
        key, wanted = held
        values = {
            other: evidence.scene.remade(layer, known, {name: _with_epsilon(call, key, wanted, other)})
            for other in EPSILONS
            if other != wanted
        }
        nearest = min(values, key=lambda other: float(np.linalg.norm((values[other] - evidence.actual).ravel())))
        yield Hypothesis(
            slug="norm-epsilon",
            detail=f"the port has the values of an epsilon of {nearest:g}; the reference's is {wanted:g} ({name})",
            change=f"epsilon {wanted:g} in {written(evidence.segment.node.operation)}",
            predicted=lambda value=values[nearest]: value,  # type: ignore[misc]
        )


def _own_epsilon(settings: Mapping[str, Any]) -> tuple[str, float] | None:
    """What a call of the reference calls the epsilon that it has, and its value; None where it has none."""
    found = ((name, value) for name, value in settings.items() if re.fullmatch(r"(.+_)?eps(ilon)?", name))
    return next(((name, value) for name, value in found if isinstance(value, float)), None)


def _with_epsilon(call: Call, name: str, present: float, other: float) -> Call:
    """The call with another epsilon: of a copy of its module, or of the function."""
    if not isinstance(call.function, torch.nn.Module):
        args = tuple(other if isinstance(each, float) and each == present else each for each in call.args)
        return replace(call, args=args, kwargs={**call.kwargs, **({name: other} if args == call.args else {})})
    module = copy.deepcopy(call.function)
    setattr(module, name, other)
    return replace(call, function=module)


def groups(evidence: Evidence) -> Iterator[Hypothesis]:
    """norm-statistics: the mean and the variance are taken over other groups of channels."""
    wanted, present = evidence.settings.get("num_groups"), evidence.config.get("groups")
    if not isinstance(wanted, int) or not isinstance(present, int) or wanted == present:
        return
    yield Hypothesis(
        slug="norm-statistics",
        detail=f"the port has groups={present}; the reference has {wanted} groups of channels",
        change=f"{written(evidence.operation, groups=present)} -> groups={wanted}",
        edit=Edit(replaced={evidence.operation: evidence.copy(groups=wanted)}),
        standing=SEEN,
    )


def ignored(evidence: Evidence) -> Iterator[Hypothesis]:
    """norm-statistics, bias-missing: the layer is declared without the gamma or beta that the reference has."""
    module = evidence.module
    if evidence.kind not in NORMS or module is None or getattr(module, "weight", None) is None:
        return
    lost = [key for key in ("scale", "center") if evidence.config.get(key) is False]
    whole = evidence.scene.converted(evidence.segment.layer, None)
    if not lost or not whole:
        return
    yield Hypothesis(
        slug="norm-statistics" if "scale" in lost else "bias-missing",
        detail=f"the port's layer has no {' and no '.join({'scale': 'gamma', 'center': 'beta'}[key] for key in lost)}",
        change=f"{written(evidence.operation)} -> {', '.join(f'{key}=True' for key in lost)}, as in the reference",
        edit=Edit(replaced={evidence.operation: evidence.copy(weights=whole, **dict.fromkeys(lost, True))}),
        standing=SEEN,
    )


def statistics(evidence: Evidence) -> Iterator[Hypothesis]:
    """norm-statistics: the port divides by the unbiased deviation, of n - 1, or by none at all."""
    if evidence.kind not in ("layernorm", "instancenorm2d") or not evidence.shapes_agree or evidence.module is None:
        return
    predicted = _unbiased(evidence)
    if predicted is not None:
        yield Hypothesis(
            slug="norm-statistics",
            detail="the variance is the unbiased one, over n - 1; the reference's is over n",
            change=f"divide by the variance over n in {written(evidence.segment.node.operation)}",
            predicted=lambda: predicted,
            mend=_layer_norm(evidence),
        )


def along_other_axes(evidence: Evidence) -> Iterator[Hypothesis]:
    """reduction-axis: the port's values are those of a LayerNorm over other axes."""
    if evidence.kind != "layernorm" or evidence.module is None or len(evidence.anchors) != 1:
        return
    x = evidence.anchors[0].astype(np.float64)
    weight, bias, eps = (getattr(evidence.module, name, None) for name in ("weight", "bias", "eps"))
    if x.shape != evidence.actual.shape or eps is None:
        return
    for count in range(1, x.ndim):
        for axes in itertools.combinations(range(1, x.ndim), count):
            value = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
            value = value * (1 if weight is None else numpy(weight))
            value = np.asarray(value + (0 if bias is None else numpy(bias)), np.float32)
            if axes != (x.ndim - 1,) and _near(value, evidence.actual):
                yield Hypothesis(
                    slug="reduction-axis",
                    detail=f"the port normalises over its axes {axes}; the reference over the last",
                    change=f"{written(evidence.segment.node.operation)} -> LayerNormalization(axis=-1)",
                    predicted=lambda value=value: value,  # type: ignore[misc]
                    mend=_layer_norm(evidence),
                )


def _layer_norm(evidence: Evidence) -> Edit:
    """The reference's LayerNorm in place of the segment."""
    layer = keras.layers.LayerNormalization(epsilon=float(evidence.module.eps))
    weights = evidence.scene.converted(evidence.segment.layer, layer)
    return evidence.instead(filled(layer, weights))


def _unbiased(evidence: Evidence) -> Array | None:
    x = evidence.anchors[0].astype(np.float64)
    weight, bias, eps = (getattr(evidence.module, name, None) for name in ("weight", "bias", "eps"))
    if x.shape != evidence.expected.shape or evidence.kind != "layernorm" or eps is None:
        return None
    centred = x - x.mean(-1, keepdims=True)
    value = centred / np.sqrt(x.var(-1, ddof=1, keepdims=True) + eps)
    value = value * (1 if weight is None else numpy(weight)) + (0 if bias is None else numpy(bias))
    return np.asarray(value, np.float32)


def axis(evidence: Evidence) -> Iterator[Hypothesis]:
    """reduction-axis, concat-axis: the operation runs along another axis."""
    for node in evidence.segment.nodes:
        operation = node.operation
        config = settings_of(operation)
        if "axis" not in config or type(operation).__name__ in ("GetItem", "Take", "Flip", "Roll"):
            continue
        for other in _other_axes(config["axis"], len(node.input_tensors[0].shape), evidence):
            yield Hypothesis(
                slug="concat-axis" if type(operation).__name__ in JOINS else _axis_slug(evidence),
                detail=f"axis={value_in_words(config['axis'])}; the reference's is {value_in_words(other)}",
                change=f"{written(operation, axis=config['axis'])} -> axis={value_in_words(other)}",
                edit=Edit(replaced={operation: _along(evidence, operation, other)}),
            )


def _along(evidence: Evidence, operation: Any, other: Any) -> Any:
    if operation is evidence.operation and evidence.port_weights:
        return evidence.copy(axis=other)
    return copy_of(operation, axis=other)


def _axis_slug(evidence: Evidence) -> str:
    if evidence.kind in CONCATENATIONS:
        return "concat-axis"
    return "input-normalisation" if evidence.at_input and not evidence.port_weights else "reduction-axis"


def _other_axes(present: Any, rank: int, evidence: Evidence) -> Iterator[Any]:
    """Axes, or sets of as many or fewer of them, other than the present."""
    one = isinstance(present, int)
    now = {(present % rank)} if one else {value % rank for value in present or range(rank)}
    wanted = len(_dims(evidence.settings)) or len(now)
    for chosen in itertools.combinations(range(rank), 1 if one else wanted):
        if set(chosen) != now:
            yield chosen[0] if one else list(chosen)


def _axes(evidence: Evidence, settings: Mapping[str, Any]) -> list[int]:
    """The reference's dims as axes of the segment's first anchor in the port."""
    rank, name = evidence.anchors[0].ndim, evidence.segment.anchors[0]
    theirs, ours = evidence.scene.reference_layout(name, rank), evidence.scene.layout(name, rank)
    return sorted(ours.index(theirs[dim]) for dim in _dims(settings))


def _dims(settings: Mapping[str, Any]) -> tuple[int, ...]:
    dims = settings.get("dim")
    return (dims,) if isinstance(dims, int) else tuple(dims or ())


def reduction(evidence: Evidence) -> Iterator[Hypothesis]:
    """reduction-axis, input-normalisation: the port's values are those of the reduction along other axes."""
    function = REDUCTIONS.get(evidence.kind)
    if function is None or len(evidence.anchors) != 1:
        return
    x, wanted = evidence.anchors[0].astype(np.float64), _axes(evidence, evidence.settings)
    for count in range(1, x.ndim):
        for axes in itertools.combinations(range(1, x.ndim), count):
            if list(axes) == wanted:
                continue
            value = np.asarray(function(x, axes[0] if count == 1 else axes), np.float32)
            if value.size != evidence.actual.size or not _near(value.reshape(evidence.actual.shape), evidence.actual):
                continue
            if value.size == evidence.expected.size and _near(
                value.reshape(evidence.expected.shape), evidence.expected
            ):
                continue
            letters = evidence.scene.layout(evidence.segment.anchors[0], x.ndim)
            yield Hypothesis(
                slug=_axis_slug(evidence),
                detail=f"the port takes the {evidence.kind} over {' and '.join(letters[a] for a in axes)}; "
                f"the reference over dim={value_in_words(evidence.settings.get('dim'))}",
                change=f"take it over the reference's axes in {written(evidence.segment.node.operation)}",
                predicted=lambda value=value: value.reshape(evidence.actual.shape),  # type: ignore[misc]
                mend=_mend(evidence),
            )


def centred(evidence: Evidence) -> Iterator[Hypothesis]:
    """input-normalisation: the input less its mean, taken over other axes than the reference's, or not taken at all."""
    if evidence.kind != "sub" or not evidence.prepares:
        return
    x = evidence.anchors[0].astype(np.float64)
    letters = evidence.scene.layout(evidence.segment.anchors[0], x.ndim)
    if x.shape != evidence.actual.shape:
        return
    for count in range(x.ndim):
        for axes in itertools.combinations(range(1, x.ndim), count):
            predicted = np.asarray(x - (x.mean(axes, keepdims=True) if axes else 0), np.float32)
            if _near(predicted, evidence.actual):
                over = f"over {' and '.join(letters[axis] for axis in axes)}" if axes else "not subtracted"
                yield Hypothesis(
                    slug="input-normalisation",
                    detail=f"the mean is {'taken ' if axes else ''}{over}; the reference takes it over other axes",
                    change=f"subtract the mean over the reference's axes in {written(evidence.segment.node.operation)}",
                    predicted=lambda predicted=predicted: predicted,  # type: ignore[misc]
                    mend=with_constant(evidence) or _centring(evidence),
                )
                return


def _centring(evidence: Evidence) -> Edit | None:
    """The input less the mean that the reference takes of it."""
    means = [name for name in (evidence.call.reads if evidence.call else ()) if evidence.scene.kind(name) == "mean"]
    if not means:
        return None
    axes, wanted = evidence.scene.axes_of(means[0]), evidence.scene.name_in_port(means[0])
    taken: Change = partial(mean, axes=axes, keep=True)
    if wanted:
        taken = named(taken, wanted)
    return evidence.instead(lambda x: x - taken(x))


def _mend(evidence: Evidence) -> Edit | None:
    """The mean over the reference's axes, one after the other, in place of the segment's operations."""
    dims = _dims(evidence.settings)
    if not dims or evidence.kind not in ("mean", "sum", "softmax", "logsoftmax"):
        return None
    rank, axes = evidence.anchors[0].ndim, _axes(evidence, evidence.settings)
    keep = evidence.expected.ndim == rank

    def exact(x: Any, *args: Any, **kwargs: Any) -> Any:
        if evidence.kind in ("softmax", "logsoftmax"):
            return getattr(keras.ops, {"softmax": "softmax", "logsoftmax": "log_softmax"}[evidence.kind])(
                x, axis=axes[0]
            )
        for axis in reversed(axes):
            x = getattr(keras.ops, evidence.kind)(x, axis=axis, keepdims=keep)
        return x

    return evidence.instead(exact)


def _near(a: Array, b: Array) -> bool:
    return float(np.linalg.norm((a - b).ravel())) <= 1e-4 * float(np.linalg.norm(b.ravel()))
