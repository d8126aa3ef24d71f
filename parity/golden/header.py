"""What the metadata of a recording says: of which side of which pair, made how and with what, and its runs."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from parity.errors import PairError
from parity.golden.network import ModuleRecord, Record
from parity.golden.words import Fetch, Keep, decoded, encoded
from parity.pairs import Input
from parity.runners.taps import Tap

SCHEMA = 1


class TapRecord(Record):
    """A tap, but for its weights."""

    name: str
    kind: str
    shape: tuple[int | None, ...]
    weighted: bool
    moves_only: bool
    reads: tuple[str, ...]

    @classmethod
    def of(cls, tap: Tap) -> "TapRecord":
        """The record of a tap."""
        return cls(**{name: getattr(tap, name) for name in cls.model_fields})

    def tap(self, weights: Callable[[], Any] = tuple) -> Tap:
        """The tap again."""
        return Tap(**self.model_dump(), weights=weights)


class ParameterRecord(Record):
    """A parameter of a function's signature; `default` is a list with it, or empty."""

    name: str
    kind: int
    default: tuple[Any, ...]


class FunctionRecord(Record):
    """What was called: a module, by its number, or a function by its name, with its signature if it has one."""

    name: str = ""
    module: int | None = None
    signature: tuple[ParameterRecord, ...] | None = None


class CallRecord(Record):
    """How a tap was made: the function by its number, and what it was given."""

    function: int
    args: Any
    kwargs: Any
    reads: tuple[str, ...]
    part: tuple[int | str, ...] = ()


class InputRecord(Record):
    """An input: the call's arguments, with arrays by their names in the file, and a digest of the arrays."""

    name: str
    origin: str
    args: Any
    kwargs: Any
    digest: str

    @classmethod
    def of(cls, given: Input, keep: Keep) -> "InputRecord":
        """The record of an input, its arrays kept."""
        return cls(
            name=given.name,
            origin=given.origin,
            args=encoded(given.args, keep),
            kwargs=encoded(dict(given.kwargs), keep),
            digest=digest(given.arrays),
        )

    def input(self, fetch: Fetch) -> Input:
        """The input again; what had fields is a dict of them."""
        args, kwargs = decoded(self.args, fetch), decoded(self.kwargs, fetch)
        return Input(name=self.name, origin=self.origin, args=args, kwargs=kwargs)


class Header(Record):
    """What both kinds of recording say of themselves.

    `weights` is the SHA-256 of all weights, `sums` the CRC-32 of every array by its name in the file.
    """

    schema_: int = Field(default=SCHEMA, alias="schema")
    side: str
    pair: str
    parity: str
    versions: dict[str, str]
    settings: dict[str, Any]
    command: str
    weights: str
    sums: dict[str, int]


class RecordedFunction:
    """Stands for a function of torch: it has its name, and its signature where it has one."""

    def __init__(self, name: str, signature: inspect.Signature | None = None) -> None:
        self.__name__ = name
        if signature is not None:
            self.__signature__ = signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing: it raises PairError."""
        raise PairError(f"{self.__name__} is recorded, and cannot be called")


def signature_of(function: Any, keep: Keep) -> tuple[ParameterRecord, ...] | None:
    """The parameters of a function, where Python knows them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return tuple(
        ParameterRecord(
            name=each.name,
            kind=int(each.kind),
            default=() if each.default is each.empty else (encoded(each.default, keep),),
        )
        for each in parameters
    )


def signature(records: tuple[ParameterRecord, ...], fetch: Fetch) -> inspect.Signature:
    """The signature again."""
    kind: Any = type(inspect.Parameter.KEYWORD_ONLY)
    return inspect.Signature(
        [
            inspect.Parameter(
                each.name,
                kind(each.kind),
                default=decoded(each.default[0], fetch) if each.default else inspect.Parameter.empty,
            )
            for each in records
        ]
    )


def digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of arrays and their names, types and shapes."""
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


__all__ = [
    "SCHEMA",
    "CallRecord",
    "FunctionRecord",
    "Header",
    "InputRecord",
    "ModuleRecord",
    "ParameterRecord",
    "RecordedFunction",
    "TapRecord",
    "digest",
    "signature",
    "signature_of",
]
