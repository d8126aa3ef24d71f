"""Makes a port of any form ready to run: by its own graph, by one that it is opened to, or by watching it.

What a functional model takes is written in it; of a model of another form only the parameters of its call are known.
So how the reference's inputs are passed is found by name and order, and where a single parameter takes them all, by
whether the call takes a list or a dict of them.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.axes import Array
from parity.ends import all_paired
from parity.errors import PairError, RefusedInputError
from parity.frameworks import keras
from parity.pairs import INPUT, Input
from parity.runners.graphs import Graph, called, inferring, is_layer
from parity.runners.keras_model import KerasModel, by_name
from parity.runners.model_file import loaded
from parity.runners.opening import is_flat, opened
from parity.runners.seen import Lost, SeenModel, seen
from parity.runners.watched import watched
from parity.trees import leaves, rebuilt

Names = Mapping[str, str]
"""Names of inputs, and for each what else it is called, as in `parity.ends`."""


class Port:
    """A port of any form. `inputs` are given to `engine` by the reference's names, in the port's layout.

    A model that has to be opened or watched gets an engine for each set of shapes. Raises PairError for what cannot be
    called.
    """

    def __init__(self, port: Any) -> None:
        self.model = loaded(Path(port)) if isinstance(port, (str, Path)) else port
        if not callable(self.model):
            raise PairError(f"the port is a {type(self.model).__name__}; a Keras model or a callable is needed")
        self.is_flat = is_flat(self.model)
        self._used = KerasModel(self.model) if self.is_flat else None
        self._engines: dict[tuple[Any, ...], KerasModel] = {}

    @property
    def used(self) -> KerasModel:
        """What ran the port last. Raises PairError for a model that was not opened yet."""
        if self._used is None:
            raise PairError(f"the port, {type(self.model).__name__}, is opened when it is given its first input")
        return self._used

    def engine(self, arrays: Mapping[str, Array], names: Names, input_map: Mapping[str, str]) -> KerasModel:
        """What runs the port on inputs of these shapes. `names` says what else the reference calls them.

        Raises PairError where the port takes no such inputs, or can neither be opened nor watched.
        """
        key = tuple((name, array.shape, array.dtype.str) for name, array in arrays.items())
        if not self.is_flat and key not in self._engines:
            self._engines[key] = _engine(self.model, *_call(self.model, arrays, names, input_map))
        self._used = self._engines.get(key, self._used)
        return self.used

    def call(self, arrays: Mapping[str, Array], names: Names, input_map: Mapping[str, str]) -> tuple[Input, Names]:
        """The call of the model with inputs of these shapes, and what the model itself calls them.

        Raises PairError where the port takes no such inputs.
        """
        return _call(self.model, arrays, names, input_map)

    def restore(self) -> None:
        """Undo what runs may have done to the port's weights."""
        if self._used is not None:
            self._used.restore()


def _engine(model: Any, example: Input, others: Names) -> KerasModel:
    """The engine of a model that is called like the example; `others` are the port's own names of its inputs."""
    graph = _graph(model, example)
    for name, tensor in by_name(graph._inputs_struct, INPUT).items():
        tensor.name = others.get(name) or tensor.name

    def whole(values: Mapping[str, Any]) -> Any:
        only = next(iter(values.values())) if len(values) == 1 else None
        given = rebuilt(graph._inputs_struct, INPUT, lambda name, leaf: values[name] if only is None else only)
        return inferring(model)(given) if graph.args else inferring(model)(**given)

    if any(isinstance(node.operation, Lost) for node in graph.nodes):
        return SeenModel(graph, whole)
    return KerasModel(graph, named=graph.names, whole=whole)


