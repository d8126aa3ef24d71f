"""What each kind of layer says about axes: of the tensor it makes, from what it reads; of those it reads.

A rule looks at what was called and with what arguments. It never looks for an order of axes that would fit the sizes;
sizes are used for reshapes alone, whose meaning they are.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from parity.axes import CHANNELS_FIRST, CHANNELS_LAST
from parity.frameworks import torch
from parity.layouts.letters import Merged, broadcast, fresh, inserted, merges, only_batches_merge, reshaped
from parity.parametrized import class_of
from parity.runners.calls import Call, Read
from parity.runners.taps import kind_of

Told = TypeVar("Told")
_OF_A_RANK = re.compile(
    r"(?:lazy)?(?:conv|convtranspose|maxpool|avgpool|adaptiveavgpool|adaptivemaxpool|lppool|fractionalmaxpool|maxunpool"
    r"|instancenorm|reflectionpad|replicationpad|constantpad|circularpad|zeropad)([123])d(?:withindices)?"
)
# fmt: off
_IMAGES = frozenset({
    "batchnorm", "groupnorm", "instancenorm", "resize", "pixelshuffle", "pixelunshuffle", "channelshuffle", "fold",
    "localresponsenorm", "crossmaplrn2d", "gridsample", "booleandispatch", "upsamplingbilinear2d",
    "upsamplingnearest2d",
})
"""Kinds with channels right after the batch, whatever the rank."""
_ON_THE_LAST_AXIS = frozenset({
    "linear", "layernorm", "rmsnorm", "scaleddotproductattention", "bilinear", "nondynamicallyquantizablelinear",
})
_PRODUCTS = frozenset({"matmul", "bmm", "mm", "baddbmm", "einsum", "rmatmul"})
_REDUCTIONS = frozenset({
    "mean", "sum", "amax", "amin", "max", "min", "std", "var", "prod", "norm", "argmax", "argmin", "logsumexp",
    "median", "nanmean", "nansum", "quantile", "kthvalue", "vectornorm", "linalgvectornorm", "mode", "aminmax",
    "cosinesimilarity",
})
_RESHAPES = frozenset({"view", "reshape", "flatten", "unflatten", "ravel", "viewas", "reshapeas"})
_RECURRENT = frozenset({"lstm", "gru", "rnn"})
_ATTENTION = frozenset({"multiheadattention", "transformerencoderlayer", "transformerdecoderlayer", "transformer"})
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Value:
    """What is known of a tensor that a call reads: its layout in the reference, its sizes.

    `kept` says that the port has its axes in the same order; `known` that its layout came from more than its rank;
    `merged` what was merged into which of its axes.
    """

    name: str
    layout: str
    shape: tuple[int, ...]
    kept: bool = False
    known: bool = True
    merged: Merged = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call: what it makes (`shape`), and `values`, the tensors it reads that have a layout, by name."""

    call: Call
    shape: tuple[int, ...]
    values: Mapping[str, Value]

    @property
    def title(self) -> str:
        """What was called, in torch's words: `Conv2d`, `softmax`."""
        function = self.call.function
        if isinstance(function, torch.nn.Module):
            return class_of(function).__name__
        return str(getattr(function, "__name__", "")).strip("_")

    @property
    def kind(self) -> str:
        """The same in the vocabulary of taps; of a module that is none of torch's, nothing: whatever it is called, it
        need not do what torch's layer of that name does."""
        function = self.call.function
        if not isinstance(function, torch.nn.Module):
            return kind_of(self.title)
        homes = (each for each in type(function).__mro__ if each.__module__.startswith("torch.nn.modules."))
        layer = next((each.__name__ for each in homes), "Module")
        return "" if layer == "Module" else kind_of(layer)

    @property
    def rank(self) -> int:
        """How many axes the result has."""
        return len(self.shape)

    @property
    def read(self) -> Value | None:
        """The first argument, where it is a tensor with a layout; of a function of several, the first of largest rank
        whose layout came from more than its rank."""
        found = [self.values[name] for name in dict.fromkeys(self.call.reads) if name in self.values]
        if isinstance(self.call.function, torch.nn.Module):
            return found[0] if found else None
        return max(found, key=lambda value: (len(value.shape), value.known), default=None)

    def argument(self, position: int, *names: str, default: Any = None) -> Any:
        """An argument by position or keyword; of a module, its attribute."""
        if isinstance(self.call.function, torch.nn.Module):
            return next(
                (getattr(self.call.function, name) for name in names if hasattr(self.call.function, name)), None
            )
        for name in names:
            if name in self.call.kwargs:
                return self.call.kwargs[name]
        return self.call.args[position] if position < len(self.call.args) else default

    def tensor(self, position: int, *names: str) -> Value | None:
        """An argument that is a tensor with a layout."""
        given = self.argument(position, *names)
        return self.values.get(given.name) if isinstance(given, Read) else None

    def leads(self, name: str) -> bool:
        """Whether the tensor called `name` is the first argument."""
        first = next(iter((*self.call.args, *self.call.kwargs.values())), None)
        return isinstance(first, Read) and first.name == name


