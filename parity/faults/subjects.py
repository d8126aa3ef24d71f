"""A faithful pair at one size, with all that its faulty copies are held against, made once and shared by them.

What is at hand: the reference's values at every tap, the noise floor of every layer, and the pair's verifier, whose
float64 reference and compiled graphs serve every run.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, cast

import numpy as np

from parity import inputs
from parity.alignment import Alignment, align
from parity.axes import Array, move
from parity.errors import PairError
from parity.faults.planting import Ground, Planted, plant
from parity.layouts import derived_for
from parity.models import Settings, load
from parity.models.small import NETWORKS
from parity.pairs import INPUT, Input, Pair
from parity.report import Report
from parity.runners.edits import edited_copy, evaluate, nodes_of
from parity.runners.keras_model import KerasModel
from parity.runners.taps import OUTPUT
from parity.runners.tensors import as_array, as_tensor
from parity.verification import Verifier

SIZES: Mapping[str, tuple[tuple[int, ...], ...]] = {
    # Most are of unequal sides, so that a transpose has another shape; some have equal ones, so that it has not, and
    # some a side as long as there are channels.
    "flownet": ((128, 64), (64, 128), (64, 64)),
    "residual": ((46, 30), (31, 45), (64, 37), (40, 40)),
    "unet": ((28, 20), (16, 36), (44, 24), (24, 24)),
    "depthwise": ((38, 26), (27, 41), (32, 19), (24, 24)),
    "mlp": ((22, 17), (16, 31), (30, 18), (24, 24)),
    "upscaler": ((24, 17), (13, 21), (40, 22), (16, 16)),
    "tagger": ((7,), (5,), (11,), (9,)),
    "encoder": ((9,), (4,), (13,), (16,)),
}
"""The models of the benchmark, and the sizes each is run at: width and height, or a length."""

EQUAL = 1e-9
"""Relative difference in float64 up to which a mutant is equal to the original."""


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """A faulty copy, ready to be verified: `verifier` has its pair. `effects` has what each fault does, in floors."""

    verifier: Verifier
    layers: tuple[tuple[str, ...], ...]
    effects: tuple[float, ...]


class UnusableError(Exception):
    """A mutant that says nothing; the message is the reason it is counted under."""


class Subject:
    """The faithful pair of `model` at a size, its weights and its noise drawn from `seed`."""

    def __init__(self, model: str, seed: int, size: tuple[int, ...]) -> None:
        self.model, self.seed, self.size = model, seed, size
        self.pair, self._noise = _pair(model, seed, size)
        self.given = self._noise(seed)
        self.verifier = Verifier(self.pair)
        self.pair = derived_for(self.verifier.filled(self.given), self.verifier.reference, self.given)
        self.alignment = self._aligned(self.verifier.port)
        self.ground = Ground(
            port=self.verifier.port,
            segments=self.verifier.port.segments(self.alignment.matched),
            modules=dict(self.pair.reference.named_modules()),
            axes=self.pair.axes,
        )

    def noises(self) -> Iterator[Input]:
        """Inputs of other noise, one after the other."""
        return (self._noise(1000 + 7 * self.seed + index) for index in count())

    @cached_property
    def clean(self) -> Report:
        """What the verification says of the faithful port, in eager mode."""
        return self.verifier.report(self.given, ("eager",))

    @cached_property
    def floors(self) -> Mapping[str, float]:
        """The noise floor of each layer."""
        return {layer.layer: layer.floor for layer in self.clean.runs[0].layers}

    @property
    def reads(self) -> Mapping[str, tuple[str, ...]]:
        """The taps whose values each layer's segment reads."""
        return {segment.layer: segment.anchors for segment in self.ground.segments}

    @cached_property
    def values(self) -> Mapping[str, Array]:
        """The reference's value at each matched tap, and its input, in the reference's layout."""
        return self.values_on(self.given)

    def values_on(self, given: Input) -> Mapping[str, Array]:
        """The reference's value at each matched tap on that input."""
        return self.verifier.reference.values(given, {*self.alignment.matched, INPUT})

    @cached_property
    def _anchors(self) -> dict[str, Any]:
        """The same as tensors in the port's layout."""
        return {name: as_tensor(self._moved(name, value)) for name, value in self.values.items()}

    def _moved(self, name: str, value: Array) -> Array:
        return np.ascontiguousarray(move(value, *self.pair.axes.of(name, value.ndim)))

    def _aligned(self, port: KerasModel) -> Alignment:
        trace = self.verifier.reference.taps(self.given)
        return align(
            trace.taps,
            port.taps,
            layers=self.pair.layers,
            axes=self.pair.axes,
            outputs={trace.output_taps[OUTPUT]: port.output_taps[OUTPUT]},
            aliases=trace.aliases,
            waived=self.pair.waived,
        )

    def faulty(self, faults: Sequence[Planted]) -> Faulty:
        """The copy with these faults. Raises UnusableError where it cannot be built or run, or equals the original."""
        port = self._built(faults)
        alignment = self._aligned(port)
        lost = tuple(name for name in self.alignment.matched if name not in alignment.matched)
        layers = tuple((*fault.layers, *(name for name in lost if len(faults) == 1)) for fault in faults)
        layers = tuple(tuple(dict.fromkeys(names)) for names in layers)
        try:
            effects = tuple(self._effect(port, alignment, names) for names in layers)
            port.plain({INPUT: self._moved(INPUT, self.given.array)}, "eager")
        except Exception as error:  # whatever Keras or TensorFlow say to a model that makes no sense
            raise UnusableError("cannot be run") from error
        # Rounding alone differs by a few floors: only what might be that is looked at in float64.
        if max(effects) < 1000 and self._equal_in_float64(faults):
            raise UnusableError("equal in float64")
        return Faulty(verifier=self._verifier(port), layers=layers, effects=effects)

    def _built(self, faults: Sequence[Planted]) -> KerasModel:
        try:
            return KerasModel(plant(self.pair.port, faults))
        except PairError:
            raise UnusableError("cannot be built") from None
        except Exception as error:  # as above
            raise UnusableError("cannot be built") from error

    def _verifier(self, port: KerasModel) -> Verifier:
        """A verifier of the port that shares the reference. Layers that a fault wraps are known to have no tap."""
        new = {tap.name for tap in port.taps if tap.weighted} - {tap.name for tap in self.ground.port.taps}
        pair = replace(self.pair, port=port.model, waived=self.pair.waived | new)
        verifier = Verifier(pair)
        verifier.reference = self.verifier.reference
        return verifier

    def _effect(self, port: KerasModel, alignment: Alignment, layers: Sequence[str]) -> float:
        """How far the faulty segments' values are from the faithful ones', on the reference's values: in floors."""
        clean = {segment.layer: segment for segment in self.ground.segments}
        faulty = [segment for segment in port.segments(alignment.matched) if segment.layer in layers]
        ratios = [0.0]
        for segment in faulty:
            pair = clean[segment.layer], segment
            right, wrong = (as_array(s.run([self._anchors[name] for name in s.anchors])) for s in pair)
            ratios.append(_relative(wrong, right) / self.floors[segment.layer])
        return max(ratios)

    def _equal_in_float64(self, faults: Sequence[Planted]) -> bool:
        """Whether every tap has the same value in the faulty copy as in the original, both in float64."""
        faulty = _every_value(plant(self.pair.port, faults, dtype="float64"), self._wide_input)
        right = self._in_float64
        return right.keys() <= faulty.keys() and all(_relative(faulty[name], right[name]) < EQUAL for name in right)

    @cached_property
    def _in_float64(self) -> Mapping[str, Array]:
        """The value of every tap of the faithful port in float64."""
        return _every_value(edited_copy(self.pair.port, dtype="float64"), self._wide_input)

    @cached_property
    def _wide_input(self) -> Array:
        """The input in the port's layout, in float64; tokens as they are."""
        array = self._moved(INPUT, self.given.array)
        return array.astype(np.float64) if array.dtype == np.float32 else array


