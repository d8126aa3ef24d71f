"""What is found out about this environment, each thing in a process of its own: an engine that dies is a fact."""

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from parity.switches import thread_count

ENGINES = ("torch", "tensorflow", "keras")
PACKAGES = ("parity", *ENGINES, "numpy", "triton", "tf_keras")
SWITCHES = (
    "KERAS_BACKEND", "KERAS_HOME", "TF_ENABLE_ONEDNN_OPTS", "TF_USE_LEGACY_KERAS", "TF_XLA_FLAGS", "XLA_FLAGS",
    "TF_DETERMINISTIC_OPS", "NVIDIA_TF32_OVERRIDE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PARITY_THREADS",
)  # fmt: skip
"""Environment variables that change what an engine computes, or how fast."""
TIMEOUT = 120.0
"""Seconds after which a process counts as hanging."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended: what it printed, and in words how it failed, "" if it did not."""

    output: str = ""
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found out. `imports` has for each engine why it cannot be imported, "" if it can.

    `measures` are those of `parity.doctor.measure`; what could not be measured is missing, and `broken` says why the
    process with both engines ended. `after_tensorflow` says how importing triton then ends, None without triton.
    Sizes are in bytes, None where they are not known; `cores` are those that may be used, `quota` the CPU time
    that the container grants, in cores.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)
    cpu: str = ""
    features: Sequence[str] = ()
    cores: int = 1
    threads: int = 1
    quota: float | None = None
    memory: int | None = None
    shared: int | None = None
    imports: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    broken: str = ""
    after_tensorflow: str | None = None
    keras_file: Mapping[str, Any] = field(default_factory=dict)


def found_out(timeout: float = TIMEOUT) -> Facts:
    """Look at this environment. Takes as long as importing both engines; nothing is imported here."""
    with ThreadPoolExecutor(2) as pool:
        together = pool.submit(started, [sys.executable, "-m", "parity.doctor.measure"], timeout)
        triton = pool.submit(_after_tensorflow, timeout)
        ran, after = together.result(), triton.result()
    measures = dict(_measures(ran.output))
    return Facts(
        versions=versions(),
        switches={name: os.environ[name] for name in SWITCHES if name in os.environ},
        cpu=_cpu(),
        features=features(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=thread_count(),
        quota=_quota(),
        memory=_memory(),
        shared=_shared(),
        imports=_imports(measures, timeout),
        measures=measures,
        broken=ran.failure,
        after_tensorflow=after,
        keras_file=_keras_file(),
    )


def started(words: Sequence[str], timeout: float) -> Outcome:
    """Run a process to its end, or for `timeout` seconds; how it ended."""
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return Outcome(output=output, failure=f"it hangs: nothing after {timeout:g} seconds")
    except OSError as error:
        return Outcome(failure=str(error))
    return Outcome(output=done.stdout, failure=_failure(done.returncode, done.stderr))


def _failure(code: int, stderr: str) -> str:
    """How a process failed, with the last line it said; "" where it did not."""
    if code == 0:
        return ""
    said = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in said if "ERROR" in line or "Error" in line] or said
    how = f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"
    return f"{how}: {telling[-1]}" if telling else how


def _measures(output: str) -> list[tuple[str, Any]]:
    found = []
    for line in output.splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            continue
        if isinstance(read, dict) and "value" in read:
            found.append((read["name"], read["value"]))
    return found


def _after_tensorflow(timeout: float) -> str | None:
    if importlib.util.find_spec("triton") is None or importlib.util.find_spec("tensorflow") is None:
        return None
    return started([sys.executable, "-c", "import tensorflow\nimport triton"], timeout).failure


def _imports(measures: Mapping[str, Any], timeout: float) -> dict[str, str]:
    """Why each engine cannot be imported; looked at one by one only where they could not be together."""
    if "engines" in measures:
        return dict.fromkeys(ENGINES, "")
    with ThreadPoolExecutor(2) as pool:
        ends = pool.map(lambda name: started([sys.executable, "-c", f"import {name}"], timeout).failure, ENGINES)
        return dict(zip(ENGINES, ends, strict=True))


def versions() -> dict[str, str]:
    """The versions of what matters, as installed; what is not is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def features() -> tuple[str, ...]:
    """The vector extensions that NumPy found on this CPU."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    return (*simd.get("baseline", ()), *simd.get("found", ()))


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _quota() -> float | None:
    """CPU time granted to the container, in cores (cgroup v2, then v1); None where it is not limited."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        folder = Path("/sys/fs/cgroup/cpu")
        try:
            limit, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
            )
        except OSError:
            return None
    return None if limit.strip() in ("max", "-1") else int(limit) / int(period)


def _memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines}
    return int(sizes["MemAvailable"]) << 10 if "MemAvailable" in sizes else None


def _shared() -> int | None:
    try:
        filesystem = os.statvfs("/dev/shm")
    except (OSError, AttributeError):
        return None
    return filesystem.f_frsize * filesystem.f_bavail


def _keras_file() -> dict[str, Any]:
    """The user's `keras.json`; empty without one."""
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        read = json.loads((folder / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(read) if isinstance(read, dict) else {}
