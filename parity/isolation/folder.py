"""The folder that the processes of a pair share: in memory where the machine has that, and gone with them."""

import os
import shutil
import tempfile
from pathlib import Path

SOCKET = "calls"
"""Where in it the port's process asks the reference's."""
SHARED_MEMORY = Path("/dev/shm")
PREFIX = "parity-"


def new_folder(parent: Path | None = None) -> Path:
    """A folder for what the processes of this one share, in memory where the machine has that.

    Folders of processes that are gone without having cleaned up are removed.
    """
    where = parent or (SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
    sweep(where)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where))


def sweep(where: Path) -> None:
    """Remove the folders of supervising processes that are gone."""
    for folder in where.glob(f"{PREFIX}[0-9]*-*"):
        owner = int(folder.name.removeprefix(PREFIX).partition("-")[0])
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue
