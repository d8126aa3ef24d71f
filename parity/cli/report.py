"""`parity report`: a report that was written before, shown again; nothing is run, and no framework is needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import EveryLayer, Exports, Quiet
from parity.cli.program import errors_as_sentences

if TYPE_CHECKING:
    from parity.report import Report


def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="report.json, or the folder that it is in.")],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Where the page goes; beside the report by default."),
    ] = None,
    exports: Exports = None,
    layers: EveryLayer = False,
    quiet: Quiet = False,
) -> None:
    """Show reports again, and write their pages, without running anything.

    \b
    Examples:
      parity report reports/flownet
      parity report reports/flownet/report.json --html page.html
      parity report before.json after.json -q

    The exit code is that of the verification: 0 parity, 1 diverged, 3 could not verify; 2 for a file that is no report.
    """
    from parity.cli.verify import exit_code, show_report
    from parity.publishing import write_exports
    from parity.settings import parse_exports

    code = 0
    with errors_as_sentences():
        wanted = parse_exports(exports or ())
        for file, made in _loaded(files, html):
            show_report(made, _page(file, html, made), layers=layers, quiet=quiet)
            write_exports(made, file.parent, wanted)
            code = max(code, exit_code(made))
    raise typer.Exit(code)


def _loaded(files: list[Path], html: Path | None) -> "list[tuple[Path, Report]]":
    """Every report, read before any is shown. Raises UsageError where several should go to one page."""
    from parity.errors import UsageError
    from parity.report import Report

    if html is not None and len(files) > 1:
        raise UsageError(f"--html {html} is one page, and there are {len(files)} reports; leave it out")
    found = [report_file(file) for file in files]
    for file in found:
        spare(file, html or file.with_suffix(".html"))
    return [(file, Report.load(file)) for file in found]


def spare(file: Path, target: Path) -> None:
    """Raise UsageError where what is written to `target` would replace the report in `file`."""
    from parity.errors import UsageError

    if target.exists() and file.exists() and target.samefile(file):
        raise UsageError(f"the page would replace the report {file}; give --html another name")


def report_file(path: Path) -> Path:
    """The report in a folder; a file is itself. Raises ReportFileError for a folder without one."""
    from parity.errors import ReportFileError
    from parity.settings import REPORT_FILE

    if not path.is_dir() or (path / REPORT_FILE).exists():
        return path / REPORT_FILE if path.is_dir() else path
    below = sorted(str(found.parent) for found in path.glob(f"*/{REPORT_FILE}"))
    where = f"; there is one in {' and in '.join(below[:4])}" if below else ""
    raise ReportFileError(f"the folder {path} has no {REPORT_FILE}{where}")


def _page(file: Path, html: Path | None, made: "Report") -> Path:
    from parity.errors import ReportFileError
    from parity.files import write_whole
    from parity.history import recall
    from parity.render.html import page

    try:
        text = page(made, recall(file.parent))
    except ReportFileError as error:  # of a picture in it, which knows no file
        raise ReportFileError(f"{file} is not a whole report: {error}") from None
    return write_whole(html or file.with_suffix(".html"), text)
