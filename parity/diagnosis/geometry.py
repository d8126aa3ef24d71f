"""Causes in where a convolution reads and writes: padding, stride and dilation, the crop of a transposed one."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from parity.axes import Array
from parity.diagnosis.evidence import INFERRED, SEEN, Evidence, Hypothesis, filled
from parity.diagnosis.padding import Sides, cropped, padded
from parity.diagnosis.words import value_in_words, written
from parity.frameworks import keras
from parity.runners.edits import Change, Edit, Node, copy_of
from parity.runners.tensors import as_tensor

CONVOLUTIONS = frozenset({"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"})
TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})
PADDINGS = frozenset({"ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Pad"})
CROPPINGS = frozenset({"Cropping1D", "Cropping2D", "Cropping3D", "GetItem", "Slice"})
MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
PADS = {"reflectionpad": "reflect", "replicationpad": "replicate", "circularpad": "circular", "constantpad": "constant"}
"""How torch's layers that pad do it, by their kind without its number of axes; the others say their mode."""


@dataclass(frozen=True, kw_only=True)
class Padding:
    """What is put around an input: how much on each side, and of what."""

    sides: Sides
    mode: str = "zeros"
    value: float = 0.0

    @property
    def any(self) -> bool:
        """Whether there is any."""
        return any(before or after for before, after in self.sides)

    def words(self) -> str:
        """ "1,1" where all axes are alike, else axis by axis; with what, where that is not zeros."""
        rows = [f"{before},{after}" for before, after in self.sides]
        text = rows[0] if len(set(rows)) == 1 else " and ".join(rows)
        filling = f"{self.value:g}" if self.mode == "zeros" and self.value else self.mode
        return text if filling == "zeros" or not self.any else f"{text} ({filling})"

    def __eq__(self, other: object) -> bool:
        """Equal sides, and where there are any, equal filling."""
        if not isinstance(other, Padding) or self.sides != other.sides:
            return False
        return not self.any or (self.mode, self.value) == (other.mode, other.value)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where the padding before a convolution begins: the tensor that is padded, its value, and the nodes that pad."""

    tensor: Any
    value: Array
    nodes: tuple[Node, ...]


def convolution(evidence: Evidence) -> Iterator[Hypothesis]:
    """padding, stride-dilation: the convolution reads other places than the reference's."""
    if type(evidence.operation).__name__ not in CONVOLUTIONS or len(evidence.node.input_tensors) != 1:
        return
    wanted, start = _reference(evidence), _start(evidence)
    if wanted is None:
        return
    strides, dilation, pads = wanted
    config = evidence.config
    steps = {
        name: f"{name}={value_in_words(config[key])}; the reference's is {value_in_words(value)}"
        for name, key, value in (("stride", "strides", strides), ("dilation", "dilation_rate", dilation))
        if tuple(config[key]) != value
    }
    present = _port(evidence, start)
    if present is None and evidence.config["padding"] != "same":
        present = _by_values(evidence, start.value)
    if not steps and (present is None or present == pads):
        return
    how = f"{_how_padded(evidence, start)} pads {present.words()}" if present else "it is padded otherwise"
    padding = f"{how}; reference pads {pads.words()}"
    yield Hypothesis(
        slug="stride-dilation" if steps else "padding",
        detail="; ".join(steps.values()) if steps else padding,
        change=_change(evidence, start, strides, dilation, pads),
        edit=_bypassing(evidence, start.tensor, _exactly(evidence, strides, dilation, pads)),
        standing=SEEN,
    )


def padding_itself(evidence: Evidence) -> Iterator[Hypothesis]:
    """padding: a layer that only pads does it on other sides than the reference's, or with something else."""
    wanted = _put_by(evidence, evidence.segment.layer) if evidence.call else None
    if wanted is None or len(evidence.anchors) != 1 or evidence.anchors[0].ndim != evidence.expected.ndim:
        return
    axes, last = spatial(evidence), evidence.segment.node
    present = _around(evidence.actual, evidence.anchors[0], axes)
    if present == wanted:
        return
    put = partial(padded, axes=axes, sides=wanted.sides, mode=wanted.mode, value=wanted.value)
    yield Hypothesis(
        slug="padding",
        detail=f"it pads {present.words() if present else 'otherwise'}; reference pads {wanted.words()}",
        change=f"{written(last.operation)} -> {_padding_code(wanted, len(axes)).removesuffix(' + ')}",
        edit=evidence.instead(put),
        standing=SEEN,
    )


