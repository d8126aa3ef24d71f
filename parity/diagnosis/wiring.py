"""Causes between layers: what a layer reads, in which order, and what is done to it on the way."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from parity.diagnosis.activations import ACTIVATIONS, reference_activation
from parity.diagnosis.evidence import PRESENT, REORDERED, SEEN, Evidence, Hypothesis, along
from parity.diagnosis.inputs import step, with_constant
from parity.diagnosis.relations import AXIS_NAMES, Relation, found, in_words
from parity.diagnosis.words import written
from parity.frameworks import keras
from parity.runners.edits import Change, Edit, Node, copy_of, named, of_first_tensor, passed_on
from parity.runners.taps import MOVES_ONLY
from parity.runners.tensors import as_tensor

CONCATENATIONS = frozenset({"cat", "stack"})
EXACTLY = 1e-5
"""Relative distance up to which what is done on the way is the transform it is named by: there is no noise in it."""
PAIRED = 4
"""Operands of one operation up to which every order of them is tried."""
TRIES = 200
"""Tensors within a layer that are tried in the place of others."""
FLATTENS = frozenset({"Flatten", "Reshape"})


def detour(evidence: Evidence) -> Iterator[Hypothesis]:
    """What lies on the way changes the values, and without it the layer is right: named by how it changes them."""
    order = {id(node): index for index, node in enumerate(evidence.segment.nodes)}
    for chain in _chains(evidence):
        start, end = chain[0].input_tensors[0], chain[-1].outputs[0]
        before, after = evidence.passing(start), evidence.passing(end)
        if before.shape != after.shape or np.array_equal(before, after):
            continue
        relation = next(found(after, before, _letters(evidence, before.ndim), EXACTLY), None)
        steps = ", ".join(written(node.operation) for node in chain)
        what = relation.detail if relation else "it is changed in a way that has no name"
        yield Hypothesis(
            slug=_slug(evidence, relation, before=order[id(chain[-1])] < order[id(evidence.node)]),
            detail=f"on its way to the layer, by {steps}: {what}",
            change=f"leave out {steps} before {written(evidence.segment.node.operation)}",
            edit=_around(evidence, chain, start, end),
            standing=PRESENT,
        )


def _chains(evidence: Evidence) -> Iterator[tuple[Node, ...]]:
    """Runs of nodes with one tensor in and one out, each reading the one before; without the layer's own."""
    nodes = [node for node in evidence.segment.nodes if len(node.input_tensors) == 1 and len(node.outputs) == 1]
    reader = {id(node.input_tensors[0]): node for node in nodes}
    for first in nodes:
        chain: tuple[Node, ...] = ()
        node: Node | None = first
        while node is not None and not (node is evidence.node and evidence.port_weights):
            chain = (*chain, node)
            yield chain
            node = reader.get(id(node.outputs[0]))


def _around(evidence: Evidence, chain: Sequence[Node], start: Any, end: Any) -> Edit:
    """What reads the end of a chain reads its start; where the end is the layer's value, its last step is left out."""
    readers = {
        (node, place): start
        for node in evidence.segment.nodes
        for place, tensor in enumerate(node.input_tensors)
        if tensor is end
    }
    if readers:
        return Edit(rerouted=readers)
    last = chain[-1]
    return Edit(replaced={last.operation: of_first_tensor(last, passed_on)}, rerouted={(last, 0): start})


def _letters(evidence: Evidence, rank: int) -> str:
    """A layout of that rank: the layer's own where it has it."""
    if rank == evidence.expected.ndim:
        return evidence.layout
    names = [name for name, array in zip(evidence.segment.anchors, evidence.anchors, strict=True) if array.ndim == rank]
    return evidence.scene.layout(names[0], rank) if names else "N" + "?" * (rank - 1)


def _slug(evidence: Evidence, relation: Relation | None, *, before: bool, kind: str = "") -> str:
    """The cause that a transform is called by; before the first layer with weights it is one of the input's."""
    if relation is None:
        return "unknown"
    at_input = evidence.at_input if before else evidence.prepares
    if relation.kind == "permutation":
        if relation.axis in "HWL" and "rotated" in relation.detail:
            return "spatial-shift"
        if relation.axis not in "CT?":
            return "unknown"
        return "input-channels" if at_input else "channel-permutation"
    if relation.kind in ("affine", "factor", "offset"):
        own = relation.kind == "factor" and (kind or evidence.kind) == "scale"
        return "input-normalisation" if at_input and not own else "scale"
    if relation.kind == "affine by channel":
        return "input-normalisation" if at_input else "unknown"
    return {
        "transpose": "spurious-transpose",
        "shift": "spatial-shift",
        "function": "activation-extra",
        "precision": "reduced-precision",
    }[relation.kind]


