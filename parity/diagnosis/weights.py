"""Causes in a layer's weights: rearranged, flipped, scaled, rounded."""

import itertools
from collections.abc import Iterator

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis

NEAR = 1e-2
"""Relative distance under which a rearranged kernel counts as a candidate; the replay decides."""

KERNEL_AXES = {
    "convtranspose2d": "kh kw o i",
    "conv2d": "kh kw i o",
    "linear": "i o",
}


def kernel_arrangement(evidence: Evidence) -> Iterator[Hypothesis]:
    """kernel-axes, kernel-flip: the port's kernel is the reference's with axes permuted, reversed, or both."""
    if not (evidence.port_weights and evidence.source_weights):
        return
    kernel, source = evidence.port_weights[0], evidence.source_weights[0]
    names = KERNEL_AXES.get(evidence.segment.tap.kind, " ".join(f"axis{i}" for i in range(kernel.ndim))).split()
    for order in itertools.permutations(range(kernel.ndim)):
        turned = np.transpose(kernel, order)
        if turned.shape != source.shape:
            continue
        for flipped in _subsets(range(max(kernel.ndim - 2, 0))):
            moved = np.flip(turned, flipped)
            if (order == tuple(range(kernel.ndim)) and not flipped) or not _near(moved, source):
                continue
            swapped = order != tuple(range(kernel.ndim))
            yield Hypothesis(
                slug="kernel-axes" if swapped else "kernel-flip",
                detail=_describe(order if swapped else None, [names[axis] for axis in flipped], names),
                undone=lambda moved=moved: evidence.with_layer(weights=[moved, *evidence.port_weights[1:]]),  # type: ignore[misc]
            )


def weight_scale(evidence: Evidence) -> Iterator[Hypothesis]:
    """scale: one weight tensor is a constant multiple of the reference's."""
    for index, (weight, source) in enumerate(_pairs(evidence)):
        factor = _factor(weight, source)
        if factor is None or not _near(weight / factor, source, 1e-6) or np.array_equal(weight, source):
            continue
        others = list(evidence.port_weights)
        others[index] = (weight / factor).astype(weight.dtype)
        name = "kernel" if index == 0 else "bias"
        yield Hypothesis(
            slug="scale",
            detail=f"the {name} is {factor:.8g} times the reference's",
            undone=lambda others=others: evidence.with_layer(weights=others),  # type: ignore[misc]
        )


def weight_precision(evidence: Evidence) -> Iterator[Hypothesis]:
    """weight-precision: weight tensors are the reference's, rounded to fewer bits."""
    for precision, rounding in (("float16", _float16), ("bfloat16", _bfloat16)):
        restored, rounded = list(evidence.port_weights), []
        for index, (weight, source) in enumerate(_pairs(evidence)):
            if np.array_equal(weight, rounding(source)) and not np.array_equal(weight, source):
                restored[index] = source
                rounded.append("kernel" if index == 0 else "bias")
        if rounded:
            yield Hypothesis(
                slug="weight-precision",
                detail=f"the {' and '.join(rounded)} is the reference's rounded to {precision}",
                undone=lambda restored=restored: evidence.with_layer(weights=restored),  # type: ignore[misc]
            )


def _pairs(evidence: Evidence) -> Iterator[tuple[Array, Array]]:
    if len(evidence.port_weights) == len(evidence.source_weights):
        for weight, source in zip(evidence.port_weights, evidence.source_weights, strict=True):
            if weight.shape == source.shape:
                yield weight, source


def _near(actual: Array, expected: Array, limit: float = NEAR) -> bool:
    """Whether the distance is small relative to the size; a quick look at the first values spares most comparisons."""
    head = actual.reshape(-1)[:256] if actual.flags.c_contiguous else actual[:1].reshape(-1)[:256]
    wanted = expected[:1].reshape(-1)[: head.size] if not actual.flags.c_contiguous else expected.reshape(-1)[:256]
    scale = float(np.abs(expected).max()) or 1.0
    if head.shape == wanted.shape and float(np.abs(head - wanted).max()) > 2 * limit * scale:
        return False
    return float(np.linalg.norm((actual - expected).ravel())) <= limit * float(np.linalg.norm(expected.ravel()))


def _factor(weight: Array, source: Array) -> float | None:
    size = float(np.vdot(source.astype(np.float64), source.astype(np.float64)))
    factor = float(np.vdot(source.astype(np.float64), weight.astype(np.float64))) / size if size else 0.0
    return factor or None


def _float16(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def _bfloat16(values: Array) -> Array:
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def _subsets(axes: range) -> Iterator[tuple[int, ...]]:
    for count in range(len(axes) + 1):
        yield from itertools.combinations(axes, count)


def _describe(order: tuple[int, ...] | None, flipped: list[str], names: list[str]) -> str:
    parts = []
    if order is not None:
        parts.append(f"the kernel's axes are permuted: it needs {' '.join(names)} = its axes {order}")
    if flipped:
        parts.append(f"{'and ' if parts else 'the kernel is '}reversed along {' and '.join(flipped)}")
    return ", ".join(parts)
