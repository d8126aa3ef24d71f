"""What only a process with both engines in it can tell: run as `python -m parity.doctor.measure`, by the doctor alone.

Each measure is printed as one line of JSON as soon as it is there, so that what came before a crash is known.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from parity.frameworks import keras, tf, torch

SIZE = 5
"""Width and filters of the convolution that shows along which axis Keras adds a bias."""


def engines() -> dict[str, str]:
    """The versions that were imported."""
    return {"torch": str(torch.__version__), "tensorflow": str(tf.__version__), "keras": str(keras.__version__)}


def keras_settings() -> dict[str, Any]:
    """What Keras has from its environment and its configuration file."""
    return {
        "backend": keras.backend.backend(),
        "floatx": keras.config.floatx(),
        "policy": keras.config.dtype_policy().name,
        "image_data_format": keras.config.image_data_format(),
        "tf_keras": str(tf.keras.__version__),
    }


def threads() -> dict[str, int]:
    """Threads of each engine as parity has set them."""
    return {"torch": torch.get_num_threads(), "tensorflow": tf.config.threading.get_intra_op_parallelism_threads()}


def capability() -> str:
    """The vector instructions that torch uses on this CPU."""
    return str(torch.backends.cpu.get_cpu_capability())


def tf32() -> dict[str, bool]:
    """Whether a GPU is there, and which engine may round to TensorFloat-32 on it."""
    return {
        "gpu": bool(torch.cuda.is_available() or tf.config.list_physical_devices("GPU")),
        "torch": bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "tensorflow": bool(tf.config.experimental.tensor_float_32_execution_enabled()),
    }


def arrays() -> bool:
    """Whether both engines take NumPy's arrays and give them back: not where one was built for another NumPy."""
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    there_and_back = torch.from_numpy(given).numpy(), np.asarray(tf.constant(given))
    return all(np.array_equal(each, given) for each in there_and_back)


def denormals() -> dict[str, bool]:
    """Which engine keeps a denormal number in a product, where the other may make it zero."""
    small = np.full(1000, 1e-39, np.float32)
    return {
        "torch": bool((torch.from_numpy(small) * 0.5).numpy().any()),
        "tensorflow": bool(np.asarray(tf.constant(small) * 0.5).any()),
    }


def repeatable() -> bool:
    """Whether a convolution run twice gives the same bits in both engines."""
    image = np.random.default_rng(0).normal(size=(2, 3, 32, 40)).astype(np.float32)
    theirs = torch.nn.Conv2d(3, 7, 3).eval()
    ours = keras.layers.Conv2D(7, 3)
    with torch.no_grad():
        first, second = (theirs(torch.from_numpy(image)).numpy() for _ in range(2))
    third, fourth = (np.asarray(ours(image.transpose(0, 2, 3, 1))) for _ in range(2))
    return bool(np.array_equal(first, second) and np.array_equal(third, fourth))


def channels_first() -> str:
    """Why a convolution with channels_first cannot run here eagerly; "" where it can."""
    try:
        keras.layers.Conv2D(2, 3, data_format="channels_first")(np.ones((1, 3, 7, 7), np.float32))
    except (tf.errors.OpError, ValueError) as error:
        return str(error).strip().splitlines()[0]
    return ""


def bias_axis() -> list[str]:
    """The modes in which Keras adds the bias of a channels_first convolution along the width: eager, graph, xla."""
    layer = keras.layers.Conv2D(SIZE, 1, data_format="channels_first")
    layer.build((1, 3, 4, SIZE))
    bias = np.arange(1, SIZE + 1, dtype=np.float32)
    layer.set_weights([np.zeros((1, 1, 3, SIZE), np.float32), bias])
    zeros = np.zeros((1, 3, 4, SIZE), np.float32)
    runs: Mapping[str, Callable[..., Any]] = {
        "eager": layer,
        "graph": tf.function(layer),
        "xla": tf.function(layer, jit_compile=True),
    }
    wrong = []
    for mode, run in runs.items():
        try:
            right = np.array_equal(np.asarray(run(zeros))[0, :, 0, 0], bias)
        except (tf.errors.OpError, ValueError):  # no such convolution on this CPU: nothing is added anywhere
            continue
        wrong += [] if right else [mode]
    return wrong


MEASURES: tuple[Callable[[], Any], ...] = (
    engines, keras_settings, threads, capability, tf32, arrays, denormals, repeatable, channels_first, bias_axis,
)  # fmt: skip


def main() -> None:
    """Print every measure; one that fails prints its error instead."""
    for measure in MEASURES:
        try:
            line = {"name": measure.__name__, "value": measure()}
        except Exception as error:
            line = {"name": measure.__name__, "error": f"{type(error).__name__}: {error}".splitlines()[0]}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
