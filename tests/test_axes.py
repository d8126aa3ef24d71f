"""Axes: a layout is named letter by letter, and nothing is moved that the letters do not explain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.axes import CHANNELS_FIRST, CHANNELS_LAST, DATA_FORMATS, Axes, flat_positions, in_port, move, pattern
from parity.errors import PairError

SIZES = {"N": 2, "C": 3, "T": 4, "H": 5, "W": 7}


def numbered(layout: str) -> np.ndarray:
    """An array whose values say where they are: no two axes are alike in size or in step."""
    shape = [SIZES[axis] for axis in layout]
    return np.arange(np.prod(shape)).reshape(shape)


def test_pattern_names_each_axis() -> None:
    """The einops pattern spells both layouts."""
    assert pattern("NCHW", "NHWC") == "N C H W -> N H W C"


@pytest.mark.parametrize(("source", "target"), [("NCHW", "NHW"), ("NCHW", "NHWT"), ("NCCW", "NCCW"), ("NC", "")])
def test_layouts_with_other_letters_are_refused(source: str, target: str) -> None:
    """Letters that are lost, added or doubled are refused, with both layouts in the message."""
    with pytest.raises(PairError, match=f"cannot move axes {source} to {target}: .* each once"):
        pattern(source, target)


def test_move_takes_each_value_to_its_place() -> None:
    """Value [n, c, h, w] of NCHW is value [n, h, w, c] of NHWC; a wrong order of axes would not even have the shape."""
    array = numbered("NCHW")
    moved = move(array, "NCHW", "NHWC")
    assert moved.shape == (2, 5, 7, 3)
    assert moved[1, 4, 6, 2] == array[1, 2, 4, 6]
    assert moved[0, 3, 1, 2] == array[0, 2, 3, 1]


@given(st.permutations("NCTHW"))
def test_moving_back_gives_what_was_moved(letters: list[str]) -> None:
    """There and back is the identity, for every order of the letters."""
    there = "".join(letters)
    np.testing.assert_array_equal(move(move(numbered("NCTHW"), "NCTHW", there), there, "NCTHW"), numbered("NCTHW"))


@given(st.permutations("NCHW"), st.permutations("NCHW"), st.data())
def test_flat_positions_follow_their_values(before: list[str], after: list[str], data: st.DataObject) -> None:
    """The value at a flat position is found again, after the move, at the flat position given for it."""
    source, target = "".join(before), "".join(after)
    array = numbered(source)
    chosen = np.array(data.draw(st.lists(st.integers(0, array.size - 1), min_size=1, max_size=7)))
    places = flat_positions(chosen, array.shape, source, target)
    np.testing.assert_array_equal(move(array, source, target).reshape(-1)[places], array.reshape(-1)[chosen])


def test_flat_positions_of_another_layout_are_other_positions() -> None:
    """The check above can fail: positions that were not moved find other values."""
    array = numbered("NCHW")
    assert move(array, "NCHW", "NHWC").reshape(-1)[5] != array.reshape(-1)[5]


def test_each_rank_has_one_layout_on_either_side() -> None:
    """Both tables know the same ranks, with the same letters: only their order differs."""
    assert CHANNELS_FIRST.keys() == CHANNELS_LAST.keys()
    for rank, layout in CHANNELS_FIRST.items():
        assert len(layout) == rank
        assert sorted(layout) == sorted(CHANNELS_LAST[rank])


def test_data_formats_are_the_two_tables() -> None:
    """Keras's names lead to the table that they mean: channels second, or last."""
    assert {name: table[4] for name, table in DATA_FORMATS.items()} == {
        "channels_first": "NCHW",
        "channels_last": "NHWC",
    }


def test_a_name_wins_over_a_rank() -> None:
    """A layout declared for a tap by name is taken for that tap, and for no other."""
    axes = Axes(by_name={"tokens": ("NLC", "NLC")})
    assert axes.of("tokens", 3) == ("NLC", "NLC")
    assert axes.of("others", 3) == ("NCL", "NLC")


