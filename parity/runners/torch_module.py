"""Runs a torch module and gives its taps: every leaf module, and every functional operation outside of one.

Modules are tapped by forward hooks, operations by a TorchFunctionMode. A sink sees each value at the moment it is made,
before an in-place activation can overwrite it, and nothing is kept that the sink does not keep. What is kept of every
tap is its *call*: what was called, with what, reading which other taps; a call can be made again on other values.
"""

import copy
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import TorchFunctionMode, torch, torch_tree
from parity.pair import INPUT
from parity.runners.float64 import StripConvolution
from parity.runners.taps import MOVES_ONLY, Numbering, Tap, Trace, kind_of, positions

Sink = Callable[[Tap, torch.Tensor], None]

# fmt: off
NOT_TAPPED = frozenset({
    "contiguous", "clone", "detach", "to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "size",
    "requires_grad", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
    "new_zeros", "new_ones", "new_empty", "new_full",
})
"""Functions that make no value of their own, by name without underscores around it."""
SAME_VALUES = frozenset({"contiguous", "clone", "detach", "to", "float", "double", "cpu"})
"""Of these, the ones whose result stands for their input."""
# fmt: on


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
    part: tuple[int, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The taps it reads, in the order of its arguments; one that is read twice is there twice."""
        return tuple(leaf.name for leaf in torch_tree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Read))

    def again(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The same call on other values of the taps it reads (the reference's layout)."""
        fill = lambda leaf: values[leaf.name].clone() if isinstance(leaf, Read) else leaf  # noqa: E731
        args, kwargs = torch_tree.tree_map(fill, (self.args, dict(self.kwargs)))
        with torch.no_grad():
            made = self.function(*args, **kwargs)
        for index in self.part:
            made = made[index]
        result: torch.Tensor = made
        return result


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run leaves: the output, its tap, other names of taps (a container's is its last child's), every call."""

    output: torch.Tensor
    output_tap: str
    aliases: Mapping[str, str]
    calls: Mapping[str, Call]


class TorchModule:
    """A reference that can be run. `module` must be in evaluation mode; it is never changed.

    Raises PairError for a module in training mode: dropout and batch statistics would make it another network.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        training = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
        if training:
            raise PairError(
                f"the reference is in training mode ({training[0]!r}{' and others' if training[1:] else ''}); "
                f"call .eval() on it: parity compares what will be run"
            )
        self.module = module
        self._float64: torch.nn.Module | None = None
        self._taps: dict[tuple[tuple[int, ...], str], Trace] = {}
        self._calls: dict[tuple[tuple[int, ...], str], Mapping[str, Call]] = {}

    def run(self, array: Array, sink: Sink, *, float64: bool = False) -> Ran:
        """Run on `array` (the reference's layout), showing each tap's value to `sink` as it is made."""
        module = self._in_float64() if float64 else self.module
        value = torch.from_numpy(np.array(array, order="C", copy=True))  # the reference may write into its input
        value = value.double() if float64 and value.is_floating_point() else value
        recorder = _Recorder(module, sink, value)
        with torch.no_grad(), ExitStack() as stack:
            if float64:
                stack.enter_context(StripConvolution())
            stack.enter_context(recorder.hooked())
            output = _called(module, value)
        if not isinstance(output, torch.Tensor):
            raise PairError(
                f"the reference returns {type(output).__name__}; only a single tensor can be compared so far"
            )
        return Ran(output=output, output_tap=recorder.name_of(output), aliases=recorder.aliases, calls=recorder.calls)

    def taps(self, array: Array) -> Trace:
        """The taps a run on `array` has, without samples; found by one run for each shape."""
        key = (array.shape, array.dtype.str)
        if key not in self._taps:
            taps: list[Tap] = []
            ran = self.run(array, lambda tap, value: taps.append(tap))
            self._taps[key] = _trace(taps, ran)
            self._calls[key] = ran.calls
        return replace(self._taps[key], samples={})

    def calls(self, array: Array) -> Mapping[str, Call]:
        """How each tap is made in a run on `array`."""
        self.taps(array)
        return self._calls[array.shape, array.dtype.str]

    def values(self, array: Array, names: Collection[str]) -> dict[str, Array]:
        """The whole values of some taps in a run on `array`, or of its input under the name INPUT."""
        kept: dict[str, Array] = {INPUT: array} if INPUT in names else {}

        def keep(tap: Tap, value: torch.Tensor) -> None:
            if tap.name in names:
                kept[tap.name] = value.numpy().copy()

        self.run(array, keep)
        return kept

    def sample(self, array: Array, *, float64: bool = False) -> Trace:
        """Run and keep a sample of each tap, at `taps.positions` of its shape, and the whole output."""
        taps: list[Tap] = []
        samples: dict[str, Array] = {}

        def keep(tap: Tap, value: torch.Tensor) -> None:
            taps.append(tap)
            samples[tap.name] = sampled(value)

        ran = self.run(array, keep, float64=float64)
        return replace(_trace(taps, ran), samples=samples, output=ran.output.numpy())

    def _in_float64(self) -> torch.nn.Module:
        if self._float64 is None:
            self._float64 = copy.deepcopy(self.module).double()
        return self._float64


def _trace(taps: Sequence[Tap], ran: Ran) -> Trace:
    """The taps of a run, but for parts of a value that nothing reads: the final states of an LSTM."""
    read = {name for call in ran.calls.values() for name in call.reads}
    kept = [tap for tap in taps if not ran.calls[tap.name].part or tap.name in read or tap.name == ran.output_tap]
    return Trace(taps=kept, aliases=dict(ran.aliases), output_tap=ran.output_tap)


def _called(module: torch.nn.Module, value: torch.Tensor) -> Any:
    """What the module makes of the value. What torch refuses to run becomes a PairError of one sentence."""
    try:
        return module(value)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PairError(f"the reference cannot run on {value.dtype} of shape {tuple(value.shape)}: {reason}") from error


def sampled(value: torch.Tensor) -> Array:
    """The values of `value` at the positions of its shape, as an array of their own."""
    chosen = torch.from_numpy(positions(tuple(value.shape)))
    sample: Array = value.reshape(-1).index_select(0, chosen).numpy()
    return sample


class _Recorder(TorchFunctionMode):
    """Names and shows each value once: leaf modules by their path, other operations by `scope.function`."""

    def __init__(self, module: torch.nn.Module, sink: Sink, start: torch.Tensor) -> None:
        super().__init__()
        self.aliases: dict[str, str] = {}
        self.calls: dict[str, Call] = {}
        self._module = module
        self._sink = sink
        self._number = Numbering()
        self._scope: list[tuple[str, Call]] = []
        self._silent = 0
        self._names = _Names()
        self._names.give(start, INPUT)
        self._last: tuple[torch.Tensor, int, str] | None = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Record while the block runs; the module's hooks are gone afterwards, whatever happened."""
        handles = []
        try:
            for name, child in self._module.named_modules():
                leaf = _is_leaf(child)
                handles.append(child.register_forward_pre_hook(self._enter(name, leaf), with_kwargs=True))
                handles.append(child.register_forward_hook(self._leave(name, leaf), always_call=False))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def name_of(self, output: torch.Tensor) -> str:
        """The tap whose value `output` is. Raises PairError if it is none: then nothing could be compared to it."""
        name = self._names.of(output)
        if name in self.calls:
            return name
        raise PairError("the reference's output is not the value of its last operation, so it has no tap")

    def _enter(self, name: str, leaf: bool) -> Callable[..., None]:
        def enter(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self._scope.append((name, self._call(module, args, kwargs)))
            self._silent += leaf

        return enter

    def _leave(self, name: str, leaf: bool) -> Callable[..., None]:
        def leave(module: torch.nn.Module, args: Any, output: Any) -> None:
            _, call = self._scope.pop()
            self._silent -= leaf
            if not self._silent:
                weighted = leaf and any(True for _ in module.parameters(recurse=False))
                self._show(name, kind_of(type(module).__name__), output, call, weighted=weighted)

        return leave

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "").strip("_")
        tapped = not self._silent and name not in NOT_TAPPED and name != "get" and _computes(args, kwargs)
        call = self._call(func, args, kwargs or {}) if tapped else None
        result = func(*args, **(kwargs or {}))
        if call is not None:
            scope = [self._scope[-1][0]] if self._scope else []
            self._show(".".join(filter(None, [*scope, name])), kind_of(name), result, call)
        elif not self._silent and name in SAME_VALUES and torch.is_tensor(result):
            self._names.give(result, self._names.of(args[0]))
            if self._is_last(args[0]):
                assert self._last is not None
                self._last = (result, result._version, self._last[2])
        return result

    def _call(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        def named(leaf: Any) -> Any:
            name = self._names.of(leaf) if isinstance(leaf, torch.Tensor) else None
            return leaf if name is None else Read(name)

        self._silent += 1
        try:
            args, kwargs = torch_tree.tree_map(named, (tuple(args), dict(kwargs)))
        finally:
            self._silent -= 1
        return Call(function=function, args=tuple(args), kwargs=kwargs)

    def _show(self, name: str, kind: str, value: Any, call: Call, *, weighted: bool = False) -> None:
        if isinstance(value, (tuple, list)):
            for index, part in enumerate(value):
                inner = replace(call, part=(*call.part, index))
                self._show(f"{name}[{index}]", kind, part, inner, weighted=weighted)
            return
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return
        known = self._names.of(value)
        if known is not None and known != INPUT:
            self.aliases[name] = known
            return
        numbered = self._number(name)
        self._last = (value, value._version, numbered)
        self._names.give(value, numbered)
        self.calls[numbered] = call
        tap = Tap(
            name=numbered,
            kind=kind,
            shape=tuple(value.shape),
            weighted=weighted,
            moves_only=kind in MOVES_ONLY,
            reads=call.reads,
            weights=lambda: _weights(call.function),
        )
        self._silent += 1
        try:
            self._sink(tap, value)
        finally:
            self._silent -= 1

    def _is_last(self, value: Any) -> bool:
        return self._last is not None and value is self._last[0] and value._version == self._last[1]


class _Names:
    """Which tap a tensor is the value of: until it is freed, or written into."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int, str]] = {}

    def give(self, tensor: torch.Tensor, name: str | None) -> None:
        """From now on `tensor`, as it is, is the value of `name`."""
        if name is not None:
            self._known[id(tensor)] = (weakref.ref(tensor), tensor._version, name)

    def of(self, tensor: Any) -> str | None:
        """The tap that `tensor` is the value of, if any."""
        if id(tensor) not in self._known:
            return None
        held, version, name = self._known[id(tensor)]
        alive = held()
        return name if alive is not None and alive is tensor and alive._version == version else None


def _is_leaf(module: torch.nn.Module) -> bool:
    """A module that is one layer: it has no children, and is torch's own or holds parameters itself."""
    if next(module.children(), None) is not None:
        return False
    own = type(module).__module__.startswith("torch.nn.")
    return own or next(module.parameters(recurse=False), None) is not None


def _weights(function: Any) -> list[Array]:
    """The weights of a layer, its statistics too; none of a function, or of a counter of training steps."""
    if not isinstance(function, torch.nn.Module):
        return []
    state = function.state_dict(keep_vars=True)
    return [tensor.detach().cpu().numpy() for tensor in state.values() if tensor.is_floating_point()]


def _computes(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bool:
    """Whether a floating-point tensor goes in: factory functions and index arithmetic are no taps."""
    values = [*args, *(kwargs or {}).values()]
    flat = [item for value in values for item in (value if isinstance(value, (tuple, list)) else [value])]
    return any(isinstance(item, torch.Tensor) and item.is_floating_point() for item in flat)
