"""FlowNet2-SD in all seven formats of a release, each exported and put through the gate in a process of its own.

For each: the verdict, the layers that pass (of 59, some as a part of another; of a .keras file in each of three modes),
the size of the file, seconds, and the most memory that the process held. Ends with 1 where one did not pass.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from parity.export.formats import FORMATS
from parity.gate.checks import LAYER
from parity.gate.record import read_record

SEVEN = ("pb", "saved_model", "keras", "tflite", "tflite-fp16", "tflite-int8", "onnx")


def main() -> None:
    """Export each, and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks exports", description=__doc__)
    parser.add_argument("--size", default="64x64", help="width and height of the noise (default 64x64)")
    size = parser.parse_args().size
    table = Table("format", "verdict", "layers", "MB", "seconds", "peak GiB", title=f"flownet at {size}")
    passed = True
    for word in SEVEN:
        with tempfile.TemporaryDirectory() as folder:
            seconds, peak = exported(word, size, Path(folder))
            verdict, layers, megabytes = judged(word, Path(folder))
        passed &= verdict == "pass"
        table.add_row(word, verdict, str(layers), f"{megabytes:.0f}", f"{seconds:.0f}", f"{peak:.1f}")
    Console().print(table)
    sys.exit(not passed)


def exported(word: str, size: str, folder: Path) -> tuple[float, float]:
    """Seconds that `parity export` took, and the most GiB that it and its children held."""
    began, peak = time.monotonic(), 0
    words = ["-m", "parity", "export", "flownet", "--to", word, "--size", size, "--input", "noise", "-o", str(folder)]
    with psutil.Popen([sys.executable, *words]) as process:
        while process.poll() is None:
            peak = max(peak, sum(_held(each) for each in [process, *_children(process)]))
            time.sleep(0.2)
    return time.monotonic() - began, peak / 2**30


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def judged(word: str, folder: Path) -> tuple[str, int, float]:
    """The gate's verdict on the file, how many of its layers passed, and its size in MB."""
    path = folder / FORMATS[word].file_name("flownet")
    record = path.with_name(f"{path.name}.record.json")
    if not record.exists():
        return "not exported", 0, 0.0
    result = read_record(record).result
    layers = sum(check.kind == LAYER and check.verdict == "pass" for check in result.checks)
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return result.verdict, layers, sum(each.stat().st_size for each in files) / 1e6


if __name__ == "__main__":
    main()
