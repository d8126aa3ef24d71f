"""What the reference's gradients are, and how noisy: it is differentiated in float32, and in float64 for the noise.

The loss is the sum of every output times a fixed draw of normal numbers, the same on both sides.
"""

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from parity.axes import Array, Axes, in_order, move
from parity.comparison import Comparison, compare, noise_of
from parity.errors import PairError
from parity.frameworks import torch
from parity.pairs import Input
from parity.report import Measure
from parity.runners.calls import Call
from parity.runners.differentiable import Around, Differentiable, Gradients
from parity.runners.segments import Segment
from parity.runners.taps import positions
from parity.tolerance import UNIT_ROUNDOFF, Noise, Policy


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One gradient (or value) of the reference, in its layout, in both precisions.

    `least`, `least_max` and `least_gain` are what its noise is at least, in RMSE, in its maximum and as a factor: how
    far from it another order of the same sum may come.
    """

    rounded: Array
    exact: Array
    least: float = 0.0
    least_max: float = 0.0
    least_gain: float = 0.0

    @property
    def flows(self) -> bool:
        """Whether any of it is not zero."""
        return bool(self.rounded.any())

    @cached_property
    def noise(self) -> Noise:
        """How far a sample of the two precisions is apart, or at least what another order of summing may bring."""
        places = positions(self.rounded.shape)
        noise = noise_of(self.rounded.reshape(-1)[places], self.exact.reshape(-1)[places])
        return replace(
            noise,
            rmse=max(noise.rmse, self.least),
            max_abs=max(noise.max_abs, self.least_max),
            gain=max(abs(noise.gain), self.least_gain),
        )

    def summed(self, terms: int, scale: float = 1.0, *, uncancelled: Array | None = None) -> "Expected":
        """The same, known to be a sum of so many terms, of which another order may be off by the root of their number.

        Recursive summation of n terms is off by about sqrt(n) roundings of the sum (Higham and Mary, 2019), and of what
        it would be did its terms not cancel: `uncancelled` is such a sum. `scale` is how much larger what is summed is
        than what is left of it.
        """
        sums = [self.rounded] if uncancelled is None else [self.rounded, uncancelled]
        rounding = UNIT_ROUNDOFF * math.sqrt(terms) * scale
        return replace(
            self,
            least=rounding * max(float(np.sqrt(np.mean(np.square(each)))) for each in sums),
            least_max=rounding * max(float(np.abs(each).max()) for each in sums),
            least_gain=rounding,
        )


class Sides:
    """The reference's two precisions, differentiated on one input, cut at the taps that the segments end at and read.

    `outputs` names the outputs that count. With `training` both are in training mode.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        given: Input,
        segments: Sequence[Segment],
        outputs: Collection[str],
        policy: Policy,
        *,
        training: bool = False,
        also: Collection[str] = (),
        around: Around | None = None,
    ) -> None:
        self.wanted = {name for segment in segments for name in (*segment.anchors, segment.layer)}
        wanted = self.wanted | set(also)
        self.rounded = Differentiable(module, given, wanted, training=training, around=around)
        self.exact = self.rounded
        if policy.uses_float64:
            self.exact = Differentiable(module, given, wanted, float64=True, training=training, around=around)
        self.loss = {
            name: _drawn(name, tuple(value.shape))
            for name, value in self.rounded.outputs.items()
            if name in outputs and value.is_floating_point()
        }
        self.arrived: tuple[Gradients, Gradients] = ({}, {})
        self._given: tuple[Gradients, Gradients] = ({}, {})
        if self.loss or not training:  # in training a network may return others
            rounded = self.rounded.arriving(_as(self.loss, self.rounded))
            exact = rounded if self.exact is self.rounded else self.exact.arriving(_as(self.loss, self.exact))
            self.arrived, self._given = (rounded[0], exact[0]), (rounded[1], exact[1])

    @property
    def calls(self) -> Mapping[str, Call]:
        """What makes each tap."""
        return self.rounded.calls

    def live(self, name: str) -> bool:
        """Whether torch follows gradients to a tap or an input at all."""
        return name in self.rounded.live

    def arrives(self, name: str) -> bool:
        """Whether the gradient of the loss arrives at a tap, and is more than nothing."""
        return name in self.arrived[0] and bool(self.arrived[0][name].any())

    def value(self, name: str) -> Expected:
        """A tap's value."""
        rounded, exact = (side.values[name].numpy() for side in (self.rounded, self.exact))
        return Expected(rounded=rounded, exact=exact)

    def arriving(self, name: str) -> Expected:
        """The gradient of the loss that arrives at a tap; zeros where none does."""
        return self._expected(self.arrived, name, self.rounded.values[name])

    def given(self, parameter: torch.Tensor) -> Expected:
        """The gradient of the loss with respect to one of the float32 run's parameters."""
        name = next(name for name, each in self.rounded.module.named_parameters() if each is parameter)
        return self._expected(self._given, name, parameter)

    def reads(self, segment: Segment) -> list[str]:
        """The taps and inputs that a segment reads on either side, the port's first."""
        calls = self.rounded.calls
        found, seen, waiting = dict.fromkeys(segment.anchors), set[str](), [segment.layer]
        while waiting:
            name = waiting.pop()
            if name in self.wanted and name != segment.layer:
                found[name] = None
            elif name in calls and name not in seen:
                seen.add(name)
                waiting += calls[name].reads
        return list(found)

    def cotangent(self, layer: str) -> Array:
        """What a layer alone is differentiated with: what arrives there; where nothing does, a draw of numbers."""
        if self.arrives(layer):
            return self.arrived[0][layer].numpy()
        return _drawn(layer, tuple(self.rounded.values[layer].shape))

    def _uncancelled(self, segment: Segment) -> dict[str, Array]:
        """The gradients of the parameters were the signs at the layer's value drawn: sums that do not cancel."""
        cotangent = torch.from_numpy(self.cotangent(segment.layer))
        signs = torch.from_numpy(np.sign(_drawn(f"signs of {segment.layer}", tuple(cotangent.shape))))
        _, found = self.rounded.alone(segment.layer, cotangent * signs, (), self._parameters(self.rounded, segment))
        return {name: gradient.numpy() for name, gradient in found.items()}

    def alone(self, segment: Segment, channels: int) -> tuple[dict[str, Expected], dict[str, Expected]]:
        """The gradients of a layer alone: to what it reads, if floats, and to its parameters, by the names of those."""
        layer = segment.layer
        anchors = [name for name in self.reads(segment) if self.rounded.values[name].is_floating_point()]
        drawn = _drawn(layer, tuple(self.rounded.values[layer].shape))

        def ask(side: Differentiable, arrived: Gradients) -> tuple[Gradients, Gradients]:
            cotangent = arrived[layer] if self.arrives(layer) and layer in arrived else _as({layer: drawn}, side)[layer]
            return side.alone(layer, cotangent, anchors, self._parameters(side, segment))

        rounded = ask(self.rounded, self.arrived[0])
        exact = rounded if self.exact is self.rounded else ask(self.exact, self.arrived[1])
        weights, uncancelled = {}, self._uncancelled(segment)
        for name, like in self.parameters(segment).items():
            expected = self._expected((rounded[1], exact[1]), name, like)
            terms = max(1, drawn.size // min(channels, expected.rounded.size))
            weights[name] = expected.summed(terms, uncancelled=uncancelled.get(name))
        return {
            name: self._expected((rounded[0], exact[0]), name, self.rounded.values[name]) for name in anchors
        }, weights

    def _expected(self, found: tuple[Gradients, Gradients], name: str, like: torch.Tensor) -> Expected:
        arrays = [side[name].numpy() if name in side else np.zeros(tuple(like.shape)) for side in found]
        return Expected(rounded=arrays[0].astype(np.float32), exact=arrays[1])

    def parameters(self, segment: Segment) -> dict[str, torch.Tensor]:
        """The parameters of the reference between a segment's anchors and its layer: the layer's own by their names,
        others by that of their tap before it."""
        return self._parameters(self.rounded, segment)

    def _parameters(self, side: Differentiable, segment: Segment) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for tap, module in self.modules(segment, side).items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and not any(parameter is known for known in found.values()):
                    found[name if tap == segment.layer else f"{tap}.{name}"] = parameter
        return found

    def modules(self, segment: Segment, side: Differentiable | None = None) -> dict[str, torch.nn.Module]:
        """The modules that run between a segment's anchors and its layer, by their taps, in the order of the calls."""
        calls = (side or self.rounded).calls
        inside, waiting = set[str](), [segment.layer]
        while waiting:
            name = waiting.pop()
            if name in calls and name not in inside and (name == segment.layer or name not in self.wanted):
                inside.add(name)
                waiting += calls[name].reads
        made = {name: calls[name].function for name in calls if name in inside}
        return {name: function for name, function in made.items() if isinstance(function, torch.nn.Module)}

    def path(self, module: torch.nn.Module) -> str:
        """Where the reference holds a module of the float32 run."""
        return next(str(name) for name, each in self.rounded.module.named_modules() if each is module)


def moved(array: Array, name: str, axes: Axes, *, back: bool = False) -> Array:
    """A tap's value or gradient in the port's layout; `back` from there to the reference's."""
    source, target = axes.of(name, array.ndim)
    return in_order(move(array, target, source) if back else move(array, source, target))


def measured(actual: Array | None, expected: Expected, policy: Policy, *, anchored: bool) -> Measure:
    """The port's gradient (the reference's layout; None for none) against the reference's."""
    noise = expected.noise
    limits = policy.limits(noise, anchored=anchored)
    wanted = expected.rounded.astype(np.float32, copy=False)
    if actual is None:
        actual = np.zeros_like(wanted)
    if actual.shape != wanted.shape:
        raise PairError(f"shape {actual.shape}, but should be {wanted.shape}")
    comparison = compare(in_order(actual, np.float32), in_order(wanted), limits)
    relative = _relative(comparison)
    rms = comparison.expected_rms
    return Measure(
        relative=relative,
        allowed=limits.rtol if limits.rtol is not None else limits.rmse / rms if rms else limits.rmse,
        gain=comparison.gain,
        ratio=relative / policy.floor(noise),
        max_abs=comparison.max_abs,
        max_allowed=limits.max_abs,
        max_index=tuple(int(i) for i in np.unravel_index(comparison.max_index, wanted.shape)),
        compared=comparison.count,
        total=comparison.count,
        passed=comparison.passed,
        note=comparison.not_finite,
    )


def _relative(comparison: Comparison) -> float:
    """The error relative to the reference's gradient; where that is nothing, to the port's."""
    if comparison.expected_rms or not comparison.rmse:
        return comparison.relative
    return 1.0


def _as(arrays: Mapping[str, Array], side: Differentiable) -> dict[str, torch.Tensor]:
    """The arrays as tensors of the side's precision."""
    wide = any(value.dtype == torch.float64 for value in side.outputs.values())
    return {
        name: torch.from_numpy(array).to(torch.float64 if wide else torch.float32) for name, array in arrays.items()
    }


def _drawn(name: str, shape: tuple[int, ...]) -> Array:
    """Normal numbers, always the same for a name."""
    return np.asarray(np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape), np.float32)
