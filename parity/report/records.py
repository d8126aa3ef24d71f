"""The parts of a report, frozen: what was measured, what was found, what was left out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.numbers import decibels
from parity.portraits import ErrorPicture, OutputPicture, Record

PASS, INTRODUCES, INHERITS, NOT_COMPARED = "pass", "introduces", "inherits", "not compared"
DIVERGED, DIED = "diverged", "died"

VALUES, GRADIENTS, TRAINING, TRAINABLE = "values", "gradients", "training", "trainable"
"""What a finding is about."""


@dataclass(frozen=True, kw_only=True)
class Measure(Record):
    """One error of one layer. `relative` is RMSE over the RMS of the reference's values; `allowed` is its limit there.

    `gain` is the part of it that is a constant factor; `ratio` is the error in noise floors. `max_abs` is the
    greatest absolute difference, at `max_index` (in the reference's axes), `max_allowed` its limit. `compared` of
    `total` values were looked at: large maps are sampled end to end.
    """

    relative: float
    allowed: float
    gain: float
    ratio: float
    max_abs: float
    max_allowed: float
    max_index: tuple[int, ...]
    compared: int
    total: int
    passed: bool
    note: str = ""

    @property
    def floors(self) -> float:
        """The error in floors; infinite where it is no number to compare, as of values that are not finite."""
        return math.inf if self.note or not math.isfinite(self.ratio) else self.ratio

    @property
    def sqnr(self) -> float:
        """The ratio of signal to noise, in dB; infinite where nothing differs."""
        return decibels(self.relative)

    @property
    def sqnr_allowed(self) -> float:
        """The least that it may be, in dB."""
        return decibels(self.allowed)


@dataclass(frozen=True, kw_only=True)
class LayerResult(Record):
    """One layer in one run. `inside` names reference operations without a counterpart that this layer's segment holds,
    `reads` the compared layers and inputs that it reads, by the reference's names.

    `verdict` is "pass", "introduces" (its own segment is at fault), "inherits" (only what reaches it is) or "not
    compared". `introduced` is None where it was not needed: under a fixed tolerance, when the layer agrees end to
    end. `precision` is what the port's numbers are where the limits follow from that ("int8"), "" for float32; `reason`
    says why a layer was not compared, where that is not what reaches it.
    """

    layer: str
    port_layer: str
    kind: str
    floor: float
    propagated: Measure | None
    introduced: Measure | None
    verdict: str
    weighted: bool = False
    inside: tuple[str, ...] = ()
    policy: str = ""
    precision: str = ""
    reason: str = ""
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """A hypothesis that was put to the test: the relative error it leaves, and whether that is within the limits."""

    slug: str
    detail: str
    residual: float
    explains: bool


@dataclass(frozen=True, kw_only=True)
class Cause(Record):
    """Why a layer differs: a stable slug, the evidence in words, and what a replay without the fault leaves.

    `residual_before` and `residual_after` are relative errors of that one layer on the reference's activations; both
    None where nothing could be replayed (`unknown`). `change` says what to change in the port, in the words of its
    code. `also` names causes that are at work in the same layer and were undone with this one, `tied` those that
    explain the error equally well, `separated_by` the probe that told this one from others that did so on the input
    alone. `tried` has every hypothesis that was put to the test, best first.
    """

    slug: str
    detail: str
    residual_before: float | None = None
    residual_after: float | None = None
    change: str = ""
    also: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()
    separated_by: str = ""
    tried: tuple[Trial, ...] = ()

    @property
    def ranked(self) -> tuple[str, ...]:
        """The slugs that explain the error, best first, each once; the cause's own is the first."""
        return tuple(dict.fromkeys([self.slug, *self.also, *self.tied, *(trial.slug for trial in self.tried)]))


@dataclass(frozen=True, kw_only=True)
class Finding(Record):
    """A layer that differs in one run. `error` is what it introduces (or, for a first divergence, what reached it).

    `about` says in what it differs: "values", "gradients", "training" (what it computes and keeps in training mode), or
    "trainable" (which of its weights are trained at all).
    """

    layer: str
    port_layer: str
    input: str
    mode: str
    error: float
    floor: float
    cause: Cause
    introduced: bool = True
    about: str = VALUES

    @property
    def ratio(self) -> float:
        """The error in noise floors."""
        return self.error / self.floor


@dataclass(frozen=True, kw_only=True)
class Watching(Record):
    """The uninstrumented port against the instrumented one, on the whole output.

    `same` is bitwise equality; `relative` the RMSE over RMS between the two; `within` whether that stays inside the
    limits. `once` says that both are one run, which was read as it went, so that there is nothing to tell apart.
    """

    same: bool
    relative: float
    within: bool
    once: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Deviation(Record):
    """How far one output is from the reference's, in the output's own units: what a task is limited in.

    `rms` is the size of the reference's values. Of a map of two channels, such as an optical flow in pixels, there is
    the end-point error as well, the length of the difference of the two vectors: its mean and its greatest.
    """

    rmse: float
    max_abs: float
    rms: float
    epe_mean: float | None = None
    epe_max: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """One input in one mode. `warnings` say where the input leaves a layer blind.

    `output` is the error of the output, of several the worst; `outputs` has each by its name where there are several.
    `deviations` has each output's, always by name. `pictures` has the first layers at fault, `shown` the outputs that
    can be looked at, by name.
    """

    input: str
    origin: str
    mode: str
    verdict: str
    layers: tuple[LayerResult, ...]
    output: Measure
    watching: Watching
    warnings: tuple[str, ...] = ()
    outputs: Mapping[str, Measure] = field(default_factory=dict)
    deviations: Mapping[str, Deviation] = field(default_factory=dict)
    pictures: Mapping[str, ErrorPicture] = field(default_factory=dict)
    shown: Mapping[str, OutputPicture] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Every layer and the output within limits, and nothing changed by watching."""
        layers = bool(self.layers) and all(layer.verdict == PASS for layer in self.layers)
        outputs = self.output.passed and all(output.passed for output in self.outputs.values())
        return layers and outputs and self.watching.within


@dataclass(frozen=True, kw_only=True)
class Ambiguity(Record):
    """A match that nothing decided: `layer` might as well answer to each of `alternatives`, and `port_layer` to each of
    `rivals`."""

    layer: str
    port_layer: str
    alternatives: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In words: `conv1 -> conv2d_3, or conv2d_4; conv2d_3 may also be conv2`."""
        others = f", or {', '.join(self.alternatives)}" if self.alternatives else ""
        rivals = f"; {self.port_layer} may also be {', '.join(self.rivals)}" if self.rivals else ""
        return f"{self.layer} -> {self.port_layer}{others}{rivals}"


@dataclass(frozen=True, kw_only=True)
class Death(Record):
    """A process that ended before its work was done: how, and what it was doing.

    `side` is the side of the pair that was at work, "port" or "reference", "" for neither; `doing` what it had last
    said; `mode` is "" where it was not running a mode. `where` is the line of the user's code it was in, where that is
    known, `last_words` what it wrote to stderr last.
    """

    side: str
    how: str
    doing: str
    input: str = ""
    mode: str = ""
    where: str = ""
    last_words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerGradients(Record):
    """One layer in one run, differentiated: the port's gradients against the reference's, in the reference's layout.

    `arriving` is the gradient of the loss that arrives at its value, end to end. Alone, with the reference's values
    and the gradient that arrives there, `to` has what the layer hands to each value that it reads, `weights` what it
    gives each of its weights, by the reference's names. `training` has the layer's value ("value") in training mode,
    its gradients there, and its running statistics after one step. `verdict` is as in LayerResult.
    """

    layer: str
    port_layer: str
    verdict: str
    arriving: Measure | None
    to: Mapping[str, Measure] = field(default_factory=dict)
    weights: Mapping[str, Measure] = field(default_factory=dict)
    training: Mapping[str, Measure] = field(default_factory=dict)
    weighted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def alone(self) -> tuple[Measure, ...]:
        """Everything that is this layer's own."""
        return (*self.to.values(), *self.weights.values(), *self.training.values())


@dataclass(frozen=True, kw_only=True)
class GradientRun(Record):
    """One input in one mode, differentiated. `inputs` has the gradient that arrives at each input, end to end."""

    input: str
    mode: str
    verdict: str
    layers: tuple[LayerGradients, ...]
    inputs: Mapping[str, Measure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Every layer and input within limits, and something compared at all."""
        inputs = all(measure.passed for measure in self.inputs.values())
        return bool(self.layers) and all(layer.verdict == PASS for layer in self.layers) and inputs


@dataclass(frozen=True, kw_only=True)
class Coverage(Record):
    """Which taps were compared. `inside` maps an operation without a counterpart to the layer that holds it; `fused`
    has those of them with weights, which the port computes in one layer with that one.

    `apart` names those of them that have a counterpart which does not correspond: both sides compute the same, in
    steps that hold other values (another order of the channels that the next layer's weights undo). Of the layers that
    `propagated_only` names the port cannot run one alone, so that what they introduce is not known. `reasons` says of
    each match why it was made, `ambiguous` which might as well be others.
    """

    matched: Mapping[str, str]
    weighted: int
    inside: Mapping[str, str] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)
    unmatched_reference: tuple[str, ...] = ()
    unmatched_port: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    propagated_only: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    ambiguous: tuple[Ambiguity, ...] = ()

    @property
    def complete(self) -> bool:
        """Something was matched and nothing is left over but what was waived by name."""
        left = set(self.unmatched_reference) | set(self.unmatched_port)
        return bool(self.matched) and left <= set(self.waived)