@dataclass(frozen=True, kw_only=True)
class Said:
    """The layout that a layer says a tensor has that it reads; `firm` where it takes no other, as a convolution."""

    layout: str
    reader: str
    firm: bool = False


def fixed(step: Step, rank: int) -> str | None:
    """The layout of what a layer takes and makes, where its kind alone says it: channels first, or a sequence."""
    kind = step.kind
    if found := _OF_A_RANK.fullmatch(kind):
        whole = CHANNELS_FIRST[int(found.group(1)) + 2]
        return {len(whole): whole, len(whole) - 1: whole[1:]}.get(rank)
    if kind in _IMAGES:
        return CHANNELS_FIRST.get(rank)
    if kind in _RECURRENT or kind in _ATTENTION:
        batch_first = getattr(step.call.function, "batch_first", False)
        return {3: "NLC" if batch_first else "LNC", 2: "LC"}.get(rank)
    if kind == "multiheadattentionforward":
        return {3: "LNC", 2: "LC"}.get(rank)
    return "NC" if kind in ("lstmcell", "grucell", "rnncell", "embeddingbag") and rank == 2 else None


def made(step: Step) -> str | None:
    """The layout of what a call makes; None where its kind and what it reads do not say."""
    kind, part = step.kind, step.call.part
    if kind in _RECURRENT and part[:1] == (1,):
        return {3: "ANC", 2: "AC"}.get(step.rank)
    if kind in ("multiheadattention", "multiheadattentionforward") and part[:1] == (1,):
        return {4: "NALM", 3: "NLM", 2: "LM"}.get(step.rank)
    layout = fixed(step, step.rank)
    if layout is None and (rule := _RULES.get(kind)) is not None:
        layout = _told(rule, step)
    elif layout is None and kind in _REDUCTIONS:
        layout = _reduced(step)
    elif layout is None:
        layout = _as_read(step)
    fits = layout is not None and len(layout) == step.rank == len(set(layout))
    return layout if fits else None


def wanted(step: Step, name: str, shape: tuple[int, ...], of_result: Said | None) -> Said | None:
    """What a call says about the tensor `name` of `shape`, which it reads; `of_result` is what is said of its result.

    None where neither its kind nor that says anything.
    """
    kind, rank = step.kind, len(shape)
    if step.leads(name) or kind in _ATTENTION or kind == "multiheadattentionforward":
        if (layout := fixed(step, rank)) is not None:
            return Said(layout=layout, reader=step.title, firm=True)
        if kind in _ON_THE_LAST_AXIS and rank in CHANNELS_LAST:
            heads = kind == "scaleddotproductattention" and rank == 4
            return Said(layout="NALC" if heads else CHANNELS_LAST[rank], reader=step.title)
        if kind == "embedding" and of_result is None and rank in (1, 2):
            return Said(layout="NL"[:rank], reader=step.title)
    if of_result is None or fixed(step, step.rank) is not None:
        return None
    before = _before(step, shape, of_result.layout)
    return replace(of_result, layout=before) if before is not None and len(set(before)) == len(before) == rank else None


