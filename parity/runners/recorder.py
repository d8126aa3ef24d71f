"""Watches a torch module run: names every value once, and keeps the call that made it.

Modules are tapped by forward hooks, operations by a TorchFunctionMode. A sink sees each value at the moment it is made,
before an in-place activation can overwrite it, and nothing is kept that the sink does not keep.
"""

import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import TorchFunctionMode, torch, torch_tree
from parity.parametrized import class_of, holds_weights, in_layers, layers_in, plain
from parity.runners.calls import Call, Read
from parity.runners.taps import MOVES_ONLY, Numbering, Tap, kind_of
from parity.trees import children
from parity.watch import REFERENCE, Step, tell

Sink = Callable[[Tap, torch.Tensor], None]

# fmt: off
NOT_TAPPED = frozenset({
    "contiguous", "clone", "detach", "to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "size",
    "requires_grad", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
    "new_zeros", "new_ones", "new_empty", "new_full",
})
"""Functions that make no value of their own, by name without underscores around it."""
PROPERTIES = frozenset({"T", "mT", "H", "mH", "real", "imag"})
"""Properties of tensors that make a value."""
SAME_VALUES = frozenset({"contiguous", "clone", "detach", "to", "float", "double", "cpu"})
"""Of these, the ones whose result stands for their input."""
# fmt: on
_NO_TREES = (torch.Tensor, int, float, str, type(None), torch.dtype)


