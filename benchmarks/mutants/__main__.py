"""The command: draws mutants, tries them, and prints what came of each."""

import argparse
import json
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

from rich.console import Console

import benchmarks.mutants
from benchmarks.mutants.drawing import drawn, kinds_of, reached
from benchmarks.mutants.effect import CASES_OF_ONE, digests, in_float64, write
from benchmarks.mutants.enumerating import mutants
from benchmarks.mutants.running import NO_MUTANT, VERDICTS, Result, tried
from benchmarks.mutants.table import in_a_line, table

SHOWN = 8


def main() -> None:
    """Draw mutants, try them, print what came of each; exit 1 where one survives."""
    parser = argparse.ArgumentParser(prog="benchmarks mutants", description=benchmarks.mutants.__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what is drawn (default 0)")
    parser.add_argument("--count", type=int, default=25, help="how many (default 25)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument("--list", action="store_true", help="only list what would be drawn")
    parser.add_argument("--digests", nargs="+", metavar="KIND", help=argparse.SUPPRESS)
    parser.add_argument("--float64", nargs="+", metavar=("FILE", "KIND"), help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=int, default=CASES_OF_ONE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digests:
        print(json.dumps(digests(options.digests, options.cases)))
        return
    if options.float64:
        file, *kinds = options.float64
        values = in_float64(kinds, options.cases)
        write(Path(file), values)
        print(len(values))
        return
    console = Console(width=max(100, Console().width))
    found = reached()
    possible = [(each, kinds_of(each, found)) for each in mutants()]
    under_fire = {each: kinds for each, kinds in possible if kinds}
    beyond = sorted({f"{each.file}:{each.function}" for each, kinds in possible if not kinds})
    chosen = drawn(2 * options.count, options.seed, list(under_fire))
    console.print(f"{options.count} of {len(under_fire)} possible mutants, seed {options.seed}", highlight=False)
    if beyond:
        names = ", ".join(beyond[:SHOWN]) + (f" and {len(beyond) - SHOWN} more" if len(beyond) > SHOWN else "")
        console.print(f"not drawn from, since no kind's cases reach them: {names}", highlight=False)
    if options.list:
        for each in chosen[: options.count]:
            console.print(f"{each.file}:{each.line} {each.way}: {each.before} -> {each.after}", highlight=False)
        return
    results: list[Result] = []
    waiting = iter(chosen)
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(tried, each, under_fire[each]): each for each in islice(waiting, options.count)}
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                del running[done]
                results.append(done.result())
                print(in_a_line(results[-1]), flush=True)
                if results[-1].verdict in NO_MUTANT:
                    # It computes nothing else: another is tried in its place.
                    running |= {pool.submit(tried, each, under_fire[each]): each for each in islice(waiting, 1)}
    console.print(table(results))
    counts = {verdict: sum(each.verdict == verdict for each in results) for verdict in VERDICTS}
    print(json.dumps({**counts, "seed": options.seed, "seconds": round(sum(each.seconds for each in results))}))
    sys.exit(0 if counts["killed"] == options.count else 1)


if __name__ == "__main__":
    main()
