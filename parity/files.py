"""Files that are written whole or not at all: reports, records, and whatever else somebody may be reading meanwhile."""

import os
import secrets
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path

from parity.errors import ReportFolderError


def place_of(path: Path) -> Path:
    """Where a file of that name is written: the file itself, or the one that a link leads to.

    Raises ReportFolderError where something is there that is no file: a folder, a device, a pipe.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise ReportFolderError(f"cannot write {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise ReportFolderError(f"cannot write {path}: {path.name} is {kind}, and no file")
    return path.resolve() if path.is_symlink() else path


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to `path` through a temporary file beside it, so that no reader ever sees half of it.

    A link stays, and what it leads to is written. Raises ReportFolderError where that is no file, or cannot be written.
    """
    place = place_of(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = _nameless(place, text) or _hidden(place, text)
        try:
            os.replace(temporary, place)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ReportFolderError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _nameless(path: Path, text: str) -> Path | None:
    """A file beside `path` with the text, which had no name until it was whole: a process that is killed meanwhile
    leaves nothing. None where the system has no such files."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with ExitStack() as opened:
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, folder)
            handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except (AttributeError, OSError):
            return None
        stream = opened.enter_context(os.fdopen(handle, "w", encoding="utf-8"))
        stream.write(text)
        stream.flush()
        try:
            os.link(f"/proc/self/fd/{handle}", temporary.name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError:
            return None
    return temporary


def _hidden(path: Path, text: str) -> Path:
    """The same where every file has a name: one that begins with a dot."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o666 & ~_umask())
    except BaseException:
        os.unlink(temporary)
        raise
    return Path(temporary)


def _umask() -> int:
    """The process's file mode mask: temporary files ignore it, reports should not."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
