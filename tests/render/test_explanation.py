"""The page of one layer explained, from records made by hand."""

import math
import re
from dataclasses import replace

import pytest
from records import measure

from parity.explanation import ErrorShape, Explanation, WeightRelation
from parity.render import explanation
from parity.report import Cause, Trial

SHAPE = ErrorShape(
    cells=((0.0, 1e-9, 0.1), (0.5, 0.9, 2.0)), height=5, width=7, axes="HW", limit=1e-6, words=("at the border",)
)
CAUSE = Cause(
    slug="padding",
    detail="same pads 0,1; reference pads 1,1",
    residual_before=2e-3,
    residual_after=3.9e-7,
    change='Conv2D("conv1", padding="same") -> ZeroPadding2D(1) + padding="valid"',
    tried=(
        Trial(slug="padding", detail="pads 1,1", residual=3.9e-7, explains=True),
        Trial(slug="scale", detail="a factor", residual=1e-1, explains=False),
    ),
)
EXPLAINED = Explanation(
    layer="conv1.0",
    port_layer="conv1",
    input="noise",
    mode="graph",
    reference="Conv2d(3, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))",
    port=('Conv2D("conv1", filters=4)',),
    weights=(
        WeightRelation(name="kernel", shape=(3, 3, 3, 4), distance=0.5, relation="kernel-flip: reversed along kh"),
        WeightRelation(name="bias", shape=(4,), distance=0.0, relation="equal"),
    ),
    introduced=measure(5000),
    floor=4e-7,
    shape=SHAPE,
    cause=CAUSE,
)


def words(explained: Explanation, width: int = 100) -> str:
    """The page as one line, its wrapping undone."""
    return " ".join(explanation(explained, width=width).split())


def drawn(explained: Explanation) -> list[str]:
    """The rows of the picture, without their frame."""
    lines = [line.strip() for line in explanation(explained, width=100).splitlines()]
    return [line[1:-1] for line in lines if line.startswith("|")]


