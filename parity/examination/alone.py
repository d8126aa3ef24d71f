"""Each layer alone, on the reference's values, in each mode: the error that it introduces, and why, at once.

The reference is run in float32, once, and what it makes is there for a moment: what is to be said of a layer is said
then. Of a recorded port it is the other way round: the reference's layers run on the port's values.
"""

from collections.abc import Sequence

import numpy as np

from parity.anchored import Anchored, run_anchored
from parity.axes import Array
from parity.comparison import compare, fits_repeated
from parity.diagnosis import diagnose, unproven
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.explain import explained
from parity.diagnosis.pictures import error_picture
from parity.examination.known import Known
from parity.golden.port import RecordedGraph, Reversed
from parity.report import INTRODUCES
from parity.runners.reference import Value
from parity.runners.segments import REFUSED, Segment
from parity.runners.taps import Tap
from parity.tolerance import Limits
from parity.watch import Judged, tell

PICTURED = 24
"""Of so many layers at fault in a run the error is pictured: the first ones."""


class Alone:
    """Judges segments on the reference's values; what it finds is put down in what is `known`."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def run(self, segments: Sequence[Segment]) -> None:
        """Judge what these segments introduce, in every mode."""
        if not segments:
            return
        seen = 0

        def show(tap: Tap, value: Value) -> None:
            nonlocal seen
            seen += 1
            self._known.progress(f"layer by layer, {tap.name}", 0.2 + 0.4 * seen / len(self._known.judge.taps))
            self._known.judge.see(tap, value)

        def see(tap: Tap, value: Value) -> bool:
            show(tap, value)
            return not self._known.judge.doubted

        if isinstance(self._known.subject.port, RecordedGraph):
            self._known.subject.reference.run(self._known.given, show)
            self._run_reversed(self._known.subject.port, segments)
            return
        anchored = Anchored(
            self._known.subject.port, segments, self._known.modes, self._known.subject.pair.axes, self._judge_introduced
        )
        run_anchored(self._known.subject.reference, self._known.given, anchored, see)

    def _run_reversed(self, port: RecordedGraph, segments: Sequence[Segment]) -> None:
        """What each layer of a recorded port introduces: the reference's calls on the port's own values."""
        for mode in self._known.modes:
            values = Reversed(
                reference=self._known.subject.reference,
                port=port,
                given=self._known.given,
                arrays=self._known.inputs_of_port(),
                matched=self._known.alignment.matched,
                axes=self._known.subject.pair.axes,
                mode=mode,
            )
            for segment in segments:
                expected = values.expected(segment.layer)
                if expected is None:
                    self._known.not_reversed.add(segment.layer)
                    continue
                anchors = [values.of_port(name) for name in segment.anchors]
                actual = port.value(values.arrays, mode, segment.tap.name)
                self._judge_introduced(segment, mode, anchors, expected, actual)

    def _judge_introduced(
        self, segment: Segment, mode: str, anchors: Sequence[Array], expected: Array, actual: Array
    ) -> None:
        """Compare what a segment made of the reference's values; explain it at once, while they are there."""
        layer, key = segment.layer, (segment.layer, mode)
        if self._known.judge.doubted:
            return
        if self._known.poisoned & set(segment.anchors):
            self._known.poisoned.add(layer)
            return
        if fits_repeated(actual.shape, expected.shape) and actual is not REFUSED:
            actual = np.broadcast_to(actual, expected.shape)
        if self._known.lowered and actual is not REFUSED:
            self._known.lowered.see(segment, anchors)
        if actual.shape == expected.shape:
            comparison = compare(actual, expected, self._limits(segment))
            self._known.introduced[key] = self._known.judge.of_whole(layer, comparison, anchored=True)
            if comparison.nonfinite_expected:
                self._known.poisoned.add(layer)
        else:
            note = f"shape {actual.shape}, but should be {expected.shape}"
            if actual is REFUSED:
                note = "cannot run on the reference's values: another shape is built in"
            self._known.introduced[key] = self._known.judge.mismatch(layer, note)
        if self._known.judge.on_first and not self._known.introduced[key].passed:
            self._known.judge.doubted = True
            return
        if layer == self._known.wanted or not (self._known.wanted or self._known.introduced[key].passed):
            self._explain(segment, mode, anchors, expected, actual)
        result = self._known.layer(segment, mode)
        found = result.verdict == INTRODUCES
        finding = (
            self._known.found.finding(result, mode, self._known.introduced[key], introduced=True) if found else None
        )
        tell(Judged(mode=mode, result=result, finding=finding))

    def _explain(self, segment: Segment, mode: str, anchors: Sequence[Array], expected: Array, actual: Array) -> None:
        """Why a segment is wrong, and what there is to say of the wanted one."""
        layer, key = segment.layer, (segment.layer, mode)
        self._known.subject.port.restore()
        evidence = Evidence(
            segment=segment,
            mode=mode,
            scene=self._known.scene,
            anchors=anchors,
            expected=expected,
            actual=actual,
            limits=self._limits(segment),
        )
        if not self._known.introduced[key].passed:
            recorded = isinstance(self._known.subject.port, RecordedGraph)
            self._known.diagnoses[key] = unproven(evidence) if recorded else diagnose(evidence)
            if len(self._known.pictures[mode]) < PICTURED and (picture := error_picture(evidence)):
                self._known.pictures[mode][layer] = picture
        cause = self._known.diagnoses[key].cause if key in self._known.diagnoses else None
        found = evidence, self._known.introduced[key], self._known.judge.floor(layer, anchored=True), cause
        if layer == self._known.wanted:
            self._known.explanation = explained(evidence, self._known.given.name, *found[1:])
        self._known.witness(*found)

    def _limits(self, segment: Segment) -> Limits:
        """What a segment's own error may be. Weights of low precision that are not the reference's are no chance."""
        inside = self._known.alignment.inside.get(segment.layer, ())
        weighted = any(self._known.judge.taps[name].weighted for name in (segment.layer, *inside))
        other = self._known.lowered is not None and weighted and self._known.carries_other_values(segment)
        return self._known.judge.limits(segment.layer, segment, inside, by_chance=not other)
