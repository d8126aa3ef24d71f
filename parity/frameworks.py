"""The one place that imports both frameworks: in which order, with how many threads, how quietly; or does without one.

Importing triton after tensorflow ends the process (two copies of LLVM register the same options), and torch imports
triton late, inside torch._dynamo. So triton, where installed, comes first, then torch, then tensorflow. Import the
frameworks from here, never directly: `from parity.frameworks import keras, tf, torch`.

An engine that is not installed, or that `switches.leave_out` says is not needed since a recording stands for that side,
is not imported. In its place is a stand-in, so that every module of parity can be imported all the same: whatever is
asked of it (`torch.nn.Conv2d`) is a class of that name, always the same one, that can be derived from, named in
annotations and tables, and asked `isinstance` of. Nothing of it can be called.
"""

import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from parity.errors import PairError
from parity.switches import left_out, stderr_is_kept, thread_count


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the block's C++ code writes to stderr; show it only if the block fails.

    TensorFlow logs "could not find cuda drivers" and "oneDNN is on" before any of its own log settings are read.
    """
    if stderr_is_kept():
        yield
        return
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


class StandIn(type):
    """The class of every stand-in, and of what is derived from one."""

    def __getattr__(cls, name: str) -> Any:
        if "stands_for" not in vars(cls) or name.startswith("__"):
            raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
        return stand_in(f"{cls.stands_for}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Nothing: it raises PairError. But a function that one decorates stays as it is."""
        if "stands_for" in vars(cls) and len(args) == 1 and inspect.isfunction(args[0]) and not kwargs:
            return args[0]
        engine = "torch" if cls.stands_for.startswith("torch") else "tensorflow"
        why = "a recording stands for that side" if engine in left_out() else "it is not installed"
        raise PairError(f"{cls.__name__} needs {engine}, which is not loaded in this process: {why}")


@cache
def stand_in(path: str) -> Any:
    """What stands for `path` ("torch", "torch.nn.Conv2d") where no engine is loaded; what torch.nn has is a Module.

    >>> issubclass(stand_in("torch").nn.Conv2d, stand_in("torch.nn.Module"))
    True
    """
    parent, _, name = path.rpartition(".")
    bases = (stand_in("torch.nn.Module"),) if parent == "torch.nn" and name != "Module" else ()
    return StandIn(name, bases, {"stands_for": path, "__module__": parent})


def is_loaded(engine: str) -> bool:
    """Whether "torch" or "tensorflow" (and with it Keras) is there in this process, not a stand-in."""
    return not isinstance({"torch": torch, "tensorflow": tf}[engine], StandIn)


def _to_be_loaded(*engines: str) -> bool:
    return not left_out() & set(engines) and all(importlib.util.find_spec(engine) for engine in engines)


def with_constants(function: Any) -> Any:
    """A concrete function of TensorFlow with its variables as constants, and the functions it calls inlined."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)


if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils import _pytree as torch_tree
else:
    # First where torch itself is left out, too: a user's module may import it all the same.
    if importlib.util.find_spec("triton") is not None and "tensorflow" not in sys.modules:
        import triton  # noqa: F401

    if _to_be_loaded("torch"):
        import torch
        from torch.overrides import TorchFunctionMode
        from torch.utils import _pytree as torch_tree

        torch.set_num_threads(thread_count())
    else:
        torch = stand_in("torch")
        TorchFunctionMode, torch_tree = torch.overrides.TorchFunctionMode, torch.utils._pytree

    if _to_be_loaded("tensorflow", "keras"):
        with quiet():
            import tensorflow as tf

        tf.get_logger().setLevel(
            "ERROR"
        )  # "retracing" warnings are about parity's own functions, one per pair and mode
        tf.config.threading.set_intra_op_parallelism_threads(thread_count())
        tf.config.threading.set_inter_op_parallelism_threads(thread_count())

        import keras
    else:
        tf, keras = stand_in("tensorflow"), stand_in("keras")

__all__ = [
    "StandIn",
    "TorchFunctionMode",
    "is_loaded",
    "keras",
    "quiet",
    "stand_in",
    "tf",
    "torch",
    "torch_tree",
    "with_constants",
]
