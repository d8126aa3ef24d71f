"""Causes in pooling: what is put around the input, windows beyond its end, what an average divides by, the bins."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.diagnosis.geometry import paddings, spatial
from parity.diagnosis.padding import padded, resampled
from parity.diagnosis.relations import near
from parity.diagnosis.words import settings_of, written
from parity.frameworks import keras
from parity.runners.edits import Change
from parity.runners.tensors import as_tensor

KINDS = ("maxpool1d", "maxpool2d", "avgpool1d", "avgpool2d", "adaptiveavgpool1d", "adaptiveavgpool2d")
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Windows, steps, what lies before the input on each axis of space, its value, and whether averages count it."""

    window: tuple[int, ...]
    step: tuple[int, ...]
    before: tuple[int, ...]
    fill: float
    include: bool


def pooling(evidence: Evidence) -> Iterator[Hypothesis]:
    """pooling: padded with 0 for -inf, another ceil_mode or count_include_pad, other windows, other bins."""
    exact = _exactly(evidence) if evidence.kind in KINDS and len(evidence.segment.anchors) == 1 else None
    if exact is None:
        return
    last, wanted = evidence.segment.node, _reference_in_words(evidence)
    change = f"pool as the reference does in {written(last.operation)}: {wanted}"
    if _only_pools(evidence):
        detail = f"the port pools with {_port_in_words(evidence)}; the reference with {wanted}"
        yield Hypothesis(slug="pooling", detail=detail, change=change, edit=evidence.instead(exact))
    for words, variant in _variants(evidence):
        predicted = np.asarray(variant(as_tensor(evidence.anchors[0])))
        if predicted.shape == evidence.actual.shape and near(evidence.actual, predicted):
            yield Hypothesis(
                slug="pooling",
                detail=f"the port pools {words}; the reference with {wanted}",
                change=change,
                predicted=lambda predicted=predicted: predicted,  # type: ignore[misc]
                mend=evidence.instead(exact),
            )
            return


def _only_pools(evidence: Evidence) -> bool:
    """Whether the port's segment is padding and pooling, so that its fault is in how it does that."""
    *route, last = evidence.segment.nodes
    name = type(last.operation).__name__
    pools = "Pool" in name or name in ("Mean", "Max", "AdaptiveAveragePool", "AdaptiveMaxPool")
    return pools and len(last.input_tensors) == 1 and paddings(evidence, route) is not None


def _variants(evidence: Evidence) -> Iterator[tuple[str, Change]]:
    """The ways in which ports pool that are not the reference's."""
    axes = spatial(evidence)
    sizes = [evidence.anchors[0].shape[axis] for axis in axes]
    counts = [evidence.actual.shape[axis] for axis in axes]
    if evidence.kind.startswith("adaptive"):
        for words, edges in BINS.items():
            matrices = [_bins(size, count, edges) for size, count in zip(sizes, counts, strict=True)]
            yield words, partial(resampled, axes=axes, matrices=matrices)
        return
    pool = _pool(evidence)
    if pool is None:
        return
    for start in range(max(pool.window)):
        way = replace(pool, before=(start,) * len(axes))
        for words, fill, include in (
            ("with zeros put around", 0.0, True),
            ("the places outside left out", LOWEST, False),
        ):
            other = replace(way, fill=fill, include=include)
            if _told_apart(evidence, other, pool):
                yield f"{words}, {start} before", _pooled(evidence, other, counts)


def _told_apart(evidence: Evidence, way: Pool, other: Pool) -> bool:
    """Whether two ways differ: a maximum does not ask what an average counts, nor an average what is put around."""
    if evidence.kind.startswith("max"):
        return (way.before, way.fill) != (other.before, other.fill)
    return (way.before, way.include) != (other.before, other.include)


def _pool(evidence: Evidence) -> Pool | None:
    """The reference's pooling; None for one that is not known here."""
    settings, axes = evidence.settings, spatial(evidence)
    window = _each(settings.get("kernel_size"), axes)
    step = _each(settings.get("stride") or window, axes)
    pad = _each(settings.get("padding", 0), axes)
    if window is None or step is None or pad is None or settings.get("dilation", 1) not in (1, (1, 1), (1,)):
        return None
    fill = LOWEST if evidence.kind.startswith("max") else 0.0
    return Pool(window=window, step=step, before=pad, fill=fill, include=bool(settings.get("count_include_pad", True)))


