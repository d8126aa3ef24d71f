"""A whole torch module as a functional Keras model: of one kind that is known, or traced into such.

Every step of the trace is built by its kind's builder. What cannot be built is kept in mind, and the steps after it are
built on a stand-in, so that everything that is wrong is said at once, before there is a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.axes import Array, Axes, in_port
from parity.building.naming import plain_name
from parity.building.port import Growing, applied, is_size
from parity.building.reading import ensure_no_shared_writing, needed, outputs_of
from parity.building.registry import BUILDERS
from parity.building.steps import Step, Traced, tensors_in
from parity.building.tracing import traced
from parity.building.values import Site, Value, each_value
from parity.errors import BuilderError, ConversionError, ParityError
from parity.frameworks import keras, torch
from parity.layouts import layouts as layouts_of
from parity.pairs import Input, Pair
from parity.parametrized import class_of, plain
from parity.runners.keras_model import KerasModel
from parity.runners.taps import OUTPUT
from parity.trees import leaves

LETTERS = "NCTHWDEFGKL"
"""For tensors of which no more is known than how many axes they have."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A Keras model built from a torch module, with its weights.

    `layers` maps the reference's taps to the port's, `axes` has those of each of them, `input_map` and `output_map` say
    which of the model's inputs and outputs answers to which of the reference's. `waived` names what answers to no tap:
    results that nothing reads, such as an LSTM's last states, layers that hold a parameter of the module alone, and
    layers of the module in which what it returns has no part, or that read none of its inputs.
    `free` says that it takes batches of any size.
    """

    module: torch.nn.Module
    model: Any
    layers: Mapping[Any, str]
    axes: Axes
    input_map: Mapping[str, str] = field(default_factory=dict)
    output_map: Mapping[str, str] = field(default_factory=dict)
    waived: frozenset[str] = frozenset()
    free: bool = True

    def pair(self, name: str) -> Pair:
        """Both, to be verified."""
        return Pair(
            name=name,
            reference=self.module,
            port=self.model,
            layers=self.layers,
            axes=self.axes,
            input_map=self.input_map,
            output_map=self.output_map,
            waived=self.waived,
        )


def built(
    module: torch.nn.Module,
    given: Input,
    layouts: Mapping[str, str],
    data_format: str = "channels_last",
) -> Built:
    """The Keras model of a module for inputs of the shapes of `given`, whatever their batch.

    `layouts` says, by the inputs' names, which axes they have in torch (`{"input": "NCHW"}`). Raises ConversionError
    with all that cannot be built, each by its path and with the reason.
    """
    building = _Building(module, given, layouts, data_format)
    return building.of_one_kind() if class_of(module) in BUILDERS else building.of_steps()


def is_known(module: torch.nn.Module) -> bool:
    """Whether a module is built as one: its kind has a builder, or is a layer of torch that has none and is refused."""
    kind = class_of(module)
    return kind in BUILDERS or (kind.__module__.startswith("torch.nn.modules") and not any(module.children()))


class _Building:
    """One module being built."""

    def __init__(self, module: torch.nn.Module, given: Input, layouts: Mapping[str, str], data_format: str) -> None:
        self._module = module
        self._given = given
        self._layouts = {
            name: (layout, in_port(layout, channels_last=data_format == "channels_last"))
            for name, layout in layouts.items()
        }
        self._format = data_format
        self._port = Growing(data_format)
        self._free = True
        self._ends: list[Value] = []

    def of_one_kind(self) -> Built:
        """A module of a known kind needs no trace."""
        inputs = {name: self._input(name, array) for name, array in self._given.arrays.items()}
        args, kwargs = self._given.filled(lambda _, array: self._port.stands_for(array))
        site = Site(path="", data_format=self._format, batch=self._port.batch)
        result = applied(BUILDERS[class_of(self._module)], site, args, kwargs, plain(self._module))
        self._ends = list(each_value(result))
        model = keras.Model(_one_or_all(inputs.values()), _one_or_all(value.tensor for value in self._ends))
        names = [OUTPUT] if len(self._ends) == 1 else [f"{OUTPUT}[{i}]" for i in range(len(self._ends))]
        ends = {name: _lettered(value, "") for name, value in zip(names, self._ends, strict=True)}
        axes = Axes(by_name={**self._layouts, **ends})
        return Built(module=self._module, model=model, layers={}, axes=axes, input_map=_input_map(inputs))

    def of_steps(self) -> Built:
        """A module that is traced."""
        trace = self._trace()
        names = [name for name in self._given.arrays if name in trace.inputs]
        inputs = {name: self._input(name, trace.inputs[name].values[0]) for name in names}
        ensure_no_shared_writing(trace)
        read = needed(trace)
        for step in trace.steps:
            if id(step) in read and step.kind != "placeholder" and not step.constant and not is_size(step):
                self._port.build(step)
        if refused := self._port.refused:
            count = f"{len(refused)} steps" if len(refused) > 1 else "one step"
            kind = BuilderError if refused[0].is_broken else ConversionError  # the others are built on stand-ins
            raise kind("\n  ".join([f"{count} cannot be converted; nothing was built:", *map(str, refused)]))
        outputs = self._outputs(trace.output)
        model = keras.Model(_one_or_all(inputs.values()), outputs, name=plain_name(type(self._module).__name__))
        return self._finished(trace, model, inputs, outputs)

    # -- the trace ----------------------------------------------------------------------------------------------------

    def _trace(self) -> Traced:
        """The module's steps on its batch and on one that is larger; where it takes no other, on its own."""
        sizes = [
            array.shape[self._layouts[name][0].index("N")]
            for name, array in self._given.arrays.items()
            if "N" in self._layouts[name][0]
        ]
        lanes = [self._given]
        larger = self._given.changed(lambda name, array: _one_more(array, self._layouts[name][0]))
        if sizes and _runs(self._module, larger):
            lanes.append(larger)
        self._free = len(lanes) > 1
        return traced(self._module, lanes, is_known, sizes[0] if sizes else 0)

    def _input(self, name: str, stands_for: Any) -> Any:
        """The model's input that answers to one of the reference's; it is what the port has for that tensor."""
        array, (layout, target) = self._given.arrays[name], self._layouts[name]
        order = tuple(layout.index(letter) for letter in target)
        sizes = [array.shape[axis] for axis in order]
        shape = [None if letter == "N" and self._free else size for letter, size in zip(target, sizes, strict=True)]
        name = self._port.names.new(plain_name(name))
        value = Value(keras.Input(batch_shape=shape, dtype=str(array.dtype), name=name), order)
        if self._port.batch is None and target.startswith("N"):
            self._port.batch = value
        self._port.start(stands_for, value)
        return value.tensor

    # -- the model ----------------------------------------------------------------------------------------------------

    def _outputs(self, tree: Any) -> Any:
        """What the model returns: what the reference does, without what is None there."""
        if isinstance(tree, Step):
            if not tensors_in(tree.values[0]):
                kind = type(tree.values[0]).__name__
                raise ConversionError(f"the module returns something of type {kind}, which is no tensor")
            return self._outputs(self._port.value(tree))
        if isinstance(tree, Mapping):
            return {key: self._outputs(each) for key, each in tree.items() if each is not None}
        if isinstance(tree, (tuple, list)):
            found = [self._outputs(each) for each in tree if each is not None]
            return found[0] if len(found) == 1 else found
        if isinstance(tree, Value) and isinstance(tree.tensor, keras.KerasTensor):
            self._ends.append(tree)
            return tree.tensor
        what = "a constant" if isinstance(tree, Value) else repr(tree)
        raise ConversionError(f"the module returns {what}, which is no tensor that depends on its inputs")

    def _finished(self, trace: Traced, model: Any, inputs: Mapping[str, Any], outputs: Any) -> Built:
        """The model with all that is known of it: its layers by the taps that they answer to."""
        taps = KerasModel(model).taps
        names = {tap.key: tap.name for tap in taps}
        port: dict[str, list[str]] = {}
        for tap in trace.calls:
            value = self._port.tapped.get(tap)
            if value is not None and (name := names.get(id(value.tensor))):
                port.setdefault(name, []).append(tap)
        known = {*port, *(names.get(id(value.tensor), "") for value in self._ends)}
        theirs, ours = list(outputs_of(trace)), [name for name, _ in leaves(outputs, OUTPUT)]
        return Built(
            module=self._module,
            model=model,
            layers={found[0] if len(found) == 1 else tuple(found): name for name, found in port.items()},
            axes=self._axes(trace, theirs),
            waived=_unread(taps, known) | self._inside(taps, known) | self._without_part(trace),
            free=self._free,
            input_map=_input_map(inputs),
            output_map=dict(zip(theirs, ours, strict=True)) if theirs != ours and len(theirs) > 1 else {},
        )

    def _inside(self, taps: Sequence[Any], known: set[str]) -> frozenset[str]:
        """The port's taps that answer to none: layers that hold a parameter alone, or are a part of what a module is
        built of."""
        parts = {layer.name for made in self._port.made.values() for layer in made} | set(self._port.weights)
        return frozenset(name for tap in taps if (name := tap.name) in parts - known) | frozenset(self._port.weights)

    def _without_part(self, trace: Traced) -> frozenset[str]:
        """The taps of what has no part in what is returned, and of modules that read no input: they are not built, or
        are built as the constant that they make."""
        read = needed(trace)
        idle = [step for step in trace.steps if id(step) not in read or (step.kind == "call_module" and step.constant)]
        found = {
            tap
            for step in idle
            for tap in trace.calls
            if tap in (step.tap, step.path) or tap.startswith((f"{step.path}.", f"{step.path}["))
        }
        return frozenset(found - set(self._port.tapped))

    def _axes(self, trace: Traced, outputs: Sequence[str]) -> Axes:
        """The axes of inputs, outputs and taps: the reference's as they follow from its calls, the port's as built."""
        shapes = {name: array.shape for name, array in self._given.arrays.items()}
        try:
            found = layouts_of(Axes(by_name=self._layouts), trace.calls, trace.shapes, shapes)
        except ParityError:  # layouts are for what is told of a layer; they decide nothing here
            found = {}
        tapped = self._port.tapped
        axes = {tap: _lettered(value, found[tap].reference if tap in found else "") for tap, value in tapped.items()}
        of_tensor = {id(tapped[tap].tensor): each for tap, each in axes.items()}
        for name, value in zip([OUTPUT] if len(self._ends) == 1 else outputs, self._ends, strict=True):
            own = of_tensor.get(id(value.tensor))
            axes[name] = own if own and len(own[0]) == len(value.order) else _lettered(value, "")
        return Axes(by_name={**self._layouts, **axes})


