"""The steps of an examination, one after the other, and the report of what came of them."""

from collections.abc import Collection, Mapping

import numpy as np

from parity.artifacts.formats import is_low
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.explain import setup_of
from parity.examination.alone import Alone
from parity.examination.coverage import covered
from parity.examination.end_to_end import End, EndToEnd
from parity.examination.findings import environment
from parity.examination.known import Known, Progress
from parity.examination.lowered import lowered
from parity.examination.matching import Subject
from parity.examination.outputs import deviations
from parity.examination.pictures import output_pictures
from parity.examination.unseen import warnings
from parity.pairs import Input
from parity.portraits import Setup
from parity.report import DIVERGED, PASS, Coverage, Report, Run
from parity.runners.segments import Segment
from parity.tolerance import Limits
from parity.watch import Begun, tell


class Examination(Known):
    """One input, in every mode: the steps that `parity.examination` lists, a method each."""

    def __init__(
        self,
        subject: Subject,
        given: Input,
        modes: tuple[str, ...],
        progress: Progress,
        odd: Collection[str] = (),
    ) -> None:
        super().__init__(subject, given, modes, progress, odd)
        self.ends: Mapping[str, End] = {}

    def report(self) -> Report:
        """Run the steps and record what came of them."""
        whole = bool(self.wanted or self.poisoned) or is_low(self.subject.port)
        runs = self._runs(whole=whole)
        if self.judge.on_first and not (runs and all(run.verdict == PASS for run in runs)):
            self.forget()
            self.ends = {}
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
            findings=tuple(self.found.findings(runs)),
            first_divergence=self.found.first_divergence(runs),
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
            Alone(self).run(self.segments)
            if self.judge.doubted:
                return ()
            self.judge.refuse_random()
        self.ends = ends = dict(EndToEnd(self).each())
        if not self.subject.policy.uses_float64:
            Alone(self).run(self._suspicious(ends))
        return tuple(self._run(mode, ends[mode]) for mode in self.modes)

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
                read = [name for name in segment.anchors if self.introduces(name, mode) and self._is_loaded(name, mode)]
                if read and self.introduces(segment.layer, mode) and end.measures[segment.layer].passed:
                    odd.update(read)
        undone = {name for found in self.diagnoses.values() for name in found.undoes}
        return frozenset(odd | undone | self._finished_within())

    def _finished_within(self) -> set[str]:
        """Taps that answer to an output of the port, where that is the reference's output after all: a last activation
        that the port's last layer has built in."""
        return {
            layer
            for end, layer in self.matching.too_early().items()
            if not any(self.introduces(end, mode) for mode in self.modes)
            and all(self.introduces(layer, mode) for mode in self.modes)
        }

    def _is_loaded(self, layer: str, mode: str) -> bool:
        """Whether a layer at fault carries the reference's weights, or none."""
        return not self.diagnoses[layer, mode].misloaded

    def _suspicious(self, ends: Mapping[str, End]) -> list[Segment]:
        """The segments that disagree end to end in some mode.

        Under a fixed tolerance an input within tolerance *is* the reference's as far as can be told, so where a
        segment's value agrees there is nothing to run it again for.
        """
        return [
            segment for segment in self.segments if any(not end.measures[segment.layer].passed for end in ends.values())
        ]

    def _run(self, mode: str, end: End) -> Run:
        layers = tuple(self.layer(each, mode, end.measures[each.layer]) for each in self.matching.in_reference_order())
        plain = {name: end.plain[ours] for name, ours in self.matching.outputs.items()}
        outputs = {name: self.judge.of_output(name, output) for name, output in plain.items()}
        watching = EndToEnd(self).watching(end)
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
            output=max(outputs.values(), key=lambda measure: (not measure.passed, measure.floors)),
            outputs=outputs if len(outputs) > 1 else {},
            deviations=deviations(self.judge, self.subject.pair.axes, plain),
            pictures=dict(self.pictures[mode]),
            shown=output_pictures(self.judge, self.subject.pair.axes, plain, self.given.truth),
            watching=watching,
            warnings=tuple(warnings(self, mode)),
        )