def transposed(evidence: Evidence) -> Iterator[Hypothesis]:
    """output-crop, stride-dilation: a transposed convolution writes, or is cropped, in other places."""
    if type(evidence.operation).__name__ not in TRANSPOSED or not _reads_one(evidence):
        return
    settings, axes = evidence.settings, spatial(evidence)
    if not isinstance(settings.get("stride"), tuple) or settings.get("dilation") not in ((1,), (1, 1), (1, 1, 1)):
        return
    if any(type(node.operation).__name__ not in CROPPINGS | PADDINGS for node in evidence.after):
        return
    strides = tuple(settings["stride"])
    starts = tuple(int(pad) for pad in settings["padding"])
    sizes = [evidence.expected.shape[axis] for axis in axes]
    whole = filled(
        copy_of(evidence.operation, padding="valid", strides=strides, output_padding=None), evidence.port_weights
    )

    def exactly(x: Any) -> Any:
        full = whole(x)
        missing = [
            max(start + size - full.shape[axis], 0) for axis, start, size in zip(axes, starts, sizes, strict=True)
        ]
        return cropped(padded(full, axes, [(0, more) for more in missing]), axes, starts, sizes)

    same = strides == tuple(evidence.config["strides"])
    extra = tuple(settings.get("output_padding", (0,) * len(axes)))
    yield Hypothesis(
        slug="output-crop" if same else "stride-dilation",
        detail=(
            f"the reference crops its output by {value_in_words(starts)} at the start, "
            f"output_padding {value_in_words(extra)} at the end; the port crops it elsewhere"
            if same
            else f"stride={value_in_words(evidence.config['strides'])}; the reference's is {value_in_words(strides)}"
        ),
        change=(
            f"{written(evidence.operation, padding=evidence.config['padding'])} -> "
            f'padding="valid", strides={value_in_words(strides)}, then crop {value_in_words(starts)} at the start of '
            f"each axis and keep {'x'.join(map(str, sizes))}"
        ),
        edit=_bypassing(evidence, evidence.anchor, exactly),
        standing=INFERRED if same else SEEN,
    )


def _reads_one(evidence: Evidence) -> bool:
    """Whether the segment has one anchor, and only padding on the way from it."""
    return len(evidence.segment.anchors) == 1 and len(evidence.node.input_tensors) == 1


def spatial(evidence: Evidence) -> list[int]:
    """The axes of space in the layer's value."""
    return [axis for axis in range(1, evidence.expected.ndim) if axis != evidence.channel_axis]


def _reference(evidence: Evidence) -> tuple[tuple[int, ...], tuple[int, ...], Padding] | None:
    """Strides, dilation and padding of the reference's convolution; None where it has none that is known."""
    settings, axes = evidence.settings, spatial(evidence)
    strides, dilation = _tuple(settings.get("stride"), axes), _tuple(settings.get("dilation"), axes)
    kernel = evidence.config.get("kernel_size")
    if strides is None or dilation is None or kernel is None:
        return None
    pads = settings.get("padding")
    sides: Sides
    if pads == "same":
        totals = [rate * (size - 1) for rate, size in zip(dilation, kernel, strict=True)]
        sides = tuple((total // 2, total - total // 2) for total in totals)
    else:
        amounts = _tuple(0 if pads == "valid" else pads, axes)
        if amounts is None:
            return None
        sides = tuple((amount, amount) for amount in amounts)
    own, before = Padding(sides=sides, mode=settings.get("padding_mode", "zeros")), _before(evidence)
    if own.any and before.any and own.mode != before.mode:
        return None
    return strides, dilation, _sum(before, own)


def _before(evidence: Evidence) -> Padding:
    """What calls of the reference that only pad put around what its layer reads, where the segment begins before
    them."""
    total = Padding(sides=((0, 0),) * len(spatial(evidence)))
    reads = evidence.call.reads if evidence.call else ()
    while len(reads) == 1 and reads[0] not in evidence.segment.anchors and reads[0] in evidence.scene.calls:
        one = _put_by(evidence, reads[0])
        if one is None or (total.any and one.any and (one.mode, one.value) != (total.mode, total.value)):
            break
        total, reads = _sum(one, total), evidence.scene.calls[reads[0]].reads
    return total


def _put_by(evidence: Evidence, name: str) -> Padding | None:
    """What a call of the reference puts around an image, by the port's axes; None for a call that does not pad."""
    scene, rank = evidence.scene, evidence.expected.ndim
    kind, settings = re.sub(r"\dd$", "", scene.kind(name)), scene.settings(name)
    amounts = settings.get("pad", settings.get("padding"))
    if (kind != "pad" and kind not in PADS) or not isinstance(amounts, (tuple, list)):
        return None
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))  # torch's last axis comes first
    by_letter = dict(zip(reversed(scene.reference_layout(name, rank)), pairs, strict=False))
    ours, axes = scene.layout(name, rank), spatial(evidence)
    if any(any(pair) for letter, pair in by_letter.items() if letter not in {ours[axis] for axis in axes}):
        return None
    sides = tuple((int(a), int(b)) for a, b in (by_letter.get(ours[axis], (0, 0)) for axis in axes))
    mode = PADS.get(kind, settings.get("mode", "constant"))
    return Padding(sides=sides, mode="zeros" if mode == "constant" else mode, value=float(settings.get("value") or 0))


