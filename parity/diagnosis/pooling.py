"""Causes in pooling: what is put around the input, windows beyond its end, what an average divides by, the bins."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.diagnosis.geometry import paddings, spatial
from parity.diagnosis.padding import padded, resampled
from parity.diagnosis.words import written
from parity.frameworks import keras
from parity.runners.edits import Change, Edit

KINDS = ("maxpool1d", "maxpool2d", "avgpool1d", "avgpool2d", "adaptiveavgpool1d", "adaptiveavgpool2d")
LOWEST = float(np.finfo(np.float32).min)


def pooling(evidence: Evidence) -> Iterator[Hypothesis]:
    """pooling: padded with 0 for -inf, another ceil_mode or count_include_pad, other windows, other bins."""
    if evidence.kind not in KINDS or len(evidence.segment.anchors) != 1 or evidence.reads[:1] == ():
        return
    exact = _exactly(evidence)
    if exact is None or not _only_pools(evidence):
        return
    anchor = next(tensor for node in evidence.segment.nodes for tensor in node.input_tensors)
    last = evidence.segment.node
    yield Hypothesis(
        slug="pooling",
        detail=f"the port pools with {_port_in_words(evidence)}; the reference with {_reference_in_words(evidence)}",
        change=f"pool as the reference does in {written(last.operation)}: {_reference_in_words(evidence)}",
        edit=Edit(replaced={last.operation: exact}, rerouted={(last, 0): anchor}),
    )


def _only_pools(evidence: Evidence) -> bool:
    """Whether the port's segment is padding and pooling, so that its fault is in how it does that."""
    *route, last = evidence.segment.nodes
    name = type(last.operation).__name__
    pools = "Pool" in name or name in ("Mean", "Max", "AdaptiveAveragePool", "AdaptiveMaxPool")
    return pools and len(last.input_tensors) == 1 and paddings(evidence, route) is not None


def _exactly(evidence: Evidence) -> Change | None:
    """The reference's pooling in Keras."""
    settings, axes = evidence.settings, spatial(evidence)
    sizes = (
        [evidence.anchors[0].shape[axis] for axis in axes] if evidence.anchors[0].ndim == evidence.expected.ndim else []
    )
    if not sizes:
        return None
    if evidence.kind.startswith("adaptive"):
        bins = [evidence.expected.shape[axis] for axis in axes]
        matrices = [_bins(size, count) for size, count in zip(sizes, bins, strict=True)]
        return partial(resampled, axes=axes, matrices=matrices)
    window = _each(settings.get("kernel_size"), axes)
    step = _each(settings.get("stride") or window, axes)
    pad = _each(settings.get("padding", 0), axes)
    if window is None or step is None or pad is None or settings.get("dilation", 1) not in (1, (1, 1), (1,)):
        return None
    counts = [evidence.expected.shape[axis] for axis in axes]
    after = [
        max((count - 1) * s + w - size - p, 0)
        for count, s, w, size, p in zip(counts, step, window, sizes, pad, strict=True)
    ]
    sides = list(zip(pad, after, strict=True))
    highest = evidence.kind.startswith("max")
    pool = _layer(evidence, "Max" if highest else "Average", window, step)
    put = partial(padded, axes=axes, sides=sides, mode="constant", value=LOWEST if highest else 0.0)
    if highest:
        return lambda x: pool(put(x))
    share = _share(evidence, sizes, window, step, pad, counts)
    return lambda x: pool(put(x)) * share


def _layer(evidence: Evidence, kind: str, window: Sequence[int], step: Sequence[int]) -> Any:
    layer = getattr(keras.layers, f"{kind}Pooling{len(window)}D")
    last = evidence.channel_axis == evidence.expected.ndim - 1
    return layer(
        tuple(window), strides=tuple(step), padding="valid", data_format="channels_last" if last else "channels_first"
    )


def _share(
    evidence: Evidence,
    sizes: Sequence[int],
    window: Sequence[int],
    step: Sequence[int],
    pad: Sequence[int],
    counts: Sequence[int],
) -> Array:
    """The window's size over what torch divides by, for each output: windows are cut where the padded input ends."""
    include = bool(evidence.settings.get("count_include_pad", True))
    shape = [1] * evidence.expected.ndim
    share = np.ones(shape)
    for axis, size, w, s, p, count in zip(spatial(evidence), sizes, window, step, pad, counts, strict=True):
        starts = np.arange(count) * s - p
        first, last = (starts, np.minimum(starts + w, size + p))
        if not include:
            first, last = np.maximum(starts, 0), np.minimum(last, size)
        along = list(shape)
        along[axis] = -1
        share = share * (w / (last - first)).reshape(along)
    return share.astype(np.float32)


def _bins(size: int, count: int) -> Array:
    """torch's adaptive bins as a matrix (outputs, inputs) of averages."""
    matrix = np.zeros((count, size))
    for out in range(count):
        start, stop = out * size // count, -(-(out + 1) * size // count)
        matrix[out, start:stop] = 1 / (stop - start)
    return matrix


def _each(value: Any, axes: Sequence[int]) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,) * len(axes)
    return tuple(value) if isinstance(value, (tuple, list)) and len(value) == len(axes) else None


def _port_in_words(evidence: Evidence) -> str:
    *route, last = evidence.segment.nodes
    pads = paddings(evidence, route)
    config: Mapping[str, Any] = _config(last.operation)
    parts = [f"{name}={config[name]}" for name in ("pool_size", "strides", "padding") if name in config]
    if pads is not None and pads.any:
        parts.append(
            f"{pads.words()} of {pads.value:g} put around" if pads.mode == "zeros" else f"{pads.words()} around"
        )
    return ", ".join([type(last.operation).__name__, *parts])


def _config(operation: Any) -> Mapping[str, Any]:
    try:
        return dict(operation.get_config())
    except (AttributeError, NotImplementedError):
        return {}


def _reference_in_words(evidence: Evidence) -> str:
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "output_size")
    settings = evidence.settings
    parts = [f"{name}={settings[name]}" for name in names if settings.get(name) not in (None, False)]
    if evidence.kind.startswith("max") and settings.get("padding"):
        parts.append("padded with -inf")
    return ", ".join(parts)
