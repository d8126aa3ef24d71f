"""Letters of axes that are split, merged, added and broadcast: what an operation on sizes does to the names.

A letter says what its axis is (`parity.axes`); a new axis gets one of its kind that is not in use.
"""

import string
from collections.abc import Collection, Mapping, Sequence

from parity.axes import BATCH, CHANNELS, SPACE

OTHERS = "AXYZJK"
"""For axes that are none of batch, channels and space: heads, layers, copies."""
_PLACES = {1: "L", 2: "HW", 3: "THW"}


def fresh(like: str, used: Collection[str]) -> str:
    """`like` itself, or a letter of its kind after it, that is not in use; any other where all of these are."""
    kind: str = next((letters for letters in (BATCH, CHANNELS, SPACE) if like in letters), OTHERS)
    after = kind[kind.find(like) + 1 :]
    return next(letter for letter in f"{like}{after}{kind}{OTHERS}{string.ascii_letters}" if letter not in used)


def merged(letters: str, sizes: Sequence[int]) -> str:
    """The letter of one axis that several were merged into: the batch's if it is among them, else that of the
    channels, else that of places: of one place and parts of it the place, of several a length."""
    large = [letter for letter, size in zip(letters, sizes, strict=True) if size > 1 or letter in BATCH]
    if len(large) == 1 or len(letters) == 1:
        return (large or letters)[0]
    for one in (BATCH[0], CHANNELS[0]):
        if one in letters:
            return one
    places = [letter for letter in letters if letter in SPACE]
    if places:
        return places[0] if sum(letter in "THWL" for letter in places) == 1 else "L"
    return "C" if set(letters) & set(CHANNELS) else letters[0]


def split(letter: str, sizes: Sequence[int], used: Collection[str], *, channels_first: bool) -> str:
    """The letters of the axes that one was split into; those of size 1 are new ones.

    Of channels that come before places the first part stays C and the others are channels too: a group's. Of channels
    that come last the last part stays C, and the others are of another kind: heads.
    """
    count = sum(size > 1 for size in sizes) or len(sizes)
    large = iter(_parts(letter, count, used, channels_first=channels_first))
    result = ""
    for size in sizes:
        keeps = size > 1 or count == len(sizes)
        result += next(large) if keeps else fresh("A", {*used, *result, letter})
    return result


def _parts(letter: str, count: int, used: Collection[str], *, channels_first: bool) -> str:
    """Letters for `count` parts of an axis, all larger than 1."""
    if letter in BATCH:
        return _many(letter + _PLACES.get(count - 1, "L" * (count - 1)), used)
    if letter in CHANNELS and not channels_first:
        return _many("A" * (count - 1) + letter, used, first=letter)
    if letter == "L" and count > 1:
        return _many(_PLACES.get(count, "L" * count), used)
    return _many(letter * count, used)


def _many(wanted: str, used: Collection[str], first: str = "") -> str:
    """As many letters as wanted, each of the kind wanted there and none in use; `first` is left for its own place."""
    taken = {*used, *first}
    result = ""
    for letter in wanted:
        result += letter if letter == first else fresh(letter, {*taken, *result})
    return result


Merged = Mapping[str, tuple[str, tuple[int, ...]]]
"""For the letter of an axis that others were merged into, the letters and sizes of these."""


def merges(layout: str, before: Sequence[int], result: str, after: Sequence[int], known: Merged) -> Merged:
    """What was merged into the axes of a reshape's `result`: by the reshape, or before, where an axis stays."""
    found = {}
    for old, new in _groups(before, after) or []:
        if len(new) != 1 or not old:
            continue
        letters, sizes = layout[old.start : old.stop], tuple(before[axis] for axis in old)
        if len(old) > 1:
            found[result[new.start]] = (letters, sizes)
        elif letters in known:
            found[result[new.start]] = known[letters]
    return found


def reshaped(layout: str, before: Sequence[int], after: Sequence[int], known: Merged | None = None) -> str | None:
    """The layout after a reshape, where each axis stays, is split, or is merged with others; None where it is not so.

    An axis that is split into what was merged into it, which is `known`, gives those axes.

    >>> reshaped("NLC", (2, 5, 12), (2, 5, 3, 4)), reshaped("NCHW", (2, 3, 5, 7), (2, 105))
    ('NLAC', 'NC')
    """
    groups = _groups(before, after)
    if groups is None:
        return None
    result = ""
    for old, new in groups:
        letters, sizes = layout[old.start : old.stop], [after[axis] for axis in new]
        used = {*layout, *result} - set(letters)
        if len(old) == len(new) == 1:
            result += letters
        elif not old:
            result += fresh("A", {*layout, *result})
        elif len(new) == 1:
            one = merged(letters, [before[axis] for axis in old])
            result += one if one not in used else fresh(one, used)
        elif len(old) == 1 and (again := _unmerged(letters, sizes, used, known or {})):
            result += again
        elif len(old) == 1:
            channels_first = not set(layout[: old.start]) & set(SPACE) and bool(set(layout[old.stop :]) & set(SPACE))
            result += split(letters, sizes, used, channels_first=channels_first)
        elif new:
            return None
    return result


def _unmerged(letter: str, sizes: Sequence[int], used: Collection[str], known: Merged) -> str:
    """The letters of what was merged into an axis, where it is split into just that; else none."""
    letters, before = known.get(letter, ("", ()))
    return letters if before == tuple(sizes) and not set(letters) & set(used) else ""


def only_batches_merge(layout: str, before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether a reshape, whose result has `layout`, does nothing but merge axes into the batch."""
    groups = _groups(before, after) or []
    return bool(groups) and all(len(new) == 1 and (len(old) == 1 or layout[new.start] in BATCH) for old, new in groups)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[range, range]] | None:
    """Runs of old and new axes that hold the same values, the shortest there are."""
    groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        first, second = i, j
        left, right = (before[i] if i < len(before) else 1), (after[j] if j < len(after) else 1)
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while left != right:
            if left < right and i < len(before):
                left, i = left * before[i], i + 1
            elif right < left and j < len(after):
                right, j = right * after[j], j + 1
            else:
                return None
        groups.append((range(first, i), range(second, j)))
    return groups


def inserted(layout: str, at: int) -> str:
    """The layout with a new axis at a place: frames right after the channels of a map, a place at the end of a map or
    of channels alone, and of no kind elsewhere."""
    before, after = layout[:at], layout[at:]
    _, channels, places = before.rpartition("C")
    if channels and set(places + after) <= set(SPACE) and not (set(before.partition("C")[0]) & set(SPACE)):
        return before + fresh("T" if after else "L", layout) + after
    return before + fresh("A", layout) + after


def broadcast(parts: Sequence[tuple[str, Sequence[int]]]) -> str:
    """The layout of what tensors of one rank, each with its layout and sizes, are added to: the first one's, but that
    an axis of length 1 is that of another which is longer.

    >>> broadcast([("NLAC", (2, 5, 1, 3)), ("NALC", (2, 1, 5, 3))])
    'NLMC'
    """
    (first, sizes), *others = parts
    result = list(first)
    for layout, other in others:
        for axis in range(len(first)):
            if sizes[axis] == 1 < other[axis] and result[axis] == first[axis]:
                result[axis] = fresh(layout[axis], {*result} - {first[axis]})
    return "".join(result)
