"""Puts a report where people find it: as JSON, beside it as a page to look at, and as a line of the pair's history."""

from collections.abc import Sequence
from pathlib import Path

from parity.files import write_whole
from parity.history import recall, remember
from parity.render.html import page
from parity.render.model_explorer import FOLDER, files_for_model_explorer
from parity.report import Report

PAGE_FILE = "report.html"


def publish(report: Report, path: Path, exports: Sequence[str] = ()) -> Path:
    """Write the report to `path` as JSON, and as a page beside it, with the history of the pair; the path of the page.

    `exports` names forms for other programs, which are written there too. The JSON comes first: whatever happens to the
    page, what was found is kept. Raises ReportFolderError if the folder cannot be written.
    """
    report.save(path)
    remember(report, path.parent)
    shown = write_whole(path.with_name(PAGE_FILE), page(report, recall(path.parent)))
    write_exports(report, path.parent, exports)
    return shown


def write_exports(report: Report, folder: Path, forms: Sequence[str]) -> None:
    """Write the report in other programs' forms, each into a folder of its own in `folder`.

    Raises ReportFolderError if that cannot be written.
    """
    if "model-explorer" in forms:
        for name, text in files_for_model_explorer(report).items():
            write_whole(folder / FOLDER / name, text)
    if "tensorboard" in forms:
        from parity.render.tensorboard import write_summary

        write_summary(report, folder / "tensorboard")
