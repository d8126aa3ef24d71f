"""A user's pair, as the user's code defines it: the pair, and the inputs to compare it on."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from parity.errors import UsageError
from parity.lookup import is_spec, module_of, named, parameters, required, users_code
from parity.models.feeding import Feeding
from parity.models.settings import Settings
from parity.pairs import Input, Pair

TOLD = "takes no Settings, so it would not be told; give the function that returns the pair one parameter for them"


def load_own(name: str, thing: Any, settings: Settings, registered: Mapping[str, Any]) -> tuple[Pair, list[Input]]:
    """The pair that `thing` is, builds, or names, and its inputs as `settings` ask for them.

    `registered` has the entries of `@parity.pair`. Raises UsageError where it is not a pair, and for settings that it
    is not told of; UserCodeError where its code fails.
    """
    if isinstance(thing, str):
        thing = named(thing) if is_spec(thing) else _only_pair(thing, module_of(thing), registered)
    if isinstance(thing, Pair):
        _refuse_untold(name, settings)
        return _fed(settings.applied(thing), settings)
    if not callable(thing) or _side(thing):
        what = thing.__name__ if isinstance(thing, type) else f"a {type(thing).__name__}"
        words = f"{name} is {what}, not a parity.Pair, nor a function that returns one"
        raise UsageError(f"{words}{_one_side(name, thing)}")
    takes_settings = _takes_settings(name, thing)
    if not takes_settings:
        _refuse_untold(name, settings)
    with users_code(f"making the pair {name}"):
        made = thing(settings) if takes_settings else thing()
    pair, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(pair, Pair):
        words = f"{name} returned a {type(pair).__name__}, not a parity.Pair or (Pair, inputs)"
        raise UsageError(f"{words}{_one_side(name, pair)}")
    pair = settings.applied(pair)
    if given is not None and takes_settings and not settings.recorded:
        return pair, list(given)
    return _fed(pair, settings, given)


def _side(thing: Any) -> str:
    """Which side of a pair a thing is, a network of torch or of Keras or the class of one; "" for anything else."""
    return "reference" if hasattr(thing, "named_modules") else "port" if hasattr(thing, "_flatten_layers") else ""


def _one_side(name: str, thing: Any) -> str:
    """What to do with a network that was given for a pair; "" for anything else."""
    side = _side(thing)
    return f"; it is one side of a pair, which parity init --{side} {name} makes" if side else ""


def _fed(pair: Pair, settings: Settings, given: Sequence[Input] | None = None) -> tuple[Pair, list[Input]]:
    """The pair and its inputs: the recorded ones, or those that the settings ask for."""
    return (pair, list(settings.recorded)) if settings.recorded else Feeding(pair, settings, given).fed()


def _takes_settings(name: str, thing: Any) -> bool:
    """Whether a function that makes a pair has a parameter for the Settings."""
    needed = required(thing)
    if len(needed) > 1:
        raise UsageError(f"{name} needs {', '.join(needed)}; a function that makes a pair takes Settings, or nothing")
    return bool(needed) or any(each.name == "settings" for each in parameters(thing))


def _refuse_untold(name: str, settings: Settings) -> None:
    """Refuse what would be without effect, unless the user's function is told of it."""
    if settings.checkpoint is not None:
        raise UsageError(f"checkpoint {settings.checkpoint}: {name} {TOLD}")
    if settings.data_format != Settings().data_format:
        raise UsageError(f"data_format={settings.data_format}: {name} {TOLD}")


def _only_pair(place: str, module: ModuleType, registered: Mapping[str, Any]) -> Any:
    """The one pair that a module defines: an object, or a function with a name of its own."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Pair)}
    for name, entry in registered.items():
        if getattr(entry.builder, "__module__", None) == module.__name__:
            found[name] = entry.builder
    distinct = {id(value): value for value in found.values()}
    if len(distinct) != 1:
        what = f"the pairs {', '.join(found)}" if found else "no pair"
        raise UsageError(f"{place} defines {what}; say which it is: {place}:name")
    return next(iter(distinct.values()))
