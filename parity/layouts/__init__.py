"""Which axes every tensor of a run has: declared, or derived from the kinds of the layers and what they read.

The reference's calls are walked twice. Backward, each tensor learns what the layers that read it say about it: a
convolution has channels first, an LSTM takes sequences in the order of its `batch_first`. Forward, each call makes a
layout of those it reads. An input is what its readers say it is; what nobody says is taken by its rank. Sizes decide
nothing but what a reshape does, so two axes of one length are never taken for each other.

The port's layout follows from the letters (`parity.axes.in_port`), but where a dense layer or a product of matrices
works along the last axis: what these make, and what was transposed for them, has the reference's order in the port.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from parity.axes import CHANNELS_FIRST, CHANNELS_LAST, Axes, batch_first, in_port
from parity.errors import PairError
from parity.layouts.kinds import Said, Step, Value, fixed, keeps, made, merged_into, on_the_last_axis, passes_on, wanted
from parity.layouts.letters import Merged
from parity.pairs import Input, Pair
from parity.runners.calls import Call
from parity.runners.reference import Reference
from parity.runners.signature import has_channels_first

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The axes of one tensor on either side, and why: "declared", "Conv2d" (its kind), "input's", or "rank"."""

    reference: str
    port: str
    origin: str
    kept: bool = False


def derived(
    axes: Axes,
    calls: Mapping[str, Call],
    shapes: Shapes,
    inputs: Shapes,
    names: Mapping[str, str] | None = None,
) -> Axes:
    """The same axes with a layout by name for every tap and input of a run; what `axes` declares stays as it is.

    `calls` are the reference's, in order; `shapes` those of its taps, `inputs` those of its inputs; `names` are other
    names of taps (an output's, a container's). A tensor that nothing is known of, with a rank that has no layout, is
    left undeclared. Raises PairError for a layout that is declared for another number of axes than its tensor has, or
    under a name that nothing has.
    """
    found = layouts(axes, calls, shapes, inputs, names)
    by_name = {name: (layout.reference, layout.port) for name, layout in found.items()}
    return replace(axes, by_name={**axes.by_name, **by_name})


def in_format_of(pair: Pair, port: Any) -> Pair:
    """The pair with images as its port's layers have them, channels first or last, where its axes have them last."""
    if pair.axes.port != CHANNELS_LAST or not has_channels_first(port):
        return pair
    return replace(pair, axes=replace(pair.axes, port=CHANNELS_FIRST))


def derived_for(pair: Pair, reference: Reference, given: Input) -> Pair:
    """The pair with the axes of every tap and input of a run on that input; costs a run where none was made before.

    Raises PairError as `derived` does.
    """
    trace, calls = reference.taps(given), reference.calls(given)
    shapes = {tap.name: tuple(int(size or 0) for size in tap.shape) for tap in trace.taps}
    axes = derived(
        pair.axes,
        {name: call for name, call in calls.items() if name in shapes},
        shapes,
        {name: array.shape for name, array in given.arrays.items()},
        {**trace.aliases, **trace.output_taps},
    )
    return replace(pair, axes=axes)


def layouts(
    axes: Axes, calls: Mapping[str, Call], shapes: Shapes, inputs: Shapes, names: Mapping[str, str] | None = None
) -> dict[str, Layout]:
    """The layouts that `derived` declares, by name, each with where it came from."""
    walk = _Walk(axes, calls, {**shapes, **inputs}, names or {})
    return walk.forward(inputs)


