"""What an artifact is: its kind, its size, its sum. Found out before any engine opens it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.artifacts.files import LIMIT, SAVED_MODEL, checked
from parity.errors import ArtifactError
from parity.gate.policy import Artifact

MEGABYTE = 10**6
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Facts:
    """An artifact. `sha256` is that of the file; of several, that of the list which `sha256sum` makes of them, sorted.

    `files` has the sum of each by its path from the artifact's folder on; `size` is in bytes, of all of them.
    """

    path: str
    kind: str
    sha256: str
    size: int
    files: Mapping[str, str]

    @property
    def weighs(self) -> str:
        """The size in words: "181.5 MB"."""
        return f"{self.size / MEGABYTE:.1f} MB" if self.size >= MEGABYTE / 10 else f"{self.size / 1000:.1f} kB"


def facts_of(path: Path, policy: Artifact) -> Facts:
    """The facts of an artifact. Raises ArtifactError for one that is not whole, not safe, or too large to load."""
    limit = LIMIT if policy.load_mb is None else int(policy.load_mb * MEGABYTE)
    found = checked(path, limit=limit, allowed=tuple(policy.allow))
    sums = dict(_sums(path, found.files))
    return Facts(path=str(path), kind=found.kind, sha256=_sum_of(sums), size=found.size, files=sums)


def sum_of(path: Path, facts: Facts) -> str:
    """The sum of an artifact as it is now: of all that is in its folder, or of the files that it had; "" where one of
    them is gone. What it is called itself does not count."""
    if path.is_dir() != (facts.kind == SAVED_MODEL):
        return ""
    there = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else []
    own = Path(facts.path).name
    try:
        if there:
            return _sum_of(dict(_sums(path, there)))
        return _sum_of({name: _sum_of_file(path if name == own else path.parent / name) for name in facts.files})
    except ArtifactError:
        return ""


def _sums(path: Path, files: Iterator[Path] | list[Path] | tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    folder = path if path.is_dir() else path.parent
    for file in sorted(files):
        yield file.relative_to(folder).as_posix(), _sum_of_file(file)


def _sum_of(sums: Mapping[str, str]) -> str:
    if len(sums) == 1:
        return next(iter(sums.values()))
    listed = "".join(f"{found}  {name}\n" for name, found in sorted(sums.items()))
    return hashlib.sha256(listed.encode()).hexdigest()


def _sum_of_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{file}: {error.strerror or error}") from error
