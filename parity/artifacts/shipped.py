"""A file in the place of a pair's port, and what is allowed of it beyond what any file may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.artifacts.files import KERAS, RECORDING, kind_of_file
from parity.errors import UsageError
from parity.lookup import is_spec
from parity.runners.taps import MODES

FALLBACK = "it was run by TFLite's other kernels"
"""How a report's sentence ends on a file that TFLite's default delegate refuses, as its engine writes it."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """The path of an artifact. `allow` names operations that are refused otherwise; `largest` is how many bytes it may
    have, None for the usual limit."""

    path: Path
    allow: tuple[str, ...] = ()
    largest: int | None = None


def shipped(port: Any) -> Shipped | None:
    """A port as the file that it is: the path of one, or a Shipped; None for anything else, a "module:attr" too."""
    if isinstance(port, Shipped):
        return port
    is_path = isinstance(port, Path) or (isinstance(port, str) and not is_spec(port))
    return Shipped(path=Path(port)) if is_path else None


def kind_of(port: Any) -> str:
    """The kind of the file that a port is, where an engine of its own runs it; "" for all other ports.

    Raises ArtifactError for a file of no known kind.
    """
    file = shipped(port)
    kind = kind_of_file(file.path) if file else KERAS
    return "" if kind in (KERAS, RECORDING) else kind


def refuse_shipped(port: Any, what: str) -> None:
    """Raise UsageError for a port that is a file with an engine of its own: it is not `what` ("repaired")."""
    file = shipped(port)
    if file is not None and file.path.exists() and (kind := kind_of(file)):
        raise UsageError(
            f"{file.path} is a file that ships ({kind}), and is not {what}: do that with the model that it is made from"
        )


def modes_of(port: Any, asked: Sequence[str]) -> tuple[str, ...]:
    """The modes to run a port in: those that are asked for; of a file with an engine of its own, its only one.

    No engine is imported for that. Raises UsageError where another mode of such a file is asked for, ArtifactError for
    a file of no known kind.
    """
    kind, file = kind_of(port), shipped(port)
    if not kind or file is None:
        return tuple(asked)
    if tuple(asked) not in (MODES, (kind,)):
        raise UsageError(
            f"mode {', '.join(asked)} is for Keras models; {file.path} is run by an engine of its own, in mode {kind}"
        )
    return (kind,)