class _Walk:
    """One run's calls, walked backward for what is wanted of a tensor, forward for what it is."""

    def __init__(self, axes: Axes, calls: Mapping[str, Call], shapes: Shapes, names: Mapping[str, str]) -> None:
        self._axes = axes
        self._calls = calls
        self._shapes = shapes
        self._declared = dict(self._check(names))
        self._wanted: dict[str, list[Said]] = {}
        self._along_the_last: set[str] = set()
        self._elsewhere: set[str] = set()
        self._found: dict[str, Layout] = {}
        self._merged: dict[str, Merged] = {}

    def forward(self, inputs: Shapes) -> dict[str, Layout]:
        """The layout of each input and tap."""
        for name in reversed(list(self._calls)):
            self._look_back(name, self._step(name))
        for name in inputs:
            said = self._said(name)
            self._settle(name, said.layout if said else None, said.reader if said else "")
        for name in self._calls:
            self._look_forward(name, self._step(name))
        return self._found

    def _check(self, names: Mapping[str, str]) -> Iterator[tuple[str, str | tuple[str, str]]]:
        """What is declared by name, under the names of taps. Raises PairError where it does not fit."""
        for given, declared in self._axes.by_name.items():
            name = given if given in self._shapes else names.get(given, given)
            if name not in self._shapes:
                near = difflib.get_close_matches(given, [*self._shapes, *names], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise PairError(f"axes are declared for {given!r}, which is no input, output or layer{hint}")
            shape = self._shapes[name]
            Axes.check(given, declared if isinstance(declared, str) else declared[0], len(shape), shape)
            yield name, declared

    def _step(self, name: str) -> Step:
        values = {read: self._value(read) for read in self._calls[name].reads if read in self._found}
        return Step(call=self._calls[name], shape=self._shapes[name], values=values)

    def _value(self, name: str) -> Value:
        layout = self._found[name]
        return Value(
            name=name,
            layout=layout.reference,
            shape=self._shapes[name],
            kept=layout.kept,
            known=layout.origin != "rank",
            merged=self._merged.get(name, {}),
        )

    def _look_forward(self, name: str, step: Step) -> None:
        """Settle what a call makes: by its kind, by a reader that takes nothing else, by what it reads, by a reader."""
        along = name in self._along_the_last and name not in self._elsewhere
        kept = keeps(step, read_along_the_last=along)
        is_fixed = fixed(step, step.rank) is not None
        said, layout = self._said(name), made(step)
        if said and not is_fixed and not kept and (said.firm or layout is None):
            self._settle(name, said.layout, said.reader)
        else:
            origin = step.title if is_fixed or step.read is None else f"{step.read.name}'s"
            self._settle(name, layout, origin, kept=kept)
        if name in self._found:
            self._merged[name] = merged_into(step, self._found[name].reference)

    def _look_back(self, name: str, step: Step) -> None:
        """Tell what a call reads what the call, and those that read its result, say about it."""
        for read in set(step.call.reads):
            said = wanted(step, read, self._shapes[read], self._said(name))
            if said is not None:
                self._wanted.setdefault(read, []).append(said)
            if on_the_last_axis(step) or (passes_on(step) and name in self._along_the_last):
                self._along_the_last.add(read)
            if fixed(step, step.rank) is not None or (passes_on(step) and name in self._elsewhere):
                self._elsewhere.add(read)

    def _said(self, name: str) -> Said | None:
        """What the declaration or the readers of a tensor say it is, the firm ones first; None where these differ."""
        if (own := self._own(name)) is not None:
            return Said(layout=own[0], reader=f"{name}'s", firm=True)
        said = self._wanted.get(name, [])
        said = [one for one in said if one.firm] or said
        return said[-1] if len({one.layout for one in said}) == 1 else None

    def _own(self, name: str) -> tuple[str, str] | None:
        """What the user declared, by name or by a rank that has another layout than usual."""
        if name in self._declared:
            return replace(self._axes, by_name={name: self._declared[name]}).of(name, len(self._shapes[name]))
        rank = len(self._shapes[name])
        theirs, ours = self._axes.reference.get(rank), self._axes.port.get(rank)
        usual = theirs == CHANNELS_FIRST.get(rank) and ours in (CHANNELS_FIRST.get(rank), CHANNELS_LAST.get(rank))
        return None if theirs is None or ours is None or usual else (theirs, ours)

    def _settle(self, name: str, layout: str | None, origin: str, *, kept: bool = False) -> None:
        """Record a tensor's layout: the declared one, the derived one, or that of its rank."""
        rank = len(self._shapes[name])
        if (own := self._own(name)) is not None:
            self._found[name] = Layout(reference=own[0], port=own[1], origin="declared")
        elif layout is not None:
            port = batch_first(layout) if kept else in_port(layout, channels_last=self._axes.channels_last)
            self._found[name] = Layout(reference=layout, port=port, origin=origin, kept=kept)
        elif rank in self._axes.reference and rank in self._axes.port:
            self._found[name] = Layout(reference=self._axes.reference[rank], port=self._axes.port[rank], origin="rank")