def _pair(model: str, seed: int, size: tuple[int, ...]) -> tuple[Pair, Callable[[int], Input]]:
    """The pair, and what makes noise of its size from a seed. Raises UnknownModelError for an unknown name."""
    if model in NETWORKS:
        network = NETWORKS[model]
        return network.pair(seed, size)[0], lambda noise: network.input("noise", size, noise)
    pair, (given, *_) = load(model, Settings(inputs=("noise",), size=cast(tuple[int, int], size), seed=seed))
    return pair, lambda noise: inputs.noise(given.array.shape, seed=noise)


def _every_value(model: Any, array: Array) -> dict[str, Array]:
    """The value of every tap of a Keras model, by its name."""
    port = KerasModel(model)
    known = {id(model.inputs[0]): as_tensor(array)}
    for node in nodes_of(model):
        if not node.is_input:
            evaluate(node, known)
    return {tap.name: np.asarray(known[tap.key]) for tap in port.taps}


def _relative(actual: Array, expected: Array) -> float:
    """RMSE over the RMS of what is expected; infinite where the shapes differ or a value is not finite."""
    if actual.shape != expected.shape:
        return math.inf
    difference = float(np.sqrt(np.mean(np.square(actual.astype(np.float64) - expected))))
    size = float(np.sqrt(np.mean(np.square(expected.astype(np.float64)))))
    if not math.isfinite(difference):
        return math.inf
    return difference / size if size else (math.inf if difference else 0.0)
