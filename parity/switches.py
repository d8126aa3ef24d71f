"""Environment switches that the frameworks read once, when they load: set here, before, and nowhere else.

What the user has set stays. Importing this module sets the switches every run needs and loads nothing.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GLOG_minloglevel", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Idle OpenMP threads of torch would spin on the cores TensorFlow needs next; not spinning at all slows torch itself.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_stderr_is_kept = False


def allow_channels_first() -> None:
    """Turn oneDNN on: without it TensorFlow has no channels_first convolution on a CPU, and it is on by itself on some
    CPUs only. No effect once TensorFlow is loaded."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def thread_count() -> int:
    """Threads for each framework: PARITY_THREADS, or the usable cores shared among pytest-xdist's workers."""
    if "PARITY_THREADS" in os.environ:
        return max(1, int(os.environ["PARITY_THREADS"]))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, len(os.sched_getaffinity(0)) // workers)


def leave_out(engine: str) -> None:
    """Do without "torch" or "tensorflow", which a recording stands for, in this process and those that it starts.

    No effect once parity.frameworks is loaded.
    """
    if "parity.frameworks" not in sys.modules:
        os.environ["PARITY_WITHOUT"] = ",".join(sorted({*left_out(), engine}))


def keep_stderr() -> None:
    """Leave stderr as it is while engines are imported: somebody reads it where this process does not live."""
    global _stderr_is_kept
    _stderr_is_kept = True


def stderr_is_kept() -> bool:
    """Whether `keep_stderr` was called."""
    return _stderr_is_kept


def left_out() -> frozenset[str]:
    """The engines that are not to be imported, by PARITY_WITHOUT."""
    return frozenset(filter(None, os.environ.get("PARITY_WITHOUT", "").split(",")))
