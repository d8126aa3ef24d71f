"""What all tests share: pytester, and how to hand the plugin to a pytest that runs inside a test."""

import ctypes
import gc
import mmap
import sys
from importlib import metadata
from pathlib import Path

import pytest

from parity.switches import allow_channels_first

pytest_plugins = ["pytester"]


# Let the suite's channels_first tests run on any CPU; a verification of a model from this folder runs as anywhere. The
# switch is read when TensorFlow loads, which other conftest files bring about before any hook is called.
if not any(word.startswith("--model") for word in sys.argv):
    allow_channels_first()


@pytest.fixture
def plugin_options() -> tuple[str, ...]:
    """The options with which a pytest run inside a test has parity's plugin."""
    return () if metadata.entry_points(group="pytest11", name="parity") else ("-p", "parity.pytest_plugin")


GROWTH = 256e6
"""Bytes by which a process may grow before what is free goes back to the system."""
_held = 0.0


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    """After a test that took much memory, give back what is free of it: the C library keeps gigabytes of the runs of a
    large graph, the more the longer it waits. Two workers and what they start share the machine's memory."""
    global _held
    if sys.platform == "linux" and _resident() > _held + GROWTH:
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        _held = _resident()


def _resident() -> float:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * float(mmap.PAGESIZE)
