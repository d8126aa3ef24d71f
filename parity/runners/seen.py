"""A port that can be run but not traced, because its Python looks at values: what its layers make is seen as it runs.

There is no graph of it, only the calls of its layers in one run. A layer that read nothing but inputs and what other
layers made can be run alone, on the reference's values too; of the others only the propagated error is known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.pairs import Input
from parity.runners.graphs import Arguments, Firing, Graph, assembled, inferring
from parity.runners.keras_model import KerasModel, Whole, by_name
from parity.runners.segments import Segment
from parity.runners.taps import OUTPUT, Numbering, Positions, sample
from parity.runners.tensors import as_array, as_tensor
from parity.runners.watched import Watch, symbolic_of
from parity.trees import leaves, rebuilt


class Lost:
    """What Python did between layers: nobody can do it again."""

    is_lost = True
    name = "lost"

    def __call__(self, *tensors: Any) -> Any:
        """Refuse. Raises PairError."""
        raise PairError("what the port computes between its layers was seen in one run only, and cannot be run alone")


def seen(model: Any, example: Input) -> Graph | None:
    """The layers' calls in one run on the example as a graph; None where no layer makes anything of an input."""
    tensors = {name: as_tensor(array) for name, array in example.arrays.items()}
    call = example.filled(lambda name, array: symbolic_of(tensors[name], name))
    symbols = {id(tensors[name]): symbol for (name, _), symbol in zip(tensors.items(), _symbolic(call), strict=True)}
    args, kwargs = example.filled(lambda name, array: tensors[name])
    watch = Watch()
    with watch.watching():
        result = inferring(model)(*args, **kwargs)
    firings: list[Firing] = []

    def symbol(tensor: Any, name: str) -> Any:
        if id(tensor) not in symbols:
            before = [firings[-1].outputs[0]] if firings else _symbolic(call)
            symbols[id(tensor)] = made = symbolic_of(tensor, name)
            firings.append(Firing(operation=Lost(), arguments=Arguments(tuple(before), {}), outputs=[made], name=name))
        return symbols[id(tensor)]

    for each in watch.calls:
        outputs = keras.tree.flatten(each.outputs)
        if each.layer is None or not outputs or not all(map(tf.is_tensor, outputs)):
            continue
        everything = (tuple(each.args), dict(each.kwargs))
        read = {id(leaf): symbol(leaf, "lost") for leaf in _tensors(everything)}
        given = _filled(everything, read)
        made = [symbolic_of(tensor, each.name) for tensor in outputs]
        symbols.update(zip(map(id, outputs), made, strict=True))
        firings.append(Firing(operation=each.layer, arguments=Arguments(*given), outputs=made, name=each.name))
    ends = rebuilt(result, OUTPUT, lambda name, leaf: symbol(leaf, name) if tf.is_tensor(leaf) else leaf)
    return assembled(model, call, ends, firings, {})


def _symbolic(tree: Any) -> list[Any]:
    return [leaf for _, leaf in leaves(tree, "") if isinstance(leaf, keras.KerasTensor)]


def _filled(tree: Any, read: Mapping[int, Any]) -> Any:
    """The tree with symbolic tensors in place of those that were read."""
    return rebuilt(tree, "", lambda _, leaf: read.get(id(leaf), leaf))


def _tensors(tree: Any) -> list[Any]:
    """The tensors among a layer's arguments; variables and constants are none."""
    return [leaf for _, leaf in leaves(tree, "") if isinstance(leaf, tf.Tensor)]


class SeenModel(KerasModel):
    """Runs such a port, in eager mode only."""

    def __init__(self, graph: Graph, whole: Whole) -> None:
        super().__init__(graph, named=graph.names, whole=whole)

    def propagate(
        self,
        arrays: Mapping[str, Array],
        segments: Sequence[Segment],
        wanted: Sequence[Positions],
        mode: str,
        show: Callable[[int], None] = lambda done: None,
    ) -> tuple[list[Array], dict[str, Array]]:
        """One run of the model, its layers seen. Raises PairError where it calls other layers, and in another mode."""
        if mode != "eager":
            raise PairError(
                f"the port looks at values while it runs, so it cannot run in {mode}; its only mode is eager"
            )
        watch, number = Watch(), Numbering()
        with watch.watching():
            result = by_name(
                self._whole({self.feeds[name]: as_tensor(array) for name, array in arrays.items()}), OUTPUT
            )
        values = {self.output_taps[name]: value for name, value in result.items()}
        for each in watch.calls:
            if each.layer is not None:
                outputs, name = keras.tree.flatten(each.outputs), number(each.name)
                values |= {name if len(outputs) == 1 else f"{name}[{n}]": value for n, value in enumerate(outputs)}
        lacking = [segment.tap.name for segment in segments if segment.tap.name not in values]
        if lacking:
            raise PairError(f"the port went another way on this input: it did not run {lacking[0]!r}")
        made = [as_array(values[segment.tap.name]) for segment in segments]
        samples = [sample(value, places) for value, places in zip(made, wanted, strict=True)]
        return samples, {name: as_array(value) for name, value in result.items()}

    def introduce(
        self, segments: Sequence[Segment], anchors: Mapping[str, Array], mode: str
    ) -> Iterator[tuple[Segment, Array]]:
        """Each segment that can be run alone on the reference's values; the others are passed over."""
        able = [segment for segment in segments if segment.is_alone]
        return super().introduce(able, anchors, mode) if able else iter(())
