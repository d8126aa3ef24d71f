"""Whether both engines can be loaded into this process, as it is now.

TensorFlow and triton each bring a copy of LLVM. Triton first, then TensorFlow, is the order in which they get along;
the other order has ended processes, in some versions. Whoever imported TensorFlow before parity could order anything
has settled it, so what would happen here is tried in another process.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Collection
from functools import cache

TOO_LATE = "import tensorflow, triton"
PATIENCE = 120
"""Seconds after which the trial is taken to have failed."""


def why_not_together(loaded: Collection[str] = sys.modules) -> str:
    """Why the engines cannot both be loaded here any more; "" where they can, as far as can be told."""
    settled = "tensorflow" not in loaded or "triton" in loaded
    if settled or importlib.util.find_spec("triton") is None or _survives(TOO_LATE):
        return ""
    return "tensorflow was imported before triton, which ends a process that imports it now"


@cache
def _survives(code: str) -> bool:
    """Whether a process lives through some code."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
