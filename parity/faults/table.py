"""The scores of the benchmark as tables for a terminal."""

from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

from parity.faults.baselines import BASELINES, RATE, THRESHOLD
from parity.faults.scoring import SINGLE, Benchmark, Outcome, Score, by

MISSES = 40
"""So many misses are printed; all are in the JSON."""


def print_scores(result: Benchmark, stream: TextIO) -> None:
    """Print the scores, beside what other tools would have scored, then by cause and by model, then the misses."""
    console = Console(file=stream, width=None if stream.isatty() else 160)
    console.print(_scores(result))
    console.print(_side_by_side(result))
    single = result.of(SINGLE)
    console.print(_groups("cause", by(single, lambda outcome: outcome.faults[0].slug)))
    console.print(_groups("model", by(single, lambda outcome: outcome.model)))
    dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(result.dropped.items())) or "none"
    console.print(f"  mutants dropped: {dropped}", highlight=False)
    _misses(result, console)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=True)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=index > 0)
    return table


def _scores(result: Benchmark) -> Table:
    table = _table(f"faults, seed {result.seed}", "score", "good", "of", "share", "goal", "")
    for score in result.scores():
        goal = "" if score.goal is None else f"{score.goal:.0%}"
        mark = {True: "reached", False: "missed", None: ""}[score.reached]
        table.add_row(score.name, str(score.good), str(score.of), _share(score), goal, mark)
    return table


def _side_by_side(result: Benchmark) -> Table:
    """The same protocol with fixed tolerances and the rate of change."""
    table = _table(
        f"the same runs, judged end to end ({RATE}: alarm where the output is off by more than {THRESHOLD:g})",
        "score", "parity", *BASELINES,
    )  # fmt: skip
    own = {score.name: score for score in result.scores()}
    others = {name: {score.name: score for score in result.baseline(name)} for name in BASELINES}
    for name in others[RATE]:
        table.add_row(name, *(f"{_share(scores[name])} of {scores[name].of}" for scores in (own, *others.values())))
    return table


def _share(score: Score) -> str:
    return f"{score.share:.1%}" if score.of else "-"


_COLUMNS: dict[str, Callable[[Outcome], bool]] = {
    "detected": lambda outcome: outcome.detected,
    "located": lambda outcome: outcome.localised,
    "nothing else": lambda outcome: outcome.nothing_else,
    "named": lambda outcome: outcome.named,
    "among three": lambda outcome: outcome.among_three,
    "repaired": lambda outcome: bool(outcome.repaired),
}


def _groups(name: str, groups: dict[str, list[Outcome]]) -> Table:
    table = _table(f"single faults by {name}", name, "faults", *_COLUMNS)
    for group, outcomes in groups.items():
        table.add_row(group, str(len(outcomes)), *(_count(column, outcomes) for column in _COLUMNS))
    return table


def _count(column: str, outcomes: Sequence[Outcome]) -> str:
    if column == "repaired" and all(outcome.repaired is None for outcome in outcomes):
        return "-"
    return str(sum(map(_COLUMNS[column], outcomes)))


def _misses(result: Benchmark, console: Console) -> None:
    misses = result.misses()
    console.print(f"\n  {len(misses)} runs count against a score", highlight=False)
    for why, outcome in misses[:MISSES]:
        console.print(f"  {why}: {outcome.words}", highlight=False, markup=False, soft_wrap=True)
    if len(misses) > MISSES:
        console.print(f"  and {len(misses) - MISSES} more, in the JSON", highlight=False)
