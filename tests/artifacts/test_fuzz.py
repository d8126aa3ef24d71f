"""Two hundred corrupted variants of a file of each kind: none ends the process, hangs, or passes for what it is not.

"Passes for what it is not" is decided without parity: a flipped byte may be in a name or in the last bits of a weight,
and the file then still computes what the reference computes. So a variant that parity passes is run by its engine
alone, and its output must lie within rounding of what NumPy computes in float64. Every other one must be refused with
one sentence, or fail.

PARITY_FUZZ=5000 asks for as many variants of each kind, PARITY_FUZZ_SEED=1 for others.
"""

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from corrupted import CHANGES, variants

COUNT = int(os.environ.get("PARITY_FUZZ", "200"))
SEED = int(os.environ.get("PARITY_FUZZ_SEED", "0"))
LONGEST = 30.0
"""Seconds that a variant may take."""

ROUNDING = 32 * float(np.finfo(np.float32).eps)
"""How far off, as a part of the largest output, float32 may be: the longest sum here has 18 terms, times two layers."""

SUMMED = frozenset({"saved_model"})
"""Kinds whose values have checksums, so that a changed one is refused and never computes something else."""

Answer = dict[str, Any]


class Worker:
    """The process that verifies files; it is started again where it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def answer(self, path: Path) -> Answer:
        """How the verification of a file ended; `died` with the exit status, or `hung`, where it did not come back."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], LONGEST)[0]:
            self.close()
            return {"hung": LONGEST}
        line = process.stdout.readline()
        if not line:
            self.close()
            return {"died": process.returncode}
        answer: Answer = json.loads(line)
        return answer

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            words = [sys.executable, str(Path(__file__).with_name("fuzz_worker.py"))]
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._process.stdout
            assert self._process.stdout.readline() == "ready\n"
        return self._process

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """One process for all the tests of this file."""
    one = Worker()
    yield one
    one.close()


def wrong(answer: Answer) -> str:
    """What is wrong with how a variant ended; "" for nothing."""
    if "refused" in answer:
        several = "\n" in answer["refused"].strip()
        return f"refused with exit code {answer['code']}, or in several lines" if several or answer["code"] != 3 else ""
    if "failed" in answer:
        return ""
    largest = float(np.abs(tiny.computed(tiny.image())).max())
    if "passed" in answer and answer["off"] <= ROUNDING * largest:
        return ""
    return f"ended as {answer}"


@pytest.mark.parametrize("kind", tiny.WORDS)
def test_a_corrupted_file_neither_kills_nor_hangs_nor_passes(
    files: dict[str, Path], worker: Worker, tmp_path: Path, kind: str
) -> None:
    """Each variant is refused in one sentence, fails, or computes what the reference does; the file itself passes."""
    assert wrong(worker.answer(files[kind])) == ""
    ends: Counter[str] = Counter()
    problems = []
    for what, path in variants(files[kind], tmp_path, COUNT, SEED):
        answer = worker.answer(path)
        ends[next(iter(answer))] += 1
        if problem := wrong(answer):
            problems.append(f"{path.name}, {what}: {problem}: {answer}")
    assert problems == []
    assert sum(ends.values()) == COUNT
    assert ends["refused"] > COUNT / 4
    assert ends["failed"] > 0 or kind in SUMMED


def test_the_variants_are_many_and_the_same_each_time(files: dict[str, Path], tmp_path: Path) -> None:
    """No variant is the file itself, hardly any is there twice, every change is made, and a seed repeats them."""
    original = files["tflite"].read_bytes()
    made = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made[name] = [(what, path.read_bytes()) for what, path in variants(files["tflite"], tmp_path / name, 140, 7)]
    assert made["one"] == made["two"]
    assert {what for what, _ in made["one"]} == {each.__name__ for each in CHANGES}
    assert original not in {data for _, data in made["one"]}
    assert len({data for _, data in made["one"]}) > 120


def test_what_goes_wrong_would_be_seen(files: dict[str, Path], worker: Worker, monkeypatch: Any) -> None:
    """The checks can fail: a process that ends, one that hangs, a wrong pass, an exception, a second line."""
    for answer in (
        {"died": -11},
        {"hung": LONGEST},
        {"raised": "KeyError: 'x'"},
        {"passed": True, "off": 0.01},
        {"refused": "one\ntwo", "code": 3},
        {"refused": "one", "code": 2},
    ):
        assert wrong(answer)
    monkeypatch.setattr(sys.modules[__name__], "LONGEST", 0.0)
    assert worker.answer(files["pb"]) == {"hung": 0.0}
