"""Inputs made to tell explanations apart that the data at hand leaves equal.

A layer is run alone on a probe: the reference's by making its call again, the port's under each hypothesis. What was
right by luck (a symmetric kernel, values all positive, an image that is constant) is seldom right on all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.axes import Array, in_order, move
from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.runners.tensors import as_tensor

RIGHT = 1e-5
"""Relative error on a probe up to which an explanation still holds."""

Probe = Callable[[tuple[int, ...], int], Array]


def _impulse(shape: tuple[int, ...], seed: int) -> Array:
    value = np.zeros(shape, np.float32)
    value[tuple(size // 3 for size in shape)] = 1
    return value


def _ramp(shape: tuple[int, ...], seed: int) -> Array:
    return np.linspace(-1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def _negative(shape: tuple[int, ...], seed: int) -> Array:
    return -np.abs(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def _noise(shape: tuple[int, ...], seed: int) -> Array:
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


PROBES: Mapping[str, Probe] = {"noise": _noise, "negative": _negative, "ramp": _ramp, "impulse": _impulse}


def told_apart(evidence: Evidence, hypotheses: Sequence[Hypothesis]) -> tuple[list[Hypothesis], str]:
    """Those of the hypotheses that hold on every probe, and the probe that refuted another one; the first stays first.

    Where the layer cannot be run alone on either side, or nothing is left, all of them stay.
    """
    left, separating = list(hypotheses), ""
    if len({each.slug for each in hypotheses}) < 2:
        return left, separating
    for name, anchors, expected in _probed(evidence):
        errors = {id(each): _error(evidence, each, anchors, expected) for each in left}
        holding = [each for each in left if (error := errors[id(each)]) is None or error <= RIGHT]
        proven = [each for each in holding if errors[id(each)] is not None]
        if proven and len(holding) < len(left):
            left, separating = holding, name
        if len({each.slug for each in left}) < 2:
            break
    return left, separating


def _probed(evidence: Evidence) -> Iterator[tuple[str, list[Array], Array]]:
    """For each probe, the anchors' values and what the reference makes of them, in the port's layout."""
    call, names = evidence.call, evidence.segment.anchors
    if (
        call is None
        or not call.repeatable
        or not set(call.reads) <= set(names)
        or any(a.dtype != np.float32 for a in evidence.anchors)
    ):
        return
    scene = evidence.scene
    for probe, make in PROBES.items():
        anchors = [make(array.shape, seed) for seed, array in enumerate(evidence.anchors)]
        theirs = {
            name: in_order(move(a, scene.layout(name, a.ndim), scene.reference_layout(name, a.ndim)))
            for name, a in zip(names, anchors, strict=True)
        }
        value = call.on_arrays(theirs)
        layer = evidence.segment.layer
        moved = move(value, scene.reference_layout(layer, value.ndim), scene.layout(layer, value.ndim))
        yield probe, anchors, in_order(moved)


def _error(evidence: Evidence, hypothesis: Hypothesis, anchors: Sequence[Array], expected: Array) -> float | None:
    """The relative error on a probe under the hypothesis; None where it cannot be run there."""
    edit = hypothesis.repair
    if edit is None or hypothesis.beside:
        return None
    try:
        value = np.asarray(evidence.segment.run([as_tensor(a) for a in anchors], evidence.base | edit))
    except Exception:  # what the layer refuses to run on a probe is not refuted by it
        return None
    size = float(np.linalg.norm(expected.ravel()))
    if value.shape != expected.shape or not size or not np.isfinite(expected).all():
        return None
    return float(np.linalg.norm((value - expected).ravel())) / size