def _before(step: Step, shape: tuple[int, ...], after: str) -> str | None:
    """The layout of a tensor of `shape`, of which a call makes one in the layout `after`."""
    rank, kind = len(shape), step.kind
    places = _places(step, rank)
    if places is not None:
        letters = dict(zip(places, after, strict=True))
        return "".join(letters.get(axis, _dropped(axis, after)) for axis in range(rank))
    if kind in _RESHAPES:
        return reshaped(after, step.shape, shape) if only_batches_merge(after, shape, step.shape) else None
    if kind == "embedding":
        return after[:-1]
    if kind in _PRODUCTS:
        return after if len(step.call.reads) == 1 else None
    return after if passes_on(step) else None


def _dropped(axis: int, left: str) -> str:
    """The letter of an axis of which one place was taken: the batch's, the frames' of images, a sequence's length; ""
    where that is not known."""
    if axis == 0:
        return "" if "N" in left else "N"
    if {"H", "W"} <= set(left):
        return "" if "T" in left else "T"
    return "L" if left == "NC" else ""


def on_the_last_axis(step: Step) -> bool:
    """Whether a layer works along the last axis of what it reads, on either side."""
    return step.kind in _ON_THE_LAST_AXIS or step.kind in _PRODUCTS


def keeps(step: Step, *, read_along_the_last: bool) -> bool:
    """Whether the port has the axes of what a call makes in the reference's order: a dense layer's result, what is
    computed from one elementwise, and what was transposed for one."""
    if fixed(step, step.rank) is not None:
        return False
    if step.kind == "linear":
        return True
    if _places(step, step.rank) is not None:
        return read_along_the_last and step.kind in _TRANSPOSES
    return passes_on(step) and step.read is not None and step.read.kept


def passes_on(step: Step) -> bool:
    """Whether a call makes a tensor with the axes of what it reads."""
    return fixed(step, step.rank) is None and step.kind not in _RULES and step.kind not in _REDUCTIONS


def _told(rule: Callable[..., Told | None], *about: Any) -> Told | None:
    """What a rule says; nothing of a call with arguments of another form than it reads."""
    try:
        return rule(*about)
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None


# -- rules ------------------------------------------------------------------------------------------------------------


def _as_read(step: Step) -> str | None:
    """As what it reads, elementwise or along an axis: that of the result's rank."""
    parts = [step.values[name] for name in dict.fromkeys(step.call.reads) if name in step.values]
    parts = [part for part in parts if len(part.shape) == step.rank]
    parts.sort(key=lambda part: not part.known)
    return broadcast([(part.layout, part.shape) for part in parts]) if parts else None


def _places(step: Step, rank: int) -> list[int] | None:
    """For each axis of the result, the axis of the tensor of `rank` axes that it was, -1 for a new one.

    None for a call that does more than move, drop and add axes.
    """
    finder = _TRANSPOSES.get(step.kind) or _PLACES.get(step.kind)
    places = _told(finder, step, rank) if finder is not None else None
    return places if places is not None and len(places) == step.rank else None


def _moved(step: Step) -> str | None:
    read = step.read
    places = _places(step, len(read.shape)) if read is not None else None
    if read is None or places is None:
        return None
    layout = "".join(read.layout[axis] for axis in places if axis >= 0)
    for at, axis in enumerate(places):
        layout = inserted(layout, at) if axis < 0 else layout
    return layout


def _transposed(step: Step, rank: int) -> list[int] | None:
    first, second = step.argument(1, "dim0", "axis0"), step.argument(2, "dim1", "axis1")
    return _swapped(rank, first, second)


