"""What comes of an alignment: the matches, why each was made, and what of them is compared together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from parity.report import Ambiguity, Coverage

Pairs = Mapping[str, str] | tuple[str, str] | Sequence[tuple[str, str]]
"""(reference, port) names: one pair, several, or a mapping."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """One match: why it was made, and the score of what speaks for it (0 for what was given)."""

    layer: str
    port_layer: str
    reason: str
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """`matched` maps reference taps to port taps, in the reference's order; `inside` lists, for each matched reference
    tap, the reference taps without a counterpart that lead up to it. `matches` has the reason for each, `ambiguous`
    those that might as well be others. `together` lists, for a matched tap, those before it that the port computes with
    it in one layer; `split` the port layers that together do what one tap does, which has no counterpart then;
    `unpacked` names the taps of which that was found by their weights."""

    matched: Mapping[str, str]
    inside: Mapping[str, tuple[str, ...]]
    coverage: Coverage
    matches: tuple[Match, ...] = ()
    ambiguous: tuple[Ambiguity, ...] = ()
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unpacked: frozenset[str] = frozenset()


def listed(pairs: Pairs) -> list[tuple[str, str]]:
    """One pair of names, several, or a mapping, as a list of pairs."""
    if isinstance(pairs, Mapping):
        return list(pairs.items())
    one = [name for name in pairs if isinstance(name, str)]
    return [(one[0], one[1])] if one else [(pair[0], pair[1]) for pair in pairs]


def with_reasons(alignment: Alignment, reasons: Mapping[str, str]) -> Alignment:
    """The alignment with other reasons for some matches."""
    matches = (replace(match, reason=reasons.get(match.layer, match.reason)) for match in alignment.matches)
    coverage = replace(alignment.coverage, reasons={**alignment.coverage.reasons, **reasons})
    return replace(alignment, matches=tuple(matches), coverage=coverage)


def apart(alignment: Alignment, names: Collection[str], outputs: Pairs = ()) -> Alignment:
    """The alignment without taps that turned out not to correspond: each becomes a part of the layer after it.

    Where an output of the port (`outputs`: reference tap, port tap) answered to one of them, it answers to the
    reference's.
    """
    for theirs, ours in listed(outputs) if outputs else ():
        ends = [name for name in names if alignment.matched.get(name) == ours]
        if ends and theirs not in alignment.matched:
            answered = {**alignment.matched, theirs: ours}
            alignment = replace(alignment, matched=answered, inside={**alignment.inside, theirs: ()})
    matched, inside = dict(alignment.matched), dict(alignment.inside)
    layers = list(matched)
    holders = {}
    for name in names:
        after = next((layer for layer in layers[layers.index(name) + 1 :] if layer not in names), "")
        if not after:
            continue
        del matched[name]
        inside[after] = (*inside.pop(name, ()), name, *inside[after])
        holders[name] = after
    coverage = replace(
        alignment.coverage,
        matched=matched,
        inside={**alignment.coverage.inside, **holders},
        unmatched_reference=tuple(name for name in alignment.coverage.unmatched_reference if name not in matched),
        apart=(*alignment.coverage.apart, *holders),
    )
    return replace(alignment, matched=matched, inside=inside, coverage=coverage)
