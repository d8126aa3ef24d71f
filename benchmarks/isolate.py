"""What a process for each side costs: `parity verify flownet` with and without --isolate, in turns; the median of each.

The processes start beside each other, so where cores are idle the engines are imported at once; what is to be paid for
is one more run of the reference, and its values on their way through shared memory.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

COMMAND = ("verify", "flownet", "--size", "256x256", "--input", "noise", "--mode", "eager", "--quiet")


def main() -> None:
    """Measure, and print both medians and their ratio."""
    parser = argparse.ArgumentParser(prog="benchmarks isolate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"together": [], "isolated": []}
    for _ in range(rounds):
        for name, options in (("together", ()), ("isolated", ("--isolate",))):
            seconds[name].append(run(options))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<9} {median:.1f} s")
    print(f"ratio     {medians['isolated'] / medians['together']:.2f}")


def run(options: tuple[str, ...]) -> float:
    """The seconds that the command takes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        words = [sys.executable, "-m", "parity", *COMMAND, "--report-dir", folder, *options]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start


if __name__ == "__main__":
    main()
