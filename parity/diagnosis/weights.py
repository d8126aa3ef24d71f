"""Causes in the numbers a layer carries: rearranged, in the wrong place, from elsewhere, never loaded, rounded, scaled.

Every weight of the layer that differs from what its converter gives is explained by itself, from what it is; a cause is
put forward for the layer where it explains all of them. What undoes it is made from the port's own weight wherever the
cause says how (a permuted kernel is permuted back), and the replay shows whether that was all.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array, in_order
from parity.diagnosis.evidence import SEEN, Evidence, Hypothesis
from parity.diagnosis.fingerprints import correlation, equal, places, same, same_values, shares_values
from parity.diagnosis.functions import PRECISIONS
from parity.diagnosis.initialisers import initializers, looks_fresh
from parity.diagnosis.relations import in_words
from parity.diagnosis.rounding import grid, mantissa, within
from parity.diagnosis.scene import KERNEL_AXES
from parity.diagnosis.words import written
from parity.runners.edits import Edit

SPATIAL = frozenset({"k", "kd", "kh", "kw"})
GATES: Mapping[str, tuple[str, ...]] = {"LSTM": ("i", "f", "c", "o"), "GRU": ("z", "r", "h")}
UNRELATED = 0.25
"""Correlation with the source below which a kernel may be one that was never loaded."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why one weight differs, and the weight with that undone."""

    slug: str
    detail: str
    restored: Array


def weights(evidence: Evidence) -> Iterator[Hypothesis]:
    """Every cause that explains all weights of the layer that differ from the reference's; else what can be said."""
    differing = differing_weights(evidence)
    if not differing:
        return
    explained = {index: list(_explanations(evidence, index)) for index in differing}
    slugs = [{each.slug for each in explained[index]} for index in differing]
    shared = set.intersection(*slugs)
    if len(differing) == 1 and evidence.weight_names[differing[0]] in EASILY_INITIAL:
        shared = shared - {"not-loaded"} or shared
    for slug in sorted(shared):
        chosen = {index: next(each for each in explained[index] if each.slug == slug) for index in differing}
        yield _hypothesis(evidence, slug, chosen)
    if not shared:
        yield _several(evidence, explained)


EASILY_INITIAL = frozenset({"bias", "gamma", "beta"})
"""Weights whose initial value is a constant: one alone at it is missing or ignored, not a layer left unloaded."""


def differing_weights(evidence: Evidence) -> list[int]:
    """The indices of the port's weights that are not the reference's; none where it cannot be said."""
    ours, theirs = evidence.port_weights, evidence.source_weights
    if len(ours) != len(theirs) and evidence.weight_names[:1] != ("kernel",):
        return []  # a norm without gamma or beta: which is which cannot be told by counting
    triples = enumerate(zip(ours, theirs, evidence.slacks, strict=False))
    return [index for index, each in triples if each[0].shape == each[1].shape and not same(*each)]


def first_explanation(evidence: Evidence, index: int) -> str:
    """What a weight that differs is of the reference's, in words."""
    for each in _explanations(evidence, index):
        return f"{each.slug}: {each.detail.format(it='the ' + evidence.weight_names[index])}"
    return _how_different(evidence, index)


def carries_others(evidence: Evidence) -> bool:
    """Whether the main weight is unlike the reference's, and not the reference's rearranged, rounded or scaled."""
    differing = differing_weights(evidence)
    if 0 not in differing or {each.slug for each in _explanations(evidence, 0)} - {"not-loaded"}:
        return False
    return abs(correlation(evidence.port_weights[0], evidence.source_weights[0])) < UNRELATED


def restored_edit(evidence: Evidence) -> Edit | None:
    """The layer with the reference's weights in place of those that differ; None where none differs."""
    differing = differing_weights(evidence)
    if not differing:
        return None
    return _edit(evidence, {index: evidence.source_weights[index] for index in differing})


def restored_weights(evidence: Evidence) -> tuple[Array, ...]:
    """The layer's weights, with the reference's in place of those that differ."""
    differing = set(differing_weights(evidence))
    return tuple(
        evidence.source_weights[index] if index in differing else weight
        for index, weight in enumerate(evidence.port_weights)
    )


