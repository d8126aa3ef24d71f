"""One case on trial: torch and what was built of it run on the same input, and are judged by the float64 floor.

The noise of an output is what `parity.tolerance.NoiseFloor` means by it: how far torch's float32 is from its float64.
On some inputs that is no measure of what two faithful runs may differ by: torch's own sum happens to be exact where the
variance is zero, and the port's, in another order, is off by one rounding that the division by the deviation makes
large. So where a port leaves its limits the case's conditioning is measured as well: how far torch's float64 moves when
every weight and every value of the input is moved by one float32 rounding. What is ill-conditioned is allowed that, as
measured and in no other way; a fault moves an ordinary case by far more.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from parity.axes import Array, move
from parity.building import BUILDERS, Built, built
from parity.comparison import Comparison, compare, noise_of
from parity.errors import PairError
from parity.frameworks import tf, torch
from parity.inputs.strategies import CASES, Case
from parity.pairs import Input
from parity.runners.float64 import in_float64, making
from parity.tolerance import UNIT_ROUNDOFF, Limits, Noise, NoiseFloor

PERTURBED = 8
"""How often the weights and the input are moved to measure the conditioning of a case."""
JUDGE = NoiseFloor()
EXACT = Limits(rtol=0.0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one output of a case in a mode: the values of both sides, in torch's layout, and how far apart they
    are; `note` says why they could not be compared."""

    actual: Array
    expected: Array
    comparison: Comparison | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Within its limits. What could not be compared has not passed."""
        return self.comparison is not None and self.comparison.passed


class Trial:
    """A case and its port in one data format, to be tried in any mode; torch runs once.

    Raises ConversionError where the case is refused.
    """

    def __init__(self, case: Case, data_format: str = "channels_last", port: Built | None = None) -> None:
        self.case = case
        self.port = port or built(case.module, case.given, case.layouts, data_format)

    @cached_property
    def expected(self) -> dict[str, Array]:
        """Torch's outputs in float32, by name."""
        return _outputs(self.case.module, self.case.given)

    @cached_property
    def varies(self) -> bool:
        """Whether a module that is not torch's own gives other values when it runs again: its noise is no measure."""
        if type(self.case.module).__module__.startswith("torch."):
            return False
        again = _outputs(self.case.module, self.case.given)
        return not all(
            np.array_equal(again[name], was, equal_nan=was.dtype.kind == "f") for name, was in self.expected.items()
        )

    @cached_property
    def exact(self) -> dict[str, Array]:
        """Torch's outputs in float64."""
        return _outputs(in_float64(copy.deepcopy(self.case.module)), self.case.given, wide=True)

    @cached_property
    def moves_only(self) -> bool:
        """Whether its kind computes nothing."""
        drawn_for = CASES[self.case.kind][0] if self.case.kind else None
        builder = BUILDERS.get(type(self.case.module)) or BUILDERS.get(drawn_for)
        return builder is not None and builder.moves_only

    def outcomes(self, mode: str = "eager") -> dict[str, Outcome]:
        """What comes of each output in a mode. Whatever the port raises is the port's."""
        actual = _port(self.port, self.case.given, mode)
        note = ""
        if len(actual) != len(self.expected):
            note = f"the port has {len(actual)} outputs, and torch {len(self.expected)}"
        elif self.varies:
            note = "torch gives other values each time it is run on the same input"
        if note:
            nothing = np.empty(0)
            return {name: Outcome(actual=nothing, expected=array, note=note) for name, array in self.expected.items()}
        return {
            name: self._outcome(name, *pair)
            for name, pair in zip(self.expected, zip(actual, self.expected.values(), strict=True), strict=True)
        }

    def _outcome(self, name: str, actual: Array, expected: Array) -> Outcome:
        try:
            actual = move(actual, *reversed(self.port.axes.of(name, actual.ndim)))
        except PairError as error:
            return Outcome(actual=actual, expected=expected, note=str(error))
        for what, ours, theirs in (
            ("shape", actual.shape, expected.shape),
            ("kind of values", actual.dtype.kind, expected.dtype.kind),
        ):
            if ours != theirs:
                return Outcome(actual=actual, expected=expected, note=f"its {what} is {ours}, and torch's {theirs}")
        return Outcome(actual=actual, expected=expected, comparison=self._compared(name, actual, expected))

    def _compared(self, name: str, actual: Array, expected: Array) -> Comparison:
        """NaN is equal to NaN where torch has it: the port is to have it in the same places, and only there."""
        neither = np.isnan(actual) & np.isnan(expected)
        actual, expected = (np.where(neither, 0, array) if neither.any() else array for array in (actual, expected))
        if self.moves_only:
            return compare(actual, expected, EXACT)
        noise = noise_of(expected, np.where(neither, 0, self.exact[name]))
        gain = noise.expected_rms > 0  # where all should be nothing, no share of torch's rounding says anything
        found = compare(actual, expected, JUDGE.limits(noise, anchored=gain))
        if found.passed or found.nonfinite_actual or found.nonfinite_expected:
            return found
        return compare(actual, expected, JUDGE.limits(_widest([noise, self.conditioning[name]]), anchored=gain))

    @cached_property
    def conditioning(self) -> dict[str, Noise]:
        """How far the float64 outputs move with weights and input moved by one float32 rounding, up or down."""
        generator = np.random.default_rng(0)
        found: dict[str, list[Noise]] = {name: [] for name in self.exact}
        for _ in range(PERTURBED):
            module = in_float64(copy.deepcopy(self.case.module))
            with torch.no_grad():
                for tensor in module.state_dict(keep_vars=True).values():
                    if tensor.is_floating_point():
                        tensor.mul_(torch.from_numpy(_moves(generator, tuple(tensor.shape))))
            moved = _outputs(module, self.case.given, wide=True, moved_by=generator)
            for name, array in moved.items():
                neither = np.isnan(array) & np.isnan(self.exact[name])
                found[name].append(noise_of(*(np.where(neither, 0, each) for each in (array, self.exact[name]))))
        return {name: _typical(noises) for name, noises in found.items()}