def transformed(evidence: Evidence) -> Iterator[Hypothesis]:
    """The layer's value, or what it reads, is the reference's changed: scale, channels, transposes, ..."""
    if evidence.shapes_agree:
        for relation in found(evidence.actual, evidence.expected, evidence.layout):
            undo = relation.undo
            if undo is not None:
                yield Hypothesis(
                    slug=_slug(evidence, relation, before=False),
                    detail=f"of the layer's value: {relation.detail}",
                    change=f"take that back after {written(evidence.segment.node.operation)}",
                    undone=lambda undo=undo: np.asarray(undo(evidence.actual)),  # type: ignore[misc]
                    mend=evidence.finished(undo)
                    if evidence.ends_early
                    else Edit(appended={evidence.segment.node: undo}),
                )
    if len(evidence.arrivals) != len(evidence.call.reads if evidence.call else ()):
        return
    names = evidence.call.reads if evidence.call else ()
    for place, (name, arrival, read) in enumerate(zip(names, evidence.arrivals, evidence.reads, strict=True)):
        if arrival.shape != read.shape or np.array_equal(arrival, read):
            continue
        for relation in found(arrival, read, _letters(evidence, read.ndim)):
            if relation.undo is not None:
                yield Hypothesis(
                    slug=_slug(evidence, relation, before=True, kind=evidence.scene.kind(name)),
                    detail=f"of what the layer reads: {relation.detail}",
                    change=f"take that back before {written(evidence.operation)}",
                    edit=Edit(inserted={(evidence.node, place): relation.undo}),
                )


def normalised(evidence: Evidence) -> Iterator[Hypothesis]:
    """input-normalisation: each channel of a prepared input is off by a factor and an offset of its own."""
    if not evidence.prepares or not evidence.shapes_agree or "C" not in evidence.layout:
        return
    axis, rank = evidence.channel_axis, evidence.expected.ndim
    ours, theirs = (
        np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1).astype(np.float64)
        for a in (evidence.actual, evidence.expected)
    )
    spread = theirs.var(1)
    if not (spread > 0).all() or ours.shape[1] < 3:
        return
    slopes = ((ours - ours.mean(1, keepdims=True)) * (theirs - theirs.mean(1, keepdims=True))).mean(1) / spread
    slopes = np.where(np.abs(slopes - 1) < 1e-6, 1.0, slopes)
    offsets = ours.mean(1) - slopes * theirs.mean(1)
    alike = np.ptp(slopes) < 1e-6 * np.abs(slopes).max() and np.ptp(offsets) < 1e-6 * theirs.std()
    if not np.abs(slopes).min() > 1e-9 or alike:
        return
    factor, offset = (along(each.astype(np.float32), axis, rank) for each in (slopes, offsets))
    yield Hypothesis(
        slug="input-normalisation",
        detail="by channel, the values are multiplied by "
        + f"{_listed(slopes)} and {_listed(offsets)} is added: another mean, deviation or range",
        change=f"take the reference's mean and deviation in {written(evidence.segment.node.operation)}",
        undone=lambda: (evidence.actual - offset) / factor,
        mend=with_constant(evidence),
    )


def _listed(values: Any) -> str:
    return ", ".join(f"{value:.5g}" for value in values[:4]) + (", ..." if len(values) > 4 else "")


def operands(evidence: Evidence) -> Iterator[Hypothesis]:
    """concat-order, wrong-input: an operation reads the right tensors in another order."""
    for node in evidence.segment.nodes:
        count = len(node.input_tensors)
        if not 2 <= count <= PAIRED:
            continue
        joins = evidence.kind in CONCATENATIONS
        for order in itertools.permutations(range(count)):
            if order != tuple(range(count)):
                yield Hypothesis(
                    slug="input-channels" if evidence.prepares else "concat-order" if joins else "wrong-input",
                    detail=f"its operands come in another order: the reference's are the port's {order}",
                    change=f"give {written(node.operation)} its operands in the order {order}",
                    edit=Edit(rerouted={(node, place): node.input_tensors[now] for place, now in enumerate(order)}),
                    standing=REORDERED,
                )