class Recorder(TorchFunctionMode):
    """Names and shows each value once: leaf modules by their path, other operations by `scope.function`."""

    def __init__(self, module: torch.nn.Module, sink: Sink) -> None:
        super().__init__()
        self.aliases: dict[str, str] = {}
        self.calls: dict[str, Call] = {}
        self._module = module
        self._sink = sink
        self._number = Numbering()
        self._scope: list[tuple[str, Call]] = []
        self._silent = 0
        self._names = _Names()
        self._starts: set[str] = set()
        self._whole: dict[int, tuple[weakref.ref[torch.Tensor], str, str, Call]] = {}
        """Whole numbers by identity, and what made them."""
        self._last: tuple[torch.Tensor, int, str] | None = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Record while the block runs; the module's hooks are gone afterwards, whatever happened."""
        handles = []
        try:
            for name, child in in_layers(self._module):
                leaf = _is_leaf(child)
                handles.append(child.register_forward_pre_hook(self._enter(name, leaf), with_kwargs=True))
                handles.append(child.register_forward_hook(self._leave(name, leaf), always_call=False))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def start(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Take a tensor that the module is about to be given, under the name of an input."""
        self._names.give(tensor, name)
        self._starts.add(name)
        return tensor

    def name_of(self, output: str, value: torch.Tensor) -> str:
        """The tap whose value an output is; whole numbers, which are no taps on the way, become one.

        Raises PairError if it is none: then nothing could be compared to it.
        """
        name = self._names.of(value)
        if name in self.calls:
            return name
        if name is None and (made := self._whole.get(id(value))) and made[0]() is value:
            return self._record(*made[1:], False, value)
        if name in self._starts:
            raise PairError(f"the reference's {output} is its {name}, untouched; there is nothing to compare")
        raise PairError(f"the reference's {output} is not the value of its last operation, so it has no tap")

    @contextmanager
    def watching(self, wanted: bool) -> Iterator[None]:
        """Record what the block calls, or do not, whether or not this recorder is at work around it."""
        if not wanted:
            self._silent += 1
            try:
                yield
            finally:
                self._silent -= 1
        elif any(mode is self for mode in _modes_at_work()):
            yield
        else:
            with self:
                yield

    def known_as(self, value: torch.Tensor) -> str:
        """The tap that a tensor is the value of; nothing if it is none's."""
        return self._names.of(value) or ""

    def left(self, name: str, module: torch.nn.Module, made: Any) -> None:
        """A module that was followed on values which only stood for its own: what it made."""
        leaf = _is_leaf(module)
        if not self._silent:
            kind = kind_of(class_of(module).__name__)
            self._show(name, kind, made, self._call(module, (), {}), weighted=leaf and holds_weights(module))

    def _enter(self, name: str, leaf: bool) -> Callable[..., None]:
        def enter(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            self._scope.append((name, self._call(module, args, kwargs)))
            self._silent += leaf
            if leaf:
                tell(Step(side=REFERENCE, doing=f"running {name!r}"))

        return enter

    def _leave(self, name: str, leaf: bool) -> Callable[..., None]:
        def leave(module: torch.nn.Module, args: Any, output: Any) -> None:
            _, call = self._scope.pop()
            self._silent -= leaf
            if not self._silent:
                self._show(
                    name, kind_of(class_of(module).__name__), output, call, weighted=leaf and holds_weights(module)
                )

        return leave

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = _name_of(func)
        tapped = not self._silent and name and name not in NOT_TAPPED and _takes(args, kwargs)
        scope = [self._scope[-1][0]] if self._scope else []
        named = ".".join(filter(None, [*scope, name]))
        call = self._call(func, args, kwargs or {}) if tapped else None
        if tapped and not name.startswith("is_"):  # questions that parity itself asks among them
            tell(Step(side=REFERENCE, doing=f"running {named!r}"))
        result = func(*args, **(kwargs or {}))
        if call is not None:
            if _computes(args, kwargs):
                self._show(named, kind_of(name), result, call)
            else:
                self._note(named, kind_of(name), result, call)
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
            if all(isinstance(each, _NO_TREES) for each in (*args, *kwargs.values())):  # nearly always, and faster
                args, kwargs = tuple(map(named, args)), {key: named(value) for key, value in kwargs.items()}
            else:
                args, kwargs = torch_tree.tree_map(named, (tuple(args), dict(kwargs)))
        finally:
            self._silent -= 1
        return Call(function=function, args=tuple(args), kwargs=kwargs)

    def _show(self, name: str, kind: str, value: Any, call: Call, *, weighted: bool = False) -> None:
        """Name and show every tensor in what a call made."""
        parts = _parts(value)
        for key, written, part in parts:
            self._show(f"{name}{written}", kind, part, replace(call, part=(*call.part, key)), weighted=weighted)
        if parts or not isinstance(value, torch.Tensor):
            return
        if not value.is_floating_point():
            self._note(name, kind, value, call)
            return
        if 0 in value.shape:
            return  # there is nothing to compare
        known = self._names.of(value)
        if known is not None and known not in self._starts:
            self.aliases[name] = known
            return
        if known is not None and call.function is self._module and not _is_leaf(self._module):
            return  # an input that is handed back untouched
        self._record(name, kind, call, weighted, value)

    def _note(self, name: str, kind: str, value: Any, call: Call) -> None:
        """Keep in mind what made whole numbers: they are a tap only if they turn out to be an output."""
        if isinstance(value, torch.Tensor) and not value.is_floating_point():
            known = self._whole.get(id(value))
            if known is None or known[0]() is not value:
                self._whole[id(value)] = (weakref.ref(value), name, kind, call)

    def _record(self, name: str, kind: str, call: Call, weighted: bool, value: torch.Tensor) -> str:
        """Make a value a tap, and show it; the tap's name."""
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
        return numbered

    def _is_last(self, value: Any) -> bool:
        return self._last is not None and value is self._last[0] and value._version == self._last[1]


def _modes_at_work() -> list[Any]:
    """The modes that see what torch is called with now."""
    stack: list[Any] = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return stack


def _parts(value: Any) -> list[tuple[int | str, str, Any]]:
    """What a tuple, a mapping or a dataclass holds: its key, how that is written behind a name, the part."""
    if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
        return [(name.removeprefix("."), name, part) for name, part in children(value, "") or ()]
    if isinstance(value, (tuple, list)):
        return [(index, f"[{index}]", part) for index, part in enumerate(value)]
    return []


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
    """A module that is one layer: it has no children but what makes its weights, and is torch's own or holds some.

    Attention has a child for its last product, and calls it in a function that takes all of its weights.
    """
    if layers_in(module):
        return class_of(module) is torch.nn.MultiheadAttention
    return class_of(module).__module__.startswith("torch.nn.") or holds_weights(module)


def _weights(function: Any) -> list[Array]:
    """The weights of a layer, its statistics too; none of a function, or of a counter of training steps."""
    if not isinstance(function, torch.nn.Module):
        return []
    state = plain(function).state_dict(keep_vars=True)
    return [tensor.detach().cpu().numpy() for tensor in state.values() if tensor.is_floating_point()]


def _name_of(function: Callable[..., Any]) -> str:
    """A function's name without underscores around it; of properties, only those that make a value: `x.T`, `x.mT`."""
    name = str(getattr(function, "__name__", "")).strip("_")
    if name != "get":
        return name
    read = str(getattr(getattr(function, "__self__", None), "__name__", ""))
    return read if read in PROPERTIES else ""


def _takes(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> list[torch.Tensor]:
    """The tensors that go in."""
    values = [*args, *(kwargs or {}).values()]
    flat = [item for value in values for item in (value if isinstance(value, (tuple, list)) else [value])]
    return [item for item in flat if isinstance(item, torch.Tensor)]


def _computes(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> bool:
    """Whether a floating-point tensor goes in: factory functions and index arithmetic are no taps."""
    return any(item.is_floating_point() for item in _takes(args, kwargs))
