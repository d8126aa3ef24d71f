"""One segment of the port, differentiated alone: which of its gradients differ from the reference's, and how far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from parity.axes import Array, Axes
from parity.errors import WeightError
from parity.gradients.port import Pull, Pulled, layers_with_weights, pull, weights_of
from parity.gradients.sides import Expected, Sides, measured, moved
from parity.gradients.weights import Origin, origins
from parity.report import Measure
from parity.runners.edits import NOTHING, Edit
from parity.runners.segments import Segment
from parity.tolerance import Policy

NUDGES, ULPS = 16, 4
"""How often a layer whose gradients differ is differentiated beside the reference's values, and how far from them."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One gradient of a layer: how it compares, and on which sides it is more than nothing."""

    measure: Measure
    reference: bool
    port: bool


@dataclass(frozen=True, kw_only=True)
class Flows:
    """All gradients of a layer alone: to the values that it reads, and to its weights."""

    to: Mapping[str, Flow]
    weights: Mapping[str, Flow]

    @property
    def all(self) -> Mapping[str, Flow]:
        """Both, by name; a weight's begins with a dot."""
        return {**self.to, **{f".{name}": flow for name, flow in self.weights.items()}}

    @property
    def passed(self) -> bool:
        """Whether every one is within its limits."""
        return all(flow.measure.passed for flow in self.all.values())

    @property
    def worst(self) -> float:
        """The largest relative error."""
        return max((flow.measure.relative for flow in self.all.values()), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A parameter of the reference, and which layer of the port carries it how."""

    origin: Origin
    layer: Any

    def variables(self) -> list[Any]:
        """The port's weights that carry it."""
        return [self.layer.weights[index] for index in self.origin.feeds()]


class Differentiated:
    """A segment, and the reference's gradients for it. `at` has the values its anchors are given (port layout)."""

    def __init__(self, segment: Segment, sides: Sides, axes: Axes, policy: Policy) -> None:
        self.segment = segment
        self.sides = sides
        self.axes = axes
        self.policy = policy

    @cached_property
    def _expected(self) -> tuple[Mapping[str, Expected], Mapping[str, Expected]]:
        value = self.sides.value(self.segment.layer).rounded
        layout = self.axes.of(self.segment.layer, value.ndim)[0]
        return self.sides.alone(self.segment, value.shape[layout.index("C")] if "C" in layout else 1)

    @property
    def expected_to(self) -> Mapping[str, Expected]:
        """The reference's gradients to what the layer reads."""
        return self._expected[0]

    @property
    def expected_weights(self) -> Mapping[str, Expected]:
        """The reference's gradients of the layer's parameters."""
        return self._expected[1]

    @cached_property
    def at(self) -> list[Array]:
        """The reference's values of the anchors, in the port's layout."""
        return [moved(self.sides.value(name).rounded, name, self.axes) for name in self.segment.anchors]

    @cached_property
    def cotangent(self) -> Array:
        """The reference's gradient at the value, in the port's layout."""
        return moved(self.sides.cotangent(self.segment.layer), self.segment.layer, self.axes)

    @cached_property
    def carried(self) -> Mapping[str, Carried]:
        """The parameters that a layer of the port carries, where the converters say how."""
        return carried(self.segment, self.sides)

    def pull(self, mode: str, edit: Edit = NOTHING, also: Sequence[Array] = (), at: Sequence[Array] = ()) -> Pull:
        """Differentiate the port's segment with the reference's gradient at its value, and with others `also`."""
        return pull(self.segment, at or self.at, [self.cotangent, *also], mode=mode, edit=edit)

    def flows(self, pulled: Pulled, edit: Edit = NOTHING, *, terms: int = 1, scale: float = 1.0) -> Flows:
        """The gradients that came of it against the reference's. Those to what it reads hold sums of `terms`."""
        to = {
            name: self._flow(
                expected if terms == 1 else expected.summed(terms, scale),
                None if given is None else moved(given, name, self.axes, back=True),
            )
            for name, expected in self.expected_to.items()
            for given in [pulled.anchors.get(name)]
        }
        by_id = dict(zip(map(id, weights_of(self.segment, edit)), pulled.weights, strict=True))
        weights = {}
        for name, each in self.carried.items():
            layer = edit.replaced.get(each.layer, each.layer)
            gradients = [by_id.get(id(weight)) for weight in getattr(layer, "weights", ())]
            if len(gradients) == len(each.origin.numbers):
                weights[name] = self._flow(self.expected_weights[name], each.origin.brought_back(gradients))
        return Flows(to=to, weights=weights)

    def _flow(self, expected: Expected, given: Array | None) -> Flow:
        measure = measured(given, expected, self.policy, anchored=True)
        return Flow(measure=measure, reference=expected.flows, port=given is not None and bool(given.any()))

    def nudged(self, mode: str, edit: Edit = NOTHING) -> Flows | None:
        """The gradients beside the reference's values, a few roundings away, if they are right there; None if nowhere.

        Where an activation has a kink, the two sides may round to different sides of it, and both are right. A fault
        does not go away with a rounding.
        """
        generator = np.random.default_rng(0)
        for draw in range(NUDGES):
            at = [_nudge(array, generator, 1 + draw % ULPS) for array in self.at]
            flows = self.flows(self.pull(mode, edit, at=at).pulled[0], edit)
            if flows.passed:
                return flows
        return None


def _nudge(array: Array, generator: np.random.Generator, most: int) -> Array:
    if array.dtype.kind != "f":
        return array
    ulps = generator.integers(-most, most + 1, size=array.shape).astype(array.dtype)
    nudged: Array = (array * (1 + ulps * np.finfo(array.dtype).eps)).astype(array.dtype)
    return nudged


def carried(segment: Segment, sides: Sides) -> dict[str, Carried]:
    """Which layers of a segment carry the reference's parameters: as many layers on either side, in their order."""
    modules = {tap: module for tap, module in sides.modules(segment).items() if any(True for _ in module.parameters())}
    layers = layers_with_weights(segment)
    if len(modules) != len(layers):
        return {}
    found: dict[str, Carried] = {}
    for (tap, module), layer in zip(modules.items(), layers, strict=True):
        try:
            for name, origin in origins(module, tap, layer).items():
                found[name if tap == segment.layer else f"{tap}.{name}"] = Carried(origin=origin, layer=layer)
        except (WeightError, AttributeError, RuntimeError):  # no converter, or a layer of quite another kind
            continue
    return {name: each for name, each in found.items() if name in sides.parameters(segment)}