def test_the_page_says_everything_in_order() -> None:
    """Which layer and run, both sides, the weights, the error, the cause, its proof, the change, the verdict."""
    text = words(EXPLAINED)
    parts = [
        "conv1.0 -> conv1, input noise, mode graph",
        "reference Conv2d(3, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))",
        'port Conv2D("conv1", filters=4)',
        "kernel (3, 3, 3, 4) differs by 5.0e-1: kernel-flip: reversed along kh",
        "bias (4,) equal",
        "error introduces 2.0e-3 floor 4.0e-7, 5 000x at the border",
        "the error over 5 x 7 (H x W)",
        "cause padding same pads 0,1; reference pads 1,1",
        "proof with that undone: 3.9e-7, within the layer's limits",
        'change Conv2D("conv1", padding="same") -> ZeroPadding2D(1) + padding="valid"',
        "tried leaves",
        "DIVERGED: conv1.0 is at fault: padding",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_picture_is_blank_within_limits_and_darkest_at_the_greatest() -> None:
    """Cells within the limit are blank, the greatest is '#', and what lies between has shades in their order."""
    first, second = drawn(EXPLAINED)
    assert first[:2] == "  "
    assert second[2] == "#"
    shades = [first[2], *second]
    assert [" .:=#".index(shade) for shade in shades] == sorted(" .:=#".index(shade) for shade in shades)


def test_one_row_is_drawn_for_one_axis() -> None:
    """An error along one axis, time or channels, is one row, called by its axis."""
    row = replace(SHAPE, cells=((0.0, 2.0, 0.1),), height=1, width=3, axes="L")
    assert len(drawn(replace(EXPLAINED, shape=row))) == 1
    assert "the error over 3 (L)" in words(replace(EXPLAINED, shape=row))


def test_a_right_layer_is_a_pass_without_picture_or_cause() -> None:
    """Where the error is rounding the page ends with PASS, and has neither a picture nor the words of one."""
    right = replace(EXPLAINED, introduced=measure(2), cause=None)
    assert drawn(right) == []
    assert "at the border" not in words(right)
    assert words(right).endswith("PASS: conv1.0 introduces no more than rounding")


def test_shapes_that_differ_are_given_in_place_of_a_number() -> None:
    """The note of the comparison stands where the error would."""
    note = "shape (1, 2), but should be (1, 3)"
    other = replace(EXPLAINED, shape=None, introduced=replace(measure(5000), note=note, passed=False))
    assert f"error {note}" in words(other)
    assert "introduces" not in words(other)
    assert drawn(other) == []


@pytest.mark.parametrize("cell", [math.inf, math.nan])
def test_an_error_that_is_not_finite_is_drawn_darkest(cell: float) -> None:
    """A cell with NaN or infinity has the darkest shade, and the finite ones beside it are not."""
    shape = replace(SHAPE, cells=((0.0, 0.1, cell),))
    (row,) = drawn(replace(EXPLAINED, shape=shape))
    assert row[0] == " "
    assert row[2] == "#"
    assert row[1] != "#"
    assert "'#' is not finite" in words(replace(EXPLAINED, shape=shape))
    assert drawn(replace(EXPLAINED, shape=replace(SHAPE, cells=((cell, cell),)))) == ["##"]


def test_a_tie_and_a_probe_are_said() -> None:
    """What explains the error as well is named; so is the probe that ruled others out."""
    tied = replace(EXPLAINED, cause=replace(CAUSE, tied=("pooling", "scale"), separated_by="impulse"))
    assert "explained equally well by pooling, scale; no probe could tell them apart" in words(tied)
    assert "'impulse' told it from others" in words(tied)


def test_what_was_found_is_said_once() -> None:
    """A hypothesis that is the cause is not told again; permuted axes come with the code that puts them right."""
    detail = "the kernel's axes are permuted: it needs kh kw i o = its axes (1, 0, 2, 3)"
    trial = Trial(slug="kernel-axes", detail=detail, residual=3.9e-7, explains=True)
    text = words(replace(EXPLAINED, cause=replace(CAUSE, slug="kernel-axes", detail=detail, tried=(trial,))))
    assert text.count(detail) == 1
    assert "kernel-axes 3.9e-7 explains it DIVERGED" in text
    assert "that is: kernel = kernel.transpose(1, 0, 2, 3)" in text


def test_unknown_has_no_proof_and_no_change() -> None:
    """What is not known is not proven: the evidence stands alone, with what was tried."""
    cause = replace(CAUSE, slug="unknown", residual_after=None, change="", detail="greatest at (1, 2)")
    text = words(replace(EXPLAINED, cause=cause))
    assert "cause unknown greatest at (1, 2)" in text
    assert "proof" not in text
    assert "change" not in text
    assert "scale 1.0e-1" in text


def test_many_trials_are_capped() -> None:
    """Of many trials the first eight are listed, then how many more; all of them where that is asked for."""
    trials = tuple(Trial(slug=f"cause-{n}", detail="", residual=n + 1.0, explains=False) for n in range(11))
    many = replace(EXPLAINED, cause=replace(CAUSE, tried=trials))
    text = words(many)
    assert "cause-7" in text
    assert "cause-8" not in text
    assert "and 3 more" in text
    every = explanation(many, width=100, every_trial=True)
    assert "cause-10" in every
    assert "more that" not in every


@pytest.mark.parametrize(
    "width",
    [
        pytest.param(60),
        pytest.param(80),
        120,
    ],
)
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    """At any width every line fits, the widest picture too."""
    wide = replace(SHAPE, cells=((0.5,) * 48,) * 12, height=448, width=704)
    lines = explanation(replace(EXPLAINED, shape=wide), width=width).splitlines()
    assert max(map(len, lines)) <= width


def test_colour_changes_nothing_but_colour() -> None:
    """Without its escape sequences the coloured page is the plain one."""
    coloured = explanation(EXPLAINED, width=80, colour=True)
    assert "\x1b[" in coloured
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()]
    assert plain == explanation(EXPLAINED, width=80).splitlines()
