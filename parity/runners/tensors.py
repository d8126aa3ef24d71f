"""Arrays as TensorFlow's tensors and back, without a copy where there need be none; what TensorFlow refuses to run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from parity.axes import Array, in_order
from parity.errors import PairError
from parity.frameworks import tf


def as_tensor(array: Array) -> Any:
    """`array` as a TensorFlow tensor, sharing memory where TensorFlow's alignment allows it."""
    if array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % 64 == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.convert_to_tensor(in_order(array))


def as_array(tensor: Any) -> Array:
    """The values of an eager tensor as a read-only array that shares its memory; bfloat16 as float32, for NumPy."""
    if tensor.dtype == tf.bfloat16:
        tensor = tf.cast(tensor, tf.float32)
    return np.asarray(memoryview(tensor))


@contextmanager
def refusals(what: str, mode: str) -> Iterator[None]:
    """What TensorFlow refuses to run becomes a PairError of one sentence."""
    try:
        yield
    except (tf.errors.OpError, ValueError, TypeError) as error:
        lines = [line.strip() for line in re.sub(r"\x1b\[\d*m|{{.*?}}", "", str(error)).splitlines() if line.strip()]
        reason = next((line for line in lines if not line.startswith("Exception encountered")), type(error).__name__)
        hint = "; on a CPU this needs TF_ENABLE_ONEDNN_OPTS=1 set before TensorFlow loads" if "NHWC" in reason else ""
        raise PairError(f"{what} cannot run in {mode}: {reason}{hint}") from error
