"""What the page says, worked out of a report: everything that is more than looking a field up."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from parity.numbers import short, times
from parity.render.html.network import Edge, Row, edges, rows, width
from parity.render.html.scale import EXACT, STRANGE, Scale
from parity.render.sentences import (
    badness,
    by_hand,
    explain_command,
    grouped,
    how_far,
    in_place_of_a_number,
    is_strange,
    next_command,
    places_in_words,
    result_of,
    two_axes_swapped,
    unit_of,
)
from parity.render.terminal import verdict
from parity.report import (
    DIED,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    Finding,
    LayerResult,
    Measure,
    Report,
    Run,
)

ROW_HEIGHT = 36
ALL = "all runs: the worst of each"
SEVERITY = {INTRODUCES: 3, NOT_COMPARED: 2, INHERITS: 1, PASS: 0}
INPUT_KIND = "input"
MOST_LINES = 4
"""Names above the overview are on as many lines."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Something that is wrong: a finding of one layer, in the runs that it is in; `worst` is where it is greatest."""

    worst: Finding
    group: Sequence[Finding]
    result: LayerResult | None
    node: int | None
    how_far: str
    places: str
    command: str
    strange: bool
    is_first: bool

    @property
    def title(self) -> str:
        """The cause in a sentence, as a heading."""
        detail = two_axes_swapped(self.detail) or self.detail or "No cause was proven"
        return detail[:1].upper() + detail[1:]

    @property
    def by_hand(self) -> str:
        """The same change as code, where that is known."""
        return by_hand(self.worst.cause)

    @property
    def detail(self) -> str:
        """The cause as it is recorded."""
        return self.worst.cause.detail

    @property
    def names(self) -> str:
        """The slugs of the cause and of those that are undone with it."""
        return " + ".join([self.worst.cause.slug, *self.worst.cause.also])


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One layer in one run, as the overview and the table show it; places are in percent of the axis."""

    verdict: str
    heat: str
    introduced: str
    propagated: str
    at_floor: float | None
    at_allowed: float | None
    at_introduced: float | None
    at_propagated: float | None

    @property
    def listed(self) -> list[str | float | None]:
        """The same as a list, for the page's script."""
        return [
            self.verdict,
            self.heat,
            self.introduced,
            self.propagated,
            self.at_floor,
            self.at_allowed,
            self.at_introduced,
            self.at_propagated,
        ]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One layer, or an input, which has no `cells`."""

    index: int
    name: str
    port: str
    kind: str
    weighted: bool = False
    inside: tuple[str, ...] = ()
    is_input: bool = False
    cells: Sequence[Cell | None] = ()
    reads: Sequence[int] = ()
    read_by: Sequence[int] = ()
    results: Sequence[tuple[Run, LayerResult]] = field(default_factory=tuple)


class View:
    """The page of a report: the cards on top, the nodes of the network in order, and for each run their cells.

    Run 0 is no run but the worst of all; with one run there is only that.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.verdict = verdict(report)
        self.unit = unit_of(report)
        self.scale = Scale.of(self._values())

    # -- what is wrong ------------------------------------------------------------------------------------------------

    @cached_property
    def cards(self) -> list[Card]:
        """Everything that is wrong, what is first in the network before the rest."""
        first = self.report.first_divergence
        groups = grouped(self.report.findings)
        if first and not any(first.layer == group[0].layer for group in groups):
            groups = [[first], *groups]
        cards = [self._card(group) for group in groups]
        order = len(self.nodes)
        return sorted(cards, key=lambda card: order if card.node is None else card.node)

    def _card(self, group: Sequence[Finding]) -> Card:
        worst = max(group, key=badness)
        result = result_of(self.report, worst)
        first = self.report.first_divergence
        name = result.layer if result else worst.layer
        return Card(
            worst=worst,
            group=group,
            result=result,
            node=self._numbers.get(name),
            how_far=how_far(self.report, worst, result),
            places=places_in_words(self.report, group),
            command=explain_command(self.report, worst),
            strange=is_strange(worst),
            is_first=first is not None and (first.layer, first.about) == (worst.layer, worst.about),
        )

    @cached_property
    def flags(self) -> list[int]:
        """On which line above the overview the name of each card's layer fits without covering another."""
        lines: list[float] = []
        found = []
        for card in self.cards:
            place = ((card.node or 0) + 0.5) / max(1, len(self.nodes)) * 100
            half = 0.35 * len(card.worst.layer)  # of a percent a letter, on a usual screen
            line = next((line for line, end in enumerate(lines) if place - half > end), min(len(lines), MOST_LINES - 1))
            lines[line : line + 1] = [place + half]
            found.append(line)
        return found

    def cards_of(self, index: int) -> list[Card]:
        """What is wrong with one layer."""
        return [card for card in self.cards if card.node == index]

    @cached_property
    def command(self) -> str:
        """What shows every layer of the first run that failed; of the first run where none has."""
        runs = self.report.runs
        run = next((run for run in runs if run.verdict not in (PASS, DIED)), runs[0] if runs else None)
        return next_command(self.report, run.input, run.mode) if run else ""

    # -- the network --------------------------------------------------------------------------------------------------

    @cached_property
    def _results(self) -> list[dict[str, LayerResult]]:
        return [{layer.layer: layer for layer in run.layers} for run in self.report.runs]

    @cached_property
    def _names(self) -> list[str]:
        """Inputs, then layers in the reference's order."""
        longest = max(self._results, key=len, default={})
        layers = list(dict.fromkeys([*longest, *(name for found in self._results for name in found)]))
        known = set(layers)
        read = (name for found in self._results for layer in found.values() for name in layer.reads)
        return [*dict.fromkeys(name for name in read if name not in known), *layers]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self._names)}

    @cached_property
    def edges(self) -> list[Edge]:
        """What reads what."""
        reads: dict[str, tuple[str, ...]] = {}
        for found in self._results:
            for name, layer in found.items():
                reads.setdefault(name, layer.reads)
        return edges(self._names, reads)

    @cached_property
    def skips(self) -> list[Edge]:
        """The edges in the order in which the overview draws them, long ones first."""
        return sorted(self.edges, key=lambda edge: edge.source - edge.target)

    @cached_property
    def nodes(self) -> list[Node]:
        """Every input and layer, in the reference's order."""
        reads: dict[int, list[int]] = {}
        read_by: dict[int, list[int]] = {}
        for edge in self.edges:
            reads.setdefault(edge.target, []).append(edge.source)
            read_by.setdefault(edge.source, []).append(edge.target)
        return [
            self._node(index, name, reads.get(index, []), read_by.get(index, []))
            for index, name in enumerate(self._names)
        ]

    def _node(self, index: int, name: str, reads: Sequence[int], read_by: Sequence[int]) -> Node:
        runs = zip(self.report.runs, self._results, strict=True)
        results = [(run, found[name]) for run, found in runs if name in found]
        if not results:
            return Node(index=index, name=name, port="", kind=INPUT_KIND, is_input=True, read_by=read_by)
        layer = results[0][1]
        single = [self._cell(found[name]) if name in found else None for found in self._results]
        worst = self._worst([layer for _, layer in results])
        return Node(
            index=index,
            name=name,
            port=layer.port_layer,
            kind=layer.kind,
            weighted=layer.weighted,
            inside=layer.inside,
            cells=[worst, *single] if len(single) > 1 else single,
            reads=reads,
            read_by=read_by,
            results=results,
        )

    @cached_property
    def lanes(self) -> list[Row]:
        """The lanes beside each node's row in the table."""
        return rows(len(self._names), self.edges, ROW_HEIGHT)

    @cached_property
    def lanes_width(self) -> int:
        """How wide they are, in pixels."""
        return width(self.lanes)

    # -- the runs -----------------------------------------------------------------------------------------------------

    @cached_property
    def choices(self) -> list[str]:
        """The runs that can be looked at; the first is of all."""
        single = [f"{run.input}, {run.mode}" for run in self.report.runs]
        return [ALL, *single] if len(single) > 1 else single

    def cells(self, choice: int) -> list[Cell | None]:
        """The cell of each node in a run."""
        return [node.cells[choice] if node.cells else None for node in self.nodes]

    @cached_property
    def for_script(self) -> list[list[list[str | float | None] | None]]:
        """The cells of every run as lists."""
        return [[cell.listed if cell else None for cell in self.cells(choice)] for choice in range(len(self.choices))]

    def _cell(self, layer: LayerResult, worst: LayerResult | None = None) -> Cell:
        propagated = (worst or layer).propagated
        introduced = layer.introduced
        allowed = [measure.allowed for measure in (introduced, propagated) if measure and not measure.note]
        return Cell(
            verdict=layer.verdict,
            heat=self._heat(layer),
            introduced=self.in_words(introduced),
            propagated=self.in_words(propagated),
            at_floor=self.scale.at(layer.floor),
            at_allowed=self.scale.at(max(allowed, default=None) if allowed else None),
            at_introduced=self._place(introduced),
            at_propagated=self._place(propagated),
        )

    def _worst(self, layers: Sequence[LayerResult]) -> Cell:
        def introduced(layer: LayerResult) -> tuple[int, float]:
            return SEVERITY.get(layer.verdict, 0), ratio_of(layer.introduced)

        return self._cell(max(layers, key=introduced), max(layers, key=lambda layer: ratio_of(layer.propagated)))

    def _place(self, measure: Measure | None) -> float | None:
        if measure is None:
            return None
        return self.scale.at(math.inf if measure.note else measure.relative)

    def in_words(self, measure: Measure | None) -> str:
        """An error, and how many floors it is."""
        if measure is None:
            return "–"
        if words := in_place_of_a_number(measure):
            return words
        if not math.isfinite(measure.relative):
            return "not finite"
        if not math.isfinite(measure.ratio):
            return short(measure.relative)  # beside a floor of nothing
        return f"{short(measure.relative)} · {times(measure.ratio)}" if measure.relative else "exact"

    def _heat(self, layer: LayerResult) -> str:
        """How bad what a layer introduces is: "0" to "4" by powers of ten of the floor, "n" for no number."""
        measure = layer.introduced
        if layer.verdict == NOT_COMPARED or (measure is None and layer.propagated is None):
            return "n"
        if measure is None:
            return "0"
        if math.isinf(measure.floors):
            return "x"
        if measure.passed:
            return "0" if measure.ratio <= 1 else "1"
        return "2" if measure.ratio < 100 else "3" if measure.ratio < 10_000 else "4"

    def _values(self) -> Iterator[float]:
        """Every error that has a place on the axis."""
        for run in self.report.runs:
            for layer in run.layers:
                yield layer.floor
                for measure in (layer.propagated, layer.introduced):
                    if measure and not measure.note:
                        yield from (measure.relative, measure.allowed)

    # -- curves of the overview ---------------------------------------------------------------------------------------

    @cached_property
    def ends(self) -> list[tuple[float, str]]:
        """What the ends of the axis stand for, where anything is there."""
        cells = [cell for node in self.nodes for cell in node.cells if cell]
        places = {place for cell in cells for place in (cell.at_introduced, cell.at_propagated)}
        return [(place, word) for place, word in ((EXACT, "0"), (STRANGE, "NaN")) if place in places]

    def curve(self, choice: int, field: str) -> str:
        """An SVG path over depth: one unit of width per node, 100 high, the axis upward.

        A point that has none on either side is a line as wide as its node.
        """
        places = [getattr(cell, field) if cell else None for cell in self.cells(choice)]
        path = []
        for index, (before, place, after) in enumerate(zip([None, *places], places, [*places[1:], None], strict=False)):
            if place is None:
                continue
            if before is None and after is None:
                path.append(f"M{index} {100 - place:.1f}h1")
            else:
                path.append(f"{'M' if before is None else 'L'}{index + 0.5} {100 - place:.1f}")
        return "".join(path)

    def dots(self, choice: int, *, beyond: bool) -> str:
        """What layers introduce as an SVG path of points, seen by their round caps: within limits, or beyond."""
        cells = enumerate(self.cells(choice))
        places = [(i, cell.at_introduced) for i, cell in cells if cell and (cell.verdict == INTRODUCES) == beyond]
        return "".join(f"M{index + 0.5} {100 - place:.1f}h0" for index, place in places if place is not None)


def ratio_of(measure: Measure | None) -> float:
    """How many floors an error is: infinity where it is no number, less than 0 where there is none."""
    return measure.floors if measure else -1.0
