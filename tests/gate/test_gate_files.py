"""What a run writes is whole or not there, and what an earlier run has left is not taken for its own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from gate_made import made, record

from parity.errors import ReportFolderError, UsageError
from parity.gate.files import SUMMARY, Targets, write_markdown
from parity.gate.running import write
from parity.report import Report

OPTIONS = ("json", "junit", "markdown")

WRITER = """
import os, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from gate_made import made, record
from parity.gate.files import Targets
from parity.gate.running import write
found, report = record(), made()
for line in sys.stdin:
    folder = Path(line.strip())
    targets = Targets(report=folder / "report.json", record=folder / "record.json", json=folder / "json",
                      junit=folder / "junit", markdown=folder / "markdown")
    writer = os.fork()
    while not writer:
        write(found, report, targets)
    print(writer, flush=True)
    os.waitpid(writer, 0)
"""


def targets(folder: Path) -> Targets:
    """Everything that can be written, in one folder."""
    return Targets(
        report=folder / "report.json", record=folder / "record.json", **{name: folder / name for name in OPTIONS}
    )


def test_everything_is_written_and_can_be_read(tmp_path: Path) -> None:
    """Each file in its own form."""
    where = targets(tmp_path)
    write(record(), made(), where)
    assert Report.load(where.report) == made()
    assert json.loads((tmp_path / "json").read_text())["verdict"] == "pass"
    assert Xml.parse(tmp_path / "junit").getroot().tag == "testsuites"
    assert (tmp_path / "markdown").read_text().startswith("## parity gate: PASS")


def test_what_an_earlier_run_left_is_removed(tmp_path: Path) -> None:
    """Its files, the report's page, and what it was writing when it was killed; nothing else in the folder."""
    where = targets(tmp_path)
    write(record(), made(), where)
    (tmp_path / ".record.json.ab12cd_9").write_text("{half")
    (tmp_path / "other.json").write_text("kept")
    where.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.jsonl", "other.json"]


def test_nothing_to_remove_is_no_mishap(tmp_path: Path) -> None:
    """The folder need not even be there."""
    targets(tmp_path / "new").clear()
    assert not (tmp_path / "new").exists()


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """By its name."""
    (tmp_path / "junit").mkdir()
    with pytest.raises(ReportFolderError, match=r"junit: .*folder"):
        targets(tmp_path).clear()


@pytest.mark.parametrize("name", ["report.json", "report.html", "record.json", *OPTIONS])
def test_what_is_no_file_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    """A pipe in any place is refused before anything else is removed, and stays."""
    where = targets(tmp_path)
    write(record(), made(), where)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ReportFolderError, match=f"{name} is a device, a pipe or a socket, and no file"):
        where.clear()
    assert sorted(tmp_path.iterdir()) == before


def test_a_link_stays_and_what_it_leads_to_is_the_runs(tmp_path: Path) -> None:
    """An earlier result behind a link is removed, and the new one is written there."""
    (tmp_path / "kept").mkdir()
    target = tmp_path / "kept" / "last.json"
    target.write_text("of an earlier run")
    (tmp_path / "record.json").symlink_to(target)
    where = targets(tmp_path)
    where.clear()
    assert not target.exists()
    write(record(), made(), where)
    assert where.record.is_symlink()
    assert json.loads(target.read_text())["kind"] == "parity gate record"


def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    """A file where a folder has to be: nothing that an earlier run has left is removed for it."""
    (tmp_path / "file").write_text("")
    (tmp_path / "record.json").write_text("old")
    where = Targets(report=tmp_path / "report.json", record=tmp_path / "record.json", junit=tmp_path / "file" / "junit")
    with pytest.raises(ReportFolderError, match="cannot write reports to"):
        where.clear()
    assert (tmp_path / "record.json").read_text() == "old"


def test_what_is_read_is_never_written(tmp_path: Path) -> None:
    """The baseline in the place of the record would be removed before it is read: refused, also by another path."""
    where = targets(tmp_path)
    with pytest.raises(UsageError, match="is given for --baseline, and for --record"):
        where.refuse_shared({"--baseline": tmp_path / "x" / ".." / "record.json"})
    with pytest.raises(UsageError, match="is given for --artifact, and for --json"):
        where.refuse_shared({"--artifact": tmp_path / "json"})
    where.refuse_shared({"--artifact": tmp_path / "net.pb", "--baseline": None})


def test_two_results_in_one_file_are_refused(tmp_path: Path) -> None:
    """One would overwrite the other."""
    same = Targets(report=tmp_path / "a", record=tmp_path / "b", junit=tmp_path / "c", markdown=tmp_path / "c")
    with pytest.raises(UsageError, match="is given for --junit, and for --markdown"):
        same.refuse_shared({})


def test_the_page_of_a_job_is_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other commands have written there stays; another file is written anew."""
    page = tmp_path / "page.md"
    page.write_text("from before\n")
    monkeypatch.setenv(SUMMARY, str(page))
    where = Targets(report=tmp_path / "a", record=tmp_path / "b", markdown=page)
    where.clear()
    write_markdown(page, "new\n")
    assert page.read_text() == "from before\n\nnew\n"
    monkeypatch.delenv(SUMMARY)
    write_markdown(page, "new\n")
    assert page.read_text() == "new\n"


def test_nothing_is_half_written_when_the_writer_is_killed(tmp_path: Path) -> None:
    """SIGKILL at 12 random moments (seeded) of a process that does nothing but write: every file is whole,
    under whatever name it is there."""
    chance = random.Random(5)
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    folders = [tmp_path / str(number) for number in range(12)]
    words = [sys.executable, "-c", WRITER.format(paths=here)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for folder in folders:
            print(folder, file=process.stdin, flush=True)
            writer = int(process.stdout.readline())
            time.sleep(chance.uniform(0, 0.05))
            os.kill(writer, signal.SIGKILL)
        process.stdin.close()
    found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    assert len(found) > 12
    for path in found:
        data, name = path.read_text(encoding="utf-8"), path.name.lstrip(".").partition(".")[0]
        if name == "junit":
            Xml.fromstring(data)
        elif name == "markdown":
            assert data.endswith("|\n")
        else:
            json.loads(data)
