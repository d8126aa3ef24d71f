"""`parity gate`: whether an artifact may go out."""

import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parity.cli.options import Against, Quiet, request, takes
from parity.cli.program import DIVERGED, errors_as_sentences, in_colour

if TYPE_CHECKING:
    from parity.gate.running import Asked
    from parity.settings import Options


@takes(request, without="port")
def gate(
    options: "Options",
    pair: Annotated[
        str | None,
        typer.Argument(
            metavar="PAIR", help="The pair that the artifact is the port of; a name as for `parity verify`."
        ),
    ] = None,
    artifact: Annotated[
        Path | None,
        typer.Option(
            "--artifact", metavar="FILE", help="What is to go out: .pb, SavedModel, .tflite, .onnx or .keras."
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="TOML", help="What it is held to; the defaults without one."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="The record of the last release: nothing may have grown."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="Where the record goes; DIR/PAIR/record.json by default."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the checks as JUnit's XML.")
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write a page; to $GITHUB_STEP_SUMMARY it is added."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")] = None,
    check_record: Annotated[
        Path | None,
        typer.Option("--check-record", metavar="FILE", help="Verify a record, and nothing else."),
    ] = None,
    report_dir: Annotated[
        Path | None,
        typer.Option("--report-dir", metavar="DIR", help="Where PAIR/report.json goes; reports by default."),
    ] = None,
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate/--no-isolate", help="Run the artifact in a process of its own (the default), or in this."
        ),
    ] = True,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="End a step that takes longer.")
    ] = None,
    against: Against = None,
    quiet: Quiet = False,
) -> None:
    """Decide whether an artifact may go out: verify it, hold it against a policy, and keep a record.

    \b
    Examples:
      parity gate flownet --artifact net.pb
      parity gate flownet --artifact net.tflite --policy parity.toml --baseline last.json
      parity gate flownet --artifact net.pb --junit gate.xml --markdown "$GITHUB_STEP_SUMMARY"
      parity gate --check-record reports/flownet/record.json

    Exit codes: 0 it passes, 1 it diverged, exceeds a limit, or a waiver has expired, 2 wrong use, 3 it could not be
    verified. The report and the record are written to DIR/PAIR; what an earlier run has left there is removed first.
    """
    from parity.gate.running import Asked

    with errors_as_sentences():
        if check_record:
            code = _audited(check_record, artifact, pair, quiet=quiet)
        else:
            if pair is None or artifact is None:
                missing = "the pair" if pair is None else "--artifact FILE"
                from parity.errors import UsageError

                raise UsageError(f"{missing} is missing: parity gate PAIR --artifact FILE")
            asked = Asked(
                name=pair,
                artifact=artifact,
                options=replace(options, report_dir=report_dir, timeout=timeout, against=against),
                policy=policy,
                baseline=baseline,
                isolate=isolate,
            )
            chosen = {"record": record, "junit": junit, "markdown": markdown, "json": json}
            code = _gated(asked, chosen, quiet=quiet)
    raise typer.Exit(code)


def _gated(asked: "Asked", chosen: dict[str, Path | None], *, quiet: bool) -> int:
    """Run the gate and say what came of it; the exit code."""
    from parity.gate.page import gate_annotations, gate_page, gate_verdict
    from parity.gate.running import run
    from parity.render.annotations import on_github
    from parity.render.progress import progress_bar

    targets = asked.targets(**chosen)
    with progress_bar(sys.stderr, quiet=quiet) as show:
        record = run(asked, targets, show)
    colour = in_colour()
    if quiet:
        typer.echo(gate_verdict(record.result))
    else:
        typer.echo(gate_page(record, colour=colour), color=colour)
        typer.echo(f"record: {targets.record}\nreport: {targets.report.with_suffix('.html')}")
    for line in gate_annotations(record.result) if on_github() else ():
        typer.echo(line, err=True)
    return record.result.exit_code


def _audited(file: Path, artifact: Path | None, pair: str | None, *, quiet: bool) -> int:
    """Verify a record; the exit code."""
    from parity.errors import UsageError
    from parity.gate.page import audit_page
    from parity.gate.record import differences, read_record

    record = read_record(file)
    if pair and pair != record.result.pair:
        raise UsageError(f"{file} is of {record.result.pair}, not of {pair}")
    place = artifact or Path(record.result.artifact.path)
    found = list(differences(record, place, datetime.now(UTC).date()))
    page = audit_page(record, str(file), found)
    with suppress(BrokenPipeError):
        typer.echo(page.splitlines()[-1] if quiet else page)
    return DIVERGED if any(each.fails for each in found) else record.result.exit_code
