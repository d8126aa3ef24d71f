"""The port as far as it is built: what it has for each step of a trace, and what could not be built."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.naming import Names, plain_name
from parity.building.reading import read_by
from parity.building.registry import BUILDERS, Builder, apply, name_of
from parity.building.reshaping import repeated
from parity.building.steps import Step, mapped, tensors_in
from parity.building.values import Batch, Site, Value
from parity.errors import BuilderError, ConversionError, ParityError, first_line
from parity.frameworks import keras, torch
from parity.parametrized import class_of, plain

KINDS_OF_NUMBERS = ("float32", "int64", "int32", "int16", "int8", "uint8", "bool")
"""What a port computes in."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A step that cannot be built: where it is in the reference, what it is, and why."""

    path: str
    kind: str
    why: str
    is_broken: bool = False
    """Whether it is no decision of the builder's: it failed."""

    def __str__(self) -> str:
        return f"{self.path} ({self.kind}): {self.why}"


class Growing:
    """What was built so far.

    `refused` is what could not be; `tapped` has the Value of each of the reference's taps; `weights` names the layers
    that hold a parameter alone. `batch` is a tensor with the network's batch.
    """

    def __init__(self, data_format: str) -> None:
        self.names = Names()
        self.refused: list[Refusal] = []
        self.tapped: dict[str, Value] = {}
        self.weights: list[str] = []
        self.batch: Value | None = None
        self._format = data_format
        self._now: dict[int, Any] = {}
        """What the port has for a tensor of the reference, as it is now, by the tensor's identity."""
        self.made: dict[int, list[Any]] = {}
        """The Keras layers of each module that was built, by its identity."""
        self._alive: dict[int, Any] = {}
        """What the port has for parameters, and for what is made of them alone, by the step's identity."""

    def start(self, stands_for: Any, value: Value) -> None:
        """Begin with an input, by the tensor or array that it stands for."""
        self._now[id(stands_for)] = value

    def build(self, step: Step) -> None:
        """Build a step; where that cannot be, keep in mind why, and go on with a stand-in."""
        try:
            result = self._part(step) if _is_part(step) else self._result(step)
        except ParityError as error:
            broken = type(error) is not ConversionError
            found = Refusal(path=step.path, kind=_kind_name(step), why=str(error), is_broken=broken)
            if found not in self.refused:
                self.refused.append(found)
            result = _stand_in(step)
        self._now[id(step.values[0])] = result
        self._tap(step, result)

    def value(self, step: Step, *, live: bool = False) -> Any:
        """What the port has for the result of a step, now; `live` where a parameter is to be a weight of the model.

        Raises ConversionError for what follows the size of the batch in a way that Keras cannot have.
        """
        if is_size(step):
            return _size(step.values, step)
        if not step.constant:
            return self._now[id(step.values[0])]
        return self._living(step) if live and _has_parameter(step) else self._constant(step)

    def stands_for(self, array: Any) -> Any:
        """What stands for an array that was started with."""
        return self._now[id(array)]

    # -- one step -----------------------------------------------------------------------------------------------------

    def _part(self, step: Step) -> Any:
        """One of several results of a step."""
        whole, place = step.args
        return self.value(whole)[place]

    def _result(self, step: Step) -> Any:
        """What a step's builder makes of the values it reads."""
        builder = _builder(step)
        is_module = isinstance(step.of, torch.nn.Module)
        site = Site(
            path=plain_name(step.path),
            data_format=self._format,
            sizes=step.sizes,
            dtypes=step.dtypes,
            earlier=self.made.get(id(step.of), ()) if is_module else (),
            batch=self.batch,
        )
        args, kwargs = self._filled((step.args, dict(step.kwargs)), live=builder.keeps_weights)
        made = applied(builder, site, args, kwargs, *([plain(step.of)] if is_module else []))
        result = _as_torch_has_it(made, step)
        if is_module:
            self.made.setdefault(id(step.of), list(site.made))
        self.names.name(result, site)
        return result

    def _filled(self, tree: Any, *, live: bool) -> Any:
        """Arguments with what the port has in place of steps."""
        return mapped(tree, lambda leaf: self.value(leaf, live=live) if isinstance(leaf, Step) else leaf)

    def _tap(self, step: Step, result: Any) -> None:
        if step.tap and isinstance(result, Value):
            self.tapped[step.tap] = result

    # -- what no input has a part in ----------------------------------------------------------------------------------

    def _constant(self, step: Step) -> Value:
        """A tensor that no input has a part in, as the Value of an array; repeated, where it follows the batch."""
        first, *others = step.values
        if all(each.shape == first.shape and torch.equal(each, first) for each in others):
            return Value.plain(_array(first))
        axes = [axis for axis, size in enumerate(step.sizes[0]) if size == Batch()]
        one = [each.narrow(axes[0], 0, 1) for each in step.values] if len(axes) == 1 else []
        if not one or not all(torch.equal(one[0].expand_as(each), each) for each in step.values):
            raise ConversionError(f"{step.path} makes a tensor that follows the size of the batch")
        return repeated(Value.plain(_array(one[0])), axes[0], self.batch)

    def _living(self, step: Step) -> Any:
        """A parameter as a weight of the model, and what is made of it as operations on that."""
        if id(step) not in self._alive:
            self._alive[id(step)] = self._weight(step) if step.kind == "get_attr" else self._result(step)
            self._tap(step, self._alive[id(step)])
        return self._alive[id(step)]

    def _weight(self, step: Step) -> Value:
        """A parameter: the only row of an Embedding that is asked for it. No plain layer of Keras is a weight alone."""
        array = _array(step.values[0])
        if self.batch is None or not array.size:
            return Value.plain(array)
        layer = keras.layers.Embedding(1, array.size, name=plain_name(step.path))
        row = layer(_first_place(self.batch))
        layer.set_weights([array.reshape(1, -1)])
        result = Value.plain(keras.ops.reshape(row, array.shape))
        self.names.name(result, Site(path=plain_name(step.path)))
        self.weights.append(layer.name)
        return result


