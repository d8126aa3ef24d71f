"""Finds what a user's code defines, `pkg.module:attr` or `path/to/file.py:attr`, and calls what builds a pair's side.

Each side of a pair can so be had in a process of its own: no engine is imported here, and one that was not imported
cannot have made the object at hand. Whoever needs both engines imports `parity.frameworks` first, since they get along
in one order only.

What goes wrong inside the user's code is one sentence with the exception and the line of the user's file.
"""

import difflib
import functools
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.errors import ParityError, UsageError, UserCodeError
from parity.pairs import Pair

_SPEC = re.compile(r"(?P<place>.+?):(?P<attr>[^\W\d]\w*(\.[^\W\d]\w*)*)")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_NOT_THE_USERS = tuple(
    {
        *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(__file__).parent),
        "<frozen",
    }
)
_LONGEST = 300


def is_spec(text: str) -> bool:
    """Whether a text says where something is: "pkg.module:attr" or "path/to/file.py:attr"."""
    found = _SPEC.fullmatch(text)
    return bool(found) and is_place(found["place"])  # type: ignore[index]


def is_place(text: str) -> bool:
    """Whether a text names a Python file, or could name a module."""
    return text.endswith(".py") or bool(_MODULE.fullmatch(text))


def named(spec: str) -> Any:
    """What "pkg.module:attr" or "path/to/file.py:attr" is. Raises UsageError where there is no such thing.

    The current folder is searched before what is installed, and a file's own folder before that. Raises UserCodeError
    where the module fails while it is imported.
    """
    found = _SPEC.fullmatch(spec)
    if not found or not is_place(found["place"]):
        raise UsageError(f"{spec!r} names nothing; write pkg.module:attr or path/to/file.py:attr")
    thing: Any = module_of(found["place"])
    for attr in found["attr"].split("."):
        try:
            thing = getattr(thing, attr)
        except AttributeError:
            public = [name for name in vars(thing) if not name.startswith("_")] if hasattr(thing, "__dict__") else []
            near = difflib.get_close_matches(attr, public, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{found['place']} has no {found['attr']!r}{hint}") from None
    return thing


def module_of(place: str) -> ModuleType:
    """The module "pkg.module", or that of a Python file, imported once."""
    _importable(Path.cwd())
    return _module_of_file(place) if place.endswith(".py") else _module(place)


def resolved(thing: Any, what: str = "") -> Any:
    """A side of a pair as an object: what "module:attr" names is imported, and a builder is called.

    A builder is a function or class that needs no arguments. A torch module that it makes is put in eval mode, an
    object that was there before is not touched. Other strings (the path of a `.keras` file) and all other objects are
    returned as they are. `what` says which side it is. Raises UsageError where there is no such thing, UserCodeError
    where the user's code fails.
    """
    label = what or "the builder"
    if isinstance(thing, str):
        if not is_spec(thing):
            if thing.endswith(".py"):
                raise UsageError(f"{label} is {thing!r}; say what in that file: {thing}:name")
            return thing
        label = f"{label}, {thing}" if what else thing
        thing = named(thing)
    if not builds(thing, label):
        return thing
    with users_code(f"building {label}"):
        made = thing()
    return _in_eval_mode(made)


def both(pair: Pair) -> Pair:
    """A pair whose sides are objects, or paths of files. A pair that has them already comes back with the same ones."""
    return replace(
        pair,
        reference=resolved(pair.reference, f"the reference of {pair.name}"),
        port=resolved(pair.port, f"the port of {pair.name}"),
    )


def builds(thing: Any, label: str = "") -> bool:
    """Whether a thing is a builder. Raises UsageError for a class that needs arguments, which is neither side."""
    if not (inspect.isclass(thing) or inspect.isroutine(thing) or isinstance(thing, functools.partial)):
        return False
    needed = required(thing)
    if needed and inspect.isclass(thing):
        name = label or thing.__name__
        raise UsageError(f"{name} needs arguments ({', '.join(needed)}); name a function that gives them")
    takes_anything = any(each.kind is each.VAR_POSITIONAL for each in parameters(thing))
    return not needed and (inspect.isclass(thing) or not takes_anything)


def parameters(thing: Callable[..., Any]) -> list[inspect.Parameter]:
    """What a callable takes; nothing where Python does not know."""
    try:
        return list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return []


def required(thing: Callable[..., Any]) -> list[str]:
    """The parameters without which a callable cannot be called."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters(thing) if each.default is each.empty and each.kind not in variable]


@contextmanager
def users_code(doing: str) -> Iterator[None]:
    """Within it whatever the user's code raises becomes a UserCodeError that says where; parity's own errors pass."""
    try:
        yield
    except ParityError:
        raise
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split()) or "no reason given"
        words = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
        raise UserCodeError(f"{doing} failed with {type(error).__name__}: {words}{users_line(error)}") from error


def users_line(error: BaseException) -> str:
    """The line of the user's file that an exception came from, in words; "" where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    return f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _module(name: str) -> ModuleType:
    with users_code(f"importing {name}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                raise UsageError(f"no module is called {name!r}, neither in {Path.cwd()} nor installed") from None
            raise


def _module_of_file(place: str) -> ModuleType:
    """The module of a file, by the name it has in its package; that of another module stays that one's."""
    file = _file(place)
    for module in list(sys.modules.values()):
        known = getattr(module, "__file__", None)
        if isinstance(known, str) and known.endswith(file.name) and Path(known).resolve() == file:
            return module
    root, name = file.parent, file.stem
    while (root / "__init__.py").is_file():
        root, name = root.parent, f"{root.name}.{name}"
    _importable(root)
    with users_code(f"importing {place}"):
        if _MODULE.fullmatch(name):
            spec = importlib.util.find_spec(name)
            if spec and spec.origin and Path(spec.origin).resolve() == file:
                return importlib.import_module(name)
        return _loaded(file, f"parity_file_{zlib.crc32(str(file).encode()):x}_{file.stem}")


def _loaded(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _file(place: str) -> Path:
    """A Python file, from the current folder or from one that modules are imported from."""
    for folder in (Path.cwd(), *map(Path, sys.path)):
        if (folder / place).is_file():
            return (folder / place).resolve()
    raise UsageError(f"{place}: no such file in {Path.cwd()}")


def _in_eval_mode(made: Any) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(made, torch.nn.Module) and made.training:
        made.eval()
    return made