def _hypothesis(evidence: Evidence, slug: str, chosen: Mapping[int, Explanation]) -> Hypothesis:
    names = evidence.weight_names
    alike: dict[str, list[str]] = {}
    for index, each in chosen.items():
        alike.setdefault(each.detail, []).append(names[index])
    return Hypothesis(
        slug=slug,
        detail="; ".join(detail.format(it=_each_of(of)) for detail, of in alike.items()),
        change=f"load the weights of {written(evidence.operation)} as the reference has them{_reordered(evidence)}: "
        + ", ".join(names[index] for index in chosen),
        edit=_edit(evidence, {index: each.restored for index, each in chosen.items()}),
        standing=SEEN,
    )


def _each_of(names: Sequence[str]) -> str:
    """Weights of which the same is said.

    >>> _each_of(["kernel"]), _each_of(["kernel", "recurrent_kernel", "bias"])
    ('the kernel', 'each of kernel, recurrent_kernel and bias')
    """
    *others, last = names
    return f"each of {', '.join(others)} and {last}" if others else f"the {last}"


def _several(evidence: Evidence, explained: Mapping[int, Sequence[Explanation]]) -> Hypothesis:
    """Weights that differ for different reasons, or for none that is known: then the source's values are put in."""
    known = {index: each[0] for index, each in explained.items() if each}
    unknown = [index for index in explained if index not in known]
    parts = [f"{each.slug}: {each.detail.format(it='the ' + evidence.weight_names[i])}" for i, each in known.items()]
    parts += [_how_different(evidence, index) for index in unknown]
    restored = {i: each.restored for i, each in known.items()} | {i: evidence.source_weights[i] for i in unknown}
    slugs = ["unknown"] * bool(unknown) + [each.slug for each in known.values()]
    return Hypothesis(
        slug=slugs[0],
        also=tuple(dict.fromkeys(slugs[1:])),
        detail="; ".join(parts),
        change=f"load the weights of {written(evidence.operation)} again{_reordered(evidence)}",
        edit=_edit(evidence, restored),
        standing=SEEN,
    )


def _reordered(evidence: Evidence) -> str:
    """What to mind where the kernel that has to be loaded is the reference's in the port's own order."""
    if evidence.own is None or 0 not in differing_weights(evidence):
        return ""
    given = evidence.scene.sources(evidence.segment.layer, evidence.operation)[0]
    return "" if np.array_equal(evidence.own[0], given) else ", the kernel's rows in the order of the port's flattening"


def _how_different(evidence: Evidence, index: int) -> str:
    weight, source = evidence.port_weights[index], evidence.source_weights[index]
    count = int(np.count_nonzero(weight != source))
    return f"the {evidence.weight_names[index]} differs from the reference's in {count} of {weight.size} values"


def _edit(evidence: Evidence, restored: Mapping[int, Array]) -> Edit:
    values = [restored.get(index, weight) for index, weight in enumerate(evidence.port_weights)]
    return Edit(replaced={evidence.operation: evidence.copy(weights=values)})


# -- what one weight may be -------------------------------------------------------------------------------------------


def _explanations(evidence: Evidence, index: int) -> Iterator[Explanation]:
    weight, source = evidence.port_weights[index], evidence.source_weights[index]
    if not np.isfinite(source).all():
        return
    if not np.isfinite(weight).all():
        count = int(np.count_nonzero(~np.isfinite(weight)))
        yield Explanation(
            slug="non-finite", detail=f"{{it}} holds {count} NaN or infinite value{'s' * (count > 1)}", restored=source
        )
        return
    known = weight, source, evidence.slacks[index]
    rearranged = (_axes_and_flips, _gates, _layout, _slices, _reshaped) if same_values(*known) else ()
    searches = (*rearranged, _elsewhere, _rounded, _slopes, _scaled, _constant, _fresh)
    yield from _first(search(evidence, index, weight, source) for search in searches)


def _first(groups: Iterator[Iterator[Explanation]]) -> Iterator[Explanation]:
    """What the first search that finds anything finds: they are in the order of how much they ask for."""
    for group in groups:
        found = list(group)
        if found:
            yield from found
            return


