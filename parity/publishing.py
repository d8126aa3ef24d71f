"""Puts a report where people find it: as JSON, beside it as a page to look at, and as a line of the pair's history."""

from pathlib import Path

from parity.history import recall, remember
from parity.render.html import page
from parity.report import Report, write_whole

PAGE_FILE = "report.html"


def publish(report: Report, path: Path) -> Path:
    """Write the report to `path` as JSON, and as a page beside it, with the history of the pair; the path of the page.

    The JSON comes first: whatever happens to the page, what was found is kept. Raises ReportFolderError if the folder
    cannot be written.
    """
    report.save(path)
    remember(report, path.parent)
    return write_whole(path.with_name(PAGE_FILE), page(report, recall(path.parent)))
