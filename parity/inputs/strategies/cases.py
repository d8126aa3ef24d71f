"""A case: a torch module with settings and weights, and an input for it. One registry of how to draw them by kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from parity.axes import Array
from parity.errors import UsageError
from parity.frameworks import torch
from parity.pairs import INPUT, Input

LAYOUTS = {1: "NCL", 2: "NCHW", 3: "NCTHW"}
"""The axes of maps in torch, by how many of space they have."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A module in inference mode with seeded weights, an input for it, and the axes that the input has, by name; `kind`
    is what cases of it are called."""

    module: torch.nn.Module
    given: Input
    layouts: Mapping[str, str]
    kind: str = ""

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{name} {array.dtype} {array.shape} {self.layouts[name]}" for name, array in self.given.arrays.items()
        )
        return f"Case({self.module!r} on {shapes}; {self.given.origin})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Have Hypothesis print it in one line, not field by field."""
        printer.text(repr(self))


Function = TypeVar("Function", bound=Callable[..., Any])

_CASES: dict[str, tuple[Any, Callable[[], st.SearchStrategy[Case]]]] = {}
CASES: Mapping[str, tuple[Any, Callable[[], st.SearchStrategy[Case]]]] = MappingProxyType(_CASES)
"""By the kind's short name (`conv2d`): the class or function it is of, and a function that gives its cases."""


def cases_of(kind: Any, name: str) -> Callable[[Function], Function]:
    """Decorator: the function (of hypothesis's `draw`) draws cases of a module class, or of a function such as
    `torch.nn.functional.grid_sample`, called `name` on the command line. Raises UsageError for a name that is taken."""

    def decorate(function: Function) -> Function:
        if name in _CASES:
            raise UsageError(f"cases of {name!r} are registered already")
        _CASES[name] = (kind, st.composite(function))
        return function

    return decorate


def cases(kind: Any) -> st.SearchStrategy[Case]:
    """Cases of a kind, by its class (`torch.nn.Conv2d`), function or short name (`"conv2d"`)."""
    for name, (of, strategy) in _CASES.items():
        if kind in (name, of):
            return strategy().map(partial(replace, kind=name))
    raise UsageError(f"no cases of {kind!r}; add them with @parity.inputs.strategies.cases_of")


def seeded(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The module in inference mode, every weight and running statistic drawn from the seed; variances are positive."""
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                continue
            values = generator.standard_normal(tuple(tensor.shape)) / max(1.0, np.sqrt(tensor.numel() / len(tensor)))
            if name.endswith("running_var"):
                values = 0.5 + np.abs(values)
            tensor.copy_(torch.from_numpy(np.asarray(values, np.float32)))
    return module.eval()


STYLES: Mapping[str, Callable[[np.random.Generator, Sequence[int]], Array]] = MappingProxyType(
    {
        "noise": lambda generator, shape: generator.standard_normal(shape),
        "zero": lambda generator, shape: np.zeros(shape),
        "negative": lambda generator, shape: -np.abs(generator.standard_normal(shape)),
        "large": lambda generator, shape: 1e4 * generator.standard_normal(shape),
        "small": lambda generator, shape: 1e-6 * generator.standard_normal(shape),
        "sparse": lambda generator, shape: generator.standard_normal(shape) * (generator.random(shape) < 0.3),
    }
)
"""Kinds of values: hypothesis draws one and a seed, so that shrinking leads to plain noise."""


@st.composite
def arrays(draw: st.DrawFn, shape: Sequence[int], styles: Sequence[str] = tuple(STYLES)) -> tuple[Array, str]:
    """A float32 array of that shape, and what is in it in words."""
    style, seed = draw(st.sampled_from(styles)), draw(st.integers(0, 2**16))
    values = STYLES[style](np.random.default_rng(seed), tuple(shape))
    return np.asarray(values, np.float32), f"{style}, seed {seed}"


def case(
    draw: st.DrawFn, module: torch.nn.Module, shape: Sequence[int], layout: str, styles: Sequence[str] = tuple(STYLES)
) -> Case:
    """A case of a module that takes one float32 tensor."""
    module = seeded(module, draw(st.integers(0, 2**16)))
    array, says = draw(arrays(shape, styles))
    return Case(module=module, given=Input(name=says, array=array, origin=says), layouts={INPUT: layout})


class Call(torch.nn.Module):
    """A function of one tensor, with its settings, as a module: traced, it is that one call."""

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, input: torch.Tensor) -> Any:
        """What the function makes of it."""
        return self.function(input, **self.settings)

    def extra_repr(self) -> str:
        """The call."""
        return ", ".join([self.function.__name__, *(f"{key}={value!r}" for key, value in self.settings.items())])


class CallOfTwo(Call):
    """A function of two tensors as a module."""

    def forward(self, input: torch.Tensor, other: torch.Tensor) -> Any:  # type: ignore[override]
        """What the function makes of both."""
        return self.function(input, other, **self.settings)
