"""What made a value in a run of a torch module: a call, which can be made again on other values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from parity.axes import Array, in_order
from parity.frameworks import torch, torch_tree


@dataclass(frozen=True)
class Read:
    """Stands in a call for the value of a tap, or of the network's input."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """What made a tap: `function` (a module, or a function of torch) on `args` and `kwargs`.

    A tensor that is a tap's value is a Read there; any other tensor (a parameter, a constant) is itself. `part` picks
    one value of several, of nested ones from the outside in.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    part: tuple[int | str, ...] = ()

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The taps it reads, in the order of its arguments; one that is read twice is there twice."""
        return tuple(leaf.name for leaf in torch_tree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Read))

    @property
    def repeatable(self) -> bool:
        """Whether it can be made again; a recorded one cannot."""
        return True

    def again(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The same call on other values of the taps it reads (the reference's layout)."""
        fill = lambda leaf: values[leaf.name].clone() if isinstance(leaf, Read) else leaf  # noqa: E731
        args, kwargs = torch_tree.tree_map(fill, (self.args, dict(self.kwargs)))
        with torch.no_grad():
            made = self.function(*args, **kwargs)
        for key in self.part:
            made = getattr(made, key) if isinstance(key, str) and not isinstance(made, Mapping) else made[key]
        result: torch.Tensor = made
        return result

    def on_arrays(self, values: Mapping[str, Array]) -> Array:
        """`again`, with arrays in and out."""
        made = self.again({name: torch.from_numpy(in_order(array)) for name, array in values.items()})
        return made.numpy()
