"""A SavedModel as an int8 TFLite file, made in a process of its own: TensorFlow's calibration can end the process.

It does so for networks with loops, and takes along whoever called it. So `converted` starts another one, which calls
`main`.
"""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from parity.axes import Array
from parity.errors import ExportError

_REFUSED = 3
_PROGRAM = f"import sys; from {__name__} import main; sys.exit(main(*sys.argv[1:]))"


def converted(folder: Path, samples: Sequence[Mapping[str, Array]], path: Path) -> None:
    """Write the SavedModel in `folder` to `path`, its steps chosen by the samples: values of the inputs by name.

    Raises ExportError where TensorFlow's converter refuses, or dies.
    """
    kept = path.with_name(f"{path.name}.samples.npz")
    arrays = {f"{name}.{place}": array for place, each in enumerate(samples) for name, array in each.items()}
    np.savez(kept, **arrays)  # type: ignore[arg-type]
    try:
        words = [sys.executable, "-c", _PROGRAM, str(folder), str(kept), str(path)]
        ended = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    finally:
        kept.unlink()
    if ended.returncode < 0:
        died = signal.Signals(-ended.returncode).name
        raise ExportError(
            f"TensorFlow's converter to int8 died ({died}); it does for networks with loops, such as an LSTM"
        )
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        raise ExportError(f"TensorFlow's converter refuses it: {said[-1] if said else 'it does not say why'}")


def _read(file: Path) -> list[dict[str, Array]]:
    """The samples that were kept in a file."""
    found: dict[int, dict[str, Array]] = {}
    with np.load(file, allow_pickle=False) as kept:
        for key in kept.files:
            name, _, place = key.rpartition(".")
            found.setdefault(int(place), {})[name] = kept[key]
    return [found[place] for place in sorted(found)]


def main(folder: str, samples: str, path: str) -> int:
    """Convert; what the process ends with. What TensorFlow refuses is the last line on stderr."""
    from parity.frameworks import tf

    given = _read(Path(samples))
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: iter(given)
    try:
        content = converter.convert()
    except Exception as error:  # a converter may refuse in any way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        print(lines[0] if lines else type(error).__name__, file=sys.stderr)
        return _REFUSED
    Path(path).write_bytes(content)
    return 0
