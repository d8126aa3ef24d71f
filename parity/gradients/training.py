"""One step in training mode: what each layer computes then, and which running statistics it keeps.

What is random in training (dropout) is switched off on both sides, and its rates are compared instead. Torch keeps the
variance over n - 1 as its running variance, Keras the one over n: the reference's is computed anew from the values that
its layer reads, over n, and then compared under the usual limits.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.axes import Array
from parity.frameworks import TorchFunctionMode, torch
from parity.gradients.layer import Differentiated
from parity.gradients.port import Pull, drops, in_training
from parity.gradients.sides import Expected, measured, moved
from parity.report import Measure
from parity.runners.edits import Edit
from parity.runners.segments import Segment

DROPOUTS = frozenset({
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout", "featurealphadropout", "featuredropout",
})  # fmt: skip
"""Functions of torch that drop values at random, by name without underscores."""


class Undropped(TorchFunctionMode):
    """While active, dropouts let everything pass; `rates` has what they would have dropped, by the tap they read."""

    def __init__(self, name_of: Callable[[Any], str | None]) -> None:
        super().__init__()
        self._name_of = name_of
        self.rates: dict[str, list[float]] = defaultdict(list)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name.replace("_", "") in DROPOUTS:
            value, rate, training = (*args, *[None] * 3)[:3]
            value = given.get("input", value)
            rate = given.get("p", 0.5 if rate is None else rate)
            if given.get("training", given.get("train", training)) and rate:
                self.rates[self._name_of(value) or ""].append(float(rate))
            return value
        if name == "scaled_dot_product_attention":
            given["dropout_p"] = 0.0
            args = args[:4]
        return func(*args, **given)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """A normalisation that keeps running statistics: the reference's module before the step, the port's layer.

    `reads` is the tap that the reference's reads.
    """

    tap: str
    reads: str
    module: Any
    layer: Any

    @property
    def fraction(self) -> float:
        """The share of a batch in the reference's statistics after one step."""
        if self.module.momentum is None:
            return 1.0 / (int(self.module.num_batches_tracked) + 1)
        return float(self.module.momentum)

    @property
    def momentum(self) -> float:
        """What Keras calls momentum, for the reference's statistics."""
        return 1.0 - self.fraction

    def expected(self, values: Expected) -> dict[str, Expected]:
        """The reference's statistics after a step on the values it reads, the variance over n."""
        after = [self._after(array) for array in (values.rounded, values.exact)]
        return {
            name: Expected(rounded=after[0][index], exact=after[1][index])
            for index, name in enumerate(("running_mean", "running_var"))
        }

    def _after(self, values: Array) -> tuple[Array, Array]:
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        before = (self.module.running_mean.numpy(), self.module.running_var.numpy())
        batch = values.mean(axes), values.var(axes)
        mean, variance = (
            (old * (1 - self.fraction) + new * self.fraction).astype(values.dtype)
            for old, new in zip(before, batch, strict=True)
        )
        return mean, variance

    def scale(self, values: Array) -> float:
        """How much larger than its deviation a channel is: the mean that is subtracted is rounded in its size."""
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        deviation = np.sqrt(values.var(axes) + self.module.eps)
        return float(max(1.0, (np.sqrt(np.square(values).mean(axes)) / deviation).max()))

    def over(self, values: Array) -> int:
        """How many values the batch's statistics of a channel are taken over."""
        return int(values.size // values.shape[1])


@dataclass(kw_only=True)
class Step:
    """What came of a layer in training mode: measures by name, and notes on what the frameworks do differently."""

    measures: dict[str, Measure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every one is within its limits."""
        return all(measure.passed for measure in self.measures.values())

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((measure.relative for measure in self.measures.values()), default=0.0)


def statistics_of(differentiated: Differentiated, originals: Mapping[str, Any]) -> Iterator[Statistics]:
    """The normalisations of a segment that keep statistics on both sides; `originals` are modules before the step."""
    segment, sides = differentiated.segment, differentiated.sides
    modules = {tap: module for tap, module in sides.modules(segment).items() if _keeps(module)}
    layers = list({id(n.operation): n.operation for n in segment.nodes if hasattr(n.operation, "moving_mean")}.values())
    if len(modules) == len(layers):
        for (tap, module), layer in zip(modules.items(), layers, strict=True):
            reads = sides.calls[tap].reads
            if len(reads) == 1:
                yield Statistics(tap=tap, reads=reads[0], module=originals[sides.path(module)], layer=layer)


def _keeps(module: torch.nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None and getattr(module, "running_var", None) is not None


def step(differentiated: Differentiated, kept: Sequence[Statistics], mode: str, edit: Edit | None = None) -> Step:
    """Run a segment in training mode on the reference's values, under an edit that `in_training` or a replay gives."""
    segment, sides = differentiated.segment, differentiated.sides
    edit = edit or in_training(segment)
    made, came = differentiated.pull(mode, edit), Step()
    value = moved(made.value, segment.layer, differentiated.axes, back=True)
    terms, scale = _summed(kept, differentiated)
    expected = sides.value(segment.layer).summed(terms, scale)
    came.measures["value"] = measured(value, expected, differentiated.policy, anchored=True)
    if kept:
        flows = differentiated.flows(made.pulled[0], edit, terms=terms, scale=scale)
        came.measures |= {f"gradient of {name.removeprefix('.')}": flow.measure for name, flow in flows.all.items()}
    for each in kept:
        came.measures |= _kept(each, differentiated, made, edit)
        came.notes += _notes(each, sides.value(each.reads).rounded)
    return came


def _kept(each: Statistics, differentiated: Differentiated, made: Pull, edit: Edit) -> dict[str, Measure]:
    change: Any = edit.replaced.get(each.layer)
    layer = getattr(change, "layer", each.layer)
    ours = {"running_mean": layer.moving_mean, "running_var": layer.moving_variance}
    before = "" if each.tap == differentiated.segment.layer else f"{each.tap}."
    values = differentiated.sides.value(each.reads)
    found = {}
    for name, expected in each.expected(values).items():
        actual = made.updated.get(id(ours[name]), np.asarray(ours[name]))
        expected = expected.summed(each.over(values.rounded), each.scale(values.rounded))
        found[f"{before}{name}"] = measured(actual, expected, differentiated.policy, anchored=True)
    return found


def _summed(kept: Sequence[Statistics], differentiated: Differentiated) -> tuple[int, float]:
    """How many terms the sums over a batch have in a segment, and how much of them cancels; 1 without such sums."""
    values = [(each, differentiated.sides.value(each.reads).rounded) for each in kept]
    return (
        max((each.over(array) for each, array in values), default=1),
        max((each.scale(array) for each, array in values), default=1.0),
    )


def _notes(each: Statistics, values: Array) -> Iterator[str]:
    count = each.over(values)
    if count > 1:
        yield (
            f"torch keeps the variance over n - 1, {count / (count - 1):.6g} times the one over n = {count} that Keras "
            f"keeps: the frameworks differ there by {_share(each, count):.1e} after one step, and it is left out"
        )


def _share(each: Statistics, count: int) -> float:
    return each.fraction / (count - 1)


def rates_of_port(segments: Sequence[Segment]) -> dict[str, list[float]]:
    """The rates of the port's dropouts, by the tap of the reference that they come after."""
    layer_of = {segment.tap.key: segment.layer for segment in segments}
    for segment in segments:
        layer_of |= dict(zip(segment.anchor_keys, segment.anchors, strict=True))
    producer = {id(tensor): node for segment in segments for node in segment.nodes for tensor in node.outputs}
    found: dict[str, list[float]] = defaultdict(list)
    for node in {id(node): node for segment in segments for node in segment.nodes}.values():
        if drops(node.operation) and (rate := getattr(node.operation, "rate", 0)):
            found[_before(node, layer_of, producer)].append(float(rate))
    return dict(found)


def _before(node: Any, layer_of: Mapping[int, str], producer: Mapping[int, Any]) -> str:
    """The nearest tap of the reference at or before what a node reads first."""
    tensor = node.input_tensors[0]
    while id(tensor) not in layer_of:
        if id(tensor) not in producer or not producer[id(tensor)].input_tensors:
            return ""
        tensor = producer[id(tensor)].input_tensors[0]
    return layer_of[id(tensor)]


def other_rates(theirs: Mapping[str, Sequence[float]], ours: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """For each tap after which the two sides drop differently, how, in words."""
    found = {}
    for tap in dict.fromkeys([*theirs, *ours]):
        pair = sorted(theirs.get(tap, ())), sorted(ours.get(tap, ()))
        same = len(pair[0]) == len(pair[1]) and all(map(math.isclose, *pair))
        if not same:
            found[tap] = f"after it the port drops {_rates(pair[1])}, the reference {_rates(pair[0])}"
    return found


def _rates(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates) or "nothing"
