"""Which number formats an artifact has where its reference's taps are: what `precision` judges by."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from parity.artifacts.model import ArtifactModel
from parity.artifacts.precision import NONE, Formats, Inner, Stored, step_of
from parity.artifacts.program import DYNAMIC, FLOAT32, Grid, Program, Step
from parity.axes import Array
from parity.errors import PairError
from parity.runners.segments import Segment

ONTO, OFF = frozenset({"QUANTIZE", "QuantizeLinear"}), frozenset({"DEQUANTIZE", "DequantizeLinear"})
"""Steps that only store real numbers on a grid, and that only read them from one."""
MOVES = frozenset({
    "CONCATENATION", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "MIRROR_PAD", "PACK", "PAD", "PADV2",
    "RELU", "RESHAPE", "REVERSE_V2", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE",
    "TRANSPOSE", "UNPACK",
})  # fmt: skip
"""Steps whose values are copies of those they read: between equal grids they do not round."""
FACTORS = frozenset({"BatchNormalization", "DIV", "Div", "MUL", "Mul"})
"""Steps that multiply by a constant, if they read one."""
SHARE = 1 / 12
"""The variance of rounding, in steps squared; that of a step up or down for one value of twelve."""


def is_low(port: object) -> bool:
    """Whether a port is an artifact whose numbers are not all float32."""
    return isinstance(port, ArtifactModel) and port.engine.program.precision != FLOAT32


@dataclass(frozen=True)
class FormatsOf:
    """The formats of an artifact that is cut into segments. `inside` has the reference's taps that are a part of a
    segment, by the tap that it ends in; `weighted` names those that are layers with weights."""

    port: ArtifactModel
    segments: Sequence[Segment]
    inside: Mapping[str, Sequence[str]]
    weighted: Collection[str]

    def formats(self) -> Formats:
        """All of them, by the reference's names."""
        ends = {segment.layer: self._tensor(segment.tap.key) for segment in self.segments}
        grids = {**{name: self._onto(tensor) for name, tensor in self._inputs().items()}}
        grids |= {layer: self._grid(tensor) for layer, tensor in ends.items()}
        weights: dict[str, Stored] = {}
        for segment in self.segments:
            stored = self._stored(segment)
            if stored is not None and self._weighted(segment):
                weights |= dict.fromkeys((*self.inside.get(segment.layer, ()), segment.layer), stored)
        return Formats(
            precision=self.program.precision,
            ends=frozenset(ends),
            grids={name: grid for name, grid in grids.items() if grid is not None},
            halves=frozenset(name for name, tensor in ends.items() if self.program.dtypes.get(tensor) == "float16"),
            weights=weights,
        )

    def inner(self, segment: Segment, anchors: Sequence[Array]) -> Inner:
        """The noise that rounding within a segment makes at its end.

        Found by the file's own steps: each value on a grid between the anchors and the end is moved up or down by a
        step here and there, each constant by half of one at most, as rounding does; what comes of it is looked at.
        """
        tensors, constants = list(self._between(segment)), list(self._constants(segment))
        if not tensors and not constants:
            return NONE
        known = {
            self._tensor(key): self._as_stored(key, value)
            for key, value in zip(segment.anchor_keys, anchors, strict=True)
        }
        end = self._tensor(segment.tap.key)
        try:
            right = self.port.engine.part(known, end).astype(np.float64)
            of_values = [self.port.engine.part(self._moved(known, tensor), end) - right for tensor in tensors]
            of_constants = [
                (self.port.engine.part(known, end, {name: self._a_step_off(name)}) - right) / 2 for name in constants
            ]
        except PairError:
            return NONE  # it cannot be run alone, and is not judged alone
        values, rest = (
            float(np.sqrt(sum(float(np.mean(np.square(each))) for each in found)))
            for found in (of_values, of_constants)
        )
        return Inner(values=values, constants=rest)

    def _moved(self, known: Mapping[str, Array], tensor: str) -> dict[str, Array]:
        """The known values, and one more that is a step off here and there."""
        value = self.port.engine.part(known, tensor)
        shares = (SHARE / 2, 1 - SHARE, SHARE / 2)
        moved = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=value.shape, p=shares)
        return {**known, tensor: (value + moved * step_of(self.program.grids[tensor])).astype(value.dtype)}

    def _a_step_off(self, constant: str) -> Array:
        """A constant, a step nearer to zero."""
        value = self.program.constants[constant]
        grid = self.program.grids.get(constant)
        step = np.spacing(np.abs(value).astype(np.float16)) if grid is None else step_of(grid)
        nearer = value - np.where(value < 0, -1, 1) * step
        return np.asarray(np.where(np.isfinite(nearer), nearer, value), value.dtype)

    def _constants(self, segment: Segment) -> Iterator[str]:
        """The constants of a segment that are rounded and are no weights of a layer of the reference."""
        if self._weighted(segment):
            return
        for name in dict.fromkeys(name for step in self._steps(segment) for name in step.inputs):
            low = self.program.dtypes.get(name) in ("float16", "int8", "uint8", "int16")
            if low and name in self.program.constants:
                yield name

    def _weighted(self, segment: Segment) -> bool:
        """Whether a layer of the reference with weights is in it."""
        return not set(self.weighted).isdisjoint((segment.layer, *self.inside.get(segment.layer, ())))

    @property
    def program(self) -> Program:
        """What the file computes."""
        return self.port.engine.program

    def _tensor(self, key: int) -> str:
        return self.port.lifted.tensors[key]

    def _as_stored(self, key: int, value: Array) -> Array:
        """A value of the graph in the file's own axes."""
        order = self.port.lifted.orders.get(self._tensor(key))
        return np.ascontiguousarray(value if order is None else value.transpose(np.argsort(order)))

    def _inputs(self) -> Mapping[str, str]:
        """The file's tensor of each of the reference's inputs."""
        ends, _ = self.port.ends
        return {theirs: self._tensor(id(ends[ours])) for theirs, ours in self.port.feeds.items()}

    def _grid(self, tensor: str) -> Grid | None:
        """The grid of a tensor, or of the one that it was only read from."""
        maker = self._makers.get(tensor)
        if tensor in self.program.grids or maker is None or maker.op not in OFF:
            return self.program.grids.get(tensor)
        return self._grid(maker.inputs[0])

    def _onto(self, tensor: str) -> Grid | None:
        """The grid of an input, or the one that every step that reads it stores it on."""
        readers = [step for step in self.program.steps if tensor in step.inputs]
        if tensor in self.program.grids or not readers or any(step.op not in ONTO for step in readers):
            return self.program.grids.get(tensor)
        return self.program.grids.get(readers[0].outputs[0])

    def _stored(self, segment: Segment) -> Stored | None:
        """How the largest weight of a segment is stored, where that is not float32."""
        dtypes, grids = self.program.dtypes, self.program.grids
        found = [
            (int(np.prod([size or 0 for size in self.program.shapes[name]])), step, name)
            for step in self._steps(segment)
            for name in step.inputs
            if name in self.program.constants and len(self.program.shapes[name]) > 1
        ]
        low = [each for each in found if dtypes[each[2]] == "float16" or each[2] in grids]
        if not low:
            return None
        _, step, name = max(low, key=lambda each: each[0])
        if name not in grids:
            return Stored()
        as_it_comes = self.program.precision == DYNAMIC and name not in self._unfolded and step.outputs[0] not in grids
        biases = [each for each in step.inputs if each in grids and len(self.program.shapes[each]) == 1]
        return Stored(
            top=grids[name].high,
            by_channel=grids[name].scale.size > 1,
            rounds_input=as_it_comes,
            folds=not any(self._multiplies(other) for other in self._steps(segment) if other is not step),
            bias_step=max((float(grids[each].scale.max()) for each in biases), default=0.0),
        )

    def _multiplies(self, step: Step) -> bool:
        """Whether a step multiplies each channel by a constant of its own, as a norm does that was left as it is."""
        held = [name for name in step.inputs if name in self.program.constants]
        return step.op in FACTORS and any(self.program.constants[name].size > 1 for name in held)

    @cached_property
    def _unfolded(self) -> frozenset[str]:
        """Constants that the file itself turns into float32 before they are used."""
        return frozenset(name for step in self.program.folded if step.op in OFF for name in step.outputs)

    def _between(self, segment: Segment) -> Iterator[str]:
        """The tensors on grids that a segment rounds to on its way to its end."""
        end = self._end(self._tensor(segment.tap.key))
        inputs = set(self._inputs().values())
        for step in self._steps(segment):
            tensor = step.outputs[0]
            is_given = step.op in ONTO and inputs.issuperset(step.inputs)
            if tensor in self.program.grids and tensor != end and not is_given and not self._copies(step):
                yield tensor

    def _copies(self, step: Step) -> bool:
        """Whether a step makes nothing but copies of values on the same grid."""
        read = [name for name in step.inputs if name in self.program.grids and name not in self.program.constants]
        grids = [self.program.grids[name] for name in (*read, step.outputs[0])]
        alike = {(float(grid.scale.flat[0]), float(grid.zero.flat[0])) for grid in grids}
        return step.op in MOVES and bool(read) and len(alike) == 1

    def _end(self, tensor: str) -> str:
        """The tensor on whose grid a value is: the one that is only read from it, or itself."""
        maker = self._makers.get(tensor)
        return tensor if maker is None or maker.op not in OFF else maker.inputs[0]

    def _steps(self, segment: Segment) -> list[Step]:
        """The steps from a segment's anchors to its end."""
        known = set(map(self._tensor, segment.anchor_keys))
        waiting, found = [self._tensor(segment.tap.key)], dict[str, Step]()
        while waiting:
            tensor = waiting.pop()
            step = self._makers.get(tensor)
            if tensor not in known and step is not None and step.name not in found:
                found[step.name] = step
                waiting += step.inputs
        return list(found.values())

    @cached_property
    def _makers(self) -> Mapping[str, Step]:
        return {tensor: step for step in self.program.steps for tensor in step.outputs}
