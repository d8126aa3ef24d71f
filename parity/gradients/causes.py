"""Why a layer's gradients differ, or what it does in training: each hypothesis is tried in that layer and must help."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.diagnosis.words import written
from parity.errors import PairError, WeightError
from parity.frameworks import tf, torch
from parity.gradients.layer import Differentiated, Flow, Flows
from parity.gradients.port import Trained, in_training
from parity.gradients.training import Statistics, Step, step
from parity.report import Cause, Trial
from parity.runners.edits import Edit, copy_of

STOP = "StopGradient"
"""The class of what `keras.ops.stop_gradient` makes."""
STOPPED, MISSING = "gradient-stopped", "gradient-missing-stop"


@dataclass(frozen=True, kw_only=True)
class Idea:
    """A hypothesis: with `edit` the layer would do what the reference's does."""

    slug: str
    detail: str
    change: str
    edit: Edit


def of_gradients(differentiated: Differentiated, flows: Flows, wrong: Sequence[str], mode: str) -> Cause:
    """The cause of gradients that differ; `wrong` names those that do, as in `flows.all`."""
    before = max(flows.all[name].measure.relative for name in wrong)

    def tried(edit: Edit) -> tuple[float, bool]:
        after = differentiated.flows(differentiated.pull(mode, edit).pulled[0], edit)
        left = [flow.measure for name, flow in after.all.items() if name in wrong or not flow.measure.passed]
        return max((measure.relative for measure in left), default=0.0), all(measure.passed for measure in left)

    found = _best(_ideas(differentiated), tried, before)
    return found or _padding_row(differentiated, mode, wrong, before) or _unproven(differentiated, flows, wrong, before)


def of_training(differentiated: Differentiated, kept: Sequence[Statistics], came: Step, mode: str) -> Cause:
    """The cause of another value, gradient or statistic in training mode."""

    def tried(edit: Edit) -> tuple[float, bool]:
        after = step(differentiated, kept, mode, edit)
        return after.worst, after.passed

    found = _best(_training_ideas(differentiated, kept), tried, came.worst)
    if found:
        return found
    off = ", ".join(f"{name} {measure.relative:.1e}" for name, measure in came.measures.items() if not measure.passed)
    return Cause(slug="unknown", detail=f"in training mode these differ: {off}", residual_before=came.worst)


def _best(ideas: Iterator[Idea], tried: Callable[[Edit], tuple[float, bool]], before: float) -> Cause | None:
    """The first idea that explains everything, with all that were tried; None where none does."""
    trials: list[Trial] = []
    for idea in ideas:
        try:
            left, explains = tried(idea.edit)
        except (PairError, ValueError, TypeError):
            continue
        trials.append(Trial(slug=idea.slug, detail=idea.detail, residual=left, explains=explains))
        if explains:
            return Cause(
                slug=idea.slug,
                detail=idea.detail,
                change=idea.change,
                residual_before=before,
                residual_after=left,
                tried=tuple(sorted(trials, key=lambda trial: not trial.explains)),
            )
    return None


def _ideas(differentiated: Differentiated) -> Iterator[Idea]:
    """A stop undone, or one put in: one at a time, then two."""
    single = [*_undone_stops(differentiated), *_put_in_stops(differentiated)]
    yield from single
    for first, second in itertools.islice(itertools.combinations(single, 2), 40):
        if first.slug == second.slug:
            yield Idea(
                slug=first.slug,
                detail=f"{first.detail}; {second.detail}",
                change=f"{first.change}; {second.change}",
                edit=first.edit | second.edit,
            )


def _undone_stops(differentiated: Differentiated) -> Iterator[Idea]:
    for node in differentiated.segment.nodes:
        operation = node.operation
        if type(operation).__name__ == STOP:
            yield Idea(
                slug=STOPPED,
                detail=f"the port stops the gradient at {operation.name!r} (stop_gradient); the reference does not",
                change=f"leave out keras.ops.stop_gradient ({operation.name!r})",
                edit=Edit(replaced={operation: lambda x, *args, **kwargs: x}),
            )


def _put_in_stops(differentiated: Differentiated) -> Iterator[Idea]:
    segment = differentiated.segment
    names = dict(zip(segment.anchor_keys, segment.anchors, strict=True))
    for node in segment.nodes:
        for place, tensor in enumerate(node.input_tensors):
            read = names.get(id(tensor), tensor.name)
            yield Idea(
                slug=MISSING,
                detail=f"the reference stops the gradient to {read!r} here (detach); the port lets it through",
                change=f"keras.ops.stop_gradient around {read!r} where {written(node.operation)} reads it",
                edit=Edit(inserted={(node, place): tf.stop_gradient}),
            )


def _padding_row(differentiated: Differentiated, mode: str, wrong: Sequence[str], before: float) -> Cause | None:
    """A table's row that the reference never trains: torch.nn.Embedding(padding_idx=...)."""
    module = differentiated.sides.modules(differentiated.segment).get(differentiated.segment.layer)
    row = getattr(module, "padding_idx", None)
    if not isinstance(module, torch.nn.Embedding) or row is None or list(wrong) != [".weight"]:
        return None

    def without(gradient: Any) -> Any:
        kept = np.ones((gradient.shape[0], 1), np.float32)
        kept[row] = 0
        return gradient * kept

    pulled = differentiated.pull(mode).pulled[0]
    masked = type(pulled)(
        anchors=pulled.anchors, weights=[None if each is None else without(each) for each in pulled.weights]
    )
    after = differentiated.flows(masked)
    if not after.passed:
        return None
    return Cause(
        slug=MISSING,
        detail=f"the reference gives row {row} of its table no gradient (padding_idx={row}); the port trains it",
        change=f"keep row {row} of {written(differentiated.segment.node.operation)} as it is, with a constraint",
        residual_before=before,
        residual_after=after.worst,
    )