def _axes_and_flips(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """kernel-axes, kernel-flip: axes permuted, reversed, or both."""
    names = KERNEL_AXES.get(type(evidence.operation).__name__, "").split()
    if len(names) != weight.ndim:
        names = [f"axis{axis}" for axis in range(weight.ndim)]
    spatial = [axis for axis, name in enumerate(names) if name in SPATIAL]
    plain = tuple(range(weight.ndim))
    alike = evidence.alike(index)
    for order in itertools.permutations(plain):
        turned = np.transpose(weight, order)
        if turned.shape != source.shape:
            continue
        for flipped in _subsets(spatial):
            moved = np.flip(turned, flipped)
            if (order == plain and not flipped) or not alike(moved, source):
                continue
            yield Explanation(
                slug="kernel-flip" if order == plain else "kernel-axes",
                detail=_arranged(order if order != plain else None, [names[axis] for axis in flipped], names),
                restored=in_order(moved),
            )


def _arranged(order: tuple[int, ...] | None, flipped: Sequence[str], names: Sequence[str]) -> str:
    parts = []
    if order is not None:
        parts.append(f"{{it}}'s axes are permuted: it needs {' '.join(names)} = its axes {order}")
    if flipped:
        parts.append(f"{'and ' if parts else '{it} is '}reversed along {' and '.join(flipped)}")
    return ", ".join(parts)


def _gates(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """gate-order: the blocks of a recurrent layer's gates in another order."""
    gates = GATES.get(type(evidence.operation).__name__)
    if not gates or weight.shape[-1] % len(gates):
        return
    blocks = np.split(weight, len(gates), axis=-1)
    for order in itertools.permutations(range(len(gates))):
        if order != tuple(range(len(gates))):
            moved = np.concatenate([blocks[block] for block in order], axis=-1)
            if evidence.alike(index)(moved, source):
                back = " ".join(gates[order.index(block)] for block in range(len(gates)))
                yield Explanation(
                    slug="gate-order",
                    detail=f"{{it}} has its gates in the order {back}; Keras reads {' '.join(gates)}",
                    restored=moved,
                )


def _layout(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """kernel-layout: a depthwise kernel's channels and multipliers, or a grouped one's groups, taken for each other."""
    if weight.ndim < 3:
        return
    kind, shape = type(evidence.operation).__name__, weight.shape
    groups = int(evidence.config.get("groups", 1) or 1)
    if kind.startswith("Depthwise"):
        flat, splits = weight.reshape(*shape[:-2], -1), [shape[-2], shape[-1]]
    elif groups > 1:
        flat, splits = weight, [groups, shape[-1] // groups]
    else:
        return
    for first in splits:
        split = flat.reshape(*flat.shape[:-1], first, -1)
        moved = np.swapaxes(split, -1, -2).reshape(shape)
        if evidence.alike(index)(moved, source):
            what = "channels and multipliers" if kind.startswith("Depthwise") else "groups and filters"
            yield Explanation(
                slug="kernel-layout",
                detail=f"{{it}} runs through its {what} in the other order",
                restored=in_order(moved),
            )
            return


def _slices(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """channel-permutation, flatten-order: slices along one axis in another order."""
    for axis in range(weight.ndim):
        order = _order_of_slices(weight, source, axis, evidence.slacks[index])
        if order is None:
            continue
        moved = np.take(weight, np.argsort(order), axis=axis)
        if not evidence.alike(index)(moved, source):
            continue
        names = KERNEL_AXES.get(type(evidence.operation).__name__, "").split()
        along = f" along {names[axis]}" if len(names) == weight.ndim else ""
        flattened = axis == 0 and weight.ndim == 2 and _flattening(evidence, order)
        yield Explanation(
            slug="flatten-order" if flattened else "channel-permutation",
            detail=f"{{it}}'s rows follow {flattened}"
            if flattened
            else f"{{it}}'s slices{along} are {in_words(order)}",
            restored=moved,
        )
        return


def _flattening(evidence: Evidence, order: npt.NDArray[np.int64]) -> str:
    """Whether rows are in the order of a map flattened the other way; in words, "" if they are not."""
    for shape in evidence.scene.maps_of(order.size):
        channels, space = shape[0], int(np.prod(shape[1:]))
        letters = "CHW" if len(shape) == 3 else "CL"
        ways = {
            "".join(letters[axis] for axis in axes): np.arange(order.size).reshape(shape).transpose(axes).ravel()
            for axes in itertools.permutations(range(len(shape)))
        }
        for (wanted, rows), (other, turned) in itertools.product(ways.items(), ways.items()):
            if np.array_equal(rows[order], turned) or (wanted == letters and np.array_equal(turned[order], rows)):
                return f"{other} against {wanted} ({channels} channels, {space} places)"
    return ""


def _order_of_slices(weight: Array, source: Array, axis: int, slack: float) -> npt.NDArray[np.int64] | None:
    """The order with weight = take(source, order) along an axis, by the exact values of each slice; None if none.

    Where the weight is rounded, which has a `slack`, by the nearest values.
    """
    if weight.shape[axis] < 2:
        return None
    ours, theirs = (np.moveaxis(array, axis, 0).reshape(weight.shape[axis], -1)[:, :64] for array in (weight, source))
    if slack:
        products = np.square(ours).sum(1)[:, None] - 2 * ours @ theirs.T + np.square(theirs).sum(1)
        nearest = products.argmin(axis=1)
        moved = len(set(nearest.tolist())) == nearest.size and np.any(nearest != np.arange(nearest.size))
        return nearest.astype(np.int64) if moved else None
    place: dict[bytes, list[int]] = {}
    for number, row in enumerate(theirs):
        place.setdefault(row.tobytes(), []).append(number)
    order = []
    for row in ours:
        waiting = place.get(row.tobytes())
        if not waiting:
            return None
        order.append(waiting.pop(0))
    found = np.array(order, np.int64)
    return None if np.array_equal(found, np.arange(found.size)) else found


def _reshaped(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """kernel-reshape: the flat values are those of the source in another order of its axes."""
    for order in itertools.permutations(range(source.ndim)):
        if order == tuple(range(source.ndim)):
            continue
        shape = tuple(source.shape[axis] for axis in order)
        back = np.transpose(weight.reshape(shape), np.argsort(order))
        if evidence.alike(index)(back, source):
            yield Explanation(
                slug="kernel-reshape",
                detail=f"{{it}} was reshaped to {weight.shape} where axes had to be transposed",
                restored=in_order(back),
            )
            return


def _elsewhere(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """weight-order, wrong-tensor: equal to another weight of the reference."""
    own = evidence.segment.layer
    names, alike = evidence.weight_names, evidence.alike(index)
    for other, value in enumerate(evidence.source_weights):
        if other != index and value.shape == weight.shape and alike(weight, value):
            detail = f"{{it}} is the reference's {names[other]}, in the wrong slot"
            yield Explanation(slug="weight-order", detail=detail, restored=source)
            return
    if np.all(weight == weight.flat[0]):
        return  # a constant equals any other constant
    for layer, name, value in evidence.scene.tensors:
        if layer != own and value.shape == weight.shape and alike(weight, value):
            detail = f"{{it}} is the {name} of the reference's {layer}"
            yield Explanation(slug="wrong-tensor", detail=detail, restored=source)
            return


def _rounded(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """weight-precision: the source, rounded to fewer bits or to a grid."""
    if np.all(weight == weight.flat[0]):
        return
    for name, rounding in PRECISIONS.items():
        if np.array_equal(weight, rounding(source)):
            yield Explanation(
                slug="weight-precision", detail=f"{{it}} is the reference's rounded to {name}", restored=source
            )
            return
    bits = mantissa(weight)
    if bits < 18 < mantissa(source) and within(weight, source, 2.0**-bits * np.abs(source)):
        detail = f"{{it}} is the reference's rounded to {bits} bits of mantissa"
        yield Explanation(slug="weight-precision", detail=detail, restored=source)
        return
    steps = grid(weight, source)
    if steps:
        yield Explanation(
            slug="weight-precision", detail=f"{{it}} is the reference's rounded to {steps}", restored=source
        )


def _scaled(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """scale: a constant multiple of the source, or a constant more; norm-statistics: a variance times n / (n - 1)."""
    some = places(source)
    a, b = weight[some].astype(np.float64), source[some].astype(np.float64)
    size = float(b @ b)
    factor = float(a @ b) / size if size else 0.0
    if weight.size < 2 or not factor:
        return
    name = evidence.weight_names[index]
    if factor != 1 and evidence.alike(index)((weight / factor).astype(np.float32), source):
        powers = {"moving_variance": 1, "gamma": 2}
        count = _samples(factor ** powers[name]) if name in powers else 0
        if count:
            detail = f"{{it}} is {factor:.8g} times the reference's: the variance over {count} samples, "
            detail += "unbiased (n - 1) on one side only"
            yield Explanation(slug="norm-statistics", detail=detail, restored=source)
        else:
            digits = 3 if evidence.slacks[index] else 8
            detail = f"{{it}} is {factor:.{digits}g} times the reference's"
            yield Explanation(slug="scale", detail=detail, restored=(weight / factor).astype(weight.dtype))
        return
    offset = float(np.mean(a - b))
    if offset and equal((weight - np.float32(offset)).astype(np.float32), source, 1e-5):
        yield Explanation(slug="scale", detail=f"{{it}} is the reference's plus {offset:.7g}", restored=source)


def _samples(factor: float) -> int:
    """n, where the factor is n / (n - 1) or the reverse; 0 where it is neither."""
    ratio = max(factor, 1 / factor) if factor > 0 else 1.0
    count = ratio / (ratio - 1) if ratio > 1 + 1e-7 else 0.0
    return round(count) if count > 1.5 and abs(count - round(count)) < 1e-5 * count**2 + 1e-4 else 0


def _constant(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """bias-missing, norm-statistics, not-loaded: exactly what the layer's own initialiser makes, such as zeros."""
    if weight.ndim > 1 and np.any(weight[places(weight)] != weight.flat[0]):
        return
    name = evidence.weight_names[index]
    fresh = _initialised(evidence, index)
    if fresh is None or not np.array_equal(weight, fresh):
        return
    if name in ("bias", "beta") and not np.any(weight):
        yield Explanation(slug="bias-missing", detail="{it} is zero: the port adds zeros", restored=source)
    if name == "gamma":
        yield Explanation(slug="norm-statistics", detail="{it} is ignored: it is 1", restored=source)
    value = f"{fresh.flat[0]:g}" if np.all(fresh == fresh.flat[0]) else "as it was initialised"
    yield Explanation(slug="not-loaded", detail=f"{{it}} is still {value}", restored=source)


def _slopes(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """activation-slope: the slopes of a PReLU, whatever else they are."""
    if evidence.kind != "prelu" or evidence.weight_names[index] != "alpha":
        return
    alike = np.ptp(evidence.port_weights[index]) == 0
    detail = "{it} is one slope for all channels" if alike else "{it} has other slopes than the reference's"
    yield Explanation(slug="activation-slope", detail=detail, restored=source)


def _fresh(evidence: Evidence, index: int, weight: Array, source: Array) -> Iterator[Explanation]:
    """not-loaded: its values are in no weight of the reference, and such as an initialiser draws."""
    if weight.size < 8 or abs(correlation(weight, source)) > UNRELATED + 3 / np.sqrt(weight.size):
        return
    if any(shares_values(weight, other) for other in (source, *(value for _, _, value in evidence.scene.tensors))):
        return
    own = _initializer(evidence.operation, evidence.weight_names[index])
    for initializer in (own, *initializers()):
        if initializer is None or weight.ndim < 2:
            continue
        if looks_fresh(weight, initializer):
            kind = type(initializer).__name__
            detail = f"{{it}} matches no weight of the reference, and has the statistics of a new one ({kind})"
            yield Explanation(slug="not-loaded", detail=detail, restored=source)
            return


def _initialised(evidence: Evidence, index: int) -> Array | None:
    """A weight as the layer's initialiser makes it."""
    initializer = _initializer(evidence.operation, evidence.weight_names[index])
    return None if initializer is None else np.asarray(initializer(evidence.port_weights[index].shape, dtype="float32"))


def _initializer(operation: Any, name: str) -> Callable[..., Any] | None:
    owner = getattr(operation, "cell", operation)
    short = {"recurrent_kernel": "recurrent", "kernel": "kernel", "embeddings": "embeddings"}.get(name, name)
    found = getattr(owner, f"{short}_initializer", None)
    if found is None and name == "kernel":
        found = getattr(owner, "depthwise_initializer", None)
    return found if callable(found) else None


def _subsets(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    for count in range(len(axes) + 1):
        yield from itertools.combinations(axes, count)
