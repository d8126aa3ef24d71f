"""The mutants of the converters: what can be changed, who reaches it, what is drawn, and that one is killed."""

import importlib
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parity

PACKAGE = Path(parity.__file__).parent
# The benchmarks are beside the package, not in it. The path is as it was again: with the package on it, runs inside of
# other tests would find that pytest cannot rewrite what it has found by an installation alone.
with pytest.MonkeyPatch.context() as beside:
    beside.syspath_prepend(PACKAGE.parent)
    drawing, effect, enumerating, rewriting, running, table = (
        importlib.import_module(f"benchmarks.mutants.{name}")
        for name in ("drawing", "effect", "enumerating", "rewriting", "running", "table")
    )
ALL = list(enumerating.mutants())


def test_there_are_many_in_many_ways() -> None:
    """Every family of converters has some, and most of the ways in which ports go wrong are among them."""
    ways = {each.way for each in ALL}
    assert len(ALL) > 200
    assert {
        "kernel-axes",
        "padding",
        "stride-dilation",
        "bias-missing",
        "norm-epsilon",
        "gate-order",
        "pooling",
    } <= ways
    assert {"resize-grid", "activation-slope", "kernel-layout", "reduction-axis", "output-crop"} <= ways
    assert {"building/convolution.py", "building/pooling.py", "converters/recurrent.py"} <= {each.file for each in ALL}


def test_what_only_refuses_is_left_alone() -> None:
    """Sentences, signatures and conditions under which nothing but an error comes are no mutants."""
    assert not [each for each in ALL if "raise" in each.before or each.before.startswith(("f'", 'f"'))]


def test_the_same_seed_draws_the_same() -> None:
    """And another seed others; as many ways as there can be."""
    first = drawing.drawn(25, 0, ALL)
    assert first == drawing.drawn(25, 0, ALL)
    assert first != drawing.drawn(25, 1, ALL)
    assert len({each.way for each in first}) >= min(15, len({each.way for each in ALL}))
    assert len(set(first)) == 25


def test_a_mutant_is_tried_on_the_kinds_that_reach_it() -> None:
    """Those of which a case calls the function, or one inside it."""
    mutant = next(each for each in ALL if each.function == "padded" and each.file == "building/padding.py")
    found = {
        "conv2d": {("building/padding.py", "padded"), ("building/convolution.py", "convolution")},
        "linear": {("building/dense.py", "linear")},
        "pad": {("building/padding.py", "padded.<locals>.<genexpr>")},
    }
    assert drawing.kinds_of(mutant, found) == ["conv2d", "pad"]


@pytest.mark.parametrize("mutant", drawing.drawn(40, 3, ALL), ids=lambda each: f"{each.file}:{each.line}-{each.way}")
def test_a_mutant_is_python_that_differs_in_one_place(mutant: Any) -> None:
    """The file is read, and is the same before and after the change."""
    text = (PACKAGE / mutant.file).read_bytes()
    other = mutant.source(text)
    compile(other + rewriting.HELPER.encode(), mutant.file, "exec")
    assert other != text
    assert other.startswith(text[: mutant.start])
    assert other.endswith(text[mutant.end :])


def wide(monkeypatch: pytest.MonkeyPatch, before: str, after: str) -> Any:
    """What GroupNorm's ports give in float64 with its builder's text changed."""
    from parity.building import normalisation, registry

    kind = normalisation.nn.GroupNorm
    decorated = inspect.getsource(normalisation.group_norm)
    text = decorated[decorated.index("def ") :]
    assert text.count(before) == 1
    names = dict(vars(normalisation))
    exec(text.replace(before, after), names)
    changed = replace(registry.BUILDERS[kind], function=names["group_norm"])
    with monkeypatch.context() as patch:
        patch.setitem(registry._BUILDERS, kind, changed)
        return effect.in_float64(["group_norm"], 20)


@pytest.fixture(scope="module")
def original() -> Any:
    """What GroupNorm's ports give in float64."""
    return effect.in_float64(["group_norm"], 20)


def test_another_rounding_is_next_to_nothing_in_float64(monkeypatch: pytest.MonkeyPatch, original: Any) -> None:
    """What is centred once more is rounded otherwise in float32, and the same in float64."""
    before = "_centred_by_group(x, site.channels, layer.num_groups)"
    mutated = wide(monkeypatch, before, f"_centred_by_group({before}, site.channels, layer.num_groups)")
    found = effect.apart(mutated, original)
    assert found.relative > 0
    assert found.rounds, found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("epsilon=layer.eps", "epsilon=layer.eps * 10"),
        ("epsilon=layer.eps", "epsilon=layer.eps * (1 + 1e-8)"),
        ("center=layer.bias is not None", "center=layer.bias is None"),
    ],
)
def test_a_real_mutant_is_no_rounding(monkeypatch: pytest.MonkeyPatch, original: Any, before: str, after: str) -> None:
    """Another epsilon is as far off in float64 as in float32, also where float32 is too coarse to show it."""
    assert not effect.apart(wide(monkeypatch, before, after), original).rounds


@pytest.mark.parametrize(
    ("mutated", "far"),
    [
        ([1.0, -4.0], 0.0),
        ([1.0, -4.0 - 2e-12], 5e-13),
        ([1.0, -3.0], 0.25),
        ([1.0, np.nan], np.inf),
        ([1.0, -4.0, 0.0], np.inf),
        ("float32 in float64", np.inf),
    ],
)
def test_how_far_two_are_apart(mutated: Any, far: float) -> None:
    """The greatest difference, of the greatest value; what cannot be compared is apart."""
    key = "relu/0/channels_last/output"
    found = effect.apart({key: np.array(mutated)}, {key: np.array([1.0, -4.0])})
    assert found.relative == pytest.approx(far, rel=1e-3)
    assert found.rounds == (far < 1e-12)


def test_an_ill_conditioned_case_may_round_more() -> None:
    """By what the judge allows in float32, made as much smaller as the roundings are; and by no more."""
    key = "relu/0/channels_last/output"
    original = {key: np.array([1.0]), key + effect.MOVES: np.array(1e-9)}
    shares = [effect.apart({**original, key: np.array([1 + far])}, original).share for far in (16e-9, 64e-9)]
    assert shares == pytest.approx([0.5, 2.0], rel=1e-3)


def test_what_has_no_values_is_apart() -> None:
    """Nothing compared, other outputs, or words on both sides, are no sameness."""
    words = {"relu/0/channels_last": np.array("float32 in float64")}
    for mutated, original in (({}, {}), (words, words), ({"a": np.zeros(2)}, {"b": np.zeros(2)})):
        assert not effect.apart(mutated, original).rounds
    assert "float32 in float64" in str(effect.apart(words, words))


def test_what_only_rounds_otherwise_is_replaced_and_listed() -> None:
    """The verdict is none of a mutant, and its line and its row have the figure."""
    by = "differs on relu; in float64 by 3.1e-16"
    result = running.Result(mutant=ALL[0], kinds=["relu"], verdict="rounds otherwise", by=by, seconds=1.0)
    assert result.verdict in running.NO_MUTANT
    assert by in table.in_a_line(result)
    assert by in list(table.table([result]).columns[6].cells)
