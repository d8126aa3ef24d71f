"""What a process writes down is read as it was written, at once, and up to the last whole line."""

import math
from pathlib import Path

from records import finding, layer

from parity.isolation.journal import Journal, Progressed, Reader
from parity.report import Coverage
from parity.watch import Begun, Ended, Judged, Step

INFINITE = layer("conv0.0", propagated=math.inf, introduced=math.nan)
ENTRIES = [
    Step(side="port", doing="running 'first'", mode="eager"),
    Progressed(text="layer by layer, conv1", fraction=0.25),
    Begun(coverage=Coverage(matched={"conv0.0": "conv0"}, weighted=1), layers=("conv0.0",)),
    Judged(mode="graph", result=layer("conv0.0", propagated=2, introduced=3), finding=finding("conv0.0")),
]


def test_entries_come_as_they_were_written(tmp_path: Path) -> None:
    """Every kind of entry comes back equal, once, in order."""
    reader, journal = Reader(tmp_path / "journal"), Journal(tmp_path / "journal")
    for entry in ENTRIES:
        journal.write(entry)
        assert list(reader.new()) == [entry]
    assert list(reader.new()) == []


def test_errors_that_are_no_numbers(tmp_path: Path) -> None:
    """Infinity and NaN survive: a layer that is not finite is what is looked for."""
    reader, journal = Reader(tmp_path / "journal"), Journal(tmp_path / "journal")
    measure = INFINITE.propagated
    assert measure is not None
    journal.write(Ended(mode="eager", propagated={"conv0.0": measure}))
    journal.write(Judged(mode="eager", result=INFINITE))
    ended, judged = reader.new()
    assert ended == Ended(mode="eager", propagated={"conv0.0": measure})
    assert math.isnan(judged.result.introduced.relative)


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """A line that is still being written is not read before it is whole."""
    path = tmp_path / "journal"
    reader = Reader(path)
    line = b'["Progressed",{"text":"a","fraction":0.5}]\n'
    with path.open("ab", buffering=0) as file:
        file.write(line[:9])
        assert list(reader.new()) == []
        file.write(line[9:])
        assert list(reader.new()) == [Progressed(text="a", fraction=0.5)]
