"""The one loop: run both sides, align their taps, compare, explain, record.

For each input:
    expected    the reference in float64, sampled at every tap: the judge (float32 under a fixed tolerance)
    aligned     which tap of the port answers to which of the reference; the port is cut into segments there
    end to end  for each mode, the port sampled at every tap (propagated error), and run unwatched (its output)
    anchored    the reference in float32, once; each segment on its values, in each mode (introduced error)
    judged      both errors of each layer against the noise of the float32 reference
"""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np

from parity.adequacy import blind_spots
from parity.align import Alignment, align
from parity.anchored import Anchored, run_anchored
from parity.axes import Array, flat_positions, move
from parity.comparison import Comparison, compare, noise_of
from parity.diagnosis import diagnose
from parity.diagnosis.evidence import Evidence
from parity.errors import PairError, UsageError
from parity.pair import Input, Pair
from parity.report import (
    DIVERGED,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    Cause,
    Finding,
    LayerResult,
    Measure,
    Report,
    Run,
    Watching,
    merge,
)
from parity.runners.keras_model import INPUT, KerasModel, Segment
from parity.runners.taps import MODES, Tap, positions
from parity.runners.torch_module import TorchModule, sampled
from parity.switches import thread_count
from parity.tolerance import Limits, Noise, NoiseFloor, Policy

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction of the whole that is finished."""

_DEFAULT_POLICY = NoiseFloor()


def verify(
    pair: Pair,
    inputs: Sequence[Input],
    modes: Sequence[str] = MODES,
    *,
    policy: Policy = _DEFAULT_POLICY,
    progress: Progress = lambda text, fraction: None,
) -> Report:
    """Judge a port against its reference, layer by layer, on every input in every mode.

    Raises UsageError for no inputs, or an unknown mode; PairError where one side cannot be run as a pair; MapError
    for a layer map that names what does not exist. Values that differ never raise: they are in the report.
    """
    if not inputs:
        raise UsageError("no inputs given; nothing compared is not a pass")
    verifier = Verifier(pair, policy)
    reports = []
    for index, given in enumerate(inputs):
        reports.append(verifier.report(given, modes, _share(progress, index, len(inputs), given.name)))
    progress("done", 1.0)
    return merge(reports)


class Verifier:
    """A pair made ready to run, and how it is judged: what all its inputs share (the float64 copy, compiled graphs).

    Neither side may change while a verifier of it is in use. Raises PairError where one cannot be run as a pair.
    """

    def __init__(self, pair: Pair, policy: Policy = _DEFAULT_POLICY) -> None:
        for name, tolerance in pair.tolerances.items():
            if not tolerance.why:
                raise PairError(f"the tolerance of layer {name!r} has no why; a widened tolerance must say its reason")
        self.pair = pair
        self.policy = policy
        self.reference = TorchModule(pair.reference)
        self.port = KerasModel(pair.port)

    def report(
        self, given: Input, modes: Sequence[str] = MODES, progress: Progress = lambda text, fraction: None
    ) -> Report:
        """The report of one input. Raises as `verify` does."""
        return _Verification(self, given, _known(modes), progress).report()

    def policy_of(self, layer: str) -> Policy:
        """The policy of the pair, or the layer's own tolerance."""
        return self.pair.tolerances.get(layer, self.policy)


@dataclass(frozen=True, kw_only=True)
class _EndToEnd:
    """The port on one input in one mode: a sample of each segment's value, the watched output, and the plain one."""

    samples: Mapping[str, Array]
    watched: Array
    plain: Array