def _tuple(value: Any, axes: Sequence[int]) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,) * len(axes)
    return tuple(value) if isinstance(value, (tuple, list)) and len(value) == len(axes) else None


def _start(evidence: Evidence) -> Start:
    """The anchor, where padding in whatever form is all that lies between; else what the last padding reads."""
    (arrival,) = evidence.node.input_tensors
    if len(evidence.anchors) == 1:
        padded_anchor = Start(tensor=evidence.anchor, value=evidence.anchors[0], nodes=evidence.route)
        if paddings(evidence, evidence.route) or _by_values(evidence, padded_anchor.value):
            return padded_anchor
    maker = {id(tensor): node for node in evidence.route for tensor in node.outputs}
    nodes: list[Node] = []
    while id(arrival) in maker and type(maker[id(arrival)].operation).__name__ in PADDINGS:
        nodes.insert(0, maker[id(arrival)])
        arrival = nodes[0].input_tensors[0]
    return Start(tensor=arrival, value=evidence.passing(arrival), nodes=tuple(nodes))


def _by_values(evidence: Evidence, inner: Array) -> Padding | None:
    """What is around `inner` in what the convolution reads, however it got there; None if it is not in there."""
    return _around(evidence.arrivals[0], inner, spatial(evidence))


def _around(outer: Array, inner: Array, axes: Sequence[int]) -> Padding | None:
    """What is around `inner` in `outer`; None if it is not in there, or nothing is."""
    if outer.ndim != inner.ndim:
        return None
    more = [outer.shape[axis] - inner.shape[axis] for axis in axes]
    if min(more) < 0 or not any(more):
        return None
    for before in itertools.product(*(range(each + 1) for each in more)):
        sides = tuple((first, total - first) for first, total in zip(before, more, strict=True))
        inside = cropped(outer, axes, before, [inner.shape[axis] for axis in axes])
        if np.array_equal(inside, inner):
            for mode in MODES:
                try:
                    if np.array_equal(np.asarray(padded(as_tensor(inner), axes, sides, mode)), outer):
                        return Padding(sides=sides, mode=mode)
                except Exception:  # a map too small for this mode
                    continue
            return Padding(sides=sides, mode="other values")
    return None


def _port(evidence: Evidence, start: Start) -> Padding | None:
    """What the port pads: by the padding nodes and by the convolution itself; None if that is not all."""
    total = paddings(evidence, start.nodes)
    if total is None:
        return None
    if evidence.config["padding"] != "same":
        return total
    axes = spatial(evidence)
    sizes = [start.value.shape[axis] + sum(total.sides[i]) for i, axis in enumerate(axes)]
    own = Padding(sides=tuple(_same(sizes, evidence.config)))
    if total.any and own.any and total.mode != "zeros":
        return None
    return _sum(total, own)


def paddings(evidence: Evidence, nodes: Sequence[Node]) -> Padding | None:
    """What padding nodes put around an input together; None where one of them is something else."""
    axes = spatial(evidence)
    total: Padding = Padding(sides=((0, 0),) * len(axes))
    for node in nodes:
        one = _padding_of(node, axes) if _says_how_much(node) else _by_its_values(evidence, node, axes)
        if one is None or (total.any and one.any and (one.mode, one.value) != (total.mode, total.value)):
            return None
        total = _sum(total, one)
    return total


def _sum(first: Padding, second: Padding) -> Padding:
    sides = tuple((a + c, b + d) for (a, b), (c, d) in zip(first.sides, second.sides, strict=True))
    filling = first if first.any else second
    return Padding(sides=sides, mode=filling.mode, value=filling.value)


