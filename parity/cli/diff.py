"""`parity diff`: what is other in one report than in an earlier one."""

from pathlib import Path
from typing import Annotated

import typer

from parity.cli.options import Quiet
from parity.cli.program import DIVERGED, errors_as_sentences, in_colour


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A report.json, or the folder that it is in.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="A later one of the same pair.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a comment on a change.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page as well.")] = None,
    quiet: Quiet = False,
) -> None:
    """Compare two runs: what appeared, what got worse, what vanished, what got better.

    \b
    Examples:
      parity diff reports/flownet/report.json new/flownet/report.json
      parity diff before.json after.json --markdown >> $GITHUB_STEP_SUMMARY

    The exit code is 1 where anything appeared or got worse, else 0; 2 for a file that is no report, and
    for reports of two pairs.
    """
    from parity.cli.report import report_file, spare
    from parity.differences import difference
    from parity.files import write_whole
    from parity.render.difference import difference_markdown, difference_text, headline
    from parity.render.html import difference_page
    from parity.report import Report

    with errors_as_sentences():
        files = [report_file(path) for path in (before, after)]
        for file in files:
            spare(file, html or Path())
        found = difference(*map(Report.load, files))
        if html is not None:
            write_whole(html, difference_page(found))
    colour = in_colour() and not markdown
    if quiet:
        text = headline(found) + "\n" * markdown
    else:
        text = difference_markdown(found) if markdown else difference_text(found, colour=colour)
    typer.echo(text, nl=not markdown, color=colour)
    raise typer.Exit(DIVERGED if found.regressed else 0)
