"""Which tap of the port answers to which tap of the reference, and why.

The user's map always wins. What it leaves open is filled by one assignment over all that is known: whose weights are
alike, whose names, who stands in the same place in the data flow, in which order, of which kind and shape. No two
matches contradict the data flow: what runs before here never runs after there. What has weights and no counterpart is
unmatched; an operation without weights and without a counterpart lies inside the segment of the next matched tap, and
is compared as part of it. So do layers that the port computes together with the next one: a convolution into which the
port folds the BatchNorm is compared at the BatchNorm.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from parity.alignment import fingerprints, joined
from parity.alignment.built_in import activation_after, built_in, is_bare, refined
from parity.alignment.evidence import Evidence, shapes_fit
from parity.alignment.files import read_map
from parity.alignment.graphs import Graph
from parity.alignment.mapping import Entry, Layers, each_once, entries
from parity.alignment.operations import Between, operations
from parity.alignment.packed import PARTS, repacked, unpacked
from parity.alignment.records import Alignment, Match, Pairs, listed, with_reasons
from parity.alignment.skeleton import Choice, Known, assigned
from parity.axes import Axes
from parity.pairs import Pair
from parity.report import Ambiguity, Coverage
from parity.runners.taps import Tap

GIVEN, OUTPUT, ORDER, PLACE = "given", "output", "order, kind and shape", "the activation in that place"

STORES = frozenset({"quantize", "dequantize", "cast"})
"""Kinds that compute nothing: a file stores a value in other numbers by them."""


def align(
    reference: Sequence[Tap],
    port: Sequence[Tap],
    *,
    layers: Layers | str | os.PathLike[str] | None,
    axes: Axes,
    outputs: Pairs,
    inputs: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    waived: Iterable[str] = (),
) -> Alignment:
    """Match the reference's taps to the port's. Both are listed in an order in which they may run.

    `layers` is the user's map, or the file it is in. `outputs` (reference tap, port tap) answer to each other whatever
    their names; `inputs` (by name; those of one name, if not given) are where data flow begins. Raises MapError where
    `layers` names a reference tap that does not exist, or sends two taps to one port layer. A port layer that does not
    exist is no error: its reference tap is unmatched, and that is part of the verdict.
    """
    given = read_map(layers) if isinstance(layers, (str, os.PathLike)) else layers or {}
    packed = unpacked(reference, port, _mentioned(given))
    pieces = repacked(reference, port, _mentioned({**packed, **given}))
    given = {**packed, **pieces, **given}
    named = entries(given, [tap.name for tap in reference], [tap.name for tap in port], aliases or {})
    mapped = each_once(refined(named, reference, port))
    split = [entry for entry in mapped if entry.split and not entry.lacking]
    theirs, ours = (Graph(reference, [e.reference for e in split]), Graph(port, [e.port for e in split]))
    aligning = _Aligning(theirs, ours, axes, mapped)
    alignment = aligning.run(listed(outputs), inputs or aligning.same_inputs(), tuple(sorted(waived)))
    return replace(with_reasons(alignment, dict.fromkeys(pieces, PARTS)), unpacked=frozenset(packed))


def _mentioned(layers: Layers) -> set[str]:
    """Every name that a map has, of either side."""
    sides = [side for entry in layers.items() for side in entry]
    return {name for side in sides for name in ([side] if isinstance(side, str) else side)}


def with_map(pair: Pair) -> Pair:
    """The pair, its layer map read where it is given as a file. Raises MapError for what cannot be read."""
    layers = pair.layers
    return replace(pair, layers=read_map(layers)) if isinstance(layers, (str, os.PathLike)) else pair


@dataclass
class _Aligning:
    """The steps of one alignment. Taps are called by their index on either side."""

    reference: Graph
    port: Graph
    axes: Axes
    mapped: tuple[Entry, ...]
    matched: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    together: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Taps of the reference that the port computes together with a matched one."""
    split: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Taps of the reference, and those of the port that share their work."""
    without: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    """Taps that the map leaves without a counterpart."""
    nodes: dict[int, int] = field(default_factory=dict)
    """The matches of the two skeletons."""

    def run(self, outputs: Sequence[tuple[str, str]], inputs: Mapping[str, str], waived: tuple[str, ...]) -> Alignment:
        ends = [
            (self.reference.index[theirs], self.port.index[ours])
            for theirs, ours in outputs
            if theirs in self.reference.index and ours in self.port.index
        ]
        self._pin_map()
        self._pin_outputs(ends)
        numbers = _numbers(inputs)
        choices = self._match_skeleton(ends, numbers)
        self._rehang()
        self._join_folded()
        self._join_contained()
        self._join_applied()
        self._match_outputs(ends)
        self._match_operations(numbers)
        self._join_scaled()
        self._join_applied()
        self._match_other_activations()
        self._compare_built_in()
        ambiguous = tuple(self._ambiguity(choice) for choice in choices if choice.alternatives or choice.rivals)
        return self._alignment(ambiguous, waived)

    def same_inputs(self) -> dict[str, str]:
        """The inputs that both sides call by one name."""
        ours, theirs = (
            {read for reads in graph.reads for read in reads if isinstance(read, str)}
            for graph in (self.reference, self.port)
        )
        return {name: name for name in sorted(ours & theirs)}

    def _pin(self, ours: int, theirs: int, reason: str, score: float = 0.0) -> None:
        self.matched[ours], self.reasons[ours], self.scores[ours] = theirs, reason, score

    def _unpin(self, ours: int) -> None:
        for found in (self.matched, self.reasons, self.scores, self.nodes):
            found.pop(ours, None)

    def _pin_map(self) -> None:
        for entry in self.mapped:
            ours = [self.reference.index[name] for name in entry.reference]
            theirs = [self.port.index[name] for name in entry.port]
            if entry.split:
                self.without[0].update(ours)
                self.without[1].update(theirs)
                if not entry.lacking:
                    self.split |= dict.fromkeys(ours, tuple(theirs))
                continue
            self.without[0].update(ours[:-1] if theirs else ours)
            if theirs:
                self._pin(ours[-1], theirs[0], GIVEN)
                self.together[ours[-1]] = tuple(ours[:-1])

    def _marked(self) -> tuple[dict[int, int], dict[int, int]]:
        """The same number for taps on either side that answer to each other together."""
        groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
            ((*before, tap), (self.matched[tap],)) for tap, before in self.together.items() if before
        ]
        groups += [((tap,), parts) for tap, parts in self.split.items()]
        ours = {tap: -number for number, (taps, _) in enumerate(groups, 1) for tap in taps}
        theirs = {tap: -number for number, (_, taps) in enumerate(groups, 1) for tap in taps}
        return ours, theirs

    def _pin_outputs(self, ends: Sequence[tuple[int, int]]) -> None:
        """Outputs answer to each other, where both or neither are in the skeleton; the rest is seen to afterwards."""
        for ours, theirs in ends:
            alike = (self.reference.source[ours] == ours) == (self.port.source[theirs] == theirs)
            if alike and self._is_free(ours, theirs):
                self._pin(ours, theirs, OUTPUT)

    def _is_free(self, ours: int, theirs: int) -> bool:
        mapped = {name for entry in self.mapped for name in entry.reference}
        free = ours not in self.matched and theirs not in self.matched.values()
        return free and self.reference.taps[ours].name not in mapped and theirs not in self.without[1]

    def _match_skeleton(
        self, ends: Sequence[tuple[int, int]], numbers: tuple[Mapping[str, int], Mapping[str, int]]
    ) -> list[Choice]:
        self.nodes = joined.nodes_of(self.reference, self.port, self.matched, self.without[0])
        weighed = (
            [node not in self.nodes and node not in self.without[0] for node in self.reference.nodes],
            [node not in self.nodes.values() and node not in self.without[1] for node in self.port.nodes],
        )
        evidence = Evidence(self.reference, self.port, self.axes, weighed)
        known = Known(
            matched=dict(self.nodes),
            taps=dict(self.matched),
            together=self._marked(),
            without=(self.without[0] | set(self.matched), self.without[1] | set(self.matched.values())),
            inputs=numbers,
            outputs=(_numbered([ours for ours, _ in ends]), _numbered([theirs for _, theirs in ends])),
        )
        choices = assigned(evidence, known)
        for choice in choices:
            self.nodes[choice.reference] = choice.port
            self._pin(choice.reference, choice.port, self._reason(choice), choice.score)
        return choices

    def _reason(self, choice: Choice) -> str:
        ours, theirs = self.reference.weights[choice.reference], self.port.weights[choice.port]
        sizes = [max((array.size for array in arrays), default=0) for arrays in (ours, theirs)]
        weights = _weights_in_words(choice, sizes, in_place=fingerprints.moved_alike(ours, theirs))
        return ", ".join(weights if each == "weights" else each for each in choice.witnesses) or ORDER

    def _rehang(self) -> None:
        """Compare a layer of another shape than the reference's where a crop or a move after it has given it that one,
        on either side; not at all where it is not known which of several slices it is."""
        for ours, theirs in list(self.nodes.items()):
            if ours not in self.matched or self.reasons[ours] == GIVEN or self.matched[ours] != theirs:
                continue
            if shapes_fit([self.reference.taps[ours]], [self.port.taps[theirs]], self.axes)[0, 0]:
                continue
            moved = joined.moved_into_shape(self.reference, self.port, ours, theirs, self.axes)
            if len(moved) == 1:
                self._move(ours, theirs, *moved[0])
            elif moved:
                self._unpin(ours)

    def _move(self, ours: int, theirs: int, to_ours: int, to_theirs: int) -> None:
        """Compare a match further on, on one side or both."""
        reason, score = self.reasons.pop(ours), self.scores.pop(ours)
        del self.matched[ours]
        self._pin(to_ours, to_theirs, reason, score)
        if to_ours != ours:
            self.together[to_ours] = (*self.together.pop(ours, ()), ours)

    def _join_folded(self) -> None:
        """A layer that the port has folded into the one before: the two are compared where the second ends."""
        for ours in sorted(self.reference.foldable - set(self.matched) - self.without[0]):
            before = joined.folded_into(self.reference, self.port, ours, self.nodes, self.axes)
            if before is not None and self.matched.get(before) == self.nodes[before] and self.reasons[before] != GIVEN:
                theirs = self.matched[before]
                score = self.scores[before]
                self._move(before, theirs, ours, theirs)
                kinds = f"{self.reference.taps[before].kind} + {self.reference.taps[ours].kind}"
                self.reasons[ours], self.scores[ours] = f"fused {kinds}", score
                self.nodes[ours] = self.nodes.pop(before)

    def _join_contained(self) -> None:
        """Layers whose weights the port holds in the layer after them: half of a separable convolution."""
        for ours in reversed(self.reference.nodes):
            if ours not in self.matched and ours not in self.without[0] and ours not in self._covered():
                after = joined.contained_in(self.reference, self.port, ours, self.matched)
                if after is not None:
                    self.together[after] = (ours, *self.together.get(after, ()))
                    self.reasons[after] += ", with the weights of the layer before it"

    def _join_scaled(self) -> None:
        """A product with a constant that the port has made a part of the weights before it."""
        for ours in range(len(self.reference.taps)):
            if ours in self.matched or ours in self.without[0]:
                continue
            before = joined.scaled_into(self.reference, self.port, ours, self.matched, self.axes)
            if before is not None and self.reasons[before] != GIVEN:
                self._move(before, self.matched[before], ours, self.matched[before])
                self.reasons[ours] = f"fused {self.reference.taps[before].kind} + scale"

    def _join_applied(self) -> None:
        """A layer of the port whose value has been through an activation: it is compared where the reference's has."""
        for ours, theirs in list(self.matched.items()):
            after = activation_after(self.reference, ours) if self.port.taps[theirs].applies else None
            if after is not None and after not in self.matched and after not in self.without[0]:
                self._move(ours, theirs, after, theirs)
                kinds = f"{self.reference.taps[ours].kind} + {self.reference.taps[after].kind}"
                if self.reasons[after] != GIVEN:
                    self.reasons[after] = f"fused {kinds}"

    def _match_outputs(self, ends: Sequence[tuple[int, int]]) -> None:
        """Outputs that are still open, and those whose last operation only one side has."""
        for ours, theirs in ends:
            if self._is_free(ours, theirs):
                held = self.matched.get(self._node(self.reference, ours))
                if held is not None and held == self._node(self.port, theirs) and self.reference.source[ours] == ours:
                    self._move(ours, held, ours, theirs)
                else:
                    self._pin(ours, theirs, OUTPUT)
                continue
            node = self._node(self.reference, ours)
            if node >= 0 and self.reference.only_moves(node, ours) and self._ends_at(node, theirs, ours):
                self._move(node, theirs, ours, theirs)
            elif self._continues(ours, theirs):
                self._move(ours, self.matched[ours], ours, theirs)

    def _node(self, graph: Graph, tap: int) -> int:
        source = graph.source[tap]
        return source if isinstance(source, int) else -1

    def _ends_at(self, node: int, theirs: int, ours: int) -> bool:
        """Whether the reference only moves values after the node that answers to the port's output."""
        free = ours not in self.matched and ours not in self.without[0] and node != ours
        fits = shapes_fit([self.reference.taps[ours]], [self.port.taps[theirs]], self.axes)[0, 0]
        return free and self.matched.get(node) == theirs and self.reasons[node] != GIVEN and bool(fits)

    def _continues(self, ours: int, theirs: int) -> bool:
        """Whether the port goes on after the node that answers to the reference's output."""
        node = self._node(self.port, theirs)
        open_ = theirs not in self.matched.values() and theirs not in self.without[1]
        return open_ and node != theirs and self.matched.get(ours) == node and self.reasons[ours] != GIVEN

    def _match_operations(self, numbers: tuple[Mapping[str, int], Mapping[str, int]]) -> None:
        between = Between(
            reference=self.reference,
            port=self.port,
            axes=self.axes,
            inputs=numbers,
            nodes={**self.nodes, **self._split_as_one()},
            matched=self.matched,
            without=(frozenset(self.without[0]), frozenset(self.without[1])),
        )
        for ours, theirs in operations(between).items():
            self._pin(ours, theirs, ORDER)

    def _match_other_activations(self) -> None:
        """Activations of two kinds, each all that is made of taps that answer to each other, answer to each other."""
        for ours, theirs in list(self.matched.items()):
            one, other = activation_after(self.reference, ours), activation_after(self.port, theirs)
            if one is not None and other is not None and self._is_free(one, other):
                self._pin(one, other, PLACE)

    def _compare_built_in(self) -> None:
        """A layer with an activation built in to which nothing answers is compared with it."""
        index, layer_of = self.port.index, {theirs: ours for ours, theirs in self.matched.items()}
        for layer, activation in built_in(self.port.taps).items():
            theirs, ours = index[activation], layer_of.get(index[layer])
            if theirs in layer_of or theirs in self.without[1] or ours is None or self._has_own(ours, theirs):
                continue
            if is_bare(self.reference, ours, self.matched):
                self._move(ours, index[layer], ours, theirs)

    def _has_own(self, ours: int, theirs: int) -> bool:
        """Whether the reference applies the port's activation next, which answers to what a file stores it by."""
        after = activation_after(self.reference, ours)
        if after is None or self.reference.taps[after].kind != self.port.taps[theirs].kind:
            return False
        return after in self.matched and self.port.taps[self.matched[after]].kind in STORES

    def _split_as_one(self) -> dict[int, int]:
        """For what several layers of the port do together, the tap that stands for all of them on either side."""
        return {self.reference.first_of[tap]: self.port.first_of[parts[0]] for tap, parts in self.split.items()}

    # -- recorded -----------------------------------------------------------------------------------------------------

    def _ambiguity(self, choice: Choice) -> Ambiguity:
        return Ambiguity(
            layer=self.reference.taps[choice.reference].name,
            port_layer=self.port.taps[choice.port].name,
            alternatives=tuple(self.port.taps[i].name for i in choice.alternatives),
            rivals=tuple(self.reference.taps[i].name for i in choice.rivals),
        )

    def _alignment(self, ambiguous: tuple[Ambiguity, ...], waived: tuple[str, ...]) -> Alignment:
        ours, theirs = self.reference.taps, self.port.taps
        matched = {ours[i].name: theirs[self.matched[i]].name for i in sorted(self.matched)}
        inside = joined.inside(self.reference, self.matched, self._covered())
        held = {ours[i].name: tuple(ours[j].name for j in inside[i]) for i in inside}
        reasons = {ours[i].name: self.reasons[i] for i in sorted(self.matched)}
        return Alignment(
            matched=matched,
            inside=held,
            matches=tuple(
                Match(layer=ours[i].name, port_layer=theirs[self.matched[i]].name, reason=self.reasons[i],
                      score=self.scores[i])
                for i in sorted(self.matched)
            ),
            ambiguous=ambiguous,
            together={ours[i].name: tuple(ours[j].name for j in taps) for i, taps in self.together.items() if taps},
            split={ours[i].name: tuple(theirs[j].name for j in taps) for i, taps in self.split.items()},
            coverage=self._coverage(matched, held, reasons, ambiguous, waived),
        )  # fmt: skip

    def _covered(self) -> set[int]:
        """Taps of the reference with weights that are compared as part of a matched one."""
        behind = {node for node in self.nodes if node not in self.matched}
        return {*self.split, *behind, *(tap for taps in self.together.values() for tap in taps)}

    def _is_fused(self, tap: Tap, holder: Mapping[str, str], covered: Collection[str]) -> bool:
        """Whether a layer with weights is compared as part of another."""
        return tap.weighted and tap.name in holder and tap.name in covered

    def _coverage(
        self,
        matched: Mapping[str, str],
        inside: Mapping[str, tuple[str, ...]],
        reasons: Mapping[str, str],
        ambiguous: tuple[Ambiguity, ...],
        waived: tuple[str, ...],
    ) -> Coverage:
        mapped = {name for entry in self.mapped for name in entry.reference}
        covered = {self.reference.taps[i].name for i in self._covered()}
        holder = {name: layer for layer in reversed(list(inside)) for name in inside[layer]}
        missing = [
            tap.name
            for tap in self.reference.taps
            if tap.name not in matched
            and (tap.name not in holder or ((tap.weighted or tap.name in mapped) and tap.name not in covered))
        ]
        parts = (tap for taps in self.split.values() for tap in taps)
        answered = {*self.matched.values(), *self.nodes.values(), *parts}
        return Coverage(
            matched=matched,
            weighted=sum(tap.weighted and tap.name in matched for tap in self.reference.taps),
            inside={name: layer for name, layer in holder.items() if name not in missing},
            fused={tap.name: holder[tap.name] for tap in self.reference.taps if self._is_fused(tap, holder, covered)},
            unmatched_reference=tuple(missing),
            unmatched_port=tuple(
                tap.name for j, tap in enumerate(self.port.taps) if tap.weighted and j not in answered
            ),
            waived=waived,
            reasons=reasons,
            ambiguous=ambiguous,
        )


def _weights_in_words(choice: Choice, sizes: Sequence[int], *, in_place: bool) -> str:
    """How the weights are alike, of which the largest arrays of either side have these sizes."""
    if choice.likeness < fingerprints.ALIKE:
        return "some weights equal"
    if choice.folded:
        return "weights equal with the next layer folded in"
    if in_place:
        return "weights equal"
    if choice.likeness >= fingerprints.EQUAL and sizes[0] != sizes[1]:
        return "a part of the weights" if sizes[1] < sizes[0] else "the weights are a part of its own"
    return "weights equal but permuted" if choice.likeness >= fingerprints.EQUAL else "weights alike"


def _numbers(inputs: Mapping[str, str]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """The same number for inputs that answer to each other; one alone needs none."""
    if len(inputs) < 2:
        return {}, {}
    return ({name: n for n, name in enumerate(inputs, 1)}, {name: n for n, name in enumerate(inputs.values(), 1)})


def _numbered(taps: Sequence[int]) -> dict[int, tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for number, tap in enumerate(taps, 1):
        found[tap] = (*found.get(tap, ()), number)
    return found