def _swapped(rank: int, first: int, second: int) -> list[int]:
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    return order


def _permuted(step: Step, rank: int) -> list[int] | None:
    dims = step.argument(1, "dims")
    dims = step.call.args[1:] if isinstance(dims, int) else dims
    return [axis % rank for axis in dims]


def _moved_dims(step: Step, rank: int) -> list[int] | None:
    sources, targets = (
        [dims] if isinstance(dims, int) else list(dims)
        for dims in (step.argument(1, "source"), step.argument(2, "destination"))
    )
    sources, targets = [axis % rank for axis in sources], [axis % rank for axis in targets]
    rest = iter(axis for axis in range(rank) if axis not in sources)
    return [sources[targets.index(axis)] if axis in targets else next(rest) for axis in range(rank)]


def _matrix_transposed(step: Step, rank: int) -> list[int] | None:
    return _swapped(rank, -2, -1) if rank >= 2 else list(range(rank))


_TRANSPOSES: Mapping[str, Callable[[Step, int], list[int] | None]] = {
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    "permute": _permuted,
    **dict.fromkeys(("movedim", "moveaxis"), _moved_dims),
    **dict.fromkeys(("t", "mt", "h", "mh", "adjoint"), _matrix_transposed),
}


def _unsqueezed(step: Step, rank: int) -> list[int] | None:
    order = list(range(rank))
    order.insert(step.argument(1, "dim") % (rank + 1), -1)
    return order


def _indexed(step: Step, rank: int) -> list[int] | None:
    """Slices keep an axis, numbers drop it, None is a new one; a list of places along one axis keeps it."""
    index = step.argument(1)
    index = list(index) if isinstance(index, tuple) else [index]
    taken = sum(item is not None and item is not Ellipsis for item in index)
    if taken > rank or sum(not isinstance(item, (slice, int, type(None), type(Ellipsis))) for item in index) > 1:
        return None
    whole = [slice(None)] * (rank - taken)
    at = next((place for place, item in enumerate(index) if item is Ellipsis), len(index))
    axis, order = 0, []
    for item in (*index[:at], *whole, *index[at + 1 :]):
        if item is None:
            order.append(-1)
            continue
        if not isinstance(item, int):
            order.append(axis)
        axis += 1
    return order


def _picked(step: Step, rank: int) -> list[int] | None:
    dims = _dims(step.argument(1, "dim", default=0), rank)
    return [axis for axis in range(rank) if axis not in dims] if dims is not None else None


def _squeezed(step: Step) -> str | None:
    read = step.read
    if read is None:
        return None
    dims = _dims(step.argument(1, "dim"), len(read.shape))
    gone = [axis for axis, size in enumerate(read.shape) if size == 1 and (dims is None or axis in dims)]
    return _without(read.layout, gone)


def _selected(step: Step) -> str | None:
    read = step.read
    dims = _dims(step.argument(1, "dim", default=0), len(read.shape)) if read is not None else None
    return _without(read.layout, dims) if read is not None and dims is not None else None


def _reduced(step: Step) -> str | None:
    read = step.read
    if read is None or step.rank in (0, len(read.shape)):
        return _as_read(step) if step.rank else ""
    place = (
        2 if step.kind in ("norm", "quantile", "kthvalue", "vectornorm", "linalgvectornorm", "cosinesimilarity") else 1
    )
    dims = _dims(step.argument(place, "dim", "axis"), len(read.shape))
    return _without(read.layout, dims) if dims is not None else None


def _dims(given: Any, rank: int) -> list[int] | None:
    given = [given] if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(given, (tuple, list)) or not all(isinstance(dim, int) for dim in given):
        return None
    return [dim % rank for dim in given]


def _without(layout: str, axes: Sequence[int]) -> str:
    return "".join(letter for axis, letter in enumerate(layout) if axis not in axes)


def _stacked(step: Step) -> str | None:
    read = step.read
    if read is None or len(read.shape) != step.rank - 1:
        return None
    return inserted(read.layout, step.argument(1, "dim", default=0) % step.rank)


