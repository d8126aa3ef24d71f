"""What is around a failing layer: the values of other taps, how the reference made them, all of its weights.

Made once for an input; what costs a run of the reference is fetched when it is first asked for.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from parity import converters
from parity.artifacts.precision import Fit, Stored
from parity.axes import Array, Axes, in_order, move
from parity.diagnosis.fingerprints import SAME, distance
from parity.diagnosis.joined import Joined
from parity.diagnosis.words import names_of_weights
from parity.errors import WeightError, first_line
from parity.frameworks import torch
from parity.pairs import Input
from parity.parametrized import plain
from parity.runners.calls import Call
from parity.runners.keras_model import KerasModel
from parity.runners.reference import Reference
from parity.runners.taps import Tap
from parity.trees import leaves

_HIGHEST = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "adaptive_avg_pool1d": ("input", "output_size"),
    "adaptive_max_pool1d": ("input", "output_size"),
    "avg_pool1d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    "boolean_dispatch": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "cat": ("tensors", "dim"),
    "clamp": ("input", "min", "max"),
    "conv1d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "flatten": ("input", "start_dim", "end_dim"),
    "gelu": ("input", "approximate"),
    "log_softmax": ("input", "dim"),
    "max_pool1d": _HIGHEST,
    "max_pool2d": _HIGHEST,
    "max_pool3d": _HIGHEST,
    "mean": ("input", "dim", "keepdim"),
    "softmax": ("input", "dim"),
    "softplus": ("input", "beta", "threshold"),
    "std": ("input", "dim"),
    "sum": ("input", "dim", "keepdim"),
    "amax": ("input", "dim", "keepdim"),
    "var": ("input", "dim"),
}
"""Names of the arguments of torch's built-in functions, which have no signatures."""
_CONVOLUTION = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {"conv1d": _CONVOLUTION, "conv2d": _CONVOLUTION}

KERNEL_AXES: Mapping[str, str] = {
    "Conv1D": "k i o",
    "Conv2D": "kh kw i o",
    "Conv3D": "kd kh kw i o",
    "Conv1DTranspose": "k o i",
    "Conv2DTranspose": "kh kw o i",
    "Conv3DTranspose": "kd kh kw o i",
    "Dense": "i o",
    "DepthwiseConv2D": "kh kw c m",
    "DepthwiseConv1D": "k c m",
    "Embedding": "token feature",
}
ARRANGES = frozenset({
    "chunk", "flatten", "flip", "getitem", "movedim", "narrow", "permute", "reshape", "roll", "select", "split",
    "squeeze", "transpose", "unbind", "unflatten", "unsqueeze", "view",
})  # fmt: skip
"""Kinds that make a part of a value, or the same in another order."""
CHANNELS = frozenset({"o", "c", "m"})
"""Which of these are channels of the output."""
ROUNDED, FINE = 2.0, 1e-2
"""How many times what rounding makes of a weight is still rounding, and what it makes of a bias in an integer file."""


