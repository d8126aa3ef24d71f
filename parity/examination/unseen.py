"""What does not show on an input although it is wrong, or may be: what a run warns of."""

from collections.abc import Iterator

from parity.adequacy import RECTIFIERS, SHOWN, blind_spots
from parity.artifacts.biases import is_astray
from parity.examination.known import Known


def warnings(known: Known, mode: str) -> Iterator[str]:
    """A sentence on each thing that this input cannot show in a mode."""
    yield from blind_spots(known.judge.trace.taps, known.judge.trace.samples, known.subject.pair.axes)
    yield from _other_weights(known, mode)
    yield from _idle_weights(known, mode)
    yield from _idle_bounds(known, mode)
    yield from _idle_axes(known, mode)
    if known.lowered:
        yield from known.lowered.warnings()
    if known.subject.port.only_ends:
        yield "the port shows no layers: only what it returns is compared"


def _other_weights(known: Known, mode: str) -> Iterator[str]:
    """A sentence where the port seems to carry another checkpoint: most of its weights are like none."""
    weighted = [segment.layer for segment in known.segments if known.judge.taps[segment.layer].weighted]
    foreign = [layer for layer in weighted if (found := known.diagnoses.get((layer, mode))) and found.foreign]
    if len(foreign) >= max(3, len(weighted) // 2):
        share = f"{len(foreign)} of {len(weighted)} layers"
        yield f"{share} carry weights like none of the reference's: is the port from another checkpoint or seed?"


def _idle_weights(known: Known, mode: str) -> Iterator[str]:
    """A sentence on layers that are right on this input although their weights are not the reference's.

    Weights that are the reference's in another order are left out: the layers around may ask for that.
    """
    idle = [
        segment.layer
        for segment in known.segments
        if known.judge.taps[segment.layer].weighted
        and not known.introduces(segment.layer, mode)
        and known.carries_other_values(segment)
    ]
    if idle:
        more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
        names = ", ".join(idle[:SHOWN])
        yield f"the weights of {names}{more} are not the reference's, which does not show on this input"


def _idle_bounds(known: Known, mode: str) -> Iterator[str]:
    """A sentence on a ReLU that is bounded at 6 on one side only, where nothing on this input comes as far."""
    idle = [
        f"{segment.layer} ({kinds[0]}, the port's a {kinds[1]})"
        for segment in known.segments
        if set(kinds := (known.judge.taps[segment.layer].kind, segment.tap.kind)) == RECTIFIERS
        and not known.introduces(segment.layer, mode)
    ]
    if idle:
        more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
        yield f"no value is above 6, so a bound there does not show, at {', '.join(idle[:SHOWN])}{more}"


def _idle_axes(known: Known, mode: str) -> Iterator[str]:
    """A sentence on biases that a file adds along another axis than the channels, where its engine's optimiser puts
    them right."""
    idle = [
        segment.layer
        for segment in known.segments
        if any(is_astray(node.operation) for node in segment.nodes) and not known.introduces(segment.layer, mode)
    ]
    if idle:
        more = f" and {len(idle) - SHOWN} more" if len(idle) > SHOWN else ""
        names = ", ".join(idle[:SHOWN])
        yield (
            f"the file adds the bias of {names}{more} along another axis than the channels; the optimiser of this "
            "engine puts that right, another engine may not"
        )
