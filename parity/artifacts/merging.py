"""Steps that can only be had together: loops, and what passes values of a kind that nothing outside can hold.

The cells of a recurrent layer are a loop. Written in TensorFlow's older way it is a cycle of steps, of which none has
one value; written in the newer way it hands over lists of tensors. Either is one step here, with the values that others
read of it.
"""

import graphlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from parity.artifacts.program import Step

UNSEEN = frozenset({"variant", "resource", "string"})
"""Kinds of values that are no numbers."""

ENTERS = frozenset({"Enter", "RefEnter"})
"""Where a loop takes a value from outside."""

LOOPS = ENTERS | {"NextIteration", "Merge", "Switch", "LoopCond", "Exit"}
"""Operations of loops; what they make has a value for every round."""


def merged(
    steps: Sequence[Step], dtypes: Mapping[str, str], ends: Iterable[str], constants: Mapping[str, object]
) -> tuple[Step, ...]:
    """The steps, those that can only be had together as one, in an order in which they can run.

    `ends` are tensors that are read at the end. What a merged step reads of `constants` is no input of it; whether it
    computes with any is its attribute `constants`.
    """
    together = _Together(steps)
    makers = {tensor: place for place, step in enumerate(steps) for tensor in step.outputs}
    for maker, reader in _inner(steps, makers, dtypes):
        together.join([maker, reader])
    order = together.in_order(makers)
    if len(order) == len(steps):
        return tuple(steps[place] for (place,) in order)
    return tuple(_one(steps, group, dtypes, set(ends), constants) for group in order)


def _inner(steps: Sequence[Step], makers: Mapping[str, int], dtypes: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """The steps, by their places, of which one reads what nothing outside can: a kind of value, or one of a round."""
    reads = [
        (makers[tensor], place, tensor)
        for place, step in enumerate(steps)
        for tensor in step.inputs
        if tensor in makers
    ]
    readers: dict[int, list[int]] = {}
    for maker, reader, tensor in reads:
        readers.setdefault(maker, []).append(reader)
        if dtypes[tensor] in UNSEEN or steps[reader].op in LOOPS - ENTERS:
            yield maker, reader
    waiting = [place for place, step in enumerate(steps) if step.op in LOOPS and step.op != "Exit"]
    seen = set(waiting)
    while waiting:
        maker = waiting.pop()
        for reader in readers.get(maker, ()):
            yield maker, reader
            if reader not in seen and steps[reader].op != "Exit":
                seen.add(reader)
                waiting.append(reader)


class _Together:
    """Groups of steps, by their places."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._group = list(range(len(steps)))

    def of(self, place: int) -> int:
        """The group that a step is in."""
        while self._group[place] != place:
            place = self._group[place]
        return place

    def join(self, places: Iterable[int]) -> None:
        """Put the groups of some steps together."""
        first, *others = {self.of(place) for place in places}
        for other in others:
            self._group[other] = first

    def in_order(self, makers: Mapping[str, int]) -> list[tuple[int, ...]]:
        """The groups, each after those it reads; those that read one another are put together."""
        while True:
            reads: dict[int, dict[int, None]] = {self.of(place): {} for place in range(len(self._steps))}
            for place, step in enumerate(self._steps):
                read = (self.of(makers[tensor]) for tensor in step.inputs if tensor in makers)
                reads[self.of(place)] |= dict.fromkeys(group for group in read if group != self.of(place))
            try:
                order = list(graphlib.TopologicalSorter(reads).static_order())
            except graphlib.CycleError as error:
                self.join(error.args[1])
                continue
            members: dict[int, list[int]] = {}
            for place in range(len(self._steps)):
                members.setdefault(self.of(place), []).append(place)
            return [tuple(members[group]) for group in order]


def _one(
    steps: Sequence[Step],
    group: Sequence[int],
    dtypes: Mapping[str, str],
    ends: set[str],
    constants: Mapping[str, object],
) -> Step:
    """A group of steps as one: the last of them by name, of the kind of the one that reads most."""
    inside = [steps[place] for place in group]
    if len(inside) == 1:
        return inside[0]
    made = {tensor for step in inside for tensor in step.outputs}
    outside = {tensor for place, step in enumerate(steps) if place not in set(group) for tensor in step.inputs}
    read = dict.fromkeys(tensor for step in inside for tensor in step.inputs if tensor not in made)
    most = max(inside, key=lambda step: len(step.inputs))
    return Step(
        op="While" if most.op in LOOPS else most.op,
        name=inside[-1].name,
        inputs=tuple(tensor for tensor in read if tensor not in constants),
        outputs=tuple(
            tensor
            for step in inside
            for tensor in step.outputs
            if tensor in outside | ends and dtypes[tensor] not in UNSEEN
        ),
        attributes={"constants": tuple(tensor for tensor in read if tensor in constants)},
    )
