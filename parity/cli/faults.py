"""`parity faults`: the benchmark that plants known faults and scores the diagnosis."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.cli.program import INTERRUPTED, errors_as_sentences


def faults(
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="What is planted where, and all weights.")] = 0,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME", help="A model to plant in; all by default. Repeatable."),
    ] = None,
    causes: Annotated[
        list[str] | None,
        typer.Option("--cause", metavar="SLUG", help="A cause to plant, such as padding; all by default. Repeatable."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A sixth of it, on the small models.")] = False,
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Repair the single faults as well.")] = True,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where every run goes, as JSON.")
    ] = Path("reports/faults.json"),
) -> None:
    """Plant known faults in faithful ports, and score what is found, located, named and repaired.

    \b
    Examples:
      parity faults --seed 7
      parity faults --quick --no-repair
      parity faults --model unet --cause padding --cause output-crop

    Interrupted, the scores of what was run are printed and written.
    """
    with errors_as_sentences():
        interrupted = _faults(
            {
                "seed": seed,
                "models": tuple(models or ()),
                "causes": tuple(causes or ()),
                "quick": quick,
                "repair": repair,
            },
            output,
        )
    raise typer.Exit(INTERRUPTED if interrupted else 0)


def _faults(wanted: dict[str, Any], output: Path) -> bool:
    """Run the benchmark, print and write its scores; whether it was interrupted."""
    from parity.faults.benchmark import Wanted, run
    from parity.faults.table import print_scores
    from parity.render.progress import progress_bar
    from parity.settings import ensure_writable

    asked = Wanted(**wanted)
    ensure_writable(output.parent, output)
    with progress_bar(sys.stderr) as show:
        result = run(asked, show)
    path = result.save(output)
    print_scores(result, sys.stdout)
    typer.echo(f"every run: {path}{' (interrupted)' if result.interrupted else ''}")
    return result.interrupted