def _exactly(evidence: Evidence) -> Change | None:
    """The reference's pooling in Keras."""
    if evidence.anchors[0].ndim != evidence.expected.ndim:
        return None
    axes = spatial(evidence)
    counts = [evidence.expected.shape[axis] for axis in axes]
    if evidence.kind.startswith("adaptive"):
        sizes = [evidence.anchors[0].shape[axis] for axis in axes]
        matrices = [_bins(size, count, "torch") for size, count in zip(sizes, counts, strict=True)]
        return partial(resampled, axes=axes, matrices=matrices)
    pool = _pool(evidence)
    return None if pool is None else _pooled(evidence, pool, counts)


def _pooled(evidence: Evidence, pool: Pool, counts: Sequence[int]) -> Change:
    """A way to pool to `counts` outputs along each axis of space."""
    axes = spatial(evidence)
    sizes = [evidence.anchors[0].shape[axis] for axis in axes]
    rows = list(zip(sizes, pool.window, pool.step, pool.before, counts, strict=True))
    sides = [
        (before, max((count - 1) * step + window - size - before, 0)) for size, window, step, before, count in rows
    ]
    highest = evidence.kind.startswith("max")
    layer = _layer(evidence, "Max" if highest else "Average", pool.window, pool.step)
    put = partial(padded, axes=axes, sides=sides, mode="constant", value=pool.fill if highest else 0.0)
    share = 1.0 if highest else _share(evidence, rows, pool.include)
    return lambda x: layer(put(x)) if highest else layer(put(x)) * share


def _layer(evidence: Evidence, kind: str, window: Sequence[int], step: Sequence[int]) -> Any:
    layer = getattr(keras.layers, f"{kind}Pooling{len(window)}D")
    last = evidence.channel_axis == evidence.expected.ndim - 1
    return layer(
        tuple(window), strides=tuple(step), padding="valid", data_format="channels_last" if last else "channels_first"
    )


def _share(evidence: Evidence, rows: Sequence[tuple[int, int, int, int, int]], include: bool) -> Array:
    """The window's size over what torch divides by, for each output: windows are cut where the padded input ends."""
    shape = [1] * evidence.expected.ndim
    share = np.ones(shape)
    for axis, (size, window, step, before, count) in zip(spatial(evidence), rows, strict=True):
        first = np.arange(count) * step - before
        last = np.minimum(first + window, size + before)
        if not include:
            first, last = np.maximum(first, 0), np.minimum(last, size)
        along = list(shape)
        along[axis] = -1
        share = share * (window / np.maximum(last - first, 1)).reshape(along)
    return share.astype(np.float32)


BINS = {
    "in bins with rounded edges": "round",
    "in bins that do not overlap": "floor",
    "in bins of one size from the start": "equal",
}


def _bins(size: int, count: int, edges: str) -> Array:
    """Adaptive bins as a matrix (outputs, inputs) of averages; torch's begin at the floor and end at the ceiling."""
    matrix = np.zeros((count, size))
    for out in range(count):
        start, stop = out * size / count, (out + 1) * size / count
        first, last = int(np.floor(start)), int(np.ceil(stop))
        if edges == "round":
            first, last = round(start), round(stop)
        elif edges == "floor":
            last = int(np.floor(stop))
        elif edges == "equal":
            first, last = out * (size // count), (out + 1) * (size // count)
        matrix[out, first : max(last, first + 1)] = 1 / max(last - first, 1)
    return matrix


def _each(value: Any, axes: Sequence[int]) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,) * len(axes)
    return tuple(value) if isinstance(value, (tuple, list)) and len(value) == len(axes) else None


def _port_in_words(evidence: Evidence) -> str:
    *route, last = evidence.segment.nodes
    pads = paddings(evidence, route)
    config: Mapping[str, Any] = settings_of(last.operation)
    parts = [f"{name}={config[name]}" for name in ("pool_size", "strides", "padding") if name in config]
    if pads is not None and pads.any:
        parts.append(
            f"{pads.words()} of {pads.value:g} put around" if pads.mode == "zeros" else f"{pads.words()} around"
        )
    return ", ".join([type(last.operation).__name__, *parts])


def _reference_in_words(evidence: Evidence) -> str:
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "output_size")
    settings = evidence.settings
    parts = [f"{name}={settings[name]}" for name in names if settings.get(name) not in (None, False)]
    if evidence.kind.startswith("max") and settings.get("padding"):
        parts.append("padded with -inf")
    return ", ".join(parts)
