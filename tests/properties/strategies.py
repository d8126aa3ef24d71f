"""What the properties are tried on, where it is of no use to a user, and how often.

Records are drawn by what their fields say that they hold, so that a field that is added tomorrow is drawn as well.
"""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from parity.gate.record import KIND
from parity.gate.record import Record as GateRecord
from parity.history import Past
from parity.portraits import ErrorPicture, Histogram, KeptArray, OutputPicture
from parity.report import (
    DIED,
    DIVERGED,
    GRADIENTS,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    SCHEMA,
    TRAINABLE,
    TRAINING,
    VALUES,
    GradientRun,
    LayerGradients,
    LayerResult,
    Report,
    Run,
)

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


def examples(count: int, *, shrunk: bool = True) -> settings:
    """So many examples of a property, however long one takes. One that fails is `shrunk`, but for what has so many
    parts that this would take minutes. They are the same in every run, so that a change is judged by what it changes;
    PARITY_FUZZ=1 draws others."""
    phases = [phase for phase in Phase if shrunk or phase not in (Phase.shrink, Phase.explain)]
    same = "PARITY_FUZZ" not in os.environ
    return settings(max_examples=count, phases=phases, derandomize=same, deadline=None, suppress_health_check=SLOW)


ODD = (
    "",
    "conv0.0",
    "a b",
    "<b>&'\"</b>",
    "|*_`[x](y)",
    "x\u2028y\x85z",
    "フロー",
    "\U0001f600",
    "a\nb",
    "\x1b[31mred",
    "\\",
)
"""Words that some page, table or line would take for more than words."""
WORDS = st.sampled_from(ODD) | st.text(max_size=8)
LAYERS = st.sampled_from(["conv0.0", "conv0.1", "cat", "フロー", "<b>|*_`", "x\u2028y\x85z"]) | st.text(
    min_size=1, max_size=5
)
"""Few names, so that what speaks of a layer often finds it."""
NUMBERS = st.sampled_from([0.0, 1.0, 1e-7, 0.5, 77_000.0, math.nan, math.inf, -math.inf, 5e-324, 1e308]) | st.floats()
POSITIVE = st.sampled_from([2.0**-24, 4e-7, 1e-3, 1.0]) | st.floats(1e-30, 1e6)
COUNTS = st.integers(0, 1 << 40)
SIDES = st.sampled_from([1, 2, 3, 5])

PLAIN: Mapping[Any, st.SearchStrategy[Any]] = {
    str: WORDS,
    float: NUMBERS,
    int: COUNTS,
    bool: st.booleans(),
    type(None): st.none(),
    Any: WORDS | COUNTS | st.booleans() | st.none(),
}

SETTINGS = st.dictionaries(
    st.sampled_from(["seen", "policy", "command", "unfinished"]) | LAYERS,
    st.sampled_from(["a; b", "b", "rtol=0.001, atol=0"]) | WORDS,
    max_size=3,
)

FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "layer": LAYERS,
    "floor": POSITIVE,
    "limit": POSITIVE,
    "settings": SETTINGS,
    "schema": st.just(SCHEMA),
    "about": st.sampled_from([VALUES, GRADIENTS, TRAINING, TRAINABLE]),
    "input": st.sampled_from(["noise", "フロー", "a b"]),
    "mode": st.sampled_from(["eager", "graph", "xla"]),
}
"""Fields that hold less than their type says, in any record."""

VERDICTS: Mapping[type, st.SearchStrategy[str]] = {
    LayerResult: st.sampled_from([PASS, INTRODUCES, INHERITS, NOT_COMPARED]),
    LayerGradients: st.sampled_from([PASS, INTRODUCES, INHERITS, NOT_COMPARED]),
    Run: st.sampled_from([PASS, DIVERGED, DIED]),
    GradientRun: st.sampled_from([PASS, DIVERGED]),
    Report: st.just(""),
}


