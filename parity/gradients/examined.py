"""One input, differentiated in every mode, after its values were examined.

sides       the reference differentiated, in float32 and in float64
backwards   the port's segments from the last to the first, each on the reference's values: once with the reference's
            gradient at its value (what is the layer's own), once with the one that the port's segments after it give
judged      both against the noise of the reference's gradients; a gradient that one side stops counts where the other
            side's has an effect
training    each segment in training mode, on the reference's values in training mode; its running statistics
explained   what differs, with its cause
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from parity.axes import Array
from parity.errors import PairError
from parity.examination import Examination
from parity.frameworks import torch
from parity.gradients.causes import of_gradients, of_training
from parity.gradients.layer import Differentiated, Flow, Flows
from parity.gradients.port import in_training, pull, weights_of
from parity.gradients.sides import Sides, measured, moved
from parity.gradients.trained import of_pair
from parity.gradients.training import Statistics, Step, Undropped, other_rates, rates_of_port, statistics_of, step
from parity.report import (
    DIVERGED,
    GRADIENTS,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    TRAINABLE,
    TRAINING,
    Cause,
    Finding,
    GradientRun,
    LayerGradients,
    Measure,
)
from parity.runners.segments import Segment

Shown = Callable[[str, float], None]
Key = TypeVar("Key")


@dataclass(kw_only=True)
class _Backwards:
    """The port on one input in one mode, differentiated."""

    flows: dict[str, Flows] = field(default_factory=dict)
    arriving: dict[str, Array] = field(default_factory=dict)
    """By tap, in the port's layout."""
    given: dict[int, Array] = field(default_factory=dict)
    """By the id of a weight of the port, what it is given end to end."""
    refused: dict[str, str] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    """The taps and inputs to which the port's gradients matter: something that is trained, or an input, lies there."""
    same: bool | None = None
    """Whether every weight and every input is given the same end to end, once that was asked."""


