"""What the reference's values are at each tap of one input, and how large an error may be there.

Under the noise-floor policy the reference runs in float64 as well, and an end-to-end error is taken against that run. A
large map is not needed to know how noisy its float32 arithmetic is: where the pair says which sizes its reference takes
(`Pair.multiple`), the noise of a large input is measured on its centre (CROP x CROP), and errors are taken against the
float32 run. On FlowNet2-SD at 704x448 the noise of the centre is 0.9 to 1.0 times the whole map's at the convolutions.

Of a batch, the first item alone is run in float64 at first, and what it says may only acquit: where anything fails by
it, the whole batch is run and judged again. It can hardly acquit wrongly: it counts only where the reference makes of
it alone what it makes of it in the batch, and where every tap is measured on as many values as in the batch; and the
whole batch has at least the noise of one item, so at most a root of their number is lost, in a batch of which the other
items have no noise at all. Under a fixed tolerance nothing runs in float64.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from parity.artifacts.precision import Expected
from parity.axes import Array, Axes, in_order, move
from parity.comparison import Comparison, compare, noise_of
from parity.errors import PairError
from parity.pairs import INPUT, Input, Pair
from parity.report import Measure
from parity.runners.reference import Reference, Value
from parity.runners.segments import Segment
from parity.runners.taps import SAMPLE, Tap, Trace, positions
from parity.runners.torch_module import TorchModule, sampled
from parity.tolerance import Limits, Noise, Policy

CROP = 256
"""Side of the centre on which a large input's noise is measured; an input of two such areas or less is run whole."""


SUSPECT = 1e-3
"""A noise floor above this is looked into: float32 arithmetic alone seldom makes one."""