def _lettered(value: Value, source: str) -> tuple[str, str]:
    """The layouts of a tensor: the reference's, with any letters where it is not known, and so the port's."""
    source = source if len(source) == len(value.order) else LETTERS[: len(value.order)]
    return source, "".join(source[axis] for axis in value.order)


def _unread(taps: Sequence[Any], known: set[str]) -> frozenset[str]:
    """Those of several results of one layer that nothing reads, and that answer to nothing."""
    read = {name for tap in taps for name in tap.reads}
    return frozenset(tap.name for tap in taps if tap.name.endswith("]") and tap.name not in read | known)


def _input_map(inputs: Mapping[str, Any]) -> Mapping[str, str]:
    return {name: tensor.name for name, tensor in inputs.items()} if len(inputs) > 1 else {}


def _one_or_all(tensors: Any) -> Any:
    found = list(tensors)
    return found[0] if len(found) == 1 else found


def _one_more(array: Array, layout: str) -> Array:
    """An array with its first sample once more."""
    if "N" not in layout:
        return array
    axis = layout.index("N")
    return np.concatenate([array, np.take(array, [0], axis=axis)], axis=axis)


def _runs(module: torch.nn.Module, given: Input) -> bool:
    """Whether a module takes an input."""
    args, kwargs = given.filled(lambda _, array: torch.from_numpy(np.array(array, copy=True)))
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except Exception:  # whatever the user's code does with a batch that it was not made for
        return False
    return True