def wrong_input(evidence: Evidence) -> Iterator[Hypothesis]:
    """wrong-input: the port's layer reads another tensor than the reference's."""
    wanted = [name for name in _reads(evidence) if name in evidence.scene.matched or name in evidence.scene.inputs]
    odd = set(evidence.segment.anchors) - set(wanted)
    missing = [name for name in wanted if name not in evidence.segment.anchors]
    for name in missing or (wanted if odd else []):
        (value,) = evidence.scene.values([name])
        symbolic = evidence.scene.symbolic(name)
        places = _places(evidence, value.shape, keep=set(wanted))
        for anchor in dict.fromkeys(anchor for _, _, anchor in places):
            of_anchor = [(node, place) for node, place, other in places if other == anchor]
            for chosen in dict.fromkeys([tuple(of_anchor), *((one,) for one in of_anchor)]):
                names = ", ".join(dict.fromkeys(written(node.operation) for node, _ in chosen))
                yield Hypothesis(
                    slug="wrong-input",
                    detail=f"it reads {anchor}; the reference reads {name}",
                    change=f"give {names} the value of {_made_by(evidence, symbolic)}",
                    edit=Edit(rerouted=dict.fromkeys(chosen, symbolic)),
                    beside={id(symbolic): value},
                    standing=SEEN,
                )


def _made_by(evidence: Evidence, tensor: Any) -> str:
    """What makes a symbolic tensor of the port, in the words of its code."""
    operation = evidence.scene.maker(tensor)
    return f'the input "{tensor.name}"' if operation is None else written(operation)


def _reads(evidence: Evidence) -> list[str]:
    """The matched taps that the reference's layer is made of."""
    call = evidence.call
    found_names = [tap for name in (call.reads if call else ()) for tap in evidence.scene.resolved(name)]
    return list(dict.fromkeys(found_names))


def unfinished(evidence: Evidence) -> Iterator[Hypothesis]:
    """activation-missing, scale, ...: the port ends before the reference's last step, an activation or arithmetic."""
    if not evidence.ends_early or not evidence.shapes_agree:
        return
    name = evidence.segment.layer
    activation = reference_activation(evidence, name)
    change, words = activation or (step(evidence, name), evidence.kind)
    if change is None:
        return
    relation = next(found(evidence.expected, evidence.actual, evidence.layout), None)
    yield Hypothesis(
        slug="activation-missing" if activation else _slug(evidence, relation, before=False),
        detail=f"the port ends before the reference's last step, {name}: {relation.detail if relation else words}",
        change=f"{words} after {written(evidence.segment.node.operation)}",
        edit=evidence.finished(change),
        standing=SEEN,
    )


def left_out(evidence: Evidence) -> Iterator[Hypothesis]:
    """The port reads what comes before a step that it does not have: named by what that step does.

    Where that is a layer with weights, such as the norm at the end of a branch, it is wrong-input.
    """
    for name in dict.fromkeys(evidence.call.reads if evidence.call else ()):
        if (
            evidence.scene.twin(name) in (*evidence.scene.matched, *evidence.scene.inputs)
            or evidence.scene.kind(name) in ACTIVATIONS
        ):
            continue
        (value,) = evidence.scene.values([name])
        for node, place, anchor in _places(evidence, value.shape, keep=set()):
            known = dict(zip(evidence.segment.anchors, evidence.anchors, strict=True))[anchor]
            relation = next(found(value, known, _letters(evidence, value.ndim), EXACTLY), None)
            done = relation.detail if relation else f"it is made of it by {evidence.scene.kind(name)}"
            slug = _slug(evidence, relation, before=True, kind=evidence.scene.kind(name))
            yield Hypothesis(
                slug="wrong-input" if slug == "unknown" and evidence.scene.weighted(name) else slug,
                detail=f"the port reads {anchor}; the reference reads {name}, which the port does not have: {done}",
                change=f"put what answers to {name} before {written(node.operation)}",
                undone=partial(evidence.replay, Edit(inserted={(node, place): partial(_given, value=value)})),
                mend=_step(evidence, node, place, relation, name),
            )


