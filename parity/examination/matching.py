"""What answers to what on one input: inputs and outputs paired, taps aligned, the port cut into segments there."""

import difflib
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from parity.alignment import Alignment, align, apart
from parity.ends import all_paired, paired
from parity.errors import PairError, UsageError
from parity.judge import Judge
from parity.pairs import Input, Pair
from parity.runners.keras_model import KerasModel
from parity.runners.reference import Reference
from parity.runners.segments import Segment
from parity.tolerance import Policy

Kept = MutableMapping[Any, Any]
"""What matching has found, by all that it depends on but the weights of both sides."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined: a pair, how it is judged, and both sides ready to run; `notes` say how the port is seen.

    `kept` has what earlier examinations of this pair have matched: it holds for as long as neither side changes.
    """

    pair: Pair
    policy: Policy
    reference: Reference
    port: KerasModel
    versions: Mapping[str, str] = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)
    notes: Sequence[str] = ()


class Matching:
    """The port of `subject`, told what it is given and cut into `segments`, each answering to a tap of the reference.

    `outputs` has the port's output for each of the reference's that has one. `odd` names taps that are known not to
    correspond. Raises PairError where no output does, MapError for a map of layers that names what does not exist.
    """

    def __init__(self, subject: Subject, given: Input, judge: Judge, odd: Collection[str] = ()) -> None:
        self._subject = subject
        self._given = given
        self._judge = judge
        self.outputs = self._paired_ends()
        if not self.outputs:
            raise PairError(
                "no output of the port answers to one of the reference's; say which with Pair(output_map=...)"
            )
        known, odd = self._depends_on(), frozenset(odd)
        if known not in subject.kept:
            subject.kept[known] = self._align()
        self.alignment: Alignment = apart(subject.kept[known], odd, self._end_taps())
        if (known, odd) not in subject.kept:
            cut = subject.port.segments(self.alignment.matched)
            subject.kept[known, odd] = (*cut, *self._unfinished(cut))
        self.segments: tuple[Segment, ...] = subject.kept[known, odd]

    def in_reference_order(self) -> list[Segment]:
        """The segments in the order in which the reference makes their values."""
        order = {name: index for index, name in enumerate(self._judge.taps)}
        return sorted(self.segments, key=lambda segment: order[segment.layer])

    def layer_called(self, name: str) -> str:
        """The reference's name for a layer that either side calls by `name`; for one inside others, the first one's."""
        held = reversed(list(self.alignment.inside.items()))
        within = {name: layer for layer, inside in held for name in inside}
        names = {**within, **self._judge.trace.aliases}
        names |= {port: layer for layer, port in self.alignment.matched.items()}
        names |= {layer: layer for layer in self.alignment.matched}
        if names.get(name) not in self.alignment.matched:
            near = difflib.get_close_matches(name, names, n=3)
            hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
            raise UsageError(f"no compared layer is called {name!r}{hint}")
        return names[name]

    def too_early(self) -> Mapping[str, str]:
        """For each output of the reference that nothing answers to, the tap that the port's output answers to."""
        layer_of = {tap: layer for layer, tap in self.alignment.matched.items()}
        ends = self._end_taps().items()
        return {end: layer_of[tap] for end, tap in ends if end not in self.alignment.matched and tap in layer_of}

    def _paired_ends(self) -> Mapping[str, str]:
        """Tell the port which of its inputs is given what; the port's output for each of the reference's."""
        pair, port = self._subject.pair, self._subject.port
        names = self._subject.reference.names_of(self._given)
        port.feeds = all_paired(names, {name: port.other_names(name) for name in port.inputs}, pair.input_map, "input")
        theirs = dict.fromkeys(self._judge.trace.output_taps, "")
        return paired(theirs, {name: port.other_names(name) for name in port.output_taps}, pair.output_map, "output")

    def _end_taps(self) -> dict[str, str]:
        """The port's tap that is an output, for each tap of the reference that is the answering one."""
        theirs, ours = self._judge.trace.output_taps, self._subject.port.output_taps
        return {theirs[name]: ours[answer] for name, answer in self.outputs.items()}

    def _depends_on(self) -> tuple[Any, ...]:
        """All that may be otherwise on another input, and that an alignment depends on."""
        trace, port, axes = self._judge.trace, self._subject.port, self._subject.pair.axes
        named = (port.feeds, self._end_taps(), trace.aliases, axes.by_name)
        return (port, tuple(trace.taps), *(tuple(each.items()) for each in named))

    def _align(self) -> Alignment:
        pair, trace = self._subject.pair, self._judge.trace
        return align(
            trace.taps,
            self._subject.port.taps,
            layers=self._layers(),
            axes=pair.axes,
            inputs=self._subject.port.feeds,
            outputs=self._end_taps(),
            aliases=trace.aliases,
            waived=pair.waived,
        )

    def _layers(self) -> Mapping[str, str | Sequence[str]] | None:
        """The user's map; the name of a model or layer that was opened stands for the tap that makes its value.

        A file may have lost names that its source had: what the map sends to one of these is left to alignment.
        """
        layers, aliases = self._subject.pair.layers, self._subject.port.aliases
        layers = layers and self._subject.port.kept(layers)
        if not layers or not aliases:
            return layers

        def tap(name: str) -> str:
            return aliases.get(name, name)

        return {key: tap(value) if isinstance(value, str) else tuple(map(tap, value)) for key, value in layers.items()}

    def _unfinished(self, cut: Sequence[Segment]) -> tuple[Segment, ...]:
        """What the port ends with, held against the reference's output, where it ends before the reference does."""
        by_layer = {segment.layer: segment for segment in cut}
        return tuple(replace(by_layer[layer], layer=end) for end, layer in self.too_early().items())
