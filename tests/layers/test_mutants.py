"""The mutants of the converters: what can be changed, who reaches it, what is drawn, and that one is killed."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import parity

PACKAGE = Path(parity.__file__).parent
SCRIPT = PACKAGE.parent / "benchmarks" / "mutants.py"
SPEC = importlib.util.spec_from_file_location("benchmarks_mutants", SCRIPT)
assert SPEC
assert SPEC.loader
script: Any = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = script
SPEC.loader.exec_module(script)
ALL = list(script.mutants())


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
    first = script.drawn(25, 0, ALL)
    assert first == script.drawn(25, 0, ALL)
    assert first != script.drawn(25, 1, ALL)
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
    assert script.kinds_of(mutant, found) == ["conv2d", "pad"]


@pytest.mark.parametrize("mutant", script.drawn(40, 3, ALL), ids=lambda each: f"{each.file}:{each.line}-{each.way}")
def test_a_mutant_is_python_that_differs_in_one_place(mutant: Any) -> None:
    """The file is read, and is the same before and after the change."""
    text = (PACKAGE / mutant.file).read_bytes()
    other = mutant.source(text)
    compile(other + script.HELPER.encode(), mutant.file, "exec")
    assert other != text
    assert other.startswith(text[: mutant.start])
    assert other.endswith(text[mutant.end :])
