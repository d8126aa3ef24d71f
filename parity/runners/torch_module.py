"""Runs a torch module and gives its taps: every leaf module, and every functional operation outside of one.

Modules are tapped by forward hooks, operations by a TorchFunctionMode. A sink sees each value at the moment it is made,
before an in-place activation can overwrite it, and nothing is kept that the sink does not keep. What is kept of every
tap is its *call*: what was called, with what, reading which other taps; a call can be made again on other values.
"""

import copy
import dataclasses
import inspect
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError, UsageError
from parity.frameworks import TorchFunctionMode, torch, torch_tree
from parity.pair import INPUT, Input
from parity.parametrized import class_of, holds_weights, in_layers, layers_in, plain
from parity.runners.float64 import StripConvolution
from parity.runners.taps import MOVES_ONLY, OUTPUT, Numbering, Tap, Trace, kind_of, positions
from parity.trees import children, leaves
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
READ_LIKE = ("__len__", "__getitem__", "__iter__")
"""What an object has that is read like a list, whatever its class."""


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

    @property
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
        made = self.again({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in values.items()})
        return made.numpy()


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run leaves: its outputs by name, the tap of each, other names of taps (a container's is its last child's),
    every call."""

    outputs: Mapping[str, torch.Tensor]
    output_taps: Mapping[str, str]
    aliases: Mapping[str, str]
    calls: Mapping[str, Call]


class TorchModule:
    """A reference that can be run, on `device`. `module` must be in evaluation mode; it is never changed.

    A module that torch.compile made is run as what it was made of. Raises PairError for what is no module, and for a
    module in training mode: dropout and batch statistics would make it another network. Raises UsageError for a device
    that is not there.
    """

    def __init__(self, module: torch.nn.Module, device: str = "cpu") -> None:
        self._device = _available(device)
        module = getattr(module, "_orig_mod", module)
        training = [name or type(module).__name__ for name, child in module.named_modules() if child.training]
        if training:
            raise PairError(
                f"the reference is in training mode ({training[0]!r}{' and others' if training[1:] else ''}); "
                f"call .eval() on it: parity compares what will be run"
            )
        self.module = module
        self._here = module if self._device.type == "cpu" else copy.deepcopy(module).to(self._device)
        self._float64: torch.nn.Module | None = None
        self._taps: dict[Any, Trace] = {}
        self._calls: dict[Any, Mapping[str, Call]] = {}

    @property
    def versions(self) -> Mapping[str, str]:
        """None but those of this process."""
        return {}

    def run(self, given: Input, sink: Sink, *, float64: bool = False) -> Ran:
        """Run on an input, showing each tap's value to `sink` as it is made. Values come back to the CPU."""
        module = self._in_float64() if float64 else self._here
        return self._ran(module, self._device, given, sink, float64=float64)

    def _ran(
        self, module: torch.nn.Module, device: torch.device, given: Input, sink: Sink, *, float64: bool = False
    ) -> Ran:
        recorder = _Recorder(module, lambda tap, value: sink(tap, value.cpu()))
        args, kwargs = given.filled(lambda name, array: recorder.start(name, _tensor(array, device, float64=float64)))
        with torch.no_grad(), ExitStack() as stack:
            if float64:
                stack.enter_context(StripConvolution())
            stack.enter_context(recorder.hooked())
            made = _called(module, args, kwargs)
            outputs = _outputs(made)
            taps = {name: recorder.name_of(name, value) for name, value in outputs.items()}
        outputs = {name: value.cpu() for name, value in outputs.items()}
        return Ran(outputs=outputs, output_taps=taps, aliases=recorder.aliases, calls=recorder.calls)

    def names_of(self, given: Input) -> dict[str, str]:
        """The names of an input's arrays, and for each the parameter of `forward` that it is passed as."""
        names = list(inspect.signature(self.module.forward).parameters)
        passed = {f"{INPUT}[{index}]": name for index, name in enumerate(names)}
        return {name: passed.get(name, "") for name in given.arrays}

    def taps(self, given: Input) -> Trace:
        """The taps a run on an input has, without samples; found by one run for each shape, on the CPU.

        So what a call holds (a module, a constant) is on the CPU, wherever the values are computed.
        """
        key = _shapes(given)
        if key not in self._taps:
            taps: list[Tap] = []
            ran = self._ran(self.module, torch.device("cpu"), given, lambda tap, value: taps.append(tap))
            self._taps[key] = _trace(taps, ran)
            self._calls[key] = ran.calls
        return replace(self._taps[key], samples={})

    def calls(self, given: Input) -> Mapping[str, Call]:
        """How each tap is made in a run on an input."""
        self.taps(given)
        return self._calls[_shapes(given)]

    def values(self, given: Input, names: Collection[str]) -> dict[str, Array]:
        """The whole values of some taps in a run on an input, or of the input's own arrays."""
        kept = {name: array for name, array in given.arrays.items() if name in names}

        def keep(tap: Tap, value: torch.Tensor) -> None:
            if tap.name in names:
                kept[tap.name] = value.numpy().copy()

        self.run(given, keep)
        return kept

    def sample(self, given: Input, *, float64: bool = False) -> Trace:
        """Run and keep a sample of each tap, at `taps.positions` of its shape, and the whole outputs."""
        taps: list[Tap] = []
        samples: dict[str, Array] = {}

        def keep(tap: Tap, value: torch.Tensor) -> None:
            taps.append(tap)
            samples[tap.name] = sampled(value)

        ran = self.run(given, keep, float64=float64)
        outputs = {name: value.numpy() for name, value in ran.outputs.items()}
        return replace(_trace(taps, ran), samples=samples, outputs=outputs)

    def _in_float64(self) -> torch.nn.Module:
        if self._float64 is None:
            self._float64 = copy.deepcopy(self._here).double()
        return self._float64