class Judge:
    """The judge of one input: `trace` has the reference's taps, samples and output, `noise` its noise at each tap.

    After construction only the taps are known. `prepare` runs what the policy asks for before anything is compared;
    `see` takes each value of the reference's float32 run, and completes what `prepare` could not know. Where the noise
    is that of the first item of a batch (`on_first`), `doubted` says that it does not speak for the others.
    """

    def __init__(self, reference: Reference, pair: Pair, policy: Policy, given: Input) -> None:
        self._reference = reference
        self._pair = pair
        self._policy = policy
        self._given = given
        self._on_part: Mapping[str, Noise] | None = None
        self._alone: Mapping[str, Array] = {}
        """Samples of the part's float32 run, and below the shapes of its taps."""
        self._shapes: Mapping[str, tuple[int | None, ...]] = {}
        self.on_first = self.doubted = False
        self.trace = reference.taps(given)
        self.taps: Mapping[str, Tap] = {tap.name: tap for tap in self.trace.taps}
        self.noise: dict[str, Noise] = {}
        self.expected: Expected | None = None
        """What the port's number formats make of the reference, where they are of low precision."""

    def prepare(self, *, whole: bool = False) -> None:
        """Run the reference as the judge needs it: in float64, `whole` or on a part; or in float32 alone."""
        float64 = self._policy.uses_float64
        first = self._first() if float64 and not whole else None
        part = first or (centre_of(self._given, self._pair) if float64 else None)
        self.on_first, self.doubted = first is not None, False
        self._on_part = None
        if part is not None:
            exact, rounded = (self._reference.sample(part, float64=wide) for wide in (True, False))
            self._on_part = {name: noise_of(rounded.samples[name], exact.samples[name]) for name in exact.samples}
            self._alone = rounded.samples
            self._shapes = {tap.name: tap.shape for tap in rounded.taps}
            return
        self.trace = self._reference.sample(self._given, float64=float64)
        if not float64:
            self.noise = {name: noise_of(sample, sample) for name, sample in self.trace.samples.items()}

    def see(self, tap: Tap, value: Value) -> None:
        """Take a value of the reference's float32 run on the whole input."""
        if not self._policy.uses_float64:
            return
        sample = sampled(value)
        if self._on_part is None:
            self.noise[tap.name] = noise_of(sample, self.trace.samples[tap.name])
            return
        if tap.name not in self.taps:
            return
        part, values = self._on_part[tap.name], noise_of(sample, sample)
        self.noise[tap.name] = part.at_most(values) if self.on_first else part.at_scale(values)
        self.trace.samples[tap.name] = sample
        for output, name in self.trace.output_taps.items():
            if tap.name == name:
                self.trace.outputs[output] = np.asarray(value).copy()
        if self.on_first and not self.doubted:
            self.doubted = part.floor > SUSPECT or not self._as_alone(tap, value, part)

    def _first(self) -> Input | None:
        """The first item of a batch, if a run on it is like one on the batch; None for an input to be run otherwise."""
        first = first_of(self._given, self._pair.axes) if isinstance(self._reference, TorchModule) else None
        if first is None or centre_of(self._given, self._pair) is not None:
            return None
        try:
            alone = self._reference.taps(first)
        except Exception:  # a user's own code may raise anything on a batch of one
            return None
        return first if _is_like(alone, self.trace) else None

    def _as_alone(self, tap: Tap, value: Value, noise: Noise) -> bool:
        """Whether the first item's part of a value is what the reference makes of that item alone, but for noise."""
        first = value[tuple(slice(size) for size in self._shapes[tap.name])]
        return compare(sampled(first), self._alone[tap.name], self._policy.limits(noise)).passed

    def refuse_random(self) -> None:
        """Raise PairError if the reference gives other values when run again: its noise would hide every fault.

        Looked at only where float32 and float64 are far apart, since a reference that is not random rarely is.
        """
        if not self._policy.uses_float64 or all(not noise.floor > SUSPECT for noise in self.noise.values()):
            return
        first, second = (self._reference.sample(self._given).samples for _ in range(2))
        for name in first:
            if not np.array_equal(first[name], second[name], equal_nan=True):
                raise PairError(f"the reference gives other values at {name!r} each time it is run on the same input")

    def policy_of(self, layer: str) -> Policy:
        """The policy in force, or the layer's own tolerance."""
        return self._pair.tolerances.get(layer, self._policy)

    def floor(self, layer: str, *, anchored: bool = False) -> float:
        """What errors at `layer` are counted in, relative to its values: end to end, or of its own (`anchored`)."""
        floor = self.policy_of(layer).floor(self.noise[layer])
        expected = self._expected(layer)
        return floor if expected is None else max(floor, expected.floor(layer, anchored=anchored))

    def _expected(self, layer: str) -> Expected | None:
        """What the port's formats make of a layer, where it is judged by that."""
        return self.expected if self.policy_of(layer).uses_float64 else None

    def limits(
        self, layer: str, segment: Segment | None = None, inside: Sequence[str] = (), *, by_chance: bool = True
    ) -> Limits:
        """What an error at `layer` may be: end to end, or of its own `segment`, with the taps `inside` it.

        Where both sides' operations only move values, the port must be exact. Noise of few values in low precision may
        come out larger `by_chance`: not where the layer is known to be another.
        """
        anchored = segment is not None
        names = (layer, *inside)
        moves_only = segment is not None and segment.moves_only and all(self.taps[name].moves_only for name in names)
        limits = self.policy_of(layer).limits(self.noise[layer], anchored=anchored, moves_only=moves_only)
        expected = self._expected(layer)
        return limits if expected is None else expected.widened(limits, layer, anchored=anchored, by_chance=by_chance)

    def shape(self, layer: str) -> tuple[int, ...]:
        """The shape of the tap, in the reference's layout."""
        return tuple(int(size or 0) for size in self.taps[layer].shape)

    def moved_shape(self, layer: str) -> tuple[int, ...]:
        """The shape of the tap, in the port's layout."""
        shape = self.shape(layer)
        source, target = self._pair.axes.of(layer, len(shape))
        sizes = dict(zip(source, shape, strict=True))
        return tuple(sizes[axis] for axis in target)

    def of_sample(self, layer: str, sample: Array) -> Measure:
        """The end-to-end error of the port's sample at `layer`."""
        expected = self.trace.samples[layer]
        if sample.shape != expected.shape:
            return self.mismatch(layer, f"the port's shape does not fit {self.shape(layer)}")
        comparison = compare(sample, expected, self.limits(layer))
        place = int(positions(self.shape(layer))[comparison.max_index])
        return self._measure(layer, comparison, np.unravel_index(place, self.shape(layer)))

    def of_output(self, name: str, output: Array) -> Measure:
        """The error of the port's value (its own layout) of one of the reference's outputs."""
        layer, value = self.trace.output_taps[name], self.trace.outputs[name]
        source, target = self._pair.axes.of(layer, value.ndim)
        expected = in_order(move(value, source, target))
        if output.shape != expected.shape:
            return self.mismatch(layer, f"shape {output.shape}, but should be {expected.shape}")
        return self.of_whole(layer, compare(output, expected, self.limits(layer)))

    def of_whole(self, layer: str, comparison: Comparison, *, anchored: bool = False) -> Measure:
        """The error a comparison of whole values (port layout) found at `layer`; `anchored` where it is its own."""
        source, target = self._pair.axes.of(layer, len(self.shape(layer)))
        index = dict(zip(target, np.unravel_index(comparison.max_index, self.moved_shape(layer)), strict=True))
        return self._measure(layer, comparison, [index[axis] for axis in source], anchored=anchored)

    def mismatch(self, layer: str, note: str) -> Measure:
        """The error of something that cannot be compared at all."""
        nothing = Comparison(
            rmse=np.inf, gain=0.0, max_abs=np.inf, max_index=0, expected_rms=1.0, expected_max=0.0, count=0,
            exceeding=0, nonfinite_actual=0, nonfinite_expected=0,
            limits=self.policy_of(layer).limits(self.noise[layer]),
        )  # fmt: skip
        return self._measure(layer, nothing, (), note)

    def _measure(
        self,
        layer: str,
        comparison: Comparison,
        index: Sequence[np.intp],
        note: str = "",
        *,
        anchored: bool = False,
    ) -> Measure:
        rms, limits = comparison.expected_rms, comparison.limits
        return Measure(
            relative=comparison.relative,
            allowed=limits.rtol if limits.rtol is not None else limits.rmse / rms if rms else limits.rmse,
            gain=comparison.gain,
            ratio=comparison.relative / self.floor(layer, anchored=anchored),
            max_abs=comparison.max_abs,
            max_allowed=limits.max_abs,
            max_index=tuple(int(i) for i in index),
            compared=comparison.count,
            total=int(np.prod(self.shape(layer), dtype=np.int64)),
            passed=comparison.passed,
            note="; ".join(filter(None, [note, comparison.not_finite])),
        )