def _graph(model: Any, example: Input) -> Graph:
    """The model opened, or else watched, or else seen in one run."""
    graph = opened(model, [example]) if isinstance(model, keras.layers.Layer) else None
    if graph is None or graph.closed:
        graph = watched(model, [example]) or graph or seen(model, example)
    if graph is None:
        raise PairError(f"nothing that the port, {type(model).__name__}, returns is made of its inputs")
    return graph


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One way to call a model: a structure with a leaf for each input, as the only argument or as those by name.

    `others` has what the model itself calls its inputs.
    """

    structure: Any
    others: Names = field(default_factory=dict)
    by_parameter: bool = False

    @property
    def ends(self) -> dict[str, str]:
        """The names of the inputs in this way, and what the model calls them."""
        found = [name for name, _ in leaves(self.structure, INPUT)]
        return {name: self.others.get(name, "") for name in ([INPUT] if len(found) == 1 else found)}

    def example(self, arrays: Mapping[str, Array]) -> Input:
        """The call with arrays by these names."""
        only = len(self.ends) == 1
        given = rebuilt(self.structure, INPUT, lambda name, leaf: arrays[INPUT if only else name])
        return Input(name="port", kwargs=given) if self.by_parameter else Input(name="port", args=(given,))


def _call(model: Any, arrays: Mapping[str, Array], names: Names, input_map: Mapping[str, str]) -> tuple[Input, Names]:
    """How the model is called with these arrays, and what it calls its inputs: the first way that it takes.

    Raises PairError with what the model says where it takes none.
    """
    refusals: list[Exception] = []
    for way in _ways(model, names):
        try:
            feeds = all_paired(names, way.ends, input_map, "input")
            example = way.example({ours: arrays[theirs] for theirs, ours in feeds.items()})
            called(model, example)
        except Exception as error:  # a user's own code may refuse in any way
            refusals.append(error)
            continue
        return example, way.ends
    if isinstance(refusals[0], PairError):
        raise refusals[0]
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    words = re.sub(r"\x1b\[\d*m", "", str(refusals[0])).strip() or type(refusals[0]).__name__
    lines = [line for line in words.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    raise RefusedInputError(f"the port cannot be run on {shapes}: {lines[0]}") from refusals[0]


def _ways(model: Any, names: Names) -> Iterator[_Way]:
    """The ways in which a model may take inputs that the reference calls by these names."""
    graph = getattr(model, "_functional", None) or model
    structure = getattr(graph, "_inputs_struct", getattr(model, "_nested_inputs", None))
    if structure is not None:
        tensors = dict(leaves(structure, INPUT))
        keys = [INPUT] if len(tensors) == 1 else list(tensors)
        others = {key: str(t.name).partition(":")[0] for key, t in zip(keys, tensors.values(), strict=True)}
        yield _Way(structure=structure, others=others)
        return
    chosen = _parameters(model, names)
    if len(chosen) > 1:
        yield _Way(
            structure=dict.fromkeys(chosen), others={f"{INPUT}.{name}": name for name in chosen}, by_parameter=True
        )
    elif len(names) == 1:
        yield _Way(structure=None, others={INPUT: chosen[0] if chosen else ""})
    else:
        keys = [other or name.rpartition(".")[2] for name, other in names.items()]
        yield _Way(structure=[None] * len(names), others={f"{INPUT}[{n}]": key for n, key in enumerate(keys)})
        yield _Way(structure=dict.fromkeys(keys), others={f"{INPUT}.{key}": key for key in keys})


def _parameters(model: Any, names: Names) -> list[str]:
    """The parameters that take inputs: those without a default, those called like an input, and as many as needed."""
    taken = inspect.signature(model.call if is_layer(model) else model).parameters.values()
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = [each for each in taken if each.kind not in open_ended and each.name != "training"]
    called_by = {name.rpartition(".")[2] for name in names} | set(names.values())
    chosen = {each.name for each in found if each.default is each.empty or each.name in called_by}
    for each in found:
        if len(chosen) < len(names) and len(chosen) > 1 and each.name != "mask":
            chosen.add(each.name)
    return [each.name for each in found if each.name in chosen]