def is_size(step: Step) -> bool:
    """Whether a step makes numbers, or tuples of them."""
    return not tensors_in(step.values[0])


def _is_part(step: Step) -> bool:
    """Whether a step takes one of several results of another."""
    return step.of is operator.getitem and not torch.is_tensor(step.args[0].values[0])


def _builder(step: Step) -> Builder:
    """Raises ConversionError where there is none."""
    kind = class_of(step.of) if isinstance(step.of, torch.nn.Module) else step.of
    if kind in BUILDERS:
        return BUILDERS[kind]
    raise ConversionError(f"No builder for {name_of(kind)}. Add one with @parity.building.builds.")


def applied(builder: Builder, site: Site, args: Sequence[Any], kwargs: dict[str, Any], *of: Any) -> Any:
    """What a builder makes. Raises BuilderError for whatever it raises that is given what it does not know."""
    try:
        return apply(builder, site, args, kwargs, *of)
    except ParityError:
        raise
    except Exception as error:
        raise BuilderError(f"its builder failed: {type(error).__name__}: {first_line(error)}") from error


def _as_torch_has_it(made: Any, step: Step) -> Any:
    """What a builder made, in torch's kind of numbers. Raises BuilderError where it is of other sizes than torch's:
    the builder does not know the call as it is made there."""
    number = iter(step.sizes)

    def alike(value: Value) -> Value:
        place = next(number, None)
        if place is None:
            return value
        sizes, wanted = step.sizes[place], step.dtypes[place]
        same_rank = len(value.shape) == len(sizes)
        if not same_rank or any(
            isinstance(ours, int) and isinstance(theirs, int) and ours != theirs
            for ours, theirs in zip(value.shape, sizes, strict=True)
        ):
            raise BuilderError(f"its builder makes {_listed(value.shape)} of it, where torch makes {_listed(sizes)}")
        is_another = keras.backend.standardize_dtype(value.tensor.dtype) != wanted and wanted in KINDS_OF_NUMBERS
        return Value(keras.ops.cast(value.tensor, wanted), value.order) if is_another else value

    return mapped(made, lambda leaf: alike(leaf) if isinstance(leaf, Value) else leaf)


def _listed(sizes: Sequence[Any]) -> str:
    return f"({', '.join('N' if each is None else str(each) for each in sizes)})"


def _kind_name(step: Step) -> str:
    return name_of(class_of(step.of) if isinstance(step.of, torch.nn.Module) else step.of)


def _has_parameter(step: Step) -> bool:
    """Whether a parameter of the module has a part in a constant."""
    if step.kind == "get_attr":
        return isinstance(step.values[0], torch.nn.Parameter)
    return any(_has_parameter(each) for each in read_by(step))


def _size(values: Sequence[Any], step: Step) -> Any:
    """The number that a step makes, for any batch; or a tuple of them."""
    first = values[0]
    if isinstance(first, (tuple, list)):
        return tuple(_size(each, step) for each in zip(*values, strict=True))
    if all(each == first for each in values):
        return first
    if isinstance(first, int) and first == (factor := values[1] - first) * step.batch:
        return Batch(factor)
    raise ConversionError(f"{step.path} makes a number that follows the size of the batch: {first} for {step.batch}")


def _stand_in(step: Step) -> Any:
    """What the steps after one that cannot be built are built on."""
    sizes = [[each if isinstance(each, int) else None for each in step.sizes[i]] for i in step.sizes]
    found = [Value.plain(keras.KerasTensor(shape, dtype=step.dtypes[number])) for number, shape in enumerate(sizes)]
    return _like(step.values[0], iter(found))


def _like(made: Any, values: Iterator[Value]) -> Any:
    """The structure of a result, with Values in it."""
    if torch.is_tensor(made):
        return next(values)
    return tuple(_like(each, values) for each in made) if isinstance(made, (tuple, list)) else made


def _first_place(batch: Value) -> Any:
    """The place of the first row of a table, made of any tensor of the network: (1,) of 0."""
    tensor = batch.tensor
    return keras.ops.zeros_like(tensor[(slice(0, 1), *[0] * (len(tensor.shape) - 1))], dtype="int32")


def _array(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().cpu())