def _reshaped(step: Step) -> str | None:
    read = step.read
    return reshaped(read.layout, read.shape, step.shape, read.merged) if read is not None else None


def merged_into(step: Step, layout: str) -> Merged:
    """What was merged into which axes of what a call makes, in `layout`: an axis that stays as it is keeps that."""
    read = step.read
    if read is None:
        return {}
    if step.kind in _RESHAPES:
        return merges(read.layout, read.shape, layout, step.shape, read.merged)
    sizes, now = dict(zip(read.layout, read.shape, strict=True)), dict(zip(layout, step.shape, strict=True))
    return {letter: parts for letter, parts in read.merged.items() if now.get(letter) == sizes[letter]}


def _expanded(step: Step) -> str | None:
    """New axes come first."""
    read = step.read
    layout = read.layout if read is not None else ""
    while read is not None and len(layout) < step.rank:
        layout = fresh("A", layout) + layout
    return layout


def _embedded(step: Step) -> str | None:
    read = step.read
    return read.layout + fresh("C", read.layout) if read is not None else None


def _unfolded(step: Step) -> str | None:
    """Patches of an image, as columns; or windows along an axis of any tensor, as a last axis."""
    read = step.read
    if read is not None and len(read.shape) == step.rank - 1:
        return read.layout + fresh("M", read.layout)
    return {3: "NCL", 2: "CL"}.get(step.rank)


def _product(step: Step) -> str | None:
    """Rows of the first, columns of the second; what both have before these stays, and is no channel any more."""
    at = 1 if step.kind == "baddbmm" else 0
    left, right = step.tensor(at), step.tensor(at + 1)
    if step.kind == "rmatmul":
        left, right = right, left
    whole = max((value for value in (left, right) if value), key=lambda value: len(value.shape), default=None)
    if whole is None or len(whole.shape) != step.rank or step.rank < 2:
        return None
    before = ""
    for letter in whole.layout[:-2]:
        before += fresh("A", {*whole.layout, *before}) if letter in "CGDEF" else letter
    rows = left.layout[-2:-1] if left is not None else whole.layout[-2]
    columns = right.layout[-1:] if right is not None else whole.layout[-1]
    before += fresh(rows, before)
    return before + fresh(columns, before)


def _summed(step: Step) -> str | None:
    """einsum: every index of the result has the letter of the axis where an operand has it."""
    equation = step.argument(0)
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return None
    operands, result = equation.replace(" ", "").split("->")
    given: Sequence[Any] = step.call.args[1:]
    given = given[0] if given and isinstance(given[0], (list, tuple)) else given
    letters: dict[str, str] = {}
    for indices, operand in zip(operands.split(","), given, strict=False):
        value = step.values.get(operand.name) if isinstance(operand, Read) else None
        for index, letter in zip(indices, value.layout if value is not None else "", strict=False):
            letters.setdefault(index, letter)
    layout = ""
    for index in result:
        layout += fresh(letters.get(index, "A"), layout)
    return layout


_PLACES: Mapping[str, Callable[[Step, int], list[int] | None]] = {
    "getitem": _indexed, "unsqueeze": _unsqueezed, "select": _picked, "unbind": _picked,
}  # fmt: skip
_RULES: Mapping[str, Callable[[Step], str | None]] = {
    **dict.fromkeys((*_TRANSPOSES, "getitem", "unsqueeze"), _moved),
    **dict.fromkeys(_RESHAPES, _reshaped),
    **dict.fromkeys(("select", "unbind"), _selected),
    **dict.fromkeys(("expand", "expandas", "broadcastto"), _expanded),
    **dict.fromkeys(("matmul", "rmatmul", "bmm", "mm", "baddbmm"), _product),
    "squeeze": _squeezed,
    "stack": _stacked,
    "embedding": _embedded,
    "unfold": _unfolded,
    "einsum": _summed,
}
