"""One input, in every mode: both sides run, every layer is judged, and what is wrong is explained.

derived     which axes every tensor of this run has, where the pair does not declare them
aligned     which tap of the port answers to which of the reference; the port is cut into segments there
judge       the reference in float64: what noise is, at every tap
anchored    the reference in float32, once; each segment on its values, in each mode (introduced error)
end to end  for each mode, the port sampled at every tap (propagated error), and run unwatched (its output); in one run
            where that can be looked into without a change
judged      both errors of each layer against the noise of the float32 reference
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from parity.adequacy import RECTIFIERS, SHOWN, blind_spots
from parity.anchored import Anchored, run_anchored
from parity.artifacts.biases import is_astray
from parity.artifacts.formats import is_low
from parity.axes import Array, move
from parity.comparison import compare, fits_repeated
from parity.diagnosis import Diagnosis, diagnose, unproven
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.explain import explained, setup_of
from parity.diagnosis.fingerprints import carries_other_values
from parity.diagnosis.pictures import error_picture
from parity.diagnosis.scene import Scene
from parity.examination.coverage import covered
from parity.examination.findings import Findings, environment
from parity.examination.lowered import Lowered, lowered
from parity.examination.matching import Matching, Subject
from parity.examination.outputs import deviations
from parity.examination.pictures import output_pictures
from parity.explanation import Explanation
from parity.golden.port import RecordedGraph, Reversed
from parity.judge import Judge
from parity.layouts import derived_for
from parity.pairs import Input
from parity.portraits import ErrorPicture, Setup
from parity.report import (
    DIVERGED,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    Cause,
    Coverage,
    LayerResult,
    Measure,
    Report,
    Run,
    Watching,
)
from parity.runners.keras_model import REFUSED, Segment
from parity.runners.reference import Value
from parity.runners.taps import Tap, positions_in
from parity.tolerance import Limits
from parity.watch import Begun, Ended, Judged, tell

PICTURED = 24
"""Of so many layers at fault in a run the error is pictured: the first ones."""

__all__ = ["Examination", "Progress", "Subject", "Witness", "environment"]

Witness = Callable[[Evidence, Measure, float, Cause | None], None]
"""Shown a layer while its arrays are there: what is known of it, the error it introduces, its floor, its cause."""

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction of the whole that is finished."""


@dataclass(frozen=True, kw_only=True)
class _EndToEnd:
    """The port on one input in one mode: the error of each segment's value, the watched outputs, and the plain ones;
    whether both are of one run."""

    measures: Mapping[str, Measure]
    watched: Mapping[str, Array]
    plain: Mapping[str, Array]
    once: bool = False


