"""Runs a torch module and gives its taps: every leaf module, and every functional operation outside of one.

What is kept of every tap is its *call*: what was called, with what, reading which other taps (`calls`); how a run is
watched is in `recorder`.
"""

import copy
import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parity.axes import Array
from parity.errors import PairError, UsageError
from parity.frameworks import torch, torch_tree
from parity.pairs import INPUT, Input
from parity.runners.calls import Call
from parity.runners.float64 import StripConvolution, in_float64, making
from parity.runners.recorder import Recorder, Sink
from parity.runners.taps import OUTPUT, Tap, Trace, positions
from parity.trees import leaves

READ_LIKE = ("__len__", "__getitem__", "__iter__")
"""What an object has that is read like a list, whatever its class."""


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
        recorder = Recorder(module, lambda tap, value: sink(tap, value.cpu()))
        args, kwargs = given.filled(lambda name, array: recorder.start(name, _tensor(array, device, float64=float64)))
        with torch.no_grad(), ExitStack() as stack:
            if float64:
                stack.enter_context(StripConvolution())
            stack.enter_context(making(float64=float64))
            stack.enter_context(recorder.hooked())
            made = called(module, args, kwargs)
            outputs = outputs_of(made)
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
        return replace(self._taps[key], samples={}, outputs={})

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
            self._float64 = in_float64(copy.deepcopy(self._here))
        return self._float64


def outputs_of(made: Any) -> dict[str, torch.Tensor]:
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


def called(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
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