def _says_how_much(node: Node) -> bool:
    """Whether an operation knows what it pads; one of TensorFlow, between the layers of a watched port, does not."""
    return type(node.operation).__name__ != "Pad" or hasattr(node.operation, "pad_width")


def _by_its_values(evidence: Evidence, node: Node, axes: Sequence[int]) -> Padding | None:
    return _around(evidence.passing(node.outputs[0]), evidence.passing(node.input_tensors[0]), axes)


def _padding_of(node: Node, axes: Sequence[int]) -> Padding | None:
    operation = node.operation
    name = type(operation).__name__
    if name not in PADDINGS:
        return None
    if name != "Pad":
        sides = operation.padding if isinstance(operation.padding[0], (tuple, list)) else [operation.padding]
        return Padding(sides=tuple((int(before), int(after)) for before, after in sides))
    widths = [tuple(map(int, pair)) for pair in operation.pad_width]
    if any(pair != (0, 0) for axis, pair in enumerate(widths) if axis not in axes):
        return None
    given = [*node.arguments.args[1:], *node.arguments.kwargs.values()]
    value = next((float(each) for each in given if isinstance(each, (int, float))), 0.0)
    mode = "zeros" if operation.mode == "constant" else operation.mode
    return Padding(sides=tuple((widths[axis][0], widths[axis][1]) for axis in axes), mode=mode, value=value)


def _same(sizes: Sequence[int], config: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """What "same" pads, as TensorFlow defines it: the smaller half before."""
    for size, kernel, stride, dilation in zip(
        sizes, config["kernel_size"], config["strides"], config["dilation_rate"], strict=True
    ):
        reach = dilation * (kernel - 1) + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        yield total // 2, total - total // 2


def _exactly(evidence: Evidence, strides: tuple[int, ...], dilation: tuple[int, ...], pads: Padding) -> Change:
    """The layer on its input padded as given, with no padding of its own."""
    convolve = evidence.copy(padding="valid", strides=strides, dilation_rate=dilation)
    axes = spatial(evidence)
    if pads.mode == "zeros" and not pads.value and len(axes) == 2:
        zeros = keras.layers.ZeroPadding2D(pads.sides, data_format=evidence.config["data_format"])
        return lambda x: convolve(zeros(x) if pads.any else x)
    put = partial(padded, axes=axes, sides=pads.sides, mode=pads.mode, value=pads.value)
    return lambda x: convolve(put(x) if pads.any else x)


def _bypassing(evidence: Evidence, source: Any, change: Change) -> Edit:
    """The layer replaced, reading `source` itself; what comes after it, a crop, is left out."""
    leave = {node.operation: _first_argument for node in evidence.after}
    return Edit(replaced={evidence.operation: change, **leave}, rerouted={(evidence.node, 0): source})


def _first_argument(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _how_padded(evidence: Evidence, start: Start) -> str:
    parts = [type(node.operation).__name__ for node in start.nodes]
    return " + ".join([*parts, evidence.config["padding"]])


def _change(
    evidence: Evidence, start: Start, strides: tuple[int, ...], dilation: tuple[int, ...], pads: Padding
) -> str:
    config = evidence.config
    now = {"strides": config["strides"], "padding": config["padding"]}
    settings = {"padding": "valid", "strides": strides}
    if set(config["dilation_rate"]) | set(dilation) != {1}:
        now, settings = {**now, "dilation_rate": config["dilation_rate"]}, {**settings, "dilation_rate": dilation}
    by_hand = _padding_code(pads, len(strides))
    text = ", ".join(f"{name}={value_in_words(value)}" for name, value in settings.items())
    before = " + ".join([*(written(node.operation) for node in start.nodes), written(evidence.operation, **now)])
    return f"{before} -> {by_hand}{text}"


def _padding_code(pads: Padding, rank: int) -> str:
    if not pads.any:
        return ""
    sides = pads.sides
    amounts = {amount for pair in sides for amount in pair}
    text = str(next(iter(amounts))) if len(amounts) == 1 else str(sides)
    if pads.mode == "zeros" and not pads.value:
        return f"ZeroPadding{rank}D({text}) + "
    how = f"constant_values {pads.value:g}" if pads.mode == "zeros" else f'mode "{pads.mode}"'
    return f"keras.ops.pad by {text}, {how} + "
