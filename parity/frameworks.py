"""The one place that decides import order, thread counts and log noise of both frameworks.

Importing triton after tensorflow ends the process (two copies of LLVM register the same options), and torch imports
triton late, inside torch._dynamo. So triton, where installed, comes first, then torch, then tensorflow. Import the
frameworks from here, never directly: `from parity.frameworks import keras, tf, torch`.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Read when the libraries load, so set before any import. What the user has set stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GLOG_minloglevel", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# TensorFlow turns oneDNN on by itself on some CPUs only; without it channels_first convolutions do not run on any.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Torch's idle OpenMP threads would spin on the cores TensorFlow needs next.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def thread_count() -> int:
    """Threads for each framework: PARITY_THREADS, or the usable cores shared among pytest-xdist's workers."""
    if "PARITY_THREADS" in os.environ:
        return max(1, int(os.environ["PARITY_THREADS"]))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, len(os.sched_getaffinity(0)) // workers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the block's C++ code writes to stderr; show it only if the block fails.

    TensorFlow logs "could not find cuda drivers" and "oneDNN is on" before any of its own log settings are read.
    """
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


if importlib.util.find_spec("triton") is not None:
    import triton  # noqa: F401

import torch  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

torch.set_num_threads(thread_count())

with _quiet():
    import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(thread_count())
tf.config.threading.set_inter_op_parallelism_threads(thread_count())

import keras  # noqa: E402

__all__ = ["TorchFunctionMode", "keras", "tf", "thread_count", "torch"]