def tried(case: Case, data_format: str = "channels_last", mode: str = "eager") -> Mapping[str, Outcome]:
    """What came of each output of a case, in one data format and mode. Raises ConversionError where it is refused."""
    return Trial(case, data_format).outcomes(mode)


def _moves(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Factors of one float32 rounding, up or down."""
    return 1 + UNIT_ROUNDOFF * generator.choice([-1.0, 1.0], shape)


def _typical(noises: Iterable[Noise]) -> Noise:
    """One noise of several measurements: the root of the mean square, and the greatest of the greatest."""
    noises = list(noises)
    return replace(
        noises[0],
        rmse=float(np.sqrt(np.mean([each.rmse**2 for each in noises]))),
        gain=float(np.sqrt(np.mean([each.gain**2 for each in noises]))),
        max_abs=max(each.max_abs for each in noises),
        beside_masked=None,
    )


def _widest(noises: list[Noise]) -> Noise:
    """The greater of each measure."""
    return replace(
        noises[0],
        rmse=max(each.rmse for each in noises),
        gain=max((each.gain for each in noises), key=abs),
        max_abs=max(each.max_abs for each in noises),
        beside_masked=None,
    )


def _outputs(
    module: torch.nn.Module, given: Input, *, wide: bool = False, moved_by: np.random.Generator | None = None
) -> dict[str, Array]:
    """The outputs of a module by name, as torch has them; `wide` on float64, `moved_by` on an input moved by that."""

    def tensor(_: str, array: Array) -> torch.Tensor:
        if wide and array.dtype == np.float32:
            array = array.astype(np.float64)
            array = array if moved_by is None else array * _moves(moved_by, array.shape)
        return torch.tensor(array)  # a copy: modules that work in place change what they are given

    args, kwargs = given.filled(tensor)
    with torch.no_grad(), making(float64=wide):
        found = [each.numpy() for each in _flat(module(*args, **kwargs))]
    return {"output" if len(found) == 1 else f"output[{i}]": array for i, array in enumerate(found)}


def _port(port: Built, given: Input, mode: str) -> list[Array]:
    """The outputs of the built model in a mode, as it has them."""
    tensors = [tf.constant(move(array, *port.axes.of(name, array.ndim))) for name, array in given.arrays.items()]
    call: Any = port.model if mode == "eager" else tf.function(port.model, jit_compile=mode == "xla")
    return [np.asarray(each) for each in _flat(call(tensors if len(tensors) > 1 else tensors[0]))]


def _flat(result: Any) -> list[Any]:
    """The tensors of a result, in order."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, (tuple, list)):
        return [leaf for each in result for leaf in _flat(each)]
    return [] if result is None else [result]
