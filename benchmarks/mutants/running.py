"""A mutant is run as a user would run it: a copy of the package, in processes of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants.effect import apart, how_many, read
from benchmarks.mutants.enumerating import PACKAGE, Mutant
from benchmarks.mutants.rewriting import HELPER

TIMEOUT = 1800
NO_MUTANT = ("same", "rounds otherwise")
"""The verdicts on what computes nothing else: another is tried in its place."""
VERDICTS = ("killed", "survived", *NO_MUTANT)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a mutant: `verdict` is one of VERDICTS; `by` what killed it, or on what it differs, and how far."""

    mutant: Mutant
    kinds: Sequence[str]
    verdict: str
    by: str
    seconds: float


def tried(mutant: Mutant, kinds: Sequence[str]) -> Result:
    """A mutant under `pytest --model layers`, and where it survives, compared with the original."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as temporary:
        folder = Path(temporary)
        shutil.copytree(PACKAGE, folder / "parity", ignore=shutil.ignore_patterns("__pycache__"))
        path = folder / "parity" / mutant.file
        path.write_bytes(mutant.source(path.read_bytes()) + HELPER.encode())
        words = ["-m", "pytest", "--model", "layers", "-x", "-q", *(f"layers::{kind}" for kind in kinds)]
        try:
            done = _run(words, folder)
        except subprocess.TimeoutExpired:
            return Result(mutant=mutant, kinds=kinds, verdict="killed", by="no end", seconds=time.monotonic() - began)
        if done.returncode == 1:
            verdict, by = "killed", next(iter(_complaints(done.stdout)), "")
        elif done.returncode:
            # No test has failed: the package cannot even be imported, or no kind be collected.
            verdict, by = "killed", next(iter(reversed((done.stderr + done.stdout).strip().splitlines())), "")[:100]
        else:
            verdict, by = _in_effect(folder, kinds)
    return Result(mutant=mutant, kinds=kinds, verdict=verdict, by=by, seconds=time.monotonic() - began)


def _complaints(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("layers / "):
            yield line.removeprefix("layers / ")
    yield "\n".join(text.splitlines()[-3:])


def _in_effect(folder: Path, kinds: Sequence[str]) -> tuple[str, str]:
    """Whether a survivor computes anything else at all, on many more cases: "same" where it does not, bit by bit, and
    "rounds otherwise" where in float64 nothing is left of the difference."""
    count = how_many(kinds)
    try:
        mutated, original = (_said("--digests", where, kinds, count) for where in (folder, PACKAGE.parent))
        other = [kind for kind in kinds if mutated[kind] != original[kind]]
        if not other:
            return "same", f"bit for bit on {sum(map(len, original.values()))} cases"
        for name, where in (("mutated", folder), ("original", PACKAGE.parent)):
            _said("--float64", where, other, count, str(folder / f"{name}.npz"))
    except (subprocess.TimeoutExpired, RuntimeError) as error:
        return "survived", f"comparing ended with {str(error)[-100:]}"
    found = apart(read(folder / "mutated.npz"), read(folder / "original.npz"))
    return ("rounds otherwise" if found.rounds else "survived"), f"differs on {', '.join(other)}; {found}"


def _said(what: str, package: Path, kinds: Sequence[str], count: int, *more: str) -> Any:
    """What these benchmarks say of the package in a folder. Raises RuntimeError where they end with an error."""
    done = _run(["-m", "benchmarks.mutants", what, *more, *kinds, "--cases", str(count)], package)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout.splitlines()[-1])


def _run(words: Sequence[str], package: Path) -> subprocess.CompletedProcess[str]:
    """Python with the package that is in a folder, and with these benchmarks, in an empty folder."""
    path = os.pathsep.join([str(package), str(PACKAGE.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("CI", None)
    with tempfile.TemporaryDirectory(prefix="mutant-run-") as folder:
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
