"""`python -m benchmarks [PART]...`: what a verdict costs in bare forwards, and what else takes long to measure.

speed     448x704, warm: a verdict in one mode over one torch forward plus one Keras forward in that mode, the bare
          forwards and the verdicts taken in turns in one process; the median of the rounds.
memory    peak resident memory of a verdict over that of the two bare forwards, each in a process of its own.
scaling   seconds per megapixel of a verdict, 0.3 to 8 Mpx.
deep      a pair of 200 weighted layers without a map: seconds to align it, a verdict in bare forwards; when asked for.
isolate   `parity verify flownet` with a process for each side, over that with one for both; when asked for.
gate      `parity gate` on a frozen graph of 181 MB, over bare runs of the file and of the reference; when asked for.
exports   FlowNet2-SD in all seven formats of a release, through the gate; only when asked for.
page      what writing the page adds to a run at 448x704, and its size; only when asked for.
clean     how many of a hundred verdicts on faithful ports pass; only when asked for.
mutants   faults planted in the converters: how many `pytest --model layers` finds; only when asked for.
"""

import argparse
import json
import subprocess
import sys

from rich.console import Console
from rich.table import Table

SPEED, MEMORY, SCALING = (704, 448), ((1920, 1088), (3840, 2176)), ((704, 448), (1344, 768), (1920, 1088), (3840, 2176))


def main() -> None:
    """Run the parts asked for; all of them when none is named."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["speed", "memory", "scaling"], metavar="PART")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the speed benchmark (default 5)")
    parser.add_argument("--mode", nargs="+", default=["eager", "graph", "xla"], help="modes of the speed benchmark")
    options = parser.parse_args()
    console = Console()
    if "speed" in options.parts:
        for mode in options.mode:
            console.print(speed(mode, options.rounds))
    if "memory" in options.parts:
        console.print(memory())
    if "isolate" in options.parts:
        subprocess.run([sys.executable, "-m", "benchmarks.isolate"], check=True)
    if "gate" in options.parts:
        subprocess.run([sys.executable, "-m", "benchmarks.gate"], check=True)
    if "page" in options.parts:
        subprocess.run([sys.executable, "-m", "benchmarks.page"], check=True)
    if "exports" in options.parts:
        sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.exports"], check=False).returncode)
    if "clean" in options.parts:
        subprocess.run([sys.executable, "-m", "benchmarks.clean"], check=True)
    if "mutants" in options.parts:
        sys.exit(subprocess.run([sys.executable, "-m", "benchmarks.mutants"], check=False).returncode)
    if "deep" in options.parts:
        subprocess.run([sys.executable, "-m", "benchmarks.deep"], check=True)
    if "scaling" in options.parts:
        console.print(scaling())


def speed(mode: str, rounds: int) -> Table:
    """Verdicts under both policies, in bare forwards."""
    found = measure("speed", SPEED, mode=mode, rounds=rounds)
    table = Table("704x448, warm", "seconds", "times the two bare forwards", title=f"speed, {mode}")
    table.add_row("torch forward", f"{found['torch']:.2f}", "")
    table.add_row("Keras forward", f"{found['keras']:.2f}", "")
    for policy in ("noise floor", "rtol/atol"):
        table.add_row(f"verdict, {policy}", f"{found[policy]:.2f}", f"{found[policy + ' ratio']:.2f}")
    return table


def memory() -> Table:
    """Peak memory of a verdict and of the bare forwards."""
    table = Table("size", "bare GiB", "verdict GiB", "ratio", title="peak resident memory, eager")
    for size in MEMORY:
        bare, verdict = (measure(part, size)["peak"] for part in ("bare", "verdict"))
        table.add_row(f"{size[0]}x{size[1]}", f"{bare:.1f}", f"{verdict:.1f}", f"{verdict / bare:.2f}")
    return table


def scaling() -> Table:
    """Time of a verdict per megapixel."""
    table = Table("size", "Mpx", "verdict s", "s/Mpx", title="time per megapixel, eager")
    for size in SCALING:
        pixels, seconds = size[0] * size[1] / 1e6, measure("verdict", size)["seconds"]
        table.add_row(f"{size[0]}x{size[1]}", f"{pixels:.2f}", f"{seconds:.1f}", f"{seconds / pixels:.2f}")
    return table


def measure(part: str, size: tuple[int, int], **options: object) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    asked = json.dumps({"part": part, "size": size, **options})
    answer = subprocess.run([sys.executable, "-m", "benchmarks.measure", asked], check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
