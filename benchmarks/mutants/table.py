"""What was changed and what came of it, as lines and as a table."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.mutants.running import Result


def in_a_line(result: Result) -> str:
    """One mutant's line."""
    mutant = result.mutant
    return (
        f"{result.verdict:8} {mutant.file}:{mutant.line} {mutant.way}: {mutant.before} -> {mutant.after} | {result.by}"
    )


def table(results: Sequence[Result]) -> Table:
    """What was changed and what came of it."""
    shown = Table("where", "way", "before", "after", "of", "verdict", "by", "s", title="mutants of the converters")
    for result in results:
        mutant = result.mutant
        shown.add_row(
            f"{mutant.file}:{mutant.line}",
            mutant.way,
            mutant.before,
            mutant.after,
            f"{len(result.kinds)} kind{'s' if len(result.kinds) > 1 else ''}",
            result.verdict,
            result.by,
            f"{result.seconds:.0f}",
        )
    return shown
