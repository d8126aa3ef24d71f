"""A whole torch module as a functional Keras model: of one kind that is known, or traced into such.

Every step of the trace is built by its kind's builder. What cannot be built is kept in mind, and the steps after it are
built on a stand-in, so that everything that is wrong is said at once, before there is a model.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.axes import Array, Axes, in_port
from parity.building.registry import BUILDERS, Builder, apply, name_of
from parity.building.tracing import Step, Traced, tensors_in, traced
from parity.building.values import Batch, Site, Value
from parity.errors import ConversionError, ParityError
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
class Refusal:
    """A step that cannot be built: where it is in the reference, what it is, and why."""

    path: str
    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.path or 'the module'} ({self.kind}): {self.why}"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A Keras model built from a torch module, with its weights.

    `layers` maps the reference's taps to the port's, `axes` has those of each of them, `input_map` and `output_map` say
    which of the model's inputs and outputs answers to which of the reference's; `waived` names results of layers that
    nothing reads, such as an LSTM's last states. `free` says that it takes batches of any size.
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
    return _Building(module, given, layouts, data_format).built()


def is_known(module: torch.nn.Module) -> bool:
    """Whether a module is built as one: its kind has a builder, or it is a layer of torch that has none and is refused."""
    kind = class_of(module)
    return kind in BUILDERS or (kind.__module__.startswith("torch.nn.modules") and not any(module.children()))


class _Building:
    """One module being built."""

    def __init__(self, module: torch.nn.Module, given: Input, layouts: Mapping[str, str], data_format: str) -> None:
        self._module = module
        self._given = given
        self._layouts = dict(layouts)
        self._format = data_format
        self._refused: list[Refusal] = []
        self._now: dict[int, Any] = {}
        """What the port has for a tensor of the reference, as it is now, by the tensor's identity."""
        self._tapped: dict[str, Value] = {}
        self._names = _Names()
        self._made: dict[int, list[Any]] = {}
        """The Keras layers of each module that was built, by its identity."""
        self._renamed: set[int] = set()
        self._batch: Value | None = None

    def built(self) -> Built:
        """The model. A module of a known kind needs no trace."""
        if class_of(self._module) in BUILDERS:
            return self._alone()
        trace = self._trace()
        names = [name for name in self._given.arrays if name in trace.inputs]
        inputs = {name: self._input(name, trace.inputs[name].values[0]) for name in names}
        needed = _needed(trace)
        _ensure_no_views_written(trace)
        for step in trace.steps:
            if id(step) in needed and step.kind != "placeholder" and not step.constant and not _is_size(step):
                self._build(step)
        if self._refused:
            count = f"{len(self._refused)} steps cannot" if len(self._refused) > 1 else "one step cannot"
            raise ConversionError("\n  ".join([f"{count} be converted; nothing was built:", *map(str, self._refused)]))
        outputs = self._outputs(trace.output)
        model = keras.Model(_one_or_all(list(inputs.values())), outputs)
        return self._finished(trace, model, inputs)

    def _alone(self) -> Built:
        """A module of one kind, built by its builder."""
        self._free = True
        inputs = {name: self._input(name, array) for name, array in self._given.arrays.items()}
        args, kwargs = self._given.filled(lambda name, array: self._now[id(array)])
        site = Site(path="", data_format=self._format, batch=self._batch)
        result = apply(BUILDERS[class_of(self._module)], site, args, kwargs, plain(self._module))
        self._ends.extend(_values(result))
        outputs = [value.tensor for value in self._ends]
        model = keras.Model(_one_or_all(list(inputs.values())), _one_or_all(outputs))
        names = [OUTPUT] if len(outputs) == 1 else [f"{OUTPUT}[{i}]" for i in range(len(outputs))]
        declared = {
            name: (layout, in_port(layout, channels_last=self._format == "channels_last"))
            for name, layout in self._layouts.items()
        }
        for name, value in zip(names, self._ends, strict=True):
            declared[name] = _lettered(value, "")
        return Built(
            module=self._module,
            model=model,
            layers={},
            axes=Axes(by_name=declared),
            input_map=self._input_map(inputs),
        )

    @staticmethod
    def _input_map(inputs: Mapping[str, Any]) -> Mapping[str, str]:
        return {name: tensor.name for name, tensor in inputs.items()} if len(inputs) > 1 else {}

    # -- the trace ----------------------------------------------------------------------------------------------------

    def _trace(self) -> Traced:
        """The module's steps on its batch and on one that is larger; where it takes no other, on its own."""
        batch = next(
            (
                self._given.arrays[name].shape[layout.index("N")]
                for name, layout in self._layouts.items()
                if "N" in layout
            ),
            0,
        )
        lanes = [self._given]
        if batch:
            larger = self._given.changed(lambda name, array: _one_more(array, self._layouts.get(name, "")))
            if _runs(self._module, larger):
                lanes.append(larger)
        self._free = len(lanes) > 1
        return traced(self._module, lanes, is_known, batch)

    def _input(self, name: str, stands_for: Any) -> Any:
        """The model's input that answers to one of the reference's; it is what the port has for that tensor."""
        array, layout = self._given.arrays[name], self._layouts[name]
        target = in_port(layout, channels_last=self._format == "channels_last")
        order = tuple(layout.index(letter) for letter in target)
        free = self._free
        shape = [
            None if letter == "N" and free else array.shape[axis] for letter, axis in zip(target, order, strict=True)
        ]
        tensor = keras.Input(batch_shape=shape, dtype=str(array.dtype), name=self._names.new(_plain_name(name)))
        value = Value(tensor, order)
        if self._batch is None and "N" in layout:
            self._batch = value
        self._now[id(stands_for)] = value
        return tensor

    # -- steps --------------------------------------------------------------------------------------------------------

    def _build(self, step: Step) -> None:
        """Build a step, or keep in mind why not."""
        if step.of is operator.getitem and not torch.is_tensor(step.args[0].values[0]):
            whole = self._value(step.args[0])
            result = whole[step.args[1]]
        else:
            try:
                result = self._result(step)
            except ParityError as error:
                self._refuse(step, str(error))
                result = self._stand_in(step)
        self._keep(step, result)

    def _result(self, step: Step) -> Any:
        builder = _builder(step)
        site = Site(
            path=self._names.path(step.path),
            data_format=self._format,
            sizes=step.sizes,
            dtypes=step.dtypes,
            earlier=self._made.get(id(step.of), ()) if isinstance(step.of, torch.nn.Module) else (),
            batch=self._batch,
        )
        args, kwargs = self._filled(step.args), self._filled(dict(step.kwargs))
        of = (plain(step.of),) if isinstance(step.of, torch.nn.Module) else ()
        try:
            result = apply(builder, site, args, kwargs, *of)
        except ParityError:
            raise
        except Exception as error:  # a builder that is given what it does not know
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConversionError(f"its builder failed: {type(error).__name__}: {reason}") from error
        if of:
            self._made.setdefault(id(step.of), list(site.made))
        self._rename(result, site)
        return result

    def _filled(self, tree: Any) -> Any:
        if isinstance(tree, Step):
            return self._value(tree)
        if isinstance(tree, dict):
            return {key: self._filled(each) for key, each in tree.items()}
        if isinstance(tree, (tuple, list)):
            return type(tree)(self._filled(each) for each in tree)
        if isinstance(tree, slice):
            return slice(*(self._filled(each) for each in (tree.start, tree.stop, tree.step)))
        return tree

    def _value(self, step: Step) -> Any:
        """What the port has for the result of a step, now."""
        if _is_size(step):
            return _as_size(step)
        if step.constant:
            return self._constant(step)
        return self._now[id(step.values[0])]

    def _constant(self, step: Step) -> Any:
        """A tensor that no input has a part in, as the Value of an array."""
        first, *others = step.values
        if not torch.is_tensor(first):
            return first
        if any(each.shape != first.shape or not torch.equal(each, first) for each in others):
            raise ConversionError(f"{step.path} makes a tensor that follows the size of the batch")
        return Value.plain(_array(first))

    def _keep(self, step: Step, result: Any) -> None:
        self._now[id(step.values[0])] = result
        if step.tap and isinstance(result, Value):
            self._tapped[step.tap] = result
        if isinstance(result, tuple) and torch.is_tensor(step.values[0]):
            raise ConversionError(f"{step.path}: its builder returns several tensors, and torch one")

    def _refuse(self, step: Step, why: str) -> None:
        found = Refusal(path=step.path, kind=_kind_name(step), why=why)
        if found not in self._refused:
            self._refused.append(found)

    def _stand_in(self, step: Step) -> Any:
        """What the steps after one that cannot be built are built on."""
        sizes = step.sizes
        found = [
            Value.plain(
                keras.KerasTensor(
                    [each if isinstance(each, int) else None for each in sizes[number]], dtype=_dtype(tensor)
                )
            )
            for number, tensor in enumerate(tensors_in(step.values[0]))
        ]
        return _like(step.values[0], iter(found))

    def _rename(self, result: Any, site: Site) -> None:
        """Call what was made for a place by its name: the last operation, and those that Keras has numbered."""
        made = [each for value in _values(result) for each in self._new_operations(value.tensor)]
        ends = {id(_operation(value.tensor)) for value in _values(result)}
        own, called = site.name(), False
        for each in made:
            is_own = isinstance(each, keras.layers.Layer) and (each.name == own or each.name.startswith(f"{own}_"))
            called = called or (is_own and each.name == own)
            if not is_own:
                each.name = own if id(each) in ends and not called else f"{own}_{_kind_of(each)}"
            each.name = self._names.new(each.name)

    def _new_operations(self, tensor: Any) -> Iterator[Any]:
        """The operations on the way to a tensor that have not been named, the first first."""
        stack, found = [tensor], list[Any]()
        while stack:
            history = getattr(stack.pop(), "_keras_history", None)
            if history is None or history.operation is None or id(history.operation) in self._renamed:
                continue
            operation, index, _ = history
            if isinstance(operation, keras.layers.InputLayer):
                continue
            self._renamed.add(id(operation))
            found.append(operation)
            stack.extend(operation._inbound_nodes[index].input_tensors)
        yield from reversed(found)

    # -- the model ----------------------------------------------------------------------------------------------------

    def _outputs(self, tree: Any) -> Any:
        """What the model returns: what the reference does, without what is None there."""
        if isinstance(tree, Step):
            return self._as_output(self._value(tree), tree)
        if isinstance(tree, Mapping):
            return {key: self._outputs(each) for key, each in tree.items() if each is not None}
        if isinstance(tree, (tuple, list)):
            found = [self._outputs(each) for each in tree if each is not None]
            return found[0] if len(found) == 1 else found
        raise ConversionError(f"the module returns {tree!r}, which is no tensor")

    def _as_output(self, result: Any, step: Step) -> Any:
        if isinstance(result, (tuple, list)):
            found = [self._as_output(each, step) for each in result if each is not None]
            return found[0] if len(found) == 1 else found
        if isinstance(result, Value) and isinstance(result.tensor, keras.KerasTensor):
            self._ends.append(result)
            return result.tensor
        raise ConversionError(f"{step.path}: what the module returns does not depend on what it computes of its inputs")

    @property
    def _ends(self) -> list[Value]:
        return self.__dict__.setdefault("ends", [])

    def _finished(self, trace: Traced, model: Any, inputs: Mapping[str, Any]) -> Built:
        taps = KerasModel(model).taps
        names = {tap.key: tap.name for tap in taps}
        port: dict[str, list[str]] = {}
        for tap in trace.calls:
            if tap in self._tapped and (name := names.get(id(self._tapped[tap].tensor))):
                port.setdefault(name, []).append(tap)
        layers: dict[Any, str] = {taps[0] if len(taps) == 1 else tuple(taps): name for name, taps in port.items()}
        return Built(
            module=self._module,
            model=model,
            layers=layers,
            axes=self._axes(trace),
            waived=_unread(taps, {*port, *(names[id(value.tensor)] for value in self._ends)}),
            free=self._free,
            input_map=self._input_map(inputs),
        )

    def _axes(self, trace: Traced) -> Axes:
        """The axes of inputs, outputs and taps: the reference's as they follow from its calls, the port's as built."""
        declared: dict[str, tuple[str, str]] = {}
        for name, layout in self._layouts.items():
            declared[name] = (layout, in_port(layout, channels_last=self._format == "channels_last"))
        shapes = {name: array.shape for name, array in self._given.arrays.items()}
        try:
            found = {
                name: layout.reference
                for name, layout in layouts_of(Axes(by_name=declared), trace.calls, trace.shapes, shapes).items()
            }
        except ParityError:
            found = {}
        for name, value in self._tapped.items():
            declared[name] = _lettered(value, found.get(name, ""))
        ends = [OUTPUT] if len(self._ends) == 1 else [name for name, _ in _outputs_of(trace.output)]
        for name, value in zip(ends, self._ends, strict=False):
            tap = next((declared[tap] for tap, each in self._tapped.items() if each.tensor is value.tensor), None)
            declared[name] = tap or _lettered(value, "")
        return Axes(by_name=declared)


