"""Runs `parity` where some modules cannot be imported: `python one_engine.py torch verify PAIR ...`.

After that every module of parity is imported as well.
"""

import importlib
import pkgutil
import sys
from typing import Any

BLOCKED = sys.argv.pop(1).split(",")


class Blocker:
    """Lets nobody import what is blocked."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")


sys.meta_path.insert(0, Blocker())

from parity.cli import main  # noqa: E402

try:
    main()
finally:
    import parity

    for module in pkgutil.walk_packages(parity.__path__, "parity."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert not set(BLOCKED) & set(sys.modules)
    print("every module was imported")