def _step(evidence: Evidence, node: Node, place: int, relation: Relation | None, name: str) -> Edit | None:
    """The missing step put in, where it is one of arithmetic: by the name that the layer map has for it."""
    fixed = relation is not None and relation.kind in ("permutation", "transpose")
    change = relation.redo if relation is not None and fixed else step(evidence, name)
    if change is None:
        return None
    wanted = evidence.scene.name_in_port(name)
    return Edit(inserted={(node, place): named(change, wanted) if wanted else change})


def _given(x: Any, value: Any) -> Any:
    return as_tensor(value)


def _places(evidence: Evidence, shape: tuple[int, ...], keep: set[str]) -> list[tuple[Node, int, str]]:
    """Where the segment reads an anchor of that shape: those first that the reference does not read."""
    names = dict(zip(evidence.segment.anchor_keys, evidence.segment.anchors, strict=True))
    shapes = {name: array.shape for name, array in zip(evidence.segment.anchors, evidence.anchors, strict=True)}
    places = [
        (node, place, names[id(tensor)])
        for node in evidence.segment.nodes
        for place, tensor in enumerate(node.input_tensors)
        if id(tensor) in names and shapes[names[id(tensor)]] == shape
    ]
    return sorted(places, key=lambda each: each[2] in keep)


def misread(evidence: Evidence) -> Iterator[Hypothesis]:
    """wrong-input: within the layer's own operations, one reads another tensor than it should."""
    tensors = {id(t): t for node in evidence.segment.nodes for t in (*node.input_tensors, *node.outputs)}
    count = 0
    for node in evidence.segment.nodes:
        made_before = evidence.segment.nodes[: evidence.segment.nodes.index(node)]
        ready = {id(t) for each in made_before for t in each.outputs} | set(evidence.segment.anchor_keys)
        for place, now in enumerate(node.input_tensors):
            for key in ready - _before(evidence, now):
                count += tensors[key].shape == now.shape
                if tensors[key].shape == now.shape and count <= TRIES:
                    other = _made_by(evidence, tensors[key])
                    yield Hypothesis(
                        slug="wrong-input",
                        detail=f"in it, {written(node.operation)} reads {_made_by(evidence, now)}",
                        change=f"give {written(node.operation)} the value of {other}",
                        edit=Edit(rerouted={(node, place): tensors[key]}),
                    )


def _before(evidence: Evidence, tensor: Any) -> set[int]:
    """A symbolic tensor and all that it is made of within the segment: to read one of these instead is a detour."""
    maker = {id(out): node for node in evidence.segment.nodes for out in node.outputs}
    seen, waiting = set[int](), [tensor]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            waiting += maker[id(current)].input_tensors if id(current) in maker else []
    return seen


def flattened(evidence: Evidence) -> Iterator[Hypothesis]:
    """flatten-order: a map, or its columns, is flattened in another order of its axes than the reference's."""
    joins = any(len(node.input_tensors) > 1 for node in evidence.segment.nodes)
    for node in evidence.segment.nodes:
        rank = len(node.input_tensors[0].shape) if node.input_tensors else 0
        if type(node.operation).__name__ not in FLATTENS or not 2 <= len(node.outputs[0].shape) < (
            3 if joins else rank
        ):
            continue
        plain = tuple(range(1, rank))
        for order in itertools.permutations(plain):
            if order != plain:
                yield Hypothesis(
                    slug="flatten-order",
                    detail=f"the map is flattened in another order: it needs its axes in the order {order} first",
                    change=f"Permute({order}) before {written(node.operation)}",
                    edit=Edit(inserted={(node, 0): keras.layers.Permute(order)}),
                    standing=REORDERED,
                )


