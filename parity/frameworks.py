"""The one place that imports both frameworks: in which order, with how many threads, how quietly.

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

from parity.switches import thread_count


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
from torch.utils import _pytree as torch_tree  # noqa: E402

torch.set_num_threads(thread_count())

with _quiet():
    import tensorflow as tf

tf.get_logger().setLevel("ERROR")  # "retracing" warnings are about parity's own functions, one per pair and mode
tf.config.threading.set_intra_op_parallelism_threads(thread_count())
tf.config.threading.set_inter_op_parallelism_threads(thread_count())

import keras  # noqa: E402

__all__ = ["TorchFunctionMode", "keras", "tf", "torch", "torch_tree"]