class Examination:
    """One input, in every mode: the steps of the module's docstring, one method each."""

    def __init__(
        self,
        subject: Subject,
        given: Input,
        modes: tuple[str, ...],
        progress: Progress,
        odd: Collection[str] = (),
    ) -> None:
        subject = replace(subject, pair=derived_for(subject.pair, subject.reference, given))
        self.subject = subject
        self.given = given
        self.modes = modes
        self.progress = progress
        self.judge = Judge(subject.reference, subject.pair, subject.policy, given)
        self.matching = Matching(subject, given, self.judge, odd)
        self.alignment, self.segments = self.matching.alignment, self.matching.segments
        self.introduced: dict[tuple[str, str], Measure] = {}
        self.diagnoses: dict[tuple[str, str], Diagnosis] = {}
        self.pictures: dict[str, dict[str, ErrorPicture]] = {mode: {} for mode in modes}
        self.not_reversed = set[str]()
        self.lowered: Lowered | None = None
        self._others: dict[str, bool] = {}
        self.scene = Scene(
            subject.reference,
            subject.port,
            given,
            subject.pair.axes,
            self.judge.taps,
            self.alignment.matched,
            subject.pair.layers,
        )
        self.ends: Mapping[str, _EndToEnd] = {}
        self.wanted, self.explanation = "", cast(Explanation | None, None)
        self.witness: Witness = lambda evidence, introduced, floor, cause: None
        self.poisoned = {name for name, array in given.arrays.items() if not np.isfinite(array).all()}
        self._found = Findings(
            given, modes, self.judge, self.poisoned, self.alignment.coverage.unmatched_reference, self.diagnoses
        )

    def report(self) -> Report:
        """Run the steps and record what came of them."""
        whole = bool(self.wanted or self.poisoned) or is_low(self.subject.port)
        runs = self._runs(whole=whole)
        if self.judge.on_first and not (runs and all(run.verdict == PASS for run in runs)):
            self._forget()
            runs = self._runs(whole=True)
        return Report(
            pair=self.subject.pair.name,
            environment=environment({**self.subject.reference.versions, **self.subject.versions}),
            settings={
                "policy": str(self.subject.policy),
                **({"numbers": str(self.lowered)} if self.lowered else {}),
                "modes": ", ".join(self.modes),
                **({"seen": "; ".join(self.subject.notes)} if self.subject.notes else {}),
            },
            coverage=self._coverage(),
            runs=runs,
            findings=tuple(self._found.findings(runs)),
            first_divergence=self._found.first_divergence(runs),
            setups=self._setups(),
        )

    def _runs(self, *, whole: bool) -> tuple[Run, ...]:
        """The steps: a run for each mode. Unless `whole` there may be none, where something fails by a part's noise."""
        tell(
            Begun(
                coverage=self._coverage(), layers=tuple(segment.layer for segment in self.matching.in_reference_order())
            )
        )
        self.progress("reference as judge", 0.0)
        self.judge.prepare(whole=whole)
        self.lowered = lowered(self.subject, self.matching, self.given, self.judge)
        if self.lowered:
            self.scene.stored, self.scene.fits = self.lowered.stored, self.lowered.fits
        if self.subject.policy.uses_float64:
            self._run_anchored(self.segments)
            if self.judge.doubted:
                return ()
            self.judge.refuse_random()
        self.ends = ends = dict(self._ends())
        if not self.subject.policy.uses_float64:
            self._run_anchored(self._suspicious(ends))
        return tuple(self._run(mode, ends[mode]) for mode in self.modes)

    def _forget(self) -> None:
        """Forget what was judged, to judge it again."""
        self.introduced.clear()
        self.diagnoses.clear()
        for pictures in self.pictures.values():
            pictures.clear()
        self.not_reversed.clear()
        self.poisoned.clear()
        self.ends = {}

    def _setups(self) -> dict[str, Setup]:
        """How both sides have each layer, in the reference's order."""
        nothing = np.empty(0)
        return {
            segment.layer: setup_of(
                Evidence(
                    segment=segment,
                    mode=self.modes[0],
                    scene=self.scene,
                    anchors=(),
                    expected=nothing,
                    actual=nothing,
                    limits=Limits(),
                )
            )
            for segment in self.matching.in_reference_order()
        }

    def _coverage(self) -> Coverage:
        return covered(self.matching, self.scene, self.subject, self.judge, self.not_reversed)

    def not_corresponding(self) -> frozenset[str]:
        """Taps that differ although they are right: a layer that reads them is wrong on the reference's values of them,
        and right on the port's own.

        So what both networks hold there are two different things, and the layer's fault and its reader's are none. A
        layer whose own weights are not the reference's is at fault all the same. So it is where the reader's weights
        are in the order that such a tap has in the port, and something else is wrong with them.
        """
        odd = set()
        for segment in self.segments:
            for mode, end in self.ends.items():
                read = [
                    name for name in segment.anchors if self._introduces(name, mode) and self._is_loaded(name, mode)
                ]
                if read and self._introduces(segment.layer, mode) and end.measures[segment.layer].passed:
                    odd.update(read)
        undone = {name for found in self.diagnoses.values() for name in found.undoes}
        return frozenset(odd | undone | self._finished_within())

    def _finished_within(self) -> set[str]:
        """Taps that answer to an output of the port, where that is the reference's output after all: a last activation
        that the port's last layer has built in."""
        return {
            layer
            for end, layer in self.matching.too_early().items()
            if not any(self._introduces(end, mode) for mode in self.modes)
            and all(self._introduces(layer, mode) for mode in self.modes)
        }

    def _is_loaded(self, layer: str, mode: str) -> bool:
        """Whether a layer at fault carries the reference's weights, or none."""
        return not self.diagnoses[layer, mode].misloaded

    def _introduces(self, layer: str, mode: str) -> bool:
        measure = self.introduced.get((layer, mode))
        return measure is not None and not measure.passed

    # -- anchored -----------------------------------------------------------------------------------------------------

    def _suspicious(self, ends: Mapping[str, _EndToEnd]) -> list[Segment]:
        """The segments that disagree end to end in some mode.

        Under a fixed tolerance an input within tolerance *is* the reference's as far as can be told, so where a
        segment's value agrees there is nothing to run it again for.
        """
        return [
            segment for segment in self.segments if any(not end.measures[segment.layer].passed for end in ends.values())
        ]

    def _run_anchored(self, segments: Sequence[Segment]) -> None:
        if not segments:
            return
        seen = 0

        def show(tap: Tap, value: Value) -> None:
            nonlocal seen
            seen += 1
            self.progress(f"layer by layer, {tap.name}", 0.2 + 0.4 * seen / len(self.judge.taps))
            self.judge.see(tap, value)

        def see(tap: Tap, value: Value) -> bool:
            show(tap, value)
            return not self.judge.doubted

        if isinstance(self.subject.port, RecordedGraph):
            self.subject.reference.run(self.given, show)
            self._run_reversed(self.subject.port, segments)
            return
        anchored = Anchored(self.subject.port, segments, self.modes, self.subject.pair.axes, self._judge_introduced)
        run_anchored(self.subject.reference, self.given, anchored, see)

    def _run_reversed(self, port: RecordedGraph, segments: Sequence[Segment]) -> None:
        """What each layer of a recorded port introduces: the reference's calls on the port's own values."""
        for mode in self.modes:
            values = Reversed(
                reference=self.subject.reference,
                port=port,
                given=self.given,
                arrays=self.inputs_of_port(),
                matched=self.alignment.matched,
                axes=self.subject.pair.axes,
                mode=mode,
            )
            for segment in segments:
                expected = values.expected(segment.layer)
                if expected is None:
                    self.not_reversed.add(segment.layer)
                    continue
                anchors = [values.of_port(name) for name in segment.anchors]
                actual = port.value(values.arrays, mode, segment.tap.name)
                self._judge_introduced(segment, mode, anchors, expected, actual)

    def _judge_introduced(
        self, segment: Segment, mode: str, anchors: Sequence[Array], expected: Array, actual: Array
    ) -> None:
        """Compare what a segment made of the reference's values; explain it at once, while they are there."""
        layer, key = segment.layer, (segment.layer, mode)
        if self.judge.doubted:
            return
        if self.poisoned & set(segment.anchors):
            self.poisoned.add(layer)
            return
        if fits_repeated(actual.shape, expected.shape) and actual is not REFUSED:
            actual = np.broadcast_to(actual, expected.shape)
        if self.lowered and actual is not REFUSED:
            self.lowered.see(segment, anchors)
        if actual.shape == expected.shape:
            comparison = compare(actual, expected, self._limits(segment))
            self.introduced[key] = self.judge.of_whole(layer, comparison, anchored=True)
            if comparison.nonfinite_expected:
                self.poisoned.add(layer)
        else:
            note = f"shape {actual.shape}, but should be {expected.shape}"
            if actual is REFUSED:
                note = "cannot run on the reference's values: another shape is built in"
            self.introduced[key] = self.judge.mismatch(layer, note)
        if self.judge.on_first and not self.introduced[key].passed:
            self.judge.doubted = True
            return
        if layer == self.wanted or not (self.wanted or self.introduced[key].passed):
            self._explain(segment, mode, anchors, expected, actual)
        result = self._layer(segment, mode)
        found = result.verdict == INTRODUCES
        finding = self._found.finding(result, mode, self.introduced[key], introduced=True) if found else None
        tell(Judged(mode=mode, result=result, finding=finding))

    def _explain(self, segment: Segment, mode: str, anchors: Sequence[Array], expected: Array, actual: Array) -> None:
        """Why a segment is wrong, and what there is to say of the wanted one."""
        layer, key = segment.layer, (segment.layer, mode)
        self.subject.port.restore()
        evidence = Evidence(
            segment=segment,
            mode=mode,
            scene=self.scene,
            anchors=anchors,
            expected=expected,
            actual=actual,
            limits=self._limits(segment),
        )
        if not self.introduced[key].passed:
            recorded = isinstance(self.subject.port, RecordedGraph)
            self.diagnoses[key] = unproven(evidence) if recorded else diagnose(evidence)
            if len(self.pictures[mode]) < PICTURED and (picture := error_picture(evidence)):
                self.pictures[mode][layer] = picture
        cause = self.diagnoses[key].cause if key in self.diagnoses else None
        found = evidence, self.introduced[key], self.judge.floor(layer, anchored=True), cause
        if layer == self.wanted:
            self.explanation = explained(evidence, self.given.name, *found[1:])
        self.witness(*found)

    def _limits(self, segment: Segment) -> Limits:
        """What a segment's own error may be. Weights of low precision that are not the reference's are no chance."""
        inside = self.alignment.inside.get(segment.layer, ())
        weighted = any(self.judge.taps[name].weighted for name in (segment.layer, *inside))
        other = self.lowered is not None and weighted and self._carries_other_values(segment)
        return self.judge.limits(segment.layer, segment, inside, by_chance=not other)

    # -- end to end ---------------------------------------------------------------------------------------------------

    def _ends(self) -> Iterator[tuple[str, _EndToEnd]]:
        for index, mode in enumerate(self.modes):
            end = self._end_to_end(mode, index)
            tell(Ended(mode=mode, propagated=end.measures))
            yield mode, end

    def _end_to_end(self, mode: str, index: int) -> _EndToEnd:
        port, arrays = self.subject.port, self.inputs_of_port()

        def show(done: int) -> None:
            share = (index + 0.5 * done / len(self.segments)) / len(self.modes)
            self.progress(f"end to end, {mode}", 0.6 + 0.4 * share)

        show(0)
        places = [self._places(segment) for segment in self.segments]
        once = port.at_once(arrays, self.segments, places, show) if mode == "eager" else None
        samples, watched = once or port.propagate(arrays, self.segments, places, mode, show)
        layers = [segment.layer for segment in self.segments]
        measures = {layer: self.judge.of_sample(layer, sample) for layer, sample in zip(layers, samples, strict=True)}
        show(len(self.segments))
        plain = watched if once else port.plain(arrays, mode)
        return _EndToEnd(measures=measures, watched=watched, plain=plain, once=once is not None)

    def inputs_of_port(self) -> dict[str, Array]:
        """The input's arrays in the port's layout, by the reference's names."""
        axes = self.subject.pair.axes
        return {
            name: np.ascontiguousarray(move(array, *axes.of(name, array.ndim)))
            for name, array in self.given.arrays.items()
        }

    def _places(self, segment: Segment) -> Array:
        """The reference's sample positions in the port's flat value; none if the port's shape does not fit."""
        shape, moved = self.judge.shape(segment.layer), self.judge.moved_shape(segment.layer)
        own = segment.tap.shape
        last = moved[max(0, len(moved) - len(own)) :]
        known = tuple(here if there is None else there for here, there in zip(last, own, strict=False))
        if len(known) != len(own) or not fits_repeated(known, moved):
            return np.empty(0, np.int64)
        source, target = self.subject.pair.axes.of(segment.layer, len(shape))
        return np.asarray(positions_in(shape, source, target) % math.prod(known))

    # -- judged -------------------------------------------------------------------------------------------------------

    def _run(self, mode: str, end: _EndToEnd) -> Run:
        layers = tuple(self._layer(each, mode, end.measures[each.layer]) for each in self.matching.in_reference_order())
        plain = {name: end.plain[ours] for name, ours in self.matching.outputs.items()}
        outputs = {name: self.judge.of_output(name, output) for name, output in plain.items()}
        watching = self._watching(end)
        passed = (
            all(output.passed for output in outputs.values())
            and watching.within
            and all(layer.verdict == PASS for layer in layers)
        )
        return Run(
            input=self.given.name,
            origin=self.given.origin,
            mode=mode,
            verdict=PASS if passed and layers else DIVERGED,
            layers=layers,
            output=max(outputs.values(), key=lambda measure: (not measure.passed, measure.ratio)),
            outputs=outputs if len(outputs) > 1 else {},
            deviations=deviations(self.judge, self.subject.pair.axes, plain),
            pictures=dict(self.pictures[mode]),
            shown=output_pictures(self.judge, self.subject.pair.axes, plain, self.given.truth),
            watching=watching,
            warnings=(
                *blind_spots(self.judge.trace.taps, self.judge.trace.samples, self.subject.pair.axes),
                *self._other_weights(mode),
                *self._idle_weights(mode),
                *self._idle_bounds(mode),
                *self._idle_axes(mode),
                *(self.lowered.warnings() if self.lowered else ()),
                *(
                    ["the port shows no layers: only what it returns is compared"]
                    if self.subject.port.only_ends
                    else []
                ),
            ),
        )

    def _other_weights(self, mode: str) -> Iterator[str]:
        """A sentence where the port seems to carry another checkpoint: most of its weights are like none."""
        weighted = [segment.layer for segment in self.segments if self.judge.taps[segment.layer].weighted]
        foreign = [layer for layer in weighted if (found := self.diagnoses.get((layer, mode))) and found.foreign]
        if len(foreign) >= max(3, len(weighted) // 2):
            share = f"{len(foreign)} of {len(weighted)} layers"
            yield f"{share} carry weights like none of the reference's: is the port from another checkpoint or seed?"

    def _idle_weights(self, mode: str) -> Iterator[str]:
        """A sentence on layers that are right on this input although their weights are not the reference's.

        Weights that are the reference's in another order are left out: the layers around may ask for that.
        """
        idle = [
            segment.layer
            for segment in self.segments
            if self.judge.taps[segment.layer].weighted
            and not self._introduces(segment.layer, mode)
            and self._carries_other_values(segment)
        ]
        if idle:
            more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
            names = ", ".join(idle[:SHOWN])
            yield f"the weights of {names}{more} are not the reference's, which does not show on this input"

    def _carries_other_values(self, segment: Segment) -> bool:
        if segment.layer not in self._others:
            operation = segment.tap.operation
            sources = self.scene.sources(segment.layer, operation)
            slacks = self.scene.slacks(segment.layer, operation, sources)
            self._others[segment.layer] = carries_other_values(sources, operation, slacks)
        return self._others[segment.layer]

    def _idle_bounds(self, mode: str) -> Iterator[str]:
        """A sentence on a ReLU that is bounded at 6 on one side only, where nothing on this input comes as far."""
        idle = [
            f"{segment.layer} ({kinds[0]}, the port's a {kinds[1]})"
            for segment in self.segments
            if set(kinds := (self.judge.taps[segment.layer].kind, segment.tap.kind)) == RECTIFIERS
            and not self._introduces(segment.layer, mode)
        ]
        if idle:
            more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
            yield f"no value is above 6, so a bound there does not show, at {', '.join(idle[:SHOWN])}{more}"

    def _idle_axes(self, mode: str) -> Iterator[str]:
        """A sentence on biases that a file adds along another axis than the channels, where its engine's optimiser puts
        them right."""
        idle = [
            segment.layer
            for segment in self.segments
            if any(is_astray(node.operation) for node in segment.nodes) and not self._introduces(segment.layer, mode)
        ]
        if idle:
            more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
            names = ", ".join(idle[:SHOWN])
            yield (
                f"the file adds the bias of {names}{more} along another axis than the channels; the optimiser of this "
                "engine puts that right, another engine may not"
            )

    def _layer(self, segment: Segment, mode: str, propagated: Measure | None = None) -> LayerResult:
        layer = segment.layer
        introduced = self.introduced.get((layer, mode))
        policy = self.judge.policy_of(layer)
        return LayerResult(
            layer=layer,
            port_layer=segment.tap.name,
            kind=self.judge.taps[layer].kind,
            floor=self.judge.floor(layer, anchored=True),
            propagated=propagated,
            introduced=introduced,
            verdict=self._verdict(segment, propagated, introduced),
            weighted=self.judge.taps[layer].weighted,
            inside=self.alignment.inside.get(layer, ()),
            policy=str(policy) if policy.why else "",
            reads=tuple(dict.fromkeys(segment.anchors)),
            precision=self.lowered.precision if self.lowered and policy.uses_float64 else "",
            reason=self.lowered.unproven(layer) if self.lowered else "",
        )

    def _verdict(self, segment: Segment, propagated: Measure | None, introduced: Measure | None) -> str:
        if self.poisoned & set(segment.anchors):
            return NOT_COMPARED
        if introduced is not None and not introduced.passed:
            return INTRODUCES
        if self.lowered and self.lowered.unproven(segment.layer):
            return NOT_COMPARED
        return PASS if propagated is None or propagated.passed else INHERITS

    def _watching(self, end: _EndToEnd) -> Watching:
        """The watched port's outputs against the plain one's: the same values, or as near as the limits ask."""
        if end.once:
            return Watching(same=True, relative=0.0, within=True, once=True)
        each = [self._watched(name, end.watched[ours], end.plain[ours]) for name, ours in self.matching.outputs.items()]
        return max(each, key=lambda watching: (not watching.within, not watching.same, watching.relative))

    def _watched(self, name: str, watched: Array, plain: Array) -> Watching:
        if watched.shape != plain.shape:
            return Watching(same=False, relative=float("inf"), within=False)
        difference = compare(watched, plain, self.judge.limits(self.judge.trace.output_taps[name]))
        same = bool(np.array_equal(watched, plain, equal_nan=True))
        return Watching(same=same, relative=difference.relative, within=same or difference.passed)
