"""What is compared with what: a reference, a port, and how their tensors and layers correspond."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from parity.axes import Array, Axes
from parity.errors import InputError
from parity.tolerance import Policy
from parity.trees import leaves, rebuilt

INPUT = "input"
"""The name under which a network's only input is read; of several, each has its way into the call behind it."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a network is run on, in the reference's layout: one array, or all that its call takes.

    `array` is float32 (or integer, for tokens; bool, for masks), shaped as the reference takes it. A network of
    several inputs is given `args` and `kwargs` instead, trees of arrays (tuples, mappings, dataclasses) and constants
    that it is called with; `array` is then the first of them. `origin` says where it came from, in words a report can
    print. Non-finite values are allowed here: they are reported as a finding, not refused.
    """

    name: str
    array: Array = field(default_factory=lambda: np.empty(0))
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        """Refuse what no network can take."""
        if not self.args and not self.kwargs:
            object.__setattr__(self, "args", (self.array,))
        if not self.arrays:
            raise InputError(f"input {self.name!r} holds no array; a network cannot be run on constants alone")
        object.__setattr__(self, "array", next(iter(self.arrays.values())))
        for name, array in self.arrays.items():
            what = f"input {self.name!r}" if name == INPUT else f"{name} of input {self.name!r}"
            if array.size == 0:
                raise InputError(f"{what} is empty: shape {array.shape}")
            if array.dtype == np.float64:
                raise InputError(f"{what} is float64; networks run in float32: use array.astype(np.float32)")

    @cached_property
    def arrays(self) -> Mapping[str, Array]:
        """Every array by name: INPUT if there is one, else `input[0]`, `input.mask`, `input[1].left`, in order."""
        found = {name: leaf for name, leaf in self._leaves() if isinstance(leaf, np.ndarray)}
        return {INPUT: next(iter(found.values()))} if len(found) == 1 else found

    def filled(self, change: Callable[[str, Array], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """`args` and `kwargs` with `change(name, array)` in place of each array, by the names of `arrays`."""
        only = len(self.arrays) == 1

        def fill(name: str, leaf: Any) -> Any:
            return change(INPUT if only else name, leaf) if isinstance(leaf, np.ndarray) else leaf

        kwargs = {key: rebuilt(value, f"{INPUT}.{key}", fill) for key, value in self.kwargs.items()}
        return tuple(rebuilt(value, f"{INPUT}[{i}]", fill) for i, value in enumerate(self.args)), kwargs

    def changed(self, change: Callable[[str, Array], Array], **fields: Any) -> "Input":
        """Another input of the same structure, with `change(name, array)` in place of each array."""
        args, kwargs = self.filled(change)
        return Input(**{"name": self.name, "origin": self.origin, **fields}, args=args, kwargs=kwargs)

    def _leaves(self) -> Iterator[tuple[str, Any]]:
        yield from leaves(self.args, INPUT)
        for key, value in self.kwargs.items():
            yield from leaves(value, f"{INPUT}.{key}")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A reference in torch and its port to Keras or TensorFlow.

    Either side is the network itself, or says where it is: a function without arguments that makes it, or
    "module:attr" or "file.py:attr" for such a function or the network; a port may be the path of a `.keras` file.

    `layers` maps reference tap names (module paths such as `conv0.0`, functional operations such as `cat#2`) to port
    layer names, or is the path of a YAML file that does; a tuple of taps is computed in one port layer, one tap in a
    list of port layers. None, or a partial map, leaves the rest to alignment. `axes` declares layouts, whole or by name
    (`{"input": "NLC"}`); the others follow from the kinds of the layers. `tolerances`
    overrides the policy for single layers, each with its why. `waived` names taps and outputs that may stay unmatched,
    an output by what holds it as well (`output.cache`).
    `multiple` says that the reference takes any height and width that are multiples of it: the noise of a large input
    is then measured on its centre. `inputs` are the inputs to verify on, or a function without arguments that makes
    them. `input_map` and `output_map` say, where names and order do not, which input (`input[1]`, `input.mask`) and
    which output (`output[0]`, `output.flow`) of the reference answers to which of the port's, by the same kind of name
    or by the name Keras has for it. `transfer` says that the port has fresh weights, to be filled with the reference's;
    as a map it also says which port layers take a module's weights without answering to it.
    """

    name: str
    reference: Any
    port: Any
    layers: Mapping[str, str] | None = None
    axes: Axes = field(default_factory=Axes)
    tolerances: Mapping[str, Policy] = field(default_factory=dict)
    waived: frozenset[str] = frozenset()
    multiple: int | None = None
    inputs: Sequence[Input] | Callable[[], Sequence[Input]] = ()
    input_map: Mapping[str, str] = field(default_factory=dict)
    output_map: Mapping[str, str] = field(default_factory=dict)
    transfer: bool | Mapping[str, str] = False

    def __post_init__(self) -> None:
        """Take layouts by name alone (`axes={"input": "NLC"}`) as well. Raises PairError for other things."""
        object.__setattr__(self, "axes", Axes.given(self.axes))
