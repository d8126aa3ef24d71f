"""Which function builds which kind of torch module or call in Keras.

A builder is one small function: `conv2d(layer, site, x)` takes the torch module, its place and the port's tensors, and
returns the port's result. What it cannot build exactly it refuses with a ConversionError that says why. Your own kind:

    @parity.building.builds(MyScale, layout="any")
    def my_scale(layer, site, x):
        return x * layer.factor
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, TypeVar

from parity.building.values import Site, Value, channels_order
from parity.converters.registry import kind_name
from parity.errors import ConversionError, UsageError
from parity.frameworks import keras, torch

Layout: TypeAlias = Literal["channels", "torch", "any", "values"]
"""How a builder wants the tensors it is given, and returns its own: a map's with the channels where the data format has
them; as torch has them; as they come, all alike (elementwise); or as Values, to look after itself."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A registered builder: what it is for (a module class, or a function such as `torch.relu`) and in which layout.

    `how` says in a few words what is built, `limits` what is refused or differs: both for `parity layers`. `moves_only`
    where nothing is computed, so that the port must be exact; `keeps_weights` where a parameter among its arguments is
    to be a weight of the port, not a constant.
    """

    of: Any
    function: Callable[..., Any]
    layout: Layout
    how: str
    limits: str = ""
    moves_only: bool = False
    keeps_weights: bool = False


_BUILDERS: dict[Any, Builder] = {}
BUILDERS: Mapping[Any, Builder] = MappingProxyType(_BUILDERS)
"""Every registered builder by what it is for; read-only, `builds` adds to it."""


def builds(
    *kinds: Any, layout: Layout, how: str = "", limits: str = "", moves_only: bool = False, keeps_weights: bool = False
) -> Callable[[Function], Function]:
    """Decorator: the function builds these module classes, functions or (by name) methods of tensors.

    Raises UsageError for a second one for the same.
    """

    def decorate(function: Function) -> Function:
        for kind in kinds:
            if kind in _BUILDERS:
                raise UsageError(f"{name_of(kind)} already has a builder: {_BUILDERS[kind].function.__name__}")
            _BUILDERS[kind] = Builder(
                of=kind, function=function, layout=layout, how=how, limits=limits, moves_only=moves_only,
                keeps_weights=keeps_weights,
            )  # fmt: skip
        return function

    return decorate


def builder_of(kind: Any) -> Builder:
    """The builder for exactly that kind. Raises ConversionError where there is none."""
    if kind not in _BUILDERS:
        raise ConversionError(f"No builder for {name_of(kind)}. Add one with @parity.building.builds.")
    return _BUILDERS[kind]


def name_of(kind: Any) -> str:
    """What people call it: `torch.nn.Conv2d`, `torch.nn.functional.interpolate`, `Tensor.view`."""
    if isinstance(kind, str):
        return f"Tensor.{kind}"
    if isinstance(kind, type) and issubclass(kind, torch.nn.Module):
        return kind_name(kind)
    return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__name__', kind)}".lstrip(".")


def build(module: torch.nn.Module, site: Site, *args: Any, **kwargs: Any) -> Any:
    """The port's result of a module on Values (and constants): a Value, or a tuple of Values.

    Raises ConversionError for a kind without a builder, and for settings that its builder refuses.
    """
    return apply(builder_of(type(module)), site, args, kwargs, module)


def apply(builder: Builder, site: Site, args: Sequence[Any], kwargs: Mapping[str, Any], *of: Any) -> Any:
    """Call a builder on Values in the layout that it wants. `of` is the module, and nothing for a call."""
    if builder.layout == "values":
        return builder.function(*of, site, *args, **kwargs)
    first = next(each for each in (*args, *kwargs.values()) if isinstance(each, Value))

    def given(each: Any) -> Any:
        if not isinstance(each, Value):
            return each
        return each.moved(_wanted(builder, site, each, first))

    site = replace(site, order=_wanted(builder, site, first, first))
    result = builder.function(*of, site, *map(given, args), **{key: given(each) for key, each in kwargs.items()})
    return _as_values(result, builder, site)


def _wanted(builder: Builder, site: Site, value: Value, first: Value) -> tuple[int, ...]:
    rank = len(value.order)
    if builder.layout == "channels":
        return channels_order(rank, site.data_format)
    if builder.layout == "any" and len(first.order) == rank:
        return first.order
    return tuple(range(rank))


def _as_values(result: Any, builder: Builder, site: Site) -> Any:
    if isinstance(result, (tuple, list)):
        return tuple(_as_values(each, builder, site) for each in result)
    rank = len(keras.ops.shape(result))
    if builder.layout == "channels":
        return Value(result, channels_order(rank, site.data_format))
    if builder.layout == "any" and rank == len(site.order):
        return Value(result, site.order)
    return Value.plain(result)
