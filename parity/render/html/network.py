"""The network as a graph: which layer reads which, in the order in which the reference computes them.

It is drawn twice. In the overview every layer is a place on one line, and what skips layers is an arc above it. Beside
the table of layers, where every row is a layer, values run down in lanes from where they are made to where they are
read last, as version control shows branches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_LANES = 10
"""More values than that at once share the last lane."""
STEP = 12
"""The width of a lane."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A value that the node `target` reads, which `source` makes: numbers of nodes."""

    source: int
    target: int

    def arc(self, height: float) -> str:
        """The edge as an SVG path over a line of nodes, one unit of width each, in a picture of `height`."""
        start, end = self.source + 0.5, self.target + 0.5
        if self.target - self.source == 1:
            return f"M{start} {height}H{end}"
        rise = height * (1 - 0.92 * min(1.0, ((self.target - self.source) / 40) ** 0.5))
        return f"M{start} {height}C{start} {rise:.1f} {end} {rise:.1f} {end} {height}"


@dataclass(frozen=True, kw_only=True)
class Strand:
    """A piece of an edge in one row of the table: an SVG path, and the node whose value it carries."""

    source: int
    path: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """The lanes beside one row of the table: where its own node is, and what passes."""

    node: int
    strands: tuple[Strand, ...]


def edges(names: Sequence[str], reads: Mapping[str, Sequence[str]]) -> list[Edge]:
    """The edges between nodes called `names`, in their order. What is read of nothing that is shown is left out."""
    number = {name: index for index, name in enumerate(names)}
    return [
        Edge(source=number[read], target=number[name])
        for name in names
        for read in reads.get(name, ())
        if number.get(read, len(names)) < number[name]
    ]


def rows(count: int, found: Sequence[Edge], height: int) -> list[Row]:
    """The lanes beside each of `count` rows of `height`."""
    last = {index: index for index in range(count)}
    read: dict[int, list[int]] = {index: [] for index in range(count)}
    for edge in found:
        last[edge.source] = max(last[edge.source], edge.target)
        read[edge.target].append(edge.source)
    lanes: list[int | None] = []
    made: list[Row] = []
    for index in range(count):
        made.append(_row(index, lanes, read[index], last, height))
    return made


def _row(index: int, lanes: list[int | None], read: Sequence[int], last: Mapping[int, int], height: int) -> Row:
    """One row; `lanes` has the node whose value runs in each, and is brought up to date."""
    before = list(lanes)
    for lane, source in enumerate(lanes):
        if source is not None and last[source] <= index:
            lanes[lane] = None
    free = next((lane for lane, source in enumerate(lanes) if source is None), len(lanes))
    own = free
    lanes[own : own + 1] = [index if last[index] > index else None]
    middle, at = height // 2, _x(own)
    strands = []
    for lane, source in enumerate(before):
        if source is None:
            continue
        x = _x(lane)
        if source in read:
            bend = f"M{x} 0V{middle}" if x == at else f"M{x} 0C{x} {middle // 2} {at} {middle // 2} {at} {middle}"
            strands.append(Strand(source=source, path=bend))
        if last[source] > index:
            strands.append(Strand(source=source, path=f"M{x} 0V{height}"))
    if last[index] > index:
        strands.append(Strand(source=index, path=f"M{at} {middle}V{height}"))
    return Row(node=at, strands=tuple(strands))


def width(made: Sequence[Row]) -> int:
    """How wide the lanes are."""
    return max((row.node for row in made), default=0) + STEP // 2 + 2


def _x(lane: int) -> int:
    return min(lane, MOST_LANES - 1) * STEP + STEP // 2 + 1