class Differentiation:
    """The gradients of one input; `examination` has run already. Raises PairError where the reference has none."""

    def __init__(self, examination: Examination, progress: Shown = lambda text, fraction: None) -> None:
        module = examination.subject.reference.module
        if not isinstance(module, torch.nn.Module):
            raise PairError("the reference is a recording, which cannot be differentiated; give the torch module")
        self._examination = examination
        self._progress = progress
        self._module = module
        self._pair, self._port = examination.subject.pair, examination.subject.port
        self._policy = examination.judge.policy_of
        self._given = examination.given
        self._segments = self._port.segments(examination.alignment.matched)
        self.findings: list[Finding] = []
        self._faulty = {layer for (layer, _), measure in examination.introduced.items() if not measure.passed}
        """Layers whose values are wrong: their gradients are of another function, and no fault of their own."""

    def runs(self) -> tuple[GradientRun, ...]:
        """One for each mode; none where the input is not finite, which is a finding already."""
        if self._examination.poisoned:
            return ()
        return tuple(self._run(mode) for mode in self._examination.modes)

    @cached_property
    def _sides(self) -> Sides:
        self._progress("gradients of the reference", 0.0)
        outputs = self._examination.matching.outputs
        return Sides(self._module, self._given, self._segments, outputs, self._examination.subject.policy)

    @cached_property
    def _layers(self) -> Mapping[str, Differentiated]:
        return {s.layer: self._differentiated(s, self._sides) for s in self._segments}

    def _differentiated(self, segment: Segment, sides: Sides) -> Differentiated:
        return Differentiated(segment, sides, self._pair.axes, self._policy(segment.layer))

    # -- backwards ----------------------------------------------------------------------------------------------------

    def _backwards(self, mode: str) -> _Backwards:
        made = _Backwards()
        tails = self._port.tails(self._segments)
        for theirs, ours in self._examination.matching.outputs.items():
            if theirs in self._sides.loss:
                tap = self._examination.judge.trace.output_taps[theirs]
                self._seed(made, tails[ours], moved(self._sides.loss[theirs], tap, self._pair.axes), mode)
        for segment in reversed(self._segments):
            self._progress(f"gradients, {mode}, {segment.layer}", 0.5)
            try:
                self._pull(made, segment, mode)
            except PairError as error:
                made.refused[segment.layer] = str(error)
        made.live = self._live(made)
        return made

    def _is_same(self, made: _Backwards) -> bool:
        """Whether all weights and inputs are given the same end to end: then no stop between them has an effect."""
        if made.same is None:
            made.same = self._same(made)
        return made.same

    def _same(self, made: _Backwards) -> bool:
        """The same, worked out; False if it is not known of one of them."""
        names = [name for name, array in self._given.arrays.items() if array.dtype.kind == "f"]
        if made.refused or not all(
            measure is None or measure.passed for measure in (self._arriving(n, made) for n in names)
        ):
            return False
        return all(self._same_weights(layer, made) for layer in self._layers.values())

    def _same_weights(self, layer: Differentiated, made: _Backwards) -> bool:
        parameters = layer.sides.parameters(layer.segment)
        for name, parameter in parameters.items():
            if name not in layer.carried:
                return False
            carrier, alone = layer.carried[name], layer.expected_weights[name]
            given = carrier.origin.brought_back([made.given.get(id(weight)) for weight in carrier.layer.weights])
            expected = layer.sides.given(parameter)
            expected = replace(expected, least=alone.least, least_max=alone.least_max, least_gain=alone.least_gain)
            if not measured(given, expected, layer.policy, anchored=False).passed:
                return False
        return True

    def _seed(self, made: _Backwards, tail: Segment, cotangent: Array, mode: str) -> None:
        """The gradient of the loss at an output; one that is no tap is pulled back to the taps before it."""
        if tail in self._segments:
            _add(made.arriving, tail.layer, cotangent)
            return
        at = [moved(self._sides.value(name).rounded, name, self._pair.axes) for name in tail.anchors]
        for name, gradient in pull(tail, at, [cotangent], mode=mode).pulled[0].anchors.items():
            _add(made.arriving, name, gradient)

    def _pull(self, made: _Backwards, segment: Segment, mode: str) -> None:
        layer, own = self._layers[segment.layer], made.arriving.get(segment.layer)
        if own is not None and own.shape != layer.cotangent.shape:
            own = None
        pulled = layer.pull(mode, also=[] if own is None else [own]).pulled
        made.flows[segment.layer] = layer.flows(pulled[0])
        if own is not None:
            for name, gradient in pulled[1].anchors.items():
                _add(made.arriving, name, gradient)
            for variable, gradient in zip(weights_of(segment), pulled[1].weights, strict=True):
                _add(made.given, id(variable), gradient)

    def _live(self, made: _Backwards) -> set[str]:
        live = {name for name, array in self._given.arrays.items() if array.dtype.kind == "f"}
        for segment in self._segments:
            flows = made.flows.get(segment.layer)
            reached = flows and any(flow.port for flow in flows.weights.values())
            if (flows and (reached or any(flow.port and name in live for name, flow in flows.to.items()))) or (
                flows and segment.tap.weighted
            ):
                live.add(segment.layer)
        return live

    # -- judged -------------------------------------------------------------------------------------------------------

    def _wrong(self, segment: Segment, made: _Backwards) -> list[str]:
        """The layer's gradients that differ, and whose difference has an effect."""
        flows = made.flows[segment.layer].all
        return [
            name for name, flow in flows.items() if not flow.measure.passed and self._counts(segment, name, flow, made)
        ]

    def _counts(self, segment: Segment, name: str, flow: Flow, made: _Backwards) -> bool:
        """Whether a difference has an effect.

        Where one side stops a gradient, it must be this layer that stops it (what it leads to is alive there), and the
        other side's must come from the loss and lead to something that is trained, or to an input. Two ports of one
        network may stop the same gradient at two places.
        """
        if flow.reference != flow.port and self._is_same(made):
            return False
        layer, weight = segment.layer, name.startswith(".")
        theirs, ours = weight or self._sides.live(name), weight or name in made.live
        arrives = made.arriving.get(layer)
        reached = {"reference": self._sides.arrives(layer), "port": arrives is not None and bool(arrives.any())}
        if flow.reference and not flow.port:
            return reached["reference"] and theirs and ours
        if flow.port and not flow.reference:
            return reached["port"] and theirs and ours
        return (reached["reference"] and theirs) or (reached["port"] and ours)

    def _run(self, mode: str) -> GradientRun:
        made = self._backwards(mode)
        steps, notes = self._steps(mode)
        layers = tuple(self._layer(segment, made, steps, mode) for segment in self._in_reference_order())
        inputs = {
            name: measure
            for name, array in self._given.arrays.items()
            if array.dtype.kind == "f" and (measure := self._arriving(name, made)) is not None
        }
        self._judge_settings(mode)
        found = [finding for finding in self.findings if finding.mode == mode]
        passed = all(layer.verdict == PASS for layer in layers) and all(each.passed for each in inputs.values())
        return GradientRun(
            input=self._given.name,
            mode=mode,
            verdict=PASS if passed and layers and not found else DIVERGED,
            layers=layers,
            inputs=inputs,
            notes=notes,
        )

    def _in_reference_order(self) -> list[Segment]:
        order = {name: index for index, name in enumerate(self._examination.judge.taps)}
        return sorted(self._segments, key=lambda segment: order[segment.layer])

    def _arriving(self, name: str, made: _Backwards) -> Measure | None:
        """The gradient that arrives end to end; None where it has no effect on either side, or cannot be compared."""
        own = made.arriving.get(name)
        matters = (self._sides.arrives(name) and self._sides.live(name)) or (own is not None and name in made.live)
        back = None if own is None else moved(own, name, self._pair.axes, back=True)
        expected = self._sides.arriving(name)
        if not matters or (back is not None and back.shape != expected.rounded.shape):
            return None
        return measured(back, expected, self._policy(name), anchored=False)

    def _layer(self, segment: Segment, made: _Backwards, steps: Mapping[str, "_Stepped"], mode: str) -> LayerGradients:
        layer, notes = segment.layer, []
        arriving, stepped = self._arriving(layer, made), steps.get(layer)
        if arriving is not None and not arriving.passed and self._is_same(made):
            arriving = None  # the two networks lead it along other ways, to the same end
        result = LayerGradients(
            layer=layer, port_layer=segment.tap.name, verdict=PASS, arriving=arriving,
            training=stepped.step.measures if stepped else {}, weighted=self._examination.judge.taps[layer].weighted,
        )  # fmt: skip
        if layer in self._faulty:
            return replace(result, verdict=INHERITS, training={}, notes=("its values differ: see its finding",))
        if layer in made.refused:
            return replace(result, verdict=NOT_COMPARED, notes=(made.refused[layer],))
        flows = made.flows[layer]
        wrong = self._wrong(segment, made)
        if wrong and (beside := self._layers[layer].nudged(mode)):
            flows, wrong = beside, []
            notes.append("differs only at a kink of an activation, where both sides round to different sides of it")
        elif wrong:
            self._found(segment, GRADIENTS, mode, of_gradients(self._layers[layer], flows, wrong, mode), flows, wrong)
        if stepped and not stepped.step.passed:
            self._found_in_training(segment, stepped, mode)
        notes += stepped.step.notes if stepped else []
        own = PASS if not wrong and (not stepped or stepped.step.passed) else INTRODUCES
        lost = self._uncarried(segment)
        return replace(
            result,
            verdict=own if own != PASS or arriving is None or arriving.passed else INHERITS,
            to={name: flow.measure for name, flow in self._told(flows.to, wrong, "").items()},
            weights={name: flow.measure for name, flow in self._told(flows.weights, wrong, ".").items()},
            notes=(*notes, *lost),
        )

    def _told(self, flows: Mapping[str, Flow], wrong: Collection[str], before: str) -> dict[str, Flow]:
        """The flows that are within limits, or count: one without an effect is left out."""
        return {name: flow for name, flow in flows.items() if flow.measure.passed or f"{before}{name}" in wrong}

    def _uncarried(self, segment: Segment) -> Iterator[str]:
        """What of the layer's weights could not be compared."""
        layer = self._layers[segment.layer]
        left = [name for name in layer.expected_weights if name not in layer.carried]
        if left:
            yield f"the gradients of {', '.join(left)} are not compared: it is not known how the port carries them"

    # -- training -----------------------------------------------------------------------------------------------------

    @cached_property
    def _training(self) -> "tuple[Sides | None, Undropped | None, str]":
        """The reference in training mode; why not, where it cannot be run so."""
        self._progress("the reference in training mode", 0.3)
        made: list[Undropped] = []

        def around(name_of: Any) -> Undropped:
            made.append(Undropped(name_of))
            return made[-1]

        reads = {name for call in self._sides.calls.values() for name in call.reads if _normalises(call.function)}
        try:
            sides = Sides(
                self._module,
                self._given,
                self._segments,
                self._examination.matching.outputs,
                self._examination.subject.policy,
                training=True,
                also=reads,
                around=around,
            )
        except (PairError, ValueError, KeyError) as error:
            return None, None, f"training mode is not compared: {str(error).splitlines()[0]}"
        return sides, made[0], ""

    def _steps(self, mode: str) -> tuple[dict[str, "_Stepped"], tuple[str, ...]]:
        sides, _, why = self._training
        if sides is None:
            return {}, (why,)
        found = {}
        for segment in self._segments:
            depends = in_training(segment).replaced or mode == "eager"
            values = sides.rounded.values
            known = all(name in values for name in (*segment.anchors, segment.layer))
            if segment.layer in self._faulty or not depends or not known:
                continue
            layer = self._in_training[segment.layer]
            kept = list(statistics_of(layer, self._originals))
            try:
                found[segment.layer] = _Stepped(layer=layer, kept=kept, step=step(layer, kept, mode))
            except PairError:
                continue
        return found, ()

    @cached_property
    def _in_training(self) -> Mapping[str, Differentiated]:
        sides = self._training[0]
        assert sides is not None
        known = [s for s in self._segments if all(n in sides.rounded.values for n in (*s.anchors, s.layer))]
        return {segment.layer: self._differentiated(segment, sides) for segment in known}

    @cached_property
    def _originals(self) -> Mapping[str, Any]:
        return dict(self._module.named_modules())

    def _found_in_training(self, segment: Segment, stepped: "_Stepped", mode: str) -> None:
        cause = of_training(stepped.layer, stepped.kept, stepped.step, mode)
        worst = max((m for m in stepped.step.measures.values() if not m.passed), key=lambda measure: measure.floors)
        self._add_finding(segment.layer, segment.tap.name, TRAINING, mode, worst, cause)

    # -- recorded -----------------------------------------------------------------------------------------------------

    def _found(self, segment: Segment, about: str, mode: str, cause: Cause, flows: Flows, wrong: Sequence[str]) -> None:
        worst = max((flows.all[name].measure for name in wrong), key=lambda measure: measure.floors)
        self._add_finding(segment.layer, segment.tap.name, about, mode, worst, cause)

    def _add_finding(self, layer: str, port: str, about: str, mode: str, measure: Measure, cause: Cause) -> None:
        floor = measure.relative / measure.ratio if measure.ratio else 1.0
        error = float("inf") if measure.note else measure.relative
        self.findings.append(
            Finding(
                layer=layer,
                port_layer=port,
                input=self._given.name,
                mode=mode,
                error=error,
                floor=floor,
                cause=cause,
                about=about,
            )
        )

    def _judge_settings(self, mode: str) -> None:
        """What needs no numbers: which weights are trained, and how much is dropped."""
        carried = {s.layer: self._layers[s.layer].carried for s in self._segments}
        known = {finding.layer for finding in self.findings if finding.mode == mode and finding.cause.slug == TRAINABLE}
        for layer, trainable in of_pair(self._module, self._sides, self._segments, carried).items():
            if layer not in known:
                self._setting(layer, TRAINABLE, mode, trainable.cause())
        for tap, how in self._other_rates().items():
            self._setting(tap, TRAINING, mode, Cause(slug="dropout-rate", detail=how))

    def _other_rates(self) -> dict[str, str]:
        undropped = self._training[1]
        if undropped is None:
            return {}
        theirs: dict[str, list[float]] = {}
        for name, rates in undropped.rates.items():
            theirs.setdefault(self._matched_before(name), []).extend(rates)
        return other_rates(theirs, rates_of_port(self._segments))

    def _matched_before(self, name: str) -> str:
        """The nearest tap at or before one that the port has too."""
        calls = self._sides.calls
        while name in calls and name not in self._sides.wanted and calls[name].reads:
            name = calls[name].reads[0]
        return name

    def _setting(self, layer: str, about: str, mode: str, cause: Cause) -> None:
        port = next((segment.tap.name for segment in self._segments if segment.layer == layer), layer)
        self.findings.append(
            Finding(
                layer=layer,
                port_layer=port,
                input=self._given.name,
                mode=mode,
                error=1.0,
                floor=1.0,
                cause=cause,
                about=about,
            )
        )


@dataclass(frozen=True, kw_only=True)
class _Stepped:
    layer: Differentiated
    kept: Sequence[Statistics]
    step: Step


def _normalises(function: Any) -> bool:
    return getattr(function, "running_mean", None) is not None


def _add(arriving: dict[Key, Array], name: Key, gradient: Array | None) -> None:
    if gradient is not None:
        arriving[name] = np.asarray(arriving[name] + gradient) if name in arriving else gradient