def test_an_undeclared_rank_is_refused_with_the_remedy() -> None:
    """A rank without a layout is an error that names the tap, the rank, and where to declare it."""
    with pytest.raises(PairError, match=r"axes of 'volume' \(rank 6\) .* Axes\(by_name=\{'volume': \(\.\.\., "):
        Axes().of("volume", 6)
    with pytest.raises(PairError, match="rank 2"):
        Axes(reference=CHANNELS_FIRST, port={4: "NHWC"}).of("only on one side", 2)


@pytest.mark.parametrize(
    ("layout", "last", "first"),
    [
        ("NCHW", "NHWC", "NCHW"),
        ("NHWC", "NHWC", "NCHW"),
        ("NCTHW", "NTHWC", "NCTHW"),
        ("NTCHW", "NTHWC", "NCTHW"),
        ("NGCHW", "NHWGC", "NGCHW"),
        ("NCHGWD", "NHGWDC", "NCHGWD"),
        ("CHW", "HWC", "CHW"),
        ("NCL", "NLC", "NCL"),
        ("NLC", "NLC", "NLC"),
        ("LNC", "NLC", "NLC"),
        ("NALC", "NALC", "NALC"),
        ("NACL", "NACL", "NACL"),
        ("ANC", "ANC", "ANC"),
        ("NC", "NC", "NC"),
        ("", "", ""),
    ],
)
def test_the_port_has_its_own_order(layout: str, last: str, first: str) -> None:
    """Batches come before time, channels after the pixels or right after the batch; heads and layers stay."""
    assert in_port(layout) == last
    assert in_port(layout, channels_last=False) == first


def test_one_layout_is_enough() -> None:
    """A single layout is the reference's, and the port's follows from its data format."""
    axes = Axes.given({"input": "LNC", "image": "NCHW"})
    assert [axes.of("input", 3), axes.of("image", 4)] == [("LNC", "NLC"), ("NCHW", "NHWC")]
    first = Axes(port=CHANNELS_FIRST, by_name={"image": "NCHW"})
    assert first.of("image", 4) == ("NCHW", "NCHW")


def test_axes_are_given_whole_or_by_name() -> None:
    """Axes stay what they are, nothing is the default, a mapping is by name, and anything else is refused."""
    whole = Axes(port=CHANNELS_FIRST)
    assert Axes.given(whole) is whole
    assert Axes.given(None) == Axes()
    with pytest.raises(PairError, match="axes are 'NLC'; give Axes"):
        Axes.given("NLC")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("NLL", "layout 'NLL' of 'input' does not have one letter for each axis"),
        ("N C", "layout 'N C' of 'input' does not have one letter for each axis"),
        (("NLC", "NHC"), "layouts NLC and NHC of 'input' do not have the same letters"),
    ],
)
def test_a_layout_that_is_none_is_refused(declared: str, message: str) -> None:
    """Letters that are doubled or are no letters, and sides that differ in them, are refused where they are given."""
    with pytest.raises(PairError, match=message):
        Axes.given({"input": declared})


def test_a_layout_of_another_rank_is_refused() -> None:
    """A layout by name for another number of axes than the tensor has is an error with both numbers."""
    with pytest.raises(PairError, match="layout 'NLC' of 'input' has 3 axes, the tensor has 4"):
        Axes.given({"input": "NLC"}).of("input", 4)


@pytest.mark.parametrize(
    ("reference", "port"),
    [("NCHW", "NHWC"), ("NCGHW", "NHWCG"), ("NCHWG", "NCHWG"), ("NCGHWD", "NCGHWD"), ("NHWCG", "NHWCG")],
)
def test_channels_that_the_reference_has_moved_to_the_end_stay_there(reference: str, port: str) -> None:
    """A detection head's (anchors, H, W, values) keeps its order in the port; channels before places move behind."""
    assert in_port(reference) == port
