"""What is known of one input so far: both sides matched, and what was judged of each layer in each mode."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, cast

import numpy as np

from parity.artifacts.folding import scaled_by, scaled_by_layer
from parity.axes import Array, in_order, move
from parity.diagnosis import Diagnosis
from parity.diagnosis.evidence import Evidence
from parity.diagnosis.fingerprints import carries_other_values, equal
from parity.diagnosis.scene import Scene
from parity.examination.findings import Findings
from parity.examination.lowered import Lowered
from parity.examination.matching import Matching, Subject
from parity.explanation import Explanation
from parity.judge import Judge
from parity.layouts import derived_for
from parity.pairs import Input
from parity.portraits import ErrorPicture
from parity.report import INHERITS, INTRODUCES, NOT_COMPARED, PASS, Cause, LayerResult, Measure
from parity.runners.segments import Segment

Witness = Callable[[Evidence, Measure, float, Cause | None], None]
"""Shown a layer while its arrays are there: what is known of it, the error it introduces, its floor, its cause."""

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction of the whole that is finished."""


class Known:
    """One input in every mode, by layer and mode: `introduced` has the error of a layer's own, `diagnoses` why.

    `poisoned` names taps and inputs with values that are not finite, `not_reversed` layers of a recorded port that the
    reference could not be run for, `lowered` what low precision explains. Of the layer that is `wanted` everything is
    said in `explanation`; `witness` is shown each layer that is looked into.
    """

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
        self.scene = Scene(
            subject.reference,
            subject.port,
            given,
            subject.pair.axes,
            self.judge.taps,
            self.alignment.matched,
            subject.pair.layers,
        )
        self.wanted, self.explanation = "", cast(Explanation | None, None)
        self.witness: Witness = lambda evidence, introduced, floor, cause: None
        self.poisoned = {name for name, array in given.arrays.items() if not np.isfinite(array).all()}
        self.found = Findings(
            given, modes, self.judge, self.poisoned, self.alignment.coverage.unmatched_reference, self.diagnoses
        )
        self._others: dict[str, bool] = {}

    def forget(self) -> None:
        """Forget what was judged, to judge it again."""
        self.introduced.clear()
        self.diagnoses.clear()
        for pictures in self.pictures.values():
            pictures.clear()
        self.not_reversed.clear()
        self.poisoned.clear()

    def inputs_of_port(self) -> dict[str, Array]:
        """The input's arrays in the port's layout, by the reference's names."""
        axes = self.subject.pair.axes
        return {name: in_order(move(array, *axes.of(name, array.ndim))) for name, array in self.given.arrays.items()}

    def introduces(self, layer: str, mode: str) -> bool:
        """Whether a layer is known to be at fault in a mode."""
        measure = self.introduced.get((layer, mode))
        return measure is not None and not measure.passed

    def carries_other_values(self, segment: Segment) -> bool:
        """Whether a segment's layer has weights that are not the reference's, in whatever order, nor do the same."""
        if segment.layer not in self._others:
            operation = segment.tap.operation
            sources = self.scene.sources(segment.layer, operation)
            slacks = self.scene.slacks(segment.layer, operation, sources)
            others = carries_other_values(sources, operation, slacks)
            self._others[segment.layer] = others and not self._scales_alike(segment.layer, operation)
        return self._others[segment.layer]

    def _scales_alike(self, layer: str, operation: Any) -> bool:
        """Whether a norm multiplies by what the reference's does, and adds what it adds, with other weights."""
        call, ours = self.scene.calls.get(layer), scaled_by_layer(operation)
        theirs = scaled_by(call) if call is not None and ours is not None else None
        if ours is None or theirs is None:
            return False
        return all(one.shape == other.shape and equal(one, other) for one, other in zip(ours, theirs, strict=True))

    def layer(self, segment: Segment, mode: str, propagated: Measure | None = None) -> LayerResult:
        """What is known of a layer: what it introduces, and `propagated`, its error end to end."""
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
