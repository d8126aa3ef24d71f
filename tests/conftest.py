"""What all tests share: pytester, and how to hand the plugin to a pytest that runs inside a test."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from importlib import metadata

import pytest

from parity.switches import allow_channels_first

pytest_plugins = ["pytester"]


# Let the suite's channels_first tests run on any CPU; a verification of a model from this folder runs as anywhere. The
# switch is read when TensorFlow loads, which other conftest files bring about before any hook is called.
if not any(word.startswith("--model") for word in sys.argv):
    allow_channels_first()


@pytest.fixture
def plugin_options() -> tuple[str, ...]:
    """The options with which a pytest run inside a test has parity's plugin: none where it is installed."""
    installed = metadata.entry_points(group="pytest11", name="parity")
    return () if installed else ("-p", "parity.pytest_plugin")


@pytest.fixture(autouse=True, scope="module")
def memory_given_back() -> Iterator[None]:
    """Between files what is free goes back to the system: the C library keeps 2 GB of a large graph's first run, for
    each process that ran one."""
    yield
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
