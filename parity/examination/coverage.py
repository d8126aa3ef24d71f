"""Which layers were compared: by themselves, as parts of others, end to end only, or not at all."""

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from parity.axes import Array
from parity.diagnosis.scene import Scene
from parity.examination.matching import Matching, Subject
from parity.judge import Judge
from parity.report import Coverage
from parity.runners.segments import Segment


def covered(
    matching: Matching, scene: Scene, subject: Subject, judge: Judge, not_reversed: Collection[str]
) -> Coverage:
    """What was compared; `not_reversed` names layers of a recorded port that the reference could not be run for.

    A layer of the reference with weights is compared as a part of another only where the alignment says which layer of
    the port does the work of both: that a segment's end is right proves little of what lies in it. A function of a
    Keras port that computes with weights and has no layers can only be compared by what it returns; a file is read
    step by step, and has no such. A layer of the port that does a part of a weighted one, before a crop, is compared
    with it; and so is one that does what functions of the reference do with weights that no layer holds.
    """
    coverage = matching.alignment.coverage
    port = subject.port
    within = {
        name
        for segment in matching.segments
        if judge.taps[segment.layer].weighted and not segment.tap.weighted
        for name in port.taps_of(segment.nodes)
    }
    within |= {name for segment in matching.segments for name in _of_functions(segment, scene, subject)}
    held: dict[str, str] = {}
    for segment in matching.segments:
        if segment.reads_weights and not port.stands_for:
            theirs = _unmatched_before(segment.layer, coverage, scene, subject, judge)
            held |= dict.fromkeys(theirs, segment.layer)
    lacking = [name for name in judge.trace.output_taps if name not in matching.outputs]
    surplus = [name for name in port.output_taps if name not in matching.outputs.values()]
    twins = {name for name in coverage.unmatched_reference if scene.twin(name) in coverage.matched}
    return replace(
        coverage,
        inside={**coverage.inside, **held},
        fused={**coverage.fused, **held},
        propagated_only=tuple(
            segment.layer for segment in matching.segments if not segment.is_alone or segment.layer in not_reversed
        ),
        unmatched_reference=(
            *(n for n in coverage.unmatched_reference if n not in {*held, *twins}),
            *lacking,
        ),
        unmatched_port=(*(n for n in coverage.unmatched_port if n not in within), *surplus),
        waived=(*coverage.waived, *_waived_within(coverage.waived, (*lacking, *surplus))),
    )


def _of_functions(segment: Segment, scene: Scene, subject: Subject) -> Iterator[str]:
    """The layers with weights that lie in a segment, each of whose weights a function of the reference has there; or
    does nothing, like the mean and the variance of a norm that a file has as a factor and a shift."""
    weighted = [node for node in segment.nodes if getattr(node.operation, "weights", ())]
    theirs = scene.bare_weights(segment.layer, segment.anchors) if weighted else []
    known = [np.sort(array, axis=None) for array in theirs]
    for node in weighted:
        ours = [np.sort(np.asarray(weight), axis=None) for weight in node.operation.weights]
        there = [any(np.array_equal(one, other) for other in known) for one in ours]
        if any(there) and all(found or _does_nothing(one) for found, one in zip(there, ours, strict=True)):
            yield from subject.port.taps_of((node,))


def _does_nothing(weight: Array) -> bool:
    """Whether a weight has nothing but zeros, or nothing but ones."""
    return bool(np.all(weight == 0) or np.all(weight == 1))


def _waived_within(waived: Collection[str], outputs: Collection[str]) -> list[str]:
    """The outputs that are waived by the name of what holds them: all of `output.cache` for `output.cache[0].keys`."""
    return [name for name in outputs if any(name.startswith((f"{each}.", f"{each}[")) for each in waived)]


def _unmatched_before(layer: str, coverage: Coverage, scene: Scene, subject: Subject, judge: Judge) -> set[str]:
    """The reference's layers with weights that lie in a segment, unmatched, and that no map speaks of."""
    calls, mapped, found = scene.calls, subject.pair.layers or {}, set[str]()
    waiting = list(calls[layer].reads) if layer in calls else []
    while waiting:
        name = waiting.pop()
        if name in coverage.matched or name not in calls or name in found:
            continue
        if judge.taps[name].weighted and name in coverage.unmatched_reference and name not in mapped:
            found.add(name)
        waiting += calls[name].reads
    return found