def _lettered(value: Value, source: str) -> tuple[str, str]:
    """The layouts of a tensor: the reference's, with any letters where it is not known, and so the port's."""
    source = source if len(source) == len(value.order) else LETTERS[: len(value.order)]
    return source, "".join(source[axis] for axis in value.order)


def _unread(taps: Sequence[Any], known: set[str]) -> frozenset[str]:
    """Those of several results of one layer that nothing reads, and that answer to nothing."""
    read = {name for tap in taps for name in tap.reads}
    return frozenset(tap.name for tap in taps if tap.name.endswith("]") and tap.name not in read | known)


def _one_or_all(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


class _Names:
    """Names that Keras and TensorFlow take, each once."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._paths: dict[str, int] = {}

    def path(self, path: str) -> str:
        """The name of a place: `cat#2` is `cat_2`; of one that is built again, numbered."""
        return _plain_name(path)

    def new(self, name: str) -> str:
        """The name, or with a number where it is taken."""
        self._taken[name] = self._taken.get(name, 0) + 1
        if self._taken[name] == 1:
            return name
        return self.new(f"{name}_{self._taken[name]}")


def _plain_name(path: str) -> str:
    """A path in the letters that names of TensorFlow have, which begin with no `_`."""
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in path).strip("_") or "layer"


def _one_more(array: Array, layout: str) -> Array:
    """An array with its first sample once more."""
    if "N" not in layout:
        return array
    axis = layout.index("N")
    return np.concatenate([array, np.take(array, [0], axis=axis)], axis=axis)


def _runs(module: torch.nn.Module, given: Input) -> bool:
    args, kwargs = given.filled(lambda _, array: torch.from_numpy(np.array(array, copy=True)))
    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except Exception:  # whatever the user's code does with a batch that it was not made for
        return False
    return True


def _needed(trace: Traced) -> set[int]:
    """The steps whose results are read, by their identity; those that write into a tensor, too."""
    found: set[int] = set()

    def need(tree: Any) -> None:
        stack = list(_steps_in(tree))
        while stack:
            step = stack.pop()
            if id(step) not in found:
                found.add(id(step))
                stack.extend(_steps_in((step.args, step.kwargs)))

    need(trace.output)
    need([step for step in trace.steps if step.written])
    return found


def _steps_in(tree: Any) -> Iterator[Step]:
    if isinstance(tree, Step):
        yield tree
    elif isinstance(tree, Mapping):
        for each in tree.values():
            yield from _steps_in(each)
    elif isinstance(tree, (tuple, list)):
        for each in tree:
            yield from _steps_in(each)
    elif isinstance(tree, slice):
        yield from _steps_in((tree.start, tree.stop, tree.step))


def _ensure_no_views_written(trace: Traced) -> None:
    """Refuse what writes into a part of a tensor that is read later by another name: only torch shares memory."""
    before: list[Step] = []
    writers: list[tuple[Step, set[int]]] = []
    problems = []
    for step in trace.steps:
        for read in _steps_in((step.args, step.kwargs)):
            for writer, others in writers:
                if id(read.values[0]) in others:
                    problems.append(
                        f"{writer.path} writes into the memory of {read.path}, which {step.path} reads after it"
                    )
        if step.written:
            place = step.values[0].untyped_storage().data_ptr()
            shared = {
                id(each.values[0])
                for each in before
                if torch.is_tensor(each.values[0])
                and each.values[0] is not step.values[0]
                and each.values[0].untyped_storage().data_ptr() == place
            }
            writers.append((step, shared))
        before.append(step)
    if problems:
        raise ConversionError("\n".join(dict.fromkeys(problems)))


def _builder(step: Step) -> Builder:
    """Raises ConversionError where there is none."""
    kind = class_of(step.of) if isinstance(step.of, torch.nn.Module) else step.of
    if kind in BUILDERS:
        return BUILDERS[kind]
    raise ConversionError(f"No builder for {name_of(kind)}. Add one with @parity.building.builds.")


def _kind_name(step: Step) -> str:
    return name_of(class_of(step.of) if isinstance(step.of, torch.nn.Module) else step.of)


def _is_size(step: Step) -> bool:
    """Whether a step makes numbers, or tuples of them."""
    return not tensors_in(step.values[0])


def _as_size(step: Step) -> Any:
    """The number that a step makes, for any batch."""
    return _number(step.values, step)


def _number(values: Sequence[Any], step: Step) -> Any:
    first = values[0]
    if isinstance(first, (tuple, list)):
        return tuple(_number(each, step) for each in zip(*values, strict=True))
    if all(each == first for each in values):
        return first
    if isinstance(first, int):
        factor = values[1] - first
        if first == factor * step.batch:
            return Batch(factor)
    raise ConversionError(f"{step.path} makes a number that follows the size of the batch: {first} of {step.batch}")


def _like(made: Any, values: Iterator[Value]) -> Any:
    """The structure of a result, with Values in it."""
    if torch.is_tensor(made):
        return next(values)
    if isinstance(made, (tuple, list)):
        return tuple(_like(each, values) for each in made)
    return made


def _values(result: Any) -> Iterator[Value]:
    if isinstance(result, Value):
        yield result
    elif isinstance(result, (tuple, list)):
        for each in result:
            yield from _values(each)


def _operation(tensor: Any) -> Any:
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def _kind_of(operation: Any) -> str:
    """The name of an operation's class as Keras writes it in names: `zero_padding2d`."""
    return str(keras.src.utils.naming.to_snake_case(type(operation).__name__))


def _array(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().cpu())


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _outputs_of(tree: Any) -> Iterator[tuple[str, Any]]:
    """The outputs that are tensors, by the names a run has for them."""
    for name, leaf in leaves(tree, OUTPUT):
        if isinstance(leaf, Step):
            yield from ((each, value) for each, value in leaves(leaf.values[0], name) if torch.is_tensor(value))