def _unproven(differentiated: Differentiated, flows: Flows, wrong: Sequence[str], before: float) -> Cause:
    """What can be said without a replay: on which side nothing comes through, or that the gradients are others."""
    cut = {name: flows.all[name] for name in wrong}
    operations = ", ".join(dict.fromkeys(written(node.operation) for node in differentiated.segment.nodes))
    if all(not flow.port for flow in cut.values()):
        detail = f"no gradient comes through {operations} to {_listed(cut)}; the reference lets it through"
        return Cause(slug=STOPPED, detail=detail, residual_before=before)
    if all(not flow.reference for flow in cut.values()):
        detail = f"the reference stops the gradient to {_listed(cut)} here; the port lets it through"
        return Cause(slug=MISSING, detail=detail, residual_before=before)
    detail = f"the gradients to {_listed(cut)} are others, and no stop put in or left out explains it"
    return Cause(slug="unknown", detail=detail, residual_before=before)


def _listed(flows: Mapping[str, Flow]) -> str:
    words = [f"its {name[1:]}" if name.startswith(".") else repr(name) for name in flows]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _training_ideas(differentiated: Differentiated, kept: Sequence[Statistics]) -> Iterator[Idea]:
    """Settings of a normalisation, one at a time, then together."""
    single = [idea for each in kept for idea in _settings(differentiated, each)]
    yield from single
    if len(single) > 1:
        yield Idea(
            slug=single[0].slug,
            detail="; ".join(idea.detail for idea in single),
            change="; ".join(idea.change for idea in single),
            edit=_with(differentiated, {k: v for idea in single for k, v in _changes_of(idea).items()}),
        )
    yield from _forced(differentiated, kept)


def _settings(differentiated: Differentiated, each: Statistics) -> Iterator[Idea]:
    layer = each.layer
    epsilon, momentum = float(each.module.eps), each.momentum
    if not np.isclose(layer.momentum, momentum, rtol=1e-6, atol=1e-9):
        theirs = "a cumulative average" if each.module.momentum is None else f"1 - {each.module.momentum:g}"
        yield _setting(differentiated, layer, "momentum", layer.momentum, momentum, "momentum", theirs)
    if not np.isclose(layer.epsilon, epsilon, rtol=1e-6, atol=0):
        yield _setting(differentiated, layer, "norm-epsilon", layer.epsilon, epsilon, "epsilon", f"{epsilon:g}")
    if not layer.trainable:
        yield _setting(differentiated, layer, "trainable", False, True, "trainable", "trained")


def _setting(
    differentiated: Differentiated, layer: Any, slug: str, present: Any, wanted: Any, key: str, theirs: str
) -> Idea:
    words = f"{wanted:g}" if isinstance(wanted, float) else str(wanted)
    here = f"{present:g}" if isinstance(present, float) else str(present)
    return Idea(
        slug=slug,
        detail=f"{key} is {here}; the reference's is {theirs}, which is {key}={words} in Keras",
        change=f"{written(layer, **{key: present})} -> {key}={words}",
        edit=_with(differentiated, {layer: {key: wanted}}),
    )


def _forced(differentiated: Differentiated, kept: Sequence[Statistics]) -> Iterator[Idea]:
    """The port says `training` itself where it calls a layer: it is called as the model is."""
    for each in kept:
        for node in differentiated.segment.nodes:
            if node.operation is each.layer and node.arguments.kwargs.get("training") is False:
                yield Idea(
                    slug="training-mode",
                    detail=f"the port calls {each.layer.name!r} with training=False, also while it is trained",
                    change=f"leave out training=False in the call of {written(each.layer)}",
                    edit=_with(differentiated, {each.layer: {}}, forced=True),
                )


def _changes_of(idea: Idea) -> dict[Any, dict[str, Any]]:
    return {layer: change.changes for layer, change in idea.edit.replaced.items() if isinstance(change, _Changed)}


class _Changed(Trained):
    """A copy of a layer with other settings and the same weights, in training mode."""

    def __init__(self, layer: Any, changes: Mapping[str, Any], *, forced: bool) -> None:
        copy = copy_of(layer, **changes)
        copy.build(layer._build_shapes_dict["input_shape"] if layer._build_shapes_dict else layer.input.shape)
        if len(copy.weights) != len(layer.weights):
            raise WeightError(f"{layer.name!r} has other weights with {dict(changes)}")
        copy.set_weights(layer.get_weights())
        super().__init__(copy)
        self.changes = dict(changes)
        self._forced = forced

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._forced:
            kwargs.pop("training", None)
        return super().__call__(*args, **kwargs)


def _with(differentiated: Differentiated, changes: Mapping[Any, Mapping[str, Any]], *, forced: bool = False) -> Edit:
    """The segment in training mode, some of its layers with other settings."""
    replaced = {layer: _Changed(layer, settings, forced=forced) for layer, settings in changes.items()}
    return in_training(differentiated.segment) | Edit(replaced=replaced)
