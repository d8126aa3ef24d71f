"""Causes in where a layer reads: padding, resizing."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from parity.axes import Array
from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.frameworks import keras, tf

Sides = tuple[tuple[int, int], ...]


def padding(evidence: Evidence) -> Iterator[Hypothesis]:
    """padding: the port's convolution sees other zeros around its input than the reference's."""
    wanted = _reference_padding(evidence)
    if wanted is None or len(evidence.anchors) != 1 or not isinstance(evidence.operation, keras.layers.Conv2D):
        return
    present = _port_padding(evidence)
    if present is None or present == wanted:
        return
    how = _how_padded(evidence)
    yield Hypothesis(
        slug="padding",
        detail=f"{how} pads {_words(present)}; reference pads {_words(wanted)}",
        undone=lambda: _with_padding(evidence, wanted),
    )


def resize_method(evidence: Evidence) -> Iterator[Hypothesis]:
    """resize-method: the port interpolates in another way than the reference."""
    present = evidence.config.get("interpolation")
    if present is None:
        return
    for other in ("nearest", "bilinear", "bicubic"):
        if other != present:
            yield Hypothesis(
                slug="resize-method",
                detail=f"interpolation is {present!r}; the reference's is {other!r}",
                undone=lambda other=other: evidence.with_layer(interpolation=other),  # type: ignore[misc]
            )


def _reference_padding(evidence: Evidence) -> Sides | None:
    pads = getattr(evidence.module, "padding", None)
    mode = getattr(evidence.module, "padding_mode", "zeros")
    if not isinstance(pads, tuple) or mode != "zeros" or type(evidence.module).__name__ != "Conv2d":
        return None
    return tuple((int(pad), int(pad)) for pad in pads)


def _port_padding(evidence: Evidence) -> Sides | None:
    """Zeros before and after each spatial axis, by the padding layers of the segment and the convolution's own."""
    total = [[0, 0] for _ in _spatial(evidence)]
    for node in evidence.segment.nodes[:-1]:
        if not isinstance(node.operation, keras.layers.ZeroPadding2D):
            return None
        _add(total, node.operation.padding)
    if evidence.config["padding"] == "same":
        sizes = [evidence.anchors[0].shape[axis] + sum(total[i]) for i, axis in enumerate(_spatial(evidence))]
        _add(total, _same(sizes, evidence.config))
    return tuple((before, after) for before, after in total)


def _same(sizes: Sequence[int], config: Any) -> list[tuple[int, int]]:
    """What "same" pads, as TensorFlow defines it: the smaller half before."""
    sides = []
    for size, kernel, stride, dilation in zip(
        sizes, config["kernel_size"], config["strides"], config["dilation_rate"], strict=True
    ):
        reach = dilation * (kernel - 1) + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        sides.append((total // 2, total - total // 2))
    return sides


def _with_padding(evidence: Evidence, sides: Sides) -> Array:
    """The layer on its input padded as given, with no padding of its own; padding layers before it are passed by."""
    convolve = evidence.copy(padding="valid")
    axes = [(0, 0)] * evidence.expected.ndim
    for axis, side in zip(_spatial(evidence), sides, strict=True):
        axes[axis] = side

    def padded(x: Any, *args: Any, **kwargs: Any) -> Any:
        return convolve(tf.pad(x, axes))

    passed: dict[Any, Callable[..., Any]] = {node.operation: lambda x: x for node in evidence.segment.nodes[:-1]}
    return evidence.replay({**passed, evidence.operation: padded})


def _spatial(evidence: Evidence) -> list[int]:
    return [axis for axis in range(1, evidence.expected.ndim) if axis != evidence.channel_axis]


def _add(total: list[list[int]], sides: Sequence[Sequence[int]]) -> None:
    for sums, (before, after) in zip(total, sides, strict=True):
        sums[0] += int(before)
        sums[1] += int(after)


def _how_padded(evidence: Evidence) -> str:
    parts = [type(node.operation).__name__ for node in evidence.segment.nodes[:-1]]
    return " + ".join([*parts, evidence.config["padding"]])


def _words(sides: Sides) -> str:
    rows = [f"{before},{after}" for before, after in sides]
    return rows[0] if len(set(rows)) == 1 else " and ".join(rows)
