"""Runs a torch module and gives its taps: every leaf module, and every functional operation outside of one.

Modules are tapped by forward hooks, operations by a TorchFunctionMode. A sink sees each value at the moment it is made,
before an in-place activation can overwrite it, and nothing is kept that the sink does not keep.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import TorchFunctionMode, torch
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

    def run(self, array: Array, sink: Sink, *, float64: bool = False) -> tuple[torch.Tensor, Mapping[str, str], str]:
        """Run on `array` (the reference's layout), showing each tap's value to `sink` as it is made.

        Returns the output, the taps' other names (a container's output is its last child's), and the output's tap.
        """
        module = self._in_float64() if float64 else self.module
        value = torch.from_numpy(np.array(array, order="C", copy=True))  # the reference may write into its input
        value = value.double() if float64 and value.is_floating_point() else value
        recorder = _Recorder(module, sink)
        with torch.no_grad(), ExitStack() as stack:
            if float64:
                stack.enter_context(StripConvolution())
            stack.enter_context(recorder.hooked())
            output = _called(module, value)
        if not isinstance(output, torch.Tensor):
            raise PairError(
                f"the reference returns {type(output).__name__}; only a single tensor can be compared so far"
            )
        return output, recorder.aliases, recorder.name_of(output)

    def taps(self, array: Array) -> Trace:
        """The taps a run on `array` has, without samples; found by one run for each shape."""
        key = (array.shape, array.dtype.str)
        if key not in self._taps:
            trace = Trace()
            _, trace.aliases, trace.output_tap = self.run(array, lambda tap, value: trace.taps.append(tap))  # type: ignore[assignment]
            self._taps[key] = trace
        return replace(self._taps[key], samples={})

    def sample(self, array: Array, *, float64: bool = False) -> Trace:
        """Run and keep a sample of each tap, at `taps.positions` of its shape, and the whole output."""
        trace = Trace()

        def keep(tap: Tap, value: torch.Tensor) -> None:
            trace.taps.append(tap)
            trace.samples[tap.name] = sampled(value)

        output, trace.aliases, trace.output_tap = self.run(array, keep, float64=float64)  # type: ignore[assignment]
        trace.output = output.numpy()
        return trace

    def _in_float64(self) -> torch.nn.Module:
        if self._float64 is None:
            self._float64 = copy.deepcopy(self.module).double()
        return self._float64


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

    def __init__(self, module: torch.nn.Module, sink: Sink) -> None:
        super().__init__()
        self.aliases: dict[str, str] = {}
        self._module = module
        self._sink = sink
        self._number = Numbering()
        self._scope: list[str] = []
        self._silent = 0
        self._last: tuple[torch.Tensor, int, str] | None = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Record while the block runs; the module's hooks are gone afterwards, whatever happened."""
        handles = []
        try:
            for name, child in self._module.named_modules():
                handles.append(child.register_forward_pre_hook(self._enter(name, _is_leaf(child))))
                handles.append(child.register_forward_hook(self._leave(name, _is_leaf(child)), always_call=False))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def name_of(self, output: torch.Tensor) -> str:
        """The tap whose value `output` is. Raises PairError if it is none: then nothing could be compared to it."""
        if self._is_last(output) and self._last is not None:
            return self._last[2]
        raise PairError("the reference's output is not the value of its last operation, so it has no tap")

    def _enter(self, name: str, leaf: bool) -> Callable[..., None]:
        def enter(module: torch.nn.Module, args: Any) -> None:
            self._scope.append(name)
            self._silent += leaf

        return enter

    def _leave(self, name: str, leaf: bool) -> Callable[..., None]:
        def leave(module: torch.nn.Module, args: Any, output: Any) -> None:
            self._scope.pop()
            self._silent -= leaf
            if not self._silent:
                weighted = leaf and any(True for _ in module.parameters(recurse=False))
                self._show(name, kind_of(type(module).__name__), output, weighted=weighted)

        return leave

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").strip("_")
        if not self._silent and name not in NOT_TAPPED and name != "get" and _computes(args, kwargs):
            self._show(".".join(filter(None, [*self._scope[-1:], name])), kind_of(name), result)
        elif not self._silent and name in SAME_VALUES and torch.is_tensor(result) and self._is_last(args[0]):
            assert self._last is not None
            self._last = (result, result._version, self._last[2])
        return result

    def _show(self, name: str, kind: str, value: Any, *, weighted: bool = False) -> None:
        if isinstance(value, (tuple, list)):
            for index, part in enumerate(value):
                self._show(f"{name}[{index}]", kind, part, weighted=weighted)
            return
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return
        if self._is_last(value) and self._last is not None:
            self.aliases[name] = self._last[2]
            return
        numbered = self._number(name)
        self._last = (value, value._version, numbered)
        tap = Tap(name=numbered, kind=kind, shape=tuple(value.shape), weighted=weighted, moves_only=kind in MOVES_ONLY)
        self._silent += 1
        try:
            self._sink(tap, value)
        finally:
            self._silent -= 1

    def _is_last(self, value: Any) -> bool:
        return self._last is not None and value is self._last[0] and value._version == self._last[1]


def _is_leaf(module: torch.nn.Module) -> bool:
    """A module that is one layer: it has no children, and is torch's own or holds parameters itself."""
    if next(module.children(), None) is not None:
        return False
    own = type(module).__module__.startswith("torch.nn.")
    return own or next(module.parameters(recurse=False), None) is not None


def _computes(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bool:
    """Whether a floating-point tensor goes in: factory functions and index arithmetic are no taps."""
    values = [*args, *(kwargs or {}).values()]
    flat = [item for value in values for item in (value if isinstance(value, (tuple, list)) else [value])]
    return any(isinstance(item, torch.Tensor) and item.is_floating_point() for item in flat)