def centre_of(given: Input, pair: Pair) -> Input | None:
    """The centre of a large image, in sizes the reference takes; None for an input to be run whole."""
    array = given.array
    layout = pair.axes.of(INPUT, array.ndim)[0]
    if pair.multiple is None or len(given.arrays) > 1 or not {"H", "W"} <= set(layout):
        return None
    axes = layout.index("H"), layout.index("W")
    if array.shape[axes[0]] * array.shape[axes[1]] <= 2 * CROP**2:
        return None
    window = [slice(None)] * array.ndim
    for axis in axes:
        side = min(array.shape[axis], CROP) // pair.multiple * pair.multiple
        start = (array.shape[axis] - side) // 2
        window[axis] = slice(start, start + side)
    centre = in_order(array[tuple(window)])
    return given.changed(lambda name, array: centre) if centre.size else None


def first_of(given: Input, axes: Axes) -> Input | None:
    """The first item of a batch, as a batch of one; None where the input's arrays do not have several items, as many
    each."""
    places = {name: axes.of(name, array.ndim)[0].find("N") for name, array in given.arrays.items()}
    counts = {array.shape[places[name]] for name, array in given.arrays.items() if places[name] >= 0}
    if len(counts) != 1 or counts == {1}:
        return None

    def first(name: str, array: Array) -> Array:
        return array if places[name] < 0 else in_order(np.take(array, [0], axis=places[name]))

    return given.changed(first)


def _is_like(alone: Trace, whole: Trace) -> bool:
    """Whether a run on one item has the taps of the run on its batch, each sampled at as many places."""
    ours, theirs = ([(tap.name, tap.kind, tap.reads) for tap in trace.taps] for trace in (alone, whole))
    return ours == theirs and all(
        _is_share(one.shape, all_.shape) for one, all_ in zip(alone.taps, whole.taps, strict=True)
    )


def _is_share(one: tuple[int | None, ...], all_: tuple[int | None, ...]) -> bool:
    """Whether two shapes differ in one axis at most, and both have as many places to sample."""
    other = [axis for axis, sizes in enumerate(zip(one, all_, strict=False)) if sizes[0] != sizes[1]]
    sampled_at = (min(SAMPLE, math.prod(size or 0 for size in shape)) for shape in (one, all_))
    return len(one) == len(all_) and len(other) <= 1 and len(set(sampled_at)) == 1