def shuffled(evidence: Evidence) -> Iterator[Hypothesis]:
    """channel-permutation: an operation that moves channels (pixel shuffle, ...) reads them in another order."""
    moves = evidence.kind in MOVES_ONLY or evidence.kind in ("pixelshuffle", "pixelunshuffle", "channelshuffle")
    if (
        not moves
        or len(evidence.anchors) != 1
        or "C" not in evidence.scene.layout(evidence.segment.anchors[0], evidence.anchors[0].ndim)
    ):
        return
    axis = evidence.scene.layout(evidence.segment.anchors[0], evidence.anchors[0].ndim).index("C")
    anchor_key = evidence.segment.anchor_keys[0]
    readers = [(n, p) for n in evidence.segment.nodes for p, t in enumerate(n.input_tensors) if id(t) == anchor_key]
    for order in _regroupings(evidence.anchors[0].shape[axis]):
        take = partial(_taken, order=order.tolist(), axis=axis)
        yield Hypothesis(
            slug="channel-permutation",
            detail=f"{AXIS_NAMES['C']} are read in another order than the reference's: {in_words(np.argsort(order))}",
            change=f"take the channels in the reference's order before {written(readers[0][0].operation)}",
            edit=Edit(inserted=dict.fromkeys(readers, take)),
        )


def _taken(x: Any, order: Sequence[int], axis: int) -> Any:
    return keras.ops.take(x, order, axis=axis)


def _regroupings(count: int) -> Iterator[Any]:
    """Channels counted off in two or three factors and gathered in another order of these."""
    plain, seen = np.arange(count), set()
    factors = [size for size in range(2, count) if count % size == 0]
    shapes: list[tuple[int, ...]] = [(a, count // a) for a in factors]
    shapes += [(a, b, count // a // b) for a in factors for b in factors if (count // a) % b == 0 and count > a * b]
    for shape in shapes:
        for order in itertools.permutations(range(len(shape))):
            found_order = plain.reshape(shape).transpose(order).ravel()
            if found_order.tobytes() not in seen and not np.array_equal(found_order, plain):
                seen.add(found_order.tobytes())
                yield found_order


def cropped(evidence: Evidence) -> Iterator[Hypothesis]:
    """spatial-shift: a slice or a crop begins at another place."""
    if "transpose" in evidence.kind:
        return  # the crop of a transposed convolution is output-crop
    for node in evidence.segment.nodes:
        for change, words in _shifted(node):
            yield Hypothesis(
                slug="input-channels" if evidence.prepares else "spatial-shift",
                detail=f"what is cut out begins at another place: {words}",
                change=f"{written(node.operation)} -> {words}",
                edit=Edit(replaced={node.operation: change}),
            )


def _shifted(node: Node) -> Iterator[tuple[Change, str]]:
    """A crop or a slice, moved by up to three places with its size kept."""
    operation = node.operation
    if type(operation).__name__.startswith("Cropping"):
        sides = operation.cropping if isinstance(operation.cropping[0], (tuple, list)) else (operation.cropping,)
        ways = [[(before, sum(side) - before) for before in range(sum(side) + 1)] for side in sides]
        for chosen in itertools.product(*ways):
            if list(chosen) != [tuple(side) for side in sides]:
                value = chosen if len(chosen) > 1 else chosen[0]
                yield copy_of(operation, cropping=value), f"cropping={value}"
    elif type(operation).__name__ == "GetItem":
        key = node.arguments.args[1] if len(node.arguments.args) > 1 else node.arguments.kwargs.get("key")
        parts = key if isinstance(key, tuple) else (key,)
        for index, part in enumerate(parts):
            known = part is not None and Ellipsis not in parts[: index + 1]
            axis = index - parts[:index].count(None) if known else 0
            for moved in _moved(part, node.input_tensors[0].shape[axis] if known else None):
                other = (*parts[:index], moved, *parts[index + 1 :])
                yield partial(_item, key=other), f"[{', '.join(map(_slice, other))}]"


def _moved(part: Any, size: int | None) -> Iterator[Any]:
    """A slice (or an index) a few places earlier or later."""
    if isinstance(part, bool) or part is None:
        return
    if isinstance(part, int):
        yield from (part + step for step in (-3, -2, -1, 1, 2, 3) if part + step >= 0)
    elif isinstance(part, slice) and size is not None and part.step in (None, 1):
        start, stop, _ = part.indices(size)
        if stop - start < size:
            for step in (-3, -2, -1, 1, 2, 3):
                if start + step >= 0 and stop + step <= size:
                    yield slice(start + step, stop + step)


def _item(x: Any, *args: Any, key: Any, **kwargs: Any) -> Any:
    return x[key]


def _slice(part: Any) -> str:
    if not isinstance(part, slice):
        return "..." if part is Ellipsis else str(part)
    return f"{'' if part.start is None else part.start}:{'' if part.stop is None else part.stop}"