def _outputs(made: Any) -> dict[str, torch.Tensor]:
    """Every tensor that a module returned, by name. Raises PairError where there is none."""
    found = dict(_tensors(made, OUTPUT))
    if not found:
        raise PairError(f"the reference returns {type(made).__name__} without a tensor; nothing can be compared")
    return dict(zip([OUTPUT], found.values(), strict=True)) if len(found) == 1 else found


def _tensors(made: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in what was returned, also in objects that can be read like a mapping or a sequence: a cache."""
    for path, leaf in leaves(made, name):
        if isinstance(leaf, torch.Tensor):
            yield path, leaf
        elif isinstance(leaf, (str, bytes, np.ndarray)) or not all(hasattr(type(leaf), each) for each in READ_LIKE):
            continue
        elif hasattr(leaf, "keys"):
            yield from _tensors({key: leaf[key] for key in leaf.keys()}, path)  # noqa: SIM118
        else:
            yield from _tensors(tuple(leaf), path)


def _tensor(array: Array, device: torch.device, *, float64: bool) -> torch.Tensor:
    """A tensor of its own, since the reference may write into its input."""
    value = torch.from_numpy(np.array(array, order="C", copy=True)).to(device)
    return value.double() if float64 and value.is_floating_point() else value


def _available(name: str) -> torch.device:
    """The device of that name. Raises UsageError where torch has none such here, and says which it has."""
    kinds = ["cpu", *(kind for kind in ("cuda", "mps", "xpu") if getattr(torch, kind).is_available())]
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        here = f"torch {torch.__version__} has {', '.join(kinds)} here"
        raise UsageError(f"device {name!r} cannot be used: {reason}; {here}") from error
    return device


def _shapes(given: Input) -> Any:
    """What runs of the same taps have in common: the shapes and types of the arrays, and the constants beside them."""
    return repr(given.filled(lambda name, array: (array.shape, array.dtype.str)))


def _trace(taps: Sequence[Tap], ran: Ran) -> Trace:
    """The taps of a run, but for parts of a value that nothing reads: the final states of an LSTM."""
    read = {name for call in ran.calls.values() for name in call.reads} | set(ran.output_taps.values())
    kept = [tap for tap in taps if not ran.calls[tap.name].part or tap.name in read]
    return Trace(taps=kept, aliases=dict(ran.aliases), output_taps=dict(ran.output_taps))


def _called(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the module makes of its arguments. What torch refuses to run becomes a PairError of one sentence."""
    try:
        return module(*args, **kwargs)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        tensors = [leaf for leaf in torch_tree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        what = ", ".join(f"{tensor.dtype} of shape {tuple(tensor.shape)}" for tensor in tensors)
        raise PairError(f"the reference cannot run on {what}: {reason}") from error


def sampled(value: torch.Tensor | Array) -> Array:
    """The values of `value` at the positions of its shape, as an array of their own; whole numbers as float64."""
    if isinstance(value, np.ndarray):
        taken: Array = value.reshape(-1)[positions(value.shape)]
        return taken if taken.dtype.kind == "f" else taken.astype(np.float64)
    chosen = torch.from_numpy(positions(tuple(value.shape)))
    value = value if value.is_floating_point() else value.double()
    sample: Array = value.reshape(-1).index_select(0, chosen).numpy()
    return sample


class _Recorder(TorchFunctionMode):
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
