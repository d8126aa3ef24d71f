"""What a run of the gate writes, and what it removes before it begins: what an earlier run has left is not its own.

Each file is written beside its place and moved there, so that nobody ever sees half of one. The record comes last:
where it is there, the run was finished.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parity.errors import ReportFolderError, UsageError
from parity.files import place_of, write_whole
from parity.publishing import PAGE_FILE
from parity.settings import ensure_writable

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that has the file of a CI job's page, where there is one: it belongs to the whole job."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Where a run writes; None is not written. `report` and `record` always are."""

    report: Path
    record: Path
    json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None

    def all(self) -> dict[str, Path]:
        """The files by the option that names them, in the order in which they are written."""
        found = {
            "--report-dir": self.report,
            "--json": self.json,
            "--junit": self.junit,
            "--markdown": self.markdown,
            "--record": self.record,
        }
        return {option: path for option, path in found.items() if path is not None}

    def refuse_shared(self, read: Mapping[str, Path | None]) -> None:
        """Raise UsageError where one of them is a file that the run reads, by the option that names it, or another."""
        seen: dict[Path, str] = {}
        known = {option: path for option, path in read.items() if path is not None}
        for option, path in [*known.items(), *self.all().items()]:
            place = path.resolve()
            if place in seen and option not in known:
                default = " (its default)" if option in ("--record", "--report-dir") else ""
                raise UsageError(f"{path} is given for {seen[place]}, and for {option}{default} as well")
            seen.setdefault(place, option)

    def clear(self) -> None:
        """Remove what an earlier run has left in these places, and what it was writing when it was killed.

        The report's page goes with the report; the history of the pair stays. Raises ReportFolderError for a place that
        cannot be written: at the end of a long run it would be too late.
        """
        paths = (*self.all().values(), self.report.with_name(PAGE_FILE))
        places = {path: place_of(path) for path in paths}
        for folder in {place.parent for place in places.values()}:
            ensure_writable(folder)
        for path, place in places.items():
            if is_shared(path):
                continue
            try:
                place.unlink(missing_ok=True)
                for left in _half_written(place):
                    with suppress(FileNotFoundError):
                        left.unlink()
            except OSError as error:
                raise ReportFolderError(f"cannot write {path}: {error.strerror or error}") from error


def is_shared(path: Path) -> bool:
    """Whether a file is the page of a whole CI job, to which each command adds."""
    page = os.environ.get(SUMMARY, "")
    return bool(page) and path.resolve() == Path(page).resolve()


def write_markdown(path: Path, text: str) -> None:
    """Write a summary; to the page of a CI job it is added."""
    before = path.read_text(encoding="utf-8") if is_shared(path) and path.is_file() else ""
    write_whole(path, f"{before}\n{text}" if before.strip() else text)


def _half_written(path: Path) -> Iterator[Path]:
    """What `write_whole` leaves of this file where it is killed."""
    if path.parent.is_dir():
        own = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
        yield from (each for each in path.parent.iterdir() if own.fullmatch(each.name))