class Scene:
    """The surroundings of every layer in runs on one input. Values are in the port's layout."""

    def __init__(
        self,
        reference: Reference,
        port: KerasModel,
        given: Input,
        axes: Axes,
        taps: Mapping[str, Tap],
        matched: Mapping[str, str],
        layers: Mapping[str, str] | None = None,
    ) -> None:
        self._reference = reference
        self._port = port
        self._given = given
        self.inputs = frozenset(given.arrays)
        """The names of the network's inputs."""
        self._axes = axes
        self._taps = taps
        self.matched = matched
        self._layers = layers or {}
        self._values: dict[str, Array] = {}
        self.troubles: dict[str, str] = {}
        self.unconverted: dict[str, str] = {}
        """Why the weights of a layer have no counterpart that is known, by tap."""
        self.stored: Mapping[str, Stored] = {}
        """How the port stores the weights of a layer, by the reference's tap, where that is not float32."""
        self.fits: Mapping[str, Fit] = {}
        """How the ranges of the port's numbers fit the reference's values, by tap."""
        self.proven: list[Any] = []
        """What was found of other layers in this run, each with the edit that undoes it."""

    @cached_property
    def calls(self) -> Mapping[str, Call]:
        """What makes each tap in the reference."""
        return self._reference.calls(self._given)

    def name_in_port(self, name: str) -> str:
        """What the layer map calls a tap's layer in the port, whether the port has it or not; "" where it is silent."""
        return self.matched.get(name) or self._layers.get(name, "")

    def layout(self, name: str, rank: int) -> str:
        """The port's axes of a tap."""
        return self._axes.of(name, rank)[1]

    def reference_layout(self, name: str, rank: int) -> str:
        """The reference's axes of a tap."""
        return self._axes.of(name, rank)[0]

    def kind(self, name: str) -> str:
        """The kind of a tap of the reference; "" for what is none."""
        return self._taps[name].kind if name in self._taps else ""

    def weighted(self, name: str) -> bool:
        """Whether a tap of the reference is a layer with weights."""
        return name in self._taps and self._taps[name].weighted

    def prepares(self, name: str) -> bool:
        """Whether no layer with weights lies at or before a tap: it only prepares the input."""
        waiting, seen = [name], set()
        while waiting:
            current = waiting.pop()
            if self.weighted(current):
                return False
            if current not in seen and current in self.calls:
                waiting += self.calls[current].reads
            seen.add(current)
        return True

    def values(self, names: Sequence[str]) -> tuple[Array, ...]:
        """The whole values of taps, in the port's layout; those not held yet cost one run of the reference."""
        self._fetch({name for name in names if name not in self._values})
        return tuple(self._values[name] for name in names)

    def remade(self, name: str, known: Collection[str], instead: Mapping[str, Call]) -> Array:
        """What the reference makes of a tap, from the values of the `known` ones and of inputs, with other calls
        `instead` of its own; in the port's layout."""
        within = self.between(name, known)
        reads = {read for each in within for read in self.calls[each].reads}
        made = self._reference.values(self._given, reads - set(within))
        for each in (each for each in self.calls if each in within):
            call = instead.get(each, self.calls[each])
            made[each] = call.on_arrays({read: made[read] for read in call.reads})
        return in_order(move(made[name], *self._axes.of(name, made[name].ndim)))

    def between(self, name: str, known: Collection[str]) -> tuple[str, ...]:
        """The taps of the reference from some `known` ones to a tap, itself among them."""
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in self.calls and current not in known and current not in found:
                found[current] = None
                waiting += self.calls[current].reads
        return tuple(found)

    def bare_weights(self, name: str, known: Collection[str]) -> list[Array]:
        """What the functions of the reference, from some `known` taps to a tap, compute with that no layer holds."""
        calls = [self.calls[each] for each in self.between(name, known)]
        functions = [call for call in calls if not isinstance(call.function, torch.nn.Module)]
        given = [leaf for call in functions for _, leaf in leaves((call.args, dict(call.kwargs)), name)]
        # A recording has arrays where torch has tensors, and is read where there is no torch.
        tensors = [each.detach().cpu() if isinstance(each, torch.Tensor) else each for each in given]
        return [np.asarray(each) for each in tensors if isinstance(each, (torch.Tensor, np.ndarray))]

    def _fetch(self, names: Collection[str]) -> None:
        if not names:
            return
        for name, value in self._reference.values(self._given, names).items():
            self._values[name] = in_order(move(value, *self._axes.of(name, value.ndim)))

    def twin(self, name: str) -> str:
        """A matched tap of the same value, made by the same layer from the same: itself, where it is matched."""
        call = self.calls.get(name)
        if name in self.matched or call is None:
            return name
        for other in self.matched:
            made = self.calls.get(other)
            if made is not None and made.function is call.function and made.reads == call.reads:
                return other
        return name

    def resolved(self, name: str) -> tuple[str, ...]:
        """The matched taps and inputs that a tap's value is made of: itself, or those before it."""
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop(0)
            twin = self.twin(current)
            if twin in self.matched or current in self.inputs or current not in self.calls:
                found[twin] = None
            else:
                waiting += self.calls[current].reads
        return tuple(found)

    @property
    def stands_for(self) -> bool:
        """Whether the port's operations only stand for what an engine of its own runs."""
        return self._port.stands_for

    def restore(self) -> None:
        """Undo what running the port in training mode did to its weights."""
        self._port.restore()

    def symbolic(self, name: str) -> Any:
        """The port's symbolic tensor that answers to a matched tap or an input."""
        return self._port.symbolic(self.matched.get(name, name))

    def maker(self, tensor: Any) -> Any:
        """The port's operation that makes a symbolic tensor; None for an input."""
        return self._port.maker(tensor)

    def settings(self, name: str) -> Mapping[str, Any]:
        """How the reference made a tap, by torch's names: a module's attributes, or a function's arguments."""
        call = self.calls.get(name)
        if call is None:
            return {}
        if isinstance(call.function, torch.nn.Module):
            module = plain(call.function)
            own = {key: value for key, value in vars(module).items() if not key.startswith("_")}
            held = {key: value for key, value in module._parameters.items() if value is not None}
            return {**own, "_parameters": held}
        return _bound(call)

    def maps_of(self, count: int) -> list[tuple[int, ...]]:
        """The shapes (channels first, without the batch) of the reference's maps that hold `count` values each."""
        shapes = {tuple(int(size or 0) for size in tap.shape[1:]) for tap in self._taps.values()}
        return sorted(shape for shape in shapes if len(shape) > 1 and int(np.prod(shape)) == count)

    def axes_of(self, name: str) -> list[int]:
        """The dims that a reduction of the reference runs over, as axes of what it reads in the port."""
        (read, *_), dims = self.calls[name].reads, self.settings(name).get("dim")
        (value,) = self.values([read])
        theirs, ours = self.reference_layout(read, value.ndim), self.layout(read, value.ndim)
        return sorted(ours.index(theirs[dim]) for dim in ((dims,) if isinstance(dims, int) else tuple(dims or ())))

    def converted(self, name: str, target: Any) -> tuple[Array, ...]:
        """The weights of the torch layer at a tap as its converter gives them for the Keras layer `target`."""
        try:
            return tuple(converters.convert(self.calls[name].function, name, target))  # type: ignore[arg-type]
        except (WeightError, KeyError, AttributeError) as error:  # AttributeError: a layer of quite another kind
            self.unconverted[name] = first_line(error) if isinstance(error, WeightError) else ""
            return ()

    def why_not_converted(self, name: str) -> str:
        """Why there is nothing that the weights of the layer that makes a tap could be compared with."""
        return self.unconverted.get(self._behind(name)) or "the reference's layer has none that answer to them"

    def sources(self, name: str, target: Any) -> tuple[Array, ...]:
        """What the weights of the port's layer should be that makes a tap: those of the torch layer there, or whose
        values the tap has in another arrangement, or of all that lead up to it where the port computes them in one."""
        behind = self._behind(name)
        return self._joined(name, target) or (self.converted(behind, target) if behind in self.calls else ())

    def _behind(self, name: str) -> str:
        """The layer with weights that a tap has a part of, or its values in another order; else the tap itself."""
        current = name
        while not self.weighted(current):
            reads = self.calls[current].reads if self.kind(current) in ARRANGES else ()
            if len(reads) != 1 or reads[0] in self.matched or reads[0] not in self.calls:
                return name
            (current,) = reads
        return current

    def _joined(self, name: str, target: Any) -> tuple[Array, ...]:
        way = Joined(calls=self.calls, kinds=self.kind, matched=self.matched, converted=self.converted)
        return way.weights(name, target)

    @property
    def is_rounded(self) -> bool:
        """Whether the port stores numbers in low precision."""
        return bool(self.stored or self.fits)

    def slacks(self, name: str, target: Any, sources: Sequence[Array]) -> tuple[float, ...]:
        """How far each weight of the Keras layer `target` may be from the reference's, relative, because of how the
        port stores it, or because several layers were joined in it; else 0."""
        stored = self.stored.get(name)
        if stored is None:
            return (SAME if sources and self._joined(name, target) else 0.0,) * len(sources)
        axes = KERNEL_AXES.get(type(target).__name__, "").split()
        return tuple(_slack(stored, source, axes if len(axes) == source.ndim else []) for source in sources)

    @cached_property
    def tensors(self) -> tuple[tuple[str, str, Array], ...]:
        """Every weight of the reference, converted where parity can: (layer, which of its weights, values)."""
        found = []
        for name in self._taps:
            call = self.calls.get(name)
            if not self.weighted(name) or call is None or not isinstance(call.function, torch.nn.Module):
                continue
            target = self._port.operation(self.matched[name]) if name in self.matched else None
            names = names_of_weights(target)
            for index, array in enumerate(self.converted(name, target)):
                found.append((name, names[index] if index < len(names) else f"weight {index}", array))
        return tuple(found)


def _slack(stored: Stored, source: Array, axes: Sequence[str]) -> float:
    """How far rounding may bring a weight from its value, relative to its size. A bias is stored in finer steps."""
    if stored.top is not None and source.ndim < 2:
        size = float(np.sqrt(np.mean(np.square(source, dtype=np.float64)))) if source.size else 0.0
        return max(FINE, stored.bias_step / size if size else 0.0)
    kept = [axis for axis, name in enumerate(axes) if name in CHANNELS] or [source.ndim - 1]
    return ROUNDED * distance(stored.rounded(source, kept, None), source)


def _bound(call: Call) -> Mapping[str, Any]:
    """A function's arguments by name, its defaults where it has a signature."""
    name = getattr(call.function, "__name__", "").strip("_")
    given = {**DEFAULTS.get(name, {}), **dict(zip(ARGUMENTS.get(name, ()), call.args, strict=False)), **call.kwargs}
    try:
        bound = inspect.signature(call.function).bind(*call.args, **call.kwargs)
    except (TypeError, ValueError):
        return given
    bound.apply_defaults()
    return {**given, **{key: value for key, value in bound.arguments.items() if key not in ("args", "kwargs")}}