def of_type(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as a record's field says it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(of_type(each) for each in sorted(inner, key=lambda each: each is not type(None))))
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(of_type(inner[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of_type, inner))
    if origin in (dict, Mapping):
        return st.dictionaries(LAYERS, of_type(inner[1]), max_size=2)
    return PLAIN[kind] if kind in PLAIN else records(kind)


@cache
def records(kind: type) -> st.SearchStrategy[Any]:
    """Records of a class, every field drawn."""
    if kind in SPECIAL:
        return SPECIAL[kind]()
    return st.builds(kind, **fields_of(kind))


def fields_of(kind: type, /, **special: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """A strategy for each field of a record's class."""
    hints = typing.get_type_hints(kind)
    found = {
        each.name: st.deferred(lambda name=each.name: FIELDS[name] if name in FIELDS else of_type(hints[name]))
        for each in dataclasses.fields(kind)
    }
    verdict = {"verdict": VERDICTS[kind]} if kind in VERDICTS else {}
    return {**found, **verdict, **special}


def grids(*sides: int) -> st.SearchStrategy[KeptArray]:
    """Kept arrays of that shape: of any values, NaN and infinity too."""
    return arrays(np.float32, sides, elements=st.floats(width=32)).map(KeptArray.of)


@st.composite
def _error_pictures(draw: st.DrawFn) -> ErrorPicture:
    space = st.none() | grids(draw(SIDES), draw(SIDES))
    return draw(st.builds(ErrorPicture, **fields_of(ErrorPicture, space=space, channels=grids(draw(SIDES)))))


@st.composite
def _output_pictures(draw: st.DrawFn) -> OutputPicture:
    flow, plane = draw(st.booleans()), (draw(SIDES), draw(SIDES))
    value = grids(2, *plane) if flow else grids(*plane)
    truth = st.none() | grids(2, *plane) if flow else st.none()
    special = {"flow": st.just(flow), "expected": value, "difference": value, "error": grids(*plane), "truth": truth}
    sizes = {name: st.integers(1, 4000) for name in ("height", "width")}
    return draw(st.builds(OutputPicture, **fields_of(OutputPicture, **special, **sizes)))


@st.composite
def _histograms(draw: st.DrawFn) -> Histogram:
    counts = st.lists(COUNTS, min_size=1, max_size=5).map(tuple)
    low = draw(st.floats(-12, 3))
    return draw(st.builds(Histogram, low=st.just(low), high=st.floats(low + 0.5, 8), counts=counts, exact=COUNTS))


SPECIAL: Mapping[type, Callable[[], st.SearchStrategy[Any]]] = {
    KeptArray: lambda: st.tuples(SIDES, SIDES).flatmap(lambda sides: grids(*sides)),
    ErrorPicture: lambda: _error_pictures(),
    OutputPicture: lambda: _output_pictures(),
    Histogram: lambda: _histograms(),
    GateRecord: lambda: st.builds(GateRecord, **fields_of(GateRecord, kind=st.just(KIND))),
}
"""Records of which not any values make sense together."""


def reports() -> st.SearchStrategy[Report]:
    """Reports in which every record that there is may be, of any numbers and words."""
    return records(Report)


def pasts() -> st.SearchStrategy[Past]:
    """What a history keeps of a run: errors are three digits of what is no NaN."""
    errors = st.dictionaries(LAYERS, st.floats(0, allow_nan=False).map(lambda error: float(f"{error:.3g}")), max_size=3)
    words = dict.fromkeys(("time", "verdict", "command", "first"), WORDS)
    few = st.dictionaries(LAYERS, WORDS, max_size=2)
    return st.builds(Past, **words, errors=errors, versions=few, on=few)


def same(one: Any, other: Any) -> bool:
    """Whether two records say the same: a NaN is the same as a NaN."""
    if dataclasses.is_dataclass(one):
        names = [each.name for each in dataclasses.fields(one)]
        return type(one) is type(other) and all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other
