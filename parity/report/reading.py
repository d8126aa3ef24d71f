"""Reading a report back, or saying in one sentence why a file is none."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import StrictInt, TypeAdapter, ValidationError

from parity.errors import ParityError, ReportFileError

Whole = TypeVar("Whole")


@dataclass(frozen=True)
class _Head:
    """What every schema has, and the first thing that is looked at: a file of another one need not have the rest."""

    schema: StrictInt


_HEAD = TypeAdapter(_Head)


def read(path: str | os.PathLike[str], adapter: TypeAdapter[Whole], schema: int) -> Whole:
    """What a file holds. Raises ReportFileError if it is not such a thing, or not of this `schema`."""
    try:
        text = Path(path).read_bytes()
        found = _HEAD.validate_json(text).schema
        if found != schema:
            raise ReportFileError(f"{path} has schema {found}; this parity reads schema {schema}")
        return adapter.validate_json(text)
    except OSError as error:
        raise ReportFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise ReportFileError(f"{path} is not a parity report: {_why(error)}") from error
    except ReportFileError:
        raise
    except ParityError as error:
        raise ReportFileError(f"{path} contradicts itself: {error}") from error


def _why(error: ValidationError) -> str:
    """What is wrong with a text that is no report, in a few words."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        reason = str(first["ctx"]["error"]) if "ctx" in first else first["msg"]
        return f"it is cut short, or no JSON ({reason})"
    place = ".".join(map(str, first["loc"]))
    return f"it has no {place!r}" if first["type"] == "missing" else f"{place or 'the whole'}: {first['msg']}"
