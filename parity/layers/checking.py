"""One case, checked in a test of one's own: an AssertionError says all there is to say where the port is off."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from parity.axes import CHANNELS_FIRST, DATA_FORMATS, Axes, in_port
from parity.building import Built
from parity.errors import ConversionError, UsageError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case
from parity.layers.fire import DiffersError, Failed
from parity.layers.trial import Trial
from parity.layers.words import failure
from parity.runners.taps import MODES

Builder = Callable[[torch.nn.Module], Any]


class NotExactError(AssertionError):
    """A port does not compute what torch does. The message, and with it the cause, is found once somebody reads it:
    while Hypothesis shrinks a case nobody does."""

    def __init__(self, failed: Failed) -> None:
        super().__init__()
        self.failed = failed

    @cached_property
    def _text(self) -> str:
        return failure(self.failed)

    def __str__(self) -> str:
        return self._text


def check(
    case: Case,
    *,
    data_format: str = "channels_last",
    builder: Builder | None = None,
    modes: Sequence[str] = MODES,
) -> None:
    """Raise AssertionError unless a case's port computes what torch does, in every mode; its message has the cause.

    `builder` is the converter to check: a function of the torch module that returns a Keras layer or model with its
    weights, or a function of Keras tensors, for inputs in `data_format`. Without one it is parity's own. Its outputs
    have the axes of the inputs where they are as many, and else those of the data format. Raises ConversionError where
    parity's own refuses the case, UsageError for a mode or data format that is not known.
    """
    _refuse_unknown("mode", modes, MODES)
    _refuse_unknown("data_format", (data_format,), tuple(DATA_FORMATS))
    trial = None
    for mode in modes:
        outcomes = {}
        try:
            if trial is None:
                trial = Trial(case, data_format, port=None if builder is None else _made(case, data_format, builder))
            outcomes = trial.outcomes(mode)
            if outcomes and all(outcome.passed for outcome in outcomes.values()):
                continue
            error: Exception = DiffersError("the port differs")
        except (ConversionError, UsageError):
            raise
        except Exception as raised:
            error = raised
        failed = Failed(case=case, data_format=data_format, mode=mode, error=error, trial=trial, outcomes=outcomes)
        raise NotExactError(failed) from (None if isinstance(error, DiffersError) else error)


def _made(case: Case, data_format: str, builder: Builder) -> Built:
    """What a converter makes of a case, as a functional model."""
    last = data_format == "channels_last"
    arrays = case.given.arrays
    axes = {name: (case.layouts[name], in_port(case.layouts[name], channels_last=last)) for name in arrays}
    tensors = []
    for name, array in arrays.items():
        source, target = axes[name]
        shape = [None if letter == "N" else array.shape[source.index(letter)] for letter in target]
        tensors.append(keras.Input(batch_shape=shape, dtype=str(array.dtype), name=name))
    outputs = builder(case.module)(*tensors)
    model = keras.Model(tensors if len(tensors) > 1 else tensors[0], outputs)
    by_rank = {len(source): (source, target) for source, target in reversed(axes.values())}
    reference = {**CHANNELS_FIRST, **{rank: source for rank, (source, _) in by_rank.items()}}
    port = {**DATA_FORMATS[data_format], **{rank: target for rank, (_, target) in by_rank.items()}}
    return Built(module=case.module, model=model, layers={}, axes=Axes(reference=reference, port=port, by_name=axes))


def _refuse_unknown(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    unknown = [each for each in given if each not in known]
    if unknown or not given:
        raise UsageError(f"{what} {unknown[0]!r} is not known" if unknown else f"no {what} given; known: {known}")
