"""Puts a report where people find it: as JSON, and beside it as a page to look at."""

from pathlib import Path

from parity.render.html import page
from parity.report import Report, write_whole

PAGE_FILE = "report.html"


def publish(report: Report, path: Path) -> Path:
    """Write the report to `path` as JSON, and as a page beside it; the path of the page.

    The JSON comes first: whatever happens to the page, what was found is kept. Raises ReportFolderError if the folder
    cannot be written.
    """
    report.save(path)
    return write_whole(path.with_name(PAGE_FILE), page(report))