@dataclass
class _Verification:
    """One input, in every mode: the steps of the module's docstring, one method each."""

    subject: Verifier
    given: Input
    modes: tuple[str, ...]
    progress: Progress
    noise: dict[str, Noise] = field(default_factory=dict)
    introduced: dict[tuple[str, str], Measure] = field(default_factory=dict)
    causes: dict[tuple[str, str], Cause] = field(default_factory=dict)
    poisoned: set[str] = field(default_factory=set)

    def report(self) -> Report:
        self.progress("float64 reference" if self.subject.policy.uses_float64 else "reference", 0.0)
        self.expected = self.subject.reference.sample(self.given.array, float64=self.subject.policy.uses_float64)
        self.taps = {tap.name: tap for tap in self.expected.taps}
        self.alignment = self._align()
        self.segments = self.subject.port.segments(self.alignment.matched)
        if not self.subject.policy.uses_float64:
            for name, sample in self.expected.samples.items():
                self.noise[name] = noise_of(sample, sample)
        ends = {mode: self._end_to_end(mode, index) for index, mode in enumerate(self.modes)}
        self._run_anchored(self._wanted(ends))
        runs = tuple(self._run(mode, ends[mode]) for mode in self.modes)
        return Report(
            pair=self.subject.pair.name,
            environment=environment(),
            settings={"policy": str(self.subject.policy), "modes": ", ".join(self.modes)},
            coverage=self.alignment.coverage,
            runs=runs,
            findings=tuple(self._findings(runs)),
            first_divergence=self._first_divergence(runs),
        )

    # -- aligned ------------------------------------------------------------------------------------------------------

    def _align(self) -> Alignment:
        pair = self.subject.pair
        return align(
            self.expected.taps,
            self.subject.port.taps,
            layers=pair.layers,
            axes=pair.axes,
            outputs=(self.expected.output_tap, self.subject.port.output_tap),
            aliases=self.expected.aliases,
            waived=pair.waived,
        )

    # -- end to end ---------------------------------------------------------------------------------------------------

    def _end_to_end(self, mode: str, index: int) -> _EndToEnd:
        self.progress(f"port, {mode}", 0.3 + 0.4 * index / len(self.modes))
        port, array = self.subject.port, self._input_of_port()
        samples, watched = port.propagate(array, self.segments, [self._places(s) for s in self.segments], mode)
        named = {segment.layer: sample for segment, sample in zip(self.segments, samples, strict=True)}
        return _EndToEnd(samples=named, watched=watched, plain=port.plain(array, mode))

    def _input_of_port(self) -> Array:
        source, target = self.subject.pair.axes.of(INPUT, self.given.array.ndim)
        return np.ascontiguousarray(move(self.given.array, source, target))

    def _places(self, segment: Segment) -> Array:
        """The reference's sample positions in the port's flat value; none if the port's shape does not fit."""
        shape = self._shape(segment.layer)
        source, target = self.subject.pair.axes.of(segment.layer, len(shape))
        moved = tuple(dict(zip(source, shape, strict=True))[axis] for axis in target)
        fits = len(moved) == len(segment.tap.shape) and all(
            there in (None, here) for here, there in zip(moved, segment.tap.shape, strict=True)
        )
        return flat_positions(positions(shape), shape, source, target) if fits else np.empty(0, np.int64)

    def _shape(self, layer: str) -> tuple[int, ...]:
        return tuple(int(size or 0) for size in self.taps[layer].shape)

    # -- anchored -----------------------------------------------------------------------------------------------------

    def _wanted(self, ends: Mapping[str, _EndToEnd]) -> list[Segment]:
        """The segments to run on the reference's values.

        All of them, where a float64 run says what noise is. Under a fixed tolerance an input within tolerance *is* the
        reference's as far as can be told, so only segments that disagree end to end somewhere are run.
        """
        if self.subject.policy.uses_float64:
            return list(self.segments)
        return [
            segment
            for segment in self.segments
            if any(not self._propagated(segment, end).passed for end in ends.values())
        ]

    def _run_anchored(self, segments: Sequence[Segment]) -> None:
        self.progress("layer by layer", 0.7)
        if not segments and not self.subject.policy.uses_float64:
            return
        seen = 0

        def see(tap: Tap, value: "torch.Tensor") -> None:  # type: ignore[name-defined]  # noqa: F821
            nonlocal seen
            seen += 1
            self.progress(f"layer by layer, {tap.name}", 0.7 + 0.3 * seen / len(self.taps))
            if self.subject.policy.uses_float64:
                self.noise[tap.name] = noise_of(sampled(value), self.expected.samples[tap.name])

        if not np.isfinite(self.given.array).all():
            self.poisoned.add(INPUT)
        anchored = Anchored(self.subject.port, segments, self.modes, self.subject.pair.axes, self._judge_introduced)
        run_anchored(self.subject.reference, self.given.array, anchored, see)

    def _judge_introduced(
        self, segment: Segment, mode: str, anchors: Sequence[Array], expected: Array, actual: Array
    ) -> None:
        """Compare what a segment made of the reference's values; explain it at once, while they are there."""
        layer, key = segment.layer, (segment.layer, mode)
        if self.poisoned & set(segment.anchors):
            return
        limits = self._limits(layer, anchored=True)
        if actual.shape != expected.shape:
            self.introduced[key] = self._mismatch(layer, f"shape {actual.shape}, but should be {expected.shape}")
            self.causes[key] = Cause(slug="unknown", detail=self.introduced[key].note)
            return
        comparison = compare(actual, expected, limits)
        self.introduced[key] = self._measure(layer, comparison, self._whole_index(layer, comparison.max_index))
        if comparison.nonfinite_expected:
            self.poisoned.add(layer)
        if not comparison.passed:
            self.causes[key] = diagnose(self._evidence(segment, mode, anchors, expected, actual, limits))

    def _evidence(
        self, segment: Segment, mode: str, anchors: Sequence[Array], expected: Array, actual: Array, limits: Limits
    ) -> Evidence:
        layout = self.subject.pair.axes.of(segment.layer, expected.ndim)[1]
        modules = dict(self.subject.reference.module.named_modules())
        return Evidence(
            segment=segment,
            mode=mode,
            module=modules.get(segment.layer.split("#")[0]),
            anchors=anchors,
            expected=expected,
            actual=actual,
            limits=limits,
            channel_axis=layout.find("C") if "C" in layout else expected.ndim - 1,
        )

    # -- judged -------------------------------------------------------------------------------------------------------

    def _run(self, mode: str, end: _EndToEnd) -> Run:
        layers = tuple(self._layer(segment, mode, end) for segment in self._in_reference_order())
        output, watching = self._output(end)
        passed = output.passed and watching.within and all(layer.verdict == PASS for layer in layers)
        return Run(
            input=self.given.name,
            origin=self.given.origin,
            mode=mode,
            verdict=PASS if passed and layers else DIVERGED,
            layers=layers,
            output=output,
            watching=watching,
            warnings=blind_spots(self.expected.taps, self.expected.samples, self.subject.pair.axes),
        )

    def _in_reference_order(self) -> list[Segment]:
        order = {name: index for index, name in enumerate(self.taps)}
        return sorted(self.segments, key=lambda segment: order[segment.layer])

    def _layer(self, segment: Segment, mode: str, end: _EndToEnd) -> LayerResult:
        propagated = self._propagated(segment, end)
        introduced = self.introduced.get((segment.layer, mode))
        policy = self.subject.policy_of(segment.layer)
        return LayerResult(
            layer=segment.layer,
            port_layer=segment.tap.name,
            kind=self.taps[segment.layer].kind,
            floor=policy.floor(self.noise[segment.layer]),
            propagated=propagated,
            introduced=introduced,
            verdict=self._verdict(segment, propagated, introduced),
            weighted=self.taps[segment.layer].weighted,
            inside=self.alignment.inside[segment.layer],
            policy=str(policy) if policy.why else "",
        )

    def _verdict(self, segment: Segment, propagated: Measure, introduced: Measure | None) -> str:
        if self.poisoned & set(segment.anchors):
            return NOT_COMPARED
        if introduced is not None and not introduced.passed:
            return INTRODUCES
        return PASS if propagated.passed else INHERITS

    def _propagated(self, segment: Segment, end: _EndToEnd) -> Measure:
        layer = segment.layer
        expected, actual = self.expected.samples[layer], end.samples[layer]
        if actual.shape != expected.shape:
            return self._mismatch(layer, f"shape {segment.tap.shape} of the port does not fit {self._shape(layer)}")
        comparison = compare(actual, expected, self._limits(layer))
        place = int(positions(self._shape(layer))[comparison.max_index])
        index = tuple(int(i) for i in np.unravel_index(place, self._shape(layer)))
        return self._measure(layer, comparison, index)

    def _output(self, end: _EndToEnd) -> tuple[Measure, Watching]:
        """The plain port's whole output against the reference's, and against the watched port's."""
        layer = self.expected.output_tap
        source, target = self.subject.pair.axes.of(layer, self.expected.output.ndim)
        limits = self._limits(layer)
        expected = np.ascontiguousarray(move(self.expected.output, source, target))
        if end.plain.shape != expected.shape:
            note = f"shape {end.plain.shape}, but should be {expected.shape}"
            return self._mismatch(layer, note), Watching(same=False, relative=float("inf"), within=False)
        comparison = compare(end.plain, expected, limits)
        measure = self._measure(layer, comparison, self._whole_index(layer, comparison.max_index))
        watched = compare(end.watched, end.plain, limits)
        same = bool(np.array_equal(end.watched, end.plain, equal_nan=True))
        return measure, Watching(same=same, relative=watched.relative, within=same or watched.passed)

    def _limits(self, layer: str, *, anchored: bool = False) -> Limits:
        """What an error at `layer` may be; anchored, a segment that only moves values must be exact."""
        names = (layer, *self.alignment.inside[layer])
        moves_only = anchored and all(self.taps[name].moves_only for name in names)
        return self.subject.policy_of(layer).limits(self.noise[layer], anchored=anchored, moves_only=moves_only)

    def _measure(self, layer: str, comparison: Comparison, index: tuple[int, ...]) -> Measure:
        rms, limits = comparison.expected_rms, comparison.limits
        relative_limit = limits.rtol if limits.rtol is not None else limits.rmse / rms if rms else limits.rmse
        bad = {"port": comparison.nonfinite_actual, "reference": comparison.nonfinite_expected}
        return Measure(
            relative=comparison.relative,
            allowed=relative_limit,
            gain=comparison.gain,
            ratio=comparison.relative / self.subject.policy_of(layer).floor(self.noise[layer]),
            max_abs=comparison.max_abs,
            max_allowed=limits.max_abs,
            max_index=index,
            compared=comparison.count,
            total=int(np.prod(self._shape(layer), dtype=np.int64)),
            passed=comparison.passed,
            note="; ".join(f"{count} values of the {side} are not finite" for side, count in bad.items() if count),
        )

    def _mismatch(self, layer: str, note: str) -> Measure:
        infinite = float("inf")
        total = int(np.prod(self._shape(layer), dtype=np.int64))
        return Measure(
            relative=infinite, allowed=0.0, gain=0.0, ratio=infinite, max_abs=infinite, max_allowed=0.0, max_index=(),
            compared=0, total=total, passed=False, note=note,
        )  # fmt: skip

    def _whole_index(self, layer: str, flat: int) -> tuple[int, ...]:
        """A flat position in the port's whole value, as an index in the reference's axes."""
        shape = self._shape(layer)
        source, target = self.subject.pair.axes.of(layer, len(shape))
        sizes = dict(zip(source, shape, strict=True))
        index = dict(zip(target, np.unravel_index(flat, tuple(sizes[axis] for axis in target)), strict=True))
        return tuple(int(index[axis]) for axis in source)

    # -- recorded -----------------------------------------------------------------------------------------------------

    def _findings(self, runs: Iterable[Run]) -> Iterable[Finding]:
        for run in runs:
            if INPUT in self.poisoned:
                yield self._input_not_finite(run.mode)
            for layer in run.layers:
                if layer.verdict == INTRODUCES and layer.introduced:
                    yield self._finding(layer, run.mode, layer.introduced, introduced=True)

    def _first_divergence(self, runs: Iterable[Run]) -> Finding | None:
        if INPUT in self.poisoned:
            return self._input_not_finite(self.modes[0])
        order = {name: index for index, name in enumerate(self.taps)}
        left = [
            (order[layer.layer], index, layer, run.mode)
            for index, run in enumerate(runs)
            for layer in run.layers
            if layer.verdict in (INTRODUCES, INHERITS)
        ]
        if not left:
            return None
        _, _, layer, mode = min(left, key=lambda item: item[:2])
        measure = layer.introduced if layer.verdict == INTRODUCES else layer.propagated
        assert measure is not None
        return self._finding(layer, mode, measure, introduced=layer.verdict == INTRODUCES)

    def _finding(self, layer: LayerResult, mode: str, measure: Measure, *, introduced: bool) -> Finding:
        """A finding at a layer; if its segment holds an operation that the map names and the port lacks, at that."""
        missing = [name for name in layer.inside if name in self.alignment.coverage.unmatched_reference]
        no_cause = Cause(slug="unknown", detail="no single layer introduces it; it has accumulated on the way here")
        return Finding(
            layer=missing[0] if missing and introduced else layer.layer,
            port_layer=layer.port_layer,
            input=self.given.name,
            mode=mode,
            error=measure.relative,
            floor=layer.floor,
            cause=self.causes.get((layer.layer, mode), no_cause),
            introduced=introduced,
        )

    def _input_not_finite(self, mode: str) -> Finding:
        bad = np.argwhere(~np.isfinite(self.given.array))
        where = tuple(int(i) for i in bad[0])
        detail = f"{len(bad)} of {self.given.array.size} values of the input are NaN or infinite, the first at {where}"
        return Finding(
            layer=INPUT, port_layer=INPUT, input=self.given.name, mode=mode, error=float("inf"), floor=1.0,
            cause=Cause(slug="non-finite", detail=detail),
        )  # fmt: skip


def environment() -> dict[str, str]:
    """Versions and the machine, for the record."""
    packages = {name: version(name) for name in ("torch", "tensorflow", "keras", "numpy")}
    return {
        "python": platform.python_version(),
        **packages,
        "machine": platform.machine(),
        "threads": str(thread_count()),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }


def _known(modes: Sequence[str]) -> tuple[str, ...]:
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise UsageError(
            f"mode {unknown[0]!r} is not known" if unknown else f"no mode given; the modes are {', '.join(MODES)}"
        )
    return tuple(dict.fromkeys(modes))


def _share(progress: Progress, index: int, count: int, name: str) -> Progress:
    """Progress within one of several inputs, as progress of the whole."""
    return lambda text, fraction: progress(f"{name}: {text}", (index + fraction) / count)
